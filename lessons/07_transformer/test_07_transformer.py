"""The checks of lesson 07. They import nothing of yours: `ex` is the file under test."""
import functools
import math

import numpy as np

import minigrad as mg
from lessons import engine
from lessons.kit import as_array, calls, cases, check, exercise, num_vjp, rng, same, unchanged

SIZES = dict(T=[4, 1, 3], D=[3, 6, 2], eps=[1e-5, 0.1, 0.5])


def normalized(x, w, b, eps):
    """Layer norm from sums: the variance as mean of squares minus square of the mean."""
    D = x.shape[1]
    mean, square = x.sum(axis=1) / D, (x * x).sum(axis=1) / D
    return ((x.T - mean) / (square - mean * mean + eps) ** 0.5).T * w + b


def arrays(T, D):
    """x, w, b: random, and x with a mean that is not zero."""
    r = rng(7 + T)
    return r.normal(size=(T, D)) * 2 + 1, r.normal(size=D), r.normal(size=D)


@functools.cache
def gradients(T, D, eps):
    """What finite differences say about this case; once, because every wrong answer is held against it."""
    return num_vjp(lambda x, w, b: normalized(x, w, b, eps), arrays(T, D), rng(70).normal(size=(T, D)))


@exercise("07.1")
@cases(**SIZES)
def test_layer_norm(ex, T, D, eps):
    x, w, b = arrays(T, D)
    with unchanged(x, w, b):
        got = ex.layer_norm(x, w, b, eps)
    same(got, normalized(x, w, b, eps), f"layer_norm, T = {T}, D = {D}, eps = {eps:g}")


@exercise("07.1")
def test_layer_norm_of_large_numbers(ex):
    x, w, b = arrays(4, 3)
    same(ex.layer_norm(x + 2.0 ** 27, w, b, 1e-5), normalized(x, w, b, 1e-5), "layer_norm of the same numbers, all 134,217,728 higher: nothing "
         "changes but their mean")


@exercise("07.2")
@cases(**SIZES)
def test_layer_norm_vjp(ex, T, D, eps):
    x, w, _ = arrays(T, D)
    gy = rng(70).normal(size=(T, D))
    with unchanged(gy, x, w):
        gots = ex.layer_norm_vjp(gy, x, w, eps)
    check(isinstance(gots, tuple | list) and len(gots) == 3, "layer_norm_vjp: return the three gradients (gx, gw, gb)")
    for name, got, want in zip(("gx", "gw", "gb"), gots, gradients(T, D, eps), strict=True):
        same(got, want, f"layer_norm_vjp: {name}, T = {T}, D = {D}, eps = {eps:g}")


@exercise("07.3")
@cases(shape=[(5,), (2, 3), (1, 4)])
def test_gelu(ex, shape):
    x = 2 * rng(73).normal(size=shape)
    want = [a / (1 + math.exp(-2 * math.sqrt(2 / math.pi) * (a + 0.044715 * a * a * a))) for a in x.flat]
    with unchanged(x):
        same(ex.gelu(x), np.array(want).reshape(shape), f"gelu of {shape[0] if len(shape) == 1 else shape} numbers")


@exercise("07.3")
@cases(x=[0.0, 1.0, -1.0, 6.0, 1000.0, -1000.0], want=[0.0, 0.841192, -0.158808, 6.0, 1000.0, 0.0])
def test_gelu_of_some_numbers(ex, x, want):
    same(ex.gelu(np.array([x])), np.array([want]), f"gelu of {x:g}")


@exercise("07.4")
@cases(seed=[1, 2])
def test_block(ex, seed):
    """Four functions of which no two can be exchanged."""
    M = rng(seed).normal(size=(4, 5, 5))
    parts = [lambda x: np.tanh(x @ M[0]) + 1, lambda x: np.sin(x @ M[1]), lambda x: np.cos(x @ M[2]), lambda x: (x @ M[3]) ** 2]
    x = rng(seed + 10).normal(size=(3, 5))
    middle = x + parts[1](parts[0](x))
    counted = [calls(part) for part in parts]
    with unchanged(x):
        same(ex.block(x, *counted), middle + parts[3](parts[2](middle)), "block")
    check([part.count for part in counted] == [1] * 4, f"block: each part runs once, in this order; yours ran {[part.count for part in counted]} "
          "times. Keep a result that is needed twice")


@exercise("07.5")
@cases(ids=[(2, 0, 2, 2, 4), (1,), (3, 3, 0)], D=[3, 2, 4], V=[6, 3, 5])
def test_embedding_vjp(ex, ids, D, V):
    gy, ids = rng(75).normal(size=(len(ids), D)), np.array(ids)
    want = np.array([sum((gy[t] for t in range(len(ids)) if ids[t] == row), np.zeros(D)) for row in range(V)])
    with unchanged(gy, ids):
        got = ex.embedding_vjp(gy, ids, V)
    same(got, want, f"embedding_vjp of tokens {ids.tolist()}, V = {V}")


@exercise("07.6")
@cases(T=[5, 3, 7], V=[4, 6, 3], first=[2, 3, 6])
def test_next_token_loss(ex, T, V, first):
    r = rng(76 + T)
    logits, ids = 2 * r.normal(size=(T, V)), r.integers(V, size=T + 1)
    ids[first] = logits[first - 1].argmin()
    want = sum(math.log(sum(math.exp(a - logits[t - 1, ids[t]]) for a in logits[t - 1])) for t in range(first, T + 1)) / (T + 1 - first)
    with unchanged(logits, ids):
        got = ex.next_token_loss(logits, ids, first)
    same(got, want, f"next_token_loss of {T + 1} tokens, the answer from token {first} on")


