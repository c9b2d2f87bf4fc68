"""Number formats narrower than float32, and rounding to them: float32 arrays whose values lie on a coarser grid.

A format has e exponent and m mantissa bits; its values are ±(1 + k/2ᵐ)·2ᴱ for emin ≤ E ≤ emax, and below 2ᵉᵐⁱⁿ the
subnormals, in equal steps of 2^(emin−m). Rounding goes to the nearest, and from the middle to the even neighbor.
Two bit tricks do it without branches (`x` is seen as its 32 bits u: sign, 8 exponent, 23 mantissa bits):

carry   add just under half of the last kept bit, plus that bit, and cut: u + 0x7fff + lsb, then mask. A carry runs into
        the exponent, where it belongs. For formats with float32's exponent (bf16, tf32).
magic   add and subtract 1.5·2^(E+23−m), a number so large that float32 itself rounds x to the wanted step. Where E
        would be below emin it stays there: that makes the subnormals. For fp16 and fp8.
"""
from __future__ import annotations

import difflib
from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A binary floating-point format. ieee: has infinities; otherwise its largest exponent holds numbers too (e4m3fn)."""

    name: str
    exponent_bits: int
    mantissa_bits: int
    ieee: bool = True

    @property
    def bits(self) -> int:
        """Bits per number, the sign included."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def bias(self) -> int:
        """What is added to the exponent before it is stored."""
        return 2 ** (self.exponent_bits - 1) - 1

    @property
    def emin(self) -> int:
        """The exponent of the smallest normal number."""
        return 1 - self.bias

    @property
    def emax(self) -> int:
        """The exponent of the largest number."""
        return self.bias if self.ieee else 2 ** self.exponent_bits - 1 - self.bias

    @property
    def max(self) -> float:
        """The largest finite number."""
        return (2.0 - (1.0 if self.ieee else 2.0) * self.eps) * 2.0 ** self.emax

    @property
    def eps(self) -> float:
        """The step just above 1."""
        return 2.0 ** -self.mantissa_bits

    @property
    def smallest_normal(self) -> float:
        """The smallest number with full precision."""
        return 2.0 ** self.emin

    @property
    def smallest_subnormal(self) -> float:
        """The smallest positive number; half of it and less rounds to 0."""
        return 2.0 ** (self.emin - self.mantissa_bits)


FORMATS = {f.name: f for f in (Format("fp32", 8, 23), Format("tf32", 8, 10), Format("bf16", 8, 7), Format("fp16", 5, 10),
                               Format("fp8_e5m2", 5, 2), Format("fp8_e4m3", 4, 3, ieee=False))}


def get(name) -> Format:
    """The format called `name`, or ValueError listing the known ones."""
    if name not in FORMATS:
        close = difflib.get_close_matches(str(name), FORMATS, 1)
        raise ValueError(f"unknown number format {name!r}: known are {', '.join(FORMATS)}"
                         + (f"; did you mean {close[0]!r}?" if close else ""))
    return FORMATS[name]


def round_to(xp, x, fmt: Format, saturate: bool = False):
    """float32 `x` on the grid of `fmt`, a new array; overflow gives ±inf (NaN where the format has none), or ±max."""
    if fmt.name == "fp32":
        return x.copy()
    if fmt.exponent_bits == 8:
        y = _carry(xp, x, 23 - fmt.mantissa_bits)
        if saturate:
            y = xp.where(xp.abs(y) > fmt.max, xp.copysign(xp.where(x == x, fmt.max, x), x), y).astype("float32")
        return y
    return _magic(xp, x, fmt, saturate)


def _carry(xp, x, cut: int):
    """Round to nearest even by an integer addition; NaN must be spared, its carry would run into the sign."""
    u = x.view("uint32")
    r = xp.right_shift(u, cut) & 1
    r += (1 << (cut - 1)) - 1
    r += u
    r &= 0xFFFFFFFF ^ ((1 << cut) - 1)
    return xp.where(x == x, r.view("float32"), x)


def _magic(xp, x, fmt: Format, saturate: bool):
    """Round by adding and subtracting 1.5·2^(E+23−m); then put back −0, and send what is too large to infinity."""
    m = fmt.mantissa_bits
    e = x.view("uint32") & 0x7F800000
    e = xp.minimum(xp.maximum(e, (fmt.emin + 127) << 23), (fmt.emax + 1 + 127) << 23)
    e += (23 - m) << 23
    magic = (e | 0x400000).view("float32")
    y = (x + magic) - magic
    size = xp.abs(y)
    limit = fmt.max if saturate else (float("inf") if fmt.ieee else float("nan"))
    if saturate or fmt.ieee:
        size = xp.where(size > fmt.max, xp.where(x == x, limit, size), size)
    else:
        size = xp.where(size > fmt.max, limit, size)
    return xp.copysign(size, x).astype("float32")


def round_stochastically(xp, x, fmt: Format, noise):
    """Up or down at random, with the chances that make the mean exact. noise: host-drawn uniform numbers in [0, 1).

    Exact values stay; NaN and infinities pass; beyond the largest number it gives the largest.
    """
    wide = xp.where(xp.isfinite(x), x, 0.0).astype("float64")
    _, exponent = xp.frexp(wide)
    step = xp.ldexp(xp.ones_like(wide), xp.maximum(exponent - 1, fmt.emin) - fmt.mantissa_bits)
    t = wide / step
    low = xp.floor(t)
    y = (low + (noise < t - low)) * step
    y = xp.minimum(xp.maximum(y, -fmt.max), fmt.max)
    return xp.where(xp.isfinite(x), y.astype("float32"), x)
