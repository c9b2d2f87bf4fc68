"""The calculator against every number that the literature and the course state, and against the engine, to the byte."""
from types import SimpleNamespace

import numpy as np
import pytest

import minigrad as mg
from minigrad import peft, training
from minigrad.training import activation_model
from minigrad.training import memory_model as mm

GB = mm.GB


@pytest.mark.parametrize(("scheme", "weights", "gradients", "optimizer", "total"), [
    ("fp32-adam", 4, 4, 8, 16), ("mixed", 2, 2, 12, 16), ("autocast", 4, 4, 8, 16), ("16bit", 2, 2, 8, 12),
    ("bf16", 2, 2, 4, 8), ("bf16-kahan", 2, 2, 6, 10), ("adam8bit", 4, 4, 2.03125, 10.03125), ("sgd", 2, 2, 4, 8),
    ("momentum", 2, 2, 8, 12),
])
def test_bytes_per_parameter(scheme, weights, gradients, optimizer, total):
    s = mm.SCHEMES[scheme]
    assert (s.weights, s.gradients, s.optimizer, s.total) == (weights, gradients, optimizer, total)
    assert mm.model_states(1000, scheme=scheme).total == 1000 * total


def test_autocast_as_hugging_face_counts_it():
    assert mm.SCHEMES["autocast"].total + mm.SCHEMES["autocast"].transient == 18


@pytest.mark.parametrize(("devices", "billions", "expected"), [
    (1, 7.5, (120, 120, 120)), (4, 7.5, (52.5, 41.25, 30)), (16, 7.5, (35.62, 21.56, 7.5)),
    (64, 7.5, (31.41, 16.64, 1.875)), (256, 7.5, (30.35, 15.41, 0.47)), (1024, 7.5, (30.09, 15.10, 0.117)),
    (1, 128, (2048, 2048, 2048)), (4, 128, (896, 704, 512)), (16, 128, (608, 368, 128)), (64, 128, (536, 284, 32)),
    (256, 128, (518, 263, 8)), (1024, 128, (513.5, 257.8, 2)),
    (1, 1000, (16000, 16000, 16000)), (4, 1000, (7000, 5500, 4000)), (16, 1000, (4750, 2875, 1000)),
    (64, 1000, (4187.5, 2218.75, 250)), (256, 1000, (4046.9, 2054.7, 62.5)), (1024, 1000, (4011.7, 2013.7, 15.6)),
])
def test_the_zero_table(devices, billions, expected):
    got = [mm.zero(mm.model_states(billions * 1e9), stage, devices).total / GB for stage in (1, 2, 3)]
    for value, printed in zip(got, expected, strict=True):
        digits = len(str(printed).partition(".")[2])
        assert abs(value - printed) <= 0.5001 * 10 ** -digits, (value, printed)


def test_the_four_numbers_of_the_course():
    states = mm.model_states(7.5e9, scheme="mixed")
    assert [round(mm.zero(states, stage, 64).total / GB, 1) for stage in range(4)] == [120.0, 31.4, 16.6, 1.9]


def test_weights_and_states_of_known_models():
    assert mm.weight_bytes(1.5e9) == 3e9 and mm.model_states(1.5e9).total == 24e9                  # GPT-2
    assert mm.weight_bytes(175e9, 32) == 700e9 and mm.weight_bytes(175e9, 16) == 350e9             # GPT-3
    assert mm.weight_bytes(7e9) == 14e9
    llama = mm.SHAPES["llama-7b"].params                                                           # the slide's 23 GB is neither
    assert round(mm.weight_bytes(llama, 32) / GB, 2) == 26.95 and round(mm.weight_bytes(llama) / GB, 2) == 13.48


