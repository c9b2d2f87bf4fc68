"""Decoding: the cache changes nothing but the time, and every end and every wrong argument is clean."""
import numpy as np
import pytest

import minigrad as mg
from minigrad.models import GPT, GPTConfig, KVCache


@pytest.fixture
def gpt(backend):
    mg.manual_seed(5)
    model = GPT(GPTConfig(vocab_size=17, context=16, d_model=32, n_layers=2, n_heads=4))
    for p in model.parameters():
        p.data[...] = p.data * 8                    # far from uniform predictions, so that arguments matter
    return model


PROMPTS = [[1, 2, 3], [4], [5, 6, 7], [8, 9], [10, 11, 12]]


def same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def test_greedy_with_and_without_cache_is_the_same(gpt):
    a, b = gpt.generate(PROMPTS, 10), gpt.generate(PROMPTS, 10, use_cache=False)
    same(a, b)
    assert [len(x) for x in a] == [10] * 5 and all(x.dtype == np.int64 for x in a)


def test_greedy_is_the_plain_loop(gpt):
    ids = [1, 2, 3]
    for _ in range(6):
        ids.append(int(gpt([ids]).numpy()[0, -1].argmax()))
    same(gpt.generate([[1, 2, 3]], 6), [ids[3:]])


def test_prompts_do_not_influence_each_other(gpt):
    for options in ({}, dict(temperature=1.0, seed=4)):
        together = gpt.generate(PROMPTS, 6, **options)
        same(together[:1], gpt.generate(PROMPTS[:1], 6, **options))
    same(gpt.generate(PROMPTS, 6), [gpt.generate([p], 6)[0] for p in PROMPTS])


def test_stop_token_ends_a_row_and_is_left_out(gpt):
    free = gpt.generate(PROMPTS, 12, temperature=2.0, seed=3)
    stop = int(free[0][4])
    for cache in (True, False):
        stopped = gpt.generate(PROMPTS, 12, temperature=2.0, seed=3, stop=stop, use_cache=cache)
        for row, whole in zip(stopped, free, strict=True):
            ends = np.flatnonzero(whole == stop)
            np.testing.assert_array_equal(row, whole[:ends[0]] if ends.size else whole)


