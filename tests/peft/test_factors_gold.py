"""What is particular to MultiLoRA, GLoRA, LN-LoRA and FacT."""
import itertools

import numpy as np
import pytest

import minigrad as mg
from minigrad import peft
from minigrad.nn import Parameter
from minigrad.peft import FacT, GLoRA, LNLoRA, LoRA, MultiLoRA
from tests.peft.rows import adapt, logits, loss_of, make_base, make_ids, randomize, train


def gradients(adapted, ids):
    adapted.zero_grad()
    loss_of(adapted, ids).backward()
    return {n: mg.to_numpy(p.grad) for n, p in adapted.named_trainable_parameters()}


def inputs(n, rows=3):
    return np.random.default_rng(0).normal(size=(rows, n))


# ---- MultiLoRA -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["scalar", "vector"])
def test_in_multiloras_first_step_only_the_scales_move(scaling, backend):
    adapted, ids = adapt(make_base(), MultiLoRA(branches=2, rank=2, scaling=scaling)), make_ids()
    for name, g in gradients(adapted, ids).items():
        assert (abs(g).max() > 1e-6) == name.endswith(".c"), name
    train(adapted, 1, 1e-2, ids)
    assert all(abs(g).max() > 1e-9 for g in gradients(adapted, ids).values())


@pytest.mark.parametrize("scaling", ["scalar", "vector"])
def test_multilora_is_its_formula_and_its_branches_add_rank(scaling, backend):
    base = make_base("float64")
    adapted = randomize(adapt(base, MultiLoRA(branches=3, rank=2, targets="up_proj", scaling=scaling)))
    layer, plain = adapted.model.blocks[0].mlp.up_proj, base.blocks[0].mlp.up_proj
    x, change = inputs(8), 0.0
    for branch in layer.branches:
        change = change + branch.c.numpy() * (x @ branch.A.numpy().T @ branch.B.numpy().T)
    np.testing.assert_allclose(layer(mg.tensor(x)).numpy(), plain(mg.tensor(x)).numpy() + change, rtol=1e-10)
    assert np.linalg.matrix_rank(mg.to_numpy(layer.delta_weight())) == 6


# ---- GLoRA -----------------------------------------------------------------------------------------------------------

KINDS = ("lora", "vector", "constant", "none")


@pytest.mark.parametrize("A", KINDS)
@pytest.mark.parametrize("B", KINDS)
def test_all_of_gloras_layers_run_start_at_the_base_and_merge(A, B):
    base, ids = make_base("float64", n_layers=1), make_ids()
    start, plain = logits(base, ids), base.blocks[0].attn.v_proj
    W, b = plain.weight.numpy(), plain.bias.numpy()
    for C, D, E in itertools.product(("lora", "vector", "none"), KINDS[1:], KINDS[1:]):
        method = GLoRA(rank=2, targets="v_proj", A=A, B=B, C=C, D=D, E=E)
        if {A, B, C, D, E} == {"none"}:
            with pytest.raises(ValueError, match="trains no parameter"):
                adapt(base, method)
            continue
        adapted = adapt(base, method)
        assert np.array_equal(logits(adapted, ids), start), method
        assert adapted.counts()[0] == method.count(base.config)
        before = logits(randomize(adapted).eval(), ids)
        assert not np.allclose(before, start, atol=1e-6), method
        layer = adapted.model.blocks[0].attn.v_proj
        value = {n: 0.0 if getattr(layer, f"glora_{n}") is None else getattr(layer, f"glora_{n}")().numpy() for n in "ABCDE"}
        adapted.merge()
        np.testing.assert_allclose(layer.linear.weight.numpy(), W + W * value["A"] + value["B"], rtol=1e-12)
        shift = W @ value["C"] if C != "none" else np.zeros((8, 1))
        np.testing.assert_allclose(layer.linear.bias.numpy(), b + b * value["D"] + value["E"] + shift[:, 0], rtol=1e-12)
        np.testing.assert_allclose(logits(adapted, ids), before, rtol=0, atol=1e-10)


