"""LoRA+, LoRA-FA, DoRA and PiSSA against what is known about each."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, peft
from minigrad.peft import DoRA, LoRA, LoRAFA, LoRAPlus, PiSSA
from minigrad.peft.lora import lora_layers
from tests.peft.rows import adapt, hold_norms, logits, loss_of, make_base, make_ids, randomize, train


def assign(p, values):
    p.data = p.backend.send(np.asarray(values).astype(p.numpy().dtype))


def one_layer(method, out=5, width=7, bias=True):
    """A float64 linear layer under `method`, its adapter moved away from the start."""
    mg.manual_seed(0)
    model = nn.Sequential(nn.Linear(width, out, bias=bias).to(dtype="float64"))
    return randomize(adapt(model, method)).model.get_submodule("0")


# ---- LoRA+ -----------------------------------------------------------------------------------------------------------

def test_at_ratio_one_lora_plus_is_adamw_bit_by_bit(backend):
    ids, trained = make_ids(), []
    for method in (LoRA(rank=2), LoRAPlus(rank=2, ratio=1.0)):
        adapted = adapt(make_base(), method)
        optimizer = mg.optim.AdamW(adapted.param_groups(1e-2), lr=1e-2, weight_decay=0.1)
        for _ in range(4):
            adapted.zero_grad()
            loss_of(adapted, ids).backward()
            optimizer.step()
        trained.append(adapted.state())
    assert all(np.array_equal(trained[0][n], a) for n, a in trained[1].items())


def test_b_moves_ratio_times_as_far_as_with_lora(backend):
    ids, moves = make_ids(), []
    for method in (LoRA(rank=2), LoRAPlus(rank=2, ratio=8.0)):
        adapted = adapt(make_base("float64"), method)
        before = adapted.state()
        train(adapted, 1, 1e-3, ids)
        moves.append({n: a - before[n] for n, a in adapted.state().items()})
    for name, move in moves[0].items():
        np.testing.assert_allclose(moves[1][name], (8.0 if "lora_B" in name else 1.0) * move, rtol=1e-9, err_msg=name)


def test_four_groups_and_no_decay_for_vectors(backend):
    method = LoRAPlus(rank=2, targets=("token_embedding", "q_proj"), bias="lora_only", ratio=4.0)
    groups = {g["name"]: g for g in adapt(make_base(), method).param_groups(1e-2)}
    assert {n: (g["lr"], len(g["params"]), g.get("weight_decay")) for n, g in groups.items()} == {
        "A": (1e-2, 2, None), "embedding": (1e-6, 2, None), "B": (4e-2, 2, None), "vectors": (4e-2, 2, 0.0)}
    plain = adapt(make_base(), LoRAPlus(rank=2, targets="token_embedding", ratio=4.0, embedding_lr=None)).param_groups(1e-2)
    assert [(g["name"], g["lr"], g["params"][0][0].rpartition("_")[2]) for g in plain] == [("A", 1e-2, "A"), ("B", 4e-2, "B")]


# ---- LoRA-FA ---------------------------------------------------------------------------------------------------------

def test_lora_fa_keeps_r_numbers_per_token(backend):
    tokens, width, out, rank = 24, 40, 56, 3
    kept = {}
    for method in (LoRA(rank=rank, targets="0"), LoRAFA(rank=rank, targets="0")):
        layer = adapt(nn.Sequential(nn.Linear(width, out)), method).model.get_submodule("0")
        x = mg.randn(tokens, width, requires_grad=True)     # something below is trained too: x wants a gradient
        kept[method.name] = mg.graph_stats(layer(x * 1.0)).saved_bytes
    assert kept == {"lora": 4 * tokens * (width + rank), "lora_fa": 4 * tokens * rank}


def test_in_a_model_lora_fa_keeps_no_input_of_its_targets(backend):
    base, ids = make_base(), make_ids()
    lora, fa = (mg.graph_stats(loss_of(adapt(base, m(rank=2)), ids)).saved_bytes for m in (LoRA, LoRAFA))
    tokens = ids[:, :-1].size                       # q and v of a block share one input; the first block's norm is frozen
    assert lora - fa == 2 * 4 * tokens * 8


def test_lora_fa_gives_b_the_gradient_of_lora_and_never_moves_a(backend):
    base, ids = make_base("float64"), make_ids()
    lora, fa = adapt(base, LoRA(rank=2)), adapt(base, LoRAFA(rank=2))
    for adapted in (lora, fa):
        loss_of(adapted, ids).backward()
    of_lora = dict(lora.named_trainable_parameters())
    assert {n for n in of_lora if "lora_B" in n} == {n for n, _ in fa.named_trainable_parameters()}
    for name, p in fa.named_trainable_parameters():
        np.testing.assert_allclose(mg.to_numpy(p.grad), mg.to_numpy(of_lora[name].grad), rtol=0, atol=1e-14)
    before = fa.state()
    fa.set_trainable(False)
    fa.set_trainable(True)
    train(fa, 3, 1e-2, ids)
    moved = {n for n, a in fa.state().items() if not np.array_equal(a, before[n])}
    assert moved == {n for n in before if "lora_B" in n} and len(before) == 2 * len(moved)


def test_a_file_of_lora_fa_is_one_of_lora(backend, tmp_path):
    base, ids = make_base(), make_ids()
    fa = randomize(adapt(base, LoRAFA(rank=2))).eval()
    lora = adapt(base, LoRA(rank=2)).eval()
    lora.load_state(fa.state())
    assert np.array_equal(logits(lora, ids), logits(fa, ids))


@pytest.mark.parametrize("precondition", [True, False])
def test_preconditioned_the_first_step_does_not_depend_on_the_basis(precondition, backend):
    """A → RA: the rows' span is the same, so is the change of W after one step of SGD; without it, it is not."""
    rng, changes = np.random.default_rng(0), []
    x, g, R = rng.normal(size=(6, 7)), rng.normal(size=(6, 5)), rng.normal(size=(3, 3))
    for basis in (np.eye(3), R):
        layer = one_layer(LoRAFA(rank=3, alpha=4, targets="0", precondition=precondition))
        assign(layer.lora_A.weight, basis @ layer.lora_A.weight.numpy())
        assign(layer.lora_B.weight, np.zeros((5, 3)))
        (layer(mg.tensor(x)) * mg.tensor(g)).sum().backward()
        assign(layer.lora_B.weight, -mg.to_numpy(layer.lora_B.weight.grad))
        changes.append(mg.to_numpy(layer.delta_weight()))
    assert np.allclose(*changes, rtol=1e-5, atol=1e-6) == precondition
    if precondition:                                # and that change is ∇W projected on A's rows, divided by s
        A, scale = layer.lora_A.weight.numpy(), layer.scale
        projected = -(g.T @ x) @ A.T @ np.linalg.inv(A @ A.T) @ A
        np.testing.assert_allclose(changes[0], projected, rtol=1e-5, atol=1e-6)
        assert scale == 4 / 3 and [n for n, _ in layer.named_parameters() if "base" not in n] == ["lora_B.weight"]


