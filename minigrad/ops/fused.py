"""Fused operations of a transformer: one node each, with a kernel in the backend, and its naive twin beside it."""
from __future__ import annotations

import functools
import math

from minigrad import backend as _backend
from minigrad.autograd import Function, Tensor
from minigrad.backend import host
from minigrad.ops.elementwise import exp, log, mul, rsqrt, square, sub
from minigrad.ops.promote import as_tensor, floating
from minigrad.ops.reduce import amax, mean
from minigrad.ops.reduce import sum as sum_
from minigrad.ops.shape import _dim, reshape


class Softmax(Function):
    """y = e^x / Σ e^x along dim;  gx = y·(gy − Σ gy·y)"""

    options = ("dim",)

    def __init__(self, dim):
        self.dim = dim

    def forward(self, x):
        y = self.be.softmax(x, self.dim) if x.size else x.copy()
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return self.be.softmax_backward(gy, y, self.dim)


class LogSoftmax(Function):
    """y = x − ln Σ e^x along dim;  gx = gy − e^y·Σ gy"""

    options = ("dim",)

    def __init__(self, dim):
        self.dim = dim

    def forward(self, x):
        y = self.be.log_softmax(x, self.dim) if x.size else x.copy()
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return self.be.log_softmax_backward(gy, y, self.dim)


class LayerNorm(Function):
    """y = x̂·w + b, x̂ = (x − mean)/√(var + ε);  gx = (g − mean g − x̂·mean(g·x̂))/√(var + ε) with g = gy·w"""

    options = ("eps",)

    def __init__(self, eps, n):
        self.eps, self.n = eps, n

    def forward(self, x, *wb):
        w, b = (*wb, None, None)[:2]
        if w is not None and w.ndim > 1:
            w, b = w.reshape(-1), b if b is None else b.reshape(-1)
        y, r = self.be.layer_norm(x.reshape(-1, self.n), w, b, self.eps)
        if self.needs[0]:
            self.save(x, r, *wb[:1])
        elif any(self.needs[1:2]):
            self.save(x)
        return y.reshape(x.shape)

    def backward(self, gy):
        gy, needs = gy.reshape(-1, self.n), (*self.needs, False, False)[:3]
        if not self.saved:
            return (None, None, self.be.column_sum(gy).reshape(self.shapes[2]))
        x, r, w = (*self.saved, None, None)[:3]
        x, w = x.reshape(-1, self.n), None if w is None else w.reshape(-1)
        if r is None:                               # not worth saving for the weight alone
            _, r = self.be.layer_norm(x, None, None, self.eps)
        grads = self.be.layer_norm_backward(gy, x, r, w, needs)
        return tuple(None if g is None else g.reshape(s) for g, s in zip(grads, self.shapes, strict=False))


class RmsNorm(Function):
    """y = x̂·w, x̂ = x/√(mean x² + ε);  gx = (g − x̂·mean(g·x̂))/√(mean x² + ε) with g = gy·w  (arXiv 1910.07467)"""

    options = ("eps",)

    def __init__(self, eps, n):
        self.eps, self.n = eps, n

    def forward(self, x, *w):
        y, xhat, r = self.be.rms_norm(x.reshape(-1, self.n), w[0].reshape(-1) if w else None, self.eps)
        self.save(xhat, r, *w)
        return y.reshape(x.shape)

    def backward(self, gy):
        rows = gy.reshape(-1, self.n)
        xhat, r, *w = self.saved
        gx = gw = None
        if self.needs[0]:
            gx = self.be.rms_norm_backward(rows, xhat, r, w[0].reshape(-1) if w else None).reshape(self.shapes[0])
        if w and self.needs[1]:
            gw = self.be.column_sum(rows, xhat).reshape(self.shapes[1])
        return (gx, gw)[:len(self.needs)]


