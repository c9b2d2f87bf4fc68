"""Several methods on one model, mixtures of adapters, and batches whose rows use different ones."""
import json

import numpy as np
import pytest

import minigrad as mg
from minigrad import peft
from minigrad.peft import Adapter, BitFit, Combined, LoRA, PrefixTuning, PromptTuning, ResidualAdapter, TopK
from minigrad.peft.layers import Mergeable
from tests.peft.rows import adapt, logits, loss_of, make_base, make_ids, randomize

# ---- combined ---------------------------------------------------------------------------------------------------------

def test_the_parts_do_what_they_do_alone(backend):
    base, ids = make_base("float64"), make_ids()
    both = adapt(base, Combined((LoRA(rank=2), PrefixTuning(length=3))))
    randomize(both)
    lora, prefix = (randomize(adapt(base, m)) for m in (LoRA(rank=2), PrefixTuning(length=3)))
    for path, p in {**lora.own_parameters(), **prefix.own_parameters()}.items():
        p.data = both.own_parameters()[path].data
    merged = lora.merge_and_unload()
    expected = adapt(merged, PrefixTuning(length=3))
    for path, p in expected.own_parameters().items():
        p.data = prefix.own_parameters()[path].data
    np.testing.assert_allclose(logits(both, ids), logits(expected, ids), rtol=0, atol=1e-12)


@pytest.mark.parametrize("parts", [
    (ResidualAdapter(), LoRA(rank=2)), (LoRA(rank=2), LoRA(rank=1, targets=("up_proj", "k_proj"))),
    (TopK(1), LoRA(rank=2, targets="blocks.0.*_proj")), (peft.LongLoRA(rank=2), LoRA(rank=1, targets="up_proj"))],
    ids=str)
def test_merged_parts_are_the_parts_and_come_out_again(parts, backend):
    base, ids = make_base("float64"), make_ids()
    adapted = randomize(adapt(base, Combined(parts))).eval()
    before, arrays = logits(adapted, ids), [p.data for p in adapted.parameters()]
    np.testing.assert_allclose(logits(adapted.merge_and_unload().eval(), ids), before, rtol=0, atol=1e-11)
    assert all(p.data is a for p, a in zip(adapted.parameters(), arrays, strict=True))
    assert np.array_equal(logits(adapted, ids), before)


def test_what_cannot_be_merged_is_named_and_nothing_is_changed(backend):
    adapted = randomize(adapt(make_base(), Combined((LoRA(rank=2), Adapter(bottleneck=3)))))
    with pytest.raises(ValueError, match=r"cannot be merged: its part Adapter\(.*nonlinearity"):
        adapted.merge()
    assert not adapted.merged and not any(m.merged for m in adapted.modules() if isinstance(m, Mergeable))
    adapted = adapt(make_base(), Combined((LoRA(rank=2, targets="o_proj"), ResidualAdapter())))
    with pytest.raises(ValueError, match=r"two parts change the weight of blocks.0.attn.o_proj.*different targets"):
        adapted.merge()


def test_a_prompt_comes_first(backend):
    base, ids = make_base(), make_ids()
    adapted = adapt(base, Combined((PromptTuning(length=2), LoRA(rank=2), peft.AdapterL(2))))
    assert logits(adapted, ids).shape == (3, 6, 11) and adapted.position_shift == 2
    with pytest.raises(ValueError, match="at least two"):
        Combined((LoRA(),))
    with pytest.raises(ValueError, match="not combined themselves; got 'lora'"):
        Combined(("lora", "prefix"))
    with pytest.raises(ValueError, match="not combined themselves"):
        Combined((LoRA(), Combined()))


KINDS = (LoRA(rank=2, targets=("q_proj", "down_proj")), peft.PiSSA(rank=2, targets=("o_proj", "up_proj")), BitFit(),
         ResidualAdapter(), peft.AdapterL(2), PrefixTuning(length=2), peft.InfixTuning(length=2), PromptTuning(length=2),
         peft.PreLayer(1, 1), peft.LlamaAdapter(2), peft.LongLoRA(rank=2, group=2), peft.IntrinsicDimension(5), peft.SAID(9))


