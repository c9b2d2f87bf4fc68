"""The experiments that run the engine: gradients that underflow, training with and without loss scaling, memory."""
import dataclasses
import json

import numpy as np
import pytest

import minigrad as mg
from minigrad import tasks
from minigrad.experiments import precision_gradients, precision_memory, precision_training
from minigrad.experiments.table import read_csv
from tests.training.tiny import save_tiny_base, tiny_batches, tiny_model

SMALL = {"d_model": 16, "n_layers": 1, "n_heads": 2, "words": 64, "batch_size": 16, "steps": 12, "warmup": 3, "growth_interval": 3}


def test_gradients_are_the_steps_own_and_nothing_is_left_behind():
    model, batch = tiny_model(), next(iter(tiny_batches()))
    found = precision_gradients.gradients(model, batch)
    mg.training.loss_on(model, batch).backward()
    np.testing.assert_array_equal(found["weights"], np.concatenate([p.grad.ravel() for p in model.parameters()]))
    assert not any("forward" in vars(m) for m in model.modules())
    assert found["activations"].size > 1000
    scaled = precision_gradients.gradients(tiny_model_like(model), batch, scale=2.0 ** -4)
    np.testing.assert_array_equal(scaled["activations"] * 16, found["activations"])       # a power of two: exact in float32


def tiny_model_like(model):
    twin = tiny_model()
    twin.load_state_dict(model.state_dict())
    return twin


def test_lost_counts_what_became_zero_or_infinite():
    exact, found = np.array([1.0, 1e-9, 0.0, 1e6, 1.0]), np.array([1.0, 0.0, 0.0, np.inf, np.nan])
    assert precision_gradients.lost(exact, found) == (0.25, 0.5)


def test_histogram_has_a_bin_per_power_of_two():
    shares = precision_gradients.histogram(np.array([1.0, 1.99, -0.5, 0.0]))
    assert shares[list(precision_gradients.BINS).index(0)] == pytest.approx(2 / 3)
    assert shares[list(precision_gradients.BINS).index(-1)] == pytest.approx(1 / 3) and shares.sum() == pytest.approx(1)


def test_gradients_experiment(tmp_path):
    base = str(save_tiny_base(tmp_path))
    rows = precision_gradients.precision_gradients(out=tmp_path, base=base, seeds=range(2), batch_size=4, scales=(-16, 0, 4, 40),
                                                   say=lambda _: None)
    shares = precision_gradients.flushed(rows, "trained", "activations")
    assert shares[-16] > 0.5 > shares[0] >= shares[4] and 40 not in shares                 # at 2^40 something overflows
    about = json.loads((tmp_path / "precision_gradients.json").read_text())
    assert "flushe" in about["alt"] and read_csv(tmp_path / "precision_gradients.csv")[0]["what"] == "histogram"


def test_a_tiny_loss_changes_nothing_in_float32():
    plain = precision_training.train(dataclasses.replace(precision_training.PLAIN, **SMALL), "fp32", 0)
    tiny = precision_training.train(dataclasses.replace(precision_training.TINY_LOSS, **SMALL), "fp32", 0)
    np.testing.assert_allclose([r["loss"] for r in tiny], [r["loss"] for r in plain], rtol=1e-5)


def test_the_committed_configuration_underflows():
    shares = precision_training.underflow(precision_training.TINY_LOSS)
    assert shares["all"] > 0.1 and shares["weights"] > 0.1
    assert precision_training.underflow(precision_training.PLAIN)["all"] < 0.05            # the plain one does not


def test_training_experiment(tmp_path):
    settings = [dataclasses.replace(s, **SMALL) for s in precision_training.SETTINGS]
    rows = precision_training.precision_training(out=tmp_path, seeds=range(1), settings=settings, say=lambda _: None)
    assert len(rows) == 2 * 4 * SMALL["steps"]
    for seed_rows in ([r for r in rows if r["recipe"] == "fp16 scaled" and r["configuration"] == s.name] for s in settings):
        good, scale = 0, 65536.0
        for r in seed_rows:                         # the scale written down is the one GradScaler's rule gives
            assert r["scale"] == scale
            good = 0 if r["skipped"] else good + 1
            scale *= 0.5 if r["skipped"] else 2.0 if good == 3 else 1.0
            good %= 3
    assert all(r["scale"] is None for r in rows if r["recipe"] != "fp16 scaled")
    about = json.loads((tmp_path / "precision_training.json").read_text())
    assert set(about["final_loss"]["plain"]) == set(precision_training.RECIPES) and about["underflow_at_step_1"]["tiny loss"]["all"] > 0.1


def test_memory_measured_is_memory_calculated(tmp_path):
    base = str(save_tiny_base(tmp_path, n_layers=2))
    rows = precision_memory.precision_memory(out=tmp_path, base=base, batch_size=4, say=lambda _: None)
    for row in rows:
        for part in precision_memory.PARTS:
            assert row[f"{part}_measured"] == row[f"{part}_theory"], (row["method"], part)
    assert [row["method"] for row in read_csv(tmp_path / "precision_memory.csv")] == list(precision_memory.METHODS)


def test_data_is_the_tasks():
    _, batches = precision_training.make(dataclasses.replace(precision_training.PLAIN, **SMALL), 0)
    assert next(iter(batches)).ids.max() < tasks.Tokenizer().vocab_size
