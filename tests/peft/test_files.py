"""Saving and loading: the format on disk, and everything that can be wrong with it."""
import json
import os
import pathlib
import struct
import subprocess
import sys

import numpy as np
import pytest
from safetensors import numpy as safetensors

from minigrad import peft
from minigrad.peft import LoRA, PiSSA, PrefixTuning, PromptTuning, TopK
from minigrad.peft.files import size_on_disk
from tests.peft.rows import adapt, logits, make_base, make_ids, randomize

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    randomize(adapt(make_base(), LoRA(rank=2))).save(tmp_path / "adapter")
    return tmp_path / "adapter"


def header(path):
    """{name: (dtype, shape)} by the layout's own rules: 8 bytes of length, then JSON."""
    data = path.read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    found = json.loads(data[8:8 + n])
    assert found.pop("__metadata__") == {"format": "pt"}
    return {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in found.items()}


def test_the_file_is_what_peft_writes(folder, backend):
    prefix = "base_model.model.blocks."
    assert header(folder / "adapter_model.safetensors") == {
        f"{prefix}{i}.attn.{name}.lora_{ab}.weight": ("F32", (2, 8) if ab == "A" else (8, 2))
        for i in (0, 1) for name in ("q_proj", "v_proj") for ab in "AB"}
    config = json.loads((folder / "adapter_config.json").read_text())
    assert {k: config[k] for k in ("peft_type", "r", "lora_alpha", "target_modules", "lora_dropout", "bias")} == {
        "peft_type": "LORA", "r": 2, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.0,
        "bias": "none"}
    assert config["minigrad"]["hyper"]["rank"] == 2 and len(config["minigrad"]["base"]["fingerprint"]) == 64
    assert sorted(os.listdir(folder)) == ["adapter_config.json", "adapter_model.safetensors"]


def test_prefix_and_prompt_are_one_tensor(backend, tmp_path):
    base = make_base()
    adapt(base, PrefixTuning(length=3, hidden=4)).save(tmp_path / "prefix")
    adapted = adapt(base, PrefixTuning(length=3))
    adapted.save(tmp_path / "plain")
    adapt(base, PromptTuning(length=3)).save(tmp_path / "prompt")
    assert header(tmp_path / "prefix" / "adapter_model.safetensors") == {"prompt_embeddings": ("F32", (3, 2 * 2 * 8))}
    assert header(tmp_path / "prompt" / "adapter_model.safetensors") == {"prompt_embeddings": ("F32", (3, 8))}
    rows = adapted.state()["prompt_embeddings"].reshape(3, 4, 2, 4)         # PEFT's view: (P, 2·L, H, D/H), K V K V
    for layer, block in enumerate(adapted.model.blocks):
        assert np.array_equal(rows[:, 2 * layer].transpose(1, 0, 2), block.attn.prefix.key.numpy())
        assert np.array_equal(rows[:, 2 * layer + 1].transpose(1, 0, 2), block.attn.prefix.value.numpy())


def test_a_file_without_our_section_is_read_by_pefts_words(folder, backend):
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    ours = peft.load(make_base(), folder)
    del config["minigrad"]
    path.write_text(json.dumps({**config, "an_option_of_tomorrow": None, "another": 3}))
    with pytest.warns(UserWarning, match="not written by minigrad"), \
            pytest.warns(UserWarning, match="does not know, which are ignored: an_option_of_tomorrow, another"):
        theirs = peft.load(make_base(), folder)
    assert theirs.method == ours.method
    assert np.array_equal(logits(theirs, make_ids()), logits(ours, make_ids()))


# What PEFT would put where, in the words of its adapter_config.json; the tensors are those of q_proj and v_proj, rank 2.
@pytest.mark.parametrize("words", [
    {"target_modules": r".*\.(q|v)_proj"}, {"target_modules": ["attn.v_proj", "q_proj"]},
    {"target_modules": ["q_proj", "k_proj", "v_proj"], "exclude_modules": ["k_proj"]},
    {"target_modules": "all-linear", "exclude_modules": ".*(k|o|up|down)_proj"},
    {"layers_to_transform": [0, 1], "layers_pattern": "blocks"}, {"r": 7, "rank_pattern": {"q_proj": 2, "blocks.*v_proj": 2}},
    {"lora_alpha": 3, "alpha_pattern": {r".*\.[01]\.attn\.(q|v)_proj": 16}}], ids=str)
