"""Every wrong use gets a message that says what was given and what is needed."""
import dataclasses
import math
import re

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


WRONG = {"int": (2.5, True, "4", None), "float": (math.nan, math.inf, True, "4", None), "bool": (1, "yes", None),
         "str": (3, None), "tuple": (3, True, None), "dict": (3, "4")}


@pytest.mark.parametrize(("name", "field", "value"), [
    (name, field, value) for name, cls in peft.methods().items() for field in dataclasses.fields(cls)
    for kind, values in WRONG.items() if kind in field.type.split(" | ")[0] for value in values
    if not (value is None and "None" in field.type) and not (isinstance(value, str) and "str" in field.type)],
    ids=lambda v: v.name if isinstance(v, dataclasses.Field) else repr(v))
def test_no_hyper_parameter_takes_a_value_of_another_kind(name, field, value):
    needed = {f.name: 2 for f in dataclasses.fields(peft.methods()[name]) if f.default is dataclasses.MISSING}
    with pytest.raises(ValueError, match=f"{field.name} must be .*; got {re.escape(repr(value))}"):
        peft.create(name, **{**needed, field.name: value})


@pytest.mark.parametrize(("cls", "field"), [
    (cls, name) for cls in peft.methods().values() for name in ("alpha", "scale", "d_initial")
    if name in cls.__dataclass_fields__])
def test_a_factor_of_0_would_learn_nothing(cls, field):
    with pytest.raises(ValueError, match=f"{field} must be above 0; got 0"):
        cls(**{field: 0})


def test_numbers_and_arrays_of_numpy_are_taken_as_pythons():
    assert LoRA(rank=np.int64(4), alpha=np.float32(2), layers=np.arange(2)) == LoRA(rank=4, alpha=2.0, layers=(0, 1))
    assert type(LoRA(rank=np.int64(4)).rank) is int
    assert PromptTuning(2, "text", np.array([3, 1])).text == (3, 1)


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


@pytest.mark.parametrize(("name", "cls"), peft.methods().items(), ids=str)
def test_a_model_that_is_no_gpt_is_adapted_or_refused(name, cls, backend):
    net = mg.nn.Sequential(mg.nn.Linear(6, 9), mg.nn.Linear(9, 5))
    needed = {f.name: 2 for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING}
    method = cls(**needed, **({"targets": "all-linear"} if "targets" in cls.__dataclass_fields__ else {}))
    method = dataclasses.replace(method, feedforward=()) if name == "ia3" else method
    method = dataclasses.replace(method, rank=2) if "rank" in cls.__dataclass_fields__ else method
    if cls.needs or name == "combined":
        with pytest.raises(TypeError, match="works on a GPT; got Sequential, which has no "):
            adapt(net, method)
    elif name == "layernorm":
        with pytest.raises(ValueError, match="trains no parameter of this Sequential"):
            adapt(net, method)
    else:
        adapted = adapt(net, method)
        adapted(mg.ones(4, 6)).sum().backward()
        assert any(p.grad is not None for p in adapted.trainable_parameters())


@pytest.mark.parametrize("method", [peft.InfixTuning(2, separator=11), peft.PreEmbed(1, 1, separator=99),
                                    peft.PreLayer(1, 1, separator=11)], ids=str)
def test_a_separator_must_be_a_token(method, backend):
    with pytest.raises(ValueError, match="separator=.* is no token of this model; its vocabulary is 0 … 10"):
        adapt(make_base(), method)


def test_an_adapters_name_is_a_word(backend):
    for name in ("", 3, None):
        with pytest.raises(TypeError, match="name is a word, such as 'default'; got"):
            adapt(make_base(), LoRA(rank=2), name=name)


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
