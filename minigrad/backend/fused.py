"""The Python half of the fused kernels: which arrays a kernel can take, how they are laid out, how it is launched.

A step of a small model on a GPU is bound by the number of launches, not by arithmetic. Here a softmax is one launch
instead of five, an AdamW step one instead of twelve. The kernels' source is kernels/*.cu; who can run it overrides
`_launch`: CuPy on a GPU, and in the tests the same source compiled for the CPU.

A kernel takes contiguous float32 or float16 arrays of one type that are not empty. Whatever else comes (float64 in a
gradient check, another dim, two types) goes to the base class's expression, which takes everything.
"""
from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from minigrad.backend.base import Backend

FOLDER = Path(__file__).with_name("kernels")
FILES = ("device.cuh", "softmax.cu", "cross_entropy.cu", "norm.cu", "elementwise.cu", "sums.cu", "optimizers.cu",
         "formats.cu")
TYPES = {"float32": "float", "float16": "__half"}           # what arrays hold -> what C++ calls it
FORMATS = ("fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "tf32")
PER_TYPE = ("softmax_rows", "softmax_rows_backward", "log_softmax_rows", "log_softmax_rows_backward",
            "masked_softmax_rows", "cross_entropy_rows", "cross_entropy_rows_backward", "layer_norm_rows",
            "layer_norm_rows_backward", "rms_norm_rows", "rms_norm_rows_backward", "gelu_tanh", "erf_elements",
            "sigmoid_elements", "add_bias", "embedding_gradient_in_order", "adam", "unscale")
KERNELS = (*(f"{name}<{T}>" for name in PER_TYPE for T in TYPES.values()), "column_sum<float, float>",
           "column_sum<__half, float>", "column_sum<float, __half>", "embedding_gradient_atomic",
           *(f"round_{format}" for format in FORMATS))
FLAT_THREADS, MOST_BLOCKS = 256, 4096               # enough to fill any GPU; longer arrays are gone through in strides


def source() -> str:
    """The source of all kernels as one text; the files see what those before them define."""
    return "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in FILES)


class FusedBackend(Backend):
    """The base class's kernels, each as one launch.

    deterministic: whether the gradient of an embedding is summed in a fixed order (the default), or as it comes.
    """

    deterministic = True

    def _launch(self, kernel: str, grid: tuple, threads: int, *args) -> None:
        """Run a kernel on `grid` blocks of `threads` threads. args: arrays, None (a null pointer) and NumPy scalars."""
        raise NotImplementedError(f"backend {self.name!r} must say how a kernel is run")

    # ---- what a kernel can take -------------------------------------------------------------------------------------

    def _type(self, *arrays) -> str | None:
        """C++'s name of the one type that all these arrays have; None when no kernel can take them."""
        given = [a for a in arrays if a is not None]
        first = given[0]
        if any(a.dtype != first.dtype or a.size == 0 for a in given) or first.size >= 2 ** 40:
            return None
        return TYPES.get(first.dtype.name)

    def _laid_out(self, *arrays):
        """The arrays in C order, where they were not (None stays None)."""
        return [None if a is None else self.xp.ascontiguousarray(a) for a in arrays]

    def _by_rows(self, kernel: str, T: str, rows: int, n: int, *args) -> None:
        """One block per row; about four elements for each thread, at least a warp of 32, at most 1024."""
        threads = min(1024, max(32, 1 << (n // 4).bit_length()))
        self._launch(f"{kernel}<{T}>", (rows,), threads, *args)

    def _flat(self, kernel: str, n: int, *args) -> None:
        """Threads that go through n elements in strides."""
        self._launch(kernel, (min(MOST_BLOCKS, -(-n // FLAT_THREADS)),), FLAT_THREADS, *args)

    def _last(self, x, dim: int) -> bool:
        return x.ndim > 0 and dim in (-1, x.ndim - 1)

    # ---- softmax family ---------------------------------------------------------------------------------------------

    def softmax(self, x, dim):
        """yᵢ = e^(xᵢ−max) / Σⱼ e^(xⱼ−max)"""
        return self._rows_to_rows("softmax_rows", (x,), dim, super().softmax)

    def softmax_backward(self, gy, y, dim):
        """gx = y · (gy − Σ gy·y)"""
        return self._rows_to_rows("softmax_rows_backward", (gy, y), dim, super().softmax_backward)

    def log_softmax(self, x, dim):
        """y = x − max − log Σ e^(x−max)"""
        return self._rows_to_rows("log_softmax_rows", (x,), dim, super().log_softmax)

    def log_softmax_backward(self, gy, y, dim):
        """gx = gy − e^y · Σ gy"""
        return self._rows_to_rows("log_softmax_rows_backward", (gy, y), dim, super().log_softmax_backward)

    def _rows_to_rows(self, kernel, inputs, dim, otherwise):
        """A kernel from arrays of one shape to a new one of that shape, along the last dim."""
        x = inputs[0]
        T = self._type(*inputs)
        if T is None or not self._last(x, dim) or any(a.shape != x.shape for a in inputs):
            return otherwise(*inputs, dim)
        inputs = self._laid_out(*inputs)
        y, n = self.xp.empty(x.shape, dtype=x.dtype), x.shape[-1]
        self._by_rows(kernel, T, x.size // n, n, *inputs, y, np.int32(n))
        return y

    def masked_softmax(self, s, visible, additive):
        """Softmax over the last dim of what `visible` allows, after adding `additive`; overwrites s, which is ours."""
        T = self._type(s, additive)
        masks = [mask.shape for mask in (visible, additive) if mask is not None]
        if T is None or np.broadcast_shapes(s.shape, *masks) != s.shape:
            return super().masked_softmax(s, visible, additive)
        xp, n, rows = self.xp, s.shape[-1], 1
        if additive is not None and additive.shape != s.shape:
            additive = xp.broadcast_to(additive, s.shape)
        if visible is not None:
            if visible.shape != s.shape[s.ndim - visible.ndim:]:    # a (Tq, Tk) mask serves every head as it is
                visible = xp.broadcast_to(visible, s.shape)
            rows = visible.size // n
        s, visible, additive = self._laid_out(s, visible, additive)
        self._by_rows("masked_softmax_rows", T, s.size // n, n, s, visible, additive, s, np.int32(n), np.int32(rows))
        return s

    def cross_entropy(self, logits, targets, valid):
        """Per row −log softmax(logits)[target] (0 where not valid), and the log softmax."""
        T = self._type(logits)
        if T is None:
            return super().cross_entropy(logits, targets, valid)
        xp, (rows, V) = self.xp, logits.shape
        (logits,) = self._laid_out(logits)
        losses, log_p = xp.empty(rows, dtype=logits.dtype), xp.empty(logits.shape, dtype=logits.dtype)
        self._by_rows("cross_entropy_rows", T, rows, V, logits, targets, valid, losses, log_p, np.int32(V))
        return losses, log_p

    def cross_entropy_backward(self, gy, log_p, targets, valid, smoothing):
        """gx = gyᵢ · (softmax − (1−ε)·onehot − ε/V)"""
        T = self._type(gy, log_p)
        if T is None:
            return super().cross_entropy_backward(gy, log_p, targets, valid, smoothing)
        gy, log_p = self._laid_out(gy, log_p)
        gx, V = self.xp.empty(log_p.shape, dtype=log_p.dtype), log_p.shape[1]
        self._by_rows("cross_entropy_rows_backward", T, log_p.shape[0], V, gy, log_p, targets, valid, gx, np.int32(V),
                      np.float32(smoothing))
        return gx

    # ---- activations ------------------------------------------------------------------------------------------------

    def sigmoid(self, x):
        """1 / (1 + e^−x), with an exponent that is never positive."""
        return self._elements("sigmoid_elements", x, super().sigmoid)

    def erf(self, x):
        """The error function, as the CUDA library computes it."""
        return self._elements("erf_elements", x, super().erf)

    def _elements(self, kernel, x, otherwise):
        T = self._type(x)
        if T is None:
            return otherwise(x)
        shape, (x,) = x.shape, self._laid_out(x)    # (a number comes back from _laid_out with one dim)
        y = self.xp.empty(shape, dtype=x.dtype)
        self._flat(f"{kernel}<{T}>", x.size, x, y, np.int64(x.size))
        return y

    def gelu_tanh(self, x, slope=False):
        """y = x·Φ̃(x), and, if asked, dy/dx (else None)."""
        T = self._type(x)
        if T is None:
            return super().gelu_tanh(x, slope)
        xp = self.xp
        shape, (x,) = x.shape, self._laid_out(x)
        y, d = xp.empty(shape, dtype=x.dtype), xp.empty(shape, dtype=x.dtype) if slope else None
        self._flat(f"gelu_tanh<{T}>", x.size, x, y, d, np.int64(x.size))
        return y, d

    # ---- number formats ---------------------------------------------------------------------------------------------

    def round_to(self, x, fmt, saturate=False):
        """float32 x on the grid of a format, to nearest even: a new array, by the format's own kernel"""
        if saturate or fmt.name not in FORMATS or self._type(x) != "float":
            return super().round_to(x, fmt, saturate)
        shape, (x,) = x.shape, self._laid_out(x)
        y = self.xp.empty(shape, dtype=x.dtype)
        self._flat(f"round_{fmt.name}", x.size, x, y, np.int64(x.size))
        return y

    # ---- normalization ----------------------------------------------------------------------------------------------

    def layer_norm(self, x, weight, bias, eps):
        """y = x̂·w + b with x̂ = (x − mean)·r, r = 1/√(var + eps)"""
        T = self._type(x, weight, bias)
        if T is None:
            return super().layer_norm(x, weight, bias, eps)
        x, weight, bias = self._laid_out(x, weight, bias)
        y, r = self.xp.empty(x.shape, dtype=x.dtype), self.xp.empty((x.shape[0], 1), dtype=x.dtype)
        self._by_rows("layer_norm_rows", T, *x.shape, x, weight, bias, y, r, np.int32(x.shape[1]), np.float32(eps))
        return y, r

    def layer_norm_backward(self, gy, x, r, weight, needs):
        """gx = r·(g − mean g − x̂·mean(g·x̂)) with g = gy·w;  gw = Σ gy·x̂,  gb = Σ gy over rows"""
        T = self._type(gy, x, r, weight)
        if T is None:
            return super().layer_norm_backward(gy, x, r, weight, needs)
        xp = self.xp
        gy, x, r, weight = self._laid_out(gy, x, r, weight)
        gx, along = (xp.empty(gy.shape, dtype=gy.dtype) if need else None for need in needs[:2])    # along: gy·x̂
        if needs[0] or needs[1]:
            self._by_rows("layer_norm_rows_backward", T, *gy.shape, gy, x, r, weight, gx, along, np.int32(gy.shape[1]))
        return gx, self.column_sum(along) if needs[1] else None, self.column_sum(gy) if needs[2] else None

    def rms_norm(self, x, weight, eps):
        """y = x̂·w with x̂ = x·r, r = 1/√(mean x² + eps)"""
        T = self._type(x, weight)
        if T is None:
            return super().rms_norm(x, weight, eps)
        x, weight = self._laid_out(x, weight)
        y, xhat, r = self._norm_outputs(x)
        self._by_rows("rms_norm_rows", T, *x.shape, x, weight, y, xhat, r, np.int32(x.shape[1]), np.float32(eps))
        return y, xhat, r

    def rms_norm_backward(self, gy, xhat, r, weight):
        """gx = r·(g − x̂·mean(g·x̂)) with g = gy·w"""
        return self._norm_backward("rms_norm_rows_backward", gy, xhat, r, weight, super().rms_norm_backward)

    def _norm_outputs(self, x):
        xp = self.xp
        return (xp.empty(x.shape, dtype=x.dtype), xp.empty(x.shape, dtype=x.dtype),
                xp.empty((x.shape[0], 1), dtype=x.dtype))

    def _norm_backward(self, kernel, gy, xhat, r, weight, otherwise):
        T = self._type(gy, xhat, r, weight)
        if T is None:
            return otherwise(gy, xhat, r, weight)
        gy, xhat, r, weight = self._laid_out(gy, xhat, r, weight)
        gx = self.xp.empty(gy.shape, dtype=gy.dtype)
        self._by_rows(kernel, T, *gy.shape, gy, xhat, r, weight, gx, np.int32(gy.shape[1]))
        return gx

    # ---- linear and embedding ---------------------------------------------------------------------------------------

    def linear(self, x, weight, bias):
        """y = x·wᵀ + b: one 2-D product, the bias added in place"""
        y = x @ weight.T
        if bias is None:
            return y
        T = self._type(y, bias)
        if T is None or not y.flags.c_contiguous:
            return y + bias
        (bias,) = self._laid_out(bias)
        self._flat(f"add_bias<{T}>", y.size, y, bias, np.int64(y.size), np.int32(y.shape[1]))
        return y

    def column_sum(self, gy, factor=None):
        """Σ over rows in two launches: sums of chunks of rows, then the sum of those; always in the same order"""
        T = self._type(gy)
        if T is None or gy.ndim != 2:
            return super().column_sum(gy, factor)
        gy = gy if factor is None else gy * factor
        xp, (N, D) = self.xp, gy.shape
        (gy,) = self._laid_out(gy)
        per_chunk = max(32, math.isqrt(N))
        chunks, columns = -(-N // per_chunk), -(-D // 128)
        parts, total = xp.empty((chunks, D), dtype="float32"), xp.empty(D, dtype=gy.dtype)
        self._launch(f"column_sum<{T}, float>", (columns, chunks), 128, gy, parts, np.int32(N), np.int32(D),
                    np.int32(per_chunk))
        self._launch(f"column_sum<float, {T}>", (columns, 1), 128, parts, total, np.int32(chunks), np.int32(D),
                    np.int32(chunks))
        return total

    def embedding_gradient(self, ids, gy, num_embeddings):
        """gw[ids[n]] += gy[n]: sorted on the host, where the ids are, so that the order of each sum is fixed"""
        T = self._type(gy)
        if T is None:
            return super().embedding_gradient(ids, gy, num_embeddings)
        (gy,) = self._laid_out(gy)
        n, D = gy.shape
        gw = self.xp.zeros((num_embeddings, D), dtype=gy.dtype)
        if not self.deterministic and T == "float":
            self._flat("embedding_gradient_atomic", gy.size, gy, self.send(ids), gw, np.int64(gy.size), np.int32(D))
            return gw
        order = np.argsort(ids, kind="stable")
        in_order = ids[order]
        starts = np.flatnonzero(np.r_[True, in_order[1:] != in_order[:-1]])
        plan = self.send(np.concatenate([order, starts, [n], in_order[starts]]).astype(np.int64))
        self._by_rows("embedding_gradient_in_order", T, starts.size, D, gy, plan, gw, np.int32(n), np.int32(starts.size),
                      np.int32(D))
        return gw

    # ---- optimizers -------------------------------------------------------------------------------------------------

    def adam_step(self, p, g, m, v, *, lr, beta1, beta2, eps, weight_decay, step, decoupled) -> None:
        """The whole step in one launch. Writes p, m and v."""
        T = self._type(p, g, m, v)
        if T is None or not all(a.flags.c_contiguous for a in (p, g, m, v)):
            super().adam_step(p, g, m, v, lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, step=step,
                              decoupled=decoupled)
            return
        keep = 1.0 - lr * weight_decay if decoupled else 1.0
        numbers = (beta1, 1.0 - beta1, beta2, 1.0 - beta2, keep, 0.0 if decoupled else weight_decay,
                   lr / (1.0 - beta1 ** step), math.sqrt(1.0 - beta2 ** step), eps)
        self._flat(f"adam<{T}>", p.size, p, g, m, v, np.int64(p.size), *map(np.float32, numbers))

    def unscale(self, g, factor, overflow):
        """g·factor, and 1 into `overflow` where a result is infinite or NaN: one pass instead of three"""
        T = self._type(g)
        if T is None:
            return super().unscale(g, factor, overflow)
        shape, (g,) = g.shape, self._laid_out(g)
        out = self.xp.empty(shape, dtype=g.dtype)
        self._flat(f"unscale<{T}>", g.size, g, out, overflow, np.int64(g.size), np.float32(factor))
        return out
