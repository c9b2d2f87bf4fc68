"""The GPU's kernels, compiled for the CPU, against the specification (backend/base.py in float64).

What this cannot see: speed, the order of atomic additions, rounding of the GPU's exp and tanh, real launch limits.
"""
import contextlib

import numpy as np
import pytest

import minigrad as mg
from minigrad import backend
from minigrad.backend import fused
from minigrad.models import GPT, GPTConfig
from tests.backend.cpu_kernels import (
    COMPILER,
    NO_COMPILER,
    CpuKernelBackend,
    CpuKernels,
    compile_kernels,
    device,
    host,
)
from tests.strict.array import STATE, policy
from tests.strict.backend import StrictBackend

pytestmark = pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)

TOLERANCE = {"float32": 1e-6, "float16": 2e-3}      # relative to the largest number of the result


class Spec(backend.Backend):
    """The base class itself, on NumPy."""

    xp = np
    array_types = (np.ndarray,)


SPEC = Spec()


@pytest.fixture(scope="module")
def library():
    return compile_kernels()


def rng():
    return np.random.default_rng(5)


def normal(*shape, scale=1.0):
    return np.asarray(rng().standard_normal(shape) * scale)


def crossing(*shape):
    """Numbers that a transpose has put out of C order."""
    return np.swapaxes(rng().standard_normal((*shape[:-2], shape[-1], shape[-2])), -1, -2)


CAUSAL = np.tril(np.ones((5, 7), bool), 1)
BLIND = CAUSAL & (np.arange(5) != 2)[:, None]       # row 2 sees nothing
PADDING = rng().random((2, 1, 1, 7)) < 0.7
LOW = np.where(rng().random((2, 3, 5, 7)) < 0.3, -np.inf, normal(2, 3, 5, 7))
TARGETS, VALID = np.array([3, 0, 6, 0, 1, 1]), np.array([True, True, True, False, True, False])
IDS = np.array([4, 1, 4, 4, 0, 6, 1])

# name of the kernel's method -> list of argument tuples; arrays of floats are cast to each type
CASES = {
    "softmax": [(normal(6, 11, scale=3), 1), (normal(2, 3, 1), -1), (crossing(2, 3, 8), -1), (normal(4, 300), 1),
                (normal(3, 4), 0), (normal(0, 4), 1), (normal(3), 0), (np.full((2, 3), 3e4), 1)],
    "softmax_backward": [(normal(6, 11), normal(6, 11, scale=.2), 1), (crossing(2, 3, 8), normal(2, 3, 8), -1)],
    "log_softmax": [(normal(6, 11, scale=3), 1), (crossing(2, 3, 8), -1), (normal(2, 1), 1)],
    "log_softmax_backward": [(normal(6, 11), -abs(normal(6, 11)), 1)],
    "masked_softmax": [(normal(2, 3, 5, 7), m, a) for m in (None, CAUSAL, BLIND, PADDING, CAUSAL & PADDING)
                       for a in (None, normal(5, 7), LOW)] + [(normal(5, 7), CAUSAL, None), (normal(0, 5, 7), CAUSAL, None),
                                                              (crossing(5, 7), CAUSAL[None][0], None)],
    "cross_entropy": [(normal(6, 7, scale=3), TARGETS, VALID), (crossing(6, 7), TARGETS, VALID),
                      (normal(6, 700), TARGETS, VALID)],
    "cross_entropy_backward": [(normal(6), -abs(normal(6, 7)), TARGETS, VALID, eps) for eps in (0.0, 0.1)],
    "sigmoid": [(normal(5, 3, scale=9),), (crossing(5, 3),), (normal(),), (normal(0),)],
    "erf": [(normal(5, 30, scale=2),), (np.array([-9.0, -4, -.4, 0, .5, 30]),)],
    "gelu_tanh": [(normal(5, 30, scale=2), True), (normal(70_001, scale=3), False), (crossing(3, 4), True),
                  (normal(), True), (normal(0, 3), True)],
    "layer_norm": [(normal(6, 11) * 3 + 5, w, b, 1e-5) for w, b in ((None, None), (normal(11), None),
                                                                    (normal(11), normal(11)))]
                  + [(crossing(6, 8), None, None, 1e-5), (normal(3, 700), normal(700), normal(700), 1e-5),
                     (np.ones((2, 4)), None, None, 1e-5), (normal(0, 4), None, None, 1e-5)],
    "layer_norm_backward": [(normal(6, 11), normal(6, 11) + 3, abs(normal(6, 1)), w, needs) for w in (None, normal(11))
                            for needs in ((True, True, True), (True, False, False), (False, True, False), (False, False, True))],
    "rms_norm": [(normal(6, 11), w, 1e-6) for w in (None, normal(11))] + [(crossing(6, 8), None, 1e-6)],
    "rms_norm_backward": [(normal(6, 11), normal(6, 11), abs(normal(6, 1)), w) for w in (None, normal(11))],
    "linear": [(normal(6, 5), normal(4, 5), b) for b in (None, normal(4))] + [(normal(0, 5), normal(4, 5), normal(4))],
    "column_sum": [(normal(1, 5),), (normal(300, 130),), (crossing(33, 7),), (normal(0, 3),)],
    "embedding_gradient": [(IDS, normal(7, 5), 9), (IDS[:1], normal(1, 40), 7), (IDS[:0], normal(0, 5), 4),
                           (np.tile(IDS, 30), crossing(210, 3), 8)],
}
WRITES = {"adam_step", "unscale"}