class CrossEntropy(Function):
    """yᵢ = −(1−ε)·ln pᵢ[targetᵢ] − ε/V·Σ ln pᵢ, p = softmax(x);  gxᵢ = gyᵢ·(pᵢ − (1−ε)·onehotᵢ − ε/V)

    One loss per row; rows with the ignored target give 0.
    """

    options = ("targets", "ignore_index", "label_smoothing")

    def __init__(self, targets, ignore_index, label_smoothing):
        self.targets, self.ignore_index, self.label_smoothing = targets, ignore_index, label_smoothing

    def forward(self, logits):
        ignored = self.targets == self.ignore_index
        self.valid = self.be.send(~ignored)
        self.rows = self.be.send(host.np.where(ignored, 0, self.targets))
        losses, log_p = self.be.cross_entropy(logits, self.rows, self.valid)
        self.save(log_p)
        if self.label_smoothing:
            even = self.xp.where(self.valid, -log_p.mean(axis=1), self.xp.zeros((), dtype=log_p.dtype))
            losses = (1.0 - self.label_smoothing) * losses + self.label_smoothing * even
        return losses

    def backward(self, gy):
        (log_p,) = self.saved
        return self.be.cross_entropy_backward(gy, log_p, self.rows, self.valid, self.label_smoothing)


class ScaledDotProductAttention(Function):
    """o = P·v, P = softmax(scale·q·kᵀ + mask); the inputs are saved, P is made again (arXiv 1706.03762, 2205.14135).

    gv = Pᵀ·go;  gP = go·vᵀ;  gs = P·(gP − Σ gP·P);  gq = scale·gs·k,  gk = scale·gsᵀ·q
    """

    options = ("scale", "dropout_p")

    def __init__(self, scale, visible, additive, dropout_p):
        self.scale, self.visible, self.additive, self.dropout_p = scale, visible, additive, dropout_p

    def forward(self, q, k, v):
        drop = None
        if self.dropout_p:
            batch = host.np.broadcast_shapes(q.shape[:-2], k.shape[:-2])
            keep = host.rng().random((*batch, q.shape[-2], k.shape[-2]), dtype=host.np.float32) >= self.dropout_p
            drop = self.be.send((keep / (1.0 - self.dropout_p)).astype(q.dtype))
        self.save(q, k, v, drop)
        return self.be.attention(q, k, v, self.visible, self.additive, self.scale, drop)

    def backward(self, go):
        q, k, v, drop = self.saved
        return self.be.attention_backward(go, q, k, v, self.visible, self.additive, self.scale, drop, self.needs)


# ---- public functions -----------------------------------------------------------------------------------------------


def softmax(x, dim: int) -> Tensor:
    """e^x / Σ e^x along `dim`, shifted by the maximum so that nothing overflows."""
    x = floating(x)
    return Softmax(_dim(dim, x.ndim))(x) if x.ndim else reshape(softmax(reshape(x, 1), dim), ())


def softmax_naive(x, dim: int) -> Tensor:
    """The same from small operations: five nodes, and three saved arrays instead of one."""
    e = exp(sub(x, amax(x, dim, keepdim=True)))
    return e / sum_(e, dim, keepdim=True)


def log_softmax(x, dim: int) -> Tensor:
    """ln softmax(x) along `dim`, exact where softmax would round to 0."""
    x = floating(x)
    return LogSoftmax(_dim(dim, x.ndim))(x) if x.ndim else reshape(log_softmax(reshape(x, 1), dim), ())


def log_softmax_naive(x, dim: int) -> Tensor:
    """The same from small operations."""
    z = sub(x, amax(x, dim, keepdim=True))
    return z - log(sum_(exp(z), dim, keepdim=True))


def _normalized(name, x, normalized_shape, weight, bias=None) -> int:
    """Check the last dims against normalized_shape; returns how many elements are normalized together."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or x.shape[-len(shape):] != shape:
        raise ValueError(f"{name}: normalized_shape {shape} must be the last sizes of the input {tuple(x.shape)}")
    if weight is not None and weight.shape != shape or bias is not None and bias.shape != shape:
        what, a = ("bias", bias) if weight is None or weight.shape == shape else ("weight", weight)
        raise ValueError(f"{name}: {what} must have shape {shape}; got {tuple(a.shape)}")
    return shape[0] if len(shape) == 1 else math.prod(shape)


def layer_norm(x, normalized_shape, weight=None, bias=None, eps: float = 1e-5) -> Tensor:
    """Each row (the last dims, of `normalized_shape`) with mean 0 and variance 1, times weight, plus bias."""
    x = floating(x)
    n = _normalized("layer_norm", x, normalized_shape, weight, bias)
    if weight is None and bias is not None:
        raise ValueError("layer_norm: a bias without a weight; give both, the weight alone, or none")
    return LayerNorm(eps, n)(x, *[a for a in (weight, bias) if a is not None])


def layer_norm_naive(x, weight=None, bias=None, eps: float = 1e-5) -> Tensor:
    """The same over the last dim, from small operations."""
    centered = sub(x, mean(x, -1, keepdim=True))
    y = centered * rsqrt(mean(square(centered), -1, keepdim=True) + eps)
    y = y if weight is None else mul(y, weight)
    return y if bias is None else y + bias


def rms_norm(x, normalized_shape, weight=None, eps: float | None = None) -> Tensor:
    """Each row divided by its root mean square, times weight; eps defaults to the dtype's machine epsilon."""
    x = floating(x)
    n = _normalized("rms_norm", x, normalized_shape, weight)
    eps = float(host.np.finfo(x.dtype).eps) if eps is None else eps
    return RmsNorm(eps, n)(x, *([] if weight is None else [weight]))


