"""`minigrad experiments precision-updates`: a thousand small steps, and how many of them arrive.

A weight of 1 is to be lowered by 10⁻⁴ a thousand times. Between 0.5 and 1 the numbers of bfloat16 lie 2⁻⁸ = 0.0039 apart,
those of float16 2⁻¹¹ = 0.00049: 1 − 0.0001 rounds back to 1, a thousand times. Three repairs: keep a float32 copy and
round only what the forward pass reads; keep what rounding lost and add it to the next step (Kahan); or round up or down
by chance, so that the mean is right.
"""
from __future__ import annotations

import numpy as np

from minigrad import amp, optim
from minigrad.backend import host
from minigrad.experiments import table
from minigrad.experiments.figure import groups, new_figure, spread_labels
from minigrad.experiments.precision_common import draw_series, look
from minigrad.experiments.statistics import summarize
from minigrad.ops import ones

NAME = "precision_updates"
COLUMNS = ("format", "recipe", "seed", "updates", "step", "ideal", "final", "spread", "moved_percent")
START, STEP, UPDATES, WEIGHTS = 1.0, 1e-4, 1000, 256
RECIPES = {"fp32": ("nearest",), "fp16": ("nearest", "master", "kahan", "stochastic"),
           "bf16": ("nearest", "master", "kahan", "stochastic")}


def trajectory(format: str, recipe: str, seed: int = 0, updates: int = UPDATES, weights: int = WEIGHTS, step: float = STEP):
    """The weights after 0, 1, …, `updates` steps of SGD with gradient 1: a host array (updates + 1, weights)."""
    host.manual_seed(seed)
    w = ones(weights).requires_grad_()
    optimizer = optim.SGD([w], lr=step)
    if format != "fp32":
        optimizer = amp.LowPrecisionWeights(optimizer, format, keep=recipe)
    path = [w.numpy().copy()]
    for _ in range(updates):
        w.grad = ones(weights).data
        optimizer.step()
        path.append(w.numpy().copy())
    return np.stack(path)


def precision_updates(*, out="runs/precision", seeds=range(5), say=print, command: str = "") -> list[dict]:
    """Do the updates in every format and recipe; write precision_updates.{csv,png,json} to `out`."""
    rows, paths, ideal = [], {}, START - UPDATES * STEP
    for format, recipes in RECIPES.items():
        for recipe in recipes:
            for seed in (seeds if recipe == "stochastic" else [0]):
                path = trajectory(format, recipe, seed)
                paths.setdefault((format, recipe), path)
                final = path[-1].astype(np.float64)
                moved = 100 * (START - final.mean()) / (START - ideal)
                rows.append({"format": format, "recipe": recipe, "seed": seed if recipe == "stochastic" else None,
                             "updates": UPDATES, "step": STEP, "ideal": ideal, "final": float(final.mean()),
                             "spread": float(final.std()), "moved_percent": float(moved)})
    figure, alt = draw(rows, paths)
    table.write(NAME, out, rows, columns=COLUMNS, figure=figure, alt=alt, about={
        "command": command, "settings": {"start": START, "step": STEP, "updates": UPDATES, "weights": WEIGHTS,
                                         "seeds": list(seeds)},
        "note": "spread: standard deviation over 256 weights that get the same updates; only stochastic rounding depends on a "
                "seed"})
    say(report(rows))
    say(f"wrote {NAME}.csv, .png and .json to {out}")
    return rows


def report(rows) -> str:
    """The rows as text."""
    return table.text_table(["format", "recipe", "final (ideal 0.9)", "spread of a weight", "of the way, %"], [
        [format, recipe, f"{summarize(r['final'] for r in runs).mean:.5f}", f"{np.mean([r['spread'] for r in runs]):.4f}",
         f"{np.mean([r['moved_percent'] for r in runs]):.1f}"]
        for (format, recipe), runs in groups(rows, "format", "recipe").items()], left=2)


def draw(rows, paths):
    """(figure, alt text): the weight over the updates, a panel per narrow format, float32 in both."""
    figure, panels = new_figure(2, 1, (10.4, 4.2), sharey=True)
    said = []
    x = np.arange(UPDATES + 1)
    for ax, format, title in zip(panels, ("fp16", "bf16"), ("float16", "bfloat16"), strict=True):
        points = []
        for key, name in ((("fp32", "nearest"), "float32"), *(((format, recipe), recipe) for recipe in RECIPES[format])):
            path = paths[key]
            style = look("fp32" if key[0] == "fp32" else key[1])
            draw_series(ax, x, path.mean(axis=1), style, every=100)
            if key[1] == "stochastic":
                low, high = np.quantile(path, (0.05, 0.95), axis=1)
                ax.fill_between(x, low, high, color=style.color, alpha=0.15, linewidth=0)
            text = {"nearest": f"nearest: {path[-1].mean():.4f}", "stochastic": f"stochastic: {path[-1].mean():.4f}"}.get(
                key[1], f"{name}: {path[-1].mean():.4f}")
            text = f"float32: {path[-1].mean():.4f}" if key[0] == "fp32" else text
            points.append((UPDATES, float(path[-1].mean()), text, style.color))
            said.append(f"{'float32' if key[0] == 'fp32' else title + ' ' + name} ends at {path[-1].mean():.4f}")
        ax.set_xlim(0, 1450)
        ax.set_xticks(range(0, 1001, 250))
        ax.set_title(f"weights in {title}", loc="left", fontsize=11)
        ax.set_xlabel("updates of −0.0001")
        spread_labels(ax, points)
    panels[0].set_ylabel("weight (mean of 256)")
    alt = ("A weight of 1 lowered 1000 times by 0.0001, ideally to 0.9, with weights in float16 (left) and bfloat16 (right); "
           "the band is where 90 percent of single weights lie under stochastic rounding. "
           + "; ".join(dict.fromkeys(said)) + ".")
    return figure, alt