@pytest.mark.parametrize("first", KINDS, ids=str)
@pytest.mark.parametrize("second", KINDS, ids=str)
def test_two_of_any_kind_work_together_or_are_refused(first, second, backend, tmp_path):
    base, ids, method = make_base("float64"), make_ids(), Combined((first, second))
    try:
        adapted = randomize(adapt(base, method)).eval()
    except (ValueError, TypeError) as refusal:
        assert any(words in str(refusal) for words in ("both train", "comes first", "place for a"))
        return
    trained = adapted.named_trainable_parameters()
    assert method.count(base.config) == sum(p.size for _, p in trained)
    assert sorted(n for group in adapted.param_groups(0.1) for n, _ in group["params"]) == sorted(n for n, _ in trained)
    y = logits(adapted, ids)
    loss_of(adapted, ids).backward()
    assert [n for n, p in trained if p.grad is None] == []
    if method.mergeable:
        try:
            plain = adapted.merge_and_unload()
        except ValueError as refusal:
            assert "two parts change the weight of" in str(refusal)
        else:
            np.testing.assert_allclose(logits(plain, ids), y, rtol=0, atol=1e-10)
    assert np.array_equal(logits(adapted, ids), y)
    adapted.save(tmp_path)
    np.testing.assert_allclose(logits(peft.load(make_base("float64"), tmp_path).eval(), ids), y, rtol=0, atol=1e-10)
    assert np.array_equal(base.token_embedding.weight.numpy(), make_base("float64").token_embedding.weight.numpy())


def test_files_hold_the_parts_and_a_network_is_baked(backend, tmp_path):
    base, ids = make_base("float64"), make_ids()
    method = Combined((LoRA(rank=2), PrefixTuning(length=2, hidden=3)))
    adapted = randomize(adapt(base, method))
    adapted.save(tmp_path)
    parts = json.loads((tmp_path / "adapter_config.json").read_text())["minigrad"]["hyper"]["parts"]
    assert [p["method"] for p in parts] == ["lora", "prefix"] and parts[1]["hidden"] is None
    again = peft.load(base, tmp_path)
    np.testing.assert_allclose(logits(again, ids), logits(adapted, ids), rtol=0, atol=1e-12)
    before = logits(adapted, ids)
    adapted.bake()
    assert adapted.method == method.stored() == again.method
    np.testing.assert_allclose(logits(adapted, ids), before, rtol=0, atol=1e-12)
    assert sorted(adapted.state()) == sorted(again.state())
    names = sorted(n for g in adapted.param_groups(1e-3) for n, _ in g["params"])
    assert names == sorted(n for n, _ in adapted.named_trainable_parameters())
    state = adapted.state()
    broken = {n: np.zeros((1, 1)) if n.startswith("1:") else np.zeros_like(a) for n, a in state.items()}
    with pytest.raises(ValueError, match="prompt_embeddings"):
        adapted.load_state(broken)                  # the first part fits, the second does not
    assert all(np.array_equal(a, adapted.state()[n]) for n, a in state.items())


@pytest.mark.parametrize("method", [
    peft.LlamaAdapter(2), peft.AdapterL(2), peft.ParallelAdapter(2, where="attn"), PrefixTuning(length=2),
    peft.PreLayer(1, 2), peft.PTuning(("p", "x", "p")), peft.IntrinsicDimension(9),
    Combined((PrefixTuning(length=2), peft.AdapterL(2), LoRA(rank=1)))], ids=str)
def test_with_rotary_positions_a_cache_changes_nothing(method, backend):
    adapted, ids = randomize(adapt(make_base("float64", positions="rotary"), method)).eval(), make_ids(tokens=7)
    cache = adapted.new_cache(len(ids), 7)
    parts = [logits(adapted, ids[:, a:b], cache=cache) for a, b in ((0, 3), (3, 4), (4, 7))]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), logits(adapted, ids), rtol=0, atol=1e-11)


# ---- mixtures ---------------------------------------------------------------------------------------------------------

def two(base, *methods):
    adapted = randomize(adapt(base, methods[0], name="a"), seed=7)
    return randomize(adapted.add("b", methods[1], rng=np.random.default_rng(8)), seed=9).eval()


def test_a_mixture_of_loras_is_the_mixture_of_their_changes(backend):
    base, ids = make_base("float64"), make_ids()
    adapted = two(base, LoRA(rank=2, alpha=6), LoRA(rank=3, targets=("v_proj", "up_proj"), scaling="alpha/sqrt(r)"))
    changes = []
    for name in "ab":
        adapted.set_active(name)
        changes.append({n: p.numpy() - base.get_parameter(n).numpy() for n, p in adapted.merge_and_unload().named_parameters()})
    a, b = (m.copy() for m in changes)
    peft.mix(adapted, "c", {"a": 0.3, "b": -1.5})
    assert adapted.active == "c" and adapted.method.rank == 5
    for name, p in adapted.merge_and_unload().named_parameters():
        expected = base.get_parameter(name).numpy() + 0.3 * a[name] - 1.5 * b[name]
        np.testing.assert_allclose(p.numpy(), expected, rtol=0, atol=1e-12, err_msg=name)
    peft.mix(adapted, "only a", {"a": 1.0})
    mixed = logits(adapted, ids)
    adapted.set_active("a")
    np.testing.assert_allclose(mixed, logits(adapted, ids), rtol=0, atol=1e-12)


