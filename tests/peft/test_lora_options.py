"""LoRA's options, each against an answer that is known: starts, patterns, embeddings, slices, and what must be refused."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, peft
from minigrad.peft import LoRA
from minigrad.peft.lora import lora_layers
from tests.peft.rows import adapt, logits, loss_of, make_base, make_ids, randomize


def assign(p, values):
    p.data = p.backend.send(np.asarray(values).astype(p.numpy().dtype))


# ---- starts ----------------------------------------------------------------------------------------------------------

def test_pissa_takes_the_largest_singular_values_out_of_the_weight(backend):
    base = make_base("float64")
    for path, m in lora_layers(adapt(base, LoRA(rank=3, alpha=5, targets="all-linear", init="pissa")).model).items():
        w0 = base.get_parameter(path + ".weight").numpy()
        residual, A, B = (mg.to_numpy(a) for a in (m.residual_weight(), m.lora_A.weight.data, m.lora_B.weight.data))
        np.testing.assert_allclose(residual + m.scale * B @ A, w0, rtol=0, atol=1e-12)
        values = np.linalg.svd(w0, compute_uv=False)
        np.testing.assert_allclose(np.linalg.svd(residual, compute_uv=False), [*values[3:], 0, 0, 0], atol=1e-12)
        np.testing.assert_allclose(A @ A.T, B.T @ B, atol=1e-12)            # each gets the root of the singular values
        assert m.linear.weight.data is base.get_parameter(path + ".weight").data    # W₀ itself, not a changed copy


def test_olora_takes_the_first_columns_of_q_out_of_the_weight(backend):
    base = make_base("float64")
    layer = adapt(base, LoRA(rank=3, alpha=5, init="olora", targets="up_proj")).model.blocks[0].mlp.up_proj
    A, B = layer.lora_A.weight.numpy(), layer.lora_B.weight.numpy()
    np.testing.assert_allclose(B.T @ B, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(B @ A, B @ B.T @ base.blocks[0].mlp.up_proj.weight.numpy(), atol=1e-12)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_a_split_start_trains_the_way_a_residual_weight_would(init, backend):
    """y = W_res·x + s·BA·x with W_res in the base's place gives the same outputs and gradients."""
    base, ids = make_base("float64"), make_ids()
    split = randomize(adapt(base, LoRA(rank=2, init=init)))
    other = make_base("float64")
    for path, m in lora_layers(split.model).items():
        assign(other.get_parameter(path + ".weight"), mg.to_numpy(m.residual_weight()))
    plain = adapt(other, LoRA(rank=2))
    for name, p in plain.own_parameters().items():
        assign(p, split.own_parameters()[name].numpy())
    for adapted in (split, plain):
        loss_of(adapted, ids).backward()
    np.testing.assert_allclose(logits(split, ids), logits(plain, ids), rtol=0, atol=1e-10)
    for name, p in plain.own_parameters().items():
        np.testing.assert_allclose(mg.to_numpy(split.own_parameters()[name].grad), mg.to_numpy(p.grad), atol=1e-10)


def test_a_split_start_is_the_base_bit_by_bit_and_saves_nothing_more(backend):
    base, ids = make_base(), make_ids()
    split, plain = adapt(base, LoRA(rank=2, init="pissa")), adapt(base, LoRA(rank=2))
    assert np.array_equal(logits(split, ids), logits(base, ids))
    assert mg.graph_stats(loss_of(split, ids)).saved_bytes == mg.graph_stats(loss_of(plain, ids)).saved_bytes
    assert split.counts() == plain.counts()


def test_a_is_drawn_for_its_input_not_for_its_rank(backend):
    """D10: drawn as (in, r), PyTorch's Kaiming bound would be 1/√r: sixteen times as wide for 256 inputs and rank 1."""
    model = nn.Sequential(nn.Linear(256, 4))
    A = adapt(model, LoRA(rank=1, targets="0")).model.get_submodule("0").lora_A.weight.numpy()
    assert 0.9 / 16 < abs(A).max() <= 1 / 16
    gaussian = adapt(model, LoRA(rank=4, targets="0", init="gaussian")).model.get_submodule("0").lora_A.weight.numpy()
    assert gaussian.std() == pytest.approx(1 / 4, rel=0.1)


