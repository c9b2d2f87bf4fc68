"""`minigrad experiments precision-adam`: two constants of Adam that narrow formats do not know.

ε = 10⁻⁸ is 0 in float16, and so is (1 − β₂)·g² for every gradient below 0.005: the step m̂/(√v̂ + ε) divides by nothing.
β₂ = 0.999 is 1 in bfloat16, and even a float32 0.999 does not help a v that is kept in bfloat16: 0.999·v rounds back to v,
which then never forgets. Hence the rule: the moments stay in float32 (or are rounded stochastically).
"""
from __future__ import annotations

import numpy as np

from minigrad import amp
from minigrad.experiments import table
from minigrad.experiments.figure import new_figure, spread_labels
from minigrad.experiments.precision_common import LOOKS, draw_series
from minigrad.experiments.statistics import summarize

NAME = "precision_adam"
COLUMNS = ("pitfall", "series", "seed", "x", "y", "note")
BETA1, BETA2 = 0.9, 0.999
GRADIENTS = tuple(float(g) for g in 10.0 ** np.arange(-8, 0.01, 0.5))
STEPS = 3000
FIRST = {  # series: (format of the state, eps, eps inside the root, look)
    "float32, ε = 1e-8": ("fp32", 1e-8, False, "fp32"), "float16, ε = 1e-8": ("fp16", 1e-8, False, "fp16"),
    "float16, ε = 1e-4": ("fp16", 1e-4, False, "fp16 scaled"),
    "float32, ε = 1e-8 inside the root": ("fp32", 1e-8, True, "tf32"),
}


def _round(x, format: str):
    return np.float32(x) if format == "fp32" else amp.round_to(np.asarray(x, np.float32), format)


def step_size(g: float, format: str, eps: float, inside: bool = False, steps: int = 10) -> float:
    """Adam's step, in units of the learning rate, after `steps` equal gradients g, with state and eps in `format`.

    Exact arithmetic gives g/(g + eps), nearly 1; inf or NaN where the format makes it a division by 0.
    """
    g, m, v = _round(g, format), _round(0.0, format), _round(0.0, format)
    eps = _round(eps, format)
    with np.errstate(all="ignore"):
        for _ in range(steps):
            m = _round(np.float32(BETA1) * m + np.float32(1 - BETA1) * g, format)
            v = _round(np.float32(BETA2) * v + _round(np.float32(1 - BETA2) * _round(g * g, format), format), format)
        m_hat, v_hat = _round(m / np.float32(1 - BETA1 ** steps), format), _round(v / np.float32(1 - BETA2 ** steps), format)
        root = _round(np.sqrt(v_hat + eps), format) if inside else _round(_round(np.sqrt(v_hat), format) + eps, format)
        return float(_round(m_hat / root, format))


def forgetting(format: str, stochastic: bool = False, seed: int = 0, steps: int = STEPS, cells: int = 64):
    """The mean v after 0 … steps steps of v ← β₂·v from 1, no gradient coming in; v kept in `format`."""
    rng, v, path = np.random.default_rng(seed), np.ones(cells, np.float32), [1.0]
    for _ in range(steps):
        v = np.float32(BETA2) * v
        if stochastic:
            v = amp.round_to(v, format, rounding="stochastic", rng=rng)
        elif format != "fp32":
            v = amp.round_to(v, format)
        path.append(float(v.mean(dtype=np.float64)))
    return np.array(path)


def precision_adam(*, out="runs/precision", seeds=range(5), say=print, command: str = "") -> list[dict]:
    """Measure both pitfalls; write precision_adam.{csv,png,json} to `out`."""
    rows = []
    for series, (format, eps, inside, _) in FIRST.items():
        for g in GRADIENTS:
            step = step_size(g, format, eps, inside)
            rows.append({"pitfall": "eps", "series": series, "x": g, "y": step if np.isfinite(step) else None,
                         "note": "" if np.isfinite(step) else str(step)})
    paths = {"float32": [forgetting("fp32")], "bfloat16, nearest": [forgetting("bf16")],
             "bfloat16, stochastic": [forgetting("bf16", True, seed) for seed in seeds]}
    for series, of_seeds in paths.items():
        for seed, path in enumerate(of_seeds):
            seed = seed if len(of_seeds) > 1 else None
            rows += [{"pitfall": "beta2", "series": series, "seed": seed, "x": n, "y": float(path[n])}
                     for n in range(0, STEPS + 1, 250)]
    rows += [{"pitfall": "constants", "series": f"{value:g} in {format}", "x": value, "y": float(_round(value, format))}
             for value, format in ((1e-8, "fp16"), (3e-8, "fp16"), (0.999, "bf16"), (0.9, "bf16"))]
    figure, alt = draw(rows, paths)
    table.write(NAME, out, rows, columns=COLUMNS, figure=figure, alt=alt, about={
        "command": command, "settings": {"betas": [BETA1, BETA2], "seeds": list(seeds)},
        "note": "eps: x gradient, y step in learning rates after 10 equal gradients (empty: division by 0, see note); beta2: x "
                "steps, y mean of v over 64 cells; constants: x the number, y what the format makes of it"})
    say(report(rows))
    say(f"wrote {NAME}.csv, .png and .json to {out}")
    return rows


