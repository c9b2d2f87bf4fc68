"""The checks of lesson 15. They import nothing of yours: `ex` is the file under test."""
import numpy as np

import minigrad as mg
from lessons import engine
from lessons.kit import calls, cases, check, exercise, num_vjp, rng, same, unchanged

SIZES = dict(n=[5, 1, 4], out=[3, 7, 2], inn=[4, 6, 5], rank=[2, 3, 1], alpha=[6.0, 1.5, 4.0])


def arrays(n, out, inn, rank):
    """x, W, b, A, B: random, and B not zero, for with B = 0 a branch that is wrong looks right."""
    r = rng(15 + n)
    return (r.normal(size=(n, inn)), r.normal(size=(out, inn)), r.normal(size=out), r.normal(size=(rank, inn)),
            r.normal(size=(out, rank)))


def by_loops(x, W, b, A, B, alpha):
    """The same layer entry by entry: y_ko = Σ_i x_ki (W_oi + alpha/r·Σ_j B_oj A_ji) + b_o."""
    return np.einsum("ki,oi->ko", x, W) + b + alpha / len(A) * np.einsum("ki,ji,oj->ko", x, A, B)


@exercise("15.1")
@cases(out=[5, 3], inn=[40, 7], rank=[4, 2])
def test_init_shapes_and_start(ex, out, inn, rank):
    pair = ex.lora_init(out, inn, rank, rng(1))
    check(isinstance(pair, tuple | list) and len(pair) == 2, "lora_init: return the pair (A, B)")
    A, B = pair
    same(B, np.zeros((out, rank)), "lora_init: B")
    same(A, rng(1).uniform(-1 / np.sqrt(inn), 1 / np.sqrt(inn), (rank, inn)), "lora_init: A, drawn from the same seed")


@exercise("15.1")
def test_init_starts_at_the_base_and_can_learn(ex):
    A, B = (np.asarray(a) for a in ex.lora_init(6, 9, 3, rng(2)))
    same(B @ A, np.zeros((6, 9)), "lora_init: the change BA at the start")
    x, gy = rng(3).normal(size=(4, 9)), rng(4).normal(size=(4, 6))
    check(np.abs(gy.T @ (x @ A.T)).max() > 1e-3, "lora_init: B would get no gradient, so nothing could be learned")


@exercise("15.2")
@cases(**SIZES)
def test_forward(ex, n, out, inn, rank, alpha):
    x, W, b, A, B = arrays(n, out, inn, rank)
    with unchanged(x, W, b, A, B):
        y = ex.lora_forward(x, W, b, A, B, alpha)
    same(y, by_loops(x, W, b, A, B, alpha), f"lora_forward, rank {rank}, alpha {alpha:g}")


@exercise("15.3")
@cases(**SIZES)
def test_vjp(ex, n, out, inn, rank, alpha):
    x, W, b, A, B = arrays(n, out, inn, rank)
    gy = rng(16).normal(size=(n, out))
    wants = num_vjp(lambda x, A, B: by_loops(x, W, b, A, B, alpha), [x, A, B], gy)
    with unchanged(gy, x, W, A, B):
        gots = ex.lora_vjp(gy, x, W, A, B, alpha)
    check(isinstance(gots, tuple | list) and len(gots) == 3, "lora_vjp: return the three gradients (gx, gA, gB)")
    for name, got, want in zip(("gx", "gA", "gB"), gots, wants, strict=True):
        same(got, want, f"lora_vjp: {name}")


@exercise("15.4")
@cases(**SIZES)
def test_merge(ex, n, out, inn, rank, alpha):
    x, W, b, A, B = arrays(n, out, inn, rank)
    with unchanged(W, A, B):
        merged = ex.merge(W, A, B, alpha)
    same(merged, W + alpha / rank * np.einsum("oj,ji->oi", B, A), f"merge, rank {rank}, alpha {alpha:g}")
    check(not np.shares_memory(ex.merge(W, A, 0 * B, alpha), W), "merge: with B = 0 too a new array is wanted, not W itself")
    same(x @ np.asarray(merged).T + b, by_loops(x, W, b, A, B, alpha), "merge: the merged layer's output")


