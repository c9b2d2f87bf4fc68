"""mg.override(): one operation of the live engine is swapped, counted and put back."""
from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import functional as F
from tests.helpers import close


def leaf(*values):
    return mg.tensor(list(values), dtype="float64", requires_grad=True)


def test_both(backend):
    x = leaf(1.0, 2.0)
    with mg.override("exp", forward=lambda x: x * 10.0, vjp=lambda gy, y, x: (gy * 100.0,)) as mine:
        y = x.exp()
        close(y, np.array([10.0, 20.0]))
        y.sum().backward()
    close(x.grad, np.array([100.0, 100.0]))
    assert (mine.calls, mine.vjp_calls) == (1, 1)


def test_vjp_alone_sees_gy_output_inputs_and_options(backend):
    seen = {}

    def vjp(gy, y, x, **options):
        seen.update(gy=gy, y=y, x=x, **options)
        return (gy * x,)

    x = leaf(1.0, 2.0)
    with mg.override("softmax", vjp=vjp) as mine:
        y = F.softmax(x, -1)
        y.backward(mg.tensor([1.0, 10.0], dtype="float64"))
    close(y, np.exp([1.0, 2.0]) / np.exp([1.0, 2.0]).sum(), rtol=1e-12)
    close(x.grad, np.array([1.0, 20.0]))
    assert seen["y"] is y.data and seen["x"] is x.data and seen["dim"] == 0
    assert (mine.calls, mine.vjp_calls) == (1, 1)


def test_forward_alone_keeps_the_engines_backward(backend):
    x = leaf(1.0, 2.0)
    with mg.override("square", forward=lambda x: x * x) as mine:
        y = x.square()
        y.sum().backward()
        x.square()
    close(x.grad, np.array([2.0, 4.0]))
    assert (mine.calls, mine.vjp_calls) == (2, 0)


def test_several_inputs_and_options(backend):
    x, w, b = mg.ones(2, 3), mg.ones(4, 3, requires_grad=True), mg.ones(4, requires_grad=True)
    with mg.override("linear", forward=lambda x, w, b: x @ w.T * 2.0 + b) as mine:
        y = F.linear(x, w, b)
    close(y, np.full((2, 4), 7.0, np.float32))
    assert mine.calls == 1
    with mg.override("sum", forward=lambda x, dim, keepdim: x.sum(axis=dim, keepdims=keepdim) * 3.0):
        close(x.sum(1, keepdim=True), np.full((2, 1), 9.0, np.float32))


def test_it_ends_with_the_block(backend):
    x = leaf(1.0)
    with mg.override("exp", forward=lambda x: x * 0.0):
        pass
    close(x.exp(), np.exp([1.0]))


def test_it_ends_with_an_error_too(backend):
    x = leaf(1.0)
    with pytest.raises(ZeroDivisionError), mg.override("exp", forward=lambda x: 1 / 0):
        x.exp()
    close(x.exp(), np.exp([1.0]))


def test_a_recorded_node_keeps_its_own_backward(backend):
    """Recorded inside, walked outside: what ran forward decides what runs backward."""
    x = leaf(1.0)
    with mg.override("exp", vjp=lambda gy, y, x: (gy * 7.0,)) as mine:
        y = x.exp()
    y.backward()
    close(x.grad, np.array([7.0]))
    assert mine.vjp_calls == 1
    outside = x.exp()
    with mg.override("exp", vjp=lambda gy, y, x: (gy * 7.0,)):
        x.grad = None
        outside.backward()
    close(x.grad, np.exp([1.0]))


def test_nested(backend):
    x = leaf(1.0)
    with mg.override("exp", forward=lambda x: x * 2.0) as outer:
        with mg.override("exp", forward=lambda x: x * 3.0) as inner:
            close(x.exp(), np.array([3.0]))
        close(x.exp(), np.array([2.0]))
    assert (outer.calls, inner.calls) == (1, 1)
    close(x.exp(), np.exp([1.0]))


def test_no_other_operation_is_touched(backend):
    """Operations that share code are still two: amin is written on top of amax."""
    x = leaf(1.0, 5.0)
    with mg.override("amax", forward=lambda x, dim, keepdim: x.sum() * 100.0) as mine:
        assert x.amin().item() == 1.0 and x.mean().item() == 3.0
        with mg.override("amin", forward=lambda x, dim, keepdim: x.sum()):
            assert x.amin().item() == 6.0
        assert mine.calls == 0
        assert x.amax().item() == 600.0
    assert x.amin().item() == 1.0 and x.amax().item() == 5.0


def test_every_operation_can_be_overridden_alone(backend):
    for name, cls in mg.ops.registry.items():
        with mg.override(name, forward=lambda *arrays, **options: None) as mine:
            others = [other for other, kind in mg.ops.registry.items() if kind.override is mine]
        assert others == [name] and cls.override is None


def test_a_naive_twin_goes_through_the_small_operations(backend):
    with mg.override("exp", forward=lambda x: x) as exp, mg.override("softmax", forward=lambda x, dim: x) as softmax:
        F.softmax_naive(leaf(1.0, 2.0), -1)
        assert (exp.calls, softmax.calls) == (1, 0)
        F.softmax(leaf(1.0, 2.0), -1)
        assert (exp.calls, softmax.calls) == (1, 1)


def test_mistakes(backend):
    with pytest.raises(ValueError, match="no operation 'softmaks'; did you mean 'softmax'.*Known are: .*abs, add"):
        mg.override("softmaks", forward=lambda x: x)
    with pytest.raises(ValueError, match="give forward=, vjp= or both"):
        mg.override("exp")
    with mg.override("exp", forward=lambda x: None), pytest.raises(RuntimeError, match="forward returned None"):
        leaf(1.0).exp()
    with mg.override("mul", vjp=lambda gy, y, a, b: gy):
        y = leaf(1.0) * leaf(2.0)
    with pytest.raises(RuntimeError, match="backward of mul returned 1 gradients for 2 inputs"):
        y.backward()


def test_the_result_of_a_vjp_is_never_written_into(backend):
    """A learner may return an array twice, or one that is held elsewhere."""
    be = mg.backend.current()
    held = be.send(np.array([1.0, 1.0]))
    x = leaf(1.0, 2.0)
    with mg.override("mul", vjp=lambda gy, y, a, b: (held, held)):
        (x * x + x).sum().backward()
    close(held, np.ones(2))
    close(x.grad, np.array([3.0, 3.0]))


def test_under_no_grad(backend):
    with mg.no_grad(), mg.override("exp", forward=lambda x: x, vjp=lambda gy, y, x: (gy,)) as mine:
        y = leaf(1.0).exp()
    assert mine.calls == 1 and not y.requires_grad
