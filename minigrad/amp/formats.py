"""Rounding to a number format, its constants, and its bits as a picture."""
from __future__ import annotations

from minigrad import backend as _backend
from minigrad.autograd import Tensor
from minigrad.autograd.precision import to_format
from minigrad.backend import formats, host


def finfo(format: str) -> formats.Format:
    """The constants of a format: bits, max, eps, smallest_normal, smallest_subnormal, …

    Raises ValueError for an unknown format, listing the known ones.

    >>> finfo("fp16").max, finfo("bf16").eps, finfo("fp8_e4m3").max
    (65504.0, 0.0078125, 448.0)
    """
    return formats.get(format)


def round_to(x, format: str, *, rounding: str = "nearest", rng=None, overflow: str = "inf"):
    """x rounded to a number format, as the kind it was given: a tensor (differentiable), a raw array, or a number.

    format: "fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "tf32" · rounding: "nearest" (ties to even) or "stochastic" (up or
    down at random, the mean is exact; uses the host generator `rng`, mg.manual_seed's if None; not differentiable) ·
    overflow: "inf" (NaN for fp8_e4m3, which has no infinity) or "saturate" (±max). Arrays are float32 (others are
    converted first) and stay so: emulation does not shrink them.

    >>> round_to([1.0, 65519.0, 65520.0, 2.0 ** -25], "fp16").tolist()
    [1.0, 65504.0, inf, 0.0]
    """
    fmt = formats.get(format)
    if rounding not in ("nearest", "stochastic"):
        raise ValueError(f"round_to: rounding must be 'nearest' or 'stochastic'; got {rounding!r}")
    if overflow not in ("inf", "saturate"):
        raise ValueError(f"round_to: overflow must be 'inf' or 'saturate'; got {overflow!r}")
    if isinstance(x, Tensor):
        if rounding == "nearest" and overflow == "inf":
            return to_format(x, format)
        out = to_format(Tensor(round_to(x.data, format, rounding=rounding, rng=rng, overflow=overflow)), format)
        return out
    if isinstance(x, bool | int | float | list | tuple):
        array = round_to(host.np.asarray(x, dtype=host.np.float32), format, rounding=rounding, rng=rng, overflow=overflow)
        return array if isinstance(x, list | tuple) else float(array)
    be = _backend.of(x)
    array = be.asarray(x)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"round_to needs numbers; got dtype {array.dtype}")
    array = array.astype("float32")
    if rounding == "stochastic":
        noise = (host.rng() if rng is None else rng).random(array.shape)
        with be.quiet():
            return be.round_stochastically(array, fmt, be.send(noise))
    return be.round_to(array, fmt, overflow == "saturate")


def bits(x: float, format: str = "fp32") -> str:
    """The bits of x, rounded to a format, as "sign exponent mantissa".

    >>> bits(1.0, "fp16"), bits(-0.15625, "bf16"), bits(2.0 ** -24, "fp16")
    ('0 01111 0000000000', '1 01111100 0100000', '0 00000 0000000001')
    """
    fmt = formats.get(format)
    value = host.np.float32(round_to(float(x), format))
    sign = int(host.np.signbit(value))
    top = 2 ** fmt.exponent_bits - 1
    if host.np.isnan(value):
        exponent, mantissa = top, 2 ** fmt.mantissa_bits - 1
    elif host.np.isinf(value):
        exponent, mantissa = top, 0
    elif value == 0:
        exponent, mantissa = 0, 0
    else:
        size = abs(float(value))
        power = max(int(host.np.frexp(size)[1]) - 1, fmt.emin)
        steps = round(size / 2.0 ** (power - fmt.mantissa_bits))      # an exact division: value is on the grid
        hidden = 2 ** fmt.mantissa_bits
        exponent, mantissa = (power + fmt.bias, steps - hidden) if steps >= hidden else (0, steps)
    return f"{sign} {exponent:0{fmt.exponent_bits}b} {mantissa:0{fmt.mantissa_bits}b}"
