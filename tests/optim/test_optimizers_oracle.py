"""SGD, Adam and AdamW against torch.optim over 20 steps, with everything that can happen between two steps."""
import numpy as np
import pytest

import minigrad as mg
from minigrad.backend import numpy_backend

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

SHAPES = [(4, 3), (5,), (), (2, 2, 2), (7,)]
OPTIMIZERS = {
    "sgd": ("SGD", dict(lr=0.1)),
    "sgd decay": ("SGD", dict(lr=0.1, weight_decay=0.2)),
    "sgd momentum": ("SGD", dict(lr=0.05, momentum=0.9, weight_decay=0.1)),
    "sgd dampening": ("SGD", dict(lr=0.05, momentum=0.8, dampening=0.3)),
    "sgd nesterov": ("SGD", dict(lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.01)),
    "adam": ("Adam", dict(lr=0.05)),
    "adam decay": ("Adam", dict(lr=0.05, betas=(0.7, 0.9), eps=1e-3, weight_decay=0.3)),
    "adamw": ("AdamW", dict(lr=0.05)),
    "adamw decay": ("AdamW", dict(lr=0.05, betas=(0.5, 0.99), eps=1e-4, weight_decay=0.5)),
}
TOLERANCE = {"float64": 1e-12, "float32": 2e-6}


class Pair:
    """The same parameters here and in PyTorch; every event happens to both."""

    def __init__(self, kind, options, groups=None, dtype="float64", shapes=SHAPES):
        rng = np.random.default_rng(0)
        self.rng, self.dtype, self.kind = rng, dtype, kind
        values = [rng.normal(size=shape).astype(dtype) for shape in shapes]
        self.ours = [mg.tensor(value, requires_grad=True) for value in values]
        self.theirs = [torch.tensor(value, requires_grad=True) for value in values]
        groups = groups or [(range(len(shapes)), {})]
        ours = [{"params": [self.ours[i] for i in ids], **extra} for ids, extra in groups]
        theirs = [{"params": [self.theirs[i] for i in ids], **extra} for ids, extra in groups]
        self.a, self.b = getattr(mg.optim, kind)(ours, **options), getattr(torch.optim, kind)(theirs, **options)

    def step_and_check(self, skip=()):
        """A step with random gradients, None for the parameters in `skip` and for frozen ones."""
        for i, (p, q) in enumerate(zip(self.ours, self.theirs, strict=True)):
            g = self.rng.normal(size=p.shape).astype(self.dtype)
            missing = i in skip or not p.requires_grad
            p.grad = None if missing else p.backend.send(g)
            q.grad = None if missing else torch.from_numpy(np.array(g))
        self.a.step()
        self.b.step()
        self.check()

    def check(self):
        tol = TOLERANCE[self.dtype]
        for i, (p, q) in enumerate(zip(self.ours, self.theirs, strict=True)):
            assert p.dtype.name == self.dtype and p.shape == tuple(q.shape)
            np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=tol, atol=tol, err_msg=f"parameter {i}")

    def swap(self, i, value):
        """Another array takes the parameter's place."""
        value = value.astype(self.dtype)
        self.ours[i].data = self.ours[i].backend.send(value)
        self.theirs[i].data = torch.from_numpy(value.copy())

    def freeze(self, i, flag):
        self.ours[i].requires_grad = not flag
        self.theirs[i].requires_grad = not flag


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps(backend, name, dtype):
    pair = Pair(*OPTIMIZERS[name], dtype=dtype)
    for _ in range(20):
        pair.step_and_check()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_missing_gradients_are_skipped_with_their_own_step_count(backend, name):
    pair = Pair(*OPTIMIZERS[name])
    for step in range(20):
        pair.step_and_check(skip={0: (1,), 1: (0, 1, 2, 3, 4), 5: (0, 4), 6: (2,), 7: (2, 3)}.get(step, ()))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("gathers_below", [0, 6, 1 << 16])
@pytest.mark.parametrize("name", ["sgd", "sgd nesterov", "adam decay", "adamw decay"])
def test_large_gradients_are_used_where_they_are(name, gathers_below, threads, monkeypatch):
    """As if some parameters were large, in blocks of 4: the same as PyTorch, and no gradient is written into."""
    monkeypatch.setattr(numpy_backend.NumpyBackend, "gathers_below", gathers_below)
    monkeypatch.setattr(numpy_backend, "BLOCK", 4)
    monkeypatch.setattr("minigrad.backend.threads._threads", threads)
    pair = Pair(*OPTIMIZERS[name])
    for step in range(20):
        if step == 5:
            pair.swap(0, pair.rng.normal(size=SHAPES[0]))
        pair.step_and_check(skip={2: (1,), 3: (0, 4), 7: (3,)}.get(step, ()))
        for p, q in zip(pair.ours, pair.theirs, strict=True):
            if p.grad is not None:
                np.testing.assert_array_equal(p.grad, q.grad.numpy())


@pytest.mark.parametrize("name", ["sgd momentum", "adam", "adamw decay"])
def test_groups_have_their_own_options_which_may_change(backend, name):
    kind, options = OPTIMIZERS[name]
    pair = Pair(kind, options, groups=[([0, 3], dict(lr=0.2)), ([1], dict(weight_decay=0.7)), ([4, 2], {})])
    for step in range(20):
        pair.step_and_check(skip=(1,) if step == 3 else ())
        if step == 10:
            for optimizer in (pair.a, pair.b):
                optimizer.param_groups[0]["lr"] = 0.01
                optimizer.param_groups[2]["weight_decay"] = 0.0