def test_targets_and_patterns_are_read_as_peft_means_them(words, folder, backend):
    path = folder / "adapter_config.json"
    ours = peft.load(make_base(), folder)
    config = json.loads(path.read_text())
    del config["minigrad"]
    path.write_text(json.dumps({**config, **words}))
    with pytest.warns(UserWarning, match="not written by minigrad"):
        theirs = peft.load(make_base(), folder)
    assert np.array_equal(logits(theirs, make_ids()), logits(ours, make_ids()))


@pytest.mark.parametrize(("words", "message"), [
    ({"modules_to_save": ["head"]}, "modules_to_save=\\['head'\\]"),
    ({"lora_bias": True}, "missing: .*q_proj.lora_B.bias, shape"),
    ({"init_lora_weights": "corda"}, "init_lora_weights='corda', which changes the base"),
    ({"target_modules": ["q_proj"]}, "unexpected: base_model.model.blocks.0.attn.v_proj.lora_A.weight"),
    ({"target_modules": ["q_proj", "v_proj", "k_proj"]}, "missing: base_model.model.blocks.0.attn.k_proj.lora_A.weight"),
    ({"target_modules": ["c_attn"]}, "none of this model's layers"), ({"layers_to_transform": 0}, "unexpected: .*blocks.1"),
    ({"r": 3}, "wrong shape: .*lora_A.weight is \\(2, 8\\), the model needs \\(3, 8\\)"),
    ({"use_dora": True}, "missing: base_model.model.blocks.0.attn.q_proj.lora_magnitude_vector, shape \\(8,\\)")], ids=str)
def test_what_does_not_go_with_the_tensors_or_with_us_is_refused(words, message, folder, backend):
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    del config["minigrad"]
    path.write_text(json.dumps({**config, **words}))
    with pytest.warns(UserWarning, match="not written by minigrad"), pytest.raises(ValueError, match=message):
        peft.load(make_base(), folder)


def test_the_base_s_own_embedding_in_a_file_must_be_the_base_s(folder, backend):
    """PEFT writes it beside a LoRA on an embedding, trained or not."""
    config, path = json.loads((folder / "adapter_config.json").read_text()), folder / "adapter_model.safetensors"
    del config["minigrad"]
    (folder / "adapter_config.json").write_text(json.dumps(config))
    state, base = safetensors.load(path.read_bytes()), make_base()
    expected = {n: a.copy() for n, a in state.items()}
    state["base_model.model.token_embedding.base_layer.weight"] = base.token_embedding.weight.numpy()
    state["base_model.model.head.weight"] = base.head.weight.numpy()
    path.write_bytes(safetensors.save(state))
    with pytest.warns(UserWarning, match="not written by minigrad"):
        loaded = peft.load(base, folder)
    assert all(np.array_equal(a, expected[n]) for n, a in loaded.state().items()) and len(loaded.state()) == len(expected)
    for other in (base.head.weight.numpy() + 1, base.head.weight.numpy()[:9]):
        path.write_bytes(safetensors.save({**state, "base_model.model.head.weight": other}))
        with pytest.warns(UserWarning), pytest.raises(ValueError, match="head.weight of its own.*not this base's"):
            peft.load(base, folder)


def test_other_types_of_peft(folder, backend):
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    del config["minigrad"]
    for words, message in (({"peft_type": "PREFIX_TUNING"}, "lacks 'num_virtual_tokens'"),
                           ({"peft_type": "BOFT"}, "peft_type 'BOFT'")):
        path.write_text(json.dumps({**config, **words}))
        with pytest.warns(UserWarning, match="not written by minigrad"), pytest.raises(ValueError, match=message):
            peft.load(make_base(), folder)


