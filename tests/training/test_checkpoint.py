import os

import numpy as np
import pytest

from minigrad import peft, pretrained, training
from minigrad.backend import host
from minigrad.training import Trainer, load_checkpoint, save_checkpoint
from tests.training.tiny import tiny_batches, tiny_model


def build(kind):
    host.manual_seed(1)
    if kind == "gpt":
        return tiny_model(dropout=0.2)              # dropout draws from the generator whose state must be kept
    return peft.apply(tiny_model(), peft.LoRA(rank=2, dropout=0.3))


def run(model, trainer, batches, steps):
    stream = batches.forever()
    return [trainer.step(next(stream)) for _ in range(steps)]


@pytest.mark.parametrize("kind", ["gpt", "adapted"])
@pytest.mark.parametrize("stop", [1, 4, 6])         # 2 batches an epoch: within one, at an end, at the run's end
def test_resume_is_bit_identical(kind, stop, tmp_path, backend):
    whole, parts = [], []
    model, batches = build(kind).train(), tiny_batches()
    trainer = Trainer(model, steps=6, lr=1e-2)
    whole = run(model, trainer, batches, 6)
    expected = model.state_dict()

    model, batches = build(kind).train(), tiny_batches()
    trainer = Trainer(model, steps=6, lr=1e-2)
    parts = run(model, trainer, batches, stop)
    path = save_checkpoint(tmp_path / "c.safetensors", model, trainer, batches, losses=[1.5])
    host.manual_seed(99)                            # a new process knows nothing of the old one
    model, batches = build(kind).train(), tiny_batches(seed=5)
    trainer = Trainer(model, steps=6, lr=1e-2)
    assert load_checkpoint(path, model, trainer, batches) == {"losses": [1.5]}
    parts += run(model, trainer, batches, 6 - stop)
    assert parts == whole
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path, model = tmp_path / "c.safetensors", tiny_model()
    save_checkpoint(path, model, step=1)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(path, model, step=2)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"], "no unfinished file is left behind"


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_cut_off_file(keep, tmp_path):
    path = save_checkpoint(tmp_path / "c.safetensors", tiny_model())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"c\.safetensors is truncated, corrupt"):
        load_checkpoint(path, tiny_model())


def test_files_that_are_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_checkpoint(tmp_path / "none.safetensors", tiny_model())
    path = pretrained.write_tensors(tmp_path / "t.safetensors", {"a": np.ones(1)})
    with pytest.raises(ValueError, match="not a checkpoint"):
        load_checkpoint(path, tiny_model())
    path = save_checkpoint(tmp_path / "weights.safetensors", tiny_model())
    with pytest.raises(ValueError, match="holds no state of the trainer"):
        load_checkpoint(path, tiny_model(), Trainer(tiny_model(), steps=1, lr=1e-3))


def test_a_checkpoint_of_another_model_or_run(tmp_path):
    model = tiny_model()
    path = save_checkpoint(tmp_path / "c.safetensors", model, Trainer(model, steps=4, lr=1e-3), tiny_batches())
    with pytest.raises(ValueError, match=r"wrong shape: token_embedding.weight"):
        load_checkpoint(path, tiny_model(d_model=8))
    with pytest.raises(ValueError, match="missing: blocks.1"):
        load_checkpoint(path, tiny_model(n_layers=2))
    with pytest.raises(ValueError, match="that run has 4 steps, this one 5"):
        load_checkpoint(path, model, Trainer(model, steps=5, lr=1e-3))
    with pytest.raises(ValueError, match="batch_size = 4, here it is 3"):
        load_checkpoint(path, model, None, tiny_batches(3))


def test_notes_of_any_kind_come_back(tmp_path):
    notes = {"epoch": 3, "rows": [[1, 0.5]], "name": "ärger", "nothing": None}
    path = save_checkpoint(tmp_path / "c.safetensors", tiny_model(), **notes)
    assert load_checkpoint(path, tiny_model()) == notes


def test_the_trainers_state_can_lack_a_part():
    trainer = Trainer(tiny_model(), steps=1, lr=1e-3)
    state = trainer.state_dict()
    del state["schedule"]
    with pytest.raises(ValueError, match="lacks schedule"):
        training.Trainer(tiny_model(), steps=1, lr=1e-3).load_state_dict(state)
