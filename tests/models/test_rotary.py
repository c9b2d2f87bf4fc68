"""Rotary positions: against transformers' own, and what they promise."""
import numpy as np
import pytest

import minigrad as mg
from minigrad.nn.rotary import rotate, rotation

TINY = dict(vocab_size=11, context=16, d_model=16, n_layers=2, n_heads=2)


def model(**changes):
    mg.manual_seed(0)
    gpt = mg.models.GPT(mg.models.GPTConfig(**{**TINY, "positions": "rotary", **changes})).to(dtype="float64").eval()
    rng = np.random.default_rng(1)
    for p in gpt.parameters():
        p.data = p.backend.send(p.numpy() + 0.3 * rng.normal(size=p.shape))
    return gpt


def ids(batch=2, tokens=7):
    return np.random.default_rng(2).integers(0, 11, (batch, tokens))


def run(gpt, *args, **kwargs):
    with mg.no_grad():
        return gpt(*args, **kwargs).numpy()


def test_there_is_no_table_and_learned_positions_are_as_before(backend):
    learned = mg.models.GPT(mg.models.GPTConfig(**TINY))
    assert learned.position_embedding.weight.shape == (16, 16) and not hasattr(model(), "position_embedding")
    assert learned.num_parameters() - model().num_parameters() == 16 * 16
    assert mg.models.GPTConfig.from_dict(model().config.to_dict()) == model().config


def test_only_distances_count(backend):
    gpt = model()
    np.testing.assert_allclose(run(gpt, ids(), start=5), run(gpt, ids()), rtol=0, atol=1e-12)
    np.testing.assert_allclose(run(gpt, ids(), start=np.array([0, 9])), run(gpt, ids()), rtol=0, atol=1e-12)
    swapped = ids()[:, [1, 0, 2, 3, 4, 5, 6]]
    assert not np.allclose(run(gpt, swapped)[:, -1], run(gpt, ids())[:, -1])        # but the order does


def test_a_cache_stores_turned_keys(backend):
    gpt, tokens = model(), ids()
    cache = gpt.new_cache(2)
    parts = [run(gpt, tokens[:, a:b], cache=cache) for a, b in ((0, 3), (3, 4), (4, 7))]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), run(gpt, tokens), rtol=0, atol=1e-12)
    with_cache, without = (gpt.generate([[1, 2, 3], [4]], 6, use_cache=u) for u in (True, False))
    assert [list(x) for x in with_cache] == [list(x) for x in without]


def test_interpolation_reads_between_the_known_positions(backend):
    like = mg.ones(1, dtype="float64")
    plain, stretched = rotation(np.arange(8), 4, like), rotation(np.arange(16), 4, like, interpolation=2.0)
    for a, b in zip(plain, stretched, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy()[::2], atol=1e-15)
    assert np.array_equal(run(model(interpolation=1.0), ids()), run(model(), ids()))
    assert not np.allclose(run(model(interpolation=2.0), ids()), run(model(), ids()))


def test_a_rotation_keeps_lengths_and_has_a_gradient(backend):
    x = mg.tensor(np.random.default_rng(0).normal(size=(1, 2, 3, 4)), requires_grad=True)
    turn = rotation(np.array([1, 5, 9]), 4, x)
    np.testing.assert_allclose((rotate(x, *turn) ** 2).sum(dim=-1).numpy(), (x ** 2).sum(dim=-1).numpy(), atol=1e-13)
    assert mg.gradcheck(lambda x: rotate(x, *turn), [x])


def test_mistakes(backend):
    with pytest.raises(ValueError, match="each head has 3; d_model/n_heads must be even"):
        mg.models.GPTConfig(vocab_size=8, d_model=9, n_heads=3, positions="rotary")
    with pytest.raises(ValueError, match="interpolation divides rotary positions.*got 2.0 with positions='learned'"):
        mg.models.GPTConfig(vocab_size=8, interpolation=2.0)
    with pytest.raises(ValueError, match="known are learned, rotary"):
        mg.models.GPTConfig(vocab_size=8, positions="alibi")


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("per_row", [False, True])
def test_transformers_turns_the_same(per_row, backend):
    torch = pytest.importorskip("torch")
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    from transformers import LlamaConfig

    rng = np.random.default_rng(3)
    q, gy = rng.normal(size=(2, 2, 5, 8)), rng.normal(size=(2, 2, 5, 8))
    positions = np.array([[0, 1, 2, 3, 4], [7, 8, 9, 10, 11]])[slice(None) if per_row else slice(0, 1)]
    rope = llama.LlamaRotaryEmbedding(LlamaConfig(hidden_size=16, num_attention_heads=2, head_dim=8))
    theirs = torch.tensor(q, requires_grad=True)
    cos, sin = rope(theirs, torch.tensor(positions))
    out, _ = llama.apply_rotary_pos_emb(theirs, theirs, cos.double(), sin.double())
    out.backward(torch.tensor(gy))
    x = mg.tensor(q, requires_grad=True)
    y = rotate(x, *rotation(positions if per_row else positions[0], 8, x))
    y.backward(x.backend.send(gy))
    np.testing.assert_allclose(y.numpy(), out.detach().numpy(), atol=2e-6)      # theirs computes angles in float32
    np.testing.assert_allclose(mg.to_numpy(x.grad), theirs.grad.numpy(), atol=2e-6)
