"""Operations that only move elements: reshaping, reordering, joining and cutting. Most outputs are views."""
from __future__ import annotations

from minigrad.autograd import Function, Tensor
from minigrad.ops.promote import as_tensor, x_to


class Reshape(Function):
    """y = x in another shape;  gx = gy in x's"""

    options, is_view = ("shape",), True

    def __init__(self, shape):
        self.shape = shape

    def forward(self, x):
        self.in_shape = x.shape
        return x.reshape(self.shape)

    def backward(self, gy):
        return gy.reshape(self.in_shape)


class Permute(Function):
    """yᵖ = x with dims reordered;  gx = gy with the inverse order"""

    options, is_view = ("dims",), True

    def __init__(self, dims):
        self.dims = dims

    def forward(self, x):
        return x.transpose(self.dims)

    def backward(self, gy):
        inverse = [0] * len(self.dims)
        for place, d in enumerate(self.dims):
            inverse[d] = place
        return gy.transpose(inverse)


class SplitHeads(Function):
    """y = x (B, T, H·d), each row cut into H heads: (B, H, T, d);  gx = the heads of gy side by side again"""

    options, is_view = ("n_heads",), True

    def __init__(self, n_heads):
        self.n_heads = n_heads

    def forward(self, x):
        self.in_shape = B, T, D = x.shape
        return x.reshape(B, T, self.n_heads, D // self.n_heads).transpose((0, 2, 1, 3))

    def backward(self, gy):
        return gy.transpose((0, 2, 1, 3)).reshape(self.in_shape)


class MergeHeads(Function):
    """y = x (B, H, T, d), the heads side by side: (B, T, H·d);  gx = gy's rows cut into heads"""

    is_view = True

    def forward(self, x):
        self.in_shape = B, H, T, d = x.shape
        return x.transpose((0, 2, 1, 3)).reshape(B, T, H * d)

    def backward(self, gy):
        B, H, T, d = self.in_shape
        return gy.reshape(B, T, H, d).transpose((0, 2, 1, 3))


class Expand(Function):
    """y = x repeated along dims of size 1;  gx = gy summed over them (the base class sees to it)"""

    options, is_view = ("shape",), True

    def __init__(self, shape):
        self.shape = shape

    def forward(self, x):
        return self.xp.broadcast_to(x, self.shape)

    def backward(self, gy):
        return gy


class Flip(Function):
    """y = x reversed along dims;  gx = gy reversed along them"""

    options, is_view = ("dims",), True

    def __init__(self, dims):
        self.dims = dims

    def forward(self, x):
        return self.xp.flip(x, self.dims)

    def backward(self, gy):
        return self.xp.flip(gy, self.dims)


class Cat(Function):
    """y = the inputs side by side along dim;  each gx = its piece of gy"""

    options = ("dim",)

    def __init__(self, dim):
        self.dim = dim

    def forward(self, *xs):
        self.sizes = [x.shape[self.dim] for x in xs]
        return self.xp.concatenate(xs, axis=self.dim)

    def backward(self, gy):
        pieces, start = [], 0
        key = [slice(None)] * gy.ndim
        for size in self.sizes:
            key[self.dim] = slice(start, start + size)
            pieces.append(gy[tuple(key)])
            start += size
        return tuple(pieces)


class Stack(Function):
    """y = the inputs along a new dim;  each gx = its slice of gy"""

    options = ("dim",)

    def __init__(self, dim):
        self.dim = dim

    def forward(self, *xs):
        self.n = len(xs)
        return self.xp.stack(xs, axis=self.dim)

    def backward(self, gy):
        key = [slice(None)] * gy.ndim
        pieces = []
        for i in range(self.n):
            key[self.dim] = i
            pieces.append(gy[tuple(key)])
        return tuple(pieces)


class Pad(Function):
    """y = x with a constant border;  gx = gy without the border"""

    options = ("widths", "value")

    def __init__(self, widths, value):
        self.widths, self.value = widths, value

    def forward(self, x):
        return self.xp.pad(x, self.widths, constant_values=self.value)

    def backward(self, gy):
        return gy[tuple(slice(before, n - after) for (before, after), n in zip(self.widths, gy.shape, strict=True))]


class Tril(Function):
    """y = x where column ≤ row + k, else 0;  gx likewise"""

    options = ("k",)

    def __init__(self, k):
        self.k = k

    def forward(self, x):
        return self.xp.tril(x, self.k)

    def backward(self, gy):
        return self.xp.tril(gy, self.k)


class Triu(Function):
    """y = x where column ≥ row + k, else 0;  gx likewise"""

    options = ("k",)

    def __init__(self, k):
        self.k = k

    def forward(self, x):
        return self.xp.triu(x, self.k)

    def backward(self, gy):
        return self.xp.triu(gy, self.k)


# ---- public functions -----------------------------------------------------------------------------------------------


def _ints(args) -> tuple[int, ...]:
    """The arguments of x.reshape(2, 3) and x.reshape((2, 3)) alike."""
    return tuple(args[0]) if len(args) == 1 and isinstance(args[0], tuple | list) else tuple(args)


def _dim(dim: int, ndim: int) -> int:
    """The dim counted from the front; a scalar has 0 and −1, as in PyTorch."""
    if not -max(ndim, 1) <= dim < max(ndim, 1):
        raise IndexError(f"dimension {dim} is out of range for a tensor with {ndim} dimensions")
    return dim % max(ndim, 1)


def reshape(x, *shape) -> Tensor:
    """x in another shape with as many elements; one size may be −1."""
    x, shape = as_tensor(x), _ints(shape)
    if any(n < -1 for n in shape):
        raise ValueError(f"reshape: sizes are at least 0, and one may be -1 for what is left; got {shape}")
    try:
        return Reshape(shape)(x)
    except ValueError:
        raise ValueError(f"reshape: {x.size} elements of shape {tuple(x.shape)} do not fit into {shape}") from None


view = reshape


def flatten(x, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """x with the dims from start_dim to end_dim (inclusive) made one."""
    x = as_tensor(x)
    if x.ndim == 0:
        return reshape(x, 1)
    a, b = _dim(start_dim, x.ndim), _dim(end_dim, x.ndim)
    if a > b:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    n = 1
    for size in x.shape[a:b + 1]:
        n *= size
    return reshape(x, (*x.shape[:a], n, *x.shape[b + 1:]))


def permute(x, *dims) -> Tensor:
    """x with its dims in the given order."""
    x = as_tensor(x)
    order = tuple(_dim(d, x.ndim) for d in _ints(dims))
    if sorted(order) != list(range(x.ndim)):
        raise ValueError(f"permute: {_ints(dims)} is not an order of the {x.ndim} dimensions")
    return Permute(order)(x)


def transpose(x, dim0: int, dim1: int) -> Tensor:
    """x with two dims exchanged (as in PyTorch, not as in NumPy)."""
    x = as_tensor(x)
    a, b = _dim(dim0, x.ndim), _dim(dim1, x.ndim)
    order = [b if d == a else a if d == b else d for d in range(x.ndim)]
    return Permute(tuple(order))(x)


swapaxes = transpose


def split_heads(x, n_heads: int) -> Tensor:
    """(B, T, H·d) -> (B, H, T, d): x.reshape(B, T, H, d).transpose(1, 2) as one node. Raises ValueError if H does not divide.

    >>> import minigrad as mg
    >>> mg.nn.functional.split_heads(mg.ones(2, 5, 12), n_heads=3).shape
    (2, 3, 5, 4)
    """
    x = as_tensor(x)
    if x.ndim != 3 or n_heads < 1 or x.data.shape[2] % n_heads:
        raise ValueError(f"split_heads: needs (B, T, H·d) and a number H of heads that divides the last size; got "
                         f"{tuple(x.shape)} and H = {n_heads}")
    return SplitHeads(n_heads)(x)


def merge_heads(x) -> Tensor:
    """(B, H, T, d) -> (B, T, H·d), what split_heads undone gives: x.transpose(1, 2).reshape(B, T, H·d) as one node."""
    x = as_tensor(x)
    if x.ndim != 4:
        raise ValueError(f"merge_heads: needs (B, H, T, d); got {tuple(x.shape)}")
    return MergeHeads()(x)


def expand(x, *shape) -> Tensor:
    """x repeated, without copying, along dims of size 1; −1 keeps a size, new dims go in front."""
    x, shape = as_tensor(x), _ints(shape)
    lead = len(shape) - x.ndim
    sizes = tuple(x.shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(shape))
    if lead < 0 or any(n != m and m != 1 for n, m in zip(sizes[lead:], x.shape, strict=True)):
        raise ValueError(f"expand: shape {tuple(x.shape)} cannot be repeated to {shape}; only dims of size 1 can")
    return Expand(sizes)(x)


def squeeze(x, dim=None) -> Tensor:
    """x without its dims of size 1, or without those named in `dim` if they have size 1."""
    x = as_tensor(x)
    dims = range(x.ndim) if dim is None else [_dim(d, x.ndim) for d in (dim if isinstance(dim, tuple) else (dim,))]
    return reshape(x, tuple(n for d, n in enumerate(x.shape) if not (d in dims and n == 1)))


def unsqueeze(x, dim: int) -> Tensor:
    """x with a new dim of size 1 at place `dim`."""
    x = as_tensor(x)
    place = _dim(dim, x.ndim + 1)
    return reshape(x, (*x.shape[:place], 1, *x.shape[place:]))


def flip(x, *dims) -> Tensor:
    """x reversed along the given dims."""
    x = as_tensor(x)
    dims = tuple(_dim(d, x.ndim) for d in _ints(dims))
    return Flip(dims if x.ndim else ())(x)


def cat(tensors, dim: int = 0) -> Tensor:
    """The tensors joined along an existing dim; all other sizes must agree.

    >>> import minigrad as mg
    >>> mg.cat([mg.zeros(2, 1), mg.ones(2, 3)], dim=1).shape
    (2, 4)
    """
    tensors = [as_tensor(t) for t in tensors]
    if not tensors:
        raise ValueError("cat: give at least one tensor")
    if any(t.dtype != tensors[0].dtype for t in tensors):
        floats = [t.dtype for t in tensors if t.dtype.kind == "f"]
        if floats:                                  # integers adopt the float dtype they meet, as in arithmetic
            tensors = [x_to(t, max(floats, key=lambda dtype: dtype.itemsize)) for t in tensors]
    if tensors[0].ndim == 0:
        raise ValueError("cat: scalars have no dimension to be joined along; use stack")
    dim = _dim(dim, tensors[0].ndim)
    rest = [(*t.shape[:dim], *t.shape[dim + 1:]) for t in tensors]
    if any(r != rest[0] for r in rest):
        raise ValueError(f"cat along dim {dim}: shapes {[tuple(t.shape) for t in tensors]} differ elsewhere")
    return Cat(dim)(*tensors)


concatenate = cat


def stack(tensors, dim: int = 0) -> Tensor:
    """Tensors of one shape, stacked along a new dim."""
    tensors = [as_tensor(t) for t in tensors]
    if not tensors:
        raise ValueError("stack: give at least one tensor")
    if any(t.shape != tensors[0].shape for t in tensors):
        raise ValueError(f"stack: shapes {[tuple(t.shape) for t in tensors]} differ")
    return Stack(_dim(dim, tensors[0].ndim + 1))(*tensors)


def split(x, split_size, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of `split_size` along dim (the last may be smaller), or of the sizes in a list."""
    x = as_tensor(x)
    if x.ndim == 0:
        raise ValueError("split: a scalar has no dimension to be cut along")
    dim = _dim(dim, x.ndim)
    total = x.shape[dim]
    if isinstance(split_size, int):
        if split_size < 1:
            raise ValueError(f"split: split_size must be at least 1; got {split_size}")
        sizes = [min(split_size, total - i) for i in range(0, total, split_size)] or [0]
    else:
        sizes = list(split_size)
        if sum(sizes) != total:
            raise ValueError(f"split: sizes {sizes} add up to {sum(sizes)}, but dim {dim} has {total}")
    pieces, start = [], 0
    for size in sizes:
        pieces.append(x[(*[slice(None)] * dim, slice(start, start + size))])
        start += size
    return tuple(pieces)


def chunk(x, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size along dim (the last may be smaller)."""
    x = as_tensor(x)
    if chunks < 1:
        raise ValueError(f"chunk: chunks must be at least 1; got {chunks}")
    return split(x, max(1, -(-x.shape[_dim(dim, x.ndim)] // chunks)) if x.ndim else 1, dim)


def pad(x, pad, value: float = 0.0) -> Tensor:
    """x with a border of `value`; pad = (before, after) of the last dim, then of the one before it, and so on."""
    x = as_tensor(x)
    if len(pad) % 2 or len(pad) > 2 * x.ndim or min(pad, default=0) < 0:
        raise ValueError(f"pad: needs (before, after) pairs ≥ 0 for at most {x.ndim} dims; got {tuple(pad)}")
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    return Pad([(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1], value)(x)


def tril(x, diagonal: int = 0) -> Tensor:
    """The lower triangle of the last two dims, 0 above `diagonal`."""
    return Tril(diagonal)(as_tensor(x))


def triu(x, diagonal: int = 0) -> Tensor:
    """The upper triangle of the last two dims, 0 below `diagonal`."""
    return Triu(diagonal)(as_tensor(x))