def test_two_glora_adapters_merge_from_the_same_original_weight(backend):
    base, ids = make_base(), make_ids()
    adapted = randomize(adapt(base, GLoRA(rank=2), name="a"), seed=1)
    randomize(adapted.add("b", GLoRA(rank=2)), seed=2)
    adapted.eval().set_active("a")
    a = logits(adapted.merge(), ids)
    adapted.set_active("b")
    b = logits(adapted.merge(), ids)
    adapted.unmerge().set_active("a")
    adapted.unmerge()
    for name, merged in (("a", a), ("b", b)):
        adapted.set_active(name)
        np.testing.assert_allclose(logits(adapted, ids), merged, rtol=0, atol=1e-5)
        assert adapted.model.blocks[0].attn.q_proj.linear.weight.data is base.blocks[0].attn.q_proj.weight.data


def test_glora_without_a_bias_leaves_c_d_and_e_out(backend):
    base = make_base()
    adapted = adapt(base, GLoRA(rank=2, targets="head", A="vector", B="none"))
    assert [n.rpartition("glora_")[2] for n in adapted.own_parameters()] == ["A.X"]
    assert GLoRA(rank=2, targets="head", A="vector", B="none").count(base.config) == 11


# ---- LN-LoRA ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pos", ["pre", "mid"])
def test_ln_lora_is_its_formula_and_without_the_norm_it_is_lora(pos, backend, monkeypatch):
    base, ids = make_base("float64"), make_ids()
    adapted = randomize(adapt(base, LNLoRA(rank=2, alpha=6, targets="up_proj", pos=pos)))
    layer, plain = adapted.model.blocks[1].mlp.up_proj, base.blocks[1].mlp.up_proj
    A, B = layer.lora_A.numpy(), layer.lora_B.numpy()

    def norm(z):
        centered = z - z.mean(axis=-1, keepdims=True)
        return layer.gamma.numpy() * centered / np.sqrt((centered ** 2).mean(axis=-1, keepdims=True) + 1e-5) + layer.beta.numpy()

    x = inputs(8)
    inner = norm(x) @ A.T if pos == "pre" else norm(x @ A.T)
    np.testing.assert_allclose(layer(mg.tensor(x)).numpy(), plain(mg.tensor(x)).numpy() + 3 * inner @ B.T, rtol=1e-10)

    lora = adapt(base, LoRA(rank=2, alpha=6, targets="up_proj"))
    for i in range(2):
        mine, theirs = adapted.model.blocks[i].mlp.up_proj, lora.model.blocks[i].mlp.up_proj
        theirs.lora_A.weight.data, theirs.lora_B.weight.data = mine.lora_A.data, mine.lora_B.data
        monkeypatch.setattr(mine, "norm", lambda z: z)
    np.testing.assert_allclose(logits(adapted, ids), logits(lora, ids), rtol=0, atol=1e-12)


def test_ln_lora_refuses_to_normalize_one_number():
    with pytest.raises(ValueError, match="single number"):
        LNLoRA(rank=1, pos="mid")


