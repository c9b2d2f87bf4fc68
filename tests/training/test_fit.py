import os
import signal

import numpy as np
import pytest

import minigrad as mg
from minigrad import backend as backends
from minigrad import peft, training
from minigrad.training import Trainer, TrainingDiverged
from tests.training.tiny import tiny_batches, tiny_model


def test_learns_a_few_words(backend):
    model = tiny_model()
    result = training.fit(model, tiny_batches(), steps=80, lr=1e-2)
    assert result.losses[0] > 4 and result.losses[-1] < 0.4
    assert len(result.losses) == 80 and result.step_ms > 0 and not result.interrupted
    assert not model.training


def test_one_wait_for_the_device_per_step(backend, monkeypatch):
    trainer, batch, be = Trainer(tiny_model(), steps=5, lr=1e-3), next(iter(tiny_batches())), backends.get(backend)
    trainer.step(batch)
    reads, original = [], be.to_numpy
    monkeypatch.setattr(be, "to_numpy", lambda a: reads.append(a.shape) or original(a))
    trainer.step(batch)
    assert reads == [(2,)]                          # the loss and the gradient's length, together


def test_rate_rises_then_falls_to_the_end():
    trainer, batch = Trainer(tiny_model(), steps=20, lr=1e-3, warmup=4, final_ratio=0.1), next(iter(tiny_batches()))
    rates = []
    for _ in range(20):
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        trainer.step(batch)
    assert rates[:5] == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3])
    assert all(a > b for a, b in zip(rates[4:], rates[5:], strict=False)) and rates[-1] > 1e-4
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_decay_is_for_matrices_only():
    trainer = Trainer(tiny_model(), steps=1, lr=1e-3, weight_decay=0.3)
    decay = {p.ndim: group["weight_decay"] for group in trainer.optimizer.param_groups for p in group["params"]}
    assert decay == {2: 0.3, 1: 0.0}


def test_gradient_is_clipped_and_its_length_told_before():
    model, batch = tiny_model(), next(iter(tiny_batches()))
    free = training.loss_on(model, batch)
    free.backward()
    length = float(np.sqrt(sum((p.grad ** 2).sum() for p in model.parameters())))
    model.zero_grad()
    trainer = Trainer(model, steps=2, lr=1e-3, max_norm=length / 10)
    seen = {}
    trainer.optimizer.step = lambda: seen.update(
        length=float(np.sqrt(sum((p.grad ** 2).sum() for p in model.parameters()))))
    _, told = trainer.step(batch)
    assert told == pytest.approx(length, rel=1e-5)
    assert seen["length"] == pytest.approx(length / 10, rel=1e-4)


def test_a_loss_that_is_not_finite_stops_before_any_weight_changes(backend):
    model, batch = tiny_model(), next(iter(tiny_batches()))
    trainer = Trainer(model, steps=3, lr=1e-3)
    state = model.state_dict()
    state["norm.weight"][0] = np.nan
    model.load_state_dict(state)
    with pytest.raises(TrainingDiverged, match=r"step 1 of 3: the loss is nan.*learning rate"):
        trainer.step(batch)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)


@pytest.mark.parametrize(("options", "message"), [
    ({"steps": 0, "lr": 1e-3}, "steps must be"), ({"steps": True, "lr": 1e-3}, "steps must be"),
    ({"steps": 1, "lr": 0}, "lr must be"), ({"steps": 1, "lr": float("nan")}, "lr must be")])
def test_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        Trainer(tiny_model(), **options)


def test_nothing_to_train():
    with pytest.raises(ValueError, match="no trainable parameters"):
        Trainer(tiny_model().requires_grad_(False), steps=1, lr=1e-3)


def test_a_sequence_may_start_anywhere():
    model, batch = tiny_model(), next(iter(tiny_batches()))
    rows = len(batch.ids)
    at_zero, given = training.loss_on(model, batch).item(), training.loss_on(model, batch, np.zeros(rows, dtype=int)).item()
    assert at_zero == given != training.loss_on(model, batch, np.full(rows, 9)).item()


def test_a_method_has_a_say_in_every_step():
    calls = []

    class Talkative(peft.LoRA):
        def param_groups(self, model, lr):
            return [{**group, "lr": 3 * lr} for group in super().param_groups(model, lr)]

        def before_step(self, model, step, total):
            calls.append(("before", step, total))

        def penalty(self, model):
            calls.append("penalty")
            return mg.tensor(100.0)

        def after_step(self, model, step, total):
            assert any(p.grad is not None for p in model.parameters()), "gradients must still be there"
            calls.append(("after", step, total))

    adapted = peft.apply(tiny_model(), Talkative(rank=2))
    trainer = Trainer(adapted, steps=4, lr=1e-3, warmup=1)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(3e-3)
    for batch in (next(iter(tiny_batches())),) * 2:
        loss, _ = trainer.step(batch)
        assert loss < 10, "the reported loss is the task's alone"
    assert calls == [("before", 0, 4), "penalty", ("after", 0, 4), ("before", 1, 4), "penalty", ("after", 1, 4)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_after_a_whole_step(number):
    before = signal.getsignal(number)

    def on_step(step, loss):
        if step == 3:
            os.kill(os.getpid(), number)

    result = training.fit(tiny_model(), tiny_batches(), steps=50, lr=1e-3, on_step=on_step)
    assert result.interrupted and len(result.losses) == 3
    assert signal.getsignal(number) is before


def test_a_later_second_ctrl_c_stops_at_once():
    with pytest.raises(KeyboardInterrupt), training.interruptible() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)         # as `timeout` sends it: twice in a moment
        assert interrupt.requested
        interrupt.when -= 2
        os.kill(os.getpid(), signal.SIGINT)