def test_a_mixture_of_trained_weights_adds_their_changes(backend):
    base = make_base("float64")
    adapted = peft.mix(two(base, BitFit(), BitFit()), "c", {"a": 0.5, "b": 0.25})
    for name, p in adapted.own_parameters().items():
        start = base.get_parameter(name).numpy()
        a, b = (adapted.own_parameters(n)[name].numpy() - start for n in "ab")
        np.testing.assert_allclose(p.numpy(), start + 0.5 * a + 0.25 * b, atol=1e-14)


def test_what_cannot_be_mixed(backend):
    adapted = two(make_base(), LoRA(rank=2), Adapter(bottleneck=2))
    with pytest.raises(ValueError, match="may differ when they are mixed; got a: LoRA.*b: Adapter"):
        peft.mix(adapted, "c", {"a": 1.0, "b": 1.0})
    with pytest.raises(KeyError, match="no adapter is called 'x'"):
        peft.mix(adapted, "c", {"x": 1.0})
    with pytest.raises(ValueError, match="at least one"):
        peft.mix(adapted, "c", {})
    with pytest.raises(ValueError, match="the weight of 'a' must be a finite number; got nan"):
        peft.mix(adapted, "c", {"a": float("nan")})
    adapted.set_active("a")
    adapted.merge()
    with pytest.raises(ValueError, match="'a' is merged"):
        peft.mix(adapted, "c", {"a": 1.0})
    assert adapted.names == ["a", "b"]


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_pefts_weighted_adapter_is_the_same(tmp_path):
    torch = pytest.importorskip("torch")
    hf = pytest.importorskip("peft")
    from tests.models.torch_gpt import twin

    base, ids = make_base("float64"), make_ids()
    adapted = two(base, LoRA(rank=2, alpha=6), LoRA(rank=3, alpha=4))
    for name in "ab":
        adapted.set_active(name)
        adapted.save(tmp_path / name)
    model = twin(base).eval()
    model.prepare_inputs_for_generation = None
    theirs = hf.PeftModel.from_pretrained(model, str(tmp_path / "a"), adapter_name="a")
    theirs.load_adapter(str(tmp_path / "b"), adapter_name="b")
    theirs.add_weighted_adapter(["a", "b"], [0.7, 0.2], "c", combination_type="cat")
    theirs.set_adapter("c")
    peft.mix(adapted, "c", {"a": 0.7, "b": 0.2})
    expected = theirs.get_base_model()(torch.tensor(ids)).detach().numpy()
    np.testing.assert_allclose(logits(adapted, ids), expected, rtol=0, atol=1e-6)


# ---- rows -------------------------------------------------------------------------------------------------------------

def test_rows_of_a_batch_use_different_adapters(backend):
    base, ids = make_base("float64"), make_ids(batch=5)
    adapted = two(base, LoRA(rank=2), PrefixTuning(length=2))
    names = ["b", None, "a", "b", "a"]
    got = peft.forward_rows(adapted, ids, names)
    generated = peft.generate_rows(adapted, [list(row) for row in ids], 4, names)
    assert adapted.active == "b"
    for i, name in enumerate(names):
        if name is None:
            with adapted.disabled():
                alone, text = logits(adapted, ids[i:i + 1]), adapted.generate(ids[i:i + 1], 4)
        else:
            adapted.set_active(name)
            alone, text = logits(adapted, ids[i:i + 1]), adapted.generate(ids[i:i + 1], 4)
        np.testing.assert_allclose(got.numpy()[i:i + 1], alone, rtol=0, atol=1e-13)
        assert list(generated[i]) == list(text[0])
    (got * got).sum().backward()
    for name in "ab":
        assert all(p.grad is not None for p in adapted.own_parameters(name).values())
    with pytest.raises(ValueError, match="5 rows need 5 names.*got 2"):
        peft.forward_rows(adapted, ids, ["a", "b"])
    with pytest.raises(KeyError, match="'x'"):
        peft.forward_rows(adapted, ids, ["x"] * 5)


def test_adapters_of_every_kind_share_one_untouched_base(backend):
    base, ids = make_base(), make_ids()
    before, arrays = base.state_dict(), [p.data for p in base.parameters()]
    adapted = adapt(base, LoRA(rank=2), name="a")
    for i, method in enumerate((BitFit(), peft.LongLoRA(rank=1), peft.SAID(20), ResidualAdapter(), peft.PreLayer(1, 1))):
        randomize(adapted.add(str(i), method))
        loss_of(adapted, ids).backward()
    for i in range(100):
        adapted.set_active(adapted.names[i % 6])
        if adapted.method.mergeable:
            adapted.merge().unmerge()
    assert all(p.data is a for p, a in zip(base.parameters(), arrays, strict=True))
    assert all(np.array_equal(before[n], a) for n, a in base.state_dict().items())
    assert all(p.grad is None for p in base.parameters())
    assert [type(m) for m in base.modules()] == [type(m) for m in mg.models.GPT(base.config).modules()]