@pytest.mark.parametrize(("layers", "width", "rank", "matrices", "count"), [
    (96, 12288, 1, 2, 4_718_592), (96, 12288, 8, 2, 37_748_736), (96, 12288, 8, 1, 18_874_368),
    (96, 12288, 4, 2, 18_874_368), (96, 12288, 2, 4, 18_874_368), (32, 4096, 8, 2, 4_194_304), (24, 1024, 4, 2, 393_216),
    (36, 1280, 4, 2, 737_280),
])
def test_lora_counts(layers, width, rank, matrices, count):
    assert mm.lora_count(layers, width, rank, matrices) == count
    targets = ("q_proj", "v_proj", "k_proj", "o_proj")[:matrices]
    config = mg.models.GPTConfig(50257, d_model=width, n_layers=layers, n_heads=1)
    assert peft.LoRA(rank=rank, targets=targets).count(config) == count                    # the method's own closed form


def test_lora_in_bytes():
    assert round(mm.weight_bytes(mm.lora_count(32, 4096, 8)) / 1e6, 2) == 8.39
    assert 100 * 500 == 50_000 and 5 * (100 + 500) == 3_000                                # the course's example of one matrix
    trained = mm.lora_count(96, 12288, 8)
    states = mm.model_states(175e9, trained)
    assert states.weights == 2 * 175e9 + 2 * trained and states.gradients == 2 * trained
    assert states.total == 350e9 + 16 * trained                                            # base weights + 16 per trained


def test_qlora():
    assert mm.model_states(65e9, scheme="16bit").total == 780e9
    assert mm.nf4_bits(double=False) == 4.5 and round(mm.nf4_bits(), 3) == 4.127
    assert round(mm.weight_bytes(65e9, mm.nf4_bits()) / GB, 1) == 33.5
    assert round(mm.weight_bytes(65e9, mm.nf4_bits(double=False)) / GB, 1) == 36.6
    saved = mm.nf4_bits(double=False) - mm.nf4_bits()
    assert round(saved, 3) == 0.373 and round(mm.weight_bytes(65e9, saved) / GB, 2) == 3.03
    assert mm.model_states(65e9, 200e6, base_bits=mm.nf4_bits()).total < 48e9


def test_the_courses_qlora_measurement_is_not_39_percent():
    assert round(mm.change_percent(21.33, 14.18), 1) == -33.5 and round(mm.change_percent(1.85, 2.79), 1) == 50.8


def test_kv_cache():
    assert mm.kv_bytes(32, 32, 128) == mm.SHAPES["llama-7b"].kv_bytes() == 524_288
    assert mm.SHAPES["llama-7b"].kv_bytes(tokens=2048) == 2 ** 30
    small = mm.SHAPES["smollm2-135m"]
    assert small.kv_bytes() == 23_040 and small.kv_bytes(bytes_each=4) == 46_080


def test_kv_cache_is_the_models(backend):
    config = mg.models.GPTConfig(16, context=8, d_model=16, n_layers=3, n_heads=2)
    cache = mg.models.GPT(config).new_cache(2)
    held = sum(array.nbytes for layer in cache.layers for array in (layer.k, layer.v))
    assert held == mm.kv_bytes(3, 2, 8, tokens=8, batch=2, bytes_each=4)


@pytest.mark.parametrize("shape", mm.GPT3, ids=lambda shape: shape.name)
def test_the_gpt3_table(shape):
    assert shape.computed == pytest.approx(shape.params, rel=0.03)
    config = mg.models.GPTConfig(shape.vocabulary, shape.context, shape.width, shape.layers, 1, tie_head=True)
    assert peft.FullFineTuning().count(config) == shape.computed
    assert bool(shape.remark) == (shape.heads * shape.head_dim != shape.width)


def test_flops():
    big = mm.SHAPES["gpt3-175b"]
    assert mm.flops_per_step(big) == 6 * 175e9 * 3.2e6
    assert 300e9 * mm.flops_per_token(175e9) == pytest.approx(3.14e23, rel=0.01)           # the paper's total: 3.14e23
    extra = mm.flops_per_step(big, attention=True) / mm.flops_per_step(big) - 1
    assert 0.02 < extra < 0.03
    with pytest.raises(ValueError, match="no batch size"):
        mm.flops_per_step(mm.SHAPES["llama-7b"])


