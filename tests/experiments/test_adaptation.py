import numpy as np
import pytest

from minigrad import peft, pretrained, tasks, training
from minigrad.experiments import adaptation
from minigrad.experiments.adaptation import Run, adaptation_batches, make_method, perform, reference_batch
from minigrad.experiments.rates import learning_rate
from tests.training.tiny import save_tiny_base


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(save_tiny_base(tmp_path_factory.mktemp("base"), n_layers=2))


def run(base, **changes):
    return Run(**{"task": "rhyme", "method": "lora", "seed": 0, "lr": 1e-3, "base": base, "examples": 8, "epochs": 1,
                  "batch_size": 4, "words": 5, **changes})


@pytest.mark.parametrize("name", list(peft.methods()))
def test_every_method_runs_and_counts_as_its_closed_form(name, base):
    ticks = []
    row = perform(run(base, method=name), ticks.append)["row"]
    assert row["steps"] == 2 and sum(ticks) == pytest.approx(2 + 5 / 50)
    assert row["trainable"] == make_method(name).count(pretrained.load(base)[0].config)
    assert row["percent"] == pytest.approx(100 * row["trainable"] / pretrained.load(base)[0].num_parameters())
    assert 0 <= row["acc"] <= 1 and row["stored_bytes"] > 4 * row["trainable"] and row["activation_bytes"] > 0


def test_a_run_can_be_repeated(base):
    rows = [perform(run(base))["row"] for _ in range(2)]
    for row in rows:
        row.pop("step_ms")
    assert rows[0] == rows[1]


def test_a_seed_changes_words_and_order_and_methods_share_both():
    tokenizer, task = tasks.Tokenizer(), tasks.get("rhyme")

    def batches(seed):
        return [batch.ids for batch in adaptation_batches(tokenizer, task, 40, 8, seed, 64)]

    for a, b in zip(batches(0), batches(0), strict=True):
        np.testing.assert_array_equal(a, b)
    words = [{tuple(row) for ids in batches(seed) for row in ids.tolist()} for seed in (0, 1)]
    assert len(words[0] & words[1]) < 10


def test_learns_from_adaptation_words_only(monkeypatch):
    asked = []
    task = tasks.get("rhyme")
    examples = type(task).examples
    monkeypatch.setattr(type(task), "examples", lambda self, split: asked.append(split) or examples(self, split))
    adaptation_batches(tasks.Tokenizer(), task, 8, 4, 0, 64)
    reference_batch(tasks.Tokenizer(), task, 4)
    assert set(asked) == {"adapt"}


def test_too_many_examples():
    with pytest.raises(ValueError, match=r"30000 examples were asked for.*19\d\d\d adaptation words"):
        adaptation_batches(tasks.Tokenizer(), tasks.get("rhyme"), 30_000, 8, 0, 64)


def test_the_kept_adapter_is_the_trained_one(base, tmp_path):
    result = perform(run(base, words=20, keep=str(tmp_path / "kept"), lr=1e-2))
    model, tokenizer = pretrained.load(base)
    adapted = peft.load(model, tmp_path / "kept")
    words = list(result["read"])
    assert [" ".join(answer) for answer in training.predict(adapted, tokenizer, words)] == list(result["read"].values())


def test_names_tell_runs_apart(base):
    runs = [run(base), run(base, seed=1), run(base, lr=2e-3), run(base, hyper={"rank": 2}), run(base, method="full"),
            run(base, method="base")]
    assert len({r.name for r in runs}) == len(runs)


def test_every_method_compared_has_a_rate():
    for name in adaptation.SIZES:
        assert 0 < learning_rate(name) < 1
    with pytest.raises(ValueError, match="no learning rate has been chosen for 'lor'.*did you mean 'lora'"):
        learning_rate("lor")


def test_a_run_that_diverges(base):
    with pytest.raises(training.TrainingDiverged, match=r"rhyme full lr=1e\+30 seed=0: step \d of"):
        perform(run(base, method="full", lr=1e30, examples=40))
    row = perform(run(base, method="full", lr=1e30, examples=40, may_diverge=True))["row"]
    assert (row["acc"], row["per"], row["loss"]) == (0.0, 1.0, None)
