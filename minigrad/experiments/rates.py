"""The learning rate of each method, as `minigrad experiments lr-grid` chose it on validation words."""
from __future__ import annotations

import difflib
from pathlib import Path

from minigrad.pretrained import read_json

FILE = Path(__file__).with_name("learning_rates.json")


def learning_rate(method: str) -> float:
    """The chosen peak learning rate of a method. Raises ValueError for one that the grid does not know.

    >>> 0 < learning_rate("lora") < 1
    True
    """
    rates = read_json(FILE)["rates"]
    if method not in rates:
        close = difflib.get_close_matches(method, rates, 1)
        raise ValueError(f"no learning rate has been chosen for {method!r}: there are rates for {', '.join(rates)}"
                         + (f" (did you mean {close[0]!r}?)" if close else "")
                         + f". Choose one with `minigrad experiments lr-grid --methods {method}`, or give one (--lr)")
    return rates[method]


def provenance() -> str:
    """How the rates were chosen, in a sentence."""
    return read_json(FILE)["provenance"]
