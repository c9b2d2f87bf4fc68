"""gradcheck finds planted mistakes, and names them."""
from __future__ import annotations

import re

import numpy as np
import pytest

import minigrad as mg
from minigrad import GradcheckError, gradcheck


def values(*shape, seed=0):
    return mg.tensor(np.random.default_rng(seed).uniform(0.5, 2.0, shape))


def cause(op, vjp, fn, inputs) -> str:
    """The likely cause that gradcheck names when `op` has this backward."""
    with mg.override(op, vjp=vjp), pytest.raises(GradcheckError) as caught:
        gradcheck(fn, inputs)
    return re.search(r"Likely cause: (.*)\.$", str(caught.value), re.S)[1]


def test_what_is_right_passes(backend):
    assert gradcheck(lambda a, b: (a * b).exp().sum(0), [values(3, 4), values(4)])
    assert gradcheck(lambda x: x.tanh(), values(2, 3))
    assert gradcheck(lambda x: x * x, [np.array([1.0, 2.0], np.float32)])
    assert gradcheck(mg.softplus, [1.5])
    assert gradcheck(lambda x: x * 2.0, [mg.zeros(0, 3)])


# ---- planted mistakes -----------------------------------------------------------------------------------------------


def test_sign(backend):
    assert "sign is flipped" in cause("exp", lambda gy, y, x: (-gy * y,), lambda x: x.exp(), [values(3, 4)])


@pytest.mark.parametrize("factor", [2.0, 0.5, 3.0, -2.0])
def test_factor(backend, factor):
    found = cause("square", lambda gy, y, x: (gy * x * (2.0 * factor),), lambda x: x.square(), [values(3, 4)])
    assert f"off by a factor of {factor:.4g} (1/{1 / factor:.4g})" in found


def test_factor_of_a_mean(backend):
    """The classic: forgetting 1/n."""
    found = cause("mean", lambda gy, y, x, dim, keepdim: (gy * (x * 0.0 + 1.0),), lambda x: x.mean(), [values(3, 5)])
    assert "factor of 15 " in found


@pytest.mark.parametrize("shape", [(3, 3), (2, 3)])
def test_transposed(backend, shape):
    """For a·b, the gradient of a written as (gy·bᵀ)ᵀ, forced back into a's shape."""
    def vjp(gy, y, a, b):
        wrong = gy @ b.swapaxes(-1, -2)
        return wrong.swapaxes(-1, -2).reshape(a.shape), a.swapaxes(-1, -2) @ gy

    found = cause("matmul", vjp, lambda a, b: a @ b, [values(*shape), values(3, 4)])
    assert found == "it looks transposed"


def test_missing_un_broadcast(backend):
    """One row of the gradient instead of the sum of all rows."""
    found = cause("add", lambda gy, y, a, b: (gy, gy[0]), lambda a, b: a + b, [values(3, 4), values(4)])
    assert "missing un-broadcast" in found and "(3, 4)" in found


def test_missing_un_broadcast_of_a_column(backend):
    found = cause("mul", lambda gy, y, a, b: ((gy * b)[:, :1], gy * a), lambda a, b: a * b, [values(3, 1), values(3, 4)])
    assert "missing un-broadcast" in found


def test_no_gradient(backend):
    found = cause("exp", lambda gy, y, x: (gy * 0.0,), lambda x: x.exp(), [values(3)])
    assert "no gradient reaches this input" in found
    with pytest.raises(GradcheckError, match="no gradient reaches this input"):
        gradcheck(lambda a, b: a * b.detach(), [values(3), values(3)])


