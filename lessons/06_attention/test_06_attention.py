"""The checks of lesson 06. They import nothing of yours: `ex` is the file under test."""
import functools

import numpy as np

import minigrad as mg
from lessons import engine
from lessons.kit import calls, cases, check, exercise, num_vjp, rng, same, unchanged
from minigrad.nn import functional as F

SIZES = dict(lead=[(), (2,), (2, 3)], Tq=[4, 3, 1], Tk=[7, 5, 6], d=[3, 2, 5])


def arrays(lead, Tq, Tk, d):
    """q, k, v and a mask in which each query sees something, and not all see the same."""
    r = rng(6 + Tk)
    q, k, v = (r.normal(size=(*lead, T, d)) for T in (Tq, Tk, Tk))
    mask = r.random((Tq, Tk)) < 0.6
    mask[np.arange(Tq), np.arange(Tq) % Tk] = True
    return q, k, v, mask


def weights_by_products(q, k, mask):
    """e^score over the keys that may be seen, divided by their sum; the scores product by product."""
    e = np.exp(sum(q[..., :, None, i] * k[..., None, :, i] for i in range(q.shape[-1])) / q.shape[-1] ** 0.5) * mask
    return e / np.maximum(e.sum(axis=-1, keepdims=True), 1e-300)


def attention_by_products(q, k, v, mask):
    """The weights' mixture of the values."""
    return np.einsum("...ij,...jd->...id", weights_by_products(q, k, mask), v)


@functools.cache
def gradients(lead, Tq, Tk, d):
    """What finite differences say about this case; once, because every wrong answer is held against it."""
    q, k, v, mask = arrays(lead, Tq, Tk, d)
    return num_vjp(lambda q, k, v: attention_by_products(q, k, v, mask), [q, k, v], rng(65).normal(size=q.shape))


@exercise("06.1")
@cases(Tq=[4, 1, 3, 3], Tk=[4, 6, 5, 2], offset=[0, 5, 2, 0])
def test_visible(ex, Tq, Tk, offset):
    want = np.array([[j in range(i + offset + 1) for j in range(Tk)] for i in range(Tq)])
    same(ex.visible(Tq, Tk, offset), want, f"visible({Tq}, {Tk}, offset={offset})")


@exercise("06.1")
def test_rows_behind_a_cache(ex):
    """What the last queries of a text see does not depend on whether the earlier ones are computed again."""
    same(ex.visible(2, 6, 4), np.tril(np.ones((6, 6), bool))[4:], "visible(2, 6, offset=4), the last two rows of the whole")
    same(ex.visible(2, 2, -1), np.array([[False, False], [True, False]]), "visible(2, 2, offset=-1), only what came before")


@exercise("06.2")
@cases(**SIZES)
def test_weights(ex, lead, Tq, Tk, d):
    q, k, _, mask = arrays(lead, Tq, Tk, d)
    with unchanged(q, k, mask):
        got = ex.weights(q, k, mask)
    same(got, weights_by_products(q, k, mask), f"weights, q {q.shape}, k {k.shape}")


@exercise("06.2")
def test_weights_at_the_edges(ex):
    q, k, _, _ = arrays((), 3, 4, 2)
    mask = np.array([[True] * 4, [False] * 4, [False, True, False, False]])
    same(ex.weights(q, k, mask), weights_by_products(q, k, mask), "weights, where query 1 may look at nothing")
    big = ex.weights(400 * q, 10 * k, mask)
    check(np.isfinite(big).all(), "weights: scores of several thousand give NaN or infinity")
    same(np.asarray(big)[0].sum(), 1.0, "weights: the sum of a row with large scores")


@exercise("06.2")
def test_weights_of_rows_far_apart(ex):
    """Each query's scores are held against the largest one that it may see, be the others where they may."""
    q, k = np.array([[60.0], [-60.0], [60.0]]), np.array([[80.0], [90.0], [110.0]])
    mask = np.array([[True, True, True], [True, True, False], [True, True, False]])
    want = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    same(ex.weights(q, k, mask), np.array(want, dtype=float), "weights of scores from −6600 to 6600, the largest one hidden in row 2")


@exercise("06.3")
@cases(B=[2, 1, 3], T=[3, 5, 1], H=[2, 3, 4], d=[3, 2, 1])
def test_split_heads(ex, B, T, H, d):
    x = rng(63).normal(size=(B, T, H * d))
    want = np.array([[[x[b, t, h * d:(h + 1) * d] for t in range(T)] for h in range(H)] for b in range(B)])
    with unchanged(x):
        got = ex.split_heads(x, H)
    same(got, want, f"split_heads of {x.shape} into {H}")


@exercise("06.4")
@cases(B=[2, 1, 3], T=[3, 5, 1], H=[2, 3, 4], d=[3, 2, 1])
def test_merge_heads(ex, B, T, H, d):
    y = rng(64).normal(size=(B, H, T, d))
    want = np.array([[[value for h in range(H) for value in y[b, h, t]] for t in range(T)] for b in range(B)])
    with unchanged(y):
        got = ex.merge_heads(y)
    same(got, want, f"merge_heads of {y.shape}")


