"""Reductions: many elements become one, along all or some dimensions."""
from __future__ import annotations

from minigrad.autograd import Function, Tensor
from minigrad.ops.elementwise import clamp, div, exp, log, mul, square, sub
from minigrad.ops.promote import as_tensor, floating


def _spread(gy, shape, dim, keepdim, xp):
    """Repeat a reduced gradient back to the shape it was reduced from."""
    if dim is not None and not keepdim:
        gy = xp.expand_dims(gy, dim)
    return xp.broadcast_to(gy, shape)


def _count(shape, dim) -> int:
    """How many elements each result was made from."""
    dims = range(len(shape)) if dim is None else (dim,) if isinstance(dim, int) else dim
    n = 1
    for d in dims:
        n *= shape[d]
    return n


class _Reduce(Function):
    options = ("dim", "keepdim")

    def __init__(self, dim=None, keepdim=False):
        dim = tuple(dim) if isinstance(dim, list) else dim
        self.dim, self.keepdim = None if dim == () else dim, keepdim        # as in PyTorch: no dims named, all are meant

    def spread(self, a):
        """A reduced array, at its input's shape."""
        return _spread(a, self.in_shape, self.dim, self.keepdim, self.xp)


class Sum(_Reduce):
    """y = Σ x;  gx = gy, repeated"""

    def forward(self, x):
        self.in_shape = x.shape
        return x.sum(axis=self.dim, keepdims=self.keepdim)

    def backward(self, gy):
        return self.spread(gy)


class Mean(_Reduce):
    """y = Σ x / n;  gx = gy/n, repeated"""

    def forward(self, x):
        self.in_shape = x.shape
        return x.mean(axis=self.dim, keepdims=self.keepdim)

    def backward(self, gy):
        return self.spread(gy / _count(self.in_shape, self.dim))


class Var(_Reduce):
    """y = Σ (x − mean)² / (n − c);  gx = gy·2·(x − mean)/(n − c)"""

    options = ("dim", "keepdim", "correction")

    def __init__(self, dim=None, keepdim=False, correction=1):
        super().__init__(dim, keepdim)
        self.correction = correction

    def forward(self, x):
        self.in_shape = x.shape
        centered = x - x.mean(axis=self.dim, keepdims=True)
        n = _count(x.shape, self.dim) - self.correction
        self.n = n if n > 0 else 0
        self.save(centered)
        total = (centered * centered).sum(axis=self.dim, keepdims=self.keepdim)
        return total / self.n if self.n else total * float("nan")

    def backward(self, gy):
        (centered,) = self.saved
        return self.spread(gy) * centered * (2.0 / self.n if self.n else float("nan"))


class Std(_Reduce):
    """y = √(Σ (x − mean)² / (n − c));  gx = gy·(x − mean)/((n − c)·y), and 0 where y = 0"""

    options = ("dim", "keepdim", "correction")

    def __init__(self, dim=None, keepdim=False, correction=1):
        super().__init__(dim, keepdim)
        self.correction = correction

    def forward(self, x):
        self.in_shape = x.shape
        centered = x - x.mean(axis=self.dim, keepdims=True)
        n = _count(x.shape, self.dim) - self.correction
        self.n = n if n > 0 else float("nan")
        y = self.xp.sqrt((centered * centered).sum(axis=self.dim, keepdims=self.keepdim) / self.n)
        self.save(centered, y)
        return y

    def backward(self, gy):
        xp, (centered, y) = self.xp, self.saved
        safe = xp.where(y == 0, 1.0, y).astype(gy.dtype)
        return self.spread(gy / (self.n * safe)) * centered


class Amax(_Reduce):
    """y = max x;  gy is shared equally among all elements that reach the maximum"""

    pick = "max"

    def forward(self, x):
        self.in_shape = x.shape
        y = getattr(x, self.pick)(axis=self.dim, keepdims=self.keepdim)
        self.save(x, y)
        return y

    def backward(self, gy):
        x, y = self.saved
        hit = x == self.spread(y)
        return self.spread(gy) * hit / hit.sum(axis=self.dim, keepdims=True).astype(gy.dtype)


