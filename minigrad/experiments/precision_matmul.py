"""`minigrad experiments precision-matmul`: how wrong a matrix product is, and what its length has to do with it.

Two models of a product of narrow numbers. In a tensor core only what goes in is rounded: products are exact and summed in
float32, so the error is that of the inputs whatever the length K. On a machine that rounds every product and every partial
sum to the narrow format, the roundings pile up: √K of them, like the steps of a drunkard.
"""
from __future__ import annotations

import numpy as np

from minigrad import amp
from minigrad.experiments import table
from minigrad.experiments.figure import groups, new_figure, spread_labels
from minigrad.experiments.precision_common import draw_series, look
from minigrad.experiments.statistics import summarize

NAME = "precision_matmul"
COLUMNS = ("format", "model", "K", "seed", "error")
LENGTHS = (16, 64, 256, 1024, 4096)
SERIES = (("fp32", "tensorcore"), ("tf32", "tensorcore"), ("fp16", "tensorcore"), ("bf16", "tensorcore"), ("fp16", "per_op"),
          ("bf16", "per_op"))
SIDE = 32


def relative_error(format: str, model: str, K: int, seed: int) -> float:
    """‖ours − exact‖/‖exact‖ (Frobenius) for Gaussian matrices 32 × K and K × 32; exact: float64."""
    rng = np.random.default_rng([seed, K])
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((SIDE, K), (K, SIDE)))
    exact = a.astype(np.float64) @ b.astype(np.float64)
    found = a @ b if format == "fp32" else amp.matmul(a, b, format, model=model)
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def precision_matmul(*, out="runs/precision", seeds=range(5), say=print, command: str = "") -> list[dict]:
    """Measure the error for every format, model and length; write precision_matmul.{csv,png,json} to `out`."""
    rows = [{"format": format, "model": model, "K": K, "seed": seed, "error": relative_error(format, model, K, seed)}
            for format, model in SERIES for K in LENGTHS for seed in seeds]
    figure, alt = draw(rows)
    table.write(NAME, out, rows, columns=COLUMNS, figure=figure, alt=alt, about={
        "command": command, "settings": {"shape": f"{SIDE} x K x {SIDE}", "seeds": list(seeds), "inputs": "standard normal"}})
    say(report(rows))
    say(f"wrote {NAME}.csv, .png and .json to {out}")
    return rows


def slope(rows) -> float:
    """The exponent p of error ~ Kᵖ, fitted to the means of one series."""
    means = {K: summarize(r["error"] for r in of_K).mean for (K,), of_K in groups(rows, "K").items()}
    return float(np.polyfit(np.log(list(means)), np.log(list(means.values())), 1)[0])


def report(rows) -> str:
    """The rows as text."""
    return table.text_table(["format", "model", *(f"K = {K}" for K in LENGTHS), "error ~ K^"], [
        [format, model, *(f"{summarize(r['error'] for r in runs if r['K'] == K).mean:.2g}" for K in LENGTHS),
         f"{slope(runs):.2f}"]
        for (format, model), runs in groups(rows, "format", "model").items()], left=2)


def draw(rows):
    """(figure, alt text): relative error over K, both logarithmic."""
    figure, ax = new_figure(size=(8.4, 4.8))
    points, said = [], []
    for (format, model), runs in groups(rows, "format", "model").items():
        style, name = look(format), format
        if format != "fp32":
            name += ", each step rounded" if model == "per_op" else ", float32 sums"
        by_K = groups(runs, "K")
        summaries = [summarize(r["error"] for r in of_K) for of_K in by_K.values()]
        for (K,), of_K in by_K.items():
            ax.plot([K] * len(of_K), [r["error"] for r in of_K], linestyle="none", marker=style.marker, markersize=3, alpha=0.4,
                    markerfacecolor="none", color=style.color)
        draw_series(ax, [K for (K,) in by_K], [s.mean for s in summaries], style, hollow=model == "per_op")
        points.append((LENGTHS[-1], summaries[-1].mean, name, style.color))
        said.append(f"{name} {summaries[0].mean:.1e} at K = {LENGTHS[0]} and {summaries[-1].mean:.1e} at {LENGTHS[-1]} "
                    f"(exponent {slope(runs):.2f})")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xlim(LENGTHS[0] / 1.3, LENGTHS[-1] * 14)
    ax.set_xticks(LENGTHS, [f"{K:,}" for K in LENGTHS])
    ax.minorticks_off()
    ax.set_xlabel(f"K, the length of the sums in a {SIDE} × K × {SIDE} product")
    ax.set_ylabel("relative error of the product")
    ax.set_title("a longer sum is no less exact, if it is kept in float32", loc="left", fontsize=11)
    spread_labels(ax, points)
    alt = ("Relative error (Frobenius) of a matrix product against the length K of its sums, both axes logarithmic, mean and "
           "single seeds: " + "; ".join(said) + ".")
    return figure, alt
