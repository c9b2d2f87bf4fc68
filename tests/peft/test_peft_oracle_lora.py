"""LoRA and its variants against Hugging Face PEFT: the same files, the same logits, the same gradients, both ways.

The models: PyTorch's twin of our GPT, transformers' GPT-2 (q, k and v fused, weights transposed) and Llama. Where PEFT or
another reference implementation is known to be wrong, a test holds the difference.
"""
import json

import numpy as np
import pytest

import minigrad as mg
from minigrad import peft
from minigrad.peft import DoRA, LoRA, LoRAFA, LoRAPlus, PiSSA
from minigrad.peft.lora import lora_layers
from tests.peft.rows import adapt, logits, loss_of, make_base, make_ids, randomize

torch = pytest.importorskip("torch")
hf = pytest.importorskip("peft")
from tests.models.torch_gpt import twin  # noqa: E402
from tests.peft.hugging_face import gpt2_of, llama_of, make_llama  # noqa: E402

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

METHODS = [LoRA(rank=2, alpha=5, scaling="alpha"), LoRA(rank=3, alpha=5, scaling="alpha/r", targets="all-linear"),
           LoRA(rank=3, alpha=5, scaling="alpha/sqrt(r)"), LoRA(rank=2, bias="lora_only", targets=("k_proj", "up_proj")),
           LoRA(rank=2, bias="all"), LoRA(rank=2, alpha=5, lora_bias=True), LoRA(rank=2, targets=("token_embedding", "position_embedding", "head")),
           LoRA(rank=2, alpha=3, targets=("q_proj", "up_proj", "token_embedding"), rank_pattern={"up_proj": 3},
                alpha_pattern={"blocks.1.*q_proj": 7}), LoRA(rank=2, layers=(1,), targets="re:.*(q|o)_proj"),
           LoRAPlus(rank=2), LoRAFA(rank=2), DoRA(rank=2, alpha=5), DoRA(rank=1, targets="all-linear", bias="all")]


def of_peft(model, folder):
    """Our file on their model, trainable."""
    if not hasattr(model, "prepare_inputs_for_generation"):
        model.prepare_inputs_for_generation = None  # PEFT asks every causal language model for it
    return hf.PeftModel.from_pretrained(model, str(folder), is_trainable=True)


def their_logits(theirs, ids):
    out = theirs.get_base_model()(torch.tensor(ids))
    return getattr(out, "logits", out)


def their_gradients(theirs, ids):
    """{name in a file: gradient} of the next-token loss."""
    theirs.zero_grad()
    out = their_logits(theirs, ids[:, :-1])
    torch.nn.functional.cross_entropy(out.flatten(0, 1), torch.tensor(ids[:, 1:]).flatten()).backward()
    return {in_file(n): p.grad.numpy() for n, p in theirs.named_parameters() if p.grad is not None}


def in_file(name):
    """How PEFT's files call a parameter that its models call `name`."""
    return name.replace(".default", "").replace("lora_magnitude_vector.weight", "lora_magnitude_vector")


def agree(ours, theirs, ids, atol, names=None):
    """Same logits, same gradients of what both train. names: what we call what they call x."""
    np.testing.assert_allclose(logits(ours, ids), their_logits(theirs, ids).detach().numpy(), rtol=0, atol=atol)
    ours.zero_grad()
    loss_of(ours, ids).backward()
    gradients = their_gradients(theirs, ids)
    for name, p in ours.named_trainable_parameters():
        expected = gradients[peft.method.PEFT_PREFIX + name.removeprefix("model.")]
        np.testing.assert_allclose(mg.to_numpy(p.grad), expected, rtol=0, atol=atol, err_msg=name)


# ---- our names, both ways --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("method", METHODS, ids=str)
def test_peft_reads_ours(method, tmp_path):
    base = make_base("float64")
    ours = randomize(adapt(base, method)).eval()
    ours.save(tmp_path)
    agree(ours, of_peft(twin(base).eval(), tmp_path), make_ids(), 1e-10)


@pytest.mark.parametrize("method", [PiSSA(rank=2, alpha=5), LoRA(rank=2, init="olora", targets="all-linear"),
                                    PiSSA(rank=3, scaling="alpha/sqrt(r)", targets=("up_proj", "token_embedding")),
                                    DoRA(rank=2, init="pissa")], ids=str)