@exercise("15.5")
def test_swap(ex):
    _, W, _, A, B = arrays(5, 3, 4, 2)
    adapters = {"rhyme": (A, B), "accent": (A[:1] * 3, B[:, :1] - 1)}
    for base, alpha, which in ((W, 6.0, ""), (W, 3.0, " with another alpha"), (-W, 3.0, " on another base")):
        for name, (a, c) in adapters.items():
            with unchanged(base, adapters, a, c):
                got = ex.swap(base, adapters, name, alpha)
            same(got, base + alpha / len(a) * np.einsum("oj,ji->oi", c, a), f"swap to {name!r}{which}")
    check(ex.swap(W, adapters, None, 6.0) is W, "swap to None: return W itself, the very array")


@exercise("15.5")
def test_a_hundred_swaps(ex):
    _, W, _, A, B = arrays(4, 2, 5, 1)
    adapters, before = {"a": (A, B), "b": (A - 1, B * 2)}, W.copy()
    first = np.array(ex.swap(W, adapters, "a", 3.0))
    for _ in range(50):
        last = ex.swap(W, adapters, "b", 3.0)
        last = ex.swap(W, adapters, "a", 3.0)
    check(np.array_equal(W, before), "swap: after a hundred swaps W has changed; never write into it")
    same(first, W + 3.0 * np.einsum("oj,ji->oi", B, A), "swap: the weight of 'a'")
    check(np.array_equal(last, first), "swap: after a hundred swaps the weight of 'a' is another one: it drifts")


@exercise("15.6")
@cases(shapes=[[(128, 128)] * 8, [(7, 3)], [(384, 128), (128, 512), (5, 9)]], rank=[8, 1, 3])
def test_trained(ex, shapes, rank):
    want = sum(np.zeros((rank, i)).size + np.zeros((o, rank)).size for o, i in shapes)
    with unchanged(shapes):
        got = ex.trained(shapes, rank)
    same(got, want, f"trained, rank {rank}")


@exercise("15.2", "15.3", plug_in=True)
def test_your_lora_fine_tunes_the_engine(ex):
    """A frozen transformer; in every block W_q and W_v get your branch, and 12 steps of AdamW train it."""
    alpha = 4.0

    def adapted(layer_of):
        adapted = mg.peft.apply(engine.small_gpt(), mg.peft.LoRA(rank=2, alpha=alpha), rng=rng(5))
        if layer_of:
            for block in adapted.model.blocks:
                for name in ("q_proj", "v_proj"):
                    setattr(block.attn, name, layer_of(getattr(block.attn, name)))
        return adapted

    forward, vjp = calls(ex.lora_forward), calls(ex.lora_vjp)

    def flat(x):
        return x.reshape(-1, x.shape[-1])

    run = engine.operation(
        lambda x, W, b, A, B: forward(flat(x), W, b, A, B, alpha).reshape(*x.shape[:-1], len(W)),
        lambda gy, x, W, b, A, B: [(gx.reshape(x.shape), None, None, gA, gB) for gx, gA, gB in
                                   [vjp(flat(gy), flat(x), W, A, B, alpha)]][0])

    class Yours(mg.nn.Module):
        def __init__(self, lora):
            super().__init__()
            self.base_layer, self.lora_A, self.lora_B = lora.base_layer, lora.lora_A, lora.lora_B

        def forward(self, x):
            return run(x, self.base_layer.weight, self.base_layer.bias, self.lora_A.weight, self.lora_B.weight)

    engine.same_curve(engine.train(adapted(Yours)), engine.train(adapted(None)), "LoRA on 8 words")
    engine.was_called(forward, vjp)