def cast(arg, dtype, to=np.asarray):
    """Float arrays in `dtype`, strides kept; other arguments as they are."""
    if not isinstance(arg, np.ndarray):
        return arg
    return to(arg.astype(dtype, order="K") if arg.dtype.kind == "f" else arg)


def arguments(method, args, dtype, to):
    """As CUDA gets them: everything on the device but the embedding's ids."""
    return [a if method == "embedding_gradient" and i == 0 else cast(a, dtype, to) for i, a in enumerate(args)]


def results(x):
    return [np.asarray(_array(a)) for a in (x if isinstance(x, tuple) else (x,)) if a is not None]


def close(actual, expected, tolerance):
    actual, expected = results(actual), results(expected)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        finite = np.abs(e[np.isfinite(e)])
        np.testing.assert_allclose(a.astype(np.float64), e, rtol=0, atol=tolerance * max(1.0, finite.max(initial=0.0)))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("method,number", [(m, i) for m, cases in CASES.items() for i in range(len(cases))])
def test_agrees_with_the_specification(library, method, number, dtype):
    args = CASES[method][number]
    kernels = CpuKernels(library)
    be = CpuKernelBackend(kernels)
    given = arguments(method, args, dtype, device)
    before = [None if host_of is None else host_of.copy() for host_of in map(_array, given)]
    actual = getattr(be, method)(*given)
    with np.errstate(all="ignore"):
        rounded = [cast(cast(a, dtype), np.float64) for a in args]
        expected = getattr(SPEC, method)(*(a for a in rounded))
    close(actual, expected, TOLERANCE[dtype])
    assert all(a.dtype == dtype for a in results(actual))
    for was, now in zip(before, map(_array, given), strict=True):   # nothing is written into, but masked_softmax's scores
        if was is not None and not (method == "masked_softmax" and now is _array(given[0])):
            np.testing.assert_array_equal(was, now)
    dims_left = not (method == "softmax" and args[1] == 0 and args[0].ndim == 2)
    assert bool(kernels.counts) == (dims_left and all(a.size for a in args if isinstance(a, np.ndarray))
                                    and not (method == "linear" and args[2] is None))


def _array(x):
    return x if isinstance(x, np.ndarray | np.generic) else getattr(x, "_a", None)


