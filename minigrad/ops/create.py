"""New tensors on the current backend. Random ones come from the seeded host generator."""
from __future__ import annotations

from minigrad import backend as _backend
from minigrad.autograd import Tensor, tensor
from minigrad.backend import host
from minigrad.ops.shape import _ints


def zeros(*shape, dtype="float32", requires_grad: bool = False) -> Tensor:
    """All zeros: zeros(2, 3) or zeros((2, 3))."""
    return full(_ints(shape), 0, dtype=dtype, requires_grad=requires_grad)


def ones(*shape, dtype="float32", requires_grad: bool = False) -> Tensor:
    """All ones."""
    return full(_ints(shape), 1, dtype=dtype, requires_grad=requires_grad)


def full(shape, fill_value, *, dtype="float32", requires_grad: bool = False) -> Tensor:
    """Every element `fill_value`."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return Tensor(_backend.current().xp.full(shape, fill_value, dtype=host.dtype(dtype)), requires_grad)


def zeros_like(x: Tensor, dtype=None) -> Tensor:
    """Zeros of x's shape, dtype and backend."""
    return Tensor(x.backend.xp.zeros(x.shape, dtype=x.dtype if dtype is None else host.dtype(dtype)))


def ones_like(x: Tensor, dtype=None) -> Tensor:
    """Ones of x's shape, dtype and backend."""
    return Tensor(x.backend.xp.ones(x.shape, dtype=x.dtype if dtype is None else host.dtype(dtype)))


def arange(*args, dtype=None) -> Tensor:
    """arange(stop), arange(start, stop) or arange(start, stop, step); int64, or float32 if a bound is a float."""
    if dtype is None:
        dtype = "float32" if any(isinstance(a, float) for a in args) else "int64"
    return tensor(host.np.arange(*args), dtype=dtype)


def randn(*shape, dtype="float32", requires_grad: bool = False) -> Tensor:
    """Standard normal numbers."""
    return tensor(host.rng().standard_normal(_ints(shape)), requires_grad, dtype)


def rand(*shape, dtype="float32", requires_grad: bool = False) -> Tensor:
    """Numbers from 0 (inclusive) to 1 (exclusive), evenly distributed."""
    return tensor(host.rng().random(_ints(shape)), requires_grad, dtype)


def from_numpy(array) -> Tensor:
    """A tensor holding a copy of a NumPy array, with its dtype."""
    return tensor(array)
