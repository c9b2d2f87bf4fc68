"""The checks of lesson 03. They import nothing of yours: `ex` is the file under test."""
import numpy as np

import minigrad as mg
from lessons import engine
from lessons.kit import calls, cases, check, exercise, num_vjp, rng, same, unchanged


def pair(value, what):
    """The two gradients of a vjp; Wrong if it is something else."""
    check(isinstance(value, tuple | list) and len(value) == 2, f"{what}: return the two gradients, (ga, gb)")
    return value


@exercise("03.1")
@cases(small=[(3,), (2, 1), (1, 3), (), (1,), (2, 3), (4, 1, 3), (1, 1, 5), (5, 1), (1, 1)],
       big=[(2, 3), (2, 4), (2, 3), (2, 3), (4, 1), (2, 3), (4, 2, 3), (2, 3, 5), (2, 3, 5, 4), (1, 1)])
def test_unbroadcast(ex, small, big):
    g = rng(3).normal(size=big)
    (want,) = num_vjp(lambda a: np.broadcast_to(a, big), [np.zeros(small)], g)
    with unchanged(g):
        got = ex.unbroadcast(g, small)
    same(got, want, f"unbroadcast {big} -> {small}")


@exercise("03.2")
@cases(a=[(2, 3), (4, 1), (3,), (), (2, 1, 5)], b=[(2, 3), (1, 5), (2, 3), (2, 3), (3, 1)])
def test_mul(ex, a, b):
    x, z = np.asarray(rng(4).normal(size=a)), np.asarray(rng(5).normal(size=b))
    x.flat[-1] = 0.0                                        # a slope is a factor, not a quotient
    shape = np.broadcast_shapes(a, b)
    gy = rng(6).normal(size=shape)
    wants = num_vjp(lambda x, z: x * z, [np.broadcast_to(x, shape), np.broadcast_to(z, shape)], gy)
    with unchanged(gy, x, z):
        gots = pair(ex.mul_vjp(gy, x, z), "mul_vjp")
    for name, got, want in zip(("ga", "gb"), gots, wants, strict=True):
        same(got, want, f"mul_vjp of {a} and {b}: {name}")


@exercise("03.3")
@cases(shape=[(2, 3), (2, 3), (2, 3), (4, 1, 3), (4, 2, 3), (4, 2, 3), (2, 4, 3), (5,), (2, 3), (2, 3, 4), (2, 3, 4), (4, 2, 3), (2, 3)],
       axis=[None, 0, 1, 2, (0, 2), 1, -2, 0, None, (-1, 0), (2, 0), (-1, -3), ()],
       keepdims=[False, False, False, False, False, True, False, False, True, True, False, False, False])
def test_sum(ex, shape, axis, keepdims):
    gy = np.asarray(rng(7).normal(size=np.zeros(shape).sum(axis=axis, keepdims=keepdims).shape))
    (want,) = num_vjp(lambda x: x.sum(axis=axis, keepdims=keepdims), [rng(8).normal(size=shape)], gy)
    with unchanged(gy):
        got = ex.sum_vjp(gy, shape, axis=axis, keepdims=keepdims)
    same(got, want, f"sum_vjp of {shape}, axis={axis}, keepdims={keepdims}")


@exercise("03.3")
def test_sum_by_default(ex):
    same(ex.sum_vjp(np.float64(-2.5), (2, 3)), np.full((2, 3), -2.5), "sum_vjp of (2, 3), axis and keepdims not given")


@exercise("03.4")
@cases(a=[(2, 3), (1, 4), (5, 2, 3), (4, 1, 2, 3), (5, 2, 3)], b=[(3, 4), (4, 1), (5, 3, 4), (5, 3, 2), (3, 4)])
def test_matmul(ex, a, b):
    x, z = rng(9).normal(size=a), rng(10).normal(size=b)
    lead = np.broadcast_shapes(a[:-2], b[:-2])
    gy = rng(11).normal(size=(*lead, a[-2], b[-1]))
    wants = num_vjp(np.matmul, [np.broadcast_to(x, lead + a[-2:]), np.broadcast_to(z, lead + b[-2:])], gy)
    with unchanged(gy, x, z):
        gots = pair(ex.matmul_vjp(gy, x, z), "matmul_vjp")
    for name, got, want in zip(("ga", "gb"), gots, wants, strict=True):
        same(got, want, f"matmul_vjp of {a} and {b}: {name}")


@exercise("03.5")
@cases(shape=[(2, 3), (2, 3, 4), (2, 3, 4), (2, 3, 4), (5, 1, 2, 3), (4,)],
       axes=[(1, 0), (1, 2, 0), (2, 0, 1), (0, 2, 1), (3, 0, 2, 1), (0,)])
