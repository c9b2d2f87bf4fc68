"""The host's side: NumPy arrays for ids, random numbers and files, whatever the backend.

All randomness comes from the one seeded generator here, so every backend starts from the same weights, sees the
same batches and drops the same units; its state travels in checkpoints.

>>> from minigrad.backend import host
>>> host.manual_seed(3)
>>> a = host.rng().random(2)
>>> host.manual_seed(3)
>>> bool((host.rng().random(2) == a).all())
True
"""
from __future__ import annotations

import numpy as np

__all__ = ["dtype", "get_state", "ids", "is_floating", "manual_seed", "np", "rng", "set_state"]

_generator = np.random.default_rng(0)
_NAMES = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")


def rng() -> np.random.Generator:
    """The process-wide seeded generator."""
    return _generator


def manual_seed(seed: int) -> None:
    """Restart the generator from `seed` (a non-negative integer)."""
    global _generator
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"manual_seed needs a non-negative integer; got {seed!r}")
    _generator = np.random.default_rng(int(seed))


def get_state() -> dict:
    """The generator's state as plain numbers and strings (it fits in JSON)."""
    return _generator.bit_generator.state


def set_state(state: dict) -> None:
    """Continue from a state that `get_state` gave."""
    _generator.bit_generator.state = state


def dtype(name) -> np.dtype:
    """The NumPy dtype called `name` ("float32", "int64", …), a dtype or a scalar type; a clear error otherwise."""
    try:
        found = np.dtype(name)
    except TypeError:
        found = None
    if found is None or found.name not in _NAMES:
        raise TypeError(f"unknown dtype {name!r}: known are {', '.join(_NAMES)}")
    return found


def is_floating(dtype) -> bool:
    """Whether a dtype is one that gradients can have."""
    return dtype.kind == "f"


def ids(values, upper: int, what: str = "token id", *, also: int | None = None) -> np.ndarray:
    """`values` as an int64 host array, checked to lie in 0 … upper−1 (or to equal `also`).

    Raises TypeError when they are not integers, IndexError naming the first bad value and its place.
    """
    if not isinstance(values, np.ndarray) and hasattr(values, "numpy"):
        values = values.numpy()                     # an integer Tensor
    try:
        array = np.asarray(values)
    except ValueError:
        raise TypeError(f"{what}s must form a rectangle of integers; these rows have different lengths") from None
    if array.dtype.kind not in "iu":
        if array.size:
            raise TypeError(f"{what}s must be host integers; got dtype {array.dtype}")
        array = array.astype(np.int64)
    if array.size and (array.min() < 0 or array.max() >= upper):
        bad = (array < 0) | (array >= upper)
        if also is not None:
            bad &= array != also
        if not bad.any():
            return array.astype(np.int64, copy=False)
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise IndexError(f"{what} {int(array[place])} at {place} is outside 0 … {upper - 1}"
                         + (f" (and is not {also})" if also is not None else ""))
    return array.astype(np.int64, copy=False)
