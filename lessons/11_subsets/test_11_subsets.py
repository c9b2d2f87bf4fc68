"""The checks of lesson 11. They import nothing of yours: `ex` is the file under test."""
import numpy as np

import minigrad as mg
from lessons import engine
from lessons.kit import calls, cases, check, exercise, fail, num_vjp, rng, same, unchanged
from minigrad.autograd import Function


def names_of(n_layers, bias=True):
    """The names of a transformer's parameters, and some that only look like biases, norms or heads."""
    parts = ["norm", "norm1", "attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.o_proj", "norm2", "mlp.up_proj", "mlp.down_proj"]
    names = ["token_embedding.weight", "position_bias.weight", "norm_in.weight", "head_in.weight"]
    for i in range(n_layers):
        for part in parts:
            names += [f"blocks.{i}.{part}.weight"] + [f"blocks.{i}.{part}.bias"] * bias
    return names + ["norm.weight"] + ["norm.bias"] * bias + ["head.weight"]


def same_names(got, want, what):
    check(type(got) in (tuple, list) and all(type(n) is str for n in got), f"{what}: return a list of names, yours is {got!r:.60}")
    missing, extra = [n for n in want if n not in got], [n for n in got if n not in want]
    check(not missing, f"{what}: {len(missing)} names are missing, such as {(missing or ['?'])[0]!r}")
    check(not extra, f"{what}: {len(extra)} names are too many, such as {(extra or ['?'])[0]!r}")
    check(list(got) == list(want), f"{what}: the right names, but each once and in the order of `names`, please")


@exercise("11.1")
@cases(n_layers=[4, 12, 3, 2], k=[2, 10, 0, 2])
def test_top_k(ex, n_layers, k):
    names = names_of(n_layers) + ["head.bias"]
    for order in ("", ", where the model lists its norm and head first"):
        want = [n for n in names if n in ("norm.weight", "norm.bias", "head.weight", "head.bias")
                or n.split(".")[0] == "blocks" and int(n.split(".")[1]) >= n_layers - k]
        with unchanged(names):
            got = ex.top_k(names, n_layers, k)
        same_names(got, want, f"top_k, {k} of {n_layers} blocks{order}")
        names = names[-4:] + names[:-4]


@exercise("11.2")
@cases(n_layers=[1, 3])
def test_bitfit(ex, n_layers):
    names = names_of(n_layers)
    with unchanged(names):
        got = ex.bitfit(names)
    same_names(got, [n for n in names if n.rpartition(".")[2] == "bias"], f"bitfit, {n_layers} blocks")


@exercise("11.2")
def test_bitfit_without_biases(ex):
    try:
        got = ex.bitfit(names_of(2, bias=False))
    except ValueError:
        return
    fail(f"bitfit: a model without biases should raise ValueError, yours returned {got!r:.40}: a run that trains nothing "
         "and says nothing")


@exercise("11.3")
@cases(n=[5, 1, 4, 3, 2, 6], out=[3, 7, 2, 1, 5, 4], inn=[4, 6, 5, 2, 3, 1],
       needs=[(True, True, True), (True, False, False), (False, True, True), (True, False, True), (False, False, True), (False, True, False)])
def test_linear_vjp(ex, n, out, inn, needs):
    r = rng(11 + n)
    gy, x, W = r.normal(size=(n, out)), r.normal(size=(n, inn)), r.normal(size=(out, inn))
    wants = num_vjp(lambda x, W, b: x @ W.T + b, [x, W, np.zeros(out)], gy)
    with unchanged(gy, x, W):
        gots = ex.linear_vjp(gy, x if needs[1] else None, W if needs[0] else None, needs)
    check(isinstance(gots, tuple | list) and len(gots) == 3, "linear_vjp: return the three gradients (gx, gW, gb)")
    for name, got, want, need in zip(("gx", "gW", "gb"), gots, wants, needs, strict=True):
        if need:
            check(got is not None, f"linear_vjp, needs={needs}: {name} is needed, and yours is None")
            same(got, want, f"linear_vjp, needs={needs}: {name}")
        else:
            check(got is None, f"linear_vjp, needs={needs}: nobody needs {name}, so it should be None")


def by_hand(trained):
    """The products of a real backward walk over small matrices, counted."""
    products, kept, g = 0, 0, True
    for i in reversed(range(len(trained))):
        weight, _ = trained[i]
        products, kept = products + bool(weight), kept + bool(weight)
        g = any(any(pair) for pair in trained[:i])
        products += g
        if not g:
            break
    return products, kept


W_, B_, WB, NO = (True, False), (False, True), (True, True), (False, False)


@exercise("11.4")
@cases(trained=[[WB] * 5, [NO, NO, NO, WB, WB], [W_, NO, NO, NO], [B_] * 6, [NO, B_, NO, W_, NO], [NO] * 3, [WB]])
def test_backward_work(ex, trained):
    before = list(trained)
    got = ex.backward_work(trained)
    check(trained == before, "backward_work: do not change the list you were given")
    check(isinstance(got, tuple | list) and len(got) == 2, "backward_work: return a pair (products, kept)")
    want, text = by_hand(trained), ", ".join({W_: "weight", B_: "bias", WB: "both", NO: "none"}[pair] for pair in trained)
    same(got[0], want[0], f"backward_work, trained from the input up: {text}: products")
    same(got[1], want[1], f"backward_work, trained from the input up: {text}: layers that keep their input")