def test_eval_and_train_do_not_merge(backend):
    """D9: loralib folds the branch into the weight in eval() and subtracts it in train(), which drifts."""
    base = make_base()
    adapted = randomize(adapt(base, LoRA(rank=2)))
    arrays = {n: p.data for n, p in adapted.named_parameters()}
    for _ in range(3):
        adapted.eval()
        assert not adapted.merged
        adapted.train()
    assert all(p.data is arrays[n] for n, p in adapted.named_parameters())
    assert adapted.model.blocks[0].attn.q_proj.linear.weight.data is base.blocks[0].attn.q_proj.weight.data


# ---- scalings --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("scaling", "slope"), [("alpha/r", -1.0), ("alpha/sqrt(r)", 0.0)])
def test_the_first_step_shrinks_with_the_rank_unless_it_is_stabilized(scaling, slope, backend):
    """rsLoRA: after one step of SGD, ‖s·BAx‖ is s²‖∇‖‖AAᵀ‖…: like 1/r with s = α/r, and even with s = α/√r."""
    rng, sizes, ranks = np.random.default_rng(0), [], [4, 16, 64]
    x, g = mg.tensor(rng.normal(size=(5, 256))), mg.tensor(rng.normal(size=(5, 256)))
    for rank in ranks:
        layer = adapt(nn.Sequential(nn.Linear(256, 256)).to(dtype="float64"),
                      LoRA(rank=rank, alpha=1, targets="0", scaling=scaling)).model.get_submodule("0")
        (layer(x) * g).sum().backward()
        B = layer.lora_B.weight
        assign(B, -mg.to_numpy(B.grad))
        sizes.append(np.linalg.norm(layer.branch(x, x).numpy()))
    found = np.polyfit(np.log(ranks), np.log(sizes), 1)[0]
    assert found == pytest.approx(slope, abs=0.1)


# ---- patterns --------------------------------------------------------------------------------------------------------

def test_patterns_give_targets_their_own_rank_and_alpha(backend, capsys):
    method = LoRA(rank=2, alpha=4, targets=("q_proj", "v_proj", "up_proj"), rank_pattern={"blocks.0.*": 3, "up_proj": 5},
                  alpha_pattern={"re:.*\\.v_proj": 12}, scaling="alpha/r")
    adapted = adapt(make_base(), method)
    found = {path: (m.lora_A.weight.shape[0], m.scale) for path, m in lora_layers(adapted.model).items()}
    assert found == {"blocks.0.attn.q_proj": (3, 4 / 3), "blocks.0.attn.v_proj": (3, 4.0), "blocks.0.mlp.up_proj": (3, 4 / 3),
                     "blocks.1.attn.q_proj": (2, 2.0), "blocks.1.attn.v_proj": (2, 6.0), "blocks.1.mlp.up_proj": (5, 4 / 5)}
    adapted.summary()
    assert "rank_pattern={'blocks.0.*': 3, 'up_proj': 5}" in capsys.readouterr().out


def test_layers_and_regular_expressions_choose_targets(backend):
    def where(**options):
        return list(lora_layers(adapt(make_base(n_layers=3), LoRA(rank=2, **options)).model))

    assert where(layers=[0, 2], targets="q_proj") == ["blocks.0.attn.q_proj", "blocks.2.attn.q_proj"]
    assert where(layers=(1,), targets=("q_proj", "head")) == ["blocks.1.attn.q_proj"]
    assert where(targets=r"re:blocks\.1\.attn\.(k|o)_proj") == ["blocks.1.attn.k_proj", "blocks.1.attn.o_proj"]
    assert "token_embedding" not in where(targets="all-linear") and "head" not in where(targets="all-linear")
    assert where(targets="*_embedding") == ["token_embedding", "position_embedding"]


