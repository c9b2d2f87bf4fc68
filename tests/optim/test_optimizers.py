"""What optimizers promise beyond the formulas: flat buffers, names, state files, errors."""
import json

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.optim import SGD, Adam, AdamW, CosineWithWarmup, clip_grad_norm_, schedules


@pytest.fixture
def net(backend):
    mg.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def backward(net):
    net(mg.ones(2, 3)).square().sum().backward()


def test_one_kernel_call_per_group(net, monkeypatch):
    calls = []
    be = net[0].weight.backend
    original = type(be).adam_step

    def counted(self, p, *args, **options):
        calls.append(p.size)
        original(self, p, *args, **options)

    monkeypatch.setattr(type(be), "adam_step", counted)
    optimizer = AdamW(net.parameters())
    for _ in range(2):
        backward(net)
        optimizer.step()
    assert calls == [net.num_parameters()] * 2


def test_frozen_parameters_stay_outside_the_buffers(net):
    net[0].requires_grad_(False)
    mine = net[0].weight.data
    optimizer = AdamW(net.parameters())
    backward(net)
    optimizer.step()
    assert net[0].weight.data is mine
    assert optimizer.state_bytes() == 2 * net.num_parameters(trainable_only=True) * 4
    net[2].bias.requires_grad = False
    net[2].bias.grad = None
    optimizer.zero_grad()
    backward(net)
    optimizer.step()
    values = net[2].bias.numpy()
    backward(net)
    optimizer.step()
    np.testing.assert_array_equal(net[2].bias.numpy(), values)


def test_a_shared_array_is_copied_before_it_is_trained(net):
    """The base model's array, lent to an adapted model, must not change."""
    lent = net[0].weight.data
    before = mg.to_numpy(lent).copy()
    borrower = nn.Parameter(lent)
    optimizer = SGD([borrower], lr=1.0)
    borrower.grad = borrower.backend.send(np.ones(borrower.shape, dtype="float32"))
    optimizer.step()
    np.testing.assert_array_equal(mg.to_numpy(lent), before)
    np.testing.assert_allclose(borrower.numpy(), before - 1, rtol=1e-6)


def test_a_tied_weight_is_trained_once(backend):
    mg.manual_seed(0)
    config = mg.models.GPTConfig(vocab_size=7, context=4, d_model=8, n_layers=1, n_heads=1, tie_head=True)
    gpt = mg.models.GPT(config)
    optimizer = AdamW(gpt.named_parameters())
    gpt([[1, 2]]).sum().backward()
    optimizer.step()
    assert gpt.head.weight.data is gpt.token_embedding.weight.data
    assert "token_embedding.weight" in optimizer.state_dict()["state"]


def test_a_late_backward_is_refused(net):
    optimizer = AdamW(net.parameters())
    first, second = (net(mg.ones(2, 3)).square().sum() for _ in range(2))
    first.backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"Call backward\(\) before optimizer.step\(\)"):
        second.backward()


def test_two_optimizers_may_share_a_model(net):
    """Each adopts what it trains; the values are always the newest."""
    a, b = SGD(net.parameters(), lr=0.1), SGD([net[0].weight], lr=0.1)
    for optimizer in (a, b, a):
        backward(net)
        g, before = mg.to_numpy(net[0].weight.grad).copy(), net[0].weight.numpy()
        optimizer.step()
        np.testing.assert_allclose(net[0].weight.numpy(), before - 0.1 * g, rtol=1e-5, atol=1e-6)
        net.zero_grad()


def test_the_state_is_named_host_arrays(net):
    optimizer = AdamW([{"params": net[0].named_parameters("first"), "name": "first", "lr": 0.1},
                       {"params": net[2].named_parameters("last"), "name": "last"}], weight_decay=0.0)
    net[2].requires_grad_(False)
    backward(net)
    optimizer.step()
    saved = optimizer.state_dict()
    assert set(saved["state"]) == {"first.weight", "first.bias"}
    entry = saved["state"]["first.weight"]
    assert entry["step"] == 1 and type(entry["exp_avg"]) is np.ndarray and entry["exp_avg"].shape == (4, 3)
    assert saved["param_groups"][0]["name"] == "first" and saved["param_groups"][0]["lr"] == 0.1
    assert saved["param_groups"][1]["params"] == ["last.weight", "last.bias"]
    options = json.loads(json.dumps(saved["param_groups"]))         # a trip through a file: tuples become lists
    optimizer.load_state_dict({"state": saved["state"], "param_groups": options})
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999) and optimizer.param_groups[1]["name"] == "last"
    assert set(AdamW(net.parameters()).state_dict()["param_groups"][0]["params"]) == {"0", "1", "2", "3"}