def test_bytes_sent_are_not_the_payload():
    assert mm.bytes_sent(100.0, 1, 2) == 100.0 and mm.bytes_sent(100.0, 0, 4) == 150.0
    assert mm.bytes_sent(100.0, 3, 4) == 1.5 * mm.bytes_sent(100.0, 2, 4) and mm.bytes_sent(100.0, 3, 1) == 0.0


@pytest.mark.parametrize(("call", "text"), [
    (lambda: mm.scheme_named("mixd"), "known are fp32-adam, mixed"),
    (lambda: mm.model_states(-1), "params must be a finite number"),
    (lambda: mm.model_states(10, 11, added=False), "come on top"),
    (lambda: mm.model_states(10, base_bits=4), "base_bits is for frozen"),
    (lambda: mm.zero(mm.model_states(1), 4, 2), "stage must be"),
    (lambda: mm.zero(mm.model_states(1), 1, 0), "devices must be"),
])
def test_mistakes_are_told(call, text):
    with pytest.raises(ValueError, match=text):
        call()


# ---- against the engine -------------------------------------------------------------------------------------------------

METHODS = [peft.FullFineTuning(), peft.TopK(0), peft.TopK(1), peft.TopK(2, head=False), peft.TopK(3), peft.create("bitfit"),
           peft.create("layernorm"), peft.Adapter(3),
           peft.PrefixTuning(2), peft.PromptTuning(2), peft.LoRA(2), peft.LoRA(3, targets=("k_proj",)),
           peft.LoRA(2, targets=("o_proj",)), peft.LoRA(2, targets=("up_proj", "down_proj")),
           peft.LoRA(2, targets=("down_proj",)), peft.LoRA(2, targets="all-linear"), peft.LoRAPlus(2),
           peft.LoRAFA(2), peft.LoRAFA(3, targets=("o_proj", "down_proj")), peft.LoRA(2, layers=(0, 1, 2)), peft.PiSSA(2)]


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_theory_is_what_a_step_holds(method, backend):
    config = mg.models.GPTConfig(24, context=16, d_model=16, n_layers=3, n_heads=2, d_ff=40)
    adapted = peft.apply(mg.models.GPT(config), method)
    ids = np.arange(4 * 7).reshape(4, 7) % 24
    use = training.memory(adapted, SimpleNamespace(ids=ids, targets=ids))
    trained = method.count(config)
    base = peft.FullFineTuning().count(config)
    states = mm.model_states(base, trained, scheme="fp32-adam", added=method.name not in mm.IN_PLACE)
    fixed = sum(b.data.nbytes for _, b in adapted.named_buffers())      # LoRA-FA's A, PiSSA's start: held, never trained
    assert (use.weights - fixed, use.gradients, use.optimizer) == (states.weights, states.gradients, states.optimizer)
    assert use.activations == activation_model.activation_bytes(method, config, 4, 7)


@pytest.mark.parametrize("method", [peft.LoRA(2, dropout=0.1), peft.LoRA(2, bias="all"), peft.LoRA(2, targets=("head",)),
                                    peft.LoRA(2, targets=("blocks.1.attn.q_proj",)), peft.PrefixTuning(2, hidden=4),
                                    peft.LoRA(2, targets=("q_proj", "token_embedding")), peft.LoRA(2, layers=(1,)),
                                    peft.LoRA(2, rank_pattern={"q_proj": 1}), peft.LoRA(2, slices=(True, False))],
                         ids=repr)
def test_what_has_no_formula_says_so(method):
    assert activation_model.activation_bytes(method, mg.models.GPTConfig(24, d_model=16, n_heads=2), 4, 7) is None
