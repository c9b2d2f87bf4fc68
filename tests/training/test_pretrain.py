import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from minigrad import pretrained, tasks, training
from minigrad.training import pretrain as room
from tests.training.tiny import WORDS

pretraining = sys.modules["minigrad.training.pretrain"]
CONFIG = {"n_layers": 1, "d_model": 16, "n_heads": 2}


@pytest.fixture(autouse=True)
def few_words(monkeypatch):
    """The pretraining split takes a second to read: a few words do."""
    monkeypatch.setattr(tasks.get("pronounce").__class__, "examples", lambda self, split: WORDS)


def quick(out, **options):
    return room(out, **{"epochs": 3, "batch_size": 2, "config": CONFIG, "progress": False, **options})


def test_writes_a_model_that_loads_with_scores_from_the_file(tmp_path):
    said = []
    path = quick(tmp_path, say=said.append, command="minigrad pretrain")
    model, tokenizer = pretrained.load(path)
    made = pretrained.manifest(path)
    assert made["test"]["exact_match"] == training.evaluate(model, tokenizer, WORDS).exact_match
    assert (made["seed"], made["steps"], made["command"]) == (0, 12, "minigrad pretrain")
    assert made["data_version"] == tasks.data_version() and made["parameters"] == model.num_parameters()
    log = (tmp_path / "log.csv").read_text().splitlines()
    assert log[0] == "epoch,step,train_loss,exact_match,phoneme_error_rate,minutes" and len(log) == 4
    assert any("epoch 3" in line for line in said)


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_interrupted_and_resumed_is_bit_identical(tmp_path, stop, monkeypatch):
    whole = quick(tmp_path / "whole").read_bytes()
    step, calls = training.Trainer.step, []

    def interrupted_step(self, *args):
        calls.append(1)
        if len(calls) == stop:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args)

    monkeypatch.setattr(training.Trainer, "step", interrupted_step)
    assert quick(tmp_path / "parts") is None and len(calls) == stop
    said = []
    path = quick(tmp_path / "parts", resume=True, say=said.append)
    assert path.read_bytes() == whole and len(calls) == 12
    assert f"at step {stop} of 12" in said[0]


def test_a_run_is_not_overwritten(tmp_path):
    quick(tmp_path, epochs=1)
    with pytest.raises(ValueError, match="already holds a run"):
        quick(tmp_path, epochs=1)
    with pytest.raises(ValueError, match="had seed 0, here it is 3"):
        quick(tmp_path, epochs=1, seed=3, resume=True)
    with pytest.raises(ValueError, match="that run has 4 steps, this one 8"):
        quick(tmp_path, epochs=2, resume=True)
    with pytest.raises(ValueError, match="other settings: lr was 0.001, now 0.01"):
        quick(tmp_path, epochs=1, lr=0.01, resume=True)
    with pytest.raises(ValueError, match="epochs must be"):
        quick(tmp_path / "new", epochs=0)


def test_every_epoch_teaches_each_word_once_and_draws_its_answer():
    batches = pretraining.EpochBatches(tasks.Tokenizer(), WORDS, 3, seed=0)
    stream, answers = batches.forever(), set()
    for _ in range(12):
        rows = [row for _ in range(len(batches)) for row in next(stream).targets]
        read = sorted(tuple(batches.tokenizer.decode(row[row >= 0])) for row in rows)
        assert len(read) == len(WORDS)
        answers |= {answer for answer in read if answer[-1] == "ER"}
    assert answers == {("IY", "DH", "ER"), ("AY", "DH", "ER")}


def test_the_place_in_the_data_comes_back():
    def make():
        return pretraining.EpochBatches(tasks.Tokenizer(), WORDS, 2, seed=4)

    batches, stream = make(), None
    stream = batches.forever()
    for _ in range(6):
        next(stream)
    state = batches.state_dict()
    again = make()
    again.load_state_dict(state)
    for mine, theirs in zip((next(stream) for _ in range(9)), again.forever(), strict=False):
        np.testing.assert_array_equal(mine.ids, theirs.ids)


@pytest.mark.parametrize("tokens", [1, 20, 64])
def test_random_starts_fit_into_the_context(tokens):
    ids = np.zeros((500, tokens), dtype=int)
    starts = pretraining.random_starts(np.random.default_rng(0), tasks.Batch(ids, ids, ids[:, 0]), 64)
    assert starts.min() == 0 and starts.max() == 64 - tokens


def test_a_killed_process_goes_on_bit_identically(tmp_path):
    """The real command, killed without warning."""
    base = [sys.executable, "-m", "minigrad.cli", "pretrain", "--words", "300", "--layers", "1", "--d-model", "16",
            "--heads", "2", "--batch-size", "32", "--epochs", "12", "--threads", "1", "--save-steps", "5", "--out"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    subprocess.run([*base, whole], check=True, capture_output=True)
    process = subprocess.Popen([*base, parts], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (parts / "checkpoint.safetensors").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (parts / "reader.safetensors").exists(), "it was killed too late to show anything"
    done = subprocess.run([*base, parts, "--resume"], check=True, capture_output=True, text=True)
    assert "going on from" in done.stdout
    assert (parts / "reader.safetensors").read_bytes() == (whole / "reader.safetensors").read_bytes()
