"""The strict array itself: does it catch what it is there to catch?"""
import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import backend
from minigrad.models import GPT, GPTConfig
from minigrad.nn import functional as F
from tests.strict.array import STATE, StrictArray, SyncError, policy


@pytest.fixture
def d():
    return backend.get("strict").send(np.arange(12, dtype=np.float32).reshape(3, 4))


H = np.ones((3, 4), np.float32)

REFUSED = {
    "device + host": lambda xp, d: d + H,
    "host + device": lambda xp, d: H + d,
    "host array in place": lambda xp, d: d.__iadd__(H),
    "np.exp of a device array": lambda xp, d: np.exp(d),
    "np.matmul": lambda xp, d: np.matmul(d, d.T),
    "np.concatenate": lambda xp, d: np.concatenate([d, d]),
    "np.sum": lambda xp, d: np.sum(d),
    "np.asarray": lambda xp, d: np.asarray(d),
    "np.array of a list of them": lambda xp, d: np.array([d, d]),
    "a buffer": lambda xp, d: memoryview(d),
    "a NumPy mask in where": lambda xp, d: xp.where(H > 0, d, 0.0),
    "a NumPy branch in where": lambda xp, d: xp.where(d > 0, d, H),
    "a list as index": lambda xp, d: d[[0, 2]],
    "a host array as index": lambda xp, d: d[np.array([0, 2])],
    "a host array among slices": lambda xp, d: d[:, np.array([0, 2])],
    "a device array as index of a host array": lambda xp, d: H[backend.get("strict").send(np.array([0]))],
    "host values assigned": lambda xp, d: d.__setitem__(0, H[0]),
    "a list for a ufunc": lambda xp, d: xp.exp([1.0, 2.0]),
    "host array in concatenate": lambda xp, d: xp.concatenate([d, H]),
    "host array in matmul": lambda xp, d: xp.matmul(d, H.T),
    "iteration": lambda xp, d: list(d),
    "range of a device number": lambda xp, d: range(d[0, 0].astype("int64")),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_refused(d, mistake):
    with pytest.raises(TypeError):
        REFUSED[mistake](backend.get("strict").xp, d)


@pytest.mark.parametrize("name", ["block", "errstate", "matvec", "unstack", "frompyfunc", "nditer"])
def test_names_that_cupy_lacks(name):
    with pytest.raises(AttributeError, match="CuPy does not have it"):
        getattr(backend.get("strict").xp, name)


def test_allowed(d):
    xp = backend.get("strict").xp
    assert isinstance(d.sum(), StrictArray) and d.sum().shape == ()
    assert (2.0 * d).dtype == np.float32 and (np.float32(2) * d).dtype == np.float32
    out = xp.empty_like(d)
    assert xp.exp(d, out=out) is out
    same = d
    same *= 2.0
    assert same is d and float(d[0, 1]) == 2.0
    rows = backend.get("strict").send(np.array([1, 1]))
    xp.add.at(d, rows, xp.ones((2, 4), dtype="float32"))
    assert d.get()[1].tolist() == [10.0, 12.0, 14.0, 16.0]


def test_synchronizations_are_counted_and_forbidden(d):
    before = STATE.syncs
    assert float(d.sum()) == 66.0 and d.max().item() == 11.0 and bool(d[0, 0] == 0)
    assert STATE.syncs == before + 3
    for wait in (lambda: float(d.sum()), lambda: d.get(), lambda: bool((d > 0).all()), lambda: d[d > 3]):
        with policy(allow_sync=False), pytest.raises(SyncError):
            wait()


def test_float64_is_forbidden(d):
    xp = backend.get("strict").xp
    with policy(no_float64=True):
        for widen in (lambda: np.float64(2) * d, lambda: xp.zeros(3), lambda: d / np.sqrt(64),
                      lambda: xp.arange(3) * 0.5):
            with pytest.raises(TypeError, match="float64"):
                widen()
        assert (d / math.sqrt(64)).dtype == np.float32


# ---- planted in the engine -------------------------------------------------------------------------------------------

PLANTED = {
    "np.exp on a device array": lambda x: np.exp(x),
    "a NumPy mask in where": lambda x: backend.of(x).xp.where(np.ones(x.shape, bool), x, 0.0),
    "a list as index": lambda x: x[[0, 1]],
    "np.asarray": lambda x: np.asarray(x) * 1.0,
    "a float64 constant": lambda x: x * np.float64(0.5),
    "float() inside the step": lambda x: x * float(x.sum()),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_planted_in_the_live_engine(mistake):
    """Each mistake, made by one operation of a training step, is caught on strict and would pass on NumPy."""
    def step():
        x = mg.randn(3, 4, requires_grad=True)
        x.exp().sum().backward()

    with mg.override("exp", forward=PLANTED[mistake], vjp=lambda gy, y, x: (gy * 1.0,)):
        if mistake != "a list as index":            # (which changes the shape)
            with mg.use_backend("numpy"):
                step()
        with mg.use_backend("strict"), policy(no_float64=True, allow_sync=False), pytest.raises((TypeError, SyncError)):
            step()


def test_a_training_step_waits_at_most_once():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 11, (4, 9))
    with mg.use_backend("strict"):
        model = GPT(GPTConfig(vocab_size=11, context=16, d_model=16, n_layers=2, n_heads=2))
        optimizer = mg.optim.AdamW(model.named_parameters(), lr=1e-3)
        for _ in range(2):
            before = STATE.syncs
            with policy(no_float64=True):
                loss = F.cross_entropy(model(ids[:, :-1]).reshape(-1, 11), ids[:, 1:].reshape(-1))
                loss.backward()
                norm = mg.optim.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                value, length = mg.stack([loss.detach(), norm]).tolist()
            assert STATE.syncs - before == 1
            assert math.isfinite(value) and length > 0