def test_a_file_under_gpt2s_names_comes_back(backend, tmp_path):
    """q and v of their own become one pair of rank 4 for c_attn; read again, they are pairs of rank 4 each."""
    base, ids = make_base(), make_ids()
    adapted = randomize(adapt(base, LoRA(rank=2, alpha=5, targets=("q_proj", "v_proj", "down_proj", "token_embedding"))))
    adapted.save(tmp_path, names="gpt2")
    shapes = header(tmp_path / "adapter_model.safetensors")
    layer = "base_model.model.transformer.h.1"
    assert shapes[f"{layer}.attn.c_attn.lora_A.weight"] == ("F32", (4, 8))
    assert shapes[f"{layer}.attn.c_attn.lora_B.weight"] == ("F32", (24, 4))
    assert shapes[f"{layer}.mlp.c_proj.lora_A.weight"] == ("F32", (2, 32))
    assert shapes["base_model.model.transformer.wte.lora_embedding_A"] == ("F32", (2, 11))
    again = peft.load(make_base(), tmp_path)
    assert again.method.rank_and_scale("blocks.0.attn.k_proj")[0] == 4
    np.testing.assert_allclose(logits(again, ids), logits(adapted, ids), rtol=0, atol=1e-5)
    again.save(tmp_path / "second", names="gpt2")   # now q, k and v share one A again: the same file
    assert header(tmp_path / "second" / "adapter_model.safetensors") == shapes
    with pytest.raises(ValueError, match="other weights"):
        other = make_base()
        other.norm.weight.data = other.norm.weight.data + 1
        peft.load(other, tmp_path)


@pytest.mark.parametrize(("method", "names", "words"), [
    (LoRA(rank=2), "gpt3", "'gpt2', 'llama'; got 'gpt3'"), (TopK(1), "gpt2", "PEFT has no adapter like TopK"),
    (PiSSA(rank=2), "gpt2", "peft.to_lora"), (LoRA(rank=2, targets="v_proj", slices=(True, False)), "llama", "peft.to_lora"),
    (LoRA(rank=2, targets="position_embedding"), "llama", "has nothing like position_embedding")], ids=str)
def test_what_has_no_name_elsewhere(method, names, words, backend, tmp_path):
    with pytest.raises(ValueError, match=words):
        adapt(make_base(), method).save(tmp_path / "adapter", names=names)
    assert not (tmp_path / "adapter").exists()


def test_sizes_on_disk_are_those_of_the_files(folder, backend, capsys):
    adapted = peft.load(make_base(), folder)
    own, base = size_on_disk(adapted)
    assert own == os.path.getsize(folder / "adapter_model.safetensors")
    assert 4 * make_base().num_parameters() < base < 4 * make_base().num_parameters() + 4000
    adapted.summary()
    assert f"on disk: {own:,d} bytes || base: {base:,d} bytes || {100 * own / base:.4f}%" in capsys.readouterr().out


def test_another_base_is_refused(folder, backend):
    with pytest.raises(ValueError, match="its base has n_layers=2, this one 3"):
        peft.load(make_base(n_layers=3), folder)
    with pytest.raises(ValueError, match="its base has d_model=8, this one 12; its base has d_ff=32, this one 48"):
        peft.load(make_base(d_model=12), folder)
    other = make_base()
    other.norm.weight.data = other.norm.weight.data + 1
    with pytest.raises(ValueError, match="other weights: fingerprint [0-9a-f]{12}…, this model has [0-9a-f]{12}…"):
        peft.load(other, folder)
    assert peft.load(other, folder, check_base=False).method.rank == 2
    assert peft.load(make_base(dropout=0.1), folder).method.rank == 2       # dropout is no size


