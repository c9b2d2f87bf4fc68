"""The checks of lesson 10. They import nothing of yours: `ex` is the file under test."""
import types

import numpy as np

import minigrad as mg
from lessons import engine
from lessons.kit import calls, cases, check, exercise, fail, num_vjp, rng, same, unchanged


def three(answer, what):
    """The three numbers of an answer."""
    check(isinstance(answer, tuple | list) and len(answer) == 3, f"{what}: return (weights, gradients, optimizer)")
    return dict(zip(("weights", "gradients", "optimizer"), answer, strict=True))


@exercise("10.1")
@cases(n=[1000, 7, 822016], mixed=[True, False, True])
def test_train_bytes(ex, n, mixed):
    low = np.float16 if mixed else np.float32
    state = [np.float32] * (3 if mixed else 2)      # master, m, v
    want = {"weights": np.dtype(low).itemsize * n, "gradients": np.dtype(low).itemsize * n,
            "optimizer": sum(np.dtype(t).itemsize * n for t in state)}
    for part, got in three(ex.train_bytes(n, mixed), "train_bytes").items():
        same(got, want[part], f"train_bytes({n}, mixed={mixed}): {part}")


@exercise("10.1")
def test_both_recipes(ex):
    for mixed in (True, False):
        same(sum(ex.train_bytes(5, mixed)), 80, f"train_bytes(5, mixed={mixed}): the sum, 16 per number")


@exercise("10.2")
@cases(base=[1000, 822016, 50], shapes=[[(4, 7)], [(128, 128)] * 8, [(3, 5), (2, 9), (6, 1)]], rank=[2, 8, 3])
def test_lora_bytes(ex, base, shapes, rank):
    pairs = [np.zeros(s, np.float32) for out, inn in shapes for s in ((rank, inn), (out, rank))]
    added = sum(a.nbytes for a in pairs)
    want = {"weights": np.zeros(base, np.float32).nbytes + added, "gradients": added, "optimizer": 2 * added}
    with unchanged(shapes):
        values = ex.lora_bytes(base, shapes, rank)
    for part, got in three(values, "lora_bytes").items():
        same(got, want[part], f"lora_bytes of a model of {base} numbers, {len(shapes)} layers, rank {rank}: {part}")


class Marked(np.ndarray):
    """An array of a kind of its own; NumPy does not shorten the way from such a view to its owner."""


@exercise("10.3")
def test_buffer_bytes_of_views_of_views(ex):
    a = np.zeros((6, 5), np.float32)
    inside = a.view(Marked)[1:5]
    view = inside[1:3]                              # its base is a view, whose base is a view of a
    same(ex.buffer_bytes([view, a]), 120, "buffer_bytes of an array and a view whose base is a view itself")
    same(ex.buffer_bytes([view]), 120, "buffer_bytes of a view whose base is a view itself")


@exercise("10.3")
def test_buffer_bytes(ex):
    a, b = np.zeros((6, 5), np.float32), np.zeros(7, np.float64)
    same(ex.buffer_bytes([a, b]), 120 + 56, "buffer_bytes of two arrays of 120 and 56 bytes")
    same(ex.buffer_bytes([a, a, b]), 176, "buffer_bytes with one array twice")
    same(ex.buffer_bytes([a, a.T, b]), 176, "buffer_bytes of an array, its transpose, and another")
    same(ex.buffer_bytes([a[1:3]]), 120, "buffer_bytes of two rows of an array of six: the whole buffer stays in memory")
    same(ex.buffer_bytes([a[1:3].T, a[4:, ::2], b[:2]]), 176, "buffer_bytes of views, and views of views, of two arrays")
    same(ex.buffer_bytes([a.reshape(-1), a.copy()]), 240, "buffer_bytes of a reshape and a copy")
    same(ex.buffer_bytes([]), 0, "buffer_bytes of nothing")


@exercise("10.4")
@cases(batch=[2, 8, 1], tokens=[3, 13, 7], d_model=[4, 16, 10], d_ff=[12, 64, 5])
def test_block_keeps(ex, batch, tokens, d_model, d_ff):
    wide, hidden, row = np.zeros((batch, tokens, d_model)).size, np.zeros((batch, tokens, d_ff)).size, np.zeros((batch, tokens)).size
    through = [wide, row, wide, wide, wide, wide, row, hidden]      # norm, q, k, v, norm, GELU
    where = f"block_keeps({batch}, {tokens}, {d_model}, {d_ff}"
    same(ex.block_keeps(batch, tokens, d_model, d_ff, False), sum(through), f"{where}, trained=False)")
    inputs = [wide, wide, wide, hidden]             # of q, k and v together; of o; of up; of down
    same(ex.block_keeps(batch, tokens, d_model, d_ff, True), sum(through + inputs), f"{where}, trained=True)")


@exercise("10.5")
@cases(blocks=[12, 16, 10, 5, 7, 1], inside=[9.0, 10.0, 1.0, 100.0, 3.0, 8.0], between=[1.0, 10.0, 50.0, 1.0, 3.0, 2.0])
def test_best_segment(ex, blocks, inside, between):
    peaks = []
    for k in range(1, blocks + 1):
        segments = [list(range(i, min(i + k, blocks))) for i in range(0, blocks, k)]
        peaks.append(sum(between for _ in segments) + inside * k)
    got = ex.best_segment(blocks, inside, between)
    what = f"best_segment of {blocks} blocks, inside {inside:g}, between {between:g}"
    check(isinstance(got, tuple | list) and len(got) == 2, f"{what}: return (length, bytes)")
    same(got[1], min(peaks), f"{what}: bytes")
    same(got[0], peaks.index(min(peaks)) + 1, f"{what}: length")


