"""The kernels that round to number formats, bit for bit, run by the CPU. What they are compared with is not ours."""
import numpy as np
import pytest

from minigrad.backend import formats
from minigrad.backend.fused import FORMATS
from tests.backend.cpu_kernels import COMPILER, NO_COMPILER, CpuKernelBackend, CpuKernels, compile_kernels, device, host

pytestmark = pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)

LOWER = [0, 1, 2, 0xfff, 0x1000, 0x1001, 0x1fff, 0x2000, 0x3fff, 0x4000, 0x7ffe, 0x7fff, 0x8000, 0x8001, 0xefff, 0xf000, 0xf001,
         0xfffe, 0xffff]


def battery():
    """Every upper half of a float32 with the lower halves around all ties, and random words: 1.4 million numbers."""
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    words = (upper[:, None] | np.array(LOWER, np.uint32)).reshape(-1)
    return np.concatenate([words, np.random.default_rng(0).integers(0, 1 << 32, 200_000, dtype=np.uint32)]).view(np.float32)


def tf32(x):
    """To nearest even at the 13th bit: in float64, where a tie can be told exactly."""
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64)
        _, exponent = np.frexp(wide)
        last = np.ldexp(1.0, np.maximum(exponent - 11, -136))
        y = np.copysign(np.rint(np.abs(wide) / last) * last, wide)
        return np.where(np.isfinite(x), y, x).astype(np.float32)


def expected(x, format):
    """The format's own type, there and back."""
    if format == "tf32":
        return tf32(x)
    with np.errstate(all="ignore"):
        if format == "fp16":
            return x.astype(np.float16).astype(np.float32)
        ml_dtypes = pytest.importorskip("ml_dtypes")
        kind = {"bf16": "bfloat16", "fp8_e4m3": "float8_e4m3fn", "fp8_e5m2": "float8_e5m2"}[format]
        return x.astype(getattr(ml_dtypes, kind)).astype(np.float32)


@pytest.mark.oracle
@pytest.mark.parametrize("format", FORMATS)
def test_bits(format):
    x = battery()
    y = device(np.empty_like(x))
    CpuKernels(compile_kernels())(f"round_{format}", (64,), 256, device(x), y, np.int64(x.size))
    ours, theirs = host(y), expected(x, format)
    assert np.array_equal(np.isnan(ours), np.isnan(theirs))
    wrong = (ours.view(np.uint32) != theirs.view(np.uint32)) & ~np.isnan(ours)
    assert not wrong.any(), [(hex(a), hex(b), hex(c)) for a, b, c in zip(
        x.view(np.uint32)[wrong][:5], ours.view(np.uint32)[wrong], theirs.view(np.uint32)[wrong], strict=False)]


@pytest.mark.parametrize("format", FORMATS)
def test_bits_of_the_specification(format):
    """What backend/formats.py gives by array expressions."""
    x, kernels = battery(), CpuKernels(compile_kernels())
    y = CpuKernelBackend(kernels).round_to(device(x), formats.get(format))
    assert kernels.counts == {f"round_{format}": 1}
    with np.errstate(all="ignore"):
        spec = formats.round_to(np, x, formats.get(format))
    different = (host(y).view(np.uint32) != spec.view(np.uint32)) & ~(np.isnan(host(y)) & np.isnan(spec))
    assert not different.any(), [(hex(a), b, c) for a, b, c in zip(
        x.view(np.uint32)[different][:5], host(y)[different], spec[different], strict=False)]


@pytest.mark.parametrize("format", FORMATS)
def test_what_no_kernel_takes(format):
    """Saturation, a number, strides, nothing at all: the specification's answer, in the right shape."""
    be = CpuKernelBackend(CpuKernels(compile_kernels()))
    f = formats.get(format)
    x = np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32) * 1e4
    for a, saturate in ((x, True), (x[0, 0].reshape(()), False), (x.T, False), (x[:0], False)):
        with np.errstate(all="ignore"):
            ours, theirs = host(be.round_to(device(a), f, saturate)), formats.round_to(np, a, f, saturate)
        np.testing.assert_array_equal(ours, theirs)
        assert ours.shape == a.shape and ours.dtype == np.float32


@pytest.mark.parametrize("format", FORMATS)
def test_in_place_and_twice(format):
    """What is on the grid stays where it is; input and output may be one array."""
    x = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    a = device(x.copy())
    kernels = CpuKernels(compile_kernels())
    kernels(f"round_{format}", (1,), 32, a, a, np.int64(x.size))
    once = host(a).copy()
    kernels(f"round_{format}", (1,), 32, a, a, np.int64(x.size))
    np.testing.assert_array_equal(host(a), once)
    assert not np.array_equal(once, x)
