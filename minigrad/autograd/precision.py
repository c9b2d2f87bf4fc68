"""Logical number formats: float32 arrays whose values are kept on a coarser grid, forward and backward.

A tensor's `format` says which grid its values lie on; its array stays float32. Once formats are in use, every
operation rounds what it writes: its output to the output's format, and each gradient to the format of the tensor it
belongs to. So gradients underflow exactly where they would on real hardware, before anything widens them again.
Emulation shows what a format does to the numbers; it makes no array smaller.

Nothing here costs anything until a format is used for the first time: only then is the hook put into Function.
"""
from __future__ import annotations

import contextvars

from minigrad.autograd import state
from minigrad.autograd.function import Function
from minigrad.autograd.state import is_grad_enabled
from minigrad.autograd.tensor import Tensor
from minigrad.backend import formats

WIDTH = {"fp8_e4m3": 0, "fp8_e5m2": 0, "bf16": 1, "fp16": 1, "tf32": 2, "fp32": 3}

_autocast: contextvars.ContextVar[Autocast | None] = contextvars.ContextVar("minigrad_autocast", default=None)


class Autocast:
    """What an autocast region knows: its format, the class of each operation, and the weights it has cast so far."""

    def __init__(self, format: str, policy: dict[str, str]):
        self.format, self.policy = format, policy
        self.cache: dict[int, tuple] = {}           # id -> (leaf, its array, its version, the cast tensor)

    def cast(self, x: Tensor) -> Tensor:
        """x in this region's format; a trainable leaf only once per region (and once more after it has changed)."""
        if x.format != "fp32":
            return x if x.format == self.format else to_format(x, self.format)
        if not (x.is_leaf and x.requires_grad and is_grad_enabled()):
            return to_format(x, self.format)
        found = self.cache.get(id(x))
        used_up = found is not None and found[3]._fn is not None and found[3]._fn.released     # by a backward pass
        if found is None or used_up or found[1] is not x.data or found[2] != x._version.count:
            found = self.cache[id(x)] = (x, x.data, x._version.count, to_format(x, self.format))
        return found[3]


class ToFormat(Function):
    """y = x on another grid;  gx = gy, rounded to x's own format (both by the engine's hook)"""

    options = ("format",)

    def __init__(self, format):
        self.format, self.is_view = format, format == "fp32"    # widening changes nothing, so nothing is copied

    def forward(self, x):
        return x

    def backward(self, gy):
        return gy


def to_format(x: Tensor, format: str) -> Tensor:
    """A tensor with x's values rounded to `format`; x itself if it has that format. Differentiable.

    Raises ValueError for an unknown format, TypeError for a tensor whose storage is not float32.
    """
    formats.get(format)
    if x.data.dtype.name != "float32":
        raise TypeError(f"number formats are emulated on float32 tensors; this one is stored as {x.data.dtype}. "
                        "Convert it first: t.to('float32')")
    switch_on()
    return x if x.format == format else ToFormat(format)(x)


def widened(x: Tensor) -> Tensor:
    """x in fp32 if an autocast region is active: losses are computed there, under every policy."""
    return to_format(x, "fp32") if _autocast.get() is not None and x._format else x


def narrow(*tensors: Tensor) -> bool:
    """Whether an operation on these might round: one has a narrow format, or an autocast region is active."""
    return _autocast.get() is not None or any(t._format for t in tensors)


def switch_on() -> None:
    """Put the hook into Function."""
    state.hook = enter


def rounded(be, a, format: str | None):
    """A raw array on the grid of `format` (None: fp32, the array itself)."""
    return a if format is None else be.round_to(a, formats.get(format))


def enter(fn: Function, inputs):
    """Called before each operation: the inputs as it should see them, its output's format, and whether to round it."""
    if isinstance(fn, ToFormat):
        low = None if fn.format == "fp32" else fn.format
        return inputs, low, low is not None
    floats = [x for x in inputs if isinstance(x, Tensor) and x.data.dtype.kind == "f"]
    if any(x.data.dtype.name != "float32" for x in floats):
        return inputs, None, False                  # float64 is left alone
    region = _autocast.get()
    kind = region.policy.get(fn.name) if region is not None else None
    if kind == "low":
        cast = tuple(region.cast(x) if isinstance(x, Tensor) and x.data.dtype.kind == "f" else x for x in inputs)
        return cast, region.format, True
    if kind == "fp32":
        return tuple(to_format(x, "fp32") if isinstance(x, Tensor) and x._format else x for x in inputs), None, False
    low = common([x.format for x in floats])
    return inputs, low, low is not None and not fn.is_view


def common(names) -> str | None:
    """The format in which numbers of these formats meet: the widest; fp32 (None) for two that are equally wide."""
    widest = None
    for name in names:
        if widest is None or WIDTH[name] > WIDTH[widest]:
            widest = name
        elif WIDTH[name] == WIDTH[widest] and name != widest:
            widest = "fp32"
    return None if widest == "fp32" else widest
