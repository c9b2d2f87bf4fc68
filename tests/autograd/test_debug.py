"""mg.debug(): mistakes with memory and numbers show where they are made."""
from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import functional as F
from tests.helpers import close, host


def leaf(*values):
    return mg.tensor(list(values), dtype="float64", requires_grad=True)


@pytest.fixture
def forget():
    """Operations defined in a test leave the registry with it."""
    before = dict(mg.Function.registry)
    yield
    mg.Function.registry.clear()
    mg.Function.registry.update(before)


def test_results_are_the_same(backend):
    def train():
        mg.manual_seed(1)
        x, w = mg.randn(4, 3), mg.randn(5, 3, requires_grad=True)
        h = F.gelu(F.linear(x, w), approximate="tanh")
        h.retain_grad()
        (F.softmax(h, -1) * h).sum().backward()
        return host(w.grad), host(h.grad)

    plain = train()
    with mg.debug():
        suspicious = train()
    for a, b in zip(plain, suspicious, strict=True):
        close(b, a, rtol=0)


def test_saved_arrays_are_read_only_until_their_backward(backend):
    x = leaf(1.0, 2.0)
    with mg.debug():
        y = x.exp()
        for array in (y.data,):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0.0
        z = (x * x).sum()
        with pytest.raises(ValueError, match="read-only"):
            x.data[...] = 0.0
        z.backward()
        x.data[...] = 5.0                           # its only reader has passed
        y.sum().backward()
        y.data[...] = 0.0


def test_everything_is_writable_again_afterwards(backend):
    x = leaf(1.0, 2.0)
    with mg.debug():
        y = x.exp() * x
    x.data[...] = 3.0
    y.data[...] = 3.0


def test_parameters_stay_writable_for_the_optimizer(backend):
    w = mg.nn.Parameter(mg.tensor([1.0, 2.0]))
    with mg.debug():
        loss = (w * w).sum()
        w.data[...] = 0.5
    assert loss.item() == 5.0


def test_nan_is_named_with_the_line_of_the_forward_pass(backend):
    x = leaf(1.0, 2.0)
    with mg.debug(), mg.override("tanh", vjp=lambda gy, y, x: (gy * float("nan"),)):
        h = x * 2.0
        y = h.tanh()
        z = (y + 1.0).sum()
        with pytest.raises(FloatingPointError) as caught:
            z.backward()
    line = test_nan_is_named_with_the_line_of_the_forward_pass.__code__.co_firstlineno + 4
    assert str(caught.value) == f"backward of tanh made NaN, for input 0 (forward: test_debug.py:{line}: y = h.tanh())"
    assert x.grad is None


def test_nan_that_came_in_is_told_from_nan_that_was_made(backend):
    x = leaf(1.0)
    with mg.debug(), pytest.raises(FloatingPointError, match="backward of exp already had NaN in its output's gradient"):
        x.exp().backward(float("nan"))


def test_without_debug_nan_passes_silently(backend):
    x = leaf(1.0)
    with mg.override("exp", vjp=lambda gy, y, x: (gy * float("nan"),)):
        x.exp().backward()
    assert np.isnan(host(x.grad)).all()


def test_a_buffer_that_was_used_up_is_poisoned(backend, forget):
    """A backward that keeps the gradient it was given: unnoticed otherwise, NaN under debug."""
    kept = []

    class Keeps(mg.Function):
        """y = 2x;  gx = 2gy, and gy is kept, which is not allowed."""

        def forward(self, x):
            return x * 2.0

        def backward(self, gy):
            kept.append(gy)
            return gy * 2.0

    x = leaf(1.0, 2.0)
    (Keeps()(x * 3.0).exp() * 1.0).sum().backward()
    assert np.isfinite(host(kept[0])).all()
    with mg.debug():
        (Keeps()(x * 3.0).exp() * 1.0).sum().backward()
    assert np.isnan(host(kept[1])).all()
    assert np.isfinite(host(x.grad)).all()


def test_what_the_user_holds_is_never_poisoned(backend):
    x, seed = leaf(1.0, 2.0), mg.ones(2, dtype="float64")
    with mg.debug():
        h = x * 2.0
        h.retain_grad()
        (h * h).backward(seed)
        (x + x.reshape(2)).backward(seed)
    close(seed, np.ones(2))
    close(h.grad, np.array([4.0, 8.0]))
    close(x.grad, np.array([10.0, 18.0]))


def test_every_operation_passes_under_debug(backend):
    """No backward of ours writes into what it saved, or relies on a used-up buffer."""
    from tests.ops.cases import CASES

    for case in CASES:
        xs = [mg.tensor(a, requires_grad=True) for a in case.sample()]
        with mg.debug():
            y = case.fn(*xs)
            y.backward(y.backend.xp.ones(y.shape, dtype=y.dtype))
        for x in xs:
            assert np.isfinite(host(x.grad)).all(), case.name


def test_a_backward_that_writes_into_what_it_saved_is_caught(backend, forget):
    class Writes(mg.Function):
        """y = x²; backward spoils the saved x."""

        def forward(self, x):
            self.save(x)
            return x * x

        def backward(self, gy):
            (x,) = self.saved
            x *= 2.0
            return gy * x

    x = leaf(1.0, 2.0)
    with mg.debug(), pytest.raises(ValueError, match="read-only"):
        Writes()(x).sum().backward()


def test_an_error_inside_leaves_nothing_behind(backend):
    x = leaf(1.0)
    with pytest.raises(ZeroDivisionError), mg.debug():
        y = x.exp()
        raise ZeroDivisionError
    y.data[...] = 1.0
    assert y._fn.forward_line != ""
    assert (x * x)._fn.forward_line == ""
