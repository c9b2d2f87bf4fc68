"""The checks of lesson 04. They import nothing of yours: `ex` is the file under test."""
import math

import numpy as np

import minigrad as mg
from lessons import engine
from lessons.kit import calls, cases, check, exercise, num_vjp, rng, same, unchanged
from minigrad.nn import functional as F

ROWS = dict(n=[4, 1, 5], classes=[3, 6, 2])


def by_loops(x):
    """Softmax of moderate scores, entry by entry."""
    out = np.zeros(x.shape)
    for at in np.ndindex(x.shape[:-1]):
        weights = [math.exp(v) for v in x[at]]
        out[at] = [w / math.fsum(weights) for w in weights]
    return out


def mean_loss(logits, targets):
    """The mean cross-entropy of moderate scores, row by row."""
    return math.fsum(-math.log(by_loops(row)[t]) for row, t in zip(logits, targets, strict=True)) / len(targets)


def scores(n, classes, seed=4):
    """Random logits (n, classes), targets, and the same arrays a second time."""
    return rng(seed + n).normal(size=(n, classes)) * 2, rng(seed + n + 1).integers(classes, size=n)


@exercise("04.1")
@cases(shape=[(4, 3), (1, 6), (2, 3, 5), (7,)])
def test_softmax(ex, shape):
    x = rng(1).normal(size=shape) * 2
    with unchanged(x):
        got = ex.softmax(x)
    same(got, by_loops(x), f"softmax of scores {shape}")


THIRDS = [0.0, math.log(3.0)]


@exercise("04.1")
@cases(what=["1000 higher", "1000 lower", "rows far apart", "a score of −inf", "scores far apart"],
       x=[[[1000.0, 1000.0 + THIRDS[1]]], [[-1000.0, -1000.0 + THIRDS[1]]], [[0.0, THIRDS[1]], [-900.0, -900.0], [800.0, 800.0]],
          [[0.0, -math.inf, THIRDS[1]]], [[0.0, 1000.0, -1000.0]]],
       want=[[[0.25, 0.75]], [[0.25, 0.75]], [[0.25, 0.75], [0.5, 0.5], [0.5, 0.5]], [[0.25, 0.0, 0.75]], [[0.0, 1.0, 0.0]]])
def test_softmax_of_extreme_scores(ex, what, x, want):
    got = ex.softmax(np.array(x))
    same(got, np.array(want), f"softmax, {what}: {x}")
    check((np.asarray(got)[np.isneginf(x)] == 0).all(), f"softmax, {what}: a score of −inf gets probability 0, exactly")


@exercise("04.1")
def test_softmax_keeps_the_dtype(ex):
    x = rng(2).normal(size=(3, 4)).astype(np.float32)
    same(ex.softmax(x), by_loops(x).astype(np.float32), "softmax in float32", dtype=True)


@exercise("04.2")
@cases(shape=[(4, 3), (1, 6), (2, 3, 5), (7,)])
def test_softmax_vjp(ex, shape):
    x, gy = rng(3).normal(size=shape), rng(4).normal(size=shape)
    (want,) = num_vjp(by_loops, [x], gy)
    y = by_loops(x)
    with unchanged(gy, y):
        got = ex.softmax_vjp(gy, y)
    same(got, want, f"softmax_vjp of {shape}")


@exercise("04.2")
def test_softmax_vjp_of_equal_gradients(ex):
    y = by_loops(rng(5).normal(size=(2, 5)))
    same(ex.softmax_vjp(np.array([[3.0], [-2.0]]) * np.ones((2, 5)), y), np.zeros((2, 5)),
         "softmax_vjp where gy is the same for all classes of a row (their sum is always 1, so nothing can move it)", atol=1e-9)


@exercise("04.3")
@cases(**ROWS)
def test_cross_entropy(ex, n, classes):
    logits, targets = scores(n, classes)
    with unchanged(logits, targets):
        got = ex.cross_entropy(logits, targets)
    same(got, mean_loss(logits, targets), f"cross_entropy of logits {(n, classes)}")


