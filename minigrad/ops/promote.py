"""What may meet what: PyTorch's type promotion, at the door of every operation."""
from __future__ import annotations

from minigrad.autograd import Function, Tensor, tensor
from minigrad.backend import host


class Cast(Function):
    """y = x in another dtype;  gx = gy in x's (the base class sees to it)"""

    options = ("dtype",)

    def __init__(self, dtype):
        self.dtype = dtype

    def forward(self, x):
        return x.astype(self.dtype)

    def backward(self, gy):
        return gy


def as_tensor(x) -> Tensor:
    """`x` itself if it is a tensor; arrays and lists become tensors on the current backend."""
    return x if isinstance(x, Tensor) else tensor(x)


def floating(x) -> Tensor:
    """`x` as a floating-point tensor: integers and bools become float32, as in PyTorch."""
    x = x if isinstance(x, Tensor) else tensor(x)
    return x if x.data.dtype.kind == "f" else x_to(x, "float32")


def x_to(x: Tensor, dtype) -> Tensor:
    """`x` converted to another dtype (differentiable between floating dtypes)."""
    dtype = host.dtype(dtype)
    return x if x.data.dtype == dtype else Cast(dtype)(x)


def _operand(x):
    """A tensor or a Python number; a NumPy scalar counts as the number it holds, as in PyTorch."""
    if isinstance(x, Tensor):
        return x
    if isinstance(x, host.np.generic):
        x = x.item()
    return x if isinstance(x, bool | int | float) else tensor(x)


def pair(a, b, *, divide: bool = False):
    """Two operands (tensors or Python numbers) as PyTorch would let them meet.

    Python numbers never widen a tensor of their kind; a 0-d tensor never widens an array; an integer tensor adopts
    the float dtype it meets.
    """
    if isinstance(a, Tensor) and isinstance(b, Tensor) and a.data.dtype == b.data.dtype and not divide:
        return a, b                                 # as nearly always
    a, b = _operand(a), _operand(b)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        da, db = a.data.dtype, b.data.dtype
        if da != db:
            if da.kind == db.kind and a.ndim > 0 and b.ndim == 0:
                b = x_to(b, da)
            elif da.kind == db.kind and b.ndim > 0 and a.ndim == 0:
                a = x_to(a, db)
            elif da.kind == "f" and db.kind != "f":
                b = x_to(b, da)
            elif db.kind == "f" and da.kind != "f":
                a = x_to(a, db)
        if divide and a.data.dtype.kind != "f" and b.data.dtype.kind != "f":
            a, b = x_to(a, "float32"), x_to(b, "float32")
        return a, b
    if isinstance(a, Tensor):
        return (floating(a), b) if divide or isinstance(b, float) else (a, b)
    if isinstance(b, Tensor):
        return (a, floating(b)) if divide or isinstance(a, float) else (a, b)
    return (tensor(a), b) if not isinstance(b, float) else (tensor(float(a)), b)
