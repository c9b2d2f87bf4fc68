"""How a step's cost grows with tokens, width, depth and context, beside the growth that counting multiplications predicts."""
from __future__ import annotations

import time

import numpy as np

from minigrad.experiments.bench_steps import VOCAB, Size, our_step

COLUMNS = ("along", "value", "n_layers", "d_model", "batch", "tokens", "ms", "multiplications")
#: along: (values, settings); one thing grows, the rest stays
CURVES = {
    "batch": ((2, 4, 8, 16, 32, 64), {"n_layers": 4, "d_model": 128, "tokens": 64}),
    "width": ((32, 64, 128, 256, 512), {"n_layers": 4, "batch": 8, "tokens": 64}),
    "depth": ((1, 2, 4, 8, 16), {"d_model": 128, "batch": 8, "tokens": 64}),
    "context": ((32, 64, 128, 256, 512, 1024), {"n_layers": 2, "d_model": 128}),
}
NAMES = {"batch": "sequences of 64 tokens", "width": "d_model", "depth": "layers",
         "context": "tokens per sequence (2,048 in all)"}
IN_ALL = 2048                                       # tokens of a step while the context grows


def multiplications(n_layers: int, d_model: int, batch: int, tokens: int) -> float:
    """Multiply-adds of a step: forward once, backward twice; 12 d² per layer and token, and 2·T·d/2 for causal attention."""
    per_token = n_layers * (12 * d_model ** 2 + tokens * d_model) + d_model * VOCAB
    return 3.0 * batch * tokens * per_token


def growth(rounds: int = 5, curves=CURVES):
    """Yields one row per point: the median step in ms and the multiplications it takes."""
    for along, (values, settings) in curves.items():
        for value in values:
            d = {"n_layers": 4, "d_model": 128, "batch": 8, "tokens": 64} | settings
            d |= {{"batch": "batch", "width": "d_model", "depth": "n_layers", "context": "tokens"}[along]: value}
            if along == "context":
                d["batch"] = max(1, IN_ALL // value)
            size = Size("", d["n_layers"], d["d_model"], 4, d["batch"], d["tokens"], rounds, 0.0)
            step = our_step(size.model(), *size.data())
            step()
            times = []
            for _ in range(rounds):
                began = time.perf_counter()
                step()
                times.append(1e3 * (time.perf_counter() - began))
            yield {"along": along, "value": value, **d, "ms": float(np.median(times)), "multiplications": multiplications(**d)}


def slope(rows, what: str) -> float:
    """The exponent p of what ~ valueᵖ over the upper half of a curve; nan for a single point (an interrupted run)."""
    if len(rows) < 2:
        return float("nan")
    upper = rows[len(rows) // 2 - 1:]
    return float(np.polyfit(np.log([r["value"] for r in upper]), np.log([r[what] for r in upper]), 1)[0])


def draw(rows):
    """(figure, alt text): four log-log panels, measured time and the multiplications scaled to meet it at the last point."""
    from matplotlib.ticker import LogLocator

    from minigrad.experiments.figure import groups, new_figure

    figure, axes = new_figure(4, size=(14, 3.8))
    said = []
    for ax, ((along,), of) in zip(axes, groups(rows, "along").items(), strict=False):
        x, ms = [r["value"] for r in of], [r["ms"] for r in of]
        scale = ms[-1] / of[-1]["multiplications"]
        ax.plot(x, [r["multiplications"] * scale for r in of], color="#666666", linestyle="--", label="multiplications")
        ax.plot(x, ms, color="#0072B2", marker="o", label="measured")
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_xticks(x, x)
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.minorticks_off()
        ax.set_xlabel(NAMES[along])
        ax.set_title(f"slope {slope(of, 'ms'):.2f}, by counting {slope(of, 'multiplications'):.2f}", loc="left", fontsize=10)
        said.append(f"along {along} the measured slope of the upper half is {slope(of, 'ms'):.2f}, by counting multiplications "
                    f"{slope(of, 'multiplications'):.2f}")
    axes[0].set_ylabel("ms per step")
    axes[0].legend(frameon=False, fontsize=9)
    return figure, "Time of a training step against batch, width, depth and context, log-log: " + "; ".join(said) + "."


def report(rows) -> str:
    """The slopes as text."""
    from minigrad.experiments import table
    from minigrad.experiments.figure import groups

    return table.text_table(["along", "from", "to", "ms", "slope", "by counting"], [
        [along, of[0]["value"], of[-1]["value"], f"{of[0]['ms']:.1f} … {of[-1]['ms']:.1f}", f"{slope(of, 'ms'):.2f}",
         f"{slope(of, 'multiplications'):.2f}"] for (along,), of in groups(rows, "along").items()])