@pytest.mark.parametrize(("options", "words"), [
    (dict(layers=(0, 7)), "layers=\\[0, 7\\]: no target lies in block 7; the targets are in blocks \\[0, 1\\]"),
    (dict(targets="head", layers=(0,)), "no target lies in block 0"),
    (dict(targets="re:q_proj"), "'re:q_proj' matches no linear layer"),
    (dict(targets="re:(q_proj"), "must stand a regular expression"),
    (dict(rank_pattern={"up_proj": 2}), "rank_pattern names 'up_proj', which is none of the targets: blocks.0.attn.q_proj"),
    (dict(alpha_pattern={"k_proj": 2}), "alpha_pattern names 'k_proj'"),
    (dict(rank_pattern={"q_proj": 9}), "rank 9 is too large for blocks.0.attn.q_proj"),
    (dict(targets="head", lora_bias=True), "lora_bias needs layers with a bias to merge into, and head has none"),
    (dict(slices=(True, False, True)), "8 outputs, which cannot be cut into 3 equal slices"),
    (dict(rank=5, slices=(True, True)), "rank 5 is too large for blocks.0.attn.q_proj, whose weight is 4 × 8 in each slice"),
])
def test_what_does_not_fit_the_model(options, words, backend):
    method = LoRA(**{"rank": 2, **options})
    for call in (lambda: adapt(make_base(), method), lambda: method.count(make_base().config)):
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.parametrize(("options", "words"), [
    (dict(rank_pattern={"q_proj": 0}), "the rank of 'q_proj' must be a whole number"),
    (dict(layers=3), "layers must be a tuple \\(each entry a whole number\\) or None; got 3"),
    (dict(layers=("0",)), "got \\('0',\\)"), (dict(alpha=0), "alpha must be above 0; got 0"),
    (dict(init="olora", alpha_pattern={"q_proj": -1}), "the alpha of 'q_proj' must be above 0; got -1"),
    (dict(slices=(False, False)), "at least one True"),
    (dict(slices=(True, False), init="pissa"), "split a whole weight"),
    (dict(slices=(True, False), lora_bias=True), "do not go together"),
])
def test_options_that_make_no_sense(options, words):
    with pytest.raises(ValueError, match=words):
        LoRA(**options)


# ---- embeddings ------------------------------------------------------------------------------------------------------

def test_an_embedding_learns_a_change_of_low_rank(backend):
    base, ids = make_base("float64"), make_ids()
    adapted = adapt(base, LoRA(rank=2, alpha=6, targets=("token_embedding", "position_embedding")))
    assert {n.rpartition(".")[2]: p.shape for n, p in adapted.own_parameters().items() if "token" in n} == {
        "lora_embedding_A": (2, 11), "lora_embedding_B": (8, 2)}
    loss_of(adapted, ids).backward()
    for name, p in adapted.own_parameters().items():    # A starts at zero, so B has no gradient yet
        assert (mg.to_numpy(p.grad) == 0).all() == name.endswith("_B"), name
    randomize(adapted)
    other = make_base("float64")
    for table in ("token_embedding", "position_embedding"):
        A, B = (p.numpy() for p in adapted.model.get_submodule(table).factor_parameters())
        p = other.get_parameter(f"{table}.weight")
        assign(p, p.numpy() + 3.0 * (B @ A).T)
    np.testing.assert_allclose(logits(adapted, ids), logits(other, ids), rtol=0, atol=1e-12)


# ---- fused projections -----------------------------------------------------------------------------------------------