def test_transpose(ex, shape, axes):
    gy = rng(12).normal(size=np.zeros(shape).transpose(axes).shape)
    (want,) = num_vjp(lambda x: x.transpose(axes), [np.zeros(shape)], gy)
    with unchanged(gy):
        got = ex.transpose_vjp(gy, axes)
    same(got, want, f"transpose_vjp of {shape} with axes {axes}")


INDICES = {
    "x[1]": 1,
    "x[1:4:2]": slice(1, 4, 2),
    "x[:, 2]": (slice(None), 2),
    "x[[3, 0, 2]]": [3, 0, 2],
    "x[[1, 1, 4, 1]]": np.array([1, 1, 4, 1]),
    "x[[[0, 2], [2, 2]]]": np.array([[0, 2], [2, 2]]),
    "x[[0, 3, 0], [2, 1, 2]]": (np.array([0, 3, 0]), np.array([2, 1, 2])),
    "x[mask]": np.array([True, False, True, True, False]),
    "x[::-1]": slice(None, None, -1),
}


@exercise("03.6")
@cases(what=list(INDICES))
def test_getitem(ex, what):
    index, shape = INDICES[what], (5, 3)
    gy = rng(13).normal(size=np.zeros(shape)[index].shape)
    (want,) = num_vjp(lambda x: x[index], [np.zeros(shape)], gy)
    with unchanged(gy):
        got = ex.getitem_vjp(gy, shape, index)
    same(got, want, f"getitem_vjp of {what}, x (5, 3), in float64", dtype=True)


@exercise("03.6")
def test_getitem_keeps_the_dtype(ex):
    gy = rng(14).normal(size=(2, 3)).astype(np.float32)
    want = np.zeros((5, 3), dtype=np.float32)
    want[3] = gy[0] + gy[1]
    same(ex.getitem_vjp(gy, (5, 3), [3, 3]), want, "getitem_vjp of x[[3, 3]] in float32", dtype=True)


def letters():
    """From twelve dictionary words: three letters in a row, and the next one. (n, 3) and (n,), 0 is the word's end."""
    rows = []
    for word, _ in mg.tasks.get("pronounce").examples("adapt")[:12]:
        ids = [0, 0, 0, *(ord(letter) - 96 for letter in word), 0]
        rows += [ids[i:i + 4] for i in range(len(ids) - 3)]
    rows = np.array(rows)
    return rows[:, :3], rows[:, 3]


def train(steps=10):
    """A network that guesses the next letter, from the engine's small operations; the loss before each step."""
    context, target = letters()
    r, n = rng(15), len(target)
    shapes = dict(E=(27, 5), scale=(3, 1), W=(15, 12), b=(12,), V=(27, 12))
    p = {k: mg.tensor(r.normal(size=s).astype(np.float32) * 0.5 + (k == "scale"), requires_grad=True) for k, s in shapes.items()}
    chosen = mg.tensor(np.eye(27, dtype=np.float32)[target])
    losses = []
    for _ in range(steps):
        e = p["E"][context] * p["scale"]                            # (27, 5) -> (n, 3, 5), by (3, 1)
        h = (e.reshape(n, 15) @ p["W"] + p["b"]).tanh()             # (n, 15) -> (n, 12)
        logits = h @ p["V"].transpose(0, 1)                         # (n, 12) -> (n, 27)
        loss = (logits.exp().sum(1).log() - (logits * chosen).sum(1)).sum() * (1 / n)
        loss.backward()
        for q in p.values():
            q.data, q.grad = q.data - np.float32(0.5) * q.grad, None
        losses.append(loss.item())
    return losses


@exercise("03.1", "03.2", "03.3", "03.4", "03.5", "03.6", plug_in=True)
def test_your_vjps_train_the_engine(ex):
    """A small network learns the next letter of real words; every gradient but tanh, exp and log is yours."""
    back, mul, total, product, turn, pick = mine = [calls(f) for f in (ex.unbroadcast, ex.mul_vjp, ex.sum_vjp, ex.matmul_vjp,
                                                                    ex.transpose_vjp, ex.getitem_vjp)]

    def both(gradients, a, b):
        return tuple(back(g, np.shape(x)) for g, x in zip(gradients, (a, b), strict=True))

    with mg.override("add", vjp=lambda gy, y, a, b: both((gy, gy), a, b)), \
            mg.override("mul", vjp=lambda gy, y, a, b: both(mul(gy, a, b), a, b)), \
            mg.override("matmul", vjp=lambda gy, y, a, b: both(product(gy, a, b), a, b)), \
            mg.override("sum", vjp=lambda gy, y, x, dim, keepdim: (total(gy, x.shape, dim, keepdim),)), \
            mg.override("permute", vjp=lambda gy, y, x, dims: (turn(gy, dims),)), \
            mg.override("getitem", vjp=lambda gy, y, x, key: (pick(gy, x.shape, key),)):
        yours = train()
    engine.same_curve(yours, train(), "the next letter of twelve words")
    engine.was_called(*mine)