# ---- FacT ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["tt", "tk"])
@pytest.mark.parametrize("d_ff", [32, 12])
def test_facts_change_is_made_of_slices_that_share_u_and_v(form, d_ff, backend):
    base = make_base("float64", d_ff=d_ff)
    adapted = randomize(adapt(base, FacT(rank=3, form=form, scale=2.0)))
    layers = [m for m in adapted.modules() if hasattr(m, "fact_U")]
    assert len(layers) == 12 and len({id(m.fact_U) for m in layers}) == len({id(m.fact_V) for m in layers}) == 1
    U, V = layers[0].fact_U.numpy(), layers[0].fact_V.numpy()               # (3, 8), (8, 3)
    for path in ("attn.o_proj", "mlp.up_proj", "mlp.down_proj"):
        layer, plain = adapted.model.blocks[1].get_submodule(path), base.blocks[1].get_submodule(path)
        rows, columns = plain.weight.shape
        m, n = -(-rows // 8), -(-columns // 8)
        S = layer.fact_S.numpy()
        change = np.zeros((8 * m, 8 * n))
        for i in range(m):
            for j in range(n):
                if form == "tt":
                    core = S[3 * i:3 * i + 3, 3 * j:3 * j + 3]
                else:
                    C = layer.fact_C.numpy().reshape(3, 3, 3)
                    core = sum(S[i * n + j, k] * C[k] for k in range(3))
                change[8 * i:8 * i + 8, 8 * j:8 * j + 8] = 2.0 * V @ core @ U
        np.testing.assert_allclose(mg.to_numpy(layer.delta_weight()), change[:rows, :columns], rtol=1e-10, atol=1e-13)
        x = inputs(columns)
        np.testing.assert_allclose(layer(mg.tensor(x)).numpy(),
                                   plain(mg.tensor(x)).numpy() + x @ change[:rows, :columns].T, rtol=1e-9, atol=1e-12)


def test_tucker_with_diagonal_matrices_is_a_tensor_train_with_diagonal_cores(backend):
    base, ids, r = make_base("float64"), make_ids(), 3
    tk, tt = randomize(adapt(base, FacT(rank=r, form="tk"))), adapt(base, FacT(rank=r))
    pairs = zip(tk.method.layers(tk.model), tt.method.layers(tt.model), strict=True)
    for mine, theirs in pairs:
        (m, n), P = mine.pieces, mine.fact_S.numpy()
        mine.fact_C.data = mine.fact_C.backend.send(np.eye(r * r)[::r + 1].copy())          # C_k has a 1 at (k, k)
        core = np.zeros((m * r, n * r))
        for i, j in itertools.product(range(m), range(n)):
            core[r * i:r * i + r, r * j:r * j + r] = np.diag(P[i * n + j])
        theirs.fact_U.data, theirs.fact_V.data, theirs.fact_S.data = mine.fact_U.data, mine.fact_V.data, mine.fact_S.backend.send(core)
    np.testing.assert_allclose(logits(tk, ids), logits(tt, ids), rtol=0, atol=1e-12)
    assert not np.allclose(logits(tk, ids), logits(base, ids), atol=1e-3)


def test_the_gradient_of_facts_factors_is_the_sum_over_all_layers(backend):
    shared, apart = (randomize(adapt(make_base("float64"), FacT(rank=2, form="tk"))) for _ in range(2))
    layers = apart.method.layers(apart.model)
    for m in layers:
        m.fact_U, m.fact_V, m.fact_C = (Parameter(p.data.copy()) for p in (m.fact_U, m.fact_V, m.fact_C))
    ids = make_ids()
    for adapted in (shared, apart):
        loss_of(adapted, ids).backward()
    first = shared.method.layers(shared.model)[0]
    for name in ("fact_U", "fact_V", "fact_C"):
        parts = [mg.to_numpy(getattr(m, name).grad) for m in layers]
        np.testing.assert_allclose(mg.to_numpy(getattr(first, name).grad), sum(parts), rtol=1e-9, atol=1e-13)


def test_fact_counts_what_the_paper_counts():
    vit = mg.models.GPTConfig(vocab_size=10, d_model=768, n_layers=12, n_heads=12)          # its blocks are ViT-B's
    for r in (4, 16):
        assert FacT(rank=r).count(vit) == 2 * 768 * r + 12 * 12 * r * r
        assert FacT(rank=r, form="tk").count(vit) == 2 * 768 * r + 12 * 12 * r + r ** 3


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="rank 9 is too large for slices of 8 × 8"):
        adapt(make_base(), FacT(rank=9))
    for method in (MultiLoRA(rank=9), LNLoRA(rank=9)):
        with pytest.raises(ValueError, match="rank 9 is too large for blocks.0.attn.q_proj"):
            adapt(make_base(), method)
        with pytest.raises(ValueError, match="rank 9 is too large"):
            method.count(make_base().config)
    with pytest.raises(ValueError, match="D must be one of 'vector', 'constant', 'none'; got 'lora'"):
        GLoRA(D="lora")
    with pytest.raises(ValueError, match="dropout must lie"):
        peft.create("multilora", dropout=1.0)