@exercise("04.3")
@cases(what=["sure and right", "sure and wrong", "all 1000 higher", "all 1000 lower", "rows far apart", "a wrong class of score −inf"],
       logits=[[[1000.0, 0.0]], [[1000.0, 0.0]], [[1000.0, 1000.0 + THIRDS[1]]], [[-1000.0, -1000.0 + THIRDS[1]]],
               [[900.0, 900.0 + THIRDS[1]], [-900.0, -900.0]], [[0.0, -math.inf, THIRDS[1]]]],
       targets=[[0], [1], [0], [1], [0, 1], [0]],
       want=[0.0, 1000.0, math.log(4), math.log(4 / 3), (math.log(4) + math.log(2)) / 2, math.log(4)])
def test_cross_entropy_of_extreme_scores(ex, what, logits, targets, want):
    same(ex.cross_entropy(np.array(logits), np.array(targets)), want, f"cross_entropy, {what}: logits {logits}, targets {targets}")


@exercise("04.4")
@cases(**ROWS, gy=[1.0, -0.5, 3.0])
def test_cross_entropy_vjp(ex, n, classes, gy):
    logits, targets = scores(n, classes, 8)
    (want,) = num_vjp(lambda x: mean_loss(x, targets), [logits], gy)
    with unchanged(logits, targets):
        got = ex.cross_entropy_vjp(gy, logits, targets)
    same(got, want, f"cross_entropy_vjp of logits {(n, classes)}, gy = {gy:g}")


@exercise("04.4")
def test_cross_entropy_vjp_of_extreme_scores(ex):
    logits = np.array([[1000.0, 0.0, 1000.0 + THIRDS[1]], [-900.0, -900.0, -2000.0]])
    same(ex.cross_entropy_vjp(2.0, logits, np.array([1, 0])), np.array([[0.25, -1.0, 0.75], [-0.5, 0.5, 0.0]]),
         "cross_entropy_vjp of scores of 1000 and −900, gy = 2")


@exercise("04.5")
@cases(n=[5, 1, 4], out=[3, 7, 1], inn=[4, 6, 2])
def test_linear_vjp(ex, n, out, inn):
    x, W, gy = rng(10).normal(size=(n, inn)), rng(11).normal(size=(out, inn)), rng(12).normal(size=(n, out))
    wants = num_vjp(lambda x, W, b: np.einsum("ni,oi->no", x, W) + b, [x, W, np.zeros(out)], gy)
    with unchanged(gy, x, W):
        gots = ex.linear_vjp(gy, x, W)
    check(isinstance(gots, tuple | list) and len(gots) == 3, "linear_vjp: return the three gradients (gx, gW, gb)")
    for name, got, want in zip(("gx", "gW", "gb"), gots, wants, strict=True):
        same(got, want, f"linear_vjp, {n} rows, {inn} in, {out} out: {name}")


@exercise("04.6")
@cases(n=[6, 1, 4], classes=[3, 5, 2], inn=[4, 2, 7], lr=[0.5, 2.0, 0.1])
def test_classifier_step(ex, n, classes, inn, lr):
    x, W, b = rng(20).normal(size=(n, inn)), rng(21).normal(size=(classes, inn)), rng(22).normal(size=classes)
    targets = rng(23).integers(classes, size=n)

    def loss(W, b):
        return mean_loss(np.einsum("ni,oi->no", x, W) + b, targets)
    gW, gb = num_vjp(loss, [W, b], 1.0)
    with unchanged(x, targets, W, b):
        got = ex.classifier_step(x, targets, W, b, lr)
    check(isinstance(got, tuple | list) and len(got) == 3, "classifier_step: return (loss, new W, new b)")
    what = f"classifier_step, {n} rows, {inn} in, {classes} classes, lr {lr:g}"
    same(got[0], loss(W, b), f"{what}: the loss before the step")
    same(got[1], W - lr * gW, f"{what}: W")
    same(got[2], b - lr * gb, f"{what}: b")


@exercise("04.6")
@cases(what=["sure and right", "sure and wrong", "rows far apart"], targets=[[0, 1], [0, 0], [0, 1]],
       x=[[[1000.0, 0.0], [0.0, 1000.0]], [[1000.0, 0.0], [0.0, 1000.0]], [[900.0, 900.0], [-900.0, -900.0]]],
       loss=[0.0, 500.0, math.log(2)], g=[[[0, 0], [0, 0]], [[0, 0], [-0.5, 0.5]], [[-0.25, 0.25], [0.25, -0.25]]])
