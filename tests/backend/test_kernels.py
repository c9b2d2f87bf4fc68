"""The kernels that the NumPy backend rewrites for speed compute what the base class says, in base.py's own words."""
import inspect

import numpy as np
import pytest

from minigrad.backend import Backend, numpy_norm
from minigrad.backend.formats import FORMATS
from minigrad.backend.numpy_backend import BLOCK, NumpyBackend


class PlainBackend(Backend):
    """The executable specification, on NumPy arrays."""

    name = "plain"
    xp = np
    array_types = (np.ndarray, np.generic)


FAST, PLAIN = NumpyBackend(), PlainBackend()
MOVING = {"send", "to_numpy", "asarray", "synchronize", "memory_used", "buffer", "set_writeable", "quiet", "owns",
          "keep_freed_memory", "each_run", "owns_memory"}


def rewritten():
    """The kernels that the NumPy backend overrides."""
    return {name for name, f in inspect.getmembers(NumpyBackend, inspect.isfunction)
            if not name.startswith("_") and f is not getattr(Backend, name)} - MOVING


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def positive(*shape):
    return np.abs(normal(*shape, seed=9)) + 0.1


X, W, B = normal(5, 7), normal(7, seed=1), normal(7, seed=2)
XHAT = (X - X.mean(1, keepdims=True)) / X.std(1, keepdims=True)
R = 1.0 / X.std(1, keepdims=True)
S = normal(2, 3, 4, 6)
HOLES = np.arange(6)[None] <= np.arange(4)[:, None] - 1     # the first query sees nothing
PADDED = np.where(np.arange(6) < 2, -np.inf, 0.0) * np.ones((4, 1))
IDS = np.array([2, 0, 2, 5, 2, 0])
LONG = normal(2 * BLOCK + 5)
HEADS = [normal(2, 3, t, d, seed=t) for t, d in ((70, 4), (75, 4), (75, 6), (70, 6))]      # q, k, v, go: several blocks
CAUSAL = np.arange(75)[None] <= np.arange(70)[:, None] + 5
WINDOW = CAUSAL & (np.arange(75)[None] > np.arange(70)[:, None] - 9)
BY_BATCH = CAUSAL & (normal(2, 1, 70, 75) > 0)
LATE = np.arange(75)[None] <= np.arange(70)[:, None] - 40   # many queries see nothing
BIAS = np.where(normal(3, 70, 75, seed=4) > 1, -np.inf, normal(3, 70, 75))
DROP = (normal(2, 3, 70, 75, seed=5) > -0.5) / 0.7
LAID_OUT = [np.ascontiguousarray(a.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3) for a in HEADS]      # as (B, T, H, D)
W64 = normal(64)
LOGITS = LONG[:BLOCK].reshape(-1, 64) * 3                    # two blocks
TARGETS = np.arange(len(LOGITS)) * 7 % 64
VALID = np.arange(len(LOGITS)) % 5 > 0
STEP = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "step": 3}

#: visible, additive, scale, drop
ATTENTION = [(None, None, 0.5, None), (CAUSAL, None, 0.5, None), (CAUSAL, None, 0.5, DROP), (WINDOW, None, 0.5, None),
             (LATE, None, 0.5, None), (BY_BATCH, None, 0.5, None), (None, BIAS, 0.5, None), (CAUSAL, BIAS, 0.5, DROP),
             (np.zeros((70, 75), bool), None, 0.5, None), (CAUSAL & (np.arange(75) < 0), BIAS, 0.5, None)]

