"""Tests with a known answer: what a method must compute when its parameters are chosen by hand."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import peft
from minigrad.nn import Module
from minigrad.nn import functional as F
from minigrad.peft import Adapter, FullFineTuning, LoRA, PrefixTuning, PromptTuning, TopK
from minigrad.peft.unified import truncated_normal
from tests.peft.rows import adapt, logits, loss_of, make_base, make_ids, randomize, train


def assign(p, values):
    p.data = p.backend.send(np.asarray(values).astype(p.numpy().dtype))


# ---- prefix and prompt -----------------------------------------------------------------------------------------------

def test_a_prefix_of_real_activations_is_reading_the_real_text(backend):
    base, text, ids = make_base("float64"), np.array([7, 3, 9, 1]), make_ids()
    adapted = adapt(base, PrefixTuning(length=4))
    peft.set_prefix(adapted.model, peft.activations(base, text))
    both = np.concatenate([np.tile(text, (len(ids), 1)), ids], axis=1)
    np.testing.assert_allclose(logits(adapted, ids), logits(base, both)[:, 4:], rtol=0, atol=1e-12)
    assert [list(x) for x in adapted.generate(ids, 5)] == [list(x) for x in base.generate(both, 5)]


def test_a_prompt_of_real_embeddings_is_reading_the_real_text(backend):
    base, text, ids = make_base("float64"), np.array([7, 3, 9]), make_ids()
    adapted = adapt(base, PromptTuning(length=3))
    assign(adapted.model.prompt, base.token_embedding.weight.numpy()[text])
    both = np.concatenate([np.tile(text, (len(ids), 1)), ids], axis=1)
    np.testing.assert_allclose(logits(adapted, ids), logits(base, both)[:, 3:], rtol=0, atol=1e-12)
    assert [list(x) for x in adapted.generate(ids, 5)] == [list(x) for x in base.generate(both, 5)]


def test_a_prompt_starts_at_any_position_and_takes_embeddings(backend):
    base, ids = make_base("float64"), make_ids()
    adapted = adapt(base, PromptTuning(length=3))
    text = np.array([7, 3, 9])
    assign(adapted.model.prompt, base.token_embedding.weight.numpy()[text])
    both = np.concatenate([np.tile(text, (len(ids), 1)), ids], axis=1)
    starts = np.array([0, 2, 5])
    np.testing.assert_allclose(logits(adapted, ids, start=starts), logits(base, both, start=starts)[:, 3:], atol=1e-12)
    given = logits(adapted, None, embeddings=base.token_embedding(ids))
    assert np.array_equal(given, logits(adapted, ids))


def test_a_network_behind_the_prefix_starts_where_the_plain_one_does_and_bakes_away(backend):
    base, ids = make_base("float64"), make_ids()
    plain, network = adapt(base, PrefixTuning(length=3)), adapt(base, PrefixTuning(length=3, hidden=5))
    np.testing.assert_allclose(logits(network, ids), logits(plain, ids), rtol=0, atol=1e-10)
    randomize(network)
    before, trained = logits(network, ids), network.counts()[0]
    network.bake()
    assert network.method == PrefixTuning(length=3) and network.counts()[0] == plain.counts()[0] != trained
    np.testing.assert_allclose(logits(network, ids), before, rtol=0, atol=1e-12)
    loss_of(network, ids).backward()
    assert all(p.grad is not None for p in network.trainable_parameters())


def test_a_prefix_is_a_gated_sum_and_even_zeros_are_not_the_base(backend):
    rng = np.random.default_rng(0)
    q, k, v, pk, pv = (mg.tensor(rng.normal(size=(1, 1, n, 4))) for n in (2, 3, 3, 2, 2))
    own = F.scaled_dot_product_attention(q, k, v).numpy()
    prefix = F.scaled_dot_product_attention(q, pk, pv).numpy()
    weight = {name: np.exp((q @ keys.transpose(2, 3)).numpy() / 2).sum(axis=-1, keepdims=True)
              for name, keys in (("own", k), ("prefix", pk))}
    gate = weight["prefix"] / (weight["prefix"] + weight["own"])
    both = F.scaled_dot_product_attention(q, mg.cat([pk, k], dim=2), mg.cat([pv, v], dim=2)).numpy()
    np.testing.assert_allclose(both, (1 - gate) * own + gate * prefix, atol=1e-12)
    zero = mg.zeros(1, 1, 2, 4, dtype="float64")        # zeros are no no-op: they take P/(P + Z) of the attention
    diluted = F.scaled_dot_product_attention(q, mg.cat([zero, k], dim=2), mg.cat([zero, v], dim=2)).numpy()
    np.testing.assert_allclose(diluted, own * weight["own"] / (weight["own"] + 2), atol=1e-12)


def test_keep_leaves_positions_alone(backend):
    base = make_base()
    assert adapt(base, PrefixTuning(length=3)).position_shift == 3
    assert adapt(base, PrefixTuning(length=3, positions="keep")).position_shift == 0
    assert base.position_shift == 0


# ---- LoRA ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("init", "zero", "moving"), [("kaiming", "lora_A", "lora_B"), ("gaussian", "lora_A", "lora_B"),
                                                      ("zero_a", "lora_B", "lora_A")])
def test_at_the_first_step_only_the_zero_matrix_gets_a_gradient(init, zero, moving, backend):
    adapted = adapt(make_base(), LoRA(rank=2, init=init))
    loss_of(adapted, make_ids()).backward()
    for name, p in adapted.named_trainable_parameters():
        gradient = mg.to_numpy(p.grad)
        if zero in name:
            assert (gradient == 0).all(), f"{name}: its gradient is multiplied by the other matrix, which is 0"
        else:
            assert moving in name and (gradient != 0).any()


def test_the_learned_change_has_at_most_the_chosen_rank(backend):
    base, ids = make_base("float64"), make_ids()
    adapted = adapt(base, LoRA(rank=2, alpha=4, targets="all-linear"))
    train(adapted, 5, 1e-2, ids)
    plain = adapted.merge_and_unload()
    for name, p in plain.named_parameters():
        delta = p.numpy() - base.get_parameter(name).numpy()
        if "_proj.weight" in name:
            assert np.linalg.matrix_rank(delta, tol=1e-10) == 2, name
        else:
            assert (delta == 0).all(), name


def test_at_full_rank_any_change_can_be_reached(backend):
    base, ids, rng = make_base("float64"), make_ids(), np.random.default_rng(0)
    adapted = adapt(base, LoRA(rank=8, alpha=12, targets=("up_proj",)))
    target = make_base("float64")
    for i in range(2):
        delta = rng.normal(size=(32, 8))
        layer = adapted.model.get_submodule(f"blocks.{i}.mlp.up_proj")
        assign(layer.lora_A.weight, np.eye(8))
        assign(layer.lora_B.weight, delta / layer.scale)
        assign(target.get_parameter(f"blocks.{i}.mlp.up_proj.weight"),
               base.get_parameter(f"blocks.{i}.mlp.up_proj.weight").numpy() + delta)
    np.testing.assert_allclose(logits(adapted, ids), logits(target, ids), rtol=0, atol=1e-10)


def test_a_times_c_and_b_over_c_is_the_same_model(backend):
    adapted, ids = randomize(adapt(make_base("float64"), LoRA(rank=2))), make_ids()
    before = logits(adapted, ids)
    for name, p in adapted.named_trainable_parameters():
        assign(p, p.numpy() * (4.0 if "lora_A" in name else 0.25))
    np.testing.assert_allclose(logits(adapted, ids), before, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("scaling", "scale"), [("alpha", 24.0), ("alpha/r", 6.0), ("alpha/sqrt(r)", 12.0)])
def test_the_three_scalings(scaling, scale, backend, capsys):
    adapted = adapt(make_base("float64"), LoRA(rank=4, alpha=24, scaling=scaling, targets=["q_proj"]))
    layer = randomize(adapted).model.blocks[0].attn.q_proj
    assert layer.scale == scale
    x = mg.randn(2, 3, 8, dtype="float64")
    A, B = layer.lora_A.weight.numpy(), layer.lora_B.weight.numpy()
    np.testing.assert_allclose((layer(x) - layer.base_layer(x)).numpy(), scale * (x.numpy() @ A.T) @ B.T, atol=1e-12)
    adapted.summary()
    assert f"s = {scaling} = {scale:g}" in capsys.readouterr().out


def test_dropout_is_on_the_branch_only_and_off_in_eval(backend):
    base, ids = make_base(), make_ids()
    adapted = adapt(base, LoRA(rank=2, dropout=0.5))
    assert np.array_equal(logits(adapted, ids), logits(base, ids))      # B = 0: what is dropped does not matter
    randomize(adapted)
    assert not np.array_equal(logits(adapted, ids), logits(adapted, ids))
    adapted.eval()
    assert np.array_equal(logits(adapted, ids), logits(adapted, ids))


def test_merging_between_steps_leaves_the_trajectory_alone(backend):
    base, ids = make_base("float64"), make_ids()
    losses = []
    for merge in (False, True):
        adapted = adapt(base, LoRA(rank=2))
        optimizer = mg.optim.AdamW(adapted.param_groups(1e-2), lr=1e-2)
        for _ in range(4):
            adapted.zero_grad()
            loss = loss_of(adapted, ids)
            loss.backward()
            optimizer.step()
            if merge:
                adapted.eval().merge().unmerge().train()
        losses.append(loss.item())
    assert losses[0] == losses[1]


# ---- what frozen parts cost ----------------------------------------------------------------------------------------

def saved(base, method):
    return mg.graph_stats(loss_of(adapt(base, method), make_ids()))


def test_top_k_records_a_graph_for_its_own_blocks_only(backend):
    shallow, deep = make_base(n_layers=2), make_base(n_layers=5)
    stats = [saved(base, TopK(k)) for base, k in ((shallow, 1), (deep, 1), (deep, 2), (deep, 3))]
    assert stats[0].nodes == stats[1].nodes and stats[0].saved_bytes == stats[1].saved_bytes
    assert stats[3].nodes - stats[2].nodes == stats[2].nodes - stats[1].nodes > 0
    assert stats[3].saved_bytes - stats[2].saved_bytes == stats[2].saved_bytes - stats[1].saved_bytes > 0
    assert "embedding" not in stats[3].by_op and "embedding" in saved(deep, FullFineTuning()).by_op


def test_top_k_of_all_blocks_gives_the_gradients_of_full_fine_tuning(backend):
    base, ids = make_base(), make_ids()
    full, top = adapt(base, FullFineTuning()), adapt(base, TopK(2))
    for adapted in (full, top):
        loss_of(adapted, ids).backward()
    of_full = dict(full.named_trainable_parameters())
    assert set(of_full) - set(dict(top.named_trainable_parameters())) == {"model.token_embedding.weight",
                                                                         "model.position_embedding.weight"}
    for name, p in top.named_trainable_parameters():
        assert np.array_equal(mg.to_numpy(p.grad), mg.to_numpy(of_full[name].grad)), name


def test_frozen_weights_save_activations_but_gradients_still_pass(backend):
    base = make_base(n_layers=4)
    assert saved(base, LoRA(rank=1)).saved_bytes < saved(base, FullFineTuning()).saved_bytes
    top = saved(base, LoRA(rank=1, targets="blocks.3.attn.q_proj"))
    assert top.nodes < saved(base, LoRA(rank=1, targets="blocks.0.attn.q_proj")).nodes / 2


def test_an_adapter_is_the_formula(backend):
    adapted = randomize(adapt(make_base("float64"), Adapter(bottleneck=3)))
    layer = adapted.model.blocks[1].mlp.down_proj
    x = mg.randn(2, 5, 32, dtype="float64")
    h = layer.base_layer(x)
    a = layer.adapter
    expected = h + F.linear(F.gelu(F.linear(h, a.down.weight, a.down.bias)), a.up.weight, a.up.bias)
    np.testing.assert_allclose(layer(x).numpy(), expected.numpy(), atol=1e-14)
    assert a.down.weight.shape == (3, 8) and a.up.weight.shape == (8, 3)


def test_the_truncated_normal_stays_within_two_sigma():
    values = truncated_normal(np.random.default_rng(0), (200, 50), 1e-3)
    assert 1.9e-3 < abs(values).max() <= 2e-3
    assert values.std() == pytest.approx(0.8796e-3, rel=0.02)           # of a normal cut off at 2σ


# ---- the adapted model ---------------------------------------------------------------------------------------------

def test_active_and_trainable_are_two_things(backend):
    adapted = adapt(make_base(), LoRA(rank=2), name="a")
    adapted.add("b", Adapter(bottleneck=2))
    assert adapted.active == "b" and adapted.method == Adapter(bottleneck=2)
    adapted.set_trainable(False)
    assert adapted.active == "b" and adapted.trainable_parameters() == []
    adapted.set_active("a")
    assert len(adapted.trainable_parameters()) == 8
    adapted.set_trainable(True, "b")
    assert adapted.active == "a"
    adapted.set_active("b")
    assert len(adapted.trainable_parameters()) == 16


def test_switching_takes_the_same_time_whatever_the_model(backend, monkeypatch):
    """One assignment: no module is visited and no array made, copied or sent."""
    adapted = adapt(make_base(), LoRA(rank=2), name="a").add("b", Adapter(bottleneck=2)).eval()
    adapted.set_active("a")                         # both are in evaluation mode now
    trees = {name: adapted._entry(name).tree for name in "ab"}

    def visited(*args, **kwargs):
        raise AssertionError("switching walked the model")

    for name in ("modules", "named_modules", "parameters", "named_parameters", "train", "state_dict", "load_state_dict"):
        monkeypatch.setattr(Module, name, visited)
    for _ in range(3):
        for name in "ba":
            adapted.set_active(name)
            assert adapted.model is trees[name]


def test_an_inactive_adapter_follows_the_mode(backend):
    adapted = adapt(make_base(), LoRA(rank=2, dropout=0.5), name="a").add("b", LoRA(rank=2))
    adapted.eval()
    adapted.set_active("a")
    assert not any(m.training for m in adapted.modules())


def test_disabled_takes_the_mode_of_the_adapted_model_and_can_be_nested(backend):
    base = make_base(dropout=0.5)
    adapted, ids = adapt(base, LoRA(rank=2)).eval(), make_ids()
    with adapted.disabled(), adapted.disabled():
        assert np.array_equal(logits(adapted, ids), logits(adapted, ids))
    assert base.training and not adapted.training


def test_moving_while_disabled_moves_what_runs(backend):
    adapted, ids = adapt(make_base(), LoRA(rank=2)), make_ids()
    with adapted.disabled():
        adapted.to(dtype="float64")
        assert logits(adapted, ids).dtype == "float64"
        assert np.array_equal(logits(adapted, ids), logits(adapted.base, ids))


def test_moving_keeps_what_is_shared_shared(backend):
    base = make_base()
    adapted = adapt(base, LoRA(rank=2), name="a").add("b", TopK(1))
    adapted.to(dtype="float64")
    assert adapted.base is not base and {p.dtype.name for p in base.parameters()} == {"float32"}
    of_base = {id(p.data) for p in adapted.base.parameters()}
    own = {id(p) for p in adapted.own_parameters().values()}
    assert all(id(p.data) in of_base for p in adapted.parameters() if id(p) not in own)
    assert {p.dtype.name for p in adapted.parameters()} == {"float64"}
    adapted.set_active("a")
    assert {p.dtype.name for p in adapted.parameters()} == {"float64"}
    with pytest.raises(RuntimeError, match="merged"):
        adapted.merge().to(dtype="float32")


def test_a_clone_keeps_ties_and_shares_arrays(backend):
    base = make_base(tie_head=True)
    twin = peft.clone(base)
    assert twin.head.weight is twin.token_embedding.weight
    assert all(a.data is b.data and a is not b for a, b in zip(twin.parameters(), base.parameters(), strict=True))
    assert not any(p.requires_grad for p in twin.parameters()) and all(p.requires_grad for p in base.parameters())


def test_moving_to_another_backend(backend):
    base, ids = make_base(), make_ids()
    adapted = randomize(adapt(base, LoRA(rank=2))).eval()
    before, plain = logits(adapted, ids), logits(base, ids)
    adapted.to(backend="numpy")
    assert {p.backend.name for p in adapted.parameters()} == {"numpy"}
    assert {p.backend.name for p in base.parameters()} == {backend}
    np.testing.assert_allclose(logits(adapted, ids), before, rtol=0, atol=1e-5)
    with adapted.disabled():
        np.testing.assert_allclose(logits(adapted, ids), plain, rtol=0, atol=1e-5)


def test_training_passes_the_debugger(backend):
    ids = make_ids()
    for method in (FullFineTuning(), PrefixTuning(length=2, hidden=3), PromptTuning(length=2), LoRA(rank=2)):
        plain = train(adapt(make_base(), method), 2, 1e-2, ids)
        with mg.debug():                            # saved arrays read-only, freed ones filled with NaN
            assert train(adapt(make_base(), method), 2, 1e-2, ids) == plain
