"""LongLoRA: what its mask shows, and what a longer context does."""
import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import functional as F
from minigrad.peft import LongLoRA, LoRA, PrefixTuning
from minigrad.peft.longlora import ShiftedGroups
from tests.peft.rows import adapt, logits, make_base, make_ids, randomize

ROUNDING = 1e-13                                    # scores that are larger elsewhere may shift a softmax by its last bit


def mask(tokens, group, heads=4, keys=None):
    attn = mg.nn.MultiHeadAttention(8, heads).train()
    visible = ShiftedGroups(group)(attn, tokens, tokens if keys is None else keys)
    return None if visible is None else visible.numpy()


def test_the_mask_by_hand(backend):
    got = mask(6, 4)
    expected = {0: [range(0, 4), range(4, 6)], 3: [range(0, 2), range(2, 6)]}
    for head, groups in expected.items():
        for i in range(6):
            for j in range(6):
                assert got[head, i, j] == any(i in g and j in g for g in groups), (head, i, j)
    assert np.array_equal(got[0], got[1]) and np.array_equal(got[2], got[3])
    assert mask(6, 6) is None and mask(6, 7) is None            # one group holds all
    wide = mask(6, 4, keys=9)                                   # three keys of a prefix before them
    assert wide[:, :, :3].all() and np.array_equal(wide[:, :, 3:], got)


@pytest.mark.parametrize("group", [2, 3, 4, 5, 8])
def test_no_position_sees_a_later_one(group, backend):
    """The reference implementation's shifted heads let the first half group see the last tokens."""
    adapted = randomize(adapt(make_base("float64"), LongLoRA(rank=2, group=group))).train()
    ids = make_ids(batch=1, tokens=8)
    before = logits(adapted, ids)
    for t in range(8):
        changed = ids.copy()
        changed[0, t] = (changed[0, t] + 1) % 11
        after = logits(adapted, changed)
        change = np.abs(after - before).max(axis=(0, 2), initial=0.0)
        assert (change[:t] < ROUNDING).all(), f"a change of token {t} was seen before it"
        assert change[t] > 1e-6


def test_training_attends_in_groups_and_eval_to_everything(backend):
    base, ids = make_base("float64"), make_ids(tokens=8)
    adapted = adapt(base, LongLoRA(rank=2, group=4))
    assert np.array_equal(logits(adapted.eval(), ids), logits(base, ids))
    adapted.train()
    grouped = logits(adapted, ids)
    assert np.array_equal(grouped[:, 0], logits(base, ids)[:, 0]) and not np.allclose(grouped, logits(base, ids))
    attn, x = adapted.model.blocks[0].attn, mg.tensor(np.random.default_rng(0).normal(size=(1, 8, 8)))
    q, k, v = (attn.split_heads(proj(x)).numpy() for proj in (attn.q_proj, attn.k_proj, attn.v_proj))
    out = np.zeros((1, 8, 2, 4))
    for h, starts in ((0, (0, 4)), (1, (0, 2, 6))):             # one head plain, one shifted: groups as short sequences
        for a, b in zip(starts, (*starts[1:], 8), strict=True):
            part = (mg.tensor(t[:, h:h + 1, a:b]) for t in (q, k, v))
            out[:, a:b, h] = F.scaled_dot_product_attention(*part, is_causal=True).numpy()[:, 0]
    np.testing.assert_allclose(attn(x).numpy(), attn.o_proj(mg.tensor(out.reshape(1, 8, 8))).numpy(), atol=1e-13)


def test_a_group_as_long_as_the_text_is_full_attention(backend):
    ids = make_ids(tokens=8)
    long, plain = (randomize(adapt(make_base("float64"), m)) for m in (
        LongLoRA(rank=2, group=8, embeddings_and_norms=False), LoRA(rank=2, targets=("q_proj", "k_proj", "v_proj", "o_proj"))))
    assert np.array_equal(logits(long.train(), ids), logits(plain.train(), ids))


def test_a_longer_context_reads_between_known_positions(backend):
    base = make_base("float64", positions="rotary", context=8)
    adapted = adapt(base, LongLoRA(rank=2, group=4, extend=2)).eval()
    assert adapted.config.context == 16 and base.config.context == 8 and adapted.config.interpolation == 2.0
    long = make_ids(tokens=16)
    with pytest.raises(ValueError, match="context is 8"):
        logits(base, long)
    assert logits(adapted, long).shape == (3, 16, 11)
    assert len(adapted.generate([[1, 2]], 20)[0]) == 14         # the new context, through a cache
    randomize(adapted)
    plain = adapted.merge_and_unload()
    np.testing.assert_allclose(logits(plain.eval(), long), logits(adapted, long), rtol=0, atol=1e-12)
    with adapted.disabled():
        assert adapted.config.context == 8 and np.array_equal(logits(adapted, long[:, :8]), logits(base, long[:, :8]))
    cache = adapted.new_cache(3)
    parts = [logits(adapted, long[:, a:b], cache=cache) for a, b in ((0, 9), (9, 10), (10, 16))]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), logits(adapted, long), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="needs rotary positions"):
        adapt(make_base(), LongLoRA(rank=2, extend=2))
    with pytest.raises(ValueError, match="group must be a whole number of at least 2"):
        LongLoRA(group=1)


def test_a_prefix_is_stored_turned(backend):
    """With rotary positions, real activations as a prefix still equal reading the real text."""
    from minigrad import peft

    base, text, ids = make_base("float64", positions="rotary"), np.array([7, 3, 9, 1]), make_ids()
    adapted = adapt(base, PrefixTuning(length=4))
    peft.set_prefix(adapted.model, peft.activations(base, text))
    both = np.concatenate([np.tile(text, (len(ids), 1)), ids], axis=1)
    np.testing.assert_allclose(logits(adapted, ids), logits(base, both)[:, 4:], rtol=0, atol=1e-12)