#: kernel -> calls: (arguments, keyword arguments). Arrays are float64; the test also runs them in float32
CALLS = {
    "softmax": [((X, 1), {}), ((X, 0), {}), ((normal(2, 3, 4), 1), {}), ((np.array([[1e4, -1e4, 0.0]]), 1), {})],
    "softmax_backward": [((X[::-1], PLAIN.softmax(X, 1), 1), {}), ((X.T.copy().T, PLAIN.softmax(X, 0), 0), {})],
    "masked_softmax": [((S, None, None), {}), ((S, HOLES, None), {}), ((S, ~HOLES, None), {}),
                       ((S, None, PADDED), {}), ((S, HOLES, PADDED), {}),
                       ((S, HOLES, np.where(np.isinf(PADDED), -1e30, 0.0)), {}), ((S * 1e4, HOLES, None), {}),
                       ((S, None, np.full((4, 6), -np.inf)), {}), ((S[..., :0], None, None), {})],
    "log_softmax": [((X, 1), {}), ((X, 0), {}), ((S, 3), {}), ((S * 30, 3), {}), ((X - 200.0, 1), {}), ((X.T, 1), {}), ((LOGITS, 1), {}),
                    ((np.where(X > 0, X, -np.inf), 1), {}), ((np.array([[np.nan, 0.0], [1.0, 2.0]]), 1), {}), ((X[:0], 1), {})],
    "log_softmax_backward": [((X[::-1], PLAIN.log_softmax(X, 1), 1), {}), ((X[::-1], PLAIN.log_softmax(X, 0), 0), {}),
                             ((S[::-1], PLAIN.log_softmax(S, 3), 3), {}), ((X[:0], X[:0], 1), {}),
                             ((LOGITS[::-1], PLAIN.log_softmax(LOGITS, 1), 1), {})],
    "cross_entropy": [((logits, TARGETS[:len(logits)], VALID[:len(logits)]), {}) for logits in
                      (LOGITS, LOGITS * 20, LOGITS[:5], LOGITS[:0], LOGITS[:6].T.copy().T)],
    "cross_entropy_backward": [((normal(n, seed=8), PLAIN.log_softmax(LOGITS[:n], 1), TARGETS[:n], VALID[:n], smoothing), {})
                               for n in (len(LOGITS), 5, 0) for smoothing in (0.0, 0.1)],
    "attention": [((*HEADS[:3], *rest), {}) for rest in ATTENTION]
    + [((HEADS[0][:, :, :1], *HEADS[1:3], visible, None, 0.5, None), {}) for visible in (None, CAUSAL[:1], CAUSAL[:1] & False)]
    + [((HEADS[0][0, 0, :1] * 1e3, *[a[0, 0] for a in HEADS[1:3]], None, None, 0.5, None), {})]
    + [((*LAID_OUT[:3], CAUSAL, None, 0.5, None), {}), ((*[a[0] for a in HEADS[:3]], CAUSAL, None, 0.5, None), {}),
       ((*[a[0, 0] for a in HEADS[:3]], CAUSAL, None, 0.5, None), {}), ((HEADS[0], HEADS[1][:, :1], HEADS[2], None, None, 1.0,
                                                                        None), {}),
       ((HEADS[0] * 1e3, *HEADS[1:3], CAUSAL, None, 1.0, None), {}), ((HEADS[0][:0], HEADS[1][:0], HEADS[2][:0], CAUSAL, None,
                                                                      1.0, None), {})],
    "attention_backward": [((HEADS[3], *HEADS[:3], *rest, needs), {}) for rest in ATTENTION for needs in
                           [(True, True, True)]]
    + [((HEADS[3], *HEADS[:3], CAUSAL, None, 0.5, DROP, needs), {}) for needs in
       [(True, False, False), (False, True, False), (False, False, True), (True, True, False)]]
    + [((LAID_OUT[3], *LAID_OUT[:3], CAUSAL, None, 0.5, None, (True, True, True)), {}),
       ((*[a[0] for a in HEADS[3:] + HEADS[:3]], CAUSAL, None, 0.5, None, (True, True, True)), {}),
       ((0.1 * HEADS[3], HEADS[0] + 3.0, HEADS[1] + 2.0, HEADS[2], CAUSAL, None, 1.0, None, (True, True, True)), {})],
    "gelu_tanh": [((X,), {}), ((X,), {"slope": True}), ((X.T,), {"slope": True}), ((LONG,), {"slope": True}),
                  ((np.array(0.5),), {"slope": True}), ((np.array([1e4, -1e4, 0.0]),), {"slope": True}),
                  ((X[:0],), {"slope": True})],
    "layer_norm": [((X, W, B, 1e-5), {}), ((X, W, None, 1e-5), {}), ((X, None, None, 1e-3), {}),
                   ((X[:0], W, B, 1e-5), {}), ((np.ones((2, 7)), W, B, 1e-5), {}), ((X, None, B, 1e-5), {}),
                   ((LONG[:2 * BLOCK].reshape(-1, 64), None, None, 1e-5), {}), ((X.T.copy().T, W, B, 1e-5), {})],
    "layer_norm_backward": [((normal(5, 7, seed=3), X, R, w, needs), {}) for w in (W, None) for needs in
                            [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]]
    + [((normal(5, 7, seed=3)[:0], X[:0], R[:0], W, (True, True, True)), {}),
       ((normal(7, 5, seed=3).T, X + 2.0, R, W, (True, True, True)), {}),
       ((0.01 * LONG[:2 * BLOCK].reshape(-1, 64), LONG[5:].reshape(-1, 64), abs(LONG[::64])[:-1, None], W64, (True, True, True)), {})],
    "erf": [((x,), {}) for x in (X, X.T, X[:0], LONG, np.array(0.7), np.array([np.nan, np.inf, -np.inf, -0.0, 1e-30, 9.0, 0.47]))],
    "linear": [((X, normal(4, 7), normal(4)), {}), ((X, normal(4, 7), None), {}), ((X[:0], normal(4, 7), normal(4)), {})],
    "linear_backward": [((normal(5, 4), X, normal(4, 7), needs), {}) for needs in
                        [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]]
    + [((normal(5, 4)[:0], X[:0], normal(4, 7), (True, True, True)), {}), ((normal(4, 5).T, X, normal(4, 7), (True, True, True)),
                                                                         {})],
    "matmul": [((X, normal(7, 4)), {}), ((X[:0], normal(7, 4)), {}), ((normal(2, 3, 5, 4), normal(2, 3, 4, 2)), {}),
               ((normal(3, 5, 4), normal(4, 2)), {}), ((normal(4, 5).T, normal(7, 4).T), {})],
    "low_rank_linear": [((X, normal(4, 7), bias, normal(2, 7), normal(4, 2), 0.3, thin), {}) for bias in (normal(4), None)
                        for thin in (True, False)],
    "low_rank_backward": [((normal(5, 4), X, normal(5, 2), normal(4, 7), normal(2, 7), normal(4, 2), 0.3, (True, True, True)), {})],
    "multiply_into": [((X.copy(), XHAT), {}), ((X.T.copy(), XHAT.T), {}), ((X[:0], XHAT[:0]), {}), ((LONG.copy(), LONG[::-1].copy()), {})],
    "column_sum": [((X,), {}), ((X.T,), {}), ((X[:0],), {}), ((X, XHAT), {}), ((0.01 * LONG[:2 * BLOCK].reshape(-1, 64),), {}),
                   ((0.01 * LONG[:2 * BLOCK].reshape(-1, 64), LONG[5:].reshape(-1, 64)), {}), ((X[:, :0],), {})],
    "embedding_gradient": [((IDS, normal(6, 3), 7), {}), ((IDS[:0], normal(6, 3)[:0], 7), {}),
                           ((IDS[:1], normal(1, 3), 7), {}), ((np.arange(300) * 7 % 5, normal(300, 3), 6), {}),
                           ((IDS + 70_000, normal(6, 3), 70_010), {})],
    "adam_step": [((normal(9, seed=i), normal(9, seed=i + 1), normal(9, seed=i + 2), positive(9)),
                   STEP | {"weight_decay": decay, "decoupled": decoupled})
                  for i, (decay, decoupled) in enumerate([(0.0, True), (0.1, True), (0.1, False)])]
    + [((LONG.copy(), LONG[::-1].copy(), LONG * 0.1, LONG**2), STEP | {"weight_decay": 0.01, "decoupled": True})],
    "round_to": [((LONG * scale, FORMATS[name]), {"saturate": saturate}) for name in FORMATS for saturate in (False, True)
                 for scale in (1.0, 1e-6, 1e4)] + [((np.array([np.nan, np.inf, -np.inf, -0.0, 1e30]), FORMATS["fp16"]), {}),
                                                   ((X[:0], FORMATS["bf16"]), {}), ((X.T, FORMATS["bf16"]), {})],
}
WRITES = {"adam_step": (0, 2, 3), "multiply_into": (0,), "masked_softmax": (0,)}   # the arguments that a kernel may write into
each_call = pytest.mark.parametrize("kernel, args, kwargs", [
    pytest.param(name, *call, id=f"{name}-{i}") for name, calls in CALLS.items() for i, call in enumerate(calls)])