# ---- DoRA ------------------------------------------------------------------------------------------------------------

def test_dora_is_its_formula_and_its_bias_is_left_alone(backend):
    """D7: torchtune rescales the output of the frozen layer with the bias in it; the bias is no part of a row."""
    layer = one_layer(DoRA(rank=2, targets="0"))
    w0, b, m = layer.linear.weight.numpy(), layer.linear.bias.numpy(), layer.lora_magnitude_vector.numpy()
    v = w0 + layer.scale * layer.lora_B.weight.numpy() @ layer.lora_A.weight.numpy()
    rows = m[:, None] * v / np.linalg.norm(v, axis=1, keepdims=True)
    x = np.random.default_rng(1).normal(size=(4, 7))
    np.testing.assert_allclose(layer(mg.tensor(x)).numpy(), x @ rows.T + b, rtol=0, atol=1e-12)
    gain = m / np.linalg.norm(v, axis=1)
    torchtunes = gain * (x @ w0.T + b) + gain * (x @ (v - w0).T)
    assert not np.allclose(layer(mg.tensor(x)).numpy(), torchtunes, atol=1e-2)
    at_zero = layer(mg.zeros(1, 7, dtype="float64")).numpy()
    np.testing.assert_allclose(at_zero, b[None], atol=1e-15)