@exercise("06.5")
@cases(**SIZES)
def test_vjp(ex, lead, Tq, Tk, d):
    q, k, v, mask = arrays(lead, Tq, Tk, d)
    gy = rng(65).normal(size=q.shape)
    P = weights_by_products(q, k, mask)
    wants = gradients(lead, Tq, Tk, d)
    with unchanged(gy, P, q, k, v):
        gots = ex.attention_vjp(gy, P, q, k, v)
    check(isinstance(gots, tuple | list) and len(gots) == 3, "attention_vjp: return the three gradients (gq, gk, gv)")
    for name, got, want in zip(("gq", "gk", "gv"), gots, wants, strict=True):
        same(got, want, f"attention_vjp: {name}")


@exercise("06.6")
@cases(T=[5, 3, 1], d=[3, 6, 2])
def test_step(ex, T, d):
    """Token by token, from an empty cache: every output is the row that attention over the whole text gives."""
    q, k, v, _ = arrays((), T, T, d)
    whole = attention_by_products(q, k, v, np.tril(np.ones((T, T), bool)))
    K, V = k[:0], v[:0]
    for t in range(T):
        with unchanged(q, k, v, K, V):
            values = ex.step(q[t:t + 1], k[t:t + 1], v[t:t + 1], K, V)
        check(isinstance(values, tuple | list) and len(values) == 3, "step: return the three arrays (y, K, V)")
        y, K, V = (np.asarray(a) for a in values)
        same(y, whole[t:t + 1], f"step: the output of token {t}")
        same(K, k[:t + 1], f"step: the cached keys after token {t}")
        same(V, v[:t + 1], f"step: the cached values after token {t}")


@exercise("06.6")
def test_step_with_large_scores(ex):
    k, v = np.array([[30.0], [40.0], [20.0]]), np.array([[1.0], [2.0], [3.0]])
    y = ex.step(np.array([[90.0]]), k[2:], v[2:], k[:2], v[:2])[0]
    same(y, np.array([[2.0]]), "step with scores of 2700, 3600 and 1800: the output")


@exercise("06.1", "06.2", "06.3", "06.4", "06.5", plug_in=True)
def test_your_attention_trains_the_engine(ex):
    """Your mask, weights, gradients and heads in every block of a transformer that learns eight words."""
    visible, weights, vjp = calls(ex.visible), calls(ex.weights), calls(ex.attention_vjp)
    split, merge = calls(ex.split_heads), calls(ex.merge_heads)

    def P(q, k):
        return weights(q, k, visible(q.shape[-2], k.shape[-2], k.shape[-2] - q.shape[-2]))
    heads = engine.operation(lambda x: split(x, 2), lambda gy, x: merge(gy))          # each is the other's gradient
    together = engine.operation(merge, lambda gy, y: split(gy, 2))

    class Yours(mg.nn.Module):
        def __init__(self, attn):
            super().__init__()
            self.q_proj, self.k_proj, self.v_proj, self.o_proj = attn.q_proj, attn.k_proj, attn.v_proj, attn.o_proj

        def forward(self, x, cache=None, rotation=None):
            q, k, v = heads(self.q_proj(x)), heads(self.k_proj(x)), heads(self.v_proj(x))
            return self.o_proj(together(F.scaled_dot_product_attention(q, k, v, is_causal=True)))

    model = engine.small_gpt()
    for block in model.blocks:
        block.attn = Yours(block.attn)
    with mg.override("scaled_dot_product_attention", forward=lambda q, k, v, **_: (P(q, k) @ v).astype(q.dtype),
                     vjp=lambda gy, y, q, k, v, **_: tuple(vjp(gy, P(q, k), q, k, v))):
        yours = engine.train(model)
    engine.same_curve(yours, engine.train(engine.small_gpt()), "attention on 8 words")
    engine.was_called(visible, weights, vjp, split, merge)


@exercise("06.6", plug_in=True)
def test_your_cache_reads_words(ex):
    """A trained model reads with its KV cache, and every new token's attention is your `step`."""
    model, step, tokenizer = engine.small_gpt(), calls(ex.step), mg.tasks.Tokenizer()
    engine.train(model, steps=30)
    prompts = [tokenizer.encode_source(word) for word, _ in engine.WORDS]
    want = model.generate(prompts, 6, use_cache=False)

    def forward(q, k, v, **options):
        y = np.empty_like(q)
        past = k.shape[2] - q.shape[2]
        for b, h in np.ndindex(q.shape[:2]):
            K, V = k[b, h, :past], v[b, h, :past]
            for t in range(q.shape[2]):
                y[b, h, t:t + 1], K, V = step(q[b, h, t:t + 1], k[b, h, past + t:past + t + 1], v[b, h, past + t:past + t + 1], K, V)
        return y

    with mg.override("scaled_dot_product_attention", forward=forward):
        got = model.generate(prompts, 6)
    for (word, _), mine, theirs in zip(engine.WORDS, got, want, strict=True):
        check(list(mine) == list(theirs), f"step: with your cache the model reads {word!r} as {' '.join(tokenizer.decode(mine))}, "
                                          f"without a cache as {' '.join(tokenizer.decode(theirs))}")
    engine.was_called(step)