@pytest.mark.parametrize("decoupled", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_adam_agrees_with_the_specification(library, dtype, decoupled):
    be = CpuKernelBackend(CpuKernels(library))
    start = [normal(1000).astype(dtype), np.copysign(1 + abs(normal(1000)), normal(1000)[::-1]).astype(dtype), normal(1000).astype(dtype) * 0,
             normal(1000).astype(dtype) * 0]
    ours, theirs = [device(a.copy()) for a in start], [a.astype(np.float64) for a in start]
    for step in (1, 2, 3):
        options = dict(lr=1e-2, beta1=0.9, beta2=0.999, eps=1e-5, weight_decay=0.1, step=step, decoupled=decoupled)
        be.adam_step(*ours, **options)
        SPEC.adam_step(*theirs, **options)
    close(tuple(ours), tuple(theirs), TOLERANCE[dtype])


def test_unscale_finds_every_overflow(library):
    be = CpuKernelBackend(CpuKernels(library))
    for bad in (None, np.inf, -np.inf, np.nan):
        for spec, to in ((be, device), (SPEC, np.asarray)):
            g, flag = normal(3, 300).astype(np.float32), to(np.zeros(1, np.float32))
            if bad is not None:
                g[2, 17] = bad
            out = spec.unscale(to(g), 0.5, flag)
            np.testing.assert_array_equal(_array(out), g * np.float32(0.5))
            assert _array(flag)[0] == (bad is not None)
            spec.unscale(to(np.ones(3, np.float32)), 0.5, flag)     # a later good gradient takes nothing back
            assert _array(flag)[0] == (bad is not None)


def test_atomic_embedding_gradient(library):
    be = CpuKernelBackend(CpuKernels(library))
    be.deterministic = False
    gy = normal(210, 3).astype(np.float32)
    ids = np.tile(IDS, 30)
    close(be.embedding_gradient(ids, device(gy), 8), SPEC.embedding_gradient(ids, gy.astype(np.float64), 8), 1e-6)
    assert be._launch.counts == {"embedding_gradient_atomic": 1}


@pytest.mark.parametrize("method", ["softmax", "softmax_backward", "log_softmax_backward", "masked_softmax", "cross_entropy",
                                    "cross_entropy_backward", "layer_norm", "layer_norm_backward", "rms_norm",
                                    "rms_norm_backward", "column_sum", "embedding_gradient", "gelu_tanh"])
def test_threads_work_together(library, method):
    """With as many threads as on a GPU, run in two orders: no barrier is missing, and the result is the same."""
    args = CASES[method][0]
    outcomes = []
    for back_and_forth in (False, True):
        be = CpuKernelBackend(CpuKernels(library, threads=None, back_and_forth=back_and_forth))
        outcomes.append(results(getattr(be, method)(*arguments(method, args, "float32", device))))
    expected = getattr(SPEC, method)(*(cast(a, np.float64) for a in args))
    close(tuple(map(device, outcomes[0])), expected, 1e-6)
    for a, b in zip(*outcomes, strict=True):
        np.testing.assert_array_equal(a, b)


def test_long_rows_use_many_threads(library):
    x = normal(2, 5000).astype(np.float32)
    be = CpuKernelBackend(CpuKernels(library, threads=None))
    close(be.softmax(device(x), 1), SPEC.softmax(x.astype(np.float64), 1), 1e-6)


def test_the_shim_sees_a_missing_barrier_and_a_torn_one():
    """Does the emulation catch what it is there to catch?"""
    code = fused.source() + """
template <class T> __global__ void no_barrier(T* y) {
    __shared__ float s[32];
    s[threadIdx.x] = threadIdx.x;
    y[threadIdx.x] = s[(threadIdx.x + 1) % 32];
}
template <class T> __global__ void torn(T* y) {
    if (threadIdx.x < 3) return;
    y[threadIdx.x] = T(block_sum(1.0f));
}
"""
    planted = compile_kernels(code, ("no_barrier<float>", "torn<float>"))
    y = device(np.zeros(32, np.float32))
    CpuKernels(planted, threads=None)("no_barrier<float>", (1,), 32, y)
    assert host(y)[0] != 1.0                        # thread 0 read what thread 1 had not written yet
    with pytest.raises(AssertionError, match="barrier"):
        CpuKernels(planted, threads=None)("torn<float>", (1,), 32, y)


def test_launches_are_checked(library):
    kernels, x = CpuKernels(library), device(normal(2, 3).astype(np.float32))
    for wrong, message in (((x, x, 3), "widen"), ((x, x, np.int64(3)), "int64"), ((x, x), "takes 3"),
                           ((x, device(np.zeros((2, 3))), np.int32(3)), "float64"), ((x, x.T, np.int32(3)), "strides"),
                           ((x, host(x), np.int32(3)), "not a device array")):
        with pytest.raises(AssertionError, match=message):
            kernels("softmax_rows<float>", (2,), 32, *wrong)


# ---- the whole engine on these kernels --------------------------------------------------------------------------------


@contextlib.contextmanager
def in_place_of_strict(be):
    with mg.use_backend("numpy"):
        backend.register("strict", be)
    try:
        with mg.use_backend("strict"):
            yield
    finally:
        backend.register("strict", StrictBackend())


def losses_of_training(steps, one_wait=False):
    mg.manual_seed(3)
    model = GPT(GPTConfig(vocab_size=13, context=12, d_model=16, n_layers=2, n_heads=2, dropout=0.1))
    optimizer = mg.optim.AdamW(model.named_parameters(), lr=3e-3)
    data = np.random.default_rng(0).integers(0, 13, (steps, 4, 11))
    data[:, 0, 6:] = 7
    found = []
    for ids in data:
        before = STATE.syncs
        targets = ids[:, 1:].copy()
        targets[1, :4] = -100
        loss = mg.nn.functional.cross_entropy(model(ids[:, :-1]).reshape(-1, 13), targets.reshape(-1), label_smoothing=0.05)
        loss.backward()
        norm = mg.optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        found.append(mg.stack([loss.detach(), norm]).tolist())
        assert not one_wait or STATE.syncs - before == 1
    return np.array(found)


def test_training_on_the_kernels(library):
    """50 steps of a GPT with dropout: the losses are NumPy's, no float64 is made, the host waits once per step."""
    with mg.use_backend("numpy"):
        expected = losses_of_training(50)
    kernels = CpuKernels(library)
    with in_place_of_strict(CpuKernelBackend(kernels)), policy(no_float64=True):
        actual = losses_of_training(50, one_wait=True)
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(actual, expected, rtol=1e-3)
    used = {name.partition("<")[0] for name in kernels.counts}
    assert {"masked_softmax_rows", "cross_entropy_rows", "layer_norm_rows", "gelu_tanh", "add_bias", "column_sum",
            "embedding_gradient_in_order", "adam", "softmax_rows_backward"} <= used
