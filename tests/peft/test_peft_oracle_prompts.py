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