class Amin(Amax):
    """y = min x;  gy is shared equally among all elements that reach the minimum"""

    pick = "min"


class Prod(Function):
    """y = Π x along dim;  gxᵢ = gy·Π_{j≠i} xⱼ, from products of what lies before and after (so zeros are no problem)"""

    options = ("dim", "keepdim")

    def __init__(self, dim, keepdim):
        self.dim, self.keepdim = dim, keepdim

    def forward(self, x):
        self.save(x)
        return x.prod(axis=self.dim, keepdims=self.keepdim)

    def backward(self, gy):
        xp, dim, (x,) = self.xp, self.dim, self.saved
        one = xp.ones_like(xp.take(x, xp.arange(1), axis=dim)) if x.shape[dim] else x
        head = [slice(None)] * x.ndim
        head[dim] = slice(0, -1)
        tail = [slice(None)] * x.ndim
        tail[dim] = slice(1, None)
        before = xp.cumprod(xp.concatenate([one, x[tuple(head)]], axis=dim), axis=dim)
        after = xp.flip(xp.cumprod(xp.flip(xp.concatenate([x[tuple(tail)], one], axis=dim), dim), axis=dim), dim)
        return _spread(gy, x.shape, dim, self.keepdim, xp) * before * after


class Cumsum(Function):
    """yᵢ = Σ_{j≤i} xⱼ;  gxⱼ = Σ_{i≥j} gyᵢ"""

    options = ("dim",)

    def __init__(self, dim):
        self.dim = dim

    def forward(self, x):
        return self.xp.cumsum(x, axis=self.dim)

    def backward(self, gy):
        xp = self.xp
        return xp.flip(xp.cumsum(xp.flip(gy, self.dim), axis=self.dim), self.dim)


class Logsumexp(_Reduce):
    """y = ln Σ eˣ, shifted by the maximum;  gx = gy·e^(x − y)"""

    def forward(self, x):
        xp, self.in_shape = self.xp, x.shape
        top = x.max(axis=self.dim, keepdims=True)
        top = xp.where(xp.isfinite(top), top, 0.0).astype(x.dtype)
        with self.be.quiet():
            y = xp.log(xp.exp(x - top).sum(axis=self.dim, keepdims=True)) + top
        y = y if self.keepdim else y.squeeze(self.dim)
        self.save(x, y)
        return y

    def backward(self, gy):
        x, y = self.saved
        return self.spread(gy) * self.xp.exp(x - self.spread(y))


class Norm(_Reduce):
    """y = √(Σ x²);  gx = gy·x/y, and 0 where y = 0"""

    def forward(self, x):
        xp, self.in_shape = self.xp, x.shape
        y = xp.sqrt((x * x).sum(axis=self.dim, keepdims=self.keepdim))
        self.save(x, y)
        return y

    def backward(self, gy):
        xp, (x, y) = self.xp, self.saved
        safe = xp.where(y == 0, 1.0, y).astype(gy.dtype)
        return self.spread(gy / safe) * x


# ---- public functions -----------------------------------------------------------------------------------------------


def _dims(x, dim):
    """dim as it was given, or None where x is a scalar, of which 0 and −1 may be reduced as in PyTorch."""
    return None if x.ndim == 0 and dim in (0, -1, (0,), (-1,)) else dim


def sum(x, dim=None, keepdim: bool = False) -> Tensor:
    """The sum over all elements, or over `dim` (an int or a tuple of ints, negative counts from the end)."""
    x = as_tensor(x)
    return Sum(_dims(x, dim), keepdim)(x)


def mean(x, dim=None, keepdim: bool = False) -> Tensor:
    """The arithmetic mean over all elements, or over `dim`."""
    x = floating(x)
    return Mean(_dims(x, dim), keepdim)(x)


def var(x, dim=None, correction: int = 1, keepdim: bool = False) -> Tensor:
    """The variance; divides by n − correction (1: the sample variance, 0: the population's)."""
    x = floating(x)
    return Var(_dims(x, dim), keepdim, correction)(x)


