"""How figures look here: drawn for the color-blind and for print in gray, and labeled where the eye is.

Every series has its own color (Okabe and Ito's palette), marker and line style, and its name beside it; single seeds
are shown under the mean and its interval. Figures are built without pyplot: no window, no global state.
"""
from __future__ import annotations

import math

from minigrad.experiments.statistics import summarize

# method: (color, marker, line style, hatch)
STYLES = {
    "full": ("#000000", "s", (0, (7, 2)), ""), "topk": ("#D55E00", "D", "--", "//"), "adapter": ("#009E73", "^", "-.", "\\\\"),
    "prefix": ("#CC79A7", "v", ":", "xx"), "prompt": ("#E69F00", "P", (0, (3, 1, 1, 1)), ".."),
    "lora": ("#0072B2", "o", "-", "oo"), "base": ("#666666", "_", (0, (1, 2)), ""),
}
OTHERS = (("#56B4E9", "X", "--", "++"), ("#8C6D00", "*", "-.", "**"), ("#666666", "h", ":", "--"))


def style(name: str) -> tuple:
    """(color, marker, line style, hatch) of a method; one that came later gets one of the remaining, always the same.

    >>> style("lora")[1]
    'o'
    """
    return STYLES.get(name) or OTHERS[sum(map(ord, name)) % len(OTHERS)]


def new_figure(columns: int = 1, rows: int = 1, size=(7.2, 4.4), **options):
    """(figure, axes): a figure without pyplot, light grid, no frame above and to the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, **options)
    for ax in figure.axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(True, color="#DDDDDD", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.tick_params(labelsize=9)
    return figure, axes


def groups(rows, *keys) -> dict:
    """{values of keys: rows}, in order of appearance.

    >>> groups([{"m": "a", "x": 1}, {"m": "b", "x": 2}, {"m": "a", "x": 3}], "m")["a",]
    [{'m': 'a', 'x': 1}, {'m': 'a', 'x': 3}]
    """
    found: dict = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def draw_points(ax, positions, samples, name: str, *, horizontal: bool = False, line: bool = False, label: str | None = None,
                look=None):
    """Seeds as small open marks, beside them their mean as a full one, the 95 % t-interval as a bar; with `line`, means joined.

    samples: per position the values of the seeds. horizontal: values run along x. look: (color, marker, line style), if
    it is not the method's own.
    """
    from matplotlib.transforms import ScaledTranslation

    color, marker, dashes = look or style(name)[:3]
    summaries = [summarize(values) for values in samples]
    means = [s.mean for s in summaries]
    half = [0.0 if math.isnan(s.half) else s.half for s in summaries]
    # Beside the mean, not under it: 7 points to the left, or below.
    aside = ax.transData + ScaledTranslation(*((0, -7 / 72) if horizontal else (-7 / 72, 0)), ax.figure.dpi_scale_trans)
    for position, values in zip(positions, samples, strict=True):
        xy = (values, [position] * len(values)) if horizontal else ([position] * len(values), values)
        ax.plot(*xy, linestyle="none", marker=marker, markersize=4, markerfacecolor="none", color=color, transform=aside,
                zorder=3)
    xy, error = ((means, positions), {"xerr": half}) if horizontal else ((positions, means), {"yerr": half})
    ax.errorbar(*xy, **error, color=color, marker=marker, markersize=7, linestyle=dashes if line else "none", linewidth=1.4,
                elinewidth=1.4, capsize=4, zorder=4, label=label)
    return summaries


def reference_line(ax, value: float, text: str, name: str = "base", *, vertical: bool = False, left: bool = False) -> None:
    """A level to compare with, its name written on it, at the right end or the left."""
    color, _, dashes, _ = style(name)
    if vertical:
        ax.axvline(value, color=color, linestyle=dashes, linewidth=1.2, zorder=2)
        ax.annotate(text, (value, 1.0), xycoords=("data", "axes fraction"), xytext=(3, 2), textcoords="offset points",
                    fontsize=8, color=color, va="bottom", ha="center")
    else:
        ax.axhline(value, color=color, linestyle=dashes, linewidth=1.2, zorder=2)
        ax.annotate(text, (0.0 if left else 1.0, value), xycoords=("axes fraction", "data"), xytext=(4 if left else -4, 2),
                    textcoords="offset points", fontsize=8, color=color, va="bottom", ha="left" if left else "right")


def spread_labels(ax, points, *, above: bool = False) -> None:
    """Write names to the right of points (x, y, text, color), or above them, moved apart where they would overlap.

    Positions are compared on the canvas, so call this after the axes' limits are final.
    """
    ax.figure.canvas.draw()
    placed: list[tuple[float, float]] = []
    way = 1.0 if above else -1.0                    # names above move further up, names beside further down
    for x, y, text, color in sorted(points, key=lambda p: way * p[1]):
        px, py = ax.transData.transform((x, y))
        shift = 0.0
        while any(abs(px - qx) < 60 and abs(py + shift - qy) < 15 for qx, qy in placed):
            shift += 2.0 * way
        placed.append((px, py + shift))
        points_up = shift * 72 / ax.figure.dpi
        ax.annotate(text, (x, y), xytext=(0, points_up + 4) if above else (9, points_up - 3), textcoords="offset points",
                    ha="center" if above else "left", fontsize=9, color=color, annotation_clip=False, zorder=6,
                    bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75})


def percent_axis(ax, which: str = "y") -> None:
    """Label an axis of shares in percent, from 0 on."""
    axis, limits = (ax.yaxis, ax.set_ylim) if which == "y" else (ax.xaxis, ax.set_xlim)
    axis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    limits(0, None)


def percent(value: float) -> str:
    """0.1234 as "12.3 %"."""
    return f"{100 * value:.1f} %"