@exercise("07.6")
def test_next_token_loss_of_large_logits(ex):
    logits = np.array([[5000.0, -5000, 0], [0, 900, 899], [-700, 0, 700]])
    same(ex.next_token_loss(logits, np.array([1, 0, 2, 2]), 1), (0 + math.log(1 + math.e) + 0) / 3, "next_token_loss of logits of up to 5000")
    same(ex.next_token_loss(logits, np.array([1, 1, 2, 0]), 1), (10000 + math.log(1 + math.e) + 1400) / 3, "next_token_loss, sure and wrong")
    same(ex.next_token_loss(np.zeros((3, 80)), np.array([1, 0, 2, 2]), 2), math.log(80), "next_token_loss where all 80 symbols are as likely")


def wanderer(V, seed):
    """A stand-in for a model: logits that depend on every token so far, and on where one looks."""
    def logits_of(ids):
        check(isinstance(ids, list), f"greedy: logits_of takes a list of ids; you gave it {type(ids).__name__}")
        return np.array([rng(seed + sum((i + 2) * (n + 1) for i, n in enumerate(ids[:t + 1]))).normal(size=V) for t in range(len(ids))])
    return logits_of


def written(logits_of, prompt, stop, longest):
    """Greedy writing, by recursion."""
    if not longest:
        return []
    scores = list(logits_of(list(prompt))[-1])
    best = scores.index(max(scores))
    return [] if best == stop else [best, *written(logits_of, [*prompt, best], stop, longest - 1)]


@exercise("07.7")
@cases(V=[7, 5, 9, 4], seed=[1, 2, 3, 14], longest=[8, 8, 3, 0])
def test_greedy(ex, V, seed, longest):
    prompt, logits_of = [1, 3, 2], calls(wanderer(V, seed))
    want = written(logits_of.function, prompt, 0, longest)
    got = ex.greedy(logits_of, prompt, 0, longest)
    check(prompt == [1, 3, 2], "greedy: your function changed the prompt that it was given")
    new = as_array(got, "greedy")
    same(new if new.size else new.astype(int), np.array(want, dtype=int), f"greedy with a vocabulary of {V}, at most {longest} new tokens")
    needed = min(longest, len(want) + 1)
    check(logits_of.count == needed, f"greedy: {logits_of.count} calls of the model for {len(want)} new tokens of at most {longest}; "
          f"{needed} are needed")


@exercise("07.7")
def test_greedy_stops(ex):
    """A model that counts up: 4, 5, 6, then stop."""
    def logits_of(ids):
        return np.eye(8)[[i + 1 if i < 6 else 0 for i in ids]]
    same(ex.greedy(logits_of, [3], 0, 10), np.array([4, 5, 6]), "greedy on a model that writes 4, 5, 6 and stops")
    same(ex.greedy(logits_of, [3], 0, 2), np.array([4, 5]), "greedy with at most 2 new tokens")
    same(ex.greedy(logits_of, [0, 3], 0, 10), np.array([4, 5, 6]), "greedy where the stop token stands in the prompt, which ends nothing")


@exercise("07.1", "07.2", "07.3", "07.4", "07.5", "07.6", "07.7", plug_in=True)
def test_your_transformer_reads_words_aloud(ex):
    """The engine's norms, GELU, blocks and embedding gradients are yours; the model learns eight words and reads them."""
    f = {e: calls(getattr(ex, e)) for e in ("layer_norm", "layer_norm_vjp", "gelu", "block", "embedding_vjp", "next_token_loss", "greedy")}

    def flat(x):
        return x.reshape(-1, x.shape[-1])

    def norm_vjp(gy, y, x, w, b, eps):
        gx, gw, gb = f["layer_norm_vjp"](flat(gy), flat(x), w, eps)
        return gx.reshape(x.shape), gw, gb

    class Yours(mg.nn.Module):
        def __init__(self, block):
            super().__init__()
            self.norm1, self.attn, self.norm2, self.mlp = block.norm1, block.attn, block.norm2, block.mlp

        def forward(self, x, cache=None, rotation=None):
            return f["block"](x, self.norm1, lambda h: self.attn(h, cache, rotation), self.norm2, self.mlp)

    model = engine.small_gpt()
    model.blocks = mg.nn.ModuleList(Yours(block) for block in model.blocks)
    with mg.override("layer_norm", lambda x, w, b, eps: f["layer_norm"](flat(x), w, b, eps).reshape(x.shape).astype(x.dtype), norm_vjp), \
            mg.override("gelu", lambda x: f["gelu"](x).astype(x.dtype)), \
            mg.override("embedding", vjp=lambda gy, y, w, ids: (f["embedding_vjp"](flat(gy), np.ravel(ids), len(w)),)):
        losses = engine.train(model, steps=80)
        engine.same_curve(losses[:12], engine.train(engine.small_gpt()), "your transformer on 8 words")
        ids, targets = engine.batch()

        def logits_of(ids):
            with mg.no_grad():
                return model([list(ids)]).numpy()[0]
        tokenizer = mg.tasks.Tokenizer()
        total = count = 0
        for word, sounds in engine.WORDS:
            prompt, answer = tokenizer.encode_source(word), tokenizer.encode_target(sounds.split())
            read = " ".join(tokenizer.decode(f["greedy"](logits_of, prompt, tokenizer.end_id, 8)))
            check(read == sounds, f"after 80 steps your transformer reads {word!r} as {read or 'nothing'}; expected {sounds}")
            whole = np.array([*prompt, *answer])
            total += len(answer) * f["next_token_loss"](logits_of(whole[:-1]), whole, len(prompt))
            count += len(answer)
        same(total / count, engine.loss_of(model).item(), "the loss of the eight words by your next_token_loss", rtol=1e-3)
    engine.was_called(*f.values())
