"""Every wrong use gets a message that says what was given and what is needed."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import peft
from minigrad.peft import Adapter, LoRA, Method, PrefixTuning, PromptTuning, TopK
from tests.peft.rows import adapt, make_base, make_ids


@pytest.mark.parametrize(("make", "words"), [
    (lambda: LoRA(rank=0), "rank must be a whole number of at least 1; got 0"),
    (lambda: LoRA(rank=2.5), "got 2.5"),
    (lambda: LoRA(scaling="r/alpha"), "'alpha/sqrt\\(r\\)'; got 'r/alpha'"),
    (lambda: LoRA(init="ones"), "'gaussian'"),
    (lambda: LoRA(bias="some"), "'lora_only'"),
    (lambda: LoRA(dropout=1.0), "dropout must lie in 0 … 1"),
    (lambda: Adapter(bottleneck=-1), "bottleneck"),
    (lambda: Adapter(init="zeros"), "'zero_up', 'houlsby'"),
    (lambda: PrefixTuning(length=0), "length"),
    (lambda: PrefixTuning(hidden=0), "hidden"),
    (lambda: PrefixTuning(positions="no"), "'shift', 'keep'"),
    (lambda: PromptTuning(length=True), "length"),
    (lambda: TopK(-1), "k must be a whole number of at least 0; got -1"),
    (lambda: peft.create("lorra"), "unknown method 'lorra'.*Did you mean 'lora'"),
    (lambda: peft.create("lora", ranks=3), "no hyper-parameter 'ranks'.*Did you mean 'rank'"),
    (lambda: peft.create("topk"), "needs a value for k"),
])
def test_bad_hyper_parameters(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(("method", "words"), [
    (LoRA(targets=("q_proj", "w_proj")), "'w_proj' matches no linear layer.*q_proj, k_proj, v_proj.*Did you mean"),
    (LoRA(targets="blocks.7.*"), "'blocks.7.\\*' matches no"),
    (LoRA(targets=()), "no targets"),
    (LoRA(targets=("norm1",)), "matches no linear layer"),
    (LoRA(rank=9), "rank 9 is too large for blocks.0.attn.q_proj, whose weight is 8 × 8"),
    (TopK(3), "k=3, but the model has 2 blocks"),
    (PrefixTuning(length=16), "leaves no room in a context of 16"),
    (PromptTuning(length=16), "leaves no room in a context of 16"),
])
def test_methods_that_do_not_fit_the_model(method, words, backend):
    base = make_base()
    names = [n for n, _ in base.named_modules()]
    with pytest.raises(ValueError, match=words):
        adapt(base, method)
    assert [n for n, _ in base.named_modules()] == names
    if method.name in ("lora", "topk"):
        with pytest.raises(ValueError, match=words):
            method.count(base.config)


def test_the_command_line_gets_the_same_words_for_a_missing_target():
    with pytest.raises(ValueError, match="Available: q_proj"):
        LoRA(targets=("nothing",)).count(mg.models.GPTConfig(vocab_size=8))


def test_adapting_twice_or_something_else(backend):
    base = make_base()
    adapted = adapt(base, LoRA(rank=2))
    with pytest.raises(TypeError, match="adapted already, by LoRA.*adapted.base"):
        adapt(adapted, TopK(1))
    with pytest.raises(TypeError, match="needs a model"):
        adapt("gpt2", LoRA())
    with pytest.raises(TypeError, match="call it"):
        adapt(base, LoRA)
    with pytest.raises(TypeError, match="needs a method"):
        adapt(base, "lora")
    with pytest.raises(ValueError, match="called 'default' already"):
        adapted.add("default", LoRA())
    with pytest.raises(KeyError, match="no adapter is called 'x'.*'default'"):
        adapted.set_active("x")
    with pytest.raises(ValueError, match="the only one"):
        adapted.delete("default")
    with pytest.raises(TypeError, match="works on a GPT"):
        PromptTuning().attach(mg.nn.Linear(2, 2), np.random.default_rng(0))


class Nothing(Method):
    """A method that trains nothing."""

    def attach(self, model, rng):
        return model

    def count(self, config):
        return 0


def test_a_method_that_trains_nothing(backend):
    with pytest.raises(ValueError, match="trains no parameter"):
        adapt(make_base(), Nothing())
    adapted = adapt(make_base(), LoRA(rank=2))
    adapted.set_trainable(False)
    with pytest.raises(ValueError, match="parameter"):
        mg.optim.AdamW(adapted.trainable_parameters())


def test_the_registry_wants_complete_facts():
    with pytest.raises(ValueError, match="'name'"):
        peft.register(Nothing)
    with pytest.raises(ValueError, match="say why"):
        peft.register(type("Bare", (Nothing,), dict(name="bare", paper="1", formula="0", extra_latency="none")))
    with pytest.raises(ValueError, match="two methods are called 'lora'"):
        peft.register(type("Other", (LoRA,), {}))
    assert "bare" not in peft.methods() and peft.methods()["lora"] is LoRA


def test_reparametrized_prefix_takes_no_file(backend, tmp_path):
    adapted = adapt(make_base(), PrefixTuning(length=3, hidden=4))
    with pytest.raises(ValueError, match="bake"):
        adapted.load_state(adapted.state())
    assert adapted.bake().bake().method.hidden is None
    adapted.load_state(adapted.state())
    assert np.isfinite(adapted(make_ids()).numpy()).all()
