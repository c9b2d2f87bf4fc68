"""Against Hugging Face PEFT: VeRA, (IA)³, AdaLoRA, GLoRA and layer-norm tuning. Files both ways, logits and gradients."""
import json

import numpy as np
import pytest

import minigrad as mg
from minigrad import peft
from minigrad.peft import IA3, AdaLoRA, GLoRA, LayerNormTuning, VeRA
from tests.peft.rows import adapt, logits, loss_of, make_base, make_ids, randomize
from tests.peft.test_files import header

torch = pytest.importorskip("torch")
hf = pytest.importorskip("peft")
from tests.models.torch_gpt import twin  # noqa: E402
from tests.peft.hugging_face import gpt2_of, llama_of, make_llama  # noqa: E402
from tests.peft.test_peft_oracle import theirs_of  # noqa: E402
from tests.peft.test_peft_oracle_lora import of_peft, their_logits  # noqa: E402

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]
RANKS = ("blocks.0.attn.q_proj", "blocks.1.attn.v_proj", "blocks.1.mlp.up_proj")
CASES = [VeRA(rank=5), VeRA(rank=3, targets=("up_proj", "o_proj", "down_proj"), d_initial=0.3), VeRA(rank=4, targets="all-linear"),
         IA3(), IA3(("q_proj", "up_proj"), feedforward=("up_proj",)), IA3(("q_proj", "mlp.up_proj"), feedforward=("blocks.*.mlp.up_proj",)),
         AdaLoRA(rank=2, initial_rank=4), AdaLoRA(rank=2, initial_rank=4, alpha=5, targets=RANKS, ranks=(3, 1, 4)),
         GLoRA(rank=2), GLoRA(rank=3, targets=("up_proj", "down_proj"), A="vector", B="vector", C="vector", D="vector", E="vector"),
         GLoRA(targets="o_proj", A="constant", B="constant", C="none", D="none", E="none"),
         GLoRA(targets="v_proj", A="none", B="none", C="lora", D="constant", E="constant"), LayerNormTuning()]


def short(case):
    return repr(case).replace("'", "")[:70]


def close(method):
    return 1e-5 if isinstance(method, AdaLoRA) else 1e-10           # D12: PEFT divides α by r₀ + 1e-5


