"""Against Hugging Face PEFT: P-tuning's encoder on GPT-2 and layer-norm tuning on the twin of our GPT."""
import numpy as np
import pytest

import minigrad as mg
from tests.peft.rows import adapt, logits, loss_of, make_base, make_ids, randomize

torch = pytest.importorskip("torch")
hf = pytest.importorskip("peft")
from tests.models.torch_gpt import twin  # noqa: E402
from tests.peft.test_peft_oracle import gpt2_of  # noqa: E402

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]


def test_p_tunings_encoder_equals_pefts():
    from minigrad.peft import PTuning

    base, ids = make_base("float64"), make_ids()
    ours = randomize(adapt(base, PTuning(("p",) * 3, hidden=5))).eval()
    torch.manual_seed(0)
    theirs = hf.get_peft_model(gpt2_of(base), hf.PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=3,
                                                                      encoder_hidden_size=5)).double().eval()
    encoder = theirs.prompt_encoder["default"]
    pairs = [(ours.model.slots.prompt, encoder.embedding.weight)]
    for i, layer in enumerate(m for m in encoder.mlp_head if isinstance(m, torch.nn.Linear)):
        mine = ours.model.slots.get_submodule(f"encoder{i}")
        pairs += [(mine.weight, layer.weight), (mine.bias, layer.bias)]
    with torch.no_grad():
        for mine, their in pairs:
            their.copy_(torch.tensor(mine.numpy()))
    out = theirs(input_ids=torch.tensor(ids)).logits[:, -ids.shape[1]:]
    y = ours(ids)
    np.testing.assert_allclose(y.numpy(), out.detach().numpy(), rtol=0, atol=1e-6)
    (y * y).sum().backward()
    (out * out).sum().backward()
    for mine, their in pairs:
        np.testing.assert_allclose(mg.to_numpy(mine.grad), their.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_p_tunings_file_goes_both_ways(tmp_path):
    from minigrad import peft
    from minigrad.peft import PTuning

    base, ids = make_base("float64"), make_ids()
    ours = randomize(adapt(base, PTuning(("p",) * 3, hidden=5))).eval()
    ours.save(tmp_path / "ours")
    theirs = hf.PeftModel.from_pretrained(gpt2_of(base), str(tmp_path / "ours")).double().eval()
    out = theirs(input_ids=torch.tensor(ids)).logits[:, -ids.shape[1]:]
    np.testing.assert_allclose(logits(ours, ids), out.detach().numpy(), rtol=0, atol=1e-6)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    again = peft.load(base, tmp_path / "theirs").eval()
    assert again.method == PTuning(("p",) * 3)
    np.testing.assert_allclose(logits(again, ids), out.detach().numpy(), rtol=0, atol=1e-6)


def test_layer_norm_tuning_equals_pefts():
    from minigrad.peft import LayerNormTuning

    base, ids = make_base("float64"), make_ids()
    ours = randomize(adapt(base, LayerNormTuning())).eval()
    theirs = hf.get_peft_model(twin(base).eval(), hf.LNTuningConfig(target_modules=["norm1", "norm2", "norm"]))
    trained = {n.removeprefix("base_model.model.").replace("ln_tuning_layers.default.", ""): p
               for n, p in theirs.named_parameters() if p.requires_grad}
    assert set(trained) == set(ours.own_parameters())
    with torch.no_grad():
        for name, p in ours.own_parameters().items():
            trained[name].copy_(torch.tensor(p.numpy()))
    np.testing.assert_allclose(logits(ours, ids), theirs(torch.tensor(ids)).detach().numpy(), rtol=0, atol=1e-10)
    loss_of(ours, ids).backward()
    out = theirs(torch.tensor(ids[:, :-1]))
    torch.nn.functional.cross_entropy(out.flatten(0, 1), torch.tensor(ids[:, 1:]).flatten()).backward()
    for name, p in ours.own_parameters().items():
        np.testing.assert_allclose(mg.to_numpy(p.grad), trained[name].grad.numpy(), rtol=0, atol=1e-10, err_msg=name)


def test_the_gated_prompt_equals_pefts_on_llamas_attention():
    """PEFT has one gate per layer and no tanh; on GPT-2 it leaves o_proj out, on Llama's layout it does not."""
    from peft.tuners.adaption_prompt.layer import AdaptedAttention
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaAttention

    from minigrad.nn.rotary import rotation
    from minigrad.peft import LlamaAdapter

    ours = randomize(adapt(make_base("float64", positions="rotary"), LlamaAdapter(length=3))).model.blocks[0].attn
    config = LlamaConfig(hidden_size=8, num_attention_heads=2, num_key_value_heads=2, head_dim=4, attention_bias=True,
                         attn_implementation="eager")
    attn = LlamaAttention(config, layer_idx=0).double().eval()
    theirs = AdaptedAttention("llama", 3, attn)
    theirs.adaption_prompt.data = torch.tensor(ours.beside.prompt.numpy()[None], requires_grad=True)
    gate = 0.7
    ours.beside.gate.data = np.full(2, gate)
    theirs.adaption_gate.data = torch.tensor([np.tanh(gate)])
    ours.o_proj.bias.data = np.zeros(8)             # PEFT sends each summand through o_proj, so a bias would come twice
    with torch.no_grad():
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            getattr(attn, name).weight.copy_(torch.tensor(getattr(ours, name).weight.numpy()))
            getattr(attn, name).bias.copy_(torch.tensor(getattr(ours, name).bias.numpy()))
    x = np.random.default_rng(0).normal(size=(2, 5, 8))
    turn = rotation(np.arange(5), 4, ours.o_proj.weight)
    cos, sin = (torch.tensor(np.concatenate([t.numpy()] * 2, axis=-1)[None]) for t in turn)
    mask = torch.full((5, 5), -torch.inf, dtype=torch.float64).triu(1)[None, None]
    out, *_ = theirs(hidden_states=torch.tensor(x), position_embeddings=(cos, sin), attention_mask=mask)
    y = ours(mg.tensor(x), None, turn)
    np.testing.assert_allclose(y.numpy(), out.detach().numpy(), rtol=0, atol=1e-6)      # its softmax is float32
    (y * y).sum().backward()
    (out * out).sum().backward()
    np.testing.assert_allclose(mg.to_numpy(ours.beside.prompt.grad), theirs.adaption_prompt.grad[0].numpy(), atol=1e-5)
    slope = 1 - np.tanh(gate) ** 2
    np.testing.assert_allclose(mg.to_numpy(ours.beside.gate.grad).sum(), theirs.adaption_gate.grad.item() * slope, rtol=1e-5)


def test_d6_on_gpt2_peft_adds_the_prompts_heads_behind_o_proj():
    """The official code adds them before it, as ours does: these heads then pass through o_proj like the others."""
    from peft.tuners.adaption_prompt.layer import AdaptedAttentionGPT

    from minigrad.peft import LlamaAdapter

    base = make_base("float64")
    ours = randomize(adapt(base, LlamaAdapter(length=3))).eval().model.blocks[0].attn
    theirs = AdaptedAttentionGPT("gpt2", 3, gpt2_of(base).transformer.h[0].attn)
    gate = 0.7
    ours.beside.gate.data = np.full(2, gate)
    theirs.adaption_prompt.data = torch.tensor(ours.beside.prompt.numpy()[None])
    theirs.adaption_gate.data = torch.tensor([np.tanh(gate)])
    x = np.random.default_rng(0).normal(size=(2, 5, 8))
    with torch.no_grad():
        mask = torch.full((5, 5), -torch.inf, dtype=torch.float64).triu(1)[None, None]
        out = theirs(torch.tensor(x), attention_mask=mask)[0].numpy()
    plain = base.blocks[0].attn(mg.tensor(x)).numpy()
    heads = ours.beside(ours, ours.split_heads(ours.q_proj(mg.tensor(x)))).numpy()          # (B, H, T, D/H)
    heads = heads.transpose(0, 2, 1, 3).reshape(2, 5, 8)
    np.testing.assert_allclose(out - plain, heads, rtol=0, atol=1e-6)                       # its softmax is float32
    np.testing.assert_allclose(ours(mg.tensor(x)).numpy() - plain, heads @ base.blocks[0].attn.o_proj.weight.numpy().T,
                               rtol=0, atol=1e-12)