def outputs(be, kernel, args, kwargs):
    """What a kernel returns and what it leaves in the arguments that it may write into."""
    args = [a.copy(order="K") if isinstance(a, np.ndarray) else a for a in args]
    before = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    result = getattr(be, kernel)(*args, **kwargs)
    for i, (a, b) in enumerate(zip(args, before, strict=True)):
        if i not in WRITES.get(kernel, ()):
            np.testing.assert_array_equal(a, b, err_msg=f"{be.name}.{kernel} wrote into argument {i}")
    written = [] if kernel == "masked_softmax" else [args[i] for i in WRITES.get(kernel, ())]
    return [*(result if isinstance(result, tuple) else (result,)), *written]


def test_every_rewritten_kernel_is_compared():
    assert rewritten() <= set(CALLS)
    assert len(rewritten()) >= 8


@each_call
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_fast_kernel_computes_the_plain_one(kernel, args, kwargs, dtype):
    args = [a.astype(dtype) if isinstance(a, np.ndarray) and a.dtype == np.float64 else a for a in args]
    tolerance = {"rtol": 1e-12, "atol": 1e-13} if dtype == np.float64 else {"rtol": 2e-5, "atol": 2e-6}
    with np.errstate(over="ignore"):
        expected = outputs(PLAIN, kernel, args, kwargs)
    for fast, plain in zip(outputs(FAST, kernel, args, kwargs), expected, strict=True):
        assert (fast is None) == (plain is None)
        if plain is not None:
            expected = np.float32 if kernel == "round_to" else dtype                # formats are kept in float32
            assert fast.shape == plain.shape and fast.dtype == plain.dtype == expected
            np.testing.assert_allclose(fast, plain, **tolerance)