def test_peft_splits_the_weights_as_we_do(method, tmp_path):
    base = make_base()
    ours = randomize(adapt(base, method), scale=0.1).eval()
    ours.save(tmp_path)
    theirs = of_peft(twin(base).eval(), tmp_path)
    agree(ours, theirs, make_ids(), 1e-5)
    for path, m in lora_layers(ours.model).items():
        if "embedding" not in path:
            residual = theirs.get_base_model().get_submodule(path).base_layer.weight.detach().numpy()
            np.testing.assert_allclose(mg.to_numpy(m.residual_weight()), residual, rtol=0, atol=2e-6)


WORDS = [dict(init_lora_weights="gaussian"), dict(use_rslora=True, target_modules=["up_proj", "head"]), dict(use_dora=True),
         dict(bias="all"), dict(bias="lora_only", target_modules=["o_proj", "down_proj"]), dict(lora_bias=True),
         dict(target_modules=["token_embedding", "k_proj"]), dict(target_modules=r".*\.(q|down)_proj"),
         dict(rank_pattern={"blocks.1.*": 3, "v_proj": 1}, alpha_pattern={"q_proj": 9}),
         dict(layers_to_transform=1, layers_pattern="blocks"), dict(exclude_modules=["blocks.0.attn.q_proj"]),
         dict(init_lora_weights="pissa"), dict(init_lora_weights="olora", use_dora=True)]


@pytest.mark.parametrize("words", WORDS, ids=str)
def test_we_read_pefts(words, tmp_path):
    base, ids = make_base(), make_ids()
    torch.manual_seed(0)
    theirs = hf.get_peft_model(twin(base).eval(), hf.LoraConfig(**{"r": 2, "lora_alpha": 5, "target_modules": ["q_proj", "v_proj"],
                                                                  **words}))
    with torch.no_grad():
        for p in theirs.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn_like(p))
    theirs.save_pretrained(str(tmp_path))
    with pytest.warns(UserWarning, match="not written by minigrad"):
        ours = peft.load(base, tmp_path, trainable=True).eval()
    agree(ours, theirs, ids, 1e-5)
    assert not np.allclose(logits(base, ids), logits(ours, ids), atol=1e-3)


def test_our_file_passes_through_peft_unchanged(tmp_path):
    base = make_base()
    ours = randomize(adapt(base, DoRA(rank=2, rank_pattern={"blocks.0.*": 1})))
    ours.save(tmp_path / "ours")
    of_peft(twin(base).eval(), tmp_path / "ours").save_pretrained(str(tmp_path / "theirs"))
    again = peft.load(base, tmp_path / "theirs")
    assert all(np.array_equal(a, again.state()[n]) for n, a in ours.state().items())
    mine, peers = (json.loads((tmp_path / n / "adapter_config.json").read_text()) for n in ("ours", "theirs"))
    words = ("peft_type", "r", "lora_alpha", "lora_dropout", "use_dora", "use_rslora", "bias", "rank_pattern", "alpha_pattern",
             "fan_in_fan_out", "init_lora_weights")
    assert {w: mine[w] for w in words} == {w: peers[w] for w in words}


# ---- the names of GPT-2 and Llama ------------------------------------------------------------------------------------

@pytest.mark.parametrize("method", [
    LoRA(rank=2, alpha=5), LoRA(rank=2, targets="all-linear", scaling="alpha/sqrt(r)"), DoRA(rank=2, alpha=3),
    LoRA(rank=2, targets=("k_proj", "v_proj", "token_embedding", "head"), rank_pattern={"k_proj": 1}),
    LoRA(rank=1, targets=("q_proj", "k_proj"), lora_bias=True, alpha_pattern={"k_proj": 5}),
    LoRA(rank=1, targets=("q_proj", "up_proj"), bias="lora_only"), LoRA(rank=1, targets="down_proj", bias="all")], ids=str)
def test_our_adapter_runs_on_gpt2(method, tmp_path):
    base, ids = make_base("float64"), make_ids()
    ours = randomize(adapt(base, method)).eval()
    ours.save(tmp_path, names="gpt2")
    theirs = of_peft(gpt2_of(base), tmp_path)
    np.testing.assert_allclose(logits(ours, ids), their_logits(theirs, ids).detach().numpy(), rtol=0, atol=1e-6)


