"""Picking elements: slices, integer arrays, masks, embeddings. Backward adds up what was picked more than once."""
from __future__ import annotations

from minigrad import backend as _backend
from minigrad.autograd import Function, Tensor
from minigrad.backend import host
from minigrad.ops.promote import as_tensor


class Getitem(Function):
    """y = x[key];  gx = 0 except gx[key] += gy"""

    options = ("key",)

    def __init__(self, key, basic):
        self.key, self.basic = key, basic
        self.is_view = basic

    def forward(self, x):
        self.in_shape = x.shape
        return x[self.key]

    def backward(self, gy):
        gx = self.xp.zeros(self.in_shape, dtype=gy.dtype)
        if self.basic:
            gx[self.key] = gy                       # a slice never names an element twice
        else:
            self.be.index_add(gx, self.key, gy)
        return gx


class Gather(Function):
    """y[…, i, …] = x[…, index[…, i, …], …] along dim;  gx adds gy up at those places"""

    options = ("dim", "index")

    def __init__(self, dim, index):
        self.dim, self.index = dim, index

    def places(self):
        """The full index of each picked element."""
        xp, shape = self.xp, self.index.shape
        key = [xp.arange(n).reshape((-1,) + (1,) * (len(shape) - d - 1)) for d, n in enumerate(shape)]
        key[self.dim] = self.index
        return tuple(key)

    def forward(self, x):
        self.in_shape = x.shape
        return x[self.places()]

    def backward(self, gy):
        gx = self.xp.zeros(self.in_shape, dtype=gy.dtype)
        self.be.index_add(gx, self.places(), gy)
        return gx


class Embedding(Function):
    """y[…] = w[ids[…]];  gw[ids[…]] += gy[…]: a row used twice gets both gradients"""

    options = ("ids",)

    def __init__(self, ids):
        self.ids = ids

    def forward(self, weight):
        self.rows = weight.shape[0]
        return weight[self.be.send(self.ids)]

    def backward(self, gy):
        return self.be.embedding_gradient(self.ids.reshape(-1), gy.reshape(-1, gy.shape[-1]), self.rows)


# ---- public functions -----------------------------------------------------------------------------------------------


def getitem(x, key) -> Tensor:
    """x[key] with slices, integers, None, …, integer lists or arrays, and boolean masks, as in NumPy.

    Raises IndexError when an index is out of range (lists and host arrays are checked before they are sent).
    """
    x = as_tensor(x)
    be = x.backend
    parts = key if isinstance(key, tuple) else (key,)
    ready, basic, dim = [], True, 0
    for part in parts:
        if isinstance(part, Tensor):
            _backend.of(x.data, part.data)          # an index of another backend: the error names both
            part, basic = part.data, False
        elif isinstance(part, list | host.np.ndarray):
            part, basic = be.send(_checked(host.np.asarray(part), x.shape, dim, parts)), False
        elif isinstance(part, host.np.integer):
            part = int(part)
        ready.append(part)
        dim += 0 if part is None else 1
    try:
        return Getitem(tuple(ready) if isinstance(key, tuple) else ready[0], basic)(x)
    except IndexError as error:
        raise IndexError(f"indexing a tensor of shape {tuple(x.shape)}: {error}") from None


def _checked(index, shape, dim, parts):
    """A host index, refused here when it is out of range: a GPU would wrap around silently."""
    if index.size == 0 and index.dtype.kind == "f":
        index = index.astype(host.np.int64)
    if index.dtype.kind not in "iub":
        raise IndexError(f"indices must be integers or booleans; got {index.dtype}")
    simple = not any(p is Ellipsis or getattr(p, "dtype", None) is not None and p.dtype.kind == "b" for p in parts[:-1])
    if index.dtype.kind != "b" and simple and dim < len(shape) and index.size:
        n = shape[dim]
        if index.min() < -n or index.max() >= n:
            bad = int(index.max()) if index.max() >= n else int(index.min())
            raise IndexError(f"index {bad} is out of range for dimension {dim} with size {n}")
    return index


def _device_index(index, x: Tensor, dim: int, what: str):
    """Integer indices for one dim of x, on x's backend; host ones are range-checked first."""
    if isinstance(index, Tensor):
        if index.data.dtype.kind not in "iu":
            raise TypeError(f"{what}: the index must be integers; got {index.data.dtype}")
        _backend.of(x.data, index.data)
        return index.data
    return x.backend.send(host.ids(index, x.shape[dim], f"{what} index"))


def gather(x, dim: int, index) -> Tensor:
    """Pick along `dim`, one index per output element: y[i][j] = x[index[i][j]][j] for dim 0 in 2-D.

    index: as many dims as x, and no larger than x in the others. The gradient adds up over repeated picks.
    """
    from minigrad.ops.shape import _dim

    x = as_tensor(x)
    dim = _dim(dim, x.ndim)
    index = _device_index(index, x, dim, "gather")
    fits = index.ndim == x.ndim and all(index.shape[d] <= x.shape[d] for d in range(x.ndim) if d != dim)
    if not fits:
        raise ValueError(f"gather along dim {dim}: an index of shape {tuple(index.shape)} does not fit x of shape "
                         f"{tuple(x.shape)}")
    return Gather(dim, index)(x)


def index_select(x, dim: int, index) -> Tensor:
    """Whole slices of x along `dim`, in the order of a 1-D index; repeats are allowed."""
    from minigrad.ops.shape import _dim

    x = as_tensor(x)
    dim = _dim(dim, x.ndim)
    index = _device_index(index, x, dim, "index_select")
    if index.ndim != 1:
        raise ValueError(f"index_select: the index must be 1-D; got shape {tuple(index.shape)}")
    return Getitem((*[slice(None)] * dim, index), False)(x)


def embedding(ids, weight) -> Tensor:
    """The rows of `weight` named by integer ids. ids (…) host integers, weight (V, D) -> (…, D).

    Raises IndexError that names the first id outside 0 … V−1.

    >>> import minigrad as mg
    >>> mg.embedding([[1, 0]], mg.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[[3.0, 4.0], [1.0, 2.0]]]
    """
    weight = as_tensor(weight)
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight must be (num_embeddings, embedding_dim); got {tuple(weight.shape)}")
    return Embedding(host.ids(ids, weight.shape[0]))(weight)


def embedding_naive(ids, weight) -> Tensor:
    """The same rows by a matrix product with one-hot vectors: why repeated ids must add up."""
    weight = as_tensor(weight)
    ids = host.ids(ids, weight.shape[0])
    one_hot = host.np.eye(weight.shape[0], dtype=weight.dtype)[ids]
    return Tensor(weight.backend.send(one_hot)) @ weight