@pytest.mark.parametrize("method", CASES, ids=short)
def test_peft_loads_our_file_and_computes_the_same(method, tmp_path):
    base, ids = make_base("float64"), make_ids()
    ours = randomize(adapt(base, method)).eval()
    ours.save(tmp_path)
    theirs = theirs_of(base, tmp_path)
    run = theirs.get_base_model()
    with torch.no_grad():
        got = run(torch.tensor(ids)).numpy()
    np.testing.assert_allclose(logits(ours, ids), got, rtol=0, atol=close(method))
    assert not np.allclose(logits(base, ids), got, atol=1e-3)
    loss_of(ours, ids).backward()
    out = run(torch.tensor(ids[:, :-1]))
    torch.nn.functional.cross_entropy(out.flatten(0, 1), torch.tensor(ids[:, 1:]).flatten()).backward()
    gradients = {n.replace(".default", ""): p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    for name, p in ours.own_parameters().items():
        if isinstance(method, LayerNormTuning):
            name = "{}.ln_tuning_layers.{}".format(*name.rsplit(".", 1))
        expected = gradients.pop(peft.method.PEFT_PREFIX + name)
        np.testing.assert_allclose(mg.to_numpy(p.grad), expected.numpy(), rtol=0, atol=close(method), err_msg=name)
    extra = {name.rpartition(".")[2] for name in gradients}         # PEFT trains nothing that we do not, but for AdaLoRA:
    assert extra == ({"ranknum"} if isinstance(method, AdaLoRA) else set())


@pytest.mark.parametrize("method", CASES, ids=short)
def test_what_peft_writes_of_our_file_comes_back_as_it_was(method, tmp_path):
    base, ids = make_base(), make_ids()
    ours = randomize(adapt(base, method)).eval()
    ours.save(tmp_path / "ours")
    theirs_of(base, tmp_path / "ours").save_pretrained(str(tmp_path / "theirs"))
    mine, their = (header(tmp_path / n / "adapter_model.safetensors") for n in ("ours", "theirs"))
    assert mine == {n: shape for n, shape in their.items() if not n.endswith(".zeros")}
    again = peft.load(base, tmp_path / "theirs").eval()
    np.testing.assert_allclose(logits(again, ids), logits(ours, ids), rtol=0, atol=1e-6)
    assert type(again.method) is type(method) and again.counts()[1] == ours.counts()[1]


CONFIGS = [lambda: hf.VeraConfig(r=3, target_modules=["k_proj", "down_proj"], init_weights=False),
           lambda: hf.VeraConfig(r=3, target_modules=r".*\.0\..*(q|up)_proj", projection_prng_key=7),
           lambda: hf.IA3Config(target_modules=["v_proj", "down_proj"], feedforward_modules=["down_proj"]),
           lambda: hf.IA3Config(target_modules=r".*1.*_proj", feedforward_modules=r".*mlp.*", exclude_modules=["o_proj"]),
           lambda: hf.AdaLoraConfig(init_r=4, target_r=2, lora_alpha=5, total_step=9, target_modules=["q_proj", "up_proj"]),
           lambda: hf.GloraConfig(r=2, target_modules=["q_proj", "down_proj"]),
           lambda: hf.GloraConfig(target_modules=["o_proj"], config_A_B="vector", config_C="none", config_D_E="none"),
           lambda: hf.LNTuningConfig(target_modules=["norm1", "norm2", "norm"])]


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_our_reader_takes_a_file_that_peft_wrote(config, tmp_path):
    base, ids = make_base(), make_ids()
    model = twin(base).eval()
    theirs = hf.get_peft_model(model, config())
    torch.manual_seed(0)
    with torch.no_grad():
        for p in theirs.parameters():
            if p.requires_grad:
                p.add_(0.3 * torch.randn_like(p))
        expected = theirs.get_base_model()(torch.tensor(ids)).numpy()
    theirs.save_pretrained(str(tmp_path))
    ours = peft.load(base, tmp_path).eval()
    np.testing.assert_allclose(logits(ours, ids), expected, rtol=0, atol=1e-5)
    assert not np.allclose(logits(base, ids), expected, atol=1e-3)
    assert ours.counts()[1] - base.num_parameters() == (
        0 if isinstance(ours.method, LayerNormTuning) else sum(p.numel() for p in theirs.parameters() if p.requires_grad))


def test_pefts_file_of_an_allocated_adalora_is_read_with_its_ranks(tmp_path):
    """Of a target whose rank has become 0 PEFT stores empty tensors."""
    base, ids = make_base(), make_ids()
    theirs = hf.get_peft_model(twin(base), hf.AdaLoraConfig(init_r=4, target_r=1, total_step=9, target_modules=["q_proj", "up_proj"]))
    torch.manual_seed(1)
    run = theirs.get_base_model()
    optimizer = torch.optim.AdamW([p for p in theirs.parameters() if p.requires_grad], lr=1e-2)
    for step in range(9):
        run(torch.tensor(ids)).pow(2).mean().backward()
        optimizer.step()
        theirs.base_model.update_and_allocate(step + 1)
        optimizer.zero_grad()
    pattern = theirs.peft_config["default"].rank_pattern
    assert sum(map(sum, pattern.values())) == 4 and min(map(sum, pattern.values())) == 0
    expected = run(torch.tensor(ids)).detach().numpy()
    theirs.save_pretrained(str(tmp_path))
    ours = peft.load(base, tmp_path).eval()
    assert sum(ours.method.ranks) == 4 and 0 not in ours.method.ranks
    np.testing.assert_allclose(logits(ours, ids), expected, rtol=0, atol=1e-5)


# ---- what is refused, and what PEFT does that we do not --------------------------------------------------------------


def test_options_that_we_lack_are_refused_and_unknown_ones_are_told(tmp_path):
    base = make_base()
    adapt(base, VeRA(rank=2)).save(tmp_path)
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text())
    assert (config["peft_type"], config["projection_prng_key"], config["target_modules"]) == ("VERA", 0, ["q_proj", "v_proj"])
    del config["minigrad"]
    for change, words in (({"modules_to_save": ["head"]}, "modules_to_save=.'head'"), ({"bias": "vera_only"}, "bias='vera_only'"),
                          ({"save_projection": False}, "PyTorch's generator"), ({"target_modules": ["qkv"]}, "none of this model's")):
        path.write_text(json.dumps({**config, **change}))
        with pytest.raises(ValueError, match=words):
            peft.load(base, tmp_path)
    path.write_text(json.dumps({**config, "tomorrow": 1}))
    with pytest.warns(UserWarning, match="does not know.*tomorrow"):
        peft.load(base, tmp_path)


