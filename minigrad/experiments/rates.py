"""The learning rate of each method, as `minigrad experiments lr-grid` chose it on validation words.

learning_rates.json holds the grids that were run, each with how it was run and the rates it gave; of a method that is in
several the last counts. A method that no grid has seen gets the rate of its nearest relative, and the record says so.
"""
from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path

from minigrad import peft
from minigrad.pretrained import read_json

FILE = Path(__file__).with_name("learning_rates.json")
# What a method without a grid is taken for, by the hyper-parameter that sets its size; anything else for LoRA.
RELATIVES = {"rank": "lora", "bottleneck": "adapter", "length": "prompt", "template": "prompt", "prefix": "prompt"}


def learning_rate(method: str) -> float:
    """The peak learning rate of a method: the chosen one, or its nearest relative's. ValueError for an unknown name.

    >>> 0 < learning_rate("lora") < 1
    True
    """
    return chosen(method)[0]


def chosen(method: str) -> tuple[float, str]:
    """(rate, where it is from) of a method.

    The nearest relative is the closest class that it is a subclass of and that has a rate, else the method that
    RELATIVES names for its size, else LoRA.
    """
    rates, known = grids(), peft.methods()
    if method in rates:
        return rates[method]
    if method not in known:
        close = difflib.get_close_matches(method, rates, 1)
        raise ValueError(f"no learning rate has been chosen for {method!r}: there are rates for {', '.join(rates)}"
                         + (f" (did you mean {close[0]!r}?)" if close else "")
                         + f". Choose one with `minigrad experiments lr-grid --methods {method}`, or give one (--lr)")
    ancestors = [cls.name for cls in known[method].__mro__[1:] if getattr(cls, "name", "") in rates]
    sizes = [RELATIVES[f.name] for f in dataclasses.fields(known[method]) if f.name in RELATIVES]
    relative = [name for name in (*ancestors, *sizes, "lora") if name in rates][0]
    return rates[relative][0], f"no grid yet: the rate of its nearest relative, {relative}"


def grids() -> dict[str, tuple[float, str]]:
    """{method: (rate, how it was chosen)} of all grids in the file."""
    return {name: (rate, grid["how"]) for grid in read_json(FILE)["grids"] for name, rate in grid["rates"].items()}


def adopted(grids: list[dict], how: str, rates: dict[str, float]) -> list[dict]:
    """The file's list of grids with a new one added, in place of what older ones said of the same methods.

    >>> adopted([{"how": "old", "rates": {"lora": 1, "full": 2}}], "new", {"lora": 3})
    [{'how': 'old', 'rates': {'full': 2}}, {'how': 'new', 'rates': {'lora': 3}}]
    """
    older = [{**grid, "rates": {name: rate for name, rate in grid["rates"].items() if name not in rates}} for grid in grids]
    return [grid for grid in older if grid["rates"]] + [{"how": how, "rates": rates}]


def provenance(methods=()) -> dict[str, list[str]] | str:
    """How the rates were chosen: {how: methods}, or only the sentence if it is the same for all (given) methods.

    >>> provenance(["lora"]) == provenance(["lora", "full"])
    True
    """
    found: dict[str, list[str]] = {}
    for name in methods or grids():
        found.setdefault(chosen(name)[1], []).append(name)
    return found if len(found) > 1 else next(iter(found))