def test_a_damaged_file_is_refused(folder, backend):
    tensors, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    whole, text = tensors.read_bytes(), config.read_text()
    for damaged in (whole[:-5], whole[:20], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        tensors.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged"):
            peft.load(make_base(), folder)
    tensors.write_bytes(whole)
    for damaged, words in ((text[:30], "not readable JSON"), ("[1]", "must hold a JSON object"),
                           (text.replace('"format": 1', '"format": 9'), "format 9"),
                           (text.replace('"method": "lora"', '"method": "lorra"'), "needs the method 'lorra'")):
        config.write_text(damaged)
        with pytest.raises(ValueError, match=words):
            peft.load(make_base(), folder)
    parsed = json.loads(text)
    del parsed["minigrad"]
    config.write_text(json.dumps(parsed))
    tensors.write_bytes(whole[:-5])
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="not a safetensors file, or it is cut off"):
        peft.load(make_base(), folder)
    tensors.unlink()
    with pytest.raises(FileNotFoundError, match="adapter_model.safetensors"):
        peft.load(make_base(), folder)
    with pytest.raises(FileNotFoundError, match="adapter_config.json"):
        peft.load(make_base(), folder / "nowhere")


@pytest.mark.parametrize(("change", "words"), [
    (lambda c: c.update(minigrad=None), "section \\(format None\\)"), (lambda c: c.update(minigrad=7), "section \\(format 7\\)"),
    (lambda c: c["minigrad"].pop("hyper"), "has been edited: hyper is missing"),
    (lambda c: c["minigrad"].update(method=["lora"]), "has been edited: method is missing or not what"),
    (lambda c: c["minigrad"].update(base="reader"), "has been edited: base is"),
    (lambda c: c["minigrad"]["base"].update(config=None), "has been edited: base.config is"),
    (lambda c: c["minigrad"]["hyper"].update(rank="2"), "adapter_config.json: LoRA: rank must be a whole number; got '2'"),
    (lambda c: c["minigrad"]["hyper"].update(rang=2), "no hyper-parameter 'rang'"),
    (lambda c: c["minigrad"]["hyper"].update(alpha=99), 'lora_alpha is 16, and by its "minigrad" section 99'),
    (lambda c: c.update(lora_alpha=99), 'contradicts itself: lora_alpha is 99, and by its "minigrad" section 16'),
    (lambda c: c.update(target_modules=["q_proj"]), "contradicts itself: target_modules is"),
    (lambda c: (c.pop("minigrad"), c.update(target_modules=3)), "a list of names or a regular expression; got 3")])
@pytest.mark.filterwarnings("ignore:this adapter was not written by minigrad")
def test_an_edited_description_is_refused_in_words(change, words, folder, backend):
    config = json.loads((folder / "adapter_config.json").read_text())
    change(config)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=words):
        peft.load(make_base(), folder)


def test_an_option_that_was_added_is_warned_about(folder, backend):
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "use_magic": True}))
    with pytest.warns(UserWarning, match="did not write, which are ignored: use_magic"):
        peft.load(make_base(), folder)


def test_a_base_in_another_dtype_is_named(folder, backend):
    with pytest.raises(ValueError, match="a base in float32, and this one is in float64.*dtype='float32'"):
        peft.load(make_base("float64"), folder)
    assert {p.dtype.name for p in peft.load(make_base("float64"), folder, check_base=False).parameters()} == {"float64"}


def test_a_file_in_the_way_of_the_folder(folder, backend, tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "adapter"):
        with pytest.raises(NotADirectoryError, match="saved as a folder, and .*file.* is a file"):
            peft.load(make_base(), folder).save(path)
    assert (tmp_path / "file").read_text() == "mine"


def test_several_saved_adapters_share_one_base(folder, backend, tmp_path):
    base, ids = make_base(), make_ids()
    randomize(adapt(base, PrefixTuning(length=2)), seed=8).save(tmp_path / "other")
    adapted = peft.load(base, folder, name="first").eval()
    expected = [logits(peft.load(base, path).eval(), ids) for path in (folder, tmp_path / "other")]
    assert peft.load(adapted, tmp_path / "other", name="second", trainable=True) is adapted
    assert adapted.names == ["first", "second"] and adapted.active == "second" and not adapted.model.training
    assert np.array_equal(logits(adapted, ids), expected[1]) and adapted.trainable_parameters()
    adapted.set_active("first")
    assert np.array_equal(logits(adapted, ids), expected[0]) and not adapted.trainable_parameters()
    rows = peft.forward_rows(adapted, ids[:2], ["second", "first"]).numpy()
    np.testing.assert_allclose(rows, [expected[1][0], expected[0][1]], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="called 'first' already"):
        peft.load(adapted, folder, name="first")
    with pytest.raises(ValueError, match="of the same base"):
        adapted.take(peft.load(make_base(), folder, name="third"))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="damaged"):
        peft.load(adapted, folder, name="fourth")
    assert adapted.names == ["first", "second"] and adapted.active == "first"


