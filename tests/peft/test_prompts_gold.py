"""The prompt family with parameters chosen by hand: LLaMA-Adapter, P-tuning, PreEmbed, PreLayer."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import peft
from minigrad.peft import LlamaAdapter, PrefixTuning
from tests.peft.rows import adapt, logits, loss_of, make_base, make_ids, randomize


def assign(p, values):
    p.data = p.backend.send(np.asarray(values).astype(p.numpy().dtype))


# ---- LLaMA-Adapter ---------------------------------------------------------------------------------------------------

def test_a_closed_gate_is_the_base_where_a_prefix_of_the_same_rows_is_not(backend):
    base, ids = make_base("float64"), make_ids()
    gated = adapt(base, LlamaAdapter(length=3)).eval()
    assert np.array_equal(logits(gated, ids), logits(base, ids))
    prefix = adapt(base, PrefixTuning(length=3, positions="keep"))
    rows = []
    for attn, block in zip(peft.prefix.attentions(base), gated.model.blocks, strict=True):
        p = block.attn.beside.prompt.unsqueeze(0)
        rows.append([attn.split_heads(proj(p)).numpy()[0] for proj in (attn.k_proj, attn.v_proj)])
    peft.set_prefix(prefix.model, rows)
    assert not np.allclose(logits(prefix, ids), logits(base, ids), atol=1e-2)


def test_in_the_first_step_only_the_gates_get_a_gradient(backend):
    adapted = adapt(make_base(), LlamaAdapter(length=3))
    loss_of(adapted, make_ids()).backward()
    for name, p in adapted.named_trainable_parameters():
        assert (mg.to_numpy(p.grad) != 0).any() == name.endswith("gate"), name


def test_the_gated_prompt_is_its_formula_in_the_top_layers_only(backend):
    adapted = randomize(adapt(make_base("float64"), LlamaAdapter(length=3, layers=1)))
    assert adapted.model.blocks[0].attn.beside is None
    attn, x = adapted.model.blocks[1].attn, np.random.default_rng(0).normal(size=(2, 5, 8))
    prompt, gate = attn.beside.prompt.numpy(), attn.beside.gate.numpy()

    def heads(proj, z):
        return (z @ proj.weight.numpy().T + proj.bias.numpy()).reshape(*z.shape[:-1], 2, 4).swapaxes(-2, -3)

    def attend(q, k, v, mask=0.0):
        s = np.exp(q @ k.swapaxes(-1, -2) / 2 + mask)
        return s / s.sum(axis=-1, keepdims=True) @ v

    q, k, v = (heads(p, x) for p in (attn.q_proj, attn.k_proj, attn.v_proj))
    y = attend(q, k, v, np.where(np.triu(np.ones((5, 5)), 1), -np.inf, 0.0))
    y = y + np.tanh(gate)[:, None, None] * attend(q, heads(attn.k_proj, prompt), heads(attn.v_proj, prompt))
    expected = y.swapaxes(1, 2).reshape(2, 5, 8) @ attn.o_proj.weight.numpy().T + attn.o_proj.bias.numpy()
    np.testing.assert_allclose(attn(mg.tensor(x)).numpy(), expected, atol=1e-12)
    with pytest.raises(ValueError, match="layers=3, but the model has 2 blocks"):
        adapt(make_base(), LlamaAdapter(layers=3))
