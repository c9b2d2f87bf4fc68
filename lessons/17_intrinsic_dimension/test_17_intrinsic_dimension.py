"""The checks of lesson 17. They import nothing of yours: `ex` is the file under test."""
import numpy as np

import minigrad as mg
from lessons import engine
from lessons.kit import calls, cases, check, exercise, rng, same, unchanged


def sylvester(n):
    """The Walsh-Hadamard matrix divided by √n, by its definition."""
    H = np.ones((1, 1))
    while len(H) < n:
        H = np.block([[H, H], [H, -H]])
    return H / np.sqrt(n)


def parts(n, seed):
    """Signs, a permutation that is not its own inverse, and Gaussians."""
    r = rng(seed)
    order = np.roll(np.arange(n), 1)
    order[:n - 1] = r.permutation(order[:n - 1])
    return r.choice([-1.0, 1.0], size=n), order, 2.5 * r.normal(size=n)


def dense_fastfood(B, order, G, d, D):
    """Fastfood's P as a plain matrix (D, d)."""
    n = len(B)
    H = sylvester(n)
    M = H @ np.diag(G) @ np.eye(n)[order] @ H @ np.diag(B)
    return (n / np.sqrt((G ** 2).sum() * D) * M)[:D, :d]


@exercise("17.1")
@cases(shapes=[[(2, 3), (4,), (3, 1)], [(5,)], [(1, 2), (2, 2, 3), (1,), (7,)]])
def test_move(ex, shapes):
    r = rng(17)
    arrays = [r.normal(size=s) for s in shapes]
    change = r.normal(size=sum(a.size for a in arrays))
    with unchanged(change, *arrays):
        got = ex.move(arrays, change)
    check(isinstance(got, tuple | list) and len(got) == len(arrays), f"move: return a list of {len(arrays)} arrays")
    flat = iter(change.tolist())
    for i, (mine, a) in enumerate(zip(got, arrays, strict=True)):
        same(mine, a + np.array([next(flat) for _ in range(a.size)]).reshape(a.shape), f"move: array {i} of shapes {shapes}")
    single = ex.move([a.astype(np.float32) for a in arrays], change.astype(np.float32))[0]
    check(np.asarray(single).dtype == np.float32, f"move: float32 weights should stay float32, yours are {np.asarray(single).dtype}")


@exercise("17.2")
@cases(D=[11, 4, 9, 1], d=[3, 6, 1, 2], k=[4, 3, 2, 1])
def test_sparse_project(ex, D, d, k):
    r = rng(D)
    rows = np.stack([r.choice(D, size=k, replace=False) for _ in range(d)])
    values, z = r.normal(size=(d, k)), r.normal(size=d)
    P = np.zeros((D, d))
    for j in range(d):
        for row, value in zip(rows[j], values[j], strict=True):
            P[row, j] = value
    with unchanged(z, rows, values):
        got = ex.sparse_project(z, rows, values, D)
    same(got, P @ z, f"sparse_project, D = {D}, d = {d}, {k} entries in a column")


@exercise("17.3")
@cases(n=[8, 2, 16, 1, 64])
def test_hadamard(ex, n):
    x = rng(n).normal(size=n)
    with unchanged(x):
        got = ex.hadamard(x)
    same(got, sylvester(n) @ x, f"hadamard of {n} numbers")


@exercise("17.3")
def test_hadamard_twice(ex):
    x = rng(5).normal(size=32)
    same(ex.hadamard(np.array(ex.hadamard(x))), x, "hadamard of the hadamard of x: H is its own inverse")
    check(ex.hadamard(rng(6).normal(size=1 << 16)).shape == (1 << 16,), "hadamard of 65,536 numbers: the shape")


@exercise("17.4")
@cases(n=[8, 16, 16, 4], D=[7, 11, 16, 3], d=[3, 5, 2, 1])
def test_fastfood(ex, n, D, d):
    B, order, G = parts(n, n + d)
    z, H = rng(d).normal(size=d), sylvester(n)
    with unchanged(z, B, order, G):
        got = ex.fastfood(z, B, order, G, D, lambda x: H @ x)
    same(got, dense_fastfood(B, order, G, d, D) @ z, f"fastfood, {d} -> {D} numbers, n = {n}")


@exercise("17.5")
@cases(n=[8, 16, 16, 4], D=[7, 11, 16, 3], d=[3, 5, 2, 1])
def test_adjoint(ex, n, D, d):
    B, order, G = parts(n, n + d)
    g, z, H = rng(d).normal(size=D), rng(d + 1).normal(size=d), sylvester(n)
    P = dense_fastfood(B, order, G, d, D)
    with unchanged(g, B, order, G):
        got = ex.fastfood_adjoint(g, B, order, G, d, lambda x: H @ x)
    same(got, P.T @ g, f"fastfood_adjoint, {D} -> {d} numbers, n = {n}")
    same(np.asarray(got) @ z, (P @ z) @ g, "fastfood_adjoint: ⟨z, Pᵀg⟩, which is to equal ⟨Pz, g⟩", rtol=1e-9)


@exercise("17.6")
@cases(scores=[{2: [0.1, 0.3], 4: [0.5, 0.5], 8: [0.8, 1.0], 16: [0.99, 0.97]}, {64: [0.8], 16: [0.7], 32: [0.75]}, {1: [0.2, 0.95], 2: [0.3, 0.4]},
               {8: [0.7, 0.7], 4: [0.5, 0.3], 2: [0.6, 0.8]}, {10: [0.55], 20: [0.65]}], full=[1.0, 0.8, 1.0, 0.6, 0.7], want=[8, 32, None, 2, 20])
def test_d90(ex, scores, full, want):
    before = {d: list(s) for d, s in scores.items()}
    got = ex.d90(scores, full)
    check(scores == before, "d90: do not change the scores you were given")
    if want is None:
        check(got is None, f"d90 of {scores}, full {full}: none reaches it, so None was expected, yours is {got!r}")
    else:
        same(got, want, f"d90 of {scores}, full {full}")


@exercise("17.1", "17.3", "17.4", "17.5", plug_in=True)
def test_your_plane_through_a_transformer(ex):
    """All weights of a transformer move along your random plane of 40 dimensions, and it learns eight words."""
    method = mg.peft.IntrinsicDimension(40)
    engines = engine.train(mg.peft.apply(engine.small_gpt(), method), lr=0.1)
    hadamard, forward, adjoint, move = calls(ex.hadamard), calls(ex.fastfood), calls(ex.fastfood_adjoint), calls(ex.move)
    mine = mg.peft.apply(engine.small_gpt(), method)
    drawn = mine.model.projection
    B, order, _, G = drawn.parts
    G = 3 * G                                       # c makes up for the size of G
    project = engine.operation(lambda z: forward(z, B, order, G, drawn.large, hadamard),
                               lambda gy, z: (adjoint(gy, B, order, G, len(z), hadamard),))
    mine.model.projection = project
    engine.same_curve(engine.train(mine, lr=0.1), engines, "training along a plane, on 8 words")
    base = engine.small_gpt()
    parameters = list(base.parameters())
    moved = move([p.data for p in parameters], mg.to_numpy(project(mine.model.z)))
    with mg.no_grad():
        along = engine.loss_of(mine).item()
        for p, array in zip(parameters, moved, strict=True):
            p.data = np.asarray(array, dtype=np.float32)
        same(engine.loss_of(base).item(), along, "the loss of a plain model with the weights that your `move` gives")
    engine.was_called(hadamard, forward, adjoint, move)