def test_loading_lists_every_mismatch_and_changes_nothing(net):
    optimizer = AdamW(net.named_parameters())
    backward(net)
    optimizer.step()
    saved, before = optimizer.state_dict(), optimizer.state_dict()
    saved["param_groups"][0]["params"][0] = "typo"
    saved["param_groups"][0]["lr"] = float("nan")
    saved["param_groups"][0]["momentum"] = 0.5
    saved["state"]["0.bias"]["exp_avg"] = np.zeros(5)
    del saved["state"]["2.bias"]["exp_avg_sq"]
    saved["state"]["typo"] = {}
    with pytest.raises(ValueError) as error:
        optimizer.load_state_dict(saved)
    for line in ("missing parameter 0.weight", "unexpected parameter typo", "lr must be a finite number",
                 "unknown options momentum", "0.bias: exp_avg has shape (5,), the parameter (4,)",
                 "2.bias: has exp_avg, step; needed are exp_avg, exp_avg_sq, step", "unknown parameter: typo",
                 "nothing was changed"):
        assert line in str(error.value), line
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for name, entry in before["state"].items():
        np.testing.assert_array_equal(after["state"][name]["exp_avg"], entry["exp_avg"])
    with pytest.raises(ValueError, match="2 parameter groups, this optimizer has 1"):
        optimizer.load_state_dict({"state": {}, "param_groups": before["param_groups"] * 2})
    with pytest.raises(ValueError, match="missing: 'state'"):
        optimizer.load_state_dict({})


def test_order_of_the_saved_state_does_not_matter(net):
    """State belongs to names, not to places."""
    optimizer = AdamW(net.named_parameters())
    backward(net)
    optimizer.step()
    saved = optimizer.state_dict()
    other = AdamW(reversed(list(net.named_parameters())))
    saved["param_groups"][0]["params"].reverse()
    other.load_state_dict(saved)
    loaded = other.state_dict()["state"]
    np.testing.assert_array_equal(loaded["2.weight"]["exp_avg"], saved["state"]["2.weight"]["exp_avg"])


def w():
    return mg.ones(2).requires_grad_()


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: AdamW([]), ValueError, "AdamW was given no trainable parameters"),
    (lambda: AdamW([mg.ones(2)]), ValueError, r"no trainable parameters \(1 in all\). Unfreeze"),
    (lambda: AdamW(w()), TypeError, r"write \[tensor\]"),
    (lambda: AdamW([1.0]), TypeError, "got float"),
    (lambda: AdamW([w() * 2]), ValueError, "only leaves can be trained"),
    (lambda: AdamW([w()], lr=-1), ValueError, "lr must be a finite number of at least 0; got -1"),
    (lambda: AdamW([w()], lr=float("nan")), ValueError, "lr"), (lambda: Adam([w()], lr="1"), ValueError, "lr"),
    (lambda: Adam([w()], eps=-1e-8), ValueError, "eps"),
    (lambda: SGD([w()], weight_decay=-1), ValueError, "weight_decay"),
    (lambda: Adam([w()], betas=(0.9, 1.0)), ValueError, "betas must be two numbers"),
    (lambda: Adam([w()], betas=0.9), ValueError, "betas must be two numbers"),
    (lambda: SGD([w()], momentum=-0.5), ValueError, "momentum"),
    (lambda: SGD([w()], nesterov=True), ValueError, "nesterov needs momentum > 0"),
    (lambda: SGD([{"params": [w()], "lr": -3}]), ValueError, "got -3"),
    (lambda: SGD([{"params": [w()], "betas": 3}]), ValueError, "SGD has no option betas"),
    (lambda: SGD([{"lr": 3}]), ValueError, "needs 'params'"),
    (lambda: SGD([("a", w()), w()]), ValueError, "not a mixture"),
    (lambda: SGD([("a", w()), ("a", w())]), ValueError, "two different parameters are named 'a'"),
    (lambda: CosineWithWarmup(SGD([w()]), warmup=5, total=4), ValueError, "0 ≤ warmup ≤ total"),
    (lambda: CosineWithWarmup(SGD([w()]), 1, 4, final_ratio=2), ValueError, "final_ratio"),
    (lambda: clip_grad_norm_([w()], -1), ValueError, "max_norm"),
    (lambda: clip_grad_norm_([w()], float("nan")), ValueError, "max_norm")])
