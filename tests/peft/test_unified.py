"""The unified view (He et al.): adapters, LoRA and prefixes from one formula; and what each adapter must compute."""
import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import functional as F
from minigrad.peft import AdapterDrop, AdapterL, AdapterP, LoRA, ParallelAdapter, PrefixTuning, ResidualAdapter, methods
from minigrad.peft.adapterdrop import drop_adapters
from minigrad.peft.parallel import ScaledParallelAdapter
from minigrad.peft.unified import DESIGNS, FORMS, modify
from tests.peft.rows import adapt, logits, make_base, make_ids, randomize


def random(*shape, seed=0):
    return mg.tensor(np.random.default_rng(seed).normal(size=shape))


def layer_of(method, path):
    return randomize(adapt(make_base("float64"), method)).model.get_submodule(path)


def test_every_design_is_a_method():
    assert set(DESIGNS) <= set(methods())
    assert {d.form for d in DESIGNS.values()} == set(FORMS)


def test_lora_is_a_parallel_linear_change_of_a_projection(backend):
    layer, x = layer_of(LoRA(rank=2, alpha=6), "blocks.1.attn.q_proj"), random(2, 5, 8)
    derived = modify(DESIGNS["lora"], layer.base_layer(x), x, layer.lora_A, layer.lora_B, scale=3.0)
    np.testing.assert_allclose(layer(x).numpy(), derived.numpy(), atol=1e-13)


def test_a_prefix_is_a_parallel_gated_change_of_each_head(backend):
    attn, x = layer_of(PrefixTuning(length=3), "blocks.1.attn"), random(2, 5, 8)
    q, k, v = (attn.split_heads(proj(x)) for proj in (attn.q_proj, attn.k_proj, attn.v_proj))
    scores = (q @ k.transpose(2, 3)) / 2.0                  # √(8 / 2 heads)
    own = scores.masked_fill(mg.tensor(np.triu(np.ones((5, 5), bool), 1)), -np.inf).logsumexp(dim=-1, keepdim=True)
    heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    derived = modify(DESIGNS["prefix"], heads, q, lambda q: q @ attn.prefix.key.transpose(1, 2) / 2.0,
                     lambda a: a @ attn.prefix.value, own=own)
    y = attn.o_proj(derived.transpose(1, 2).reshape(2, 5, 8))
    np.testing.assert_allclose(attn(x).numpy(), y.numpy(), atol=1e-13)


@pytest.mark.parametrize(("method", "path", "form"), [
    (AdapterP(3), "blocks.0.mlp", lambda h, x, ad: h + ad(F.relu, h)),
    (ParallelAdapter(3), "blocks.0.mlp", lambda h, x, ad: h + ad(F.relu, x)),
    (ParallelAdapter(3, where="attn"), "blocks.0.attn", lambda h, x, ad: h + ad(F.relu, x)),
    (ScaledParallelAdapter(3), "blocks.1.mlp", lambda h, x, ad: h + 4.0 * ad(F.relu, x)),
], ids=lambda value: "form" if callable(value) else str(value))
def test_adapters_are_their_formulas(method, path, form, backend):
    layer, x = layer_of(method, path), random(2, 5, 8)
    a = layer.adapter

    def ad(function, z):
        return F.linear(function(F.linear(z, a.down.weight, a.down.bias)), a.up.weight, a.up.bias)

    np.testing.assert_allclose(layer(x).numpy(), form(layer.base_layer(x), x, ad).numpy(), atol=1e-13)


def test_adapter_l_reads_the_normalized_stream(backend):
    layer, x = layer_of(AdapterL(3), "blocks.1"), random(2, 5, 8)
    h, a = layer.base_layer(x), layer.adapter
    z = F.layer_norm(h, (8,), layer.norm.weight, layer.norm.bias)
    np.testing.assert_allclose(layer(x).numpy(), (h + a.up(F.relu(a.down(z)))).numpy(), atol=1e-13)


def test_a_learned_scale_starts_at_its_value_and_moves(backend):
    layer = adapt(make_base(), ScaledParallelAdapter(3, learned=True)).model.blocks[0].mlp
    assert layer.scale.shape == (1,) and layer.scale.item() == 4.0 and layer.scale.requires_grad


def test_the_residual_adapter_is_a_matrix_behind_a_matrix(backend):
    layer, x = layer_of(ResidualAdapter(), "blocks.0.mlp.down_proj"), random(2, 5, 32)
    h = layer.base_layer(x).numpy()
    np.testing.assert_allclose(layer(x).numpy(), h + h @ layer.alpha.numpy().T, atol=1e-13)


def test_dropping_adapters_is_disabling_those_modules(backend):
    base, ids = make_base("float64", n_layers=3), make_ids()
    adapted = randomize(adapt(base, AdapterDrop(4))).eval()
    whole = logits(adapted, ids)
    drop_adapters(adapted.model, 2)
    dropped = logits(adapted, ids)
    twin = adapt(base, AdapterDrop(4)).eval()
    for name, p in twin.own_parameters().items():
        values = adapted.own_parameters()[name].numpy()
        p.data = p.backend.send(values if name.startswith("blocks.2") else 0 * values)
    assert np.array_equal(dropped, logits(twin, ids)) and not np.allclose(dropped, whole)
    drop_adapters(adapted.model, 3)
    assert np.array_equal(logits(adapted, ids), logits(base, ids))
    drop_adapters(adapted.model, 0)
    assert np.array_equal(logits(adapted, ids), whole)
    with pytest.raises(ValueError, match="0 … 3; got 4"):
        drop_adapters(adapted.model, 4)
    with pytest.raises(ValueError, match="most=3, but the model has 3 blocks"):
        adapt(base, AdapterDrop(4, most=3))


def test_training_draws_how_many_to_drop(backend):
    adapted = adapt(make_base(n_layers=4), AdapterDrop(2, most=2))
    counts = set()
    for step in range(30):
        adapted.before_step(step, 30)
        counts.add(sum(block.mlp.down_proj.skip for block in adapted.model.blocks))
        adapted.after_step(step, 30)
        assert not any(block.attn.o_proj.skip for block in adapted.model.blocks)
    assert counts == {0, 1, 2}