def test_classifier_step_of_extreme_scores(ex, what, targets, x, loss, g):
    x, g = np.array(x), np.array(g)
    got = ex.classifier_step(x, np.array(targets), np.eye(2), np.zeros(2), 0.1)
    same(got[0], loss, f"classifier_step, {what}: the loss", atol=1e-9)
    same(got[1], np.eye(2) - 0.1 * g.T @ x, f"classifier_step, {what}: W")


def first_sounds(n=60):
    """The letters that words begin with, one-hot (n, 81), and the number of their first sound (n,); how many sounds there are."""
    words = mg.tasks.get("pronounce").examples("adapt")[:n]
    ids = np.array([[ord(letter) - 96 for letter in (word + "``")[:3]] for word, _ in words])
    sounds = sorted({answers[0][0] for _, answers in words})
    targets = np.array([sounds.index(answers[0][0]) for _, answers in words])
    return ids, np.eye(27, dtype=np.float32)[ids].reshape(n, 81), targets, len(sounds)


@exercise("04.1", "04.2", "04.3", "04.4", "04.5", plug_in=True)
def test_your_functions_train_the_engine(ex):
    """A network that weighs three letters by a softmax and names the first sound; softmax, loss and linear layers are yours."""
    soft, soft_vjp, loss_of, loss_vjp, lin_vjp = mine = [calls(f) for f in (ex.softmax, ex.softmax_vjp, ex.cross_entropy,
                                                                        ex.cross_entropy_vjp, ex.linear_vjp)]
    ids, _, targets, classes = first_sounds()

    def train(steps=12):
        mg.manual_seed(4)
        letters, score, name = mg.nn.Embedding(27, 8), mg.nn.Linear(8, 1), mg.nn.Linear(8, classes)
        where = mg.tensor(rng(7).normal(size=(3, 8)).astype(np.float32), requires_grad=True)
        parameters = [*letters.parameters(), *score.parameters(), *name.parameters(), where]
        optimizer, losses = mg.optim.AdamW(parameters, lr=3e-2), []
        for _ in range(steps):
            optimizer.zero_grad()
            e = letters(ids) + where                                    # (n, 3, 8)
            weights = F.softmax(score(e).reshape(-1, 3), dim=-1)        # (n, 3)
            loss = F.cross_entropy(name((e * weights.reshape(-1, 3, 1)).sum(1)), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    def linear_back(gy, y, x, W, b):
        gx, gW, gb = lin_vjp(gy.reshape(-1, gy.shape[-1]), x.reshape(-1, x.shape[-1]), W)
        return gx.reshape(x.shape), gW, gb

    with mg.override("softmax", forward=lambda x, dim: soft(x), vjp=lambda gy, y, x, dim: (soft_vjp(gy, y),)), \
            mg.override("cross_entropy", forward=lambda x, targets, **_: np.array([loss_of(x[i:i + 1], targets[i:i + 1]) for i in
                                                                                   range(len(x))], dtype=x.dtype),
                        vjp=lambda gy, y, x, targets, **_: (np.concatenate([loss_vjp(g, x[i:i + 1], targets[i:i + 1])
                                                                            for i, g in enumerate(gy)]),)), \
            mg.override("linear", vjp=linear_back):
        yours = train()
    engine.same_curve(yours, train(), "the first sound of sixty words")
    engine.was_called(*mine)


@exercise("04.6", plug_in=True)
def test_your_step_is_the_engines_step(ex):
    """Twenty steps of yours beside twenty of the engine's linear layer with SGD."""
    _, x, targets, classes = first_sounds()
    layer = mg.nn.Linear(81, classes)
    optimizer = mg.optim.SGD(layer.parameters(), lr=1.0)
    W, b, step = layer.weight.numpy().copy(), layer.bias.numpy().copy(), calls(ex.classifier_step)
    yours, engines = [], []
    for _ in range(20):
        optimizer.zero_grad()
        loss = F.cross_entropy(layer(mg.tensor(x)), targets)
        loss.backward()
        optimizer.step()
        engines.append(loss.item())
        mine, W, b = step(x, targets, W, b, 1.0)
        yours.append(float(mine))
    engine.same_curve(yours, engines, "a linear classifier of first sounds")
    same(W, layer.weight.numpy(), "the weights after twenty steps", rtol=1e-3, atol=1e-4)
    engine.was_called(step)
