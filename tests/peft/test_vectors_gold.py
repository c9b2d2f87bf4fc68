"""What is particular to the methods that train vectors: VeRA, Tied-LoRA and (IA)³."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import peft
from minigrad.autograd.stats import saved_arrays
from minigrad.nn import Parameter
from minigrad.peft import IA3, LoRA, TiedLoRA, VeRA
from tests.peft.rows import adapt, logits, loss_of, make_base, make_ids, randomize
from tests.peft.test_files import header

# ---- VeRA ------------------------------------------------------------------------------------------------------------


def test_veras_branch_is_the_formula(backend):
    base = make_base("float64", d_ff=20)
    adapted = randomize(adapt(base, VeRA(rank=5, targets=("up_proj", "o_proj"))))
    x = np.random.default_rng(0).normal(size=(3, 8))
    for path in ("blocks.1.mlp.up_proj", "blocks.0.attn.o_proj"):
        layer, plain = adapted.model.get_submodule(path), base.get_submodule(path)
        A, B = layer.vera_A.numpy()[:, :8], layer.vera_B.numpy()[:plain.weight.shape[0]]
        d, b = layer.vera_lambda_d.numpy(), layer.vera_lambda_b.numpy()
        expected = x @ plain.weight.numpy().T + plain.bias.numpy() + b * (B @ (d[:, None] * (A @ x.T))).T
        np.testing.assert_allclose(layer(mg.tensor(x)).numpy(), expected, rtol=0, atol=1e-12)


def test_veras_matrices_are_one_pair_that_is_not_trained_and_no_activation(backend):
    adapted = adapt(make_base(d_ff=20), VeRA(rank=5, targets=("up_proj", "down_proj")))
    layers = [m for m in adapted.modules() if hasattr(m, "vera_A")]
    assert len(layers) == 4 and len({id(m.vera_A) for m in layers}) == len({id(m.vera_B) for m in layers}) == 1
    A, B = layers[0].vera_A, layers[0].vera_B
    assert A.shape == (5, 20) and B.shape == (20, 5)        # as large as the largest target needs
    bound = np.sqrt(6 / 20)
    assert 0.9 * bound < abs(A.numpy()).max() <= bound
    assert not any(p is A or p is B for p in adapted.parameters())
    adapted.set_trainable(True)
    loss = loss_of(adapted, make_ids())
    kept = {id(A.backend.buffer(array)) for _, arrays in saved_arrays(loss) for array, _ in arrays}
    assert kept and not kept & {id(A.backend.buffer(p.data)) for p in (A, B)}
    loss.backward()
    assert A.grad is None and B.grad is None


def test_veras_seed_changes_the_function_and_not_the_count(backend):
    base, ids = make_base(), make_ids()
    one, two, again = (randomize(adapt(base, VeRA(rank=4, seed=s))).eval() for s in (1, 2, 1))
    assert one.counts() == two.counts()
    assert np.array_equal(logits(one, ids), logits(again, ids))
    assert not np.allclose(logits(one, ids), logits(two, ids), atol=1e-4)


def test_a_vera_file_without_matrices_needs_the_seed_only(backend, tmp_path):
    base, ids = make_base(), make_ids()
    whole, lean = (randomize(adapt(base, VeRA(rank=4, seed=7, save_projection=s))).eval() for s in (True, False))
    whole.save(tmp_path / "whole")
    lean.save(tmp_path / "lean")
    names, few = (header(tmp_path / n / "adapter_model.safetensors") for n in ("whole", "lean"))
    prefix = "base_model.model.blocks.1.attn.v_proj.vera_lambda_"
    assert few[prefix + "b"] == ("F32", (8,)) and few[prefix + "d"] == ("F32", (4,)) and len(few) == 8
    assert set(names) - set(few) == {"base_model.vera_A", "base_model.vera_B"}
    for folder in ("whole", "lean"):
        assert np.array_equal(logits(peft.load(base, tmp_path / folder).eval(), ids), logits(whole, ids))
    state = whole.state()
    del state["base_model.vera_A"]
    with pytest.raises(ValueError, match="missing: base_model.vera_A"):
        whole.load_state(state)


# ---- Tied-LoRA -------------------------------------------------------------------------------------------------------


def test_the_gradient_of_a_tied_matrix_is_the_sum_over_its_layers(backend):
    tied, untied = (randomize(adapt(make_base("float64"), TiedLoRA(rank=2))) for _ in range(2))
    layers = [m for m in untied.modules() if hasattr(m, "tied_A")]
    for m in layers:
        m.tied_A, m.tied_B = Parameter(m.tied_A.data.copy()), Parameter(m.tied_B.data.copy())
    ids = make_ids()
    assert np.array_equal(logits(tied, ids), logits(untied, ids))
    loss_of(tied, ids).backward()
    loss_of(untied, ids).backward()
    first = next(m for m in tied.modules() if hasattr(m, "tied_A"))
    for name in ("tied_A", "tied_B"):
        parts = [mg.to_numpy(getattr(m, name).grad) for m in layers]
        assert len(parts) == 4 and all(abs(g).max() > 1e-6 for g in parts)
        np.testing.assert_allclose(mg.to_numpy(getattr(first, name).grad), sum(parts), rtol=1e-10, atol=1e-14)


def test_with_a_and_b_frozen_tied_lora_is_vera_bit_by_bit(backend):
    base, ids = make_base(), make_ids()
    tied = randomize(adapt(base, TiedLoRA(rank=4, alpha=4, train=("u", "v"), seed=3)))
    vera = randomize(adapt(base, VeRA(rank=4, seed=3)))
    assert [tuple(p.shape) for p in tied.trainable_parameters()] == [tuple(p.shape) for p in vera.trainable_parameters()]
    for mine, theirs in zip(tied.trainable_parameters(), vera.trainable_parameters(), strict=True):
        theirs.data = mine.data
    a, b = tied(ids), vera(ids)
    assert np.array_equal(a.numpy(), b.numpy()) and not np.allclose(a.numpy(), logits(base, ids), atol=1e-3)
    (a * a).sum().backward()
    (b * b).sum().backward()
    for mine, theirs in zip(tied.trainable_parameters(), vera.trainable_parameters(), strict=True):
        assert np.array_equal(mg.to_numpy(mine.grad), mg.to_numpy(theirs.grad))
    assert np.array_equal(logits(tied.merge(), ids), logits(vera.merge(), ids))


def test_a_file_holds_tied_matrices_once_and_frozen_ones_not_at_all(backend, tmp_path):
    base = make_base(n_layers=3)
    for train, expected in ((("A", "B", "u", "v"), {"tied_A": 1, "tied_B": 1, "tied_u": 6, "tied_v": 6}),
                            (("B", "v"), {"tied_B": 1, "tied_v": 6}), (("A",), {"tied_A": 1})):
        adapt(base, TiedLoRA(rank=2, train=train)).save(tmp_path)
        names = [n.rpartition(".")[2] for n in header(tmp_path / "adapter_model.safetensors")]
        assert {n: names.count(n) for n in names} == expected


@pytest.mark.parametrize("train", [("A", "B", "u", "v"), ("u", "v"), ("A", "u"), ("A",), ("u",), ("B",), ("v",), ("A", "B")])
def test_each_choice_of_tied_loras_parts_starts_at_the_base_counts_and_moves(train, backend):
    base, ids = make_base(), make_ids()
    method = TiedLoRA(rank=2, targets=("q_proj", "up_proj"), train=train)
    adapted = adapt(base, method)
    assert np.array_equal(logits(adapted, ids), logits(base, ids))
    trained = {n.rpartition("tied_")[2] for n, _ in adapted.named_trainable_parameters()}
    assert trained == set(train) and method.count(base.config) == adapted.counts()[0]
    by_part = {"A": 2 * 8 + 2 * 8, "B": 2 * 8 + 2 * 32, "u": 4 * 2, "v": 2 * 8 + 2 * 32}      # two shapes, two layers
    assert adapted.counts()[0] == sum(by_part[p] for p in train)
    loss_of(adapted, ids).backward()
    assert any(abs(mg.to_numpy(p.grad)).max() > 1e-6 for p in adapted.trainable_parameters())


def test_tied_loras_parts_are_checked():
    with pytest.raises(ValueError, match="train must be one of 'A', 'B', 'u', 'v'; got 'w'"):
        TiedLoRA(train=("A", "w"))
    with pytest.raises(ValueError, match="train must be one of"):
        TiedLoRA(train=())


# ---- (IA)³ -----------------------------------------------------------------------------------------------------------


def test_ia3_scales_keys_values_and_the_mlps_inner_features(backend):
    base = make_base("float64")
    adapted = randomize(adapt(base, IA3()))
    block, plain = adapted.model.blocks[1], base.blocks[1]
    x, h = (mg.tensor(np.random.default_rng(0).normal(size=(3, n))) for n in (8, 32))
    for name in ("k_proj", "v_proj"):
        layer = getattr(block.attn, name)
        np.testing.assert_allclose(layer(x).numpy(), layer.ia3_l.numpy()[:, 0] * getattr(plain.attn, name)(x).numpy(),
                                   rtol=1e-12)
    inner = h * mg.tensor(block.mlp.down_proj.ia3_l.numpy()[0])
    np.testing.assert_allclose(block.mlp.down_proj(h).numpy(), plain.mlp.down_proj(inner).numpy(), rtol=1e-12)
    assert block.attn.q_proj is not plain.attn.q_proj and type(block.attn.q_proj) is type(plain.attn.q_proj)


def test_ia3_merges_the_bias_and_unmerges_exactly_from_zeros(backend):
    base, ids = make_base(), make_ids()
    adapted = randomize(adapt(base, IA3())).eval()
    for p in adapted.trainable_parameters():
        p.data = p.backend.send(np.where(np.arange(p.size).reshape(p.shape) % 3 == 0, 0.0, p.numpy()).astype(p.numpy().dtype))
    before = logits(adapted, ids)
    adapted.merge()
    k, l = adapted.model.blocks[0].attn.k_proj, adapted.model.blocks[0].attn.k_proj.ia3_l.numpy()[:, 0]
    np.testing.assert_array_equal(k.linear.bias.numpy(), base.blocks[0].attn.k_proj.bias.numpy() * l)
    assert adapted.model.blocks[0].mlp.down_proj.linear.bias is not None
    np.testing.assert_array_equal(adapted.model.blocks[0].mlp.down_proj.linear.bias.numpy(),
                                  base.blocks[0].mlp.down_proj.bias.numpy())
    np.testing.assert_allclose(logits(adapted, ids), before, rtol=0, atol=1e-5)
    adapted.unmerge()
    assert k.linear.weight.data is base.blocks[0].attn.k_proj.weight.data
    assert k.linear.bias.data is base.blocks[0].attn.k_proj.bias.data
    assert np.array_equal(logits(adapted, ids), before)


def test_ia3_says_when_a_feedforward_name_is_no_target():
    with pytest.raises(ValueError, match="'down_proj' matches no linear layer"):
        adapt(make_base(), IA3(("k_proj", "v_proj")))
    assert IA3(("k_proj",), feedforward=()).count(make_base().config) == 2 * 8


def test_methods_of_this_kind_can_be_combined_and_merged(backend):
    base, ids = make_base("float64"), make_ids()
    both = peft.Combined((IA3(), LoRA(rank=2)))                             # v_proj is changed by both
    with pytest.raises(ValueError, match="two parts change the weight of blocks.0.attn.v_proj"):
        adapt(base, both).merge()
    apart = randomize(adapt(base, peft.Combined((IA3(), LoRA(rank=2, targets="q_proj"), VeRA(rank=3, targets="o_proj")))))
    before = logits(apart.eval(), ids)
    np.testing.assert_allclose(logits(apart.merge(), ids), before, rtol=0, atol=1e-12)


def test_a_combination_of_them_is_saved_and_loaded(backend, tmp_path):
    base, ids = make_base(), make_ids()
    parts = (IA3(), VeRA(rank=3, targets="o_proj"), TiedLoRA(rank=2, targets="q_proj"), peft.LayerNormTuning())
    adapted = randomize(adapt(base, peft.Combined(parts))).eval()
    adapted.save(tmp_path)
    again = peft.load(base, tmp_path).eval()
    assert again.method == adapted.method and np.array_equal(logits(again, ids), logits(adapted, ids))
