"""Checks on the arguments of layers, so that a wrong size is reported where it was given."""
from __future__ import annotations

import operator


def positive(value, what: str) -> int:
    """`value` as an int of at least 1, or TypeError/ValueError naming `what`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be a whole number; got {value!r}") from None
    if isinstance(value, bool) or number < 1:
        raise ValueError(f"{what} must be at least 1; got {value!r}")
    return number


def probability(value, what: str) -> float:
    """`value` as a float in [0, 1], or TypeError/ValueError naming `what`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} must be a number between 0 and 1; got {value!r}")
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{what} must lie between 0 and 1; got {value!r}")
    return float(value)