GPT2_WORDS = [dict(target_modules=["c_attn"]), dict(target_modules=["c_attn", "c_proj", "c_fc", "wte"], use_rslora=True),
              dict(target_modules="all-linear"), dict(target_modules=["c_attn"], use_dora=True),
              dict(target_modules=["c_attn", "mlp.c_proj"], bias="lora_only"), dict(target_modules=["c_fc"], bias="all"),
              dict(target_modules=["c_attn"], lora_bias=True),
              dict(target_modules=["c_attn"], layers_to_transform=[1], rank_pattern={"c_attn": 3})]


@pytest.mark.parametrize("words", GPT2_WORDS, ids=str)
def test_an_adapter_for_gpt2_runs_on_ours(words, tmp_path):
    base, ids = make_base("float64"), make_ids()
    torch.manual_seed(0)
    theirs = hf.get_peft_model(gpt2_of(base), hf.LoraConfig(**{"r": 2, "lora_alpha": 5, "fan_in_fan_out": True, **words}))
    with torch.no_grad():
        for p in theirs.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn_like(p))
    theirs.save_pretrained(str(tmp_path))
    with pytest.warns(UserWarning, match="not written by minigrad"):
        ours = peft.load(base, tmp_path, trainable=True).eval()
    np.testing.assert_allclose(logits(ours, ids), their_logits(theirs, ids).detach().numpy(), rtol=0, atol=1e-6)
    # c_attn has one A for all three: its gradient is the sum of those of our q, k and v, and B's is theirs in a pile.
    loss_of(ours, ids).backward()
    mine = {n.removeprefix("model."): mg.to_numpy(p.grad) for n, p in ours.named_trainable_parameters()}
    compared = 0
    for name, g in their_gradients(theirs, ids).items():
        found = [f"blocks.{name.split('.')[4]}.attn.{n}_proj.{name.partition('c_attn.')[2]}" for n in "qkv"]
        if "c_attn.lora_" in name:
            compared += 1
            parts = [mine[path] for path in found]
            np.testing.assert_allclose(sum(parts) if "lora_A" in name else np.concatenate(parts), g, rtol=0, atol=1e-6)
    assert compared > 0 or "c_attn" not in words["target_modules"]


@pytest.mark.parametrize("method", [
    LoRA(rank=2), LoRA(rank=2, targets=("gate_proj", "down_proj", "head", "token_embedding")),
    DoRA(rank=2, targets="all-linear")], ids=str)
def test_llama_both_ways(method, tmp_path):
    base, ids = make_llama(), make_ids()
    ours = randomize(adapt(base, method)).eval()
    ours.save(tmp_path / "ours", names="llama")
    theirs = of_peft(llama_of(base), tmp_path / "ours")
    np.testing.assert_allclose(logits(ours, ids), their_logits(theirs, ids).detach().numpy(), rtol=0, atol=1e-5)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    again = peft.load(base, tmp_path / "theirs", trainable=True)
    assert all(np.array_equal(a, again.state()[n]) for n, a in ours.state().items())
    loss_of(ours, ids).backward()
    gradients = their_gradients(theirs, ids)
    assert len(gradients) == len(ours.trainable_parameters())
    for name, p in ours.named_trainable_parameters():
        other = (name.replace("model.blocks", "model.layers").replace(".attn.", ".self_attn.").replace("model.head", "lm_head")
                 .replace("model.token_embedding", "model.embed_tokens"))
        np.testing.assert_allclose(mg.to_numpy(p.grad), gradients[f"base_model.model.{other}"], rtol=1e-5, atol=1e-5,
                                   err_msg=name)            # their norms are computed in float32


# ---- optimizers ------------------------------------------------------------------------------------------------------

def walk(ours, theirs, optimizer, theirs_optimizer, ids, steps=3):
    for _ in range(steps):
        ours.zero_grad()
        loss_of(ours, ids).backward()
        optimizer.step()
        their_gradients(theirs, ids)
        theirs_optimizer.step()
    found = {in_file(n): p.detach().numpy() for n, p in theirs.named_parameters()}
    for name, values in ours.state().items():
        if "k_proj" not in name:
            np.testing.assert_allclose(values, found[name], rtol=0, atol=1e-9, err_msg=name)


