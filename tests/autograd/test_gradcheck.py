"""gradcheck accepts what is right, and names what is wrong: operation, argument, place, numbers, likely cause."""
import re

import numpy as np
import pytest

import minigrad as mg
from minigrad import GradcheckError


def normal(*shape, seed=0):
    return mg.tensor(np.random.default_rng([seed, *shape]).standard_normal(shape))


def where_positive(gy, y, x):
    """Right for half of the places only."""
    return (gy * 2.0 * x * (x > 0),)


#: name -> (operation, wrong vjp, function, inputs, which input is blamed, the cause that is named)
PLANTED = {
    "missing un-broadcast of a row": (
        "add", lambda gy, y, a, b: (gy, gy[0]), lambda a, b: a + b, (normal(3, 4), normal(4)), 1,
        r"broadcast to \(3, 4\); a missing un-broadcast: its gradient must be summed"),
    "missing un-broadcast of a column": (
        "mul", lambda gy, y, a, b: ((gy * b)[:, :1], gy * a), lambda a, b: a * b, (normal(3, 1), normal(3, 4)), 0,
        "a missing un-broadcast"),
    "missing un-broadcast of a number": (
        "mul", lambda gy, y, a, b: (gy * b, (gy * a)[0, 0]), lambda a, b: a * b, (normal(3, 4), normal()), 1, "."),
    "transposed": (
        "matmul", lambda gy, y, a, b: (gy @ b.T, (a.T @ gy).T.copy().reshape(b.shape)), lambda a, b: a @ b,
        (normal(2, 3), normal(3, 4)), 1, "it looks transposed"),
    "off by two": ("square", lambda gy, y, x: (gy * x,), lambda x: x.square(), (normal(3, 4),), 0,
                   r"off by a factor of 0\.5 \(1/2\)"),
    "divided by the wrong count": ("mean", lambda gy, y, x, dim, keepdim: (gy.reshape(3, 1) * (x * 0 + 1.0 / 3),),
                                   lambda x: x.mean(1), (normal(3, 4),), 0, r"off by a factor of 1\.333"),
    "sign": ("sin", lambda gy, y, x: (-gy * mg.Tensor(x).cos().data,), lambda x: x.sin(), (normal(3, 4),), 0,
             "the sign is flipped"),
    "no gradient": ("exp", lambda gy, y, x: (gy * 0.0,), lambda x: x.exp(), (normal(3, 4),), 0,
                    "no gradient reaches this input"),
    "not finite": ("log", lambda gy, y, x: (gy / (x * 0.0),), lambda x: x.square().log(), (normal(3, 4),), 0,
                   "not finite here"),
    "half of the places": ("square", where_positive, lambda x: x.square(), (normal(5, 4) + 0.5,), 0,
                           "most places are right: look at a branch, a mask"),
    "another formula": ("tanh", lambda gy, y, x: (gy * (1.0 - y),), lambda x: x.tanh(), (normal(3, 4),), 0,
                        r"the formula of backward\(\)"),
}


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_planted_mistake_is_named(name):
    op, vjp, fn, inputs, blamed, cause = PLANTED[name]
    assert mg.gradcheck(fn, inputs)
    with mg.override(op, vjp=vjp), pytest.raises(GradcheckError) as caught:
        mg.gradcheck(fn, inputs)
    message, shape = str(caught.value), re.escape(str(tuple(inputs[blamed].shape)))
    assert re.search(rf"the gradient of input {blamed} \(shape {shape}\) is wrong at \d+ of \d+ places; worst at index "
                     r"\(.*\): expected \S+ by finite differences, got \S+\. Likely cause: ", message)
    assert re.search(cause, message.split("Likely cause: ")[1])
    assert f"last operation: {op}" in message


def test_the_worst_place_and_its_numbers():
    def vjp(gy, y, x):
        g = 2.0 * gy * x
        g[1, 2] += 5.0
        return (g,)

    x = mg.ones(3, 4, dtype="float64")
    with mg.override("square", vjp=vjp), pytest.raises(GradcheckError, match=r"1 of 12 places; worst at index \(1, 2\)"):
        mg.gradcheck(mg.square, [x])


def test_the_function_is_named():
    def my_loss(x):
        return x.exp()

    with mg.override("exp", vjp=lambda gy, y, x: (gy,)), pytest.raises(GradcheckError, match=r"gradcheck of my_loss"):
        mg.gradcheck(my_loss, [normal(3)])


def test_inputs_of_many_kinds(backend):
    assert mg.gradcheck(lambda x: x * 2.0, mg.tensor([1.0]))                   # one tensor instead of a list
    assert mg.gradcheck(lambda x, n: x * n, [np.ones((2, 3), np.float32), 3.0])
    assert mg.gradcheck(lambda x, i: x[i], [normal(3, 2), mg.tensor([2, 0, 2])])    # integers have no gradient
    assert mg.gradcheck(lambda x: x.sum(), [mg.tensor(2.0)])
    assert mg.gradcheck(lambda x: x * 1.0, [mg.zeros(0, 3)])


def test_inputs_are_copied(backend):
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    assert mg.gradcheck(mg.exp, [x])
    assert x.grad is None and x.dtype == np.float32 and x.tolist() == [1.0, 2.0]


def test_inputs_marked_as_frozen_are_not_checked(backend):
    x, w = mg.tensor([1.0, 2.0], requires_grad=True), mg.tensor([0.0, 1.0])
    with mg.override("mul", vjp=lambda gy, y, a, b: (gy * b, gy * 100.0)):
        assert mg.gradcheck(lambda x, w: x * w, [x, w])


def test_errors_cannot_cancel_in_a_sum():
    """Swapping two elements of the gradient keeps its sum; a random weighting sees it."""
    def vjp(gy, y, x):
        return ((gy * 1.0)[::-1].copy(),)

    with mg.override("neg", vjp=lambda gy, y, x: (-gy[::-1],)), pytest.raises(GradcheckError):
        mg.gradcheck(lambda x: -x, [normal(4)])
    with mg.override("cast", vjp=vjp):
        assert mg.gradcheck(lambda x: x.exp(), [normal(4)])


@pytest.mark.parametrize("fn, inputs, error, message", [
    (lambda x: 3.0, [1.0], GradcheckError, "returned float; the result must be a tensor"),
    (lambda x: x.detach() * 2.0, [1.0], GradcheckError, "returned Tensor without a graph"),
    (lambda x: x.to("float32") * 2.0, [1.0], GradcheckError, "returned float32 from float64 inputs; some step loses"),
    (lambda i: i, [mg.tensor([1, 2])], ValueError, "none of the inputs is a floating-point tensor"),
])
def test_what_cannot_be_checked(fn, inputs, error, message):
    with pytest.raises(error, match=message):
        mg.gradcheck(fn, inputs)


def test_a_kink_is_found():
    with pytest.raises(GradcheckError):
        mg.gradcheck(mg.relu, [mg.tensor([0.0, 1.0])])
