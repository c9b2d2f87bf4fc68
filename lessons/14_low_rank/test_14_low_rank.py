"""The checks of lesson 14. They import nothing of yours: `ex` is the file under test."""
import numpy as np

import minigrad as mg
from lessons import engine
from lessons.kit import calls, cases, check, exercise, rng, same, unchanged


def matrix(m, n, values, seed=0):
    """A matrix (m, n) with these singular values and random directions, and those directions."""
    k = len(values)
    U = np.linalg.qr(rng(seed).normal(size=(m, k)))[0]
    V = np.linalg.qr(rng(seed + 1).normal(size=(n, k)))[0]
    return U * np.array(values) @ V.T, U, V


@exercise("14.1")
@cases(m=[7, 4, 5, 6, 9, 8], n=[5, 9, 8, 3, 4, 7], want=[2, 4, 1, 3, 4, 1],
       values=[[3.0, 1.0], [1e3, 2.0, 1e-1, 1e-2], [5.0, 1e-9], [2.0, 1.0, 0.5], [1.0, 1.0, 1.0, 2e-6], [1.0, 0.9e-6]])
def test_rank(ex, m, n, values, want):
    M, _, _ = matrix(m, n, values)
    with unchanged(M):
        got = ex.numerical_rank(M)
    same(got, want, f"numerical_rank of a {m} × {n} matrix with singular values {values}")
    check(np.asarray(got).dtype.kind in "iu", f"numerical_rank: an int is wanted, yours is {got!r}")


@exercise("14.1")
def test_rank_at_the_edges(ex):
    same(ex.numerical_rank(np.zeros((3, 4))), 0, "numerical_rank of zeros")
    M, _, _ = matrix(6, 4, [1.0, 0.3, 0.05])
    same(ex.numerical_rank(M, rtol=0.1), 2, "numerical_rank with rtol=0.1 of singular values 1, 0.3, 0.05")
    same(ex.numerical_rank(100 * M, rtol=0.1), 2, "numerical_rank of the same matrix a hundred times larger")


@exercise("14.2")
@cases(m=[7, 4, 5], n=[5, 9, 6], r=[2, 1, 3])
def test_best_rank(ex, m, n, r):
    values = [4.0, 2.0, 1.0, 0.5][: min(m, n)]
    M, U, V = matrix(m, n, values, 3)
    want = sum(values[k] * np.outer(U[:, k], V[:, k]) for k in range(r))
    with unchanged(M):
        got = ex.best_rank(M, r)
    same(got, want, f"best_rank of a {m} × {n} matrix, r = {r}")


@exercise("14.2")
def test_best_rank_of_equal_values(ex):
    M = np.vstack([np.diag([2.0, 2.0, 2.0, 1.0]), np.zeros((1, 4))])
    got = np.asarray(ex.best_rank(M, 2))
    same(np.linalg.matrix_rank(got, tol=1e-6), 2, "best_rank, r = 2, where three singular values are equal: the rank")
    same(((M - got) ** 2).sum(), 5.0, "best_rank, r = 2, where three singular values are equal: what is lost, 2² + 1²")


@exercise("14.3")
@cases(m=[7, 4, 5], n=[5, 9, 6], r=[2, 1, 3])
def test_factor(ex, m, n, r):
    values = [4.0, 2.0, 1.0, 0.5][: min(m, n)]
    M, U, V = matrix(m, n, values, 5)
    with unchanged(M):
        pair = ex.factor(M, r)
    check(isinstance(pair, tuple | list) and len(pair) == 2, "factor: return the pair (B, A)")
    B, A = (np.asarray(x) for x in pair)
    check(B.shape == (m, r) and A.shape == (r, n), f"factor: shapes should be {(m, r)} and {(r, n)}, yours are {B.shape} and {A.shape}")
    same(B @ A, sum(values[k] * np.outer(U[:, k], V[:, k]) for k in range(r)), "factor: the product BA")
    same(np.linalg.norm(B, axis=0), np.sqrt(values[:r]), "factor: the lengths of B's columns")
    same(np.linalg.norm(A, axis=1), np.sqrt(values[:r]), "factor: the lengths of A's rows")


