"""Elementwise operations: each output element depends on one element of each input (after broadcasting)."""
from __future__ import annotations

import math

from minigrad.autograd import Function
from minigrad.ops.promote import as_tensor, floating, pair

# ---- arithmetic -----------------------------------------------------------------------------------------------------


class Add(Function):
    """y = a + b;  ga = gy,  gb = gy"""

    def forward(self, a, b):
        return a + b

    def backward(self, gy):
        return gy, gy


class Sub(Function):
    """y = a − b;  ga = gy,  gb = −gy"""

    def forward(self, a, b):
        return a - b

    def backward(self, gy):
        return gy, -gy if self.needs[1] else None


class Mul(Function):
    """y = a·b;  ga = gy·b,  gb = gy·a"""

    def forward(self, a, b):
        self.save(b if self.needs[0] else None, a if self.needs[1] else None)
        return a * b

    def backward(self, gy):
        b, a = self.saved
        return gy * b if self.needs[0] else None, gy * a if self.needs[1] else None


class Div(Function):
    """y = a/b;  ga = gy/b,  gb = −gy·y/b"""

    def forward(self, a, b):
        y = self.xp.true_divide(a, b)
        self.save(b, y if self.needs[1] else None)
        return y

    def backward(self, gy):
        b, y = self.saved
        ga = gy / b
        return ga if self.needs[0] else None, -ga * y if self.needs[1] else None


class Neg(Function):
    """y = −x;  gx = −gy"""

    def forward(self, x):
        return -x

    def backward(self, gy):
        return -gy


class Pow(Function):
    """y = aᵇ;  ga = gy·b·aᵇ⁻¹,  gb = gy·y·ln a (0 where a = 0 and b ≥ 0)"""

    def forward(self, a, b):
        y = a ** b
        self.save(a, b, y if self.needs[1] else None)
        return y

    def backward(self, gy):
        xp, (a, b, y) = self.xp, self.saved
        ga = gb = None
        if self.needs[0]:
            if isinstance(b, int | float):
                ga = xp.zeros_like(gy) if b == 0 else gy * (b * a ** (b - 1))
            else:
                ga = gy * xp.where(b == 0, 0.0, b * a ** xp.where(b == 0, 1.0, b - 1))
        if self.needs[1]:
            if isinstance(a, int | float):
                gb = gy * (y * math.log(a)) if a > 0 else gy * xp.where((a == 0) & (b >= 0), 0.0, math.nan)
            else:
                zero = (a == 0) & (b >= 0)
                gb = gy * xp.where(zero, 0.0, y * xp.log(xp.where(zero, 1.0, a)))
        return ga, gb


def _shared(gy, high, low, needs):
    """gy to the first input where high > low, to the second where high < low, half to each where they are equal."""
    half = gy * (0.5 * (high == low).astype(gy.dtype))
    return gy * (high > low) + half if needs[0] else None, gy * (high < low) + half if needs[1] else None


class Maximum(Function):
    """y = max(a, b);  the gradient goes to the larger, half to each where they are equal"""

    def forward(self, a, b):
        self.save(a, b)
        return self.xp.maximum(a, b)

    def backward(self, gy):
        return _shared(gy, *self.saved, self.needs)


class Minimum(Function):
    """y = min(a, b);  the gradient goes to the smaller, half to each where they are equal"""

    def forward(self, a, b):
        self.save(a, b)
        return self.xp.minimum(a, b)

    def backward(self, gy):
        a, b = self.saved
        return _shared(gy, b, a, self.needs)


class Where(Function):
    """y = a where c, else b;  ga = gy where c (else 0),  gb = gy where not c (else 0)"""

    def forward(self, c, a, b):
        self.save(c)
        return self.xp.where(c, a, b)

    def backward(self, gy):
        (c,) = self.saved
        zero = self.xp.zeros((), dtype=gy.dtype)
        return (None, self.xp.where(c, gy, zero) if self.needs[1] else None,
                self.xp.where(c, zero, gy) if self.needs[2] else None)


class Clamp(Function):
    """y = min(max(x, low), high);  gx = gy where low ≤ x ≤ high, else 0"""

    options = ("low", "high")

    def __init__(self, low, high):
        self.low, self.high = low, high

    def forward(self, x):
        self.save(x)
        y = x if self.low is None else self.xp.maximum(x, self.low)
        return y if self.high is None else self.xp.minimum(y, self.high)

    def backward(self, gy):
        (x,) = self.saved
        inside = x == x if self.low is None else x >= self.low
        if self.high is not None:
            inside = inside & (x <= self.high)
        return gy * inside


# ---- one input: exponentials, roots, trigonometry -------------------------------------------------------------------


class Exp(Function):
    """y = eˣ;  gx = gy·y"""

    def forward(self, x):
        y = self.xp.exp(x)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return gy * y


class Expm1(Function):
    """y = eˣ − 1, exact near 0;  gx = gy·(y + 1)"""

    def forward(self, x):
        y = self.xp.expm1(x)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return gy * (y + 1.0)


class Log(Function):
    """y = ln x;  gx = gy/x"""

    def forward(self, x):
        self.save(x)
        return self.xp.log(x)

    def backward(self, gy):
        (x,) = self.saved
        return gy / x