def stack_of_layers(seed, widths):
    """Layers y = tanh(x·W): [(forward, vjp)] with counters, and their weights."""
    r = rng(seed)
    weights = [r.normal(size=(a, b)) / np.sqrt(a) for a, b in zip(widths[:-1], widths[1:], strict=True)]

    def layer(W):
        def forward(x):
            return np.tanh(x @ W)

        def vjp(gy, x):
            gz = gy * (1 - np.tanh(x @ W) ** 2)
            return gz @ W.T, x.T @ gz
        return calls(forward), calls(vjp)
    return [layer(W) for W in weights], weights


@exercise("10.6")
@cases(n=[5, 1, 3], widths=[(4, 6, 3, 7), (2, 5), (3, 4, 6, 2, 5, 4)])
def test_checkpointed_vjp(ex, n, widths):
    layers, weights = stack_of_layers(n, widths)
    x, gy = rng(20).normal(size=(n, widths[0])), rng(21).normal(size=(n, widths[-1]))

    def whole(x, *weights):
        for W in weights:
            x = np.tanh(x @ W)
        return x
    want = num_vjp(whole, [x, *weights], gy)
    with unchanged(x, gy):
        got = ex.checkpointed_vjp(gy, x, layers)
    check(isinstance(got, tuple | list) and len(got) == 2, "checkpointed_vjp: return (gx, [gw, …])")
    same(got[0], want[0], f"checkpointed_vjp through {len(layers)} layers: gx")
    check(isinstance(got[1], list) and len(got[1]) == len(layers), f"checkpointed_vjp: return {len(layers)} gradients of weights in a list")
    for i, gw in enumerate(got[1]):
        same(gw, want[1 + i], f"checkpointed_vjp through {len(layers)} layers: gw of layer {i}")
    for i, (forward, vjp) in enumerate(layers):
        check(forward.count <= 1, f"checkpointed_vjp: layer {i} ran forward {forward.count} times; once is enough")
        check(vjp.count == 1, f"checkpointed_vjp: layer {i} ran backward {vjp.count} times")


def measured(model):
    """mg.training.memory of a step on the eight words."""
    ids, targets = engine.batch()
    return mg.training.memory(model, types.SimpleNamespace(ids=ids, targets=targets))


@exercise("10.1", "10.2", "10.4", plug_in=True)
def test_your_predictions_meet_the_engines_measurements(ex):
    """The bytes of real training steps: of a transformer, of one with LoRA, and of one block more, trained and frozen."""
    train_bytes, lora_bytes, block_keeps = calls(ex.train_bytes), calls(ex.lora_bytes), calls(ex.block_keeps)
    model = engine.small_gpt()
    base = sum(p.size for p in model.parameters())
    lora = mg.peft.apply(model, mg.peft.LoRA(rank=3))
    for what, use, predicted in (("full fine-tuning", measured(model), train_bytes(base, False)),
                                 ("LoRA of rank 3", measured(lora), lora_bytes(base, [(16, 16)] * 4, 3))):
        for part, number in three(predicted, what).items():
            if number != getattr(use, part):
                fail(f"{what}: you predict {number:,} bytes of {part}, the engine measures {getattr(use, part):,}")
    shape = engine.batch()[0].shape
    for trained, method in ((True, mg.peft.FullFineTuning()), (False, mg.peft.BitFit())):
        two, three_blocks = (measured(mg.peft.apply(engine.small_gpt(n_layers=n), method)).activations for n in (2, 3))
        number = 4 * block_keeps(*shape, 16, 64, trained)
        if number != three_blocks - two:
            fail(f"one block more, trained={trained}: you predict {number:,} bytes of activations, the engine measures "
                 f"{three_blocks - two:,}")
    engine.was_called(train_bytes, lora_bytes, block_keeps)


@exercise("10.6", plug_in=True)
def test_your_checkpointing_trains_the_engine(ex):
    """Every MLP of a transformer keeps its input only, and your function makes the rest again; the training is the same."""
    be, backward = mg.backend.get("numpy"), calls(ex.checkpointed_vjp)

    def flat(x):
        return x.reshape(-1, x.shape[-1])

    def linear(W, b):
        return (lambda x: x @ W.T + b), (lambda gy, x: (gy @ W, (gy.T @ x, gy.sum(0))))

    gelu = (lambda x: be.gelu_tanh(x)[0]), (lambda gy, x: (gy * be.gelu_tanh(x, slope=True)[1], None))

    def layers(Wu, bu, Wd, bd):
        return [linear(Wu, bu), gelu, linear(Wd, bd)]

    def forward(x, *weights):
        y = flat(x)
        for f, _ in layers(*weights):
            y = f(y)
        return y.reshape(*x.shape[:-1], -1)

    def vjp(gy, x, *weights):
        gx, (up, _, down) = backward(flat(gy), flat(x), layers(*weights))
        return (gx.reshape(x.shape), *up, *down)
    run = engine.operation(forward, vjp)

    class Yours(mg.nn.Module):
        def __init__(self, mlp):
            super().__init__()
            self.up_proj, self.down_proj = mlp.up_proj, mlp.down_proj

        def forward(self, x):
            return run(x, self.up_proj.weight, self.up_proj.bias, self.down_proj.weight, self.down_proj.bias)

    plain, yours = engine.small_gpt(), engine.small_gpt()
    for block in yours.blocks:
        block.mlp = Yours(block.mlp)
    before, after = measured(plain).activations, measured(yours).activations
    check(after < before, f"checkpointing should keep fewer bytes than {before:,}; it keeps {after:,}")
    engine.same_curve(engine.train(yours), engine.train(plain), "a transformer with checkpointed MLPs")
    engine.was_called(backward)