def small_base(tied=False):
    r = rng(7)
    base = {name: r.normal(size=shape).astype(np.float32) for name, shape in (("embedding", (5, 3)), ("w", (2, 3)), ("b", (1,)), ("head", (5, 3)))}
    if tied:
        base["head"] = base["embedding"]
    return base


@exercise("11.5")
@cases(chosen=[["w", "b"], [], ["head"], ["embedding", "w", "b", "head"]])
def test_adapt(ex, chosen):
    base = small_base()
    with unchanged(*base.values()):
        model = ex.adapt(base, chosen)
        check(isinstance(model, dict) and list(model) == list(base), "adapt: return a dict with base's names, in their order")
        for name, array in base.items():
            same(model[name], array, f"adapt, chosen {chosen}: {name}", dtype=True)
            if name in chosen:
                check(not np.shares_memory(model[name], array), f"adapt: {name} is trained; it must be a copy, or training changes the base")
                model[name] -= 1.0
            else:
                check(model[name] is array, f"adapt: {name} is frozen; it should be base's very array, which costs no memory")


@exercise("11.5")
def test_adapt_tied(ex):
    base = small_base(tied=True)
    for chosen, other in ((["w", "head"], "embedding"), (["embedding"], "head")):
        try:
            model = ex.adapt(base, chosen)
        except ValueError as error:
            check(other in str(error), f"adapt: the error should name {other!r}, the weight that would be trained unasked; it says {str(error)!r:.80}")
        else:
            two = model["head"] is not model["embedding"]
            fail(f"adapt: {chosen[-1]!r} is tied to {other!r}, which was not chosen: that should be a ValueError; in your model "
                 + ("they are two arrays" if two else "both are trained"))
    model = ex.adapt(base, ["embedding", "head"])
    check(model["head"] is model["embedding"], "adapt: tied weights chosen together should stay one array")
    check(not np.shares_memory(model["head"], base["head"]), "adapt: the tied pair is trained, so it must be a copy")
    check(ex.adapt(base, ["w"])["head"] is base["embedding"], "adapt: a tied pair that stays frozen should be base's very array")


@exercise("11.5")
def test_adapt_equal_arrays_are_not_tied(ex):
    """Weights may have the same values, as all norms do at the start; tied are those that are the same array."""
    base = {name: np.ones(3, dtype=np.float32) for name in ("norm1", "norm2", "norm")}
    try:
        model = ex.adapt(base, ["norm1", "norm2"])
    except ValueError as error:
        fail(f"adapt: arrays of equal values are not tied, only those that are one and the same array; yours raised ValueError: {error}")
    check(model["norm1"] is not model["norm2"], "adapt: two arrays of equal values became one, which ties what was not tied")
    check(model["norm"] is base["norm"], "adapt: norm is frozen; it should be base's very array, which costs no memory")


@exercise("11.6")
@cases(d=[128, 768, 3, 6], d_ff=[512, 3072, 5, 4], vocab=[80, 50257, 7, 11], k=[2, 1, 3, 0])
def test_count(ex, d, d_ff, vocab, k):
    block = sum(np.zeros((o, i), dtype="b").size + o for o, i in [(d, d)] * 4 + [(d_ff, d), (d, d_ff)]) + 2 * (d + d)
    want = sum(block for _ in range(k)) + d + d + np.zeros((vocab, d), dtype="b").size
    same(ex.count_top_k(d, d_ff, vocab, k), want, f"count_top_k({d}, {d_ff}, {vocab}, {k})")


@exercise("11.1", "11.3", "11.5", plug_in=True)
def test_your_top_block_trains_in_the_engine(ex):
    """Your choice of names, your copies and your gradients: the top block of a transformer learns eight words."""
    base = engine.small_gpt()
    arrays = {name: p.data for name, p in base.named_parameters()}
    before = {name: a.copy() for name, a in arrays.items()}
    top_k, adapt, vjp = calls(ex.top_k), calls(ex.adapt), calls(ex.linear_vjp)
    chosen = top_k(list(arrays), 2, 1)
    mine = adapt(arrays, chosen)

    class Yours(Function):
        """The engine's linear operation with your backward: it is handed what it needs, and nothing else."""

        def forward(self, x, W, *b):
            self.save(x if self.needs[1] else None, W if self.needs[0] else None)
            return x @ W.T + (b[0] if b else 0)

        def backward(self, gy):
            x, W = self.saved
            needs = (*self.needs, False)[:3]
            gx, gW, gb = vjp(gy.reshape(-1, gy.shape[-1]), None if x is None else x.reshape(-1, x.shape[-1]), W, needs)
            grads = gx if gx is None else gx.reshape(self.shapes[0]), gW, gb
            return grads[:len(self.needs)]
    del Function.registry[Yours.name]               # it belongs to this lesson alone

    class Layer(mg.nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.weight, self.bias = linear.weight, linear.bias

        def forward(self, x):
            return Yours()(x, self.weight, *([] if self.bias is None else [self.bias]))

    model = engine.small_gpt()
    for name, p in model.named_parameters():
        p.data, p.requires_grad = mine[name], name in chosen
    for path, module in list(model.named_modules()):
        if isinstance(module, mg.nn.Linear):
            model.set_submodule(path, Layer(module))
    engines = engine.train(mg.peft.apply(base, mg.peft.TopK(1)))
    engine.same_curve(engine.train(model), engines, "the top block on 8 words")
    for name, a in arrays.items():
        check(np.array_equal(a, before[name]), f"after training your model, the base's {name} has changed")
    engine.was_called(top_k, adapt, vjp)
