"""GradScaler beside torch.amp.GradScaler: the same states, scales and weights through 200 random steps; its errors."""
import numpy as np
import pytest

import minigrad as mg
from tests.helpers import close


@pytest.mark.oracle
@pytest.mark.parametrize("settings", [{}, {"init_scale": 2.0 ** 10, "growth_interval": 3}, {"growth_interval": 5,
                                      "growth_factor": 3.0, "backoff_factor": 0.25}, {"enabled": False}])
def test_two_hundred_random_steps_are_pytorchs(backend, settings):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(n).astype(np.float32) for n in (3, 5)]
    ours = [mg.tensor(a, requires_grad=True) for a in start]
    theirs = [torch.tensor(a, requires_grad=True) for a in start]
    our_opt, their_opt = mg.optim.AdamW(ours, lr=1e-2), torch.optim.AdamW(theirs, lr=1e-2)
    our_scaler, their_scaler = mg.amp.GradScaler(**settings), torch.amp.GradScaler("cpu", **settings)
    for step in range(200):
        bad = rng.choice([0.0, np.inf, np.nan, -np.inf], p=[0.8, 0.1, 0.05, 0.05])
        weights = [rng.standard_normal(a.shape).astype(np.float32) for a in start]
        if settings.get("enabled", True):
            weights[step % 2][0] += bad
        with np.errstate(all="ignore"):
            our_scaler.scale(sum((p * mg.tensor(w)).sum() for p, w in zip(ours, weights, strict=True))).backward()
        their_scaler.scale(sum((p * torch.tensor(w)).sum() for p, w in zip(theirs, weights, strict=True))).backward()
        if step % 3 == 0:                           # clipping after unscaling
            our_scaler.unscale_(our_opt)
            their_scaler.unscale_(their_opt)
            with np.errstate(all="ignore"):
                mg.optim.clip_grad_norm_(ours, 1.0)
            torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        our_scaler.step(our_opt)
        their_scaler.step(their_opt)
        our_scaler.update()
        their_scaler.update()
        our_opt.zero_grad()
        their_opt.zero_grad()
        assert our_scaler.get_scale() == their_scaler.get_scale(), step
        assert our_scaler.state_dict() == their_scaler.state_dict(), step
    for a, b in zip(ours, theirs, strict=True):
        close(a, b, rtol=1e-5, atol=1e-6)


def test_growth_stops_before_infinity():
    w = mg.tensor([1.0], requires_grad=True)
    optimizer, scaler = mg.optim.SGD([w], lr=0.0), mg.amp.GradScaler(init_scale=2.0 ** 126, growth_interval=1)
    for _ in range(3):
        w.grad = mg.ones(1).data
        scaler.step(optimizer)
        scaler.update()
    assert scaler.get_scale() == 2.0 ** 127


def test_two_optimizers_and_a_skipped_schedule():
    good, bad = (mg.tensor([1.0], requires_grad=True) for _ in range(2))
    first, second = mg.optim.SGD([good], lr=1.0), mg.optim.SGD([bad], lr=1.0)
    scaler = mg.amp.GradScaler(init_scale=8.0)
    good.grad, bad.grad = mg.full(1, 8.0).data, mg.full(1, float("inf")).data
    scaler.step(first)
    scaler.step(second)
    assert not scaler.skipped(first) and scaler.skipped(second)
    scaler.update()
    assert (good.item(), bad.item(), scaler.get_scale()) == (0.0, 1.0, 4.0)


def test_state_goes_on():
    scaler, other = mg.amp.GradScaler(init_scale=4.0), mg.amp.GradScaler()
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict() and other.get_scale() == 4.0
    with pytest.raises(RuntimeError, match="lacks scale"):
        other.load_state_dict({})


def made():
    w = mg.tensor([1.0], requires_grad=True)
    w.grad = mg.ones(1).data
    return w, mg.optim.SGD([w], lr=0.1), mg.amp.GradScaler()


def test_misuse_is_refused_as_pytorch_does():
    _, optimizer, scaler = made()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="after step"):
        scaler.unscale_(optimizer)
    scaler.update()
    with pytest.raises(AssertionError, match="no gradients were checked"):
        scaler.update()
    w, optimizer, scaler = made()
    low = mg.amp.round_to(w, "fp16").detach().requires_grad_()
    low.grad = mg.ones(1).data
    with pytest.raises(ValueError, match="fp16 gradients"):
        scaler.unscale_(mg.optim.SGD([low], lr=0.1))
    for options, says in (({"growth_factor": 1.0}, "above 1"), ({"backoff_factor": 1.0}, "below 1")):
        with pytest.raises(ValueError, match=says):
            mg.amp.GradScaler(**options)
    with pytest.raises(TypeError, match="floating-point"):
        mg.amp.GradScaler().scale(mg.tensor([1]))


def test_an_accumulation_window_unscales_once():
    """Three backward passes, one unscale_ and step: the same weight as with the sum of the losses in one."""
    ends = []
    for pieces in (1, 3):
        w = mg.tensor([1.0, 2.0], requires_grad=True)
        optimizer, scaler = mg.optim.SGD([w], lr=0.1), mg.amp.GradScaler(init_scale=2.0 ** 10)
        for _ in range(2):
            for _ in range(pieces):
                scaler.scale((w * w).sum() * (1.0 / pieces)).backward()
            scaler.unscale_(optimizer)
            mg.optim.clip_grad_norm_([w], 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        ends.append(w.numpy())
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-6)
    assert ends[0][1] < 2.0
