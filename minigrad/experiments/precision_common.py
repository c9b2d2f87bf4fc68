"""What the figures on number formats share: one look per format or recipe, never told apart by color alone."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """How a series is drawn: color (Okabe and Ito's palette), marker, line style."""

    color: str
    marker: str
    line: object


LOOKS = {
    "fp32": Look("#000000", "s", "-"), "fp16": Look("#D55E00", "o", "--"), "fp16 scaled": Look("#0072B2", "D", "-."),
    "bf16": Look("#009E73", "^", (0, (5, 1, 1, 1))), "tf32": Look("#CC79A7", "v", ":"), "fp8_e4m3": Look("#E69F00", "P", "--"),
    "nearest": Look("#D55E00", "o", "--"), "master": Look("#0072B2", "D", "-."),
    "kahan": Look("#009E73", "^", (0, (5, 1, 1, 1))), "stochastic": Look("#CC79A7", "v", ":"),
}


def look(name: str) -> Look:
    """The look of a format or a recipe.

    >>> look("fp32").marker
    's'
    """
    return LOOKS[name]


def draw_series(ax, x, y, style: Look, *, every: int = 1, label: str | None = None, hollow: bool = False):
    """A line with a marker at every `every`-th point."""
    ax.plot(x, y, color=style.color, linestyle=style.line, marker=style.marker, markevery=every, markersize=5, linewidth=1.4,
            markerfacecolor="white" if hollow else style.color, label=label)
