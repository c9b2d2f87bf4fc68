"""The checks of lesson 19. They import nothing of yours: `ex` is the file under test."""
import numpy as np

import minigrad as mg
from lessons import engine
from lessons.kit import calls, cases, check, exercise, fail, rng, same, unchanged

SIZES = dict(out=[3, 7, 1], inn=[4, 5, 6], r=[2, 3, 1])


def arrays(out, inn, r):
    """W, A, B: random, B not zero."""
    g = rng(19 + out)
    return g.normal(size=(out, inn)), g.normal(size=(r, inn)), g.normal(size=(out, r))


@exercise("19.1")
@cases(alpha=[16, 8.0, 1, 6.0], rank=[8, 4, 3, 1])
def test_scaling(ex, alpha, rank):
    for kind, want in (("alpha", alpha), ("alpha/r", alpha / rank), ("alpha/sqrt(r)", alpha / rank ** 0.5)):
        same(ex.scaling(kind, alpha, rank), want, f"scaling({kind!r}, alpha={alpha}, rank={rank})")


@exercise("19.1")
@cases(kind=["alpha/R", "", "sqrt"])
def test_unknown_scaling(ex, kind):
    try:
        got = ex.scaling(kind, 16, 8)
    except ValueError:
        return
    fail(f"scaling({kind!r}, …): there is no such scaling; that should be a ValueError, yours gives {got!r:.40}")


@exercise("19.2")
@cases(**SIZES)
def test_dora(ex, out, inn, r):
    W, A, B = arrays(out, inn, r)
    m = rng(2).uniform(0.5, 3.0, size=out)
    with unchanged(W, A, B, m):
        got = ex.dora_weight(W, A, B, 0.7, m)
    want = np.zeros((out, inn))
    for k in range(out):
        row = np.array([W[k, j] + 0.7 * sum(B[k, q] * A[q, j] for q in range(r)) for j in range(inn)])
        want[k] = m[k] * row / sum(v * v for v in row) ** 0.5
    same(got, want, f"dora_weight, {out} × {inn}, rank {r}")


@exercise("19.2")
def test_dora_starts_at_the_base(ex):
    W, A, B = arrays(5, 3, 2)
    lengths = np.sqrt((W ** 2).sum(axis=1))
    same(ex.dora_weight(W, A, 0 * B, 2.0, lengths), W, "dora_weight at the start, with B = 0 and m the lengths of W's rows")
    same(np.linalg.norm(ex.dora_weight(W, A, B, 2.0, 3 * lengths), axis=1), 3 * lengths, "dora_weight: the lengths of its rows, which are to be m")


@exercise("19.3")
@cases(out=[3, 7, 2], inn=[4, 5, 6], r=[2, 3, 9], most_out=[7, 7, 5], most_in=[6, 5, 8])
def test_vera(ex, out, inn, r, most_out, most_in):
    g = rng(out)
    W, A, B = g.normal(size=(out, inn)), g.normal(size=(r, most_in)), g.normal(size=(most_out, r))
    d, b = g.normal(size=r), g.normal(size=out)
    with unchanged(W, A, B, d, b):
        got = ex.vera_weight(W, A, B, d, b)
    same(got, W + np.einsum("o,or,r,ri->oi", b, B[:out, :], d, A[:, :inn]), f"vera_weight, {out} × {inn}, shared A {A.shape} and B {B.shape}")


@exercise("19.4")
@cases(m=[7, 4, 5, 1], n=[5, 9, 6, 3], r=[2, 1, 3, 1], s=[2.0, 0.5, 3.0, 4.0])
def test_pissa(ex, m, n, r, s):
    k = min(m, n)
    values = np.array([4.0, 2.0, 1.0, 0.5, 0.25])[:k]
    U, V = np.linalg.qr(rng(m).normal(size=(m, k)))[0], np.linalg.qr(rng(n).normal(size=(n, k)))[0]
    W = U * values @ V.T
    with unchanged(W):
        got = ex.pissa(W, r, s)
    check(isinstance(got, tuple | list) and len(got) == 3, "pissa: return (A, B, W_res)")
    A, B, rest = (np.asarray(a) for a in got)
    check(A.shape == (r, n) and B.shape == (m, r), f"pissa: A and B should be {(r, n)} and {(m, r)}, yours are {A.shape} and {B.shape}")
    best = sum(values[q] * np.outer(U[:, q], V[:, q]) for q in range(r))
    same(s * B @ A, best, f"pissa, rank {r}, s = {s}: the trained part s·BA")
    same(rest, W - best, f"pissa, rank {r}, s = {s}: what is frozen, W_res")
    same(np.linalg.norm(A, axis=1), np.sqrt(values[:r] / s), "pissa: the lengths of A's rows")
    same(np.linalg.norm(B, axis=0), np.sqrt(values[:r] / s), "pissa: the lengths of B's columns")


