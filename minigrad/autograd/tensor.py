"""Tensor: an array that remembers how it was made.

Its operators and methods (+, @, .sum(), …) are bound in one place, minigrad/ops/__init__.py, so that this file
needs to know nothing about operations.
"""
from __future__ import annotations

from minigrad import backend as _backend
from minigrad.autograd.state import Version
from minigrad.backend import host

_FORMATS = {"float32": "fp32", "float64": "fp64", "float16": "fp16"}


class Tensor:
    """A raw array of some backend with an optional gradient.

    data: the raw array · grad: raw array of the same shape and dtype, None until computed · requires_grad: whether
    backward() fills grad (leaves) or passes through (results).

    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad.tolist()
    [2.0, 4.0]
    """

    __slots__ = ("data", "grad", "_requires_grad", "_fn", "_version", "_format", "_hooks", "__weakref__")
    __array_ufunc__ = None                          # NumPy and CuPy then leave `array + tensor` to Tensor.__radd__

    def __init__(self, data, requires_grad: bool = False):
        self.data, self._version, self._requires_grad = data, Version(), False
        self.grad = self._fn = self._format = self._hooks = None
        if requires_grad:
            self.requires_grad = True

    # ---- what it is -------------------------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient flows to or through this tensor."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, flag: bool) -> None:
        if flag and not host.is_floating(self.data.dtype):
            raise TypeError(f"only floating-point tensors can require gradients; this one is {self.data.dtype}. "
                            "Make it with dtype='float32'")
        if self._fn is not None and not flag:
            raise RuntimeError("requires_grad can only be switched off on a leaf; this tensor is the result of "
                               f"{self._fn.name}. Use detach()")
        self._requires_grad = bool(flag)

    def requires_grad_(self, flag: bool = True) -> Tensor:
        """Set requires_grad and return self."""
        self.requires_grad = flag
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the dimensions."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """The number of elements (PyTorch's numel())."""
        return self.data.size

    def numel(self) -> int:
        """The number of elements."""
        return self.data.size

    @property
    def dtype(self):
        """The storage dtype."""
        return self.data.dtype

    @property
    def format(self) -> str:
        """The number format whose grid the values lie on: "fp32", "fp64", "bf16", … (`dtype` is only the storage)."""
        return self._format or _FORMATS.get(self.data.dtype.name, self.data.dtype.name)

    @property
    def backend(self):
        """The backend this tensor's array belongs to."""
        return _backend.of(self.data)

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user rather than by a recorded operation."""
        return self._fn is None

    def __len__(self) -> int:
        if self.data.ndim == 0:
            raise TypeError("a 0-d tensor has no length")
        return self.data.shape[0]

    def __repr__(self) -> str:
        values = host.np.array2string(self.backend.to_numpy(self.data), separator=", ", precision=4, prefix="tensor(")
        extra = f", grad_fn={self._fn.name}" if self._fn else ", requires_grad=True" if self._requires_grad else ""
        dtype = "" if self.data.dtype.name in ("float32", "int64", "bool") else f", dtype={self.data.dtype.name}"
        return f"tensor({values}{dtype}{extra})"

    __hash__ = object.__hash__

    # ---- a leaf as the end of an edge: what its gradient must look like, as `Function` says it of its output ---------------

    out_shape = property(lambda self: self.data.shape, doc="The gradient's shape.")
    out_dtype = property(lambda self: self.data.dtype, doc="The gradient's dtype.")
    out_format = property(lambda self: self._format, doc="The gradient's number format; None is the dtype's own.")

    # ---- leaving the graph ------------------------------------------------------------------------------------------

    def detach(self) -> Tensor:
        """The same array, outside the graph (memory is shared, and so is the count of in-place changes)."""
        out = Tensor(self.data)
        out._version, out._format = self._version, self._format
        return out

    def numpy(self):
        """A host (NumPy) copy of the values."""
        return self.backend.to_numpy(self.data)

    def __array__(self, dtype=None, copy=None):
        if self._requires_grad:
            raise RuntimeError("NumPy would lose this tensor's graph: use t.detach().numpy()")
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def item(self):
        """The value of a one-element tensor as a Python number; waits for the device."""
        if self.data.size != 1:
            raise ValueError(f"item() needs a tensor with one element; this one has shape {tuple(self.shape)}")
        return self.backend.to_numpy(self.data).reshape(()).item()

    def tolist(self):
        """The values as (nested) Python lists."""
        return self.numpy().tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    # ---- gradients --------------------------------------------------------------------------------------------------

    def backward(self, grad=None, retain_graph: bool = False) -> None:
        """Fill `.grad` of every leaf that this tensor depends on (it is added to what is there).

        grad: the gradient of some loss with respect to this tensor, same shape; a scalar needs none (it is 1).
        Raises RuntimeError on a second pass through the same graph, unless the first had retain_graph=True.
        """
        from minigrad.autograd.backward import backward

        backward(self, grad, retain_graph)

    def retain_grad(self) -> None:
        """Keep this tensor's gradient in `.grad` although it is no leaf."""
        if self._fn is not None:
            self._fn.watch(self)

    def on_grad_ready(self, fn) -> None:
        """Call fn(tensor) in every backward pass, once, as soon as this tensor's `.grad` is complete.

        Complete means after its last use in the graph was walked, so a weight used twice (tied) fires once.
        """
        if not self._requires_grad:
            raise RuntimeError("on_grad_ready: this tensor does not require a gradient, so none will ever be ready")
        self._hooks = [*(self._hooks or ()), fn]
        self.retain_grad()

    def bump_version(self) -> None:
        """Tell the graph that `.data` was changed in place."""
        self._version.count += 1


def tensor(data, requires_grad: bool = False, dtype=None) -> Tensor:
    """A new tensor on the current backend, holding a copy of `data`.

    Python floats become float32, ints int64, bools bool; NumPy arrays keep their dtype unless `dtype` is given.
    Raises TypeError for ragged lists, unknown dtypes, or integers that are to require gradients.

    >>> import minigrad as mg
    >>> mg.tensor([[1.0, 2.0], [3.0, 4.0]]).dtype.name
    'float32'
    """
    np, be = host.np, _backend.current()
    if isinstance(data, Tensor):
        data = data.numpy()
    elif not isinstance(data, np.ndarray | np.generic) and be.owns(data):
        data = be.to_numpy(data)
    keeps_dtype = isinstance(data, np.ndarray | np.generic)
    try:
        array = np.array(data)
    except ValueError as error:
        raise TypeError(f"tensor() needs numbers in nested lists of equal lengths: {error}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"tensor() needs numbers; got {type(data).__name__} with dtype {array.dtype}")
    if dtype is not None:
        array = array.astype(host.dtype(dtype))
    elif not keeps_dtype and array.dtype.kind == "f":
        array = array.astype(np.float32)
    return Tensor(be.send(array), requires_grad)


def to_numpy(x):
    """The host (NumPy) copy of a tensor or of a raw array of any backend."""
    if isinstance(x, Tensor):
        return x.numpy()
    return _backend.of(x).to_numpy(x)
