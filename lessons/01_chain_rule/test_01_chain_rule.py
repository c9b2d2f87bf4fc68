"""The checks of lesson 01. They import nothing of yours: `ex` is the file under test."""
import math

import numpy as np

import minigrad as mg
from lessons import engine
from lessons.kit import calls, cases, check, exercise, fail, rng, same


@exercise("01.1")
@cases(x=[0.7, -1.3, 2.0], h=[1e-4, 1e-3, 1e-2])
def test_slope_of_sine(ex, x, h):
    want = math.cos(x) * math.sin(h) / h                    # what a central difference of sine is, exactly
    same(ex.slope(math.sin, x, h), want, f"slope of sine at {x}, h = {h:g}", rtol=1e-7)


@exercise("01.1")
def test_slope_sees_both_sides(ex):
    same(ex.slope(lambda x: x ** 3, 2.0, h=0.1), 12.01, "slope of x³ at 2, h = 0.1: (2.1³ − 1.9³) / 0.2", rtol=1e-7)
    same(ex.slope(abs, 0.0, h=0.1), 0.0, "slope of |x| at 0, h = 0.1: both sides are as high")
    same(ex.slope(lambda x: 3.0 - 5.0 * x, 4.0), -5.0, "slope of 3 − 5x with the h that is not given")


def of_three(xs):
    """A function of three numbers in which each has another slope."""
    check(isinstance(xs, list), f"partials: f takes a list; you gave it {type(xs).__name__} {xs!r:.40}")
    a, b, c = xs
    return a * b ** 2 + math.sin(c) * a - 4.0 * c


@exercise("01.2")
@cases(xs=[[1.5, -2.0, 0.3], [-0.4, 3.0, 2.0], [0.5, 0.5, 0.5], [2, -1, 3]])
def test_partials(ex, xs):
    a, b, c = xs
    mine = list(xs)
    got = ex.partials(of_three, mine)
    check(mine == xs, "partials: your function changed the list it was given; move a copy")
    same(got, [b ** 2 + math.sin(c), 2 * a * b, math.cos(c) * a - 4.0], f"partials of ab² + a·sin c − 4c at {xs}")


@exercise("01.2")
def test_partials_sees_both_sides(ex):
    same(ex.partials(lambda xs: xs[0] ** 3 - xs[1] ** 3, [2.0, 1.0], h=0.1), [12.01, -3.01], "partials of x³ − y³ at (2, 1), h = 0.1",
         rtol=1e-7)
    same(ex.partials(lambda xs: 7.0 * xs[0], [0.0]), [7.0], "partials of a function of one number")


def slopes(y, what, *inputs):
    """The local slope of y in each input; an input that is a parent twice has the sum of two."""
    check(hasattr(y, "data") and hasattr(y, "parents"), f"{what}: should be a Value, yours is {y!r}" if y is not None else
          f"{what}: your method returned nothing (None); did you forget `return`?")
    for pair in y.parents:
        check(isinstance(pair, tuple | list) and len(pair) == 2, f"{what}: parents should be pairs (value, local slope)")
        check(any(pair[0] is x for x in inputs), f"{what}: a parent should be the very Value that went in, yours is {pair[0]!r}")
    check(all(any(p is x for p, _ in y.parents) for x in inputs), f"{what}: {len(set(map(id, inputs)))} parents expected, yours has "
          f"{len(y.parents)}")
    return [sum(local for parent, local in y.parents if parent is x) for x in inputs]


def looks_right(y, what, want, inputs, locals_):
    """The value, the local slopes, and nothing written anywhere else."""
    got = slopes(y, what, *inputs)
    same(y.data, want, f"{what}: data", rtol=1e-7)
    for name, mine, theirs in zip("ab", got, locals_, strict=False):
        same(mine, theirs, f"{what}: local slope in {name}", rtol=1e-6)
    check(all(x.grad == 0 for x in (y, *inputs)), f"{what}: grad is for backward() to fill; here it stays 0")


@exercise("01.3")
@cases(a=[3.0, -1.5, 0.0], b=[-4.0, 0.25, 6.0])
def test_product(ex, a, b):
    x, z = ex.Value(a), ex.Value(b)
    looks_right(x * z, f"{a:g}·{b:g}", a * b, (x, z), (b, a))
    check(x.data == a and z.data == b, "__mul__: a and b must stay as they are")


@exercise("01.3")
def test_square_as_a_product(ex):
    x = ex.Value(5.0)
    looks_right(x * x, "a·a at 5", 25.0, (x,), (10.0,))


@exercise("01.4")
@cases(a=[3.0, -1.5, 0.0], b=[-4.0, 0.25, 6.0])
def test_quotient(ex, a, b):
    x, z = ex.Value(a), ex.Value(b)
    looks_right(x / z, f"{a:g}/{b:g}", a / b, (x, z), (1 / b, -a / (b * b)))
    check(x.data == a and z.data == b, "__truediv__: a and b must stay as they are")


@exercise("01.4")
def test_a_number_by_itself(ex):
    x = ex.Value(5.0)
    looks_right(x / x, "a/a at 5", 1.0, (x,), (0.0,))


@exercise("01.5")
@cases(a=[0.0, 0.6, -1.1, 2.5])
def test_tanh(ex, a):
    x = ex.Value(a)
    looks_right(x.tanh(), f"tanh {a:g}", math.tanh(a), (x,), (1 / math.cosh(a) ** 2,))
    check(x.data == a, "tanh: x must stay as it is")