def test_merged_rows_have_the_trained_lengths(backend):
    base, ids = make_base("float64"), make_ids()
    adapted = adapt(base, DoRA(rank=2, targets="all-linear"))
    for path, m in lora_layers(adapted.model).items():
        np.testing.assert_allclose(m.lora_magnitude_vector.numpy(),
                                   np.linalg.norm(base.get_parameter(path + ".weight").numpy(), axis=1), rtol=1e-14)
    train(adapted, 3, 1e-2, ids)
    plain = adapted.merge_and_unload()
    for path, m in lora_layers(adapted.model).items():
        length = np.linalg.norm(plain.get_parameter(path + ".weight").numpy(), axis=1)
        np.testing.assert_allclose(length, m.lora_magnitude_vector.numpy(), rtol=1e-12)
        assert not np.allclose(length, np.linalg.norm(base.get_parameter(path + ".weight").numpy(), axis=1), rtol=1e-4)


def test_doras_gradient_takes_the_norm_for_a_constant(backend):
    """Finite differences of the function with the norm held give it; those of the function itself do not, for A and B."""
    def slope(layer, x, g, p, direction):
        here, sides = p.data, []
        for sign in (1, -1):
            assign(p, mg.to_numpy(here) + sign * 1e-6 * direction)
            with mg.no_grad():
                sides.append((layer(x) * g).sum().item())
        p.data = here
        return (sides[0] - sides[1]) / 2e-6

    layer, rng = one_layer(DoRA(rank=2, targets="0")), np.random.default_rng(2)
    holder = type("Holder", (), {"model": nn.Sequential(layer)})
    x, g = mg.tensor(rng.normal(size=(4, 7))), mg.tensor(rng.normal(size=(4, 5)))
    (layer(x) * g).sum().backward()
    parameters = {"A": layer.lora_A.weight, "B": layer.lora_B.weight, "m": layer.lora_magnitude_vector}
    directions = {n: rng.normal(size=p.shape) for n, p in parameters.items()}
    full = {n: slope(layer, x, g, p, directions[n]) for n, p in parameters.items()}
    hold_norms(holder)
    for n, p in parameters.items():
        expected = float((mg.to_numpy(p.grad) * directions[n]).sum())
        assert slope(layer, x, g, p, directions[n]) == pytest.approx(expected, rel=1e-6)
        assert (full[n] == pytest.approx(expected, rel=1e-3)) == (n == "m")


def test_dora_survives_a_row_of_zeros(backend):
    mg.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3))
    model.get_parameter("0.weight").data[1] = 0.0
    adapted = adapt(model, DoRA(rank=1, targets="0"))
    x = mg.randn(2, 4)
    assert np.array_equal(adapted(x).numpy(), model(x).numpy())
    (adapted(x) * adapted(x)).sum().backward()
    assert all(np.isfinite(mg.to_numpy(p.grad)).all() for p in adapted.trainable_parameters())


# ---- PiSSA -----------------------------------------------------------------------------------------------------------

def test_pissa_moves_both_matrices_from_the_first_step(backend):
    adapted = adapt(make_base(), PiSSA(rank=2))
    loss_of(adapted, make_ids()).backward()
    assert all((mg.to_numpy(p.grad) != 0).any() for p in adapted.trainable_parameters())


@pytest.mark.parametrize(("method", "alpha"), [
    (PiSSA(rank=2, alpha=5), 10), (PiSSA(rank=2, alpha=5, init="olora", scaling="alpha/sqrt(r)"), 5 * np.sqrt(2)),
    (LoRA(rank=2, alpha=5, init="pissa", scaling="alpha"), 5)], ids=str)
def test_pissa_becomes_a_plain_lora_of_twice_the_rank_for_the_original_base(method, alpha, backend, tmp_path):
    base, ids = make_base("float64"), make_ids()
    adapted = adapt(base, method)
    train(adapted, 3, 1e-2, ids)
    expected = logits(adapted, ids)
    peft.to_lora(adapted)
    assert adapted.names == ["default", "lora"] and adapted.method.rank == 4
    assert adapted.method.alpha == pytest.approx(alpha) and adapted.method.scale == pytest.approx(method.scale)
    assert type(adapted.method) is LoRA and adapted.method.init == "kaiming"
    np.testing.assert_allclose(logits(adapted, ids), expected, rtol=0, atol=1e-12)
    adapted.save(tmp_path)
    np.testing.assert_allclose(logits(peft.load(make_base("float64"), tmp_path), ids), expected, rtol=0, atol=1e-12)