def test_lora_plus_walks_with_pefts_optimizer(tmp_path):
    from peft.optimizers import create_loraplus_optimizer

    base, ids = make_base("float64"), make_ids()
    ours = randomize(adapt(base, LoRAPlus(rank=2, targets=("q_proj", "token_embedding", "up_proj"), bias="lora_only", ratio=8.0)))
    ours.save(tmp_path)
    theirs = of_peft(twin(base).eval(), tmp_path)
    options = dict(betas=(0.9, 0.99), eps=1e-7)
    walk(ours, theirs, mg.optim.AdamW(ours.param_groups(1e-2), lr=1e-2, weight_decay=0.1, **options),
         create_loraplus_optimizer(theirs, torch.optim.AdamW, lr=1e-2, loraplus_lr_ratio=8.0, loraplus_weight_decay=0.1,
                                   **options), ids)


def test_preconditioned_lora_fa_walks_with_pefts_optimizer(tmp_path):
    from peft.optimizers import create_lorafa_optimizer

    base, ids = make_base("float64"), make_ids()
    ours = randomize(adapt(base, LoRAFA(rank=2, alpha=6, precondition=True)))
    ours.save(tmp_path)
    theirs = of_peft(twin(base).eval(), tmp_path)
    optimizer = create_lorafa_optimizer(theirs, r=2, lora_alpha=6, lr=1e-2)
    optimizer.param_groups[0]["eps"] = 1e-15        # theirs adds it before the bias correction, AdamW after
    walk(ours, theirs, mg.optim.AdamW(ours.param_groups(1e-2), lr=1e-2, weight_decay=0.0, eps=1e-15), optimizer, ids)


# ---- rows of a batch -------------------------------------------------------------------------------------------------

def test_a_batch_of_several_adapters_is_pefts_mixed_batch(tmp_path):
    base, ids = make_base("float64"), make_ids(batch=4)
    ours = randomize(adapt(base, LoRA(rank=2), name="a"))
    randomize(ours.add("b", LoRA(rank=3, targets=("up_proj", "q_proj")), rng=np.random.default_rng(9)), seed=9).eval()
    for name in "ab":
        ours.set_active(name)
        ours.save(tmp_path / name, names="gpt2")
    theirs = hf.PeftModel.from_pretrained(gpt2_of(base), str(tmp_path / "a"), adapter_name="a")
    theirs.load_adapter(str(tmp_path / "b"), adapter_name="b")
    names = ["b", None, "a", "b"]
    with torch.no_grad():
        expected = theirs.eval()(input_ids=torch.tensor(ids), adapter_names=[n or "__base__" for n in names]).logits.numpy()
    np.testing.assert_allclose(peft.forward_rows(ours, ids, names).numpy(), expected, rtol=0, atol=1e-6)


# ---- what not to copy ------------------------------------------------------------------------------------------------

def test_peft_without_its_adapter_is_not_the_base_once_biases_are_trained(tmp_path):
    """PEFT's disable_adapter leaves trained biases in place (its pull request 741 warns of it); ours puts the base's back."""
    base, ids = make_base("float64"), make_ids()
    ours = randomize(adapt(base, LoRA(rank=2, bias="all"))).eval()
    ours.save(tmp_path)
    theirs = of_peft(twin(base).eval(), tmp_path)
    with torch.no_grad(), theirs.disable_adapter():
        assert not np.allclose(their_logits(theirs, ids).numpy(), logits(base, ids), atol=1e-2)
    with ours.disabled():
        assert np.array_equal(logits(ours, ids), logits(base, ids))


def test_peft_does_not_come_back_from_a_merge_to_the_same_bits(tmp_path):
    """PEFT subtracts ΔW again, which rounds; we put the kept array back."""
    base = make_base()
    ours = randomize(adapt(base, LoRA(rank=2))).eval()
    ours.save(tmp_path)
    theirs = of_peft(twin(base).eval(), tmp_path)
    weight = theirs.get_base_model().blocks[0].attn.q_proj.base_layer.weight
    before = weight.detach().clone()
    theirs.merge_adapter()
    theirs.unmerge_adapter()
    assert not torch.equal(weight, before) and torch.allclose(weight, before, atol=1e-6)
    ours.merge().unmerge()
    assert np.array_equal(ours.model.blocks[0].attn.q_proj.base_layer.weight.numpy(), before.numpy())


