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
    # TODO 08.1: delete the next line and write fields (about 3 lines).
    raise NotImplementedError("08.1 fields")


def decode(sign, exponent, mantissa, e, m):
    """The number, a float, that three fields stand for.

    Normal: ±(1 + mantissa/2^m)·2^(exponent - bias). Exponent field all zeros: ±(mantissa/2^m)·2^(1 - bias), subnormal.
    Exponent field all ones: infinity if the mantissa is 0, else NaN.
    """
    # TODO 08.2: delete the next line and write decode (about 8 lines).
    raise NotImplementedError("08.2 decode")


def spacing(x, e, m):
    """The step of the format's grid where each entry of x lies: 2^(E - m) for 2^E ≤ |x| < 2^(E+1), but never below 2^(emin - m).

    x: an array of finite numbers. The step at 0 is that of the subnormals. An array of x's shape.
    """
    # TODO 08.3: delete the next line and write spacing (about 4 lines).
    raise NotImplementedError("08.3 spacing")


def round_even(x, step, largest):
    """x rounded to a multiple of step, from the middle to the even multiple; ±infinity where that exceeds ±largest.

    x, step: arrays of one shape; step holds powers of two. NaN stays NaN.
    """
    # TODO 08.4: delete the next line and write round_even (about 2 lines).
    raise NotImplementedError("08.4 round_even")


def bf16_by_carry(x):
    """float32 x rounded to bf16 (ties to even) with integers alone: bf16 is the upper 16 of float32's 32 bits.

    x: a float32 array. Returns a float32 array. A NaN must stay a NaN, whatever its bits.
    """
    # TODO 08.5: delete the next line and write bf16_by_carry (about 4 lines).
    raise NotImplementedError("08.5 bf16_by_carry")


def running_sum(values, rounded):
    """The sum of a list of numbers, added one after the other in a narrow format: rounded(…) after every addition.

    rounded: a function from a number to the number that the format makes of it. Start at 0.0.
    """
    # TODO 08.6: delete the next line and write running_sum (about 4 lines).
    raise NotImplementedError("08.6 running_sum")