def std(x, dim=None, correction: int = 1, keepdim: bool = False) -> Tensor:
    """The standard deviation: the root of `var`; the gradient at 0 is 0."""
    x = floating(x)
    return Std(_dims(x, dim), keepdim, correction)(x)


def amax(x, dim=None, keepdim: bool = False) -> Tensor:
    """The largest element; equal largest elements share the gradient."""
    x = as_tensor(x)
    return Amax(_dims(x, dim), keepdim)(x)


def amin(x, dim=None, keepdim: bool = False) -> Tensor:
    """The smallest element; equal smallest elements share the gradient."""
    x = as_tensor(x)
    return Amin(_dims(x, dim), keepdim)(x)


def max(x, dim=None, keepdim: bool = False):
    """The largest element of all, or (values, indices) along `dim`; then the first largest takes the gradient."""
    return amax(x) if dim is None else _pick(as_tensor(x), dim, keepdim, "argmax")


def min(x, dim=None, keepdim: bool = False):
    """The smallest element of all, or (values, indices) along `dim`; then the first smallest takes the gradient."""
    return amin(x) if dim is None else _pick(as_tensor(x), dim, keepdim, "argmin")


def argmax(x, dim=None, keepdim: bool = False) -> Tensor:
    """The index of the (first) largest element; no gradient."""
    x = as_tensor(x)
    return Tensor(x.backend.asarray(x.data.argmax(axis=_dims(x, dim), keepdims=keepdim)))


def _pick(x, dim, keepdim, which):
    from minigrad.ops.index import gather
    from minigrad.ops.shape import squeeze

    xp = x.backend.xp
    if _dims(x, dim) is None:
        return x, Tensor(xp.zeros((), dtype="int64"))
    index = Tensor(xp.expand_dims(getattr(x.data, which)(axis=dim), dim))
    values = gather(x, dim, index)
    return (values, index) if keepdim else (squeeze(values, dim), Tensor(index.data.squeeze(dim)))


def prod(x, dim=None, keepdim: bool = False) -> Tensor:
    """The product over all elements, or along one `dim`; the gradient is right at zeros too."""
    x = as_tensor(x)
    if _dims(x, dim) is None:
        from minigrad.ops.shape import reshape

        return reshape(Prod(0, False)(reshape(x, (-1,))), (1,) * x.ndim if keepdim else ())
    return Prod(dim, keepdim)(x)


def cumsum(x, dim: int) -> Tensor:
    """Running sums along `dim`."""
    x = as_tensor(x)
    return sum(x) if _dims(x, dim) is None else Cumsum(dim)(x)


def logsumexp(x, dim, keepdim: bool = False) -> Tensor:
    """ln Σ eˣ over `dim`, without overflow; a slice of −∞ gives −∞."""
    x = floating(x)
    return Logsumexp(_dims(x, dim), keepdim)(x)


def logsumexp_naive(x, dim, keepdim: bool = False) -> Tensor:
    """ln Σ eˣ as written; overflows for large x."""
    return log(sum(exp(x), dim, keepdim))


def norm(x, p: float = 2, dim=None, keepdim: bool = False) -> Tensor:
    """The Euclidean norm √Σx² of all elements, or over `dim`; the gradient at 0 is 0.

    p is in PyTorch's place, and must be 2: for others write abs(x).sum(dim), abs(x).amax(dim), …
    """
    if p not in (2, "fro"):
        raise ValueError(f"norm: only the Euclidean norm, p=2, is here; got p={p!r}. A dimension is given as dim=")
    x = floating(x)
    return Norm(_dims(x, dim), keepdim)(x)


def normalize(x, p: float = 2, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x divided by its Euclidean norm (p=2) along `dim` (by eps where the norm is smaller)."""
    return div(x, clamp(norm(x, p, dim, keepdim=True), min=eps))


def var_naive(x, dim=None, correction: int = 1, keepdim: bool = False) -> Tensor:
    """The variance as the formula says it, from small operations."""
    x = floating(x)
    n = _count(x.shape, dim)
    return mul(sum(square(sub(x, mean(x, dim, keepdim=True))), dim, keepdim), 1.0 / (n - correction))