def test_what_peft_has_not_is_not_called_by_its_names(tmp_path):
    for method in (VeRA(rank=2, save_projection=False), GLoRA(rank=2, A="vector"), peft.TiedLoRA(rank=2), peft.FacT(rank=2)):
        adapt(make_base(), method).save(tmp_path)
        assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == f"MINIGRAD_{method.name.upper()}"


def test_peft_unmerges_ia3_by_dividing_and_a_scale_of_zero_is_lost():
    base = make_base("float64")
    theirs = hf.get_peft_model(twin(base).eval(), hf.IA3Config(target_modules=["k_proj"], feedforward_modules=[]))
    layer = theirs.get_base_model().blocks[0].attn.k_proj
    before = layer.get_base_layer().weight.detach().clone()
    with torch.no_grad():
        layer.ia3_l["default"][0] = 0.0
    layer.merge()
    layer.unmerge()
    after = layer.get_base_layer().weight.detach()
    assert (after[0] == 0).all() and before[0].abs().max() > 0.01       # the row is gone; ours: test_vectors_gold.py
    assert not torch.equal(after[1:], before[1:])


@pytest.mark.parametrize(("dtype", "trained"), [("float32", False), ("float64", True)])
def test_peft_trains_the_number_that_adaloras_scale_is_divided_by_where_the_base_is_not_float32(dtype, trained):
    """It should stay the initial rank (D12), but a change of dtype makes it a new parameter; no file keeps what it became."""
    config = hf.AdaLoraConfig(init_r=4, target_r=2, total_step=9, target_modules=["q_proj"])
    model = hf.get_peft_model(twin(make_base(dtype)), config)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3):
        model.get_base_model()(torch.tensor(make_ids())).pow(2).mean().backward()
        optimizer.step()
    numbers = [p.item() for name, p in model.named_parameters() if "ranknum" in name]
    assert len(numbers) == 2 and all((abs(n - 4) > 1e-3) == trained for n in numbers)


def test_peft_stores_a_matrix_of_zeros_for_each_support_that_glora_does_not_use(tmp_path):
    config = hf.GloraConfig(r=2, target_modules=["up_proj"], config_A_B="none", config_C="none")
    hf.get_peft_model(twin(make_base()), config).save_pretrained(str(tmp_path))
    shapes = header(tmp_path / "adapter_model.safetensors")
    assert shapes["base_model.model.blocks.0.mlp.up_proj.glora_A.zeros"] == ("F32", (32, 8))
    ours = peft.load(make_base(), tmp_path)
    assert ours.counts()[0] == 0 and sum(p.size for p in ours.own_parameters().values()) == 2 * 2


