"""The checks of lesson 13. They import nothing of yours: `ex` is the file under test."""
import numpy as np

import minigrad as mg
from lessons import engine
from lessons.kit import calls, cases, check, exercise, fail, rng, same, unchanged

SIZES = dict(T=[4, 1, 5], P=[3, 2, 1], d=[6, 5, 2])


def head(T, P, d):
    """q, k, v, pk, pv of one head."""
    r = rng(13 + T)
    return (*(r.normal(size=(T, d)) for _ in range(3)), r.normal(size=(P, d)), r.normal(size=(P, d)))


def by_loops(q, k, v, pk, pv, causal=True):
    """Attention over prefix and tokens, query by query, and each query's weights."""
    out, all_weights = [], []
    for i, query in enumerate(q):
        seen = [*zip(pk, pv, strict=True), *list(zip(k, v, strict=True))[: i + 1 if causal else None]]
        weights = np.array([np.exp(query @ key / np.sqrt(len(query))) for key, _ in seen])
        weights /= weights.sum()
        out.append(sum(w * value for w, (_, value) in zip(weights, seen, strict=True)))
        all_weights.append(weights)
    return np.array(out), all_weights


@exercise("13.1")
@cases(T=[4, 2], P=[2, 3], D=[5, 3], context=[6, 9])
def test_prepend(ex, T, P, D, context):
    r = rng(T)
    x, E, positions = r.normal(size=(T, D)), r.normal(size=(P, D)), r.normal(size=(context, D))
    with unchanged(x, E, positions):
        got = ex.prepend_prompt(x, E, positions)
    want = np.array([(E[i] if i < P else x[i - P]) + positions[i] for i in range(P + T)])
    same(got, want, f"prepend_prompt, P = {P}, T = {T}")


@exercise("13.1")
@cases(context=[4, 1])
def test_too_long(ex, context):
    x, E, positions = np.ones((3, 2)), np.ones((2, 2)), np.ones((context, 2))
    try:
        ex.prepend_prompt(x, E, positions)
    except ValueError:
        same(ex.prepend_prompt(x, E, np.ones((5, 2))), np.full((5, 2), 2.0), "prepend_prompt where prompt and tokens just fit")
    else:
        fail(f"prepend_prompt: 2 + 3 tokens do not fit into a context of {context}; raise ValueError")


@exercise("13.2")
@cases(T=[3, 4, 1, 2], P=[2, 1, 4, 0])
def test_mask(ex, T, P):
    same(ex.prefix_mask(T, P), np.array([[j < P or j - P <= i for j in range(P + T)] for i in range(T)]), f"prefix_mask({T}, {P})")


@exercise("13.3")
@cases(**SIZES)
def test_attention(ex, T, P, d):
    arrays = head(T, P, d)
    with unchanged(*arrays):
        y = ex.prefix_attention(*arrays)
    same(y, by_loops(*arrays)[0], f"prefix_attention, T = {T}, P = {P}, d = {d}")


@exercise("13.3")
def test_the_past_as_prefix(ex):
    """Gold: keys and values of real tokens as the prefix give what attention over the whole text gives."""
    q, k, v, _, _ = head(6, 1, 4)
    whole = by_loops(q, k, v, k[:0], v[:0])[0]
    same(ex.prefix_attention(q[2:], k[2:], v[2:], k[:2], v[:2]), whole[2:], "prefix_attention with the text's beginning as prefix")


FAR = (np.array([[60.0], [-60.0], [60.0]]), np.array([[90.0], [110.0], [130.0]]), np.array([[1.0], [2.0], [5.0]]),
       np.array([[80.0], [70.0]]), np.array([[3.0], [4.0]]))          # q, k, v, pk, pv with scores from −7800 to 7800


@exercise("13.3")
def test_attention_with_large_scores(ex):
    q, k, v, pk, pv = FAR
    same(ex.prefix_attention(q, k, v, pk, pv), np.array([[1.0], [4.0], [5.0]]), "prefix_attention of scores from −7800 to 7800, the largest "
         "one hidden from the first query")


@exercise("13.4")
@cases(**SIZES)
def test_gate(ex, T, P, d):
    q, k, v, pk, pv = head(T, P, d)
    weights = by_loops(q, k, v, pk, pv, causal=False)[1]
    with unchanged(q, k, pk):
        got = ex.gate(q, k, pk)
    same(got, np.array([w[:P].sum() for w in weights]), f"gate, T = {T}, P = {P}, d = {d}")


@exercise("13.4")
def test_gate_with_large_scores(ex):
    q, k, _, pk, _ = FAR
    same(ex.gate(q, k, pk), np.array([0.0, 1.0, 0.0]), "gate of scores from −7800 to 7800")


@exercise("13.5")
def test_gated_with_large_scores(ex):
    q, k, v, pk, pv = FAR
    same(ex.gated_attention(q, k, v, pk, pv, 0.5), np.array([[5 + 3 * np.tanh(0.5)], [1 + 4 * np.tanh(0.5)], [5 + 3 * np.tanh(0.5)]]),
         "gated_attention of scores from −7800 to 7800")


@exercise("13.5")
@cases(T=[4, 1, 5], P=[3, 2, 1], d=[6, 5, 2], g=[0.7, -1.3, 0.0])
def test_gated(ex, T, P, d, g):
    q, k, v, pk, pv = head(T, P, d)
    want = by_loops(q, k, v, pk[:0], pv[:0], causal=False)[0] + np.tanh(g) * by_loops(q, pk, pv, pk[:0], pv[:0], causal=False)[0]
    with unchanged(q, k, v, pk, pv):
        got = ex.gated_attention(q, k, v, pk, pv, g)
    same(got, want, f"gated_attention with g = {g}")


@exercise("13.6")
@cases(P=[8, 20, 3], D=[128, 768, 5], layers=[4, 12, 7])
def test_trained(ex, P, D, layers):
    pair = ex.trained(P, D, layers)
    check(isinstance(pair, tuple | list) and len(pair) == 2, "trained: return a pair, (prompt, prefix)")
    same(pair[0], np.zeros((P, D)).size, "trained: the prompt")
    same(pair[1], sum(np.zeros((2, P, D)).size for _ in range(layers)), "trained: the prefix")


@exercise("13.3", plug_in=True)
def test_your_attention_runs_a_trained_prefix(ex):
    """A prefix is trained with the engine; then your attention takes the engine's place, and the losses must agree."""
    adapted = mg.peft.apply(engine.small_gpt(), mg.peft.PrefixTuning(length=3))
    engine.train(adapted, steps=6, lr=3e-2)
    attention = calls(ex.prefix_attention)

    def forward(q, k, v, *mask, **options):
        T, extra = q.shape[2], k.shape[2] - q.shape[2]
        y = [[attention(q[b, h], k[b, h, extra:], v[b, h, extra:], k[b, h, :extra], v[b, h, :extra]) for h in range(q.shape[1])]
             for b in range(len(q))]
        return np.array(y, dtype=q.dtype).reshape(len(q), q.shape[1], T, -1)

    with mg.no_grad():
        engines = engine.loss_of(adapted).item()
        with mg.override("scaled_dot_product_attention", forward=forward):
            yours = engine.loss_of(adapted).item()
    same(yours, engines, "the loss of a model with a prefix, with your attention in it", rtol=1e-4)
    engine.was_called(attention)
