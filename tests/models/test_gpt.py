"""GPT: names, counts, initialization, causality, and every wrong input at the door."""
import re

import numpy as np
import pytest

import minigrad as mg
from minigrad.models import GPT, GPTConfig

TINY = dict(vocab_size=13, context=8, d_model=16, n_layers=2, n_heads=4)


@pytest.fixture
def gpt(backend):
    mg.manual_seed(0)
    return GPT(GPTConfig(**TINY))


def test_parameter_names_are_the_published_ones(gpt):
    block = [f"{name}.{kind}" for name in ("norm1", "attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.o_proj", "norm2",
                                           "mlp.up_proj", "mlp.down_proj") for kind in ("weight", "bias")]
    expected = {"token_embedding.weight", "position_embedding.weight", "norm.weight", "norm.bias", "head.weight",
                *(f"blocks.{i}.{name}" for i in range(2) for name in block)}
    assert set(dict(gpt.named_parameters())) == expected


def test_the_number_of_parameters_has_a_closed_form(gpt):
    V, C, D, L, FF = 13, 8, 16, 2, 64
    block = 4 * (D * D + D) + 2 * D * FF + FF + D + 4 * D
    assert gpt.num_parameters() == V * D + C * D + L * block + 2 * D + V * D
    assert GPT(GPTConfig(**TINY, tie_head=True)).num_parameters() == gpt.num_parameters() - V * D
    assert GPT(GPTConfig(vocab_size=80)).num_parameters() == 822_016


def test_a_tied_head_is_one_array_and_saved_once(backend):
    gpt = GPT(GPTConfig(**TINY, tie_head=True))
    assert gpt.head.weight is gpt.token_embedding.weight
    assert "head.weight" not in gpt.state_dict()
    other = GPT(GPTConfig(**TINY, tie_head=True))
    other.load_state_dict(gpt.state_dict())
    assert other.head.weight is other.token_embedding.weight
    np.testing.assert_array_equal(other([[1, 2]]).numpy(), gpt([[1, 2]]).numpy())


def test_initial_weights(backend):
    mg.manual_seed(3)
    gpt = GPT(GPTConfig(vocab_size=50, d_model=64, n_layers=8, n_heads=4))
    state = gpt.state_dict()
    for name, value in state.items():
        if name.endswith("bias"):
            assert (value == 0).all(), name
        elif "norm" in name:
            assert (value == 1).all(), name
        else:
            std = 0.02 / 4 if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.02      # √(2·8) = 4
            assert abs(value.std() / std - 1) < 0.1 and abs(value.mean()) < std / 10, name
    mg.manual_seed(3)
    again = GPT(gpt.config).state_dict()
    assert all((again[name] == value).all() for name, value in state.items())


def test_later_tokens_do_not_change_earlier_logits(gpt):
    ids = np.array([[1, 2, 3, 4, 5, 6]])
    changed = ids.copy()
    changed[0, 4] = 9
    a, b = gpt(ids).numpy(), gpt(changed).numpy()
    np.testing.assert_array_equal(a[:, :4], b[:, :4])
    assert np.abs(a[:, 4:] - b[:, 4:]).max() > 1e-4


def test_embeddings_take_the_place_of_ids(gpt):
    ids = np.array([[1, 2, 3]])
    np.testing.assert_array_equal(gpt(None, embeddings=gpt.token_embedding(ids)).numpy(), gpt(ids).numpy())
    with pytest.raises(ValueError, match=re.escape("(B, T, 16)")):
        gpt(None, embeddings=mg.zeros(1, 3, 5))
    with pytest.raises(ValueError, match="do not belong together"):
        gpt([[1, 2]], embeddings=mg.zeros(1, 3, 16))
    with pytest.raises(TypeError, match="host integers"):
        gpt(None)


def test_position_shift_moves_every_position(gpt):
    ids = np.array([[1, 2, 3]])
    expected = gpt(ids, start=2).numpy()
    gpt.position_shift = 2
    np.testing.assert_array_equal(gpt(ids).numpy(), expected)
    with pytest.raises(ValueError, match=r"shift 2 need 9 positions, but the context is 8"):
        gpt(np.zeros((1, 7), dtype=int))


@pytest.mark.parametrize(("ids", "error", "message"), [
    ([[1, 13]], IndexError, r"token id 13 at \(0, 1\) is outside 0 … 12"),
    ([[-1, 2]], IndexError, r"token id -1 at \(0, 0\)"),
    ([[1.0, 2.0]], TypeError, "token ids must be host integers; got dtype float64"),
    ([[1], [1, 2]], TypeError, "token ids must form a rectangle of integers"),
    ([1, 2], ValueError, r"shape \(B, T\); got shape \(2,\). Put one sequence in a list"),
    ([[]], ValueError, "at least one token"),
    ([[0] * 9], ValueError, "9 tokens starting at 0 need 9 positions, but the context is 8"),
])
def test_bad_ids(gpt, ids, error, message):
    with pytest.raises(error, match=message):
        gpt(ids)


@pytest.mark.parametrize(("start", "message"), [
    (7, "2 tokens starting at 7 need 9 positions"), (-1, "must not be negative"), (0.5, "start must be an int"),
    (np.array([1, 2, 3]), r"shape \(2,\)"), (np.array([0, 7]), "need 9 positions")])
def test_bad_start(gpt, start, message):
    with pytest.raises(ValueError, match=message):
        gpt([[1, 2], [3, 4]], start=start)


@pytest.mark.parametrize(("change", "error", "message"), [
    (dict(n_heads=3), ValueError, "d_model=16 cannot be split into n_heads=3"),
    (dict(n_layers=0), ValueError, "n_layers must be at least 1; got 0"),
    (dict(vocab_size=-2), ValueError, "vocab_size must be at least 1"),
    (dict(d_model=16.0), TypeError, "d_model must be a whole number"),
    (dict(dropout=1.5), ValueError, "dropout must lie between 0 and 1"),
    (dict(positions="alibi"), ValueError, "unknown positions 'alibi': known are learned, rotary")])
def test_bad_config(change, error, message):
    with pytest.raises(error, match=message):
        GPTConfig(**{**TINY, **change})


def test_config_goes_through_a_dict():
    config = GPTConfig(**TINY, tie_head=True)
    assert GPTConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="no field typo"):
        GPTConfig.from_dict({**config.to_dict(), "typo": 1})
    with pytest.raises(ValueError, match="needs vocab_size"):
        GPTConfig.from_dict({})
    with pytest.raises(TypeError, match="needs a GPTConfig"):
        GPT(config.to_dict())


def test_dropout_is_active_in_training_only(backend):
    gpt = GPT(GPTConfig(**TINY, dropout=0.5))
    assert not np.array_equal(gpt([[1, 2, 3]]).numpy(), gpt([[1, 2, 3]]).numpy())
    gpt.eval()
    np.testing.assert_array_equal(gpt([[1, 2, 3]]).numpy(), gpt([[1, 2, 3]]).numpy())


def test_float32_stays_float32(gpt):
    logits = gpt([[1, 2, 3]])
    logits.sum().backward()
    assert logits.dtype.name == "float32"
    assert {p.grad.dtype.name for p in gpt.parameters()} == {"float32"}
