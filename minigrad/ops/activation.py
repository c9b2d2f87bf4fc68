"""Activation functions, and dropout. GELU and softplus have a naive form, composed of small operations, beside them."""
from __future__ import annotations

import math

from minigrad.autograd import Function, Tensor
from minigrad.backend import host
from minigrad.backend.base import GELU_CUBIC, SQRT_2_OVER_PI
from minigrad.ops.elementwise import erf, exp, log1p, mul
from minigrad.ops.promote import floating


class Tanh(Function):
    """y = tanh x;  gx = gy·(1 − y²)"""

    def forward(self, x):
        y = self.xp.tanh(x)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return gy * (1.0 - y * y)


class Sigmoid(Function):
    """y = 1/(1 + e⁻ˣ);  gx = gy·y·(1 − y)"""

    def forward(self, x):
        y = self.be.sigmoid(x)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return gy * (y * (1.0 - y))


class Relu(Function):
    """y = max(x, 0);  gx = gy where y > 0, else 0"""

    def forward(self, x):
        y = self.xp.maximum(x, 0.0)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return gy * (y > 0)


class Silu(Function):
    """y = x·σ(x);  gx = gy·σ·(1 + x·(1 − σ))"""

    def forward(self, x):
        s = self.be.sigmoid(x)
        if self.recording:
            self.save(s * (1.0 + x * (1.0 - s)))    # the slope: one array instead of two
        return x * s

    def backward(self, gy):
        (slope,) = self.saved
        return gy * slope


class Gelu(Function):
    """y = x·Φ(x) with the tanh form of Φ;  gx = gy·y′, the slope y′ computed beside y (arXiv 1606.08415)"""

    def forward(self, x):
        y, slope = self.be.gelu_tanh(x, slope=self.recording)
        self.save(slope)
        return y

    def backward(self, gy):
        (slope,) = self.saved
        if self.owns_gy:
            self.be.multiply_into(gy, slope)
            return gy
        return gy * slope


class Softplus(Function):
    """y = ln(1 + e^(βx))/β;  gx = gy·σ(βx)"""

    options = ("beta",)

    def __init__(self, beta):
        self.beta = beta

    def forward(self, x):
        if self.recording:
            self.save(self.be.sigmoid(self.beta * x))
        return self.xp.logaddexp(self.beta * x, self.xp.zeros((), dtype=x.dtype)) / self.beta

    def backward(self, gy):
        (s,) = self.saved
        return gy * s


class Dropout(Function):
    """y = x·m/(1−p) with m = 1 with probability 1−p, else 0;  gx = gy·m/(1−p)"""

    options = ("p",)

    def __init__(self, p):
        self.p = p

    def forward(self, x):
        keep = self.be.send(host.rng().random(x.shape, dtype=host.np.float32) >= self.p)
        self.save(keep)
        return x * keep * (1.0 / (1.0 - self.p))

    def backward(self, gy):
        (keep,) = self.saved
        return gy * keep * (1.0 / (1.0 - self.p))


def tanh(x) -> Tensor:
    """The hyperbolic tangent."""
    return Tanh()(floating(x))


def sigmoid(x) -> Tensor:
    """1/(1 + e⁻ˣ), exact for large |x| too."""
    return Sigmoid()(floating(x))


def relu(x) -> Tensor:
    """max(x, 0); the gradient at 0 is 0."""
    return Relu()(floating(x))


def silu(x) -> Tensor:
    """x·sigmoid(x), also called swish."""
    return Silu()(floating(x))


def gelu(x, approximate: str = "none") -> Tensor:
    """x·Φ(x), Φ the normal distribution function: exact ("none"), or its "tanh" form, which is one fused node.

    >>> import minigrad as mg
    >>> round(mg.gelu(mg.tensor([1.0]), approximate="tanh").item(), 4)
    0.8412
    """
    if approximate == "tanh":
        return Gelu()(floating(x))
    if approximate != "none":
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh'; got {approximate!r}")
    x = floating(x)
    return 0.5 * x * (1.0 + erf(x * math.sqrt(0.5)))


def gelu_naive(x) -> Tensor:
    """The tanh form of GELU as the formula says it, from small operations."""
    x = floating(x)
    return 0.5 * x * (1.0 + tanh(SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x)))


def softplus(x, beta: float = 1.0) -> Tensor:
    """ln(1 + e^(βx))/β, a smooth relu; never overflows."""
    return Softplus(float(beta))(floating(x))


def softplus_naive(x, beta: float = 1.0) -> Tensor:
    """ln(1 + e^(βx))/β as written; overflows for large βx."""
    return log1p(exp(mul(x, float(beta)))) * (1.0 / beta)


def dropout(x, p: float = 0.5, training: bool = True) -> Tensor:
    """Zero each element with probability p and scale the rest by 1/(1−p); x itself when not training (or p = 0).

    The mask comes from the seeded host generator, so every backend drops the same units.
    """
    if not 0.0 <= p < 1.0:
        raise ValueError(f"dropout: p must be in 0 ≤ p < 1; got {p}")
    return Dropout(p)(floating(x)) if training and p else floating(x)