def test_a_branch(backend):
    """A gradient that is right in most places: a mask with the wrong border."""
    x = mg.tensor([-2.0, -1.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    found = cause("relu", lambda gy, y, x: (gy * (x > -1.5),), lambda x: x.relu(), [x])
    assert "most places are right" in found


def test_not_finite(backend):
    with pytest.raises(GradcheckError, match="the gradient is not finite here"), mg.override(
            "exp", vjp=lambda gy, y, x: (gy * float("nan"),)):
        gradcheck(lambda x: x.exp(), [values(3)])


def test_anything_else_is_the_formula(backend):
    assert cause("exp", lambda gy, y, x: (gy * (y + x),), lambda x: x.exp(), [values(4)]) == "the formula of backward()"


def test_errors_cannot_cancel(backend):
    """A backward that swaps two elements' gradients has the right sum; the random weights tell them apart."""
    with mg.override("exp", vjp=lambda gy, y, x: ((gy * y)[::-1],)), pytest.raises(GradcheckError):
        gradcheck(lambda x: x.exp(), [mg.tensor([1.0, 1.0, 1.0])])


def test_the_message_says_what_where_and_how_much(backend):
    def planted(a, b):
        return a * b.exp()

    with mg.override("exp", vjp=lambda gy, y, x: (gy * y * 2.0,)), pytest.raises(GradcheckError) as caught:
        gradcheck(planted, [values(2, 3), values(3)])
    text = str(caught.value)
    assert re.search(r"gradcheck of planted \(last operation: mul\): the gradient of input 1 \(shape \(3,\)\) is wrong at 3 of 3 "
                     r"places; worst at index \(\d,\): expected -?\d.* by finite differences, got -?\d", text)
    expected, got = (float(n) for n in re.search(r"expected (\S+) by finite differences, got (\S+)\. ", text).groups())
    assert got == pytest.approx(2 * expected, rel=1e-4)


def test_the_worst_place(backend):
    def vjp(gy, y, x):
        g = 2.0 * gy * x
        g[0, 1] += 1.0
        g[1, 2] -= 5.0
        return (g,)

    with mg.override("square", vjp=vjp), pytest.raises(GradcheckError, match=r"at 2 of 12 places; worst at index \(1, 2\)"):
        gradcheck(mg.square, [values(3, 4)])


def test_a_kink(backend):
    with pytest.raises(GradcheckError):
        gradcheck(mg.relu, [mg.tensor([0.0, 1.0])])


# ---- what is checked ------------------------------------------------------------------------------------------------


def test_inputs_are_copied_and_left_alone(backend):
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    assert gradcheck(lambda x: x * x, [x])
    assert x.grad is None and x.dtype.name == "float32" and x.tolist() == [1.0, 2.0]


def test_only_what_requires_gradients_when_some_do(backend):
    """With the planted mistake on b alone, checking a alone passes."""
    with mg.override("mul", vjp=lambda gy, y, a, b: (gy * b, gy * 0.0)):
        a, b = values(3).requires_grad_(), values(3)
        assert gradcheck(lambda a, b: a * b, [a, b])
        with pytest.raises(GradcheckError, match="input 1"):
            gradcheck(lambda a, b: a * b, [values(3), values(3)])


def test_integers_are_passed_through(backend):
    assert gradcheck(lambda x, i: x[i], [values(4), mg.tensor([0, 2, 2])])
    with pytest.raises(ValueError, match="none of the inputs is a floating-point tensor"):
        gradcheck(lambda i: i * 1.0, [mg.tensor([1, 2])])


def test_a_result_without_a_graph(backend):
    with pytest.raises(GradcheckError, match="returned Tensor without a graph"):
        gradcheck(lambda x: x.detach(), [values(2)])
    with pytest.raises(GradcheckError, match="returned list"):
        gradcheck(lambda x: [x], [values(2)])


def test_a_step_that_loses_precision(backend):
    with pytest.raises(GradcheckError, match="returned float32 from float64 inputs"):
        gradcheck(lambda x: x.to("float32"), [values(2)])


def test_the_hosts_generator_is_left_alone(backend):
    """Nothing random of the user's moves because a gradient was checked."""
    mg.manual_seed(3)
    gradcheck(lambda x: x * x, [values(2)])
    after = mg.rand(3).tolist()
    mg.manual_seed(3)
    assert after == mg.rand(3).tolist()
