"""Decoding on plain arrays is GPT.forward with a cache, to the last bit, and gives way wherever forward is not what it was."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, peft
from minigrad.models import GPT, GPTConfig
from minigrad.models.decode import decoder, on_arrays
from tests.peft.rows import ROWS

CONFIG = GPTConfig(vocab_size=11, context=16, d_model=8, n_layers=2, n_heads=2)


def running(model):
    """The GPT inside an adapted model, in evaluation mode; its weights are no longer those of the start."""
    gpt = getattr(model, "running", model).eval()
    rng = np.random.default_rng(3)
    for p in gpt.parameters():
        p.data = p.backend.send(np.float32(0.5) * rng.standard_normal(p.shape, dtype=np.float32))
    return gpt


def both(gpt, prompt, rest, keep=None):
    """Logits of the tokens `rest` (n, B), one after another, by forward and on arrays; keep: rows that go on after the first."""
    found = []
    for plain in (True, False):
        with mg.no_grad():
            cache = gpt.new_cache(len(prompt))
            gpt(prompt, cache=cache)
            step = decoder(gpt, cache) if plain else lambda ids, cache=cache: gpt(ids[:, None], cache=cache).data[:, -1]
            if step is None:
                return None
            rows = []
            for i, ids in enumerate(rest):
                if keep is not None and i == 1:
                    cache.select(keep)
                rows.append(mg.to_numpy(step(ids if keep is None or i == 0 else ids[keep])))
            found.append(rows)
    return found


@pytest.mark.parametrize("batch", [1, 3])
def test_same_bits_as_forward(batch, backend):
    gpt = running(GPT(CONFIG))
    ids = np.random.default_rng(0).integers(0, 11, (9, batch))
    mine, want = both(gpt, ids[:4].T, ids[4:])
    for a, b in zip(mine, want, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.shape == (batch, 11) and a.std() > 0.1


def test_rows_that_leave_the_batch(backend):
    ids = np.random.default_rng(1).integers(0, 11, (8, 3))
    mine, want = both(running(GPT(CONFIG)), ids[:3].T, ids[3:], keep=[2, 0])
    assert [a.shape[0] for a in mine] == [3, 2, 2, 2, 2]
    for a, b in zip(mine, want, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_method(row):
    """With each method the same logits, up to the rounding of a product that is ordered differently; or forward itself."""
    gpt = running(peft.apply(GPT(CONFIG), row.method))
    ids = np.random.default_rng(2).integers(0, 11, (7, 2))
    pair = both(gpt, ids[:3].T, ids[3:])
    if pair is not None:
        for a, b in zip(*pair, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


def test_most_methods_decode_on_arrays():
    found = {True: set(), False: set()}
    for row in ROWS:
        gpt = running(peft.apply(GPT(CONFIG), row.method))
        with mg.no_grad():
            cache = gpt.new_cache(1)
            gpt([[1, 2]], cache=cache)
            found[decoder(gpt, cache) is not None].add(row.method.name)
    assert {"full", "topk", "lora", "dora", "adapter", "parallel", "prefix", "ia3", "bitfit", "vera"} <= found[True]
    assert {"prompt", "did", "llama_adapter", "longlora"} <= found[False]
    assert len(found[True]) > 20, found


class Doubled(nn.Linear):
    """A layer of somebody's own."""

    def forward(self, x):
        return super().forward(x) * 2.0


def test_a_class_of_its_own_runs_its_own_forward():
    layer, x = Doubled(3, 2), np.ones((4, 3), np.float32)
    with mg.no_grad():
        np.testing.assert_array_equal(on_arrays(layer)(x), layer(mg.tensor(x)).numpy())
        plain = nn.Linear(3, 2)
        plain.__dict__["forward"] = lambda x: x[..., :2]                # patched, as a probe does
        np.testing.assert_array_equal(on_arrays(plain)(x), x[:, :2])


def test_gives_way_to_forward(monkeypatch):
    def made(gpt):
        with mg.no_grad():
            cache = gpt.new_cache(1)
            gpt([[1, 2]], cache=cache)
            return decoder(gpt, cache)

    assert made(GPT(CONFIG)) is not None
    assert made(GPT(GPTConfig(11, context=16, d_model=8, n_layers=1, n_heads=2, positions="rotary"))) is None
    with mg.override("linear", vjp=lambda gy, y, x, w, *b: None):
        assert made(GPT(CONFIG)) is None
    assert made(type("Mine", (GPT,), {})(CONFIG)) is None
    gpt = GPT(CONFIG)
    gpt.blocks[1].attn.pattern = lambda attn, T, Tk: None
    assert made(gpt) is None
    gpt = GPT(CONFIG)
    gpt.blocks[0].__dict__["forward"] = gpt.blocks[0].forward
    assert made(gpt) is None


def test_generate_uses_it(monkeypatch):
    """One forward for the prompt, and none for the tokens after it."""
    calls, forward = [], GPT.forward
    monkeypatch.setattr(GPT, "forward", lambda self, ids, **options: calls.append(ids.shape) or forward(self, ids, **options))
    GPT(CONFIG).generate([[1, 2, 3]], 5)
    assert calls == [(1, 3)]


def test_a_prefix_is_asked_once_per_cache():
    adapted = peft.apply(GPT(CONFIG), peft.PrefixTuning(3))
    prefix, calls = adapted.running.blocks[0].attn.prefix, []
    prefix.__dict__["forward"] = lambda batch: calls.append(batch) or type(prefix).forward(prefix, batch)
    adapted.generate([[1, 2], [3, 4]], 4)
    assert calls == [2]