def test_d11_pefts_defaults_for_ia3_scale_queries_on_some_models():
    """The paper scales keys, values and the MLP's inner features; by name, PEFT's table has q for k on Gemma and Qwen."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as table

    assert sorted(table["llama"]) == ["down_proj", "k_proj", "v_proj"] == sorted(IA3().targets)
    assert sorted(table["gemma2"]) == sorted(table["qwen2"]) == ["down_proj", "q_proj", "v_proj"]


# ---- the names of GPT-2 and Llama ------------------------------------------------------------------------------------

NAMES = {"gpt2": [IA3(), IA3(("q_proj", "v_proj", "up_proj"), feedforward=("up_proj",)), LayerNormTuning(),
                  VeRA(rank=3, targets=("o_proj", "up_proj")), AdaLoRA(rank=2, initial_rank=3, targets=("o_proj", "down_proj")),
                  AdaLoRA(rank=2, initial_rank=4, targets=("blocks.0.attn.o_proj", "blocks.1.mlp.up_proj"), ranks=(1, 3))],
         "llama": [IA3(), VeRA(rank=3), AdaLoRA(rank=2, initial_rank=3), GLoRA(rank=2, targets=("q_proj", "gate_proj")),
                   LayerNormTuning()]}


@pytest.mark.parametrize(("kind", "method"), [(k, m) for k, ms in NAMES.items() for m in ms], ids=short)
def test_under_other_models_names_both_ways(kind, method, tmp_path):
    base, ids = (make_base("float64"), make_ids()) if kind == "gpt2" else (make_llama(), make_ids())
    ours = randomize(adapt(base, method)).eval()
    ours.save(tmp_path / "ours", names=kind)
    theirs = of_peft({"gpt2": gpt2_of, "llama": llama_of}[kind](base), tmp_path / "ours")
    expected = their_logits(theirs, ids).detach().numpy()
    # Llama's norms are float32 there; and D12 is larger for a small rank.
    np.testing.assert_allclose(logits(ours, ids), expected, rtol=0, atol=3e-5 if isinstance(method, AdaLoRA) else 1e-5)
    assert not np.allclose(logits(base, ids), expected, atol=1e-3)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    for folder in ("ours", "theirs"):
        again = peft.load(base, tmp_path / folder).eval()
        np.testing.assert_allclose(logits(again, ids), logits(ours, ids), rtol=0, atol=1e-12)


def test_pefts_defaults_for_ia3_on_gpt2_are_read(tmp_path):
    """All of c_attn is scaled there, queries as well."""
    base, ids = make_base("float64"), make_ids()
    theirs = hf.get_peft_model(gpt2_of(base), hf.IA3Config(task_type="CAUSAL_LM"))
    torch.manual_seed(0)
    with torch.no_grad():
        for p in theirs.parameters():
            if p.requires_grad:
                p.add_(0.3 * torch.randn_like(p))
    theirs.save_pretrained(str(tmp_path))
    ours = peft.load(base, tmp_path).eval()
    assert set(ours.method.targets) == {f"blocks.{i}.{n}" for i in (0, 1)
                                        for n in ("attn.q_proj", "attn.k_proj", "attn.v_proj", "mlp.down_proj")}
    np.testing.assert_allclose(logits(ours, ids), their_logits(theirs, ids).detach().numpy(), rtol=0, atol=1e-6)


def test_what_has_no_parts_in_gpt2_is_refused_both_ways(tmp_path):
    base = make_base("float64")
    for method, words in ((VeRA(rank=2), "attn.v_proj in one layer"), (AdaLoRA(rank=1), "in one layer"),
                          (GLoRA(rank=2, targets="o_proj"), "PEFT's GLoRA does not know"),
                          (IA3(("k_proj",), feedforward=("k_proj",)), "in one layer"), (peft.FacT(rank=2), "no adapter like FacT")):
        with pytest.raises(ValueError, match=words):
            adapt(base, method).save(tmp_path, names="gpt2")
    hf.get_peft_model(gpt2_of(base), hf.VeraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)).save_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match="changes transformer.h.0.attn.c_attn, which is blocks.0.attn.q_proj"):
        peft.load(base, tmp_path)