class Log1p(Function):
    """y = ln(1 + x), exact near 0;  gx = gy/(1 + x)"""

    def forward(self, x):
        self.save(x)
        return self.xp.log1p(x)

    def backward(self, gy):
        (x,) = self.saved
        return gy / (1.0 + x)


class Sqrt(Function):
    """y = √x;  gx = gy/(2y)"""

    def forward(self, x):
        y = self.xp.sqrt(x)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return gy / (2.0 * y)


class Rsqrt(Function):
    """y = 1/√x;  gx = −½·gy·y³"""

    def forward(self, x):
        y = 1.0 / self.xp.sqrt(x)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return -0.5 * gy * (y * y * y)


class Reciprocal(Function):
    """y = 1/x;  gx = −gy·y²"""

    def forward(self, x):
        y = 1.0 / x
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return -gy * (y * y)


class Square(Function):
    """y = x²;  gx = 2·gy·x"""

    def forward(self, x):
        self.save(x)
        return x * x

    def backward(self, gy):
        (x,) = self.saved
        return 2.0 * gy * x


class Sin(Function):
    """y = sin x;  gx = gy·cos x"""

    def forward(self, x):
        self.save(x)
        return self.xp.sin(x)

    def backward(self, gy):
        (x,) = self.saved
        return gy * self.xp.cos(x)


class Cos(Function):
    """y = cos x;  gx = −gy·sin x"""

    def forward(self, x):
        self.save(x)
        return self.xp.cos(x)

    def backward(self, gy):
        (x,) = self.saved
        return -gy * self.xp.sin(x)


class Abs(Function):
    """y = |x|;  gx = gy·sign(x), 0 at 0"""

    def forward(self, x):
        self.save(x)
        return self.xp.abs(x)

    def backward(self, gy):
        (x,) = self.saved
        return gy * self.xp.sign(x)


class Erf(Function):
    """y = 2/√π ∫₀ˣ e^(−t²) dt;  gx = gy·2/√π·e^(−x²)"""

    def forward(self, x):
        self.save(x)
        return self.be.erf(x)

    def backward(self, gy):
        (x,) = self.saved
        with self.be.quiet():                       # x² may overflow; e^(−∞) is what is meant
            return gy * (2.0 / math.sqrt(math.pi)) * self.xp.exp(-x * x)


# ---- public functions -----------------------------------------------------------------------------------------------


def add(a, b):
    """a + b, broadcasting."""
    return Add()(*pair(a, b))


def sub(a, b):
    """a − b, broadcasting."""
    return Sub()(*pair(a, b))


def mul(a, b):
    """a · b, broadcasting."""
    return Mul()(*pair(a, b))


def div(a, b):
    """a / b, broadcasting; integers divide to float32."""
    return Div()(*pair(a, b, divide=True))


def neg(x):
    """−x"""
    return Neg()(as_tensor(x))


def pow(a, b):
    """a to the power b, elementwise."""
    return Pow()(*pair(a, b))


def maximum(a, b):
    """The larger of a and b, elementwise; equal values share the gradient."""
    return Maximum()(*pair(a, b))


def minimum(a, b):
    """The smaller of a and b, elementwise; equal values share the gradient."""
    return Minimum()(*pair(a, b))


def where(condition, a, b):
    """a where the boolean `condition` holds, else b; all three broadcast.

    >>> import minigrad as mg
    >>> mg.where(mg.tensor([True, False]), 1.0, mg.tensor([5.0, 6.0])).tolist()
    [1.0, 6.0]
    """
    condition = as_tensor(condition)
    if condition.data.dtype.kind != "b":
        raise TypeError(f"where: the condition must be boolean; got {condition.data.dtype}")
    return Where()(condition, *pair(a, b))


def masked_fill(x, mask, value):
    """x with `value` (a number) where the boolean `mask` holds; no gradient flows to x there."""
    return where(mask, value, x)


def clamp(x, min=None, max=None):
    """x limited to min … max (numbers; at least one). The gradient is 0 outside, and passes on the borders."""
    if min is None and max is None:
        raise ValueError("clamp: give min=, max= or both")
    x = floating(x) if isinstance(min, float) or isinstance(max, float) else as_tensor(x)
    return Clamp(min, max)(x)


def _unary(kind, doc):
    def op(x):
        return kind()(floating(x))

    op.__name__, op.__qualname__, op.__doc__ = kind.name, kind.name, doc
    return op


exp = _unary(Exp, "eˣ")
expm1 = _unary(Expm1, "eˣ − 1, exact for small x")
log = _unary(Log, "The natural logarithm.")
log1p = _unary(Log1p, "ln(1 + x), exact for small x")
sqrt = _unary(Sqrt, "√x")
rsqrt = _unary(Rsqrt, "1/√x")
reciprocal = _unary(Reciprocal, "1/x")
sin = _unary(Sin, "sin x, x in radians")
cos = _unary(Cos, "cos x, x in radians")
erf = _unary(Erf, "The error function.")


def square(x):
    """x²"""
    return Square()(as_tensor(x))


def abs(x):
    """|x|; the gradient at 0 is 0."""
    return Abs()(as_tensor(x))
