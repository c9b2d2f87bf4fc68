"""Matrix products. Whatever can be one large 2-D product is one: BLAS is at its best there, on CPU and GPU alike."""
from __future__ import annotations

import math

from minigrad.autograd import Function, Tensor
from minigrad.autograd.precision import narrow
from minigrad.ops.promote import as_tensor, pair
from minigrad.ops.shape import reshape, squeeze


def _rows(a):
    """All leading dims as one. (…, D) -> (N, D); for an empty array N is computed, because −1 has no answer where D is 0."""
    if a.ndim == 2:
        return a
    return a.reshape(-1 if a.size else math.prod(a.shape[:-1]), a.shape[-1])


class Matmul(Function):
    """y = a·b;  ga = gy·bᵀ,  gb = aᵀ·gy   (at least 2-D; leading dims broadcast)"""

    def forward(self, a, b):
        self.save(a, b if self.needs[0] else None)
        return self.product(a, b)

    def backward(self, gy):
        a, b = self.saved
        ga = self.product(gy, b.swapaxes(-1, -2)) if self.needs[0] else None
        gb = None
        if self.needs[1]:
            if len(self.shapes[1]) == 2 and a.ndim > 2:     # one product instead of one per batch, summed after
                a, gy = _rows(a), _rows(gy)
            gb = self.be.matmul(a.swapaxes(-1, -2), gy)
        return ga, gb

    def product(self, a, b):
        """a·b; with one matrix b, (…, D) · (D, E) -> (…, E) is one 2-D product."""
        return self.be.matmul(a, b) if b.ndim > 2 else self.be.matmul(_rows(a), b).reshape(*a.shape[:-1], b.shape[1])


class Linear(Function):
    """y = x·wᵀ + b;  gx = gy·w,  gw = gyᵀ·x,  gb = Σ gy over rows   (x with all leading dims flattened to rows)"""

    def forward(self, x, w, *b):
        # the weight's gradient needs x, the input's needs w: a frozen weight saves no activation
        self.save(x if self.needs[1] else None, w if self.needs[0] else None)
        y = self.be.linear(_rows(x), w, b[0] if b else None)
        return y if x.ndim == 2 else y.reshape(x.shape[:-1] + y.shape[1:])

    def backward(self, gy):
        x, w = self.saved
        needs = (*self.needs, False)[:3]            # without a bias there are two
        gx, gw, gb = self.be.linear_backward(_rows(gy), x if x is None else _rows(x), w, needs)
        return (gx if gx is None else gx.reshape(self.shapes[0]), gw, gb)[:len(self.needs)]


class LowRankLinear(Function):
    """y = x·(w + s·BA)ᵀ + b;  gx = gy·(w + s·BA),  gA = s·(gy·B)ᵀ·x,  gB = gyᵀ·h with h = s·x·Aᵀ, gw and gb as Linear's

    The sum w + s·BA is made again in backward. What is kept for A and B is what two small layers would keep: x and h.
    """

    options = ("scale",)

    def __init__(self, scale):
        self.scale = scale

    def forward(self, x, w, A, B, *b):
        needs = self.needs
        y, h = self.be.low_rank_linear(_rows(x), w, b[0] if b else None, A, B, self.scale, needs[3])
        self.save(x if needs[1] or needs[2] else None, h, w if needs[0] else None, A, B)
        return y.reshape(*x.shape[:-1], w.shape[0])

    def backward(self, gy):
        (x, h, w, A, B), needs, gy = self.saved, self.needs, _rows(gy)
        x = x if x is None else _rows(x)
        gx, gA, gB = self.be.low_rank_backward(gy, x, h, w, A, B, self.scale, (needs[0], needs[2], needs[3]))
        _, gw, gb = self.be.linear_backward(gy, x, None, (False, needs[1], len(needs) > 4 and needs[4]))
        return (gx if gx is None else gx.reshape(self.shapes[0]), gw, gA, gB, gb)[:len(needs)]


def matmul(a, b) -> Tensor:
    """The matrix product over the last two dims; leading dims broadcast, 1-D operands are vectors (as in PyTorch).

    Raises ValueError that names both shapes when the inner sizes differ.

    >>> import minigrad as mg
    >>> mg.matmul(mg.ones(5, 2, 3), mg.ones(3, 4)).shape
    (5, 2, 4)
    """
    a, b = pair(as_tensor(a), as_tensor(b))
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError("matmul: both operands need at least one dimension; use * for numbers")
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"matmul: inner sizes differ: {tuple(a.shape)} @ {tuple(b.shape)}")
    vectors = tuple(d for d, t in ((-2, a), (-1, b)) if t.ndim == 1)
    if a.ndim == 1:
        a = reshape(a, (1, -1))
    if b.ndim == 1:
        b = reshape(b, (-1, 1))
    y = Matmul()(a, b)
    return squeeze(y, vectors) if vectors else y


def linear(x, weight, bias=None) -> Tensor:
    """x·weightᵀ + bias as one node. x (…, in), weight (out, in), bias (out,) or None -> (…, out).

    A frozen weight saves no activation and costs no product; raises ValueError when the sizes do not fit.
    """
    if not (isinstance(x, Tensor) and isinstance(weight, Tensor)):
        x, weight = as_tensor(x), as_tensor(weight)
    given, wanted = x.data.shape, weight.data.shape
    if len(wanted) != 2 or not given or given[-1] != wanted[1]:
        raise ValueError(f"linear: the input's last size must be the weight's in_features: input {tuple(x.shape)}, "
                         f"weight (out, in) = {tuple(weight.shape)}")
    if bias is None:
        return Linear()(x, weight)
    if bias.shape != wanted[:1]:
        raise ValueError(f"linear: bias must be ({wanted[0]},), the weight's out_features; got "
                         f"{tuple(bias.shape)}")
    return Linear()(x, weight, bias)


def low_rank_linear(x, weight, bias, A, B, scale: float = 1.0) -> Tensor:
    """x·(weight + scale·B·A)ᵀ + bias as one node. x (…, in), weight (out, in), bias (out,) or None, A (r, in), B (out, r).

    For few rows, where making the sum would cost more than it saves, and where every product rounds to a number format of
    its own, this is `low_rank_linear_naive`. Raises ValueError when the sizes do not fit.
    """
    x, weight, A, B = (as_tensor(t) for t in (x, weight, A, B))
    if A.ndim != 2 or B.ndim != 2 or weight.shape != (B.shape[0], A.shape[1]) or A.shape[0] != B.shape[1]:
        raise ValueError(f"low_rank_linear: B (out, r) and A (r, in) must make a weight (out, in): B {tuple(B.shape)}, A "
                         f"{tuple(A.shape)}, weight {tuple(weight.shape)}")
    n_out, n_in = weight.shape
    few = x.size * (n_in + n_out) <= n_in * weight.size
    if few or x.ndim == 0 or x.shape[-1] != n_in or narrow(x, weight, A, B):
        return low_rank_linear_naive(x, weight, bias, A, B, scale)
    return LowRankLinear(scale)(x, weight, A, B, *([] if bias is None else [bias]))


def low_rank_linear_naive(x, weight, bias, A, B, scale: float = 1.0) -> Tensor:
    """The same with a branch beside the layer: two thin products, a product with the scale and a sum."""
    return linear(x, weight, bias) + linear(linear(x, A) * scale, B)


def linear_naive(x, weight, bias=None) -> Tensor:
    """The same from small operations: a transposed view, a product, a broadcast sum."""
    y = as_tensor(x) @ as_tensor(weight).transpose(0, 1)
    return y if bias is None else y + bias
