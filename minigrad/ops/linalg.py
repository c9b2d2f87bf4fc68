"""Matrix products. Whatever can be one large 2-D product is one: BLAS is at its best there, on CPU and GPU alike."""
from __future__ import annotations

import math

from minigrad.autograd import Function, Tensor
from minigrad.ops.promote import as_tensor, pair
from minigrad.ops.shape import reshape, squeeze


def _rows(a):
    """All leading dims as one. (…, D) -> (N, D); N is computed, because −1 has no answer where D is 0."""
    return a if a.ndim == 2 else a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


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
        rows = self.be.linear(_rows(x), w, b[0] if b else None)
        return rows.reshape(*x.shape[:-1], w.shape[0])

    def backward(self, gy):
        x, w = self.saved
        needs = (*self.needs, False)[:3]            # without a bias there are two
        gx, gw, gb = self.be.linear_backward(_rows(gy), x if x is None else _rows(x), w, needs)
        return (gx if gx is None else gx.reshape(self.shapes[0]), gw, gb)[:len(self.needs)]


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
    x, weight = as_tensor(x), as_tensor(weight)
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"linear: the input's last size must be the weight's in_features: input {tuple(x.shape)}, "
                         f"weight (out, in) = {tuple(weight.shape)}")
    if bias is None:
        return Linear()(x, weight)
    if bias.shape != (weight.shape[0],):
        raise ValueError(f"linear: bias must be ({weight.shape[0]},), the weight's out_features; got "
                         f"{tuple(bias.shape)}")
    return Linear()(x, weight, bias)


def linear_naive(x, weight, bias=None) -> Tensor:
    """The same from small operations: a transposed view, a product, a broadcast sum."""
    y = as_tensor(x) @ as_tensor(weight).transpose(0, 1)
    return y if bias is None else y + bias