def test_bad_arguments(backend, make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_parameter_in_two_groups_is_named(backend):
    p, q = w(), w()
    with pytest.raises(ValueError, match=r"parameter b is given twice \(also as a\)"):
        SGD([("a", p), ("b", p)])
    optimizer = SGD([{"params": [("a", p)]}])
    with pytest.raises(ValueError, match="parameter again is given twice"):
        optimizer.add_param_group({"params": [("again", p)]})
    optimizer.add_param_group({"params": [("q", q)], "lr": 0.5})
    assert len(optimizer.param_groups) == 2 and optimizer.param_groups[1]["lr"] == 0.5


def test_a_changed_shape_or_a_wrong_gradient_is_reported(backend):
    p = w()
    optimizer = SGD([("p", p)])
    p.grad = p.backend.send(np.ones(2, dtype="float32"))
    optimizer.step()
    p.grad = p.backend.send(np.ones((2, 1), dtype="float32"))
    with pytest.raises(ValueError, match=r"gradient of p has shape \(2, 1\)"):
        optimizer.step()
    p.data = p.backend.send(np.ones(3, dtype="float32"))
    with pytest.raises(ValueError, match=r"p had shape \(2,\) and now has \(3,\): make a new optimizer"):
        optimizer.step()


def test_dtypes_may_be_mixed(backend):
    a, b = mg.ones(2).requires_grad_(), mg.ones(3, dtype="float64").requires_grad_()
    optimizer = Adam([a, b], lr=0.1)
    (a.sum() + b.sum()).backward()
    optimizer.step()
    assert a.dtype.name == "float32" and b.dtype.name == "float64"
    np.testing.assert_allclose(np.concatenate([a.numpy(), b.numpy()]), 0.9, rtol=1e-6)


def test_the_model_may_move_between_steps(net):
    optimizer = Adam(net.parameters(), lr=0.1)
    backward(net)
    optimizer.step()
    net.to(backend="numpy")
    with mg.use_backend("numpy"):
        net.zero_grad()
        backward(net)
        optimizer.step()
        assert optimizer.state_dict()["state"]["0"]["step"] == 2
        assert net[0].weight.backend.name == "numpy"


@pytest.mark.filterwarnings("ignore:invalid value")
def test_clipping_with_nothing_to_clip_and_with_overflow(backend):
    p = w()
    assert clip_grad_norm_([p], 1.0).item() == 0.0
    p.grad = p.backend.send(np.array([np.inf, 1.0], dtype="float32"))
    assert clip_grad_norm_(p, 1.0).item() == np.inf


def test_a_step_reads_nothing_back(net, monkeypatch):
    """The loss, the norm and everything else stay on the device until somebody asks."""
    optimizer = AdamW(net.parameters())
    schedule = CosineWithWarmup(optimizer, 2, 10)
    backward(net)
    be, before = net[0].weight.backend, net[0].weight.numpy()

    def refuse(*_):
        raise AssertionError("something was read back")

    for _ in range(2):
        monkeypatch.setattr(type(be), "to_numpy", refuse)
        clip_grad_norm_(net.parameters(), 0.1)
        optimizer.step()
        schedule.step()
        monkeypatch.undo()
    assert not np.array_equal(net[0].weight.numpy(), before)


def test_warmup_then_cosine(backend):
    optimizer = SGD([{"params": [w()], "lr": 1.0}, {"params": [w()], "lr": 0.1}])
    schedule = CosineWithWarmup(optimizer, warmup=4, total=12, final_ratio=0.2)
    seen = []
    for _ in range(15):
        seen.append([group["lr"] for group in optimizer.param_groups])
        schedule.step()
    seen = np.array(seen)
    np.testing.assert_allclose(seen[:, 1], seen[:, 0] / 10)
    np.testing.assert_allclose(seen[:5, 0], [0.25, 0.5, 0.75, 1.0, 1.0])
    np.testing.assert_allclose(seen[8, 0], 0.6)
    np.testing.assert_allclose(seen[12:, 0], 0.2)
    assert (np.diff(seen[4:13, 0]) < 0).all()
    assert schedules.cosine(8, total=12, warmup=4, peak=1.0, final=0.2) == pytest.approx(0.6)


def test_a_schedule_continues_from_its_state(backend):
    optimizer = SGD([w()], lr=1.0)
    schedule = CosineWithWarmup(optimizer, 2, 10)
    for _ in range(5):
        schedule.step()
    other_optimizer = SGD([w()], lr=1.0)
    other = CosineWithWarmup(other_optimizer, 1, 5)
    other.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert other_optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    other.step()
    schedule.step()
    assert other_optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    with pytest.raises(ValueError, match="not the state of a schedule"):
        other.load_state_dict({"steps": 3})


def test_printing(net):
    text = repr(AdamW([{"params": net.parameters(), "name": "all"}]))
    assert text.startswith("AdamW(\n  all: 4 tensors, 26 numbers, lr=0.001")


@pytest.mark.parametrize("kind", [mg.optim.SGD, mg.optim.AdamW])
def test_weights_that_change_places_keep_their_values(backend, kind):
    """Two weights swap arrays, and an old array comes back: nobody's values are overwritten on the way."""
    a, b = mg.tensor([1.0, 2.0], requires_grad=True), mg.tensor([3.0, 4.0], requires_grad=True)
    optimizer = kind([a, b], lr=0.0)

    def step():
        for p in (a, b):
            p.grad = mg.zeros(2).data
        optimizer.step()

    step()
    a.data, b.data = b.data, a.data
    step()
    assert (a.tolist(), b.tolist()) == ([3.0, 4.0], [1.0, 2.0])
    kept = a.data
    a.data = mg.tensor([9.0, 9.0]).data
    step()
    a.data = kept
    step()
    assert a.tolist() == [3.0, 4.0]
