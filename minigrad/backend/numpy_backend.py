"""NumPy on the CPU: the base kernels, with fewer passes over memory where it pays.

The elementwise chains are bound by memory, not arithmetic: working in place and in blocks that fit in the cache
is what makes them faster. Every override computes the base class's formula; a test compares the two.
"""
from __future__ import annotations

import itertools
import math

import numpy as np

from minigrad.backend import formats, memory, numpy_attention, numpy_norm, numpy_products
from minigrad.backend.base import GELU_CUBIC, SQRT_2_OVER_PI, Backend
from minigrad.backend.memory import Padded, aligned, constant
from minigrad.backend.threads import in_blocks, num_threads, pieces, spread

BLOCK = 131_072                                     # elements: 512 KiB of float32; smaller blocks lose to call overhead
CHAIN = 98_304                                      # where about five arrays are in use: they fit, and two threads seldom wait
FEW = 256                                           # numbers that Python goes through faster than NumPy through its passes
LARGE = 1 << 23                                     # multiplications that are worth a second thread: 0.1 ms


def _places(columns, width):
    """Where the element of each row in its column lies in the flat array: one index is looked up faster than two."""
    places = np.arange(0, len(columns) * width, width)
    places += columns
    return places


class NumpyBackend(Backend):
    """The default backend."""

    name = "numpy"
    xp = np
    array_types = (np.ndarray, np.generic)
    gathers_below = 1 << 16                         # 256 KiB of float32: a copy costs more than another block

    def to_numpy(self, a):
        """A host copy of `a`, so that nobody writes into a tensor by accident."""
        return np.array(a)

    def asarray(self, a):
        """`a` itself, or the 0-d array of the scalar that NumPy's reductions return."""
        return a if type(a) is np.ndarray else np.asarray(a)

    def keep_freed_memory(self) -> None:
        """Keep memory that is freed for the next array, where the C library can be asked to."""
        memory.keep_freed_memory()

    def buffer(self, a):
        """The array that owns `a`'s memory; one that `aligned` made counts as such."""
        while isinstance(a.base, np.ndarray) and not isinstance(a.base, Padded):
            a = a.base
        return a

    def owns_memory(self, a) -> bool:
        """Whether `a` is no view of something else's memory; one that `aligned` made is none."""
        return a.base is None or isinstance(a.base, Padded)

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

    # ---- logarithms of a softmax in blocks of rows ------------------------------------------------------------------

    def log_softmax(self, x, dim):
        """y = x − max − log Σ e^(x−max)"""
        if dim != x.ndim - 1 or x.size == 0:
            return super().log_softmax(x, dim)
        V, y = x.shape[-1], aligned(x.shape, x.dtype)
        rows_x, rows_y, ones = x.reshape(-1, V), y.reshape(-1, V), constant(V, 1, x.dtype)

        def rows(i, j):
            xb, yb = rows_x[i:j], rows_y[i:j]
            # max(axis=1) takes three times as long: reduceat goes through all rows in one loop
            largest = np.maximum.reduceat(xb.reshape(-1), np.arange(0, xb.size, V))[:, None]
            np.copyto(yb, largest)
            np.subtract(xb, yb, out=yb)
            e = np.exp(yb, out=aligned(yb.shape, yb.dtype))
            log = e @ ones
            np.log(log, out=log)
            np.copyto(e, log)
            yb -= e

        in_blocks(rows, len(rows_x), CHAIN // V)
        return y

    def log_softmax_backward(self, gy, y, dim):
        """gx = gy − e^y · Σ gy"""
        if dim != y.ndim - 1 or y.size == 0:
            return super().log_softmax_backward(gy, y, dim)
        gx, ones = aligned(y.shape, y.dtype), constant(y.shape[-1], 1, y.dtype)
        rows_gx, rows_gy, rows_y = (a.reshape(-1, y.shape[-1]) for a in (gx, gy, y))

        def rows(i, j):
            out = rows_gx[i:j]
            np.exp(rows_y[i:j], out=out)
            out *= rows_gy[i:j] @ ones
            np.subtract(rows_gy[i:j], out, out=out)

        in_blocks(rows, len(rows_y), CHAIN // y.shape[-1])
        return gx

    def cross_entropy(self, logits, targets, valid):
        """Per row −log softmax(logits)[target] (0 where not valid), and the log softmax"""
        log_p = self.log_softmax(logits, 1)
        picked = log_p.reshape(-1)[_places(targets, log_p.shape[1])]
        return np.where(valid, -picked, log_p.dtype.type(0)), log_p

    def cross_entropy_backward(self, gy, log_p, targets, valid, smoothing):
        """gx = gyᵢ · (softmax − (1−ε)·onehot − ε/V)"""
        scale, gx = np.where(valid, gy, log_p.dtype.type(0))[:, None], aligned(log_p.shape, log_p.dtype)

        def rows(i, j):
            out = gx[i:j]
            np.exp(log_p[i:j], out=out)
            if smoothing:
                out -= smoothing / log_p.shape[1]
            out.reshape(-1)[_places(targets[i:j], log_p.shape[1])] -= 1.0 - smoothing
            out *= scale[i:j]

        in_blocks(rows, len(log_p), CHAIN // max(log_p.shape[1], 1))
        return gx

    # ---- GELU in blocks ---------------------------------------------------------------------------------------------

    def gelu_tanh(self, x, slope=False):
        """y = x·s with s = ½(1 + tanh u), u = √(2/π)(x + 0.044715x³); and dy/dx = s + y·(1 − s)·2u′ if asked"""
        x = np.asarray(x, order="C")                # (ascontiguousarray would give a 0-d array a dimension)
        y, d = aligned(x.shape, x.dtype), aligned(x.shape, x.dtype) if slope else None
        flat_x, flat_y, flat_d = x.reshape(-1), y.reshape(-1), d.reshape(-1) if slope else None

        def block(start, stop):
            xb, yb = flat_x[start:stop], flat_y[start:stop]
            square = np.multiply(xb, xb, out=aligned(xb.shape, xb.dtype))
            s = np.multiply(square, SQRT_2_OVER_PI * GELU_CUBIC, out=aligned(xb.shape, xb.dtype))
            s += SQRT_2_OVER_PI
            s *= xb                                 # u
            np.tanh(s, out=s)
            s *= 0.5
            s += 0.5
            np.multiply(xb, s, out=yb)
            if slope:
                db = flat_d[start:stop]
                square *= 6.0 * SQRT_2_OVER_PI * GELU_CUBIC
                square += 2.0 * SQRT_2_OVER_PI      # 2u′
                square *= yb
                np.subtract(1.0, s, out=db)
                db *= square
                db += s

        in_blocks(block, x.size, CHAIN)
        return y, d

    def erf(self, x):
        """The error function; of a few numbers one by one, where the formula's sixty passes would each cost a call"""
        if x.size > FEW:
            return super().erf(x)
        return np.array([math.erf(v) for v in x.ravel().tolist()], x.dtype).reshape(x.shape)

    def multiply_into(self, gy, factor) -> None:
        """gy ← gy·factor, block by block"""
        if not (gy.flags.c_contiguous and factor.flags.c_contiguous and gy.shape == factor.shape):
            gy *= factor
            return
        a, b = gy.reshape(-1), factor.reshape(-1)
        in_blocks(lambda i, j: np.multiply(a[i:j], b[i:j], out=a[i:j]), a.size, BLOCK)

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

    # ---- layer norm: in blocks of rows ------------------------------------------------------------------------------

    def layer_norm(self, x, weight, bias, eps):
        """y = x̂·w + b with x̂ = (x − mean)·r, r = 1/√(var + eps)"""
        if x.dtype == np.float16:                   # Σ x² of a row passes 65,504 soon; the mean, which the base takes, does not
            return super().layer_norm(x, weight, bias, eps)
        return numpy_norm.forward(x, weight, bias, eps)

    def layer_norm_backward(self, gy, x, r, weight, needs):
        """gx = r·(g − mean g − x̂·mean(g·x̂)) with g = gy·w;  gw = Σ gy·x̂,  gb = Σ gy"""
        if x.dtype == np.float16:
            return super().layer_norm_backward(gy, x, r, weight, needs)
        return numpy_norm.backward(gy, x, r, weight, needs)

    # ---- attention: in blocks that stay in the cache ----------------------------------------------------------------

    def attention(self, q, k, v, visible, additive, scale, drop):
        """o = (P∘drop)·v with P = softmax(scale·q·kᵀ + mask)"""
        if q.shape[-2] == 1 and visible is None and additive is None and drop is None and k.size:
            return numpy_attention.one_query(q, k, v, scale)
        if not numpy_attention.fits(q, k, v):
            return super().attention(q, k, v, visible, additive, scale, drop)
        return numpy_attention.forward(q, k, v, visible, additive, scale, drop)

    def attention_backward(self, go, q, k, v, visible, additive, scale, drop, needs):
        """gv = (P∘drop)ᵀ·go;  gP = (go·vᵀ)∘drop;  gs = P·(gP − Σ gP·P);  gq = scale·gs·k,  gk = scale·gsᵀ·q"""
        if not numpy_attention.fits(q, k, v):
            return super().attention_backward(go, q, k, v, visible, additive, scale, drop, needs)
        return numpy_attention.backward(go, q, k, v, visible, additive, scale, drop, needs)

    # ---- linear and embedding: large products are shared among threads ----------------------------------------------

    def matmul(self, a, b):
        """a·b over the last two dims; a large product in one piece per thread: of a's rows, or of a stack of matrices"""
        if a.size * b.shape[-1] < LARGE or a.shape[:-2] != b.shape[:-2]:
            return a @ b
        out = aligned((*a.shape[:-1], b.shape[-1]), np.result_type(a, b))
        spread(np.matmul, [(a[i:j], b if b.ndim == 2 else b[i:j], out[i:j]) for i, j in pieces(a.shape[0])])
        return out

    def linear(self, x, weight, bias):
        """y = x·wᵀ + b, the bias added in place by the thread that has just made those rows"""
        if x.size * weight.shape[0] < LARGE:
            y = x @ weight.T
            if bias is not None:
                y += bias
            return y
        y = aligned((x.shape[0], weight.shape[0]), np.result_type(x, weight))
        times, parts = numpy_products.plan(x, weight.T)

        def rows(i, j):
            times(x[i:j], y[i:j])
            if bias is not None:
                y[i:j] += bias

        spread(rows, pieces(x.shape[0], parts))
        return y

    def linear_backward(self, gy, x, weight, needs):
        """gx = gy·w,  gw = gyᵀ·x,  gb = Σ gy over rows, at the same time where they are large: the longest job first"""
        (N, out), size = gy.shape, next((a.shape[1] for a in (x, weight) if a is not None), 0)
        if gy.size * size < LARGE:
            return super().linear_backward(gy, x, weight, needs)
        gx, gw, gb = (aligned(shape, gy.dtype) if need else None
                      for need, shape in zip(needs, ((N, size), (out, size), (out,)), strict=True))
        # one thread per product where both are wanted: cutting a matrix would cost more than it gains
        parts, jobs = max(1, num_threads() // (1 + (needs[0] and needs[1]))), []
        if needs[1]:
            jobs += [(np.matmul, gy.T[i:j], x, gw[i:j]) for i, j in pieces(out, parts)]
        if needs[0]:
            times, parts = numpy_products.plan(gy, weight, threads=parts)
            jobs += [(times, gy[i:j], gx[i:j]) for i, j in pieces(N, parts)]
        if needs[2]:
            jobs.append((np.matmul, constant(N, 1, gy.dtype)[:, 0], gy, gb))
        spread(_call, jobs)
        return gx, gw, gb

    def low_rank_linear(self, x, weight, bias, A, B, scale, thin):
        """y = x·(W + s·BA)ᵀ + b and h = s·x·Aᵀ, both from rows of x that are in the cache"""
        if x.size * weight.shape[0] < LARGE:
            return super().low_rank_linear(x, weight, bias, A, B, scale, thin)
        times, parts = numpy_products.plan(x, weight.T, A.T, (B * scale).T)
        y, h = aligned((len(x), len(weight)), x.dtype), np.empty((len(x), len(A)), x.dtype) if thin else None
        A = np.ascontiguousarray((A * scale).T)

        def rows(i, j):
            times(x[i:j], y[i:j])
            if bias is not None:
                y[i:j] += bias
            if thin:
                numpy_products.thin(x[i:j], A, h[i:j])

        spread(rows, pieces(len(x), parts))
        return y, h

    def low_rank_backward(self, gy, x, h, weight, A, B, scale, needs):
        """gx = gy·(W + s·BA),  gA = s·(gy·B)ᵀ·x,  gB = gyᵀ·h: the two thin products beside the large one"""
        if gy.size * A.shape[1] < LARGE:
            return super().low_rank_backward(gy, x, h, weight, A, B, scale, needs)
        gx, gA, gB = (aligned(shape, gy.dtype) if need else None
                      for need, shape in zip(needs, ((len(gy), A.shape[1]), A.shape, B.shape), strict=True))
        B, jobs = B * scale, []
        if needs[0]:
            times, parts = numpy_products.plan(gy, weight, B, A)
            jobs += [(times, gy[i:j], gx[i:j]) for i, j in pieces(len(gy), parts)]
        if needs[1]:
            gh = np.empty((len(gy), len(A)), gy.dtype)
            jobs.append((lambda: (numpy_products.thin(gy, B, gh), numpy_products.thin_gradient(gh, x, gA)),))
        if needs[2]:
            jobs.append((numpy_products.thin_gradient, h, gy, gB.T))
        spread(_call, jobs)
        return gx, gA, gB

    def column_sum(self, gy, factor=None):
        """Σ over rows as a matrix–vector product, which BLAS does faster than a strided sum"""
        return constant(gy.shape[0], 1, gy.dtype)[:, 0] @ (gy if factor is None else gy * factor)

    def embedding_gradient(self, ids, gy, num_embeddings):
        """gw[ids[n]] += gy[n]: rows sorted by id, each run of equal ids summed once (add.at would go row by row)"""
        gw = np.zeros((num_embeddings, gy.shape[1]), gy.dtype)
        if ids.size == 0:
            return gw
        order = np.argsort(ids.astype(np.uint16) if num_embeddings <= 1 << 16 else ids, kind="stable")   # 16 bits: by radix
        in_order, rows = ids[order], gy.take(order, axis=0)
        starts = np.flatnonzero(in_order[1:] != in_order[:-1]) + 1
        if 8 * starts.size > ids.size:              # short runs: one call for all
            starts = np.r_[0, starts]
            gw[in_order[starts]] = np.add.reduceat(rows, starts, axis=0)
            return gw
        for i, j in itertools.pairwise([0, *starts.tolist(), ids.size]):
            np.add.reduce(rows[i:j], axis=0, out=gw[in_order[i]])
        return gw

    # ---- optimizers: the blocks of all runs are shared among the threads ----------------------------------------------

    def each_run(self, work, runs) -> None:
        """The runs in blocks, so that the arrays of a block are read from memory once; a thread takes one after the other."""
        spread(work, [(i, j, step, g[i - start:j - start]) for start, stop, step, g in runs
                      for i in range(start, stop, BLOCK) for j in (min(i + BLOCK, stop),)])

    def adam_step(self, p, g, m, v, *, lr, beta1, beta2, eps, weight_decay, step, decoupled) -> None:
        """The base class's step with one temporary, and 1/root taken out of the quotient: lr̂·root·m/(√v + ε·root)"""
        step_size = lr / (1.0 - beta1 ** step)
        root = math.sqrt(1.0 - beta2 ** step)
        if weight_decay and decoupled:
            p *= 1.0 - lr * weight_decay
        elif weight_decay:
            g = g + weight_decay * p
        t = g * (1.0 - beta1)
        m *= beta1
        m += t
        np.multiply(g, g, out=t)
        t *= 1.0 - beta2
        v *= beta2
        v += t
        np.sqrt(v, out=t)
        t += eps * root
        np.divide(m, t, out=t)
        t *= step_size * root
        p -= t


def _call(function, *args) -> None:
    function(*args)