def rms_norm_naive(x, weight=None, eps: float = 1e-5) -> Tensor:
    """The same over the last dim, from small operations."""
    y = mul(x, rsqrt(mean(square(x), -1, keepdim=True) + eps))
    return y if weight is None else mul(y, weight)


def _broadcast(what, *shapes) -> tuple[int, ...]:
    try:
        return host.np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(f"{what} of shape {' and '.join(str(tuple(s)) for s in shapes)} do not broadcast") from None


def attention_mask(be, t_q: int, t_k: int, is_causal: bool, causal_offset: int):
    """The causal mask (Tq, Tk): key j is visible to query i iff j ≤ i + causal_offset; None if all are visible."""
    return _causal_mask(be, t_q, t_k, causal_offset) if is_causal and causal_offset < t_k - 1 else None


@functools.lru_cache(maxsize=8)
def _causal_mask(be, t_q: int, t_k: int, causal_offset: int):
    mask = be.xp.arange(t_k)[None, :] <= be.xp.arange(t_q)[:, None] + causal_offset
    be.set_writeable(mask, False)                   # each layer and each step gets the same one
    return mask


def scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p: float = 0.0, is_causal: bool = False,
                                 scale: float | None = None, *, causal_offset: int = 0) -> Tensor:
    """softmax(scale·q·kᵀ + mask)·v. q (…, Tq, D), k (…, Tk, D), v (…, Tk, Dv) -> (…, Tq, Dv).

    attn_mask: boolean (True: may look) or floating (added to the scores), broadcast to (…, Tq, Tk) · scale: 1/√D ·
    is_causal: key j is visible to query i iff j ≤ i + causal_offset (0 as in PyTorch; Tk − Tq behind a cache or a
    prefix). A query that may look at nothing gives 0.
    """
    q, k, v = floating(q), floating(k), floating(v)
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError(f"attention: q (…, Tq, D), k (…, Tk, D), v (…, Tk, Dv) do not fit: {tuple(q.shape)}, "
                         f"{tuple(k.shape)}, {tuple(v.shape)}")
    scores = (*_broadcast("attention: q, k and v", q.shape[:-2], k.shape[:-2]), q.shape[-2], k.shape[-2])
    if not 0.0 <= dropout_p < 1.0:
        raise ValueError(f"attention: dropout_p must be in 0 ≤ p < 1; got {dropout_p}")
    visible = attention_mask(q.backend, q.shape[-2], k.shape[-2], is_causal, causal_offset)
    additive = None
    if attn_mask is not None:
        mask = as_tensor(attn_mask)
        if mask.requires_grad:
            raise ValueError("attention: attn_mask cannot require a gradient; add the bias to the scores yourself")
        if _broadcast("attention: attn_mask and scores", mask.shape, scores) != scores:
            raise ValueError(f"attention: an attn_mask of shape {tuple(mask.shape)} is larger than the scores, {scores}")
        _backend.of(q.data, mask.data)
        if mask.dtype.kind == "b":
            visible = mask.data if visible is None else visible & mask.data
        else:
            additive = mask.data if mask.dtype == q.dtype else mask.data.astype(q.dtype)
    return ScaledDotProductAttention(1.0 / math.sqrt(q.shape[-1]) if scale is None else scale, visible, additive,
                                     dropout_p)(q, k, v)


def attention_naive(q, k, v, visible=None) -> Tensor:
    """The same from small operations, for a boolean mask in which every query sees something."""
    scores = (q @ k.transpose(-1, -2)) * (1.0 / math.sqrt(q.shape[-1]))
    if visible is not None:
        scores = scores.masked_fill(~as_tensor(visible), float(host.np.finfo(scores.dtype).min))
    return softmax_naive(scores, -1) @ v