def report(rows) -> str:
    """The rows as text."""
    shown = [g for g in GRADIENTS if abs(np.log10(g) % 1) < 1e-6 or abs(np.log10(g) % 1 - 1) < 1e-6]
    lines = [[series, *(_cell(next(r for r in rows if r["series"] == series and r["x"] == g)) for g in shown)]
             for series in FIRST]
    text = "Adam's step, in learning rates, after 10 gradients of the size given\n\n"
    text += table.text_table(["state and ε", *(f"{g:.0e}" for g in shown)], lines)
    ends = {r["series"]: r["y"] for r in rows if r["pitfall"] == "beta2" and r["x"] == 2000}
    return text + "\n\nv after 2,000 steps without a gradient: " + ", ".join(f"{k} {v:.3f}" for k, v in ends.items())


def _cell(row) -> str:
    return row["note"] or f"{row['y']:.3g}"


def draw(rows, paths):
    """(figure, alt text): left the step over the gradient's size, right v forgetting."""
    figure, (left, right) = new_figure(2, 1, (11.2, 4.4))
    said = []
    for series, (_, _, _, name) in FIRST.items():
        of_series = [r for r in rows if r["series"] == series]
        finite = [r for r in of_series if r["y"]]                    # neither empty nor 0, which a logarithm cannot show
        draw_series(left, [r["x"] for r in finite], [r["y"] for r in finite], LOOKS[name], label=series)
        for value, height in ((None, 40.0), (0.0, 2.5e-6)):
            broken = [r for r in of_series if r["y"] == value]
            if broken:
                left.plot([r["x"] for r in broken], [height] * len(broken), linestyle="none", marker="x", markersize=7,
                          color=LOOKS[name].color)
                kinds = " or ".join(sorted({_cell(r) for r in broken}))
                left.annotate(f"{series}: {kinds}", (broken[0]["x"], height), xytext=(-4, 7), textcoords="offset points",
                              fontsize=8, color=LOOKS[name].color)
        said.append(f"{series}: " + ", ".join(f"{_cell(r)} at {r['x']:.0e}" for r in of_series[::4]))
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_ylim(1e-6, 200)
    left.legend(fontsize=8, frameon=False, loc="lower right")
    left.set_xlabel("size of the gradient")
    left.set_ylabel("Adam's step, in learning rates (should be 1)")
    left.set_title("ε: 10⁻⁸ is 0 in float16", loc="left", fontsize=11)
    x, points = np.arange(STEPS + 1), []
    for series, name in (("float32", "fp32"), ("bfloat16, nearest", "fp16"), ("bfloat16, stochastic", "stochastic")):
        for path in paths[series][1:]:
            right.plot(x, path, color=LOOKS[name].color, linewidth=0.5, alpha=0.5)
        mean = np.mean(paths[series], axis=0)
        draw_series(right, x, mean, LOOKS[name], every=300)
        points.append((STEPS, float(mean[-1]), series, LOOKS[name].color))
        said.append(f"v in {series} is {summarize(p[2000] for p in paths[series]).mean:.3f} after 2000 steps")
    right.set_xlim(0, STEPS * 1.55)
    right.set_xticks(range(0, STEPS + 1, 1000))
    right.set_ylim(-0.12, 1.08)
    right.set_xlabel("steps without a gradient")
    right.set_ylabel("v, from 1")
    right.set_title("β₂: 0.999·v is v in bfloat16", loc="left", fontsize=11)
    spread_labels(right, points)
    alt = ("Two pitfalls of Adam in narrow formats. Left: size of the step against size of the gradient, which should be 1; "
           "crosses mark a division by zero. Right: the second moment v without gradients, which should decay as 0.999 to the "
           "number of steps. " + "; ".join(said) + ".")
    return figure, alt