@exercise("14.4")
@cases(m=[7, 4], n=[5, 9], r=[1, 2])
def test_energy(ex, m, n, r):
    values = np.array([4.0, 2.0, 1.0])
    M, _, _ = matrix(m, n, values, 7)
    same(ex.energy(M, r), (values[:r] ** 2).sum() / (M ** 2).sum(), f"energy, r = {r}")


@exercise("14.4")
def test_energy_of_all(ex):
    M = rng(8).normal(size=(3, 6))
    same(ex.energy(M, 3), 1.0, "energy of a 3 × 6 matrix at r = 3")
    same(ex.energy(5 * M, 1), 1 - ((M - _nearest(M)) ** 2).sum() / (M ** 2).sum(), "energy at r = 1")


def _nearest(M):
    """The best matrix of rank 1, by power iteration."""
    v = rng(9).normal(size=M.shape[1])
    for _ in range(500):
        v = M.T @ (M @ v)
        v /= np.linalg.norm(v)
    return np.outer(M @ v, v)


@exercise("14.5")
@cases(m=[100, 128, 4, 7], n=[500, 128, 6, 3], r=[5, 64, 3, 1])
def test_numbers_saved(ex, m, n, r):
    want = np.zeros((m, n)).size - np.zeros((m, r)).size - np.zeros((r, n)).size
    got = ex.numbers_saved(m, n, r)
    same(got, want, f"numbers_saved({m}, {n}, {r})")
    check(np.asarray(got).dtype.kind in "iu", f"numbers_saved: an int is wanted, yours is {got!r}")


@exercise("14.6")
@cases(i=[1, 2, 3, 3], j=[1, 3, 2, 4])
def test_overlap(ex, i, j):
    M1, _, V1 = matrix(6, 9, [5.0, 3.0, 2.0, 1.0], 11)
    M2, _, V2 = matrix(5, 9, [4.0, 2.5, 1.5, 0.5], 21)
    want = sum((V1[:, a] @ V2[:, b]) ** 2 for a in range(i) for b in range(j)) / min(i, j)
    with unchanged(M1, M2):
        got = ex.overlap(M1, M2, i, j)
    same(got, want, f"overlap at i = {i}, j = {j}")


@exercise("14.6")
def test_overlap_of_the_same_and_of_strangers(ex):
    M, _, _ = matrix(4, 7, [3.0, 2.0, 1.0], 31)
    same(ex.overlap(M, 2 * M, 2, 2), 1.0, "overlap of a matrix with twice itself")
    same(ex.overlap(np.eye(3, 8), np.eye(3, 8)[:, ::-1], 2, 3), 0.0, "overlap of spans at right angles", atol=1e-9)


@exercise("14.3", plug_in=True)
def test_your_factors_stand_in_for_a_trained_change(ex):
    """Full fine-tuning of one matrix of a transformer; then its change, cut to rank by your factors, loaded as LoRA."""
    base = engine.small_gpt()
    tuned = engine.small_gpt()
    tuned.requires_grad_(False)
    weight = tuned.blocks[1].mlp.down_proj.weight
    weight.requires_grad = True
    engine.train(tuned, steps=15)
    change = mg.to_numpy(weight) - mg.to_numpy(base.blocks[1].mlp.down_proj.weight)
    factor = calls(ex.factor)
    losses = []
    for r in (1, 4, 16):
        adapted = mg.peft.apply(base, mg.peft.LoRA(rank=r, alpha=r, targets=("blocks.1.mlp.down_proj",)))
        layer = adapted.model.blocks[1].mlp.down_proj
        B, A = factor(change.astype(np.float64), r)
        layer.lora_A.weight.data, layer.lora_B.weight.data = A.astype(np.float32), B.astype(np.float32)
        with mg.no_grad():
            losses.append(engine.loss_of(adapted).item())
    with mg.no_grad():
        full = engine.loss_of(tuned).item()
    check(losses[0] > losses[1] > full - 1e-4, f"a higher rank should come nearer to the full change; losses {losses}, full {full:.5g}")
    same(losses[2], full, "the loss with your factors at full rank", rtol=1e-3)
    engine.was_called(factor)
