"""The kernels, as plain array expressions: the executable specification that every backend must agree with.

Each method works on the raw arrays of any NumPy-like library `self.xp`. A backend overrides only what is worth
speeding up, with the same signature and the same numbers. None of them writes into its arguments, except the
optimizer steps and `masked_softmax`, which may use up its scores.
"""
from __future__ import annotations

import math

from minigrad.backend import formats

SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
GELU_CUBIC = 0.044715                               # Hendrycks & Gimpel, arXiv 1606.08415


class Backend:
    """An array library and the fused kernels on its arrays.

    name: what `use_backend` calls it · xp: the library · array_types: the classes of its arrays.
    """

    name = "base"
    xp = None
    array_types: tuple[type, ...] = ()
    gathers_below = math.inf                        # gradients of fewer elements are copied side by side before a step

    # ---- moving arrays ----------------------------------------------------------------------------------------------

    def owns(self, a) -> bool:
        """Whether `a` is an array of this library."""
        return isinstance(a, self.array_types)

    def send(self, array, dtype=None):
        """This library's copy of a host (NumPy) array."""
        return self.xp.array(array, dtype=dtype)

    def to_numpy(self, a):
        """A host (NumPy) copy of `a`."""
        raise NotImplementedError(f"backend {self.name!r} must say how an array reaches the host")

    def asarray(self, a):
        """`a` itself, or the 0-d array of a scalar that a reduction returned."""
        return a if isinstance(a, self.array_types[0]) else self.xp.asarray(a)

    def keep_freed_memory(self) -> None:
        """Keep memory that is freed for the next array of that size; a GPU's memory pool does it by itself."""

    def synchronize(self) -> None:
        """Wait for work in flight; nothing to wait for on a CPU."""

    def memory_used(self) -> int:
        """Bytes of device memory in use; 0 where the library does not count."""
        return 0

    def device(self) -> dict:
        """What the arrays live on: its name under "device", and what else the library knows about it."""
        return {"device": "the CPU"}

    def no_waiting(self):
        """A context in which the library raises when the host waits for the device, as far as it notices."""
        import contextlib

        return contextlib.nullcontext()

    def buffer(self, a):
        """The array that owns `a`'s memory: `a` itself, or what it is a view of."""
        while getattr(a, "base", None) is not None and isinstance(a.base, self.array_types[0]):
            a = a.base
        return a

    def owns_memory(self, a) -> bool:
        """Whether `a` is no view of something else's memory."""
        return getattr(a, "base", None) is None

    def set_writeable(self, a, flag: bool) -> None:
        """Refuse or allow writes into `a` from now on, where the library can."""

    def quiet(self):
        """A context in which an infinite result is no warning (a GPU never warns)."""
        import contextlib

        return contextlib.nullcontext()

    # ---- softmax family ---------------------------------------------------------------------------------------------

    def softmax(self, x, dim):
        """yᵢ = e^(xᵢ−max) / Σⱼ e^(xⱼ−max)"""
        xp = self.xp
        e = xp.exp(x - x.max(axis=dim, keepdims=True))
        return e / e.sum(axis=dim, keepdims=True)

    def softmax_backward(self, gy, y, dim):
        """gx = y · (gy − Σ gy·y)"""
        return y * (gy - (gy * y).sum(axis=dim, keepdims=True))

    def log_softmax(self, x, dim):
        """y = x − max − log Σ e^(x−max)"""
        xp = self.xp
        z = x - x.max(axis=dim, keepdims=True)
        return z - xp.log(xp.exp(z).sum(axis=dim, keepdims=True))

    def log_softmax_backward(self, gy, y, dim):
        """gx = gy − e^y · Σ gy"""
        return gy - self.xp.exp(y) * gy.sum(axis=dim, keepdims=True)

    def cross_entropy(self, logits, targets, valid):
        """Per row −log softmax(logits)[target] (0 where not valid), and the log softmax.

        logits (N, V), targets (N,), valid (N,) -> (N,), (N, V)
        """
        xp = self.xp
        log_p = self.log_softmax(logits, 1)
        rows = xp.arange(logits.shape[0])
        return xp.where(valid, -log_p[rows, targets], 0.0).astype(logits.dtype), log_p

    def cross_entropy_backward(self, gy, log_p, targets, valid, smoothing):
        """gx = gyᵢ · (softmax − (1−ε)·onehot − ε/V): (N,) and (N, V) -> (N, V)"""
        xp = self.xp
        scale = xp.where(valid, gy, 0.0).astype(log_p.dtype)
        gx = xp.exp(log_p)
        if smoothing:
            gx -= smoothing / log_p.shape[1]
        gx[xp.arange(log_p.shape[0]), targets] -= 1.0 - smoothing
        gx *= scale[:, None]
        return gx

    # ---- activations ------------------------------------------------------------------------------------------------

    def sigmoid(self, x):
        """1 / (1 + e^−x), with an exponent that is never positive."""
        xp = self.xp
        e = xp.exp(-xp.abs(x))
        return xp.where(x >= 0, 1.0, e) / (1.0 + e)

    def gelu_tanh(self, x, slope=False):
        """y = x·Φ̃(x), Φ̃(x) = ½(1 + tanh u), u = √(2/π)(x + 0.044715x³); and, if asked, dy/dx (else None).

        Saving dy/dx costs as much memory as saving x, and makes the backward pass one multiplication.
        """
        xp = self.xp
        square = x * x
        t = xp.tanh(SQRT_2_OVER_PI * x * (1.0 + GELU_CUBIC * square))
        y = 0.5 * x * (1.0 + t)
        if not slope:
            return y, None
        du = SQRT_2_OVER_PI * (1.0 + 3.0 * GELU_CUBIC * square)
        return y, 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * du

    def multiply_into(self, gy, factor) -> None:
        """gy ← gy·factor, for a gradient that is ours to write into"""
        gy *= factor

    def erf(self, x):
        """The error function, by Cody's rational approximations (Math. Comp. 23, 1969), exact to rounding."""
        xp = self.xp
        a = xp.abs(x)
        small = xp.minimum(a, 0.46875)
        near = small * _rational(small * small, _ERF_A, _ERF_B)
        mid = xp.minimum(xp.maximum(a, 0.46875), 4.0)
        far = xp.minimum(xp.maximum(a, 4.0), 27.0)
        tail_mid = xp.exp(-mid * mid) * _rational(mid, _ERF_C, _ERF_D)
        z = 1.0 / (far * far)
        tail_far = xp.exp(-far * far) / far * (1.0 / math.sqrt(math.pi) - z * _rational(z, _ERF_P, _ERF_Q))
        y = xp.where(a <= 0.46875, near, 1.0 - xp.where(a <= 4.0, tail_mid, tail_far))
        return xp.where(a != a, x, xp.sign(x) * y)

    # ---- number formats (formats.py) ------------------------------------------------------------------------------------

    def round_to(self, x, fmt, saturate=False):
        """float32 x on the grid of a `formats.Format`: to nearest, from the middle to even; a new array"""
        return formats.round_to(self.xp, x.astype("float32", copy=False), fmt, saturate)

    def round_stochastically(self, x, fmt, noise):
        """x rounded up or down at random so that the mean is exact; noise: uniform numbers in [0, 1), x's shape"""
        return formats.round_stochastically(self.xp, x, fmt, noise)

    # ---- normalization ----------------------------------------------------------------------------------------------

    def layer_norm(self, x, weight, bias, eps):
        """y = x̂·w + b with x̂ = (x − mean)·r, r = 1/√(var + eps). (N, D) -> y (N, D), r (N, 1)"""
        centered = x - x.mean(axis=1, keepdims=True)
        r = 1.0 / self.xp.sqrt((centered * centered).mean(axis=1, keepdims=True) + eps)
        xhat = centered * r
        y = xhat if weight is None else xhat * weight
        return (y if bias is None else y + bias), r

    def layer_norm_backward(self, gy, x, r, weight, needs):
        """gx = r·(g − mean g − x̂·mean(g·x̂)) with g = gy·w;  gw = Σ gy·x̂,  gb = Σ gy over rows; needs: which of the three

        x̂ is made again from x and r: that costs less than writing it in the forward pass and reading it here.
        """
        xhat, gx = (x - x.mean(axis=1, keepdims=True)) * r, None
        if needs[0]:
            g = gy if weight is None else gy * weight
            gx = r * (g - g.mean(axis=1, keepdims=True) - xhat * (g * xhat).mean(axis=1, keepdims=True))
        return gx, self.column_sum(gy, xhat) if needs[1] else None, self.column_sum(gy) if needs[2] else None

    def rms_norm(self, x, weight, eps):
        """y = x̂·w with x̂ = x·r, r = 1/√(mean x² + eps). (N, D) -> y, x̂, r (N, 1)"""
        r = 1.0 / self.xp.sqrt((x * x).mean(axis=1, keepdims=True) + eps)
        xhat = x * r
        return (xhat if weight is None else xhat * weight), xhat, r

    def rms_norm_backward(self, gy, xhat, r, weight):
        """gx = r·(g − x̂·mean(g·x̂)) with g = gy·w"""
        g = gy if weight is None else gy * weight
        return r * (g - xhat * (g * xhat).mean(axis=1, keepdims=True))

    # ---- attention --------------------------------------------------------------------------------------------------

    def attention(self, q, k, v, visible, additive, scale, drop):
        """o = (P∘drop)·v with P = softmax(scale·q·kᵀ + mask); a row that sees nothing gives 0.

        (…, Tq, D), (…, Tk, D), (…, Tk, Dv) -> o (…, Tq, Dv). visible: boolean or None · additive: float or None ·
        drop: 0 or 1/(1−p) per weight, or None.
        """
        p = self.masked_softmax((q * scale) @ k.swapaxes(-1, -2), visible, additive)    # (…, Tq, Tk)
        return (p if drop is None else p * drop) @ v

    def masked_softmax(self, s, visible, additive):
        """Softmax over the last dim of what `visible` allows, after adding `additive`."""
        xp = self.xp
        if s.size == 0:
            return s
        lowest = float(xp.finfo(s.dtype).min)
        if additive is not None:
            s = s + additive
        if visible is not None:
            s = xp.where(visible, s, lowest)
        # never −inf − (−inf): the maximum is finite even in a row of −inf
        p = xp.exp(s - xp.maximum(s.max(axis=-1, keepdims=True), lowest))
        if visible is not None:
            p = p * visible
        total = p.sum(axis=-1, keepdims=True)
        return p / xp.where(total == 0, 1.0, total).astype(s.dtype)

    def attention_backward(self, go, q, k, v, visible, additive, scale, drop, needs):
        """gv = (P∘drop)ᵀ·go;  gP = (go·vᵀ)∘drop;  gs = P·(gP − Σ gP·P);  gq = scale·gs·k,  gk = scale·gsᵀ·q

        P is made a second time, by what made it in the forward pass, because it is the one array that grows with Tq·Tk.
        """
        gq = gk = gv = None
        p = self.masked_softmax((q * scale) @ k.swapaxes(-1, -2), visible, additive)
        if needs[2]:
            gv = (p if drop is None else p * drop).swapaxes(-1, -2) @ go
        if needs[0] or needs[1]:
            gp = go @ v.swapaxes(-1, -2)
            if drop is not None:
                gp = gp * drop
            gs = self.softmax_backward(gp, p, -1)
            gq = gs @ (k * scale) if needs[0] else None
            gk = gs.swapaxes(-1, -2) @ (q * scale) if needs[1] else None
        return gq, gk, gv

    # ---- linear and embedding ---------------------------------------------------------------------------------------

    def matmul(self, a, b):
        """a·b over the last two dims; leading dims broadcast."""
        return a @ b

    def linear(self, x, weight, bias):
        """y = x·wᵀ + b. (N, in), (out, in), (out,) -> (N, out)"""
        y = x @ weight.T
        return y if bias is None else y + bias

    def linear_backward(self, gy, x, weight, needs):
        """gx = gy·w,  gw = gyᵀ·x,  gb = Σ gy over rows; needs: which of the three. (N, out), (N, in), (out, in)

        x is None where gw is not needed, weight where gx is not.
        """
        return (gy @ weight if needs[0] else None, gy.T @ x if needs[1] else None,
                self.column_sum(gy) if needs[2] else None)

    def low_rank_linear(self, x, weight, bias, A, B, scale, thin):
        """y = x·(W + s·BA)ᵀ + b: adding BA to W once costs less than a second product for every row; h = s·x·Aᵀ if `thin`.

        x (N, in), weight (out, in), bias (out,) or None, A (r, in), B (out, r) -> y (N, out), h (N, r) or None
        """
        return self.linear(x, weight + (B * scale) @ A, bias), x @ (A * scale).T if thin else None

    def low_rank_backward(self, gy, x, h, weight, A, B, scale, needs):
        """gx = gy·(W + s·BA),  gA = s·(gy·B)ᵀ·x,  gB = gyᵀ·h with h = s·x·Aᵀ; needs: which of the three"""
        gx = gy @ (weight + (B * scale) @ A) if needs[0] else None
        gA = (gy @ (B * scale)).T @ x if needs[1] else None
        return gx, gA, gy.T @ h if needs[2] else None

    def column_sum(self, gy, factor=None):
        """Σ over rows of gy, or of gy∘factor: the gradient of a bias, or of a norm's weight. (N, D) -> (D,)"""
        return (gy if factor is None else gy * factor).sum(axis=0)

    def embedding_gradient(self, ids, gy, num_embeddings):
        """gw[ids[n]] += gy[n]: repeated ids add up. host (N,), (N, D) -> (num_embeddings, D)"""
        xp = self.xp
        gw = xp.zeros((num_embeddings, gy.shape[1]), dtype=gy.dtype)
        xp.add.at(gw, self.send(ids), gy)
        return gw

    def index_add(self, target, key, values) -> None:
        """target[key] += values in place; repeated indices add up."""
        self.xp.add.at(target, key, values)

    # ---- optimizers: in place on flat arrays of one length ----------------------------------------------------------

    def each_run(self, work, runs) -> None:
        """work(start, stop, step, g) for every run of a flat buffer: its place, its step number and its gradient (1-D)."""
        for run in runs:
            work(*run)

    def sgd_step(self, p, g, buf, *, lr, momentum, dampening, weight_decay, nesterov, first) -> None:
        """b ← μb + (1−τ)g (b ← g at first);  p ← p − lr·(g + μb if nesterov else b). Writes p and buf."""
        if weight_decay:
            g = g + weight_decay * p
        if momentum:
            if first:
                buf[...] = g
            else:
                buf *= momentum
                buf += (1.0 - dampening) * g
            g = g + momentum * buf if nesterov else buf
        p -= lr * g

    def adam_step(self, p, g, m, v, *, lr, beta1, beta2, eps, weight_decay, step, decoupled) -> None:
        """m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²;  p ← p − lr·m̂/(√v̂ + eps). Writes p, m and v.

        m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ). Weight decay: p ← (1−lr·λ)p if decoupled (AdamW), else g ← g + λp (Adam).
        """
        if weight_decay and decoupled:
            p *= 1.0 - lr * weight_decay
        elif weight_decay:
            g = g + weight_decay * p
        m *= beta1
        m += (1.0 - beta1) * g
        v *= beta2
        v += (1.0 - beta2) * (g * g)
        step_size = lr / (1.0 - beta1 ** step)
        root = math.sqrt(1.0 - beta2 ** step)
        p -= step_size * m / (self.xp.sqrt(v) / root + eps)

    def unscale(self, g, factor, overflow):
        """g·factor as a new array; writes 1 into `overflow` (float32, shape (1,)) if any of it is infinite or NaN.

        Nothing is read back: many gradients share one `overflow`, which is read together with the loss.
        """
        scaled = g * factor
        xp = self.xp
        overflow[...] = xp.maximum(overflow, xp.logical_not(xp.isfinite(scaled).all()).astype(overflow.dtype))
        return scaled


def _rational(x, above, below):
    """The quotient of two polynomials, coefficients from the highest power down."""
    top, bottom = above[0] * x, x
    for a, b in zip(above[1:-1], below[:-1], strict=True):
        top, bottom = (top + a) * x, (bottom + b) * x
    return (top + above[-1]) / (bottom + below[-1])


_ERF_A = (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
          3.20937758913846947e3)
_ERF_B = (2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
_ERF_C = (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
          2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
          1.23033935479799725e3)
_ERF_D = (1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
          3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3)
_ERF_P = (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
          1.60837851487422766e-2, 6.58749161529837803e-4)
_ERF_Q = (2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
          2.33520497626869185e-3)