def test_slices_and_ranks_of_their_own_become_a_plain_lora(backend):
    base, ids = make_base("float64"), make_ids()
    adapted = randomize(adapt(base, LoRA(rank=2, alpha=3, targets=("up_proj", "v_proj"), slices=(True, True),
                                         rank_pattern={"v_proj": 1}, alpha_pattern={"blocks.1.*": 7})))
    expected = logits(adapted, ids)
    method = peft.to_lora(adapted, "plain").method
    assert method.rank == 4 and method.rank_pattern == {"blocks.0.attn.v_proj": 2, "blocks.1.attn.v_proj": 2}
    np.testing.assert_allclose(logits(adapted, ids), expected, rtol=0, atol=1e-12)


def test_what_is_no_plain_lora(backend):
    for method in (DoRA(rank=2), LoRA(rank=2, bias="all"), LoRA(rank=2, lora_bias=True), peft.BitFit()):
        with pytest.raises(ValueError, match="are a plain LoRA; this adapter is"):
            peft.to_lora(adapt(make_base(), method))
    with pytest.raises(ValueError, match="rank 10 is too large"):
        peft.to_lora(adapt(make_base(), PiSSA(rank=5)))
    with pytest.raises(ValueError, match="is merged"):
        peft.to_lora(adapt(make_base(), PiSSA(rank=2)).merge())


# ---- together --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("make", "words"), [
    (lambda: LoRAPlus(ratio=0.5), "at least 1; got 0.5"), (lambda: LoRAPlus(embedding_lr=-1), "embedding_lr"),
    (lambda: LoRAFA(init="pissa"), "A stays as it is drawn"), (lambda: LoRAFA(init="zero_a"), "A stays as it is drawn"),
    (lambda: DoRA(slices=(True, False)), "DoRA has no slices"), (lambda: PiSSA(init="kaiming"), "use LoRA"),
    (lambda: LoRAFA(lora_bias=True), "LoRAFA has no lora_bias"), (lambda: DoRA(rank=0), "DoRA: rank must be"),
    (lambda: DoRA(targets="token_embedding").count(make_base().config), "DoRA works on linear layers, and token_embedding"),
    (lambda: adapt(make_base(), LoRAFA(rank=1, targets="token_embedding")), "token_embedding is an embedding"),
])
def test_what_a_variant_refuses(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_rows_of_a_batch_may_use_different_variants(backend):
    base, ids = make_base("float64"), make_ids(batch=5)
    kinds = {"lora": LoRA(rank=2), "dora": DoRA(rank=2), "pissa": PiSSA(rank=2), "fa": LoRAFA(rank=2)}
    adapted = None
    for seed, (name, method) in enumerate(kinds.items()):
        adapted = adapt(base, method, name=name) if adapted is None else adapted.add(name, method)
        randomize(adapted, seed=seed)
    adapted.eval()
    chosen = ["dora", None, "pissa", "fa", "lora"]
    together = peft.forward_rows(adapted, ids, chosen).numpy()
    for row, name in enumerate(chosen):
        if name is None:
            alone = logits(base, ids[row:row + 1])
        else:
            adapted.set_active(name)
            alone = logits(adapted, ids[row:row + 1])
        np.testing.assert_allclose(together[row], alone[0], rtol=0, atol=1e-12)


def test_two_variants_on_one_model(backend, tmp_path):
    """Two LoRA-FA parts: each keeps its own frozen A in the file."""
    base, ids = make_base(), make_ids()
    both = peft.Combined((LoRAFA(rank=2, targets="q_proj"), LoRAFA(rank=1, targets="up_proj")))
    adapted = randomize(adapt(base, both)).eval()
    adapted.save(tmp_path)
    assert np.array_equal(logits(peft.load(make_base(), tmp_path).eval(), ids), logits(adapted, ids))