@pytest.mark.parametrize("name", ["sgd", "sgd dampening", "sgd nesterov", "adam decay", "adamw decay"])
def test_everything_between_two_steps(backend, name):
    """Swap, freeze, unfreeze, load: the next step continues as PyTorch's does."""
    pair = Pair(*OPTIMIZERS[name])
    pair.freeze(3, True)                            # frozen from the start: no state at all
    for step in range(20):
        if step in (2, 9):
            pair.swap(0, pair.rng.normal(size=SHAPES[0]))
        if step == 4:
            pair.freeze(1, True)
        if step == 8:
            pair.freeze(1, False)                   # its moments and its step count are still there
        if step == 6:
            pair.freeze(3, False)
        if step == 12:                              # a new array twice in a row
            pair.swap(2, np.array(1.0))
            pair.swap(2, np.array(-1.0))
        pair.step_and_check(skip=(4,) if step == 13 else ())


@pytest.mark.parametrize("name", ["sgd dampening", "adamw decay"])
def test_a_module_loads_freezes_and_unfreezes(backend, name):
    kind, options = OPTIMIZERS[name]
    mg.manual_seed(0)
    net = mg.nn.Sequential(mg.nn.Linear(3, 4), mg.nn.Tanh(), mg.nn.Linear(4, 2)).to(dtype="float64")
    other = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    other.load_state_dict({name: torch.from_numpy(value) for name, value in net.state_dict().items()})
    a = getattr(mg.optim, kind)(net.named_parameters(), **options)
    b = getattr(torch.optim, kind)(other.parameters(), **options)
    x = np.random.default_rng(0).normal(size=(5, 3))
    for step in range(20):
        if step == 5:
            state = {key: value * 0.5 for key, value in net.state_dict().items()}
            net.load_state_dict(state)
            other.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
        if step in (7, 12):
            net[0].requires_grad_(step == 12)
            other[0].requires_grad_(step == 12)
        if step == 15:
            net.requires_grad_(True).to(dtype="float32").to(dtype="float64")      # through another dtype and back
            other.float().double()
        a.zero_grad()
        b.zero_grad()
        net(mg.tensor(x)).square().sum().backward()
        other(torch.from_numpy(x)).square().sum().backward()
        a.step()
        b.step()
        for (key, p), q in zip(net.named_parameters(), other.parameters(), strict=True):
            np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-10, atol=1e-12, err_msg=f"{key}, {step}")


@pytest.mark.parametrize("name", ["sgd", "sgd dampening", "adam", "adamw decay"])
def test_saved_and_loaded_optimizers_go_on_as_if_nothing_happened(backend, name):
    pair = Pair(*OPTIMIZERS[name], groups=[([0, 1], dict(lr=0.2)), ([2, 3, 4], {})])
    for step in range(5):
        pair.step_and_check(skip=(1, 4) if step < 2 else ())
    saved = pair.a.state_dict()
    fresh = Pair(*OPTIMIZERS[name], groups=[([0, 1], {}), ([2, 3, 4], {})])
    for _ in range(3):
        fresh.step_and_check()                                # its own state must vanish
    for p, q in zip(fresh.ours, pair.ours, strict=True):
        p.data = q.data
    fresh.a.load_state_dict(saved)
    fresh.rng, fresh.theirs, fresh.b = pair.rng, pair.theirs, pair.b
    for step in range(5):
        fresh.step_and_check(skip=(0,) if step == 1 else ())


def test_momentum_switched_on_later(backend):
    """The buffer starts with the first gradient it sees."""
    pair = Pair("SGD", dict(lr=0.1, momentum=0.0, dampening=0.5))
    for step in range(8):
        if step == 4:
            for optimizer in (pair.a, pair.b):
                optimizer.param_groups[0]["momentum"] = 0.9
        pair.step_and_check()


@pytest.mark.parametrize("max_norm", [0.1, 1.0, 1e3, float("inf")])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_clip_grad_norm(backend, max_norm, dtype):
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape).astype(dtype) for shape in SHAPES]
    ours = [mg.tensor(value, requires_grad=True) for value in values]
    theirs = [torch.tensor(value, requires_grad=True) for value in values]
    for p, q, value in zip(ours, theirs, values, strict=True):
        if p.ndim != 1:
            p.grad, q.grad = p.backend.send(value * 2), torch.from_numpy(np.array(value * 2))
    held = ours[0].grad
    before = mg.to_numpy(held).copy()
    norm, their_norm = mg.optim.clip_grad_norm_(iter(ours), max_norm), torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    assert norm.shape == () and norm.dtype.name == dtype
    np.testing.assert_allclose(norm.item(), their_norm.item(), rtol=1e-6)
    for p, q in zip(ours, theirs, strict=True):
        if q.grad is None:
            assert p.grad is None
        else:
            assert p.grad.dtype.name == dtype
            np.testing.assert_allclose(mg.to_numpy(p.grad), q.grad.numpy(), rtol=2e-6)
    np.testing.assert_array_equal(mg.to_numpy(held), before)


def test_the_cosine_is_pytorchs(backend):
    p, q = mg.ones(1).requires_grad_(), torch.ones(1, requires_grad=True)
    a, b = mg.optim.SGD([p], lr=0.3), torch.optim.SGD([q], lr=0.3)
    ours = mg.optim.CosineWithWarmup(a, warmup=0, total=17, final_ratio=0.1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(b, T_max=17, eta_min=0.03)
    for _ in range(18):
        assert abs(a.param_groups[0]["lr"] - b.param_groups[0]["lr"]) < 1e-12
        a.step()
        b.step()
        ours.step()
        theirs.step()
