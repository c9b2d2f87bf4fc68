"""The checks of lesson 08. They import nothing of yours: `ex` is the file under test."""
import numpy as np

import minigrad as mg
from lessons import engine
from lessons.kit import as_array, calls, cases, check, exercise, fail, rng, same, same_each, unchanged

FORMATS = {"fp16": (5, 10), "bf16": (8, 7), "fp8_e5m2": (5, 2)}
LIMITS = {"fp16": (-14, 65504.0), "bf16": (-126, float.fromhex("0x1.fep127")), "fp8_e5m2": (-14, 57344.0)}


def values(name, patterns):
    """The numbers that bit patterns stand for, by reading NumPy's own float16 and float32."""
    patterns = np.asarray(patterns)
    if name == "bf16":
        return (patterns.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    shift = 8 if name == "fp8_e5m2" else 0          # fp8_e5m2 is the upper half of a float16
    return (patterns.astype(np.uint16) << shift).view(np.float16).astype(np.float64)


def patterns(name, seed):
    """Random bit patterns of a format and the awkward ones: zeros, subnormals, limits, infinities, NaN, both signs."""
    e, m = FORMATS[name]
    top = (2 ** e - 1) << m
    special = [0, 1, 2, 2 ** m - 1, 2 ** m, 2 ** m + 1, top - 1, top, top + 1, (2 ** (e - 1) - 1) << m]
    drawn = rng(seed).integers(0, 2 ** (e + m), 60).tolist()
    return [p + (sign << (e + m)) for p in special + drawn for sign in (0, 1)]


@exercise("08.1")
@cases(name=["fp16", "bf16", "fp8_e5m2"])
def test_fields(ex, name):
    e, m = FORMATS[name]
    rows = []
    for bits in patterns(name, 1):
        text = f"{bits:0{1 + e + m}b}"
        got = ex.fields(bits, e, m)
        check(isinstance(got, tuple | list) and len(got) == 3, "fields: return (sign, exponent, mantissa)")
        for what, part, want in zip(("sign", "exponent", "mantissa"), got, (text[0], text[1:1 + e], text[1 + e:]), strict=True):
            rows.append((part, int(want, 2), f"fields of {name} {text[0]} {text[1:1 + e]} {text[1 + e:]}: {what}"))
    same_each(rows)


@exercise("08.1")
def test_fields_of_64_bits(ex):
    got = ex.fields(0xBFEF_FFFF_FFFF_FFFF, 11, 52)
    check([int(part) for part in got] == [1, 1022, 2 ** 52 - 1], f"fields of float64's neighbor of −1: expected {(1, 1022, 2 ** 52 - 1)}, yours "
          f"is {got}; a division rounds, shifting or // does not")


@exercise("08.2")
@cases(name=["fp16", "bf16", "fp8_e5m2"])
def test_decode(ex, name):
    e, m = FORMATS[name]
    rows = []
    for bits in patterns(name, 2):
        parts = bits >> (e + m), (bits >> m) % 2 ** e, bits % 2 ** m
        rows.append((ex.decode(*parts, e, m), values(name, bits), f"decode of {name} {parts[0]} {parts[1]:0{e}b} {parts[2]:0{m}b}"))
    same_each(rows, rtol=1e-12, atol=0)


@exercise("08.2")
def test_decode_keeps_the_sign_of_zero(ex):
    same(ex.decode(1, 0, 1, 5, 10), -2.0 ** -24, "decode of fp16 1 00000 0000000001", rtol=1e-12, atol=0)
    got = as_array(ex.decode(1, 0, 0, 5, 10), "decode")
    check(got == 0 and np.signbit(got), f"decode of fp16 1 00000 0000000000: expected −0.0, yours is {got}; zero has a sign too")


@exercise("08.3")
@cases(name=["fp16", "bf16", "fp8_e5m2"])
def test_spacing(ex, name):
    e, m = FORMATS[name]
    here = np.array([p for p in patterns(name, 3) if p % 2 ** (e + m) < ((2 ** e - 1) << m)])
    x, size = values(name, here), here % 2 ** (e + m)
    above = values(name, np.minimum(size + 1, ((2 ** e - 1) << m) - 1)) - values(name, size)
    last = above == 0                               # the largest number has no neighbor above: measure below it
    above[last] = values(name, size[last]) - values(name, size[last] - 1)
    x = x.reshape(2, -1)
    with unchanged(x):
        got = ex.spacing(x, e, m)
    same(got, above.reshape(2, -1), f"spacing in {name}, at numbers of the format", rtol=1e-12, atol=0)


@exercise("08.3")
def test_spacing_between_numbers_and_just_below_a_power_of_two(ex):
    below = [float(np.nextafter(2.0 ** k, 0)) for k in (-3, 1, 9)]
    x = np.array([3.3, -0.7, 1e-9, 2.0 ** -14, -2.0 ** 7, *below])
    want = [2.0 ** k for k in (1 - 10, -1 - 10, -24, -24, 7 - 10, -4 - 10, 0 - 10, 8 - 10)]
    same(ex.spacing(x, 5, 10), want, f"spacing in fp16 at {x.round(9).tolist()}", rtol=1e-12, atol=0)


@exercise("08.4")
def test_round_even(ex):
    x = np.array([[0.5, 1.5, 2.5, -0.5, -1.5], [0.51, 2.49, -2.51, 3.0, -7.9]])
    step = np.array([[1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 2.0, 0.25]])
    with unchanged(x, step):
        got = ex.round_even(x, step, 1e9)
    same(got, [[0, 2, 2, 0, -2], [1, 2, -3, 4, -8]], "round_even of halves and others")
    r = rng(4)
    x = r.normal(size=(7, 5)) * 2.0 ** r.integers(-9, 9, (7, 5))
    step = 2.0 ** r.integers(-5, 5, (7, 5))
    want = [[round(a / s) * s for a, s in zip(*rows, strict=True)] for rows in zip(x.tolist(), step.tolist(), strict=True)]
    same(ex.round_even(x, step, 1e9), want, "round_even of random numbers and steps")


@exercise("08.4")
def test_overflow(ex):
    x = np.array([65503.0, 65504.0, 65519.99, 65520.0, -65519.0, -65520.0, 1e9, np.inf, -np.inf, np.nan, -70000.0])
    want = [65504.0, 65504.0, 65504.0, np.inf, -65504.0, -np.inf, np.inf, np.inf, -np.inf, np.nan, -np.inf]
    same(ex.round_even(x, np.full(x.shape, 32.0), 65504.0), want, f"round_even in steps of 32 up to 65504, of {x.tolist()}")


@exercise("08.5")
def test_bf16(ex):
    r = rng(5)
    u = np.concatenate([r.integers(0, 2 ** 32, 400), (r.integers(0, 2 ** 16, 200) << 16) + 0x8000,     # middles
                        (r.integers(0, 2 ** 16, 100) << 16) + 0x7fff, (r.integers(0, 2 ** 16, 100) << 16) + 0x8001,
                        [0, 0x80000000, 0x7f800000, 0xff800000, 0x7f7fffff, 0x3fffffff, 0x00000001]]).astype(np.uint32)
    x = u.view(np.float32)
    x = x[~np.isnan(x)].reshape(1, -1)
    wide = x.astype(np.float64)                     # the same by arithmetic: to a multiple of the step, ties to even
    with np.errstate(all="ignore"):
        step = 2.0 ** (np.maximum(np.frexp(wide)[1] - 1, -126) - 7)
        want = (np.rint(wide / step) * step).astype(np.float32)
    want[np.isinf(x)] = x[np.isinf(x)]
    want[np.abs(want) > LIMITS["bf16"][1]] = np.copysign(np.inf, want[np.abs(want) > LIMITS["bf16"][1]])
    with unchanged(x):
        got = ex.bf16_by_carry(x)
    same(got, want, "bf16_by_carry of random float32", rtol=0, atol=0, dtype=True)
    same(np.signbit(got), np.signbit(x), "bf16_by_carry: whether the sign bit is set, that of −0 too")


@exercise("08.5")
def test_bf16_keeps_nan(ex):
    x = np.array([0x7fffffff, 0xffffffff, 0x7f800001, 0x7fc00000, 0x3f800000], dtype=np.uint32).view(np.float32)
    same(ex.bf16_by_carry(x), [np.nan, np.nan, np.nan, np.nan, 1.0], "bf16_by_carry of four NaNs and 1")


@exercise("08.6")
@cases(n=[4096, 300, 5], value=[1.0, 0.3, 1 / 3])
def test_running_sum(ex, n, value):
    given = [value] * n
    with unchanged(given):
        got = ex.running_sum(given, lambda x: float(np.float16(x)))
    total = np.float16(0)
    for _ in range(n):
        total = np.float16(np.float64(total) + value)
    same(got, float(total), f"running_sum of {n} times {value:.4g} in fp16", rtol=0, atol=0)


@exercise("08.6")
def test_running_sum_keeps_the_order(ex):
    rounded = calls(lambda x: float(np.float16(x)))
    same(ex.running_sum([2048.0, 1.0, 1.0, -2048.0], rounded), 0.0, "running_sum of 2048, 1, 1, −2048 in fp16")
    same(ex.running_sum([1.0, 1.0, 2048.0, -2048.0], rounded), 2.0, "running_sum of 1, 1, 2048, −2048 in fp16")
    check(rounded.count == 8, f"running_sum: round once after each addition; 8 additions, {rounded.count} roundings")
    same(ex.running_sum([], rounded), 0.0, "running_sum of nothing")


@exercise("08.3", "08.4", "08.5", plug_in=True)
def test_your_rounding_trains_the_engine(ex):
    """Under autocast every number that the engine rounds to fp16 or bf16 goes through your functions instead."""
    spacing, round_even, bf16 = calls(ex.spacing), calls(ex.round_even), calls(ex.bf16_by_carry)

    def yours(x, fmt, saturate=False):
        x = np.ascontiguousarray(x, dtype=np.float32)
        if fmt.name == "bf16":
            return bf16(x)
        wide = x.astype(np.float64)
        step = spacing(np.where(np.isfinite(wide), wide, 1.0), fmt.exponent_bits, fmt.mantissa_bits)
        return np.asarray(round_even(wide, step, fmt.max), dtype=np.float32)

    for name in ("fp16", "bf16"):
        losses = []
        for rounding in (yours, None):
            with engine.rounding(rounding):
                losses.append(engine.train(engine.small_gpt(), steps=6, autocast=name))
        engine.same_curve(*losses, f"training in {name}", rtol=1e-6)
    engine.was_called(spacing, round_even, bf16)
    x = rng(7).normal(size=(50, 40)).astype(np.float32) * 300
    theirs = [mg.to_numpy(mg.amp.round_to(x, name)) for name in ("fp16", "bf16")]
    with engine.rounding(yours):
        for name, want in zip(("fp16", "bf16"), theirs, strict=True):
            if not np.array_equal(mg.amp.round_to(x, name), want):
                fail(f"amp.round_to with your functions gives other {name} numbers than the engine's")
