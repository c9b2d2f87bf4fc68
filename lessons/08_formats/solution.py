"""Lesson 08: floating-point formats and rounding. `pytest lessons/08_formats` checks it.

A format has 1 sign bit, e exponent bits and m mantissa bits, in this order, the sign first:
fp16 has (e, m) = (5, 10), bf16 (8, 7), float32 (8, 23). The exponent is stored with a bias added: 2^(e-1) - 1.
"""
import numpy as np


def limits(e, m):
    """(emin, largest): the exponent of the smallest normal number, and the largest finite number."""
    bias = 2 ** (e - 1) - 1
    return 1 - bias, (2 - 2.0 ** -m) * 2.0 ** bias


def fields(bits, e, m):
    """The three parts of a bit pattern, as integers: (sign, exponent field, mantissa field).   bits: an int below 2^(1+e+m)"""
    # <solution hint="Shift right to drop bits on the right; & (2 ** k - 1) keeps the last k bits.">
    mantissa = bits & (2 ** m - 1)
    exponent = (bits >> m) & (2 ** e - 1)
    return bits >> (e + m), exponent, mantissa
    # </solution>


def decode(sign, exponent, mantissa, e, m):
    """The number, a float, that three fields stand for.

    Normal: ±(1 + mantissa/2^m)·2^(exponent - bias). Exponent field all zeros: ±(mantissa/2^m)·2^(1 - bias), subnormal.
    Exponent field all ones: infinity if the mantissa is 0, else NaN.
    """
    # <solution hint="Three cases, told apart by the exponent field: 2 ** e - 1, 0, and the rest.">
    bias = 2 ** (e - 1) - 1
    if exponent == 2 ** e - 1:
        size = np.inf if mantissa == 0 else np.nan
    elif exponent == 0:
        size = mantissa * 2.0 ** (1 - bias - m)
    else:
        size = (1 + mantissa / 2 ** m) * 2.0 ** (exponent - bias)
    return -size if sign else size
    # </solution>


def spacing(x, e, m):
    """The step of the format's grid where each entry of x lies: 2^(E - m) for 2^E ≤ |x| < 2^(E+1), but never below 2^(emin - m).

    x: an array of finite numbers. The step at 0 is that of the subnormals. An array of x's shape.
    """
    # <solution hint="np.frexp(x) gives (f, k) with x = f · 2^k and ½ ≤ |f| < 1, exactly. What is E then? And for x = 0?">
    emin, _ = limits(e, m)
    k = np.frexp(x)[1]
    E = np.where(x == 0, emin, np.maximum(k - 1, emin))
    return 2.0 ** (E - m)
    # </solution>


def round_even(x, step, largest):
    """x rounded to a multiple of step, from the middle to the even multiple; ±infinity where that exceeds ±largest.

    x, step: arrays of one shape; step holds powers of two. NaN stays NaN.
    """
    # <solution hint="Count in steps: x / step. np.rint rounds to whole numbers, and from the middle to the even one.">
    y = np.rint(x / step) * step
    return np.where(np.abs(y) > largest, np.copysign(np.inf, y), y)
    # </solution>


def bf16_by_carry(x):
    """float32 x rounded to bf16 (ties to even) with integers alone: bf16 is the upper 16 of float32's 32 bits.

    x: a float32 array. Returns a float32 array. A NaN must stay a NaN, whatever its bits.
    """
    # <solution hint="See x as np.uint32. Add 0x7fff plus the last kept bit: that carries into bit 16 when it should. Then cut.">
    u = x.view(np.uint32)
    last = (u >> 16) & 1
    y = (u + 0x7fff + last) & 0xffff0000
    return np.where(np.isnan(x), x, y.view(np.float32))
    # </solution>


def running_sum(values, rounded):
    """The sum of a list of numbers, added one after the other in a narrow format: rounded(…) after every addition.

    rounded: a function from a number to the number that the format makes of it. Start at 0.0.
    """
    # <solution hint="A loop; round the new total before the next value arrives.">
    total = 0.0
    for value in values:
        total = rounded(total + value)
    return total
    # </solution>