def test_pefts_olora_does_not_start_at_the_base_on_gpt2():
    """GPT-2's layers keep (in, out); PEFT decomposes that as if it were (out, in), so its start is another model."""
    base, ids = make_base("float32"), make_ids()
    with torch.no_grad():
        for start, same in (("olora", False), ("pissa", True)):
            theirs = hf.get_peft_model(gpt2_of(base).float(), hf.LoraConfig(r=2, target_modules=["attn.c_proj"],
                                                                            fan_in_fan_out=True, init_lora_weights=start))
            assert np.allclose(their_logits(theirs, ids).numpy(), logits(base, ids), atol=1e-4) == same
    assert np.array_equal(logits(adapt(base, LoRA(rank=2, targets="o_proj", init="olora")), ids), logits(base, ids))


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_a_split_start_of_gpt2_is_refused_both_ways(start, tmp_path):
    """The singular values of the fused c_attn are not those of q, k and v."""
    base = make_base()
    theirs = hf.get_peft_model(gpt2_of(base).float(), hf.LoraConfig(r=2, target_modules=["c_proj"], fan_in_fan_out=True,
                                                                    init_lora_weights=start))
    theirs.save_pretrained(str(tmp_path))
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="path_initial_model_for_weight_conversion"):
        peft.load(base, tmp_path)
    with pytest.raises(ValueError, match="peft.to_lora"):
        adapt(base, LoRA(rank=2, init=start)).save(tmp_path, names="gpt2")


def test_a_pissa_published_as_a_plain_lora_runs_on_the_original_gpt2(tmp_path):
    base, ids = make_base("float64"), make_ids()
    ours = randomize(adapt(base, PiSSA(rank=2, alpha=5)), scale=0.1).eval()
    expected = logits(ours, ids)
    peft.to_lora(ours).save(tmp_path, names="gpt2")
    theirs = of_peft(gpt2_of(base), tmp_path)
    np.testing.assert_allclose(their_logits(theirs, ids).detach().numpy(), expected, rtol=0, atol=1e-6)


def test_pefts_own_way_from_pissa_to_lora_gives_our_matrices(tmp_path):
    """PEFT subtracts the start when it saves (rank 2r, alpha 2α); the products are ours."""
    base = make_base()
    theirs = hf.get_peft_model(twin(base).eval(), hf.LoraConfig(r=2, lora_alpha=5, target_modules=["q_proj"],
                                                                init_lora_weights="pissa"))
    theirs.peft_config["default"].init_lora_weights = True
    theirs.save_pretrained(str(tmp_path / "start"))
    theirs.peft_config["default"].init_lora_weights = "pissa"
    with torch.no_grad():
        for p in theirs.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn_like(p))
    theirs.save_pretrained(str(tmp_path / "pissa"))
    theirs.save_pretrained(str(tmp_path / "plain"), path_initial_model_for_weight_conversion=str(tmp_path / "start"))
    split, plain = (peft.load(base, tmp_path / name) for name in ("pissa", "plain"))
    assert type(split.method) is PiSSA and type(plain.method) is LoRA
    converted = peft.to_lora(split).method
    assert (converted.rank, converted.alpha) == (plain.method.rank, plain.method.alpha) == (4, 10)
    for path, m in lora_layers(split.model).items():
        np.testing.assert_allclose(mg.to_numpy(m.delta_weight()),
                                   mg.to_numpy(plain.model.get_submodule(path).delta_weight()), rtol=0, atol=1e-5)


def test_pefts_prefix_of_zeros_is_not_the_base():
    """D2: documented as doing nothing; a key of zeros has a score of 0, and exp(0) = 1 of the attention."""
    base, ids = make_base("float64"), make_ids()
    config = hf.PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM", init_weights="zero")
    theirs = hf.get_peft_model(gpt2_of(base), config).double()
    assert all((p == 0).all() for p in theirs.prompt_encoder.parameters())
    with torch.no_grad():
        found = theirs(input_ids=torch.tensor(ids)).logits.numpy()
    assert not np.allclose(found, logits(base, ids), atol=1e-2)
    ours = adapt(base, peft.PrefixTuning(length=3))
    ours.load_state({"prompt_embeddings": np.zeros_like(ours.state()["prompt_embeddings"])})
    np.testing.assert_allclose(logits(ours, ids), found, rtol=0, atol=1e-6)