def test_the_seed_alone_decides(gpt):
    a = gpt.generate(PROMPTS, 8, temperature=1.0, seed=7)
    mg.manual_seed(99)
    state = mg.backend.host.get_state()
    same(a, gpt.generate(PROMPTS, 8, temperature=1.0, seed=7, use_cache=False))
    assert mg.backend.host.get_state() == state     # the global generator was not touched
    b = gpt.generate(PROMPTS, 8, temperature=1.0, seed=8)
    assert any(not np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    mg.manual_seed(1)
    c = gpt.generate(PROMPTS, 8, temperature=1.0)
    mg.manual_seed(1)
    same(c, gpt.generate(PROMPTS, 8, temperature=1.0))


def test_draws_follow_the_softmax(gpt):
    last = gpt([[1, 2]]).numpy()[0, -1].astype(float) / 1.5
    p = np.exp(last - last.max())
    p[np.argsort(-last)[3:]] = 0
    p /= p.sum()
    drawn = gpt.generate([[1, 2]] * 3000, 1, temperature=1.5, top_k=3, seed=0)
    shares = np.bincount(np.concatenate(drawn), minlength=17) / 3000
    assert (shares[p == 0] == 0).all()
    assert (np.abs(shares - p) < 4 * np.sqrt(p * (1 - p) / 3000) + 1e-12).all()


def test_top_1_and_tiny_temperature_are_greedy(gpt):
    greedy = gpt.generate(PROMPTS, 8)
    same(greedy, gpt.generate(PROMPTS, 8, temperature=3.0, top_k=1, seed=0))
    same(greedy, gpt.generate(PROMPTS, 8, temperature=1e-9, seed=0))


def test_it_ends_where_the_context_ends(gpt):
    for cache in (True, False):
        a = gpt.generate([[1] * 14, [2] * 16, [3]], 50, use_cache=cache)
        assert [len(x) for x in a] == [2, 0, 15]
    gpt.position_shift = 4
    assert [len(x) for x in gpt.generate([[1] * 10], 50)] == [2]


def test_modes_are_restored_and_nothing_is_recorded(gpt):
    gpt.train()
    gpt.blocks[1].eval()
    gpt.generate([[1]], 2)
    assert gpt.training and gpt.blocks[0].training and not gpt.blocks[1].attn.training
    assert all(p.grad is None for p in gpt.parameters())
    with pytest.raises(ValueError, match="empty"):
        gpt.generate([[]], 2)
    assert gpt.training


def test_one_read_per_step(gpt, monkeypatch):
    reads = []
    original = mg.Tensor.numpy
    monkeypatch.setattr(mg.Tensor, "numpy", lambda self: reads.append(self.shape) or original(self))
    gpt.generate([[1, 2], [3, 4]], 5)
    assert reads == [(2, 17)] * 5


@pytest.mark.parametrize(("prompts", "options", "message"), [
    ([[1], []], {}, "prompt 1 is empty"),
    ([[1] * 17], {}, "prompt 0 has 17 tokens, but the context has room for 16"),
    ([[[1]]], {}, r"prompt 0 has shape \(1, 1\)"),
    ([1, 2], {}, "Put one prompt in a list"),
    ([[1]], dict(temperature=-1), "temperature"), ([[1]], dict(temperature=float("nan")), "temperature"),
    ([[1]], dict(top_k=0), "top_k must be at least 1"), ([[1]], dict(stop=17), "stop must be a token id in 0 … 16"),
    ([[1]], dict(stop="END"), "stop must be a token id"),
    ([[1]], dict(seed=-1), "seed"), ([[1]], dict(max_new_tokens=-1), "max_new_tokens")])
def test_bad_arguments(gpt, prompts, options, message):
    with pytest.raises(ValueError, match=message):
        gpt.generate(prompts, **{"max_new_tokens": 3, **options})


def test_a_bad_id_names_its_prompt(gpt):
    with pytest.raises(IndexError, match="prompt 1: token id 17"):
        gpt.generate([[1], [17]], 3)


def test_nothing_to_do(gpt):
    assert gpt.generate([], 3) == []
    assert [len(x) for x in gpt.generate([[1]], 0)] == [0]


def test_nan_weights_are_reported(gpt):
    gpt.norm.weight.data[...] = float("nan")
    with pytest.raises(ValueError, match="logits are NaN"):
        gpt.generate([[1]], 3)


def test_cache_gives_the_full_forward_in_any_pieces(gpt):
    gpt.to(dtype="float64")
    ids = np.random.default_rng(0).integers(0, 17, (2, 11))
    whole = gpt(ids, start=3).numpy()
    with mg.no_grad():
        cache, pieces = gpt.new_cache(2), []
        for a, b in ((0, 4), (4, 5), (5, 11)):
            pieces.append(gpt(ids[:, a:b], cache=cache, start=3).numpy())
    assert cache.length == 11
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, rtol=0, atol=1e-10)


def test_cache_select_keeps_rows(gpt):
    gpt.to(dtype="float64")
    ids = np.random.default_rng(1).integers(0, 17, (3, 5))
    with mg.no_grad():
        cache = gpt.new_cache(3)
        gpt(ids[:, :4], cache=cache)
        a = gpt(ids[[2, 0], 4:], cache=cache.select([2, 0])).numpy()
    np.testing.assert_allclose(a, gpt(ids[[2, 0]]).numpy()[:, 4:], rtol=0, atol=1e-10)
    with pytest.raises(IndexError, match="cache row 2"):
        cache.select([2])


def test_cache_refusals(gpt):
    with pytest.raises(RuntimeError, match="no_grad"):
        gpt([[1]], cache=gpt.new_cache(1))
    with mg.no_grad():
        with pytest.raises(ValueError, match="batch of 2; the model has 2 layers and the batch is 1"):
            gpt([[1]], cache=gpt.new_cache(2))
        with pytest.raises(ValueError, match="the KV cache is full: 0 tokens are in it, 3 more do not fit into 2"):
            gpt([[1, 2, 3]], cache=gpt.new_cache(1, capacity=2))
        cache = gpt.new_cache(1)
        gpt([[1] * 16], cache=cache)
        with pytest.raises(ValueError, match=r"1 tokens \+ 16 in the cache starting at 0 need 17 positions"):
            gpt([[1]], cache=cache)
        with pytest.raises(TypeError, match="this KV cache holds float64; got float32"):
            gpt([[1]], cache=KVCache(2, 1, 4, 16, 8, dtype="float64"))


def test_temperature_may_be_a_numpy_number(gpt):
    a, b = (gpt.generate([[1, 2]], 4, temperature=t, seed=3)[0] for t in (0.5, np.float32(0.5)))
    assert np.array_equal(a, b)