def test_another_process_reads_the_same_adapter(folder, tmp_path):
    """Nothing of the file depends on the process that wrote it: neither random states nor the order of sets."""
    code = ("import sys; import numpy as np; from minigrad import peft; from tests.peft.rows import *; "
            "np.save(sys.argv[2], logits(peft.load(make_base(), sys.argv[1]).eval(), make_ids()))")
    for seed in ("1", "2"):
        subprocess.run([sys.executable, "-c", code, folder, tmp_path / "y.npy"], check=True, cwd=ROOT,
                       env={**os.environ, "PYTHONHASHSEED": seed})
        assert np.array_equal(np.load(tmp_path / "y.npy"), logits(peft.load(make_base(), folder).eval(), make_ids()))


def test_missing_extra_and_misshaped_tensors_are_named(backend):
    adapted = adapt(make_base(), LoRA(rank=2))
    state, before = adapted.state(), adapted.state()
    first, second, third = list(state)[:3]
    changed = {n: a for n, a in state.items() if n != first}
    changed |= {second: state[second].T, "x.lora_A.weight": state[third]}
    with pytest.raises(ValueError, match="nothing was changed") as caught:
        adapted.load_state(changed)
    assert f"missing: {first}, shape (2, 8)" in str(caught.value)
    assert f"wrong shape: {second} is (2, 8), the model needs (8, 2)" in str(caught.value)
    assert "unexpected: x.lora_A.weight" in str(caught.value)
    assert all(np.array_equal(before[n], a) for n, a in adapted.state().items())
    prefix = adapt(make_base(), PrefixTuning(length=2))
    with pytest.raises(ValueError, match="one tensor 'prompt_embeddings' of shape"):
        prefix.load_state({"prompt_embeddings": np.zeros((3, 32), np.float32)})


def test_an_interrupted_save_leaves_the_old_adapter(folder, backend, monkeypatch):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def full_disk(*args):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        randomize(adapt(make_base(), LoRA(rank=2)), seed=77).save(folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_save_cut_between_the_two_files_is_noticed(folder, backend):
    old = (folder / "adapter_config.json").read_text()
    randomize(adapt(make_base(), LoRA(rank=2)), seed=77).save(folder)
    (folder / "adapter_config.json").write_text(old)
    with pytest.raises(ValueError, match="does not belong to"):
        peft.load(make_base(), folder)


def test_saving_again_replaces_and_only_the_active_adapter_is_saved(backend, tmp_path):
    adapted = adapt(make_base(), LoRA(rank=2), name="a").add("b", TopK(1))
    adapted.save(tmp_path)
    assert peft.load(make_base(), tmp_path).method == TopK(1)
    adapted.set_active("a")
    adapted.save(tmp_path)
    assert peft.load(make_base(), tmp_path).method == LoRA(rank=2)


def test_a_merged_adapter_saves_its_factors(folder, backend, tmp_path):
    adapted = peft.load(make_base(), folder)
    before = adapted.state()
    adapted.merge().save(tmp_path)
    again = peft.load(make_base(), tmp_path).state()
    assert all(np.array_equal(before[n], again[n]) for n in before)


def test_the_fingerprint_sees_names_shapes_and_values(backend):
    base = make_base()
    assert peft.fingerprint(base) == peft.fingerprint(make_base()) == peft.fingerprint(peft.clone(base))
    assert peft.fingerprint(base) != peft.fingerprint(make_base("float64"))
    assert peft.fingerprint(base) != peft.fingerprint(make_base(n_layers=1))
