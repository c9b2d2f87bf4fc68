"""The checks of lesson 12. They import nothing of yours: `ex` is the file under test."""
import numpy as np

import minigrad as mg
from lessons import engine
from lessons.kit import calls, cases, check, exercise, num_vjp, rng, same, unchanged

SIZES = dict(n=[5, 1, 4], d=[6, 7, 4], r=[2, 3, 1])


def arrays(n, d, r):
    """h, W_down, b_down, W_up, b_up: all random, and biases not zero."""
    g = rng(12 + n)
    return g.normal(size=(n, d)), g.normal(size=(r, d)), 3 * g.normal(size=r), g.normal(size=(d, r)), g.normal(size=d)


def by_loops(h, W_down, b_down, W_up, b_up):
    """The adapter, row by row and unit by unit."""
    out = np.zeros_like(h)
    for k, row in enumerate(h):
        z = [max(0.0, sum(row * W_down[j]) + b_down[j]) for j in range(len(W_down))]
        out[k] = row + b_up + sum(z[j] * W_up[:, j] for j in range(len(z)))
    return out


@exercise("12.1")
@cases(d=[9, 40], r=[2, 4])
def test_init(ex, d, r):
    values = ex.adapter_init(d, r, rng(1))
    check(isinstance(values, tuple | list) and len(values) == 4, "adapter_init: return the four arrays (W_down, b_down, W_up, b_up)")
    wants = rng(1).normal(0, 1 / np.sqrt(d), (r, d)), np.zeros(r), np.zeros((d, r)), np.zeros(d)
    for name, got, want in zip(("W_down", "b_down", "W_up", "b_up"), values, wants, strict=True):
        same(got, want, f"adapter_init: {name}")


@exercise("12.1")
def test_init_adds_nothing_and_can_learn(ex):
    W_down, b_down, W_up, b_up = (np.asarray(a) for a in ex.adapter_init(8, 3, rng(2)))
    h = rng(3).normal(size=(5, 8))
    same(by_loops(h, W_down, b_down, W_up, b_up), h, "adapter_init: the adapter's output at the start, which should be its input")
    check(np.maximum(h @ W_down.T + b_down, 0).max() > 0.01, "adapter_init: W_up would get no gradient, so nothing could be learned")


@exercise("12.2")
@cases(**SIZES)
def test_forward(ex, n, d, r):
    values = arrays(n, d, r)
    with unchanged(*values):
        y = ex.adapter_forward(*values)
    same(y, by_loops(*values), f"adapter_forward, d = {d}, r = {r}")


@exercise("12.3")
@cases(**SIZES)
def test_vjp(ex, n, d, r):
    h, W_down, b_down, W_up, b_up = arrays(n, d, r)
    gy = rng(13).normal(size=(n, d))
    wants = num_vjp(by_loops, [h, W_down, b_down, W_up, b_up], gy)
    with unchanged(gy, h, W_down, b_down, W_up):
        gots = ex.adapter_vjp(gy, h, W_down, b_down, W_up)
    check(isinstance(gots, tuple | list) and len(gots) == 5, "adapter_vjp: return five gradients (gh, gW_down, gb_down, gW_up, gb_up)")
    for name, got, want in zip(("gh", "gW_down", "gb_down", "gW_up", "gb_up"), gots, wants, strict=True):
        same(got, want, f"adapter_vjp: {name}")


@exercise("12.4")
@cases(seed=[1, 2])
def test_insert(ex, seed):
    M = rng(seed).normal(size=(6, 4, 4))
    block = {"norm1": lambda x: np.tanh(x @ M[0]), "attention": lambda x: x @ M[1] + 1, "norm2": lambda x: np.sin(x @ M[2]),
             "mlp": lambda x: x @ M[3] - 2}
    x = rng(seed + 10).normal(size=(3, 4))
    after_attention = x + np.cos(block["attention"](block["norm1"](x)) @ M[4])
    want = after_attention + (block["mlp"](block["norm2"](after_attention)) ** 2) @ M[5]
    def apart(x):
        return x + 1.0                                      # any other adapter
    with unchanged(block):
        ex.insert(block, apart, apart)
        run = ex.insert(block, lambda a: np.cos(a @ M[4]), lambda a: (a ** 2) @ M[5])
    check(callable(run), "insert: return a function of x")
    with unchanged(x, block):
        run(x + 0.5)
        same(run(x), want, "insert: the adapted block's output")


@exercise("12.5")
@cases(layers=[4, 12, 1], d=[128, 768, 5], r=[16, 1, 2])
def test_trained(ex, layers, d, r):
    one = sum(np.zeros(s).size for s in ((r, d), (r,), (d, r), (d,)))
    same(ex.trained(layers, d, r), one * layers * 2, f"trained, {layers} layers, d = {d}, r = {r}")


@exercise("12.2", "12.3", plug_in=True)
def test_your_adapter_fine_tunes_the_engine(ex):
    """A frozen transformer with your adapter after each sub-layer, against the same made of the engine's operations."""
    forward, vjp = calls(ex.adapter_forward), calls(ex.adapter_vjp)

    def flat(x):
        return x.reshape(-1, x.shape[-1])
    run = engine.operation(
        lambda h, *p: forward(flat(h), *p).reshape(h.shape),
        lambda gy, h, W_down, b_down, W_up, b_up: [(gs[0].reshape(h.shape), *gs[1:]) for gs in
                                                   [vjp(flat(gy), flat(h), W_down, b_down, W_up)]][0])

    class Adapted(mg.nn.Module):
        def __init__(self, sub_layer, yours):
            super().__init__()
            self.sub_layer, self.yours = sub_layer, yours
            d, r = 16, 3
            self.W_down = mg.nn.Parameter(mg.tensor(rng(1).normal(0, 0.25, (r, d)).astype(np.float32)))
            self.b_down = mg.nn.Parameter(mg.zeros(r))
            self.W_up = mg.nn.Parameter(mg.zeros(d, r))
            self.b_up = mg.nn.Parameter(mg.zeros(d))

        def forward(self, x, *args, **kwargs):
            h = self.sub_layer(x, *args, **kwargs)
            if self.yours:
                return run(h, self.W_down, self.b_down, self.W_up, self.b_up)
            return h + (h @ self.W_down.T + self.b_down).relu() @ self.W_up.T + self.b_up

    def model(yours):
        gpt = engine.small_gpt()
        gpt.requires_grad_(False)
        for block in gpt.blocks:
            block.attn, block.mlp = Adapted(block.attn, yours), Adapted(block.mlp, yours)
        return gpt
    engine.same_curve(engine.train(model(True)), engine.train(model(False)), "adapters on 8 words")
    engine.was_called(forward, vjp)