@exercise("19.5")
@cases(out=[3, 5, 1, 4], inn=[4, 2, 6, 4])
def test_ia3(ex, out, inn):
    g = rng(out)
    W, b, x = g.normal(size=(out, inn)), g.normal(size=out), g.normal(size=(8, inn))
    for of_input, l in ((False, g.normal(size=out)), (True, g.normal(size=inn))):
        l[0] = 0.0
        with unchanged(W, b, l):
            got = ex.ia3_merge(W, b, l, of_input)
        check(isinstance(got, tuple | list) and len(got) == 2, "ia3_merge: return the pair (weight, bias)")
        weight, bias = (np.asarray(a) for a in got)
        what = f"ia3_merge, of_input={of_input}"
        check(weight.shape == W.shape and bias.shape == b.shape, f"{what}: shapes should be {W.shape} and {b.shape}, yours are {weight.shape} and {bias.shape}")
        want = (x * l) @ W.T + b if of_input else (x @ W.T + b) * l
        of_zero = b if of_input else b * l                                      # the output for x = 0
        same(x @ weight.T, want - of_zero, f"{what}: the merged layer's output, without the bias")
        same(bias, of_zero, f"{what}: the bias")


@exercise("19.6")
@cases(shapes=[[(128, 128)] * 8, [(7, 3)], [(384, 128), (128, 512), (5, 9)]], r=[8, 1, 3])
def test_counts(ex, shapes, r):
    with unchanged(shapes):
        got = ex.counts(shapes, r)
    check(isinstance(got, dict) and set(got) == {"lora", "lora_fa", "dora", "vera"}, "counts: return a dict with the keys lora, lora_fa, dora and vera")
    parts = {"lora": lambda o, i: [(r, i), (o, r)], "lora_fa": lambda o, i: [(o, r)], "dora": lambda o, i: [(r, i), (o, r), (o,)], "vera": lambda o, i: [(r,), (o,)]}
    for name, trained in parts.items():
        same(got[name], sum(np.zeros(p).size for o, i in shapes for p in trained(o, i)), f"counts, rank {r}: {name}")


@exercise("19.1", "19.2", "19.3", "19.4", "19.5", "19.6", plug_in=True)
def test_your_family_in_the_engine(ex):
    """PiSSA trains from your start; DoRA, VeRA and (IA)³ are trained by the engine and merged by you."""
    scaling, dora, vera, pissa, ia3, counts = (calls(f) for f in (ex.scaling, ex.dora_weight, ex.vera_weight, ex.pissa, ex.ia3_merge, ex.counts))
    rank, alpha, base = 2, 6.0, engine.small_gpt()
    s = scaling("alpha/r", alpha, rank)
    numbers = counts([(16, 16)] * 4, rank)
    methods = {"lora": mg.peft.LoRA(rank=rank, alpha=alpha), "dora": mg.peft.DoRA(rank=rank, alpha=alpha), "vera": mg.peft.VeRA(rank=rank)}
    for name, method in methods.items():
        same(numbers[name], sum(p.size for p in mg.peft.apply(base, method).trainable_parameters()), f"the numbers that {name} trains in the engine")

    mine = mg.peft.apply(base, methods["lora"])                         # your start, LoRA's training
    for block in mine.model.blocks:
        for name in ("q_proj", "v_proj"):
            layer = getattr(block.attn, name)
            A, B, rest = pissa(mg.to_numpy(layer.base_layer.weight).astype(np.float64), rank, s)
            layer.lora_A.weight.data, layer.lora_B.weight.data = A.astype(np.float32), B.astype(np.float32)
            layer.base_layer.weight = mg.nn.Parameter(mg.tensor(np.asarray(rest, dtype=np.float32)), requires_grad=False)
    engines = engine.train(mg.peft.apply(engine.small_gpt(), mg.peft.PiSSA(rank=rank, alpha=alpha)))
    engine.same_curve(engine.train(mine), engines, "PiSSA on 8 words")

    def value(t):
        return mg.to_numpy(t).astype(np.float64)

    for method in (methods["dora"], methods["vera"], mg.peft.IA3()):
        adapted, plain = mg.peft.apply(base, method), engine.small_gpt()
        losses = engine.train(adapted, lr=3e-2)
        for path, layer in adapted.model.named_modules():
            if not hasattr(layer, "base_layer"):
                continue
            target = plain.get_submodule(path)
            W, b = value(target.weight), value(target.bias)
            if isinstance(method, mg.peft.DoRA):
                W = dora(W, value(layer.lora_A.weight), value(layer.lora_B.weight), s, value(layer.lora_magnitude_vector))
            elif isinstance(method, mg.peft.VeRA):
                W = vera(W, value(layer.vera_A), value(layer.vera_B), value(layer.vera_lambda_d), value(layer.vera_lambda_b))
            else:
                W, b = ia3(W, b, value(layer.ia3_l).reshape(-1), path.endswith("down_proj"))
            target.weight.data, target.bias.data = np.asarray(W, dtype=np.float32), np.asarray(b, dtype=np.float32)
        with mg.no_grad():
            merged, unmerged = engine.loss_of(plain).item(), engine.loss_of(adapted).item()
        check(unmerged < losses[0], f"{method.name}: training did not lower the loss")
        same(merged, unmerged, f"the loss of a plain model with your merged weights, {method.name}")
    engine.was_called(scaling, dora, vera, pissa, ia3, counts)
