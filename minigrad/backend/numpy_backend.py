"""NumPy on the CPU: the base kernels, with fewer passes over memory where it pays.

The elementwise chains are bound by memory, not arithmetic: working in place and in blocks that fit in the cache
is what makes them faster. Every override computes the base class's formula; a test compares the two.
"""
from __future__ import annotations

import math

import numpy as np

from minigrad.backend import formats, memory, numpy_attention
from minigrad.backend.base import GELU_CUBIC, SQRT_2_OVER_PI, Backend

BLOCK = 65_536                                      # elements: 256 KiB of float32; smaller blocks lose to call overhead


class NumpyBackend(Backend):
    """The default backend."""

    name = "numpy"
    xp = np
    array_types = (np.ndarray, np.generic)

    def to_numpy(self, a):
        """A host copy of `a`, so that nobody writes into a tensor by accident."""
        return np.array(a)

    def asarray(self, a):
        """`a` itself, or the 0-d array of the scalar that NumPy's reductions return."""
        return a if type(a) is np.ndarray else np.asarray(a)

    def keep_freed_memory(self) -> None:
        """Keep memory that is freed for the next array, where the C library can be asked to."""
        memory.keep_freed_memory()

    def set_writeable(self, a, flag: bool) -> None:
        """Refuse or allow writes into `a` from now on (a view of something read-only stays so)."""
        if not flag or a.base is None or getattr(a.base, "flags", a.flags).writeable:
            a.flags.writeable = flag

    def quiet(self):
        """A context in which an infinite result is no warning."""
        return np.errstate(over="ignore", divide="ignore")

    # ---- softmax family: one temporary, then in place ---------------------------------------------------------------

    def softmax(self, x, dim):
        """yᵢ = e^(xᵢ−max) / Σⱼ e^(xⱼ−max)"""
        y = x - x.max(axis=dim, keepdims=True)
        np.exp(y, out=y)
        y /= y.sum(axis=dim, keepdims=True)
        return y

    def softmax_backward(self, gy, y, dim):
        """gx = y · (gy − Σ gy·y)"""
        gx = gy * y
        total = gx.sum(axis=dim, keepdims=True)
        np.subtract(gy, total, out=gx)
        gx *= y
        return gx

    def masked_softmax(self, s, visible, additive):
        """Softmax over the last dim of what `visible` allows, after adding `additive`; overwrites s, which is ours."""
        if s.size == 0:
            return s
        lowest = float(np.finfo(s.dtype).min)
        if additive is not None:
            s = s + additive
        if visible is not None:
            np.copyto(s, lowest, where=~visible)
        s -= np.maximum(s.max(axis=-1, keepdims=True), lowest)
        np.exp(s, out=s)
        # what is hidden is 0 by now, unless everything visible is as low: in a row that sees nothing, or next to −∞
        if visible is not None and (additive is not None or not visible.any(axis=-1).all()):
            s *= visible
        total = s.sum(axis=-1, keepdims=True)
        total[total == 0] = 1.0
        s /= total
        return s

    # ---- GELU in blocks ---------------------------------------------------------------------------------------------

    def gelu_tanh(self, x, slope=False):
        """y = x·s with s = ½(1 + tanh u), u = √(2/π)(x + 0.044715x³); and dy/dx = s + y·(1 − s)·2u′ if asked"""
        x = np.asarray(x, order="C")                # (ascontiguousarray would give a 0-d array a dimension)
        y, d = np.empty_like(x), np.empty_like(x) if slope else None
        flat_x, flat_y, flat_d = x.reshape(-1), y.reshape(-1), d.reshape(-1) if slope else None
        square, half = np.empty(min(BLOCK, x.size), x.dtype), np.empty(min(BLOCK, x.size), x.dtype)
        for start in range(0, x.size, BLOCK):
            xb, yb = flat_x[start:start + BLOCK], flat_y[start:start + BLOCK]
            q, s = square[:xb.size], half[:xb.size]
            np.multiply(xb, xb, out=q)
            np.multiply(q, SQRT_2_OVER_PI * GELU_CUBIC, out=s)
            s += SQRT_2_OVER_PI
            s *= xb                                 # u
            np.tanh(s, out=s)
            s *= 0.5
            s += 0.5
            np.multiply(xb, s, out=yb)
            if slope:
                db = flat_d[start:start + BLOCK]
                q *= 6.0 * SQRT_2_OVER_PI * GELU_CUBIC
                q += 2.0 * SQRT_2_OVER_PI           # 2u′
                q *= yb
                np.subtract(1.0, s, out=db)
                db *= q
                db += s
        return y, d

    # ---- number formats in blocks, without the passes that this block does not need -------------------------------------

    def round_to(self, x, fmt, saturate=False):
        """The tricks of formats.py in place; a block with NaN, infinity or overflow goes the careful way"""
        x = np.asarray(x, dtype=np.float32, order="C")
        y = np.empty_like(x)
        flat_x, flat_y = x.reshape(-1), y.reshape(-1)
        for start in range(0, x.size, BLOCK):
            xb, yb = flat_x[start:start + BLOCK], flat_y[start:start + BLOCK]
            if fmt.name == "fp32" or not max(xb.max(), -xb.min()) <= fmt.max:
                with np.errstate(all="ignore"):     # an overflow is a result here, not a mistake
                    yb[...] = formats.round_to(np, xb, fmt, saturate)
            elif fmt.exponent_bits == 8:
                u, r, cut = xb.view(np.uint32), yb.view(np.uint32), 23 - fmt.mantissa_bits
                np.right_shift(u, cut, out=r)
                r &= 1
                r += (1 << (cut - 1)) - 1
                r += u
                r &= 0xFFFFFFFF ^ ((1 << cut) - 1)
                if saturate:
                    np.clip(yb, -fmt.max, fmt.max, out=yb)
            else:
                magic = xb.view(np.uint32) & 0x7F800000
                np.maximum(magic, (fmt.emin + 127) << 23, out=magic)
                magic += ((23 - fmt.mantissa_bits) << 23) | 0x400000
                magic = magic.view(np.float32)
                np.add(xb, magic, out=yb)
                yb -= magic
                np.copysign(yb, xb, out=yb)
                if saturate is False and fmt.ieee and yb.max() > fmt.max:
                    yb[...] = formats.round_to(np, xb, fmt)
        return y

    # ---- layer norm: row sums by einsum, which needs no temporary ---------------------------------------------------

    def layer_norm(self, x, weight, bias, eps):
        """y = x̂·w + b with x̂ = (x − mean)·r, r = 1/√(var + eps)"""
        xhat = x - x.mean(axis=1, keepdims=True)
        r = np.einsum("nd,nd->n", xhat, xhat)[:, None]
        r /= max(x.shape[1], 1)
        r += eps
        np.sqrt(r, out=r)
        np.reciprocal(r, out=r)
        xhat *= r
        if weight is None:
            return (xhat if bias is None else xhat + bias), xhat, r
        y = xhat * weight
        if bias is not None:
            y += bias
        return y, xhat, r

    def layer_norm_backward(self, gy, xhat, r, weight):
        """gx = r·(g − mean g − x̂·mean(g·x̂)) with g = gy·w"""
        g = gy.copy() if weight is None else gy * weight
        along = np.einsum("nd,nd->n", g, xhat)[:, None]
        along /= max(g.shape[1], 1)
        g -= g.mean(axis=1, keepdims=True)
        g -= xhat * along
        g *= r
        return g

    # ---- attention: in blocks that stay in the cache ----------------------------------------------------------------

    def attention(self, q, k, v, visible, additive, scale, drop):
        """o = (P∘drop)·v with P = softmax(scale·q·kᵀ + mask)"""
        if not numpy_attention.fits(q, k, v):
            return super().attention(q, k, v, visible, additive, scale, drop)
        return numpy_attention.forward(q, k, v, visible, additive, scale, drop)

    def attention_backward(self, go, q, k, v, visible, additive, scale, drop, needs):
        """gv = (P∘drop)ᵀ·go;  gP = (go·vᵀ)∘drop;  gs = P·(gP − Σ gP·P);  gq = scale·gs·k,  gk = scale·gsᵀ·q"""
        if not numpy_attention.fits(q, k, v):
            return super().attention_backward(go, q, k, v, visible, additive, scale, drop, needs)
        return numpy_attention.backward(go, q, k, v, visible, additive, scale, drop, needs)

    # ---- linear and embedding ---------------------------------------------------------------------------------------

    def linear(self, x, weight, bias):
        """y = x·wᵀ + b, the bias added in place"""
        y = x @ weight.T
        if bias is not None:
            y += bias
        return y

    def column_sum(self, gy):
        """Σ over rows as a matrix–vector product, which BLAS does faster than a strided sum"""
        return np.ones(gy.shape[0], gy.dtype) @ gy

    def embedding_gradient(self, ids, gy, num_embeddings):
        """gw[ids[n]] += gy[n]: rows sorted by id, each run of equal ids summed once (add.at would go row by row)"""
        gw = np.zeros((num_embeddings, gy.shape[1]), gy.dtype)
        if ids.size:
            order = np.argsort(ids, kind="stable")
            in_order = ids[order]
            starts = np.flatnonzero(np.r_[True, in_order[1:] != in_order[:-1]])
            gw[in_order[starts]] = np.add.reduceat(gy[order], starts, axis=0)
        return gw

    # ---- Adam in blocks ---------------------------------------------------------------------------------------------

    def adam_step(self, p, g, m, v, *, lr, beta1, beta2, eps, weight_decay, step, decoupled) -> None:
        """The base class's step, block by block, so that the six arrays are read once from memory."""
        step_size = lr / (1.0 - beta1 ** step)
        root = math.sqrt(1.0 - beta2 ** step)
        t = np.empty(min(BLOCK, p.size), p.dtype)
        for start in range(0, p.size, BLOCK):
            pb, gb = p[start:start + BLOCK], g[start:start + BLOCK]
            mb, vb, tb = m[start:start + BLOCK], v[start:start + BLOCK], t[:pb.size]
            if weight_decay and decoupled:
                pb *= 1.0 - lr * weight_decay
            elif weight_decay:
                gb = gb + weight_decay * pb
            mb *= beta1
            np.multiply(gb, 1.0 - beta1, out=tb)
            mb += tb
            vb *= beta2
            np.multiply(gb, gb, out=tb)
            tb *= 1.0 - beta2
            vb += tb
            np.sqrt(vb, out=tb)
            tb /= root
            tb += eps
            np.divide(mb, tb, out=tb)
            tb *= step_size
            pb -= tb