class FusedAttention(nn.Module):
    """q, k and v from one (3d, d) layer, then attention with one head."""

    def __init__(self, apart):
        super().__init__()
        d = apart.q_proj.weight.shape[1]
        self.qkv = nn.Linear(d, 3 * d).to(dtype="float64")
        for kind in ("weight", "bias"):
            assign(getattr(self.qkv, kind), np.concatenate([getattr(apart.get_submodule(n), kind).numpy()
                                                            for n in ("q_proj", "k_proj", "v_proj")]))

    def forward(self, x):
        q, k, v = self.qkv(x).split(x.shape[2], dim=2)
        return nn.functional.scaled_dot_product_attention(q, k, v)


class Attention(nn.Module):
    """The same with three layers."""

    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(6, 6).to(dtype="float64") for _ in range(3))

    def forward(self, x):
        return nn.functional.scaled_dot_product_attention(self.q_proj(x), self.k_proj(x), self.v_proj(x))


def test_a_pair_per_slice_is_lora_on_projections_that_are_apart(backend):
    mg.manual_seed(0)
    apart = Attention()
    fused = FusedAttention(apart)
    ours = randomize(adapt(apart, LoRA(rank=2, alpha=3, targets=("q_proj", "v_proj"))))
    sliced = adapt(fused, LoRA(rank=2, alpha=3, targets="qkv", slices=(True, False, True)))
    assert sliced.counts()[0] == ours.counts()[0] == 2 * 2 * (6 + 6)
    for kind in ("lora_A", "lora_B"):
        pair = [ours.model.get_submodule(n).get_parameter(f"{kind}.weight").numpy() for n in ("q_proj", "v_proj")]
        assign(sliced.model.qkv.get_parameter(f"{kind}.weight"), np.concatenate(pair))
    x = mg.randn(2, 5, 6, dtype="float64")
    np.testing.assert_allclose(sliced(x).numpy(), ours(x).numpy(), rtol=0, atol=1e-12)
    delta = mg.to_numpy(sliced.model.qkv.delta_weight())
    assert (delta[6:12] == 0).all()
    np.testing.assert_allclose(delta[12:], mg.to_numpy(ours.model.v_proj.delta_weight()), atol=1e-12)
    merged = sliced.merge_and_unload()
    np.testing.assert_allclose(merged(x).numpy(), ours(x).numpy(), rtol=0, atol=1e-12)


def test_one_pair_across_has_the_same_count_and_another_function(backend):
    fused = FusedAttention(Attention())
    across = adapt(fused, LoRA(rank=2, targets="qkv"))
    assert across.counts()[0] == 2 * (6 + 18) == adapt(fused, LoRA(2, targets="qkv", slices=(True, False, True))).counts()[0]
    assert across.model.qkv.lora_A.weight.shape == (2, 6) and across.model.qkv.lora_B.weight.shape == (18, 2)


# ---- mixtures --------------------------------------------------------------------------------------------------------

def test_every_kind_of_low_rank_change_can_be_mixed_exactly(backend):
    base, ids = make_base("float64"), make_ids()
    kinds = {"a": LoRA(rank=2, init="pissa", targets=("v_proj",)), "b": LoRA(rank=1, targets=("token_embedding", "v_proj")),
             "c": LoRA(rank=1, targets=("up_proj", "v_proj"), slices=(True, False), scaling="alpha")}
    adapted = randomize(adapt(base, kinds["a"], name="a"))
    for seed, name in enumerate("bc"):
        randomize(adapted.add(name, kinds[name], rng=np.random.default_rng(seed)), seed=seed)
    weights, other = {"a": 0.5, "b": -1.0, "c": 2.0}, make_base("float64")
    for name, weight in weights.items():
        adapted.set_active(name)
        for path, m in lora_layers(adapted.model).items():
            p = other.get_parameter(path + ".weight")
            assign(p, p.numpy() + weight * mg.to_numpy(m.delta_weight()))
    peft.mix(adapted, "all", weights)
    assert adapted.method.rank == 2 * 2 + 1 + 1
    np.testing.assert_allclose(logits(adapted, ids), logits(other, ids), rtol=0, atol=1e-10)
