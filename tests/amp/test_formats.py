"""Rounding to number formats, bit for bit: NumPy's float16 and ml_dtypes as oracles, on about 3.3 million cases each."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import backend
from minigrad.backend import formats
from tests.helpers import host

LOW_HALVES = (0, 1, 2, 0xFFF, 0x1000, 0x1001, 0x1FFF, 0x2000, 0x3FFF, 0x4000, 0x7FFE, 0x7FFF, 0x8000, 0x8001, 0xEFFF,
              0xF000, 0xF001, 0xFFFE, 0xFFFF)
NAMES = ("fp16", "bf16", "fp8_e5m2", "fp8_e4m3")


def oracle_dtype(name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    return {"fp16": np.float16, "bf16": ml_dtypes.bfloat16, "fp8_e5m2": ml_dtypes.float8_e5m2,
            "fp8_e4m3": ml_dtypes.float8_e4m3fn}[name]


def neighbors(x):
    with np.errstate(all="ignore"):
        return np.concatenate([x, np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf))])


def battery(name):
    """Every upper half-word with telling lower halves, all values, all midpoints with neighbors, borders, random words."""
    fmt = formats.get(name)
    words = (np.arange(65536, dtype=np.uint32)[:, None] << 16 | np.array(LOW_HALVES, np.uint32)).ravel()
    random = np.random.default_rng(0).integers(0, 2 ** 32, 2_000_000, dtype=np.uint32)
    bits = np.arange(min(2 ** fmt.bits, 65536), dtype=np.uint16 if fmt.bits == 16 else np.uint8)
    values = bits.view(oracle_dtype(name)).astype(np.float32)
    values = np.unique(values[np.isfinite(values)])
    with np.errstate(all="ignore"):
        midpoints = ((values[:-1].astype(np.float64) + values[1:]) / 2).astype(np.float32)
        borders = np.array([fmt.max, fmt.max * (1 + fmt.eps / 4), fmt.max * (1 + fmt.eps / 2), 464.0], np.float32)
    return np.concatenate([words.view(np.float32), random.view(np.float32), values, neighbors(midpoints),
                           neighbors(borders), -neighbors(borders)])


def same_bits(a, b):
    return (a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))


@pytest.mark.oracle
@pytest.mark.parametrize("name", NAMES)
def test_every_bit_of_the_battery(backend, name):
    x = battery(name)
    assert len(x) > 3_200_000
    with np.errstate(all="ignore"):
        expected = x.astype(oracle_dtype(name)).astype(np.float32)
        got = host(mg.amp.round_to(mg.backend.get(backend).send(x), name))
    wrong = ~same_bits(got, expected)
    assert not wrong.any(), f"{wrong.sum()} wrong, e.g. {x[wrong][:3]}: {got[wrong][:3]}, expected {expected[wrong][:3]}"


@pytest.mark.slow
@pytest.mark.skipif("not config.getoption('--all-bits')", reason="takes minutes: pytest --all-bits tests/amp")
@pytest.mark.parametrize("name", ["fp16", "bf16"])
def test_all_four_billion(name):
    dtype, be = oracle_dtype(name), backend.get("numpy")
    for high in range(0, 2 ** 32, 2 ** 24):
        x = np.arange(high, high + 2 ** 24, dtype=np.uint64).astype(np.uint32).view(np.float32)
        with np.errstate(all="ignore"):
            assert same_bits(be.round_to(x, formats.get(name)), x.astype(dtype).astype(np.float32)).all(), hex(high)


@pytest.mark.oracle
@pytest.mark.parametrize("name", NAMES)
def test_constants(name):
    info, fmt = pytest.importorskip("ml_dtypes").finfo(oracle_dtype(name)), mg.amp.finfo(name)
    assert (fmt.bits, fmt.max, fmt.eps, fmt.smallest_normal, fmt.smallest_subnormal) == (
        info.bits, float(info.max), float(info.eps), float(info.smallest_normal), float(info.smallest_subnormal))


@pytest.mark.oracle
def test_saturating_fp8_is_pytorchs():
    torch = pytest.importorskip("torch")
    x = battery("fp8_e4m3")
    x = x[np.isfinite(x)]
    expected = torch.tensor(x).to(torch.float8_e4m3fn).float().numpy()
    assert same_bits(mg.amp.round_to(x, "fp8_e4m3", overflow="saturate"), expected).all()


def test_tf32_keeps_ten_bits(backend):
    x = mg.randn(1000).data
    y = mg.to_numpy(mg.amp.round_to(x, "tf32"))
    assert not (y.view(np.uint32) & 0x1FFF).any()
    np.testing.assert_allclose(y, mg.to_numpy(x), rtol=2.0 ** -11)
    assert np.isnan(mg.amp.round_to(float("nan"), "tf32")) and mg.amp.round_to(float("-inf"), "tf32") == -np.inf


@pytest.mark.parametrize("name", [*NAMES, "tf32"])
def test_rounding_twice_changes_nothing_and_zero_keeps_its_sign(backend, name):
    be = mg.backend.get(backend)
    once = mg.amp.round_to(be.send(np.random.default_rng(0).standard_normal(999).astype(np.float32) * 100), name)
    assert same_bits(host(mg.amp.round_to(once, name)), host(once)).all()
    zeros = host(mg.amp.round_to(be.send(np.array([0.0, -0.0, -1e-30 if name[:2] == "fp" else -0.0], np.float32)), name))
    assert np.signbit(zeros).tolist() == [False, True, True] and not zeros.any()


@pytest.mark.parametrize("name", NAMES)
def test_stochastic_rounding_is_right_on_average(name):
    fmt = formats.get(name)
    rng = np.random.default_rng(0)
    for value in (1.0 + 0.3 * fmt.eps, -3.7, fmt.smallest_subnormal * 0.25, fmt.smallest_normal * (1 + 0.9 * fmt.eps)):
        x = np.full(200_000, value, np.float32)
        y = mg.amp.round_to(x, name, rounding="stochastic", rng=rng)
        assert same_bits(mg.amp.round_to(y, name), y).all() and len(np.unique(y)) <= 2
        step = max(fmt.eps * 2.0 ** np.floor(np.log2(abs(value))), fmt.smallest_subnormal)
        assert abs(y.astype(np.float64).mean() - np.float32(value)) < 0.005 * step
    exact = np.array([1.0, 0.0, -0.5, np.inf, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(mg.amp.round_to(exact, name, rounding="stochastic", rng=rng), exact)


def test_the_kind_is_kept(backend):
    be = mg.backend.get(backend)
    assert isinstance(mg.amp.round_to(0.1, "fp16"), float)
    assert isinstance(mg.amp.round_to(np.float32([0.1]), "bf16"), np.ndarray)
    assert be.owns(mg.amp.round_to(mg.ones(2).data, "bf16"))
    t = mg.amp.round_to(mg.tensor([0.1], requires_grad=True), "bf16")
    assert isinstance(t, mg.Tensor) and t.format == "bf16" and t.dtype.name == "float32"


def test_bits_agree_with_numpys():
    for value in (1.0, -0.1, 65504.0, 6e-8, 0.0, -0.0, 1e-5, float("inf")):
        word = f"{int(np.float16(value).view(np.uint16)):016b}"
        assert mg.amp.bits(value, "fp16") == f"{word[0]} {word[1:6]} {word[6:]}"


@pytest.mark.parametrize("call, says", [
    (lambda: mg.amp.round_to(1.0, "fp15"), "did you mean 'fp16'"),
    (lambda: mg.amp.round_to(1.0, "fp16", rounding="up"), "'nearest' or 'stochastic'"),
    (lambda: mg.amp.round_to(1.0, "fp16", overflow="wrap"), "'inf' or 'saturate'"),
    (lambda: mg.amp.finfo("int8"), "known are"),
])
def test_mistakes(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_float64_tensors_are_refused():
    with pytest.raises(TypeError, match="float32"):
        mg.amp.round_to(mg.tensor(np.ones(2)), "fp16")
