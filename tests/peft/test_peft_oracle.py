"""Against Hugging Face PEFT: LoRA on the same GPT in PyTorch, prefix and prompt tuning on transformers' GPT-2."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import peft
from minigrad.peft import LoRA, PrefixTuning, PromptTuning
from tests.peft.rows import adapt, logits, loss_of, make_base, make_ids, randomize

torch = pytest.importorskip("torch")
hf = pytest.importorskip("peft")
from tests.models.torch_gpt import twin  # noqa: E402
from tests.peft.hugging_face import gpt2_of  # noqa: E402

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]
CASES = [LoRA(rank=2, alpha=6),
         LoRA(rank=3, targets=("q_proj", "up_proj", "down_proj"), scaling="alpha/sqrt(r)", bias="all"),
         LoRA(rank=2, targets=("up_proj", "blocks.1.attn.o_proj"), scaling="alpha", alpha=3),
         LoRA(rank=2, targets="k_proj"), LoRA(rank=1, targets=("blocks.[1]*_proj", "v_proj"))]


def theirs_of(base, folder):
    model = twin(base).eval()
    model.prepare_inputs_for_generation = None      # PEFT asks every causal language model for it
    return hf.PeftModel.from_pretrained(model, str(folder), is_trainable=True)


@pytest.mark.parametrize("method", CASES, ids=str)
def test_peft_loads_our_file_and_computes_the_same(method, tmp_path):
    base, ids = make_base("float64"), make_ids()
    ours = randomize(adapt(base, method)).eval()
    ours.save(tmp_path)
    theirs = theirs_of(base, tmp_path)
    run = theirs.get_base_model()                   # the same modules with LoRA in them, called as our twin is
    got = run(torch.tensor(ids))
    np.testing.assert_allclose(logits(ours, ids), got.detach().numpy(), rtol=0, atol=1e-10)
    loss_of(ours, ids).backward()
    out = run(torch.tensor(ids[:, :-1]))
    torch.nn.functional.cross_entropy(out.flatten(0, 1), torch.tensor(ids[:, 1:]).flatten()).backward()
    gradients = {n.replace(".default", ""): p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    for name, p in ours.own_parameters().items():
        expected = gradients[peft.method.PEFT_PREFIX + name]
        np.testing.assert_allclose(mg.to_numpy(p.grad), expected.numpy(), rtol=0, atol=1e-10, err_msg=name)


def test_our_reader_takes_a_file_that_peft_wrote(tmp_path):
    base, ids = make_base(), make_ids()
    torch.manual_seed(0)
    config = hf.LoraConfig(r=2, lora_alpha=5, target_modules=["k_proj", "down_proj"], init_lora_weights=False)
    theirs = hf.get_peft_model(twin(base).eval(), config)
    theirs.save_pretrained(str(tmp_path))
    ours = peft.load(base, tmp_path).eval()
    assert ours.method == LoRA(rank=2, alpha=5, targets=ours.method.targets)
    with torch.no_grad():
        expected = theirs(torch.tensor(ids)).numpy()
    np.testing.assert_allclose(logits(ours, ids), expected, rtol=0, atol=1e-5)
    assert not np.allclose(logits(base, ids), expected, atol=1e-3)


@pytest.mark.parametrize("method", [PrefixTuning(length=3), PromptTuning(length=3)], ids=lambda m: m.name)
def test_prefix_and_prompt_equal_pefts_on_gpt2(method, tmp_path):
    base, ids = make_base("float64"), make_ids()
    ours = randomize(adapt(base, method)).eval()
    ours.save(tmp_path)
    theirs = hf.PeftModel.from_pretrained(gpt2_of(base), str(tmp_path)).double()    # always frozen for these two
    table = theirs.prompt_encoder["default"].embedding.weight.requires_grad_(True)
    out = theirs(input_ids=torch.tensor(ids)).logits[:, -ids.shape[1]:]
    np.testing.assert_allclose(logits(ours, ids), out.detach().numpy(), rtol=0, atol=1e-6)
    logits_of_ours = ours(ids)
    (logits_of_ours * logits_of_ours).sum().backward()
    (out * out).sum().backward()
    if method.name == "prompt":
        mine = mg.to_numpy(ours.model.prompt.grad)
    else:
        mine = np.stack([mg.to_numpy(p.grad) for p in ours.own_parameters().values()]).transpose(2, 0, 1, 3)
        mine = mine.reshape(method.length, -1)      # (P, 2·L·D), as in the file
    np.testing.assert_allclose(mine, table.grad.numpy(), rtol=1e-5, atol=1e-6)
