"""Base models in files, and what the shipped one promises."""
import numpy as np
import pytest

from minigrad import pretrained, tasks, training
from minigrad.pretrained import files
from tests.training.tiny import save_tiny_base, tiny_model


def test_what_is_saved_is_loaded(tmp_path, backend):
    model, tokenizer = tiny_model(), tasks.Tokenizer(96)
    path = pretrained.save(model, tokenizer, tmp_path / "m.safetensors", seed=7)
    again, its_tokenizer = pretrained.load(path)
    assert its_tokenizer == tokenizer and again.config == model.config and not again.training
    assert next(again.parameters()).backend.name == backend
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], array)
    assert pretrained.manifest(path)["seed"] == 7


def test_every_load_is_a_new_model(tmp_path):
    path = save_tiny_base(tmp_path)
    first, second = pretrained.load(path)[0], pretrained.load(path)[0]
    assert first is not second and first.head.weight.data is not second.head.weight.data


def test_weights_that_do_not_fit_their_manifest(tmp_path):
    path = save_tiny_base(tmp_path)
    made = pretrained.manifest(path)
    files.write_json(path.with_suffix(".json"), {**made, "config": {**made["config"], "n_layers": 2}})
    with pytest.raises(ValueError, match="missing: blocks.1"):
        pretrained.load(path)
    other = save_tiny_base(tmp_path / "other", d_model=8)
    path.write_bytes(other.read_bytes())
    with pytest.raises(ValueError, match="is not the file that"):
        pretrained.load(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match="must be a manifest"):
        pretrained.load(path)


def test_names_that_are_not_shipped():
    with pytest.raises(ValueError, match="unknown base model 'raeder'"):
        pretrained.load("raeder")
    with pytest.raises(FileNotFoundError, match="no such file"):
        pretrained.load("some/where.safetensors")


def test_tensors_keep_shape_and_type(tmp_path):
    tensors = {"scalar": np.array(3.0), "empty": np.zeros((0, 2), dtype=np.float32), "turned": np.arange(6).reshape(2, 3).T}
    read, header = files.read_tensors(files.write_tensors(tmp_path / "t.safetensors", tensors, {"a": [1, None]}))
    assert header == {"a": [1, None]}
    for name, array in tensors.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype and read[name].shape == array.shape


# ---- the shipped model ----------------------------------------------------------------------------------------------------

def test_the_reader_is_what_was_promised():
    made, weights = pretrained.manifest("reader"), pretrained.HOME / "reader.safetensors"
    assert weights.stat().st_size <= 4e6
    assert made["test"]["words"] == 2000 and made["test"]["exact_match"] >= 0.59
    assert made["test"]["phoneme_error_rate"] <= 0.112
    assert made["data_version"] == tasks.data_version(), "the dictionary has changed since the model was trained"
    assert made["command"].startswith("minigrad pretrain")
    model, tokenizer = pretrained.load("reader")
    assert {array.dtype.name for array in model.state_dict().values()} == {"float32"}
    assert tokenizer == tasks.Tokenizer() and 0.8e6 < model.num_parameters() < 0.85e6


def test_the_reader_scores_what_its_manifest_says():
    model, tokenizer = pretrained.load("reader")
    score, made = training.evaluate(model, tokenizer, tasks.get("pronounce").examples("test")), pretrained.manifest("reader")
    # Another processor may add in another order: a word or two of 2,000 can tip over.
    assert score.exact_match == pytest.approx(made["test"]["exact_match"], abs=0.002)
    assert score.phoneme_error_rate == pytest.approx(made["test"]["phoneme_error_rate"], abs=0.002)


def test_the_reader_reads_at_shifted_positions_too():
    model, tokenizer = pretrained.load("reader")
    examples = tasks.get("pronounce").examples("validation")[:400]
    before = training.evaluate(model, tokenizer, examples).exact_match
    model.position_shift = 8                        # what a prefix of length 8 does
    assert training.evaluate(model, tokenizer, examples).exact_match > before - 0.06