def test_a_difference_would_be_seen(monkeypatch):
    """The comparison above fails when a kernel is wrong by one element."""
    right = NumpyBackend.column_sum
    monkeypatch.setattr(NumpyBackend, "column_sum", lambda self, gy, factor=None: right(self, gy, factor) + (np.arange(gy.shape[1]) == 1))
    with pytest.raises(AssertionError):
        test_the_fast_kernel_computes_the_plain_one("column_sum", (X,), {}, np.float64)


@pytest.mark.parametrize("be", [FAST, PLAIN], ids=["numpy", "plain"])
def test_hidden_keys_get_no_weight(be):
    """Whatever is added to the visible scores: −∞, or the lowest number that some libraries write for it."""
    for low in (-np.inf, np.finfo(np.float64).min):
        additive = np.where(np.arange(6) < 2, low, 0.0) * np.ones((4, 1))
        p = be.masked_softmax(S.copy(), HOLES, additive)
        assert (p[..., ~HOLES] == 0).all()
        assert np.isfinite(p).all()
    p = be.masked_softmax(S.copy(), HOLES, PADDED)
    np.testing.assert_allclose(p.sum(-1), np.broadcast_to((HOLES & ~np.isinf(PADDED)).any(-1), (2, 3, 4)), atol=1e-15)


def test_masks_that_nobody_can_write_into_are_not_confused():
    """The blocks of such a mask are kept: by the mask, not by its shape, and not beyond its life."""
    for number in range(30):
        mask = np.arange(75)[None] <= np.arange(70)[:, None] + number % 7 - 3
        mask.flags.writeable = False
        args = (*HEADS[:3], mask, None, 0.5, None)
        np.testing.assert_allclose(FAST.attention(*args), PLAIN.attention(*args), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kernel, args", [(k, args) for k in ("layer_norm", "layer_norm_backward") for args, _ in CALLS[k]])
@pytest.mark.parametrize("block", [7, 14, 1000])
def test_layer_norm_in_blocks_of_any_size(kernel, args, block, monkeypatch):
    for name in ("FEW", "ROWS", "LONG"):
        monkeypatch.setattr(numpy_norm, name, 0 if name == "FEW" else block)
    for dtype in (np.float64, np.float32):
        if len(args[0]) < 100:
            test_the_fast_kernel_computes_the_plain_one(kernel, args, {}, dtype)


def test_layer_norm_in_half_precision_does_not_overflow():
    """The sum of 256 squares of numbers around 30 is no half-precision number; the mean is."""
    x, gy = (30.0 * normal(6, 256)).astype(np.float16), (30.0 * normal(6, 256, seed=4)).astype(np.float16)
    w, b = np.ones(256, np.float16), np.zeros(256, np.float16)
    with np.errstate(over="raise", invalid="raise"):
        y, r = FAST.layer_norm(x, w, b, 1e-5)
        gx, *_ = FAST.layer_norm_backward(gy, x, r, w, (True, True, True))
    wide = [a.astype(np.float64) for a in (x, w, b)]
    want, r = PLAIN.layer_norm(*wide, 1e-5)
    np.testing.assert_allclose(y, want, atol=5e-3)
    np.testing.assert_allclose(gx, PLAIN.layer_norm_backward(gy.astype(np.float64), wide[0], r, wide[1], (True,) * 3)[0], atol=2e-2)