@exercise("01.5")
@cases(a=[800.0, -800.0])
def test_tanh_far_out(ex, a):
    x = ex.Value(a)
    looks_right(x.tanh(), f"tanh {a:g}", math.copysign(1.0, a), (x,), (0.0,))


@exercise("01.6")
def test_backward_multiplies_along_a_path(ex):
    x = ex.Value(0.5)
    u = ex.Value(1.5, [(x, 3.0)])
    y = ex.Value(-3.0, [(u, -2.0)])
    y.backward()
    for name, value, want in (("y", y, 1.0), ("u", u, -2.0), ("x", x, -6.0)):
        same(value.grad, want, f"x →(·3) u →(·−2) y: grad of {name}")


@exercise("01.6")
def test_backward_adds_where_paths_meet(ex):
    x, w = ex.Value(2.0), ex.Value(-1.0)
    a, b = ex.Value(1.0, [(x, 3.0), (w, 0.5)]), ex.Value(1.0, [(x, 7.0)])
    u = ex.Value(1.0, [(a, 2.0), (b, 5.0), (a, -1.0)])
    y = ex.Value(1.0, [(u, 10.0), (b, 1.0)])
    y.backward()
    for name, value, want in (("u", u, 10.0), ("a", a, 10.0 * (2 - 1)), ("b", b, 10.0 * 5 + 1), ("w", w, 10.0 * 0.5),
                              ("x", x, 10.0 * 3 + 51.0 * 7)):
        same(value.grad, want, f"five values, many paths: grad of {name}")
    check((x.data, u.data) == (2.0, 1.0), "backward: data must stay as it is")


@exercise("01.6")
def test_backward_along_two_paths_that_look_the_same(ex):
    x = ex.Value(3.0)
    y = ex.Value(6.0, [(x, 1.0), (x, 1.0)])
    y.backward()
    same(x.grad, 2.0, "x + x: grad of x")


@exercise("01.6")
def test_backward_starts_from_gy_and_adds_up(ex):
    x = ex.Value(2.0)
    y = ex.Value(6.0, [(x, 3.0)])
    y.backward(-0.5)
    same(x.grad, -1.5, "backward(−0.5) through a slope of 3: grad of x")
    y.backward(2.0)
    same(x.grad, 4.5, "after a second backward(2), which adds: grad of x")
    same(y.grad, 1.5, "after both: grad of y")


def words(n=12):
    """Letters, letters that write vowels, and sounds of n dictionary words, from 0 to about 1."""
    found = mg.tasks.get("pronounce").examples("adapt")[:n]
    x = np.array([[len(word), sum(letter in "aeiouy" for letter in word)] for word, _ in found], dtype=np.float32) / 10
    return x, np.array([len(answers[0]) for _, answers in found], dtype=np.float32) / 10


def train(steps=12):
    """A network of four tanh neurons learns how many sounds a word has; the loss before each step, from the engine."""
    x, sounds = (mg.tensor(a) for a in words())
    r = rng(1)
    W, v = (mg.tensor(r.normal(size=4 * k).reshape(shape).astype(np.float32), requires_grad=True) for k, shape in ((2, (4, 2)), (1, (4,))))
    b, s = mg.zeros(4).requires_grad_(), mg.tensor([2.0], requires_grad=True)
    losses = []
    for _ in range(steps):
        h = ((x.reshape(-1, 1, 2) * W).sum(-1) + b).tanh()          # (n, 1, 2)·(4, 2) -> (n, 4)
        off = (h * v).sum(-1) / s - sounds                          # (n, 4) -> (n,)
        loss = (off * off).sum()
        loss.backward()
        for p in (W, v, b, s):
            p.data, p.grad = p.data - np.float32(0.03) * p.grad, None
        losses.append(loss.item())
    return losses


@exercise("01.3", "01.4", "01.5", "01.6", plug_in=True)
def test_your_values_train_the_engine(ex):
    """Every product, quotient and tanh of a small network runs number by number through your Value, both ways."""
    product, quotient, tanh = calls(ex.Value.__mul__), calls(ex.Value.__truediv__), calls(ex.Value.tanh)

    def by_values(op):
        def run(*xs):
            xs = np.broadcast_arrays(*xs)
            return [([ex.Value(float(x[at])) for x in xs], at) for at in np.ndindex(xs[0].shape)], xs[0].shape

        def forward(*xs):
            each, shape = run(*xs)
            return np.array([op(*inputs).data for inputs, _ in each], dtype=np.float32).reshape(shape)

        def vjp(gy, y, *xs):
            each, shape = run(*xs)
            gxs = np.zeros((len(xs), *shape), dtype=np.float32)
            for inputs, at in each:
                op(*inputs).backward(float(gy[at]))
                for gx, value in zip(gxs, inputs, strict=True):
                    gx[at] = value.grad
            return tuple(gxs)
        return dict(forward=forward, vjp=vjp)

    with mg.override("mul", **by_values(product)) as mul, mg.override("div", **by_values(quotient)) as div, \
            mg.override("tanh", **by_values(tanh)) as tan:
        yours = train()
    engine.same_curve(yours, train(), "sounds of twelve words")
    engine.was_called(product, quotient, tanh)
    if not mul.vjp_calls * div.vjp_calls * tan.vjp_calls:
        fail("the engine never walked back through your values")
