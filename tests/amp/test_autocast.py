"""Logical formats in the engine, and autocast, beside PyTorch's bfloat16 and float16 on the CPU."""
import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd import precision
from minigrad.models import GPT, GPTConfig
from minigrad.nn import functional as F
from tests.helpers import host

LOW = ("bf16", "fp16")


def on_grid(x, format):
    x = host(x)
    return np.array_equal(mg.amp.round_to(x, format), x, equal_nan=True)


@pytest.mark.parametrize("format", LOW)
def test_what_each_operation_writes_lies_on_the_grid(backend, format):
    x = mg.amp.round_to(mg.randn(5, 7), format).detach().requires_grad_()
    w = mg.randn(3, 7, requires_grad=True)
    y = F.gelu(mg.linear(x, mg.amp.round_to(w, format)), approximate="tanh")
    assert y.format == format and on_grid(y, format)
    (y * 3.0).sum().backward()
    assert on_grid(x.grad, format) and w.grad.dtype == np.float32


def test_gradients_underflow_in_the_narrow_product_and_scaling_saves_them(backend):
    x = mg.ones(1, 2)
    for scale, survives in ((1.0, False), (65536.0, True)):
        w = mg.ones(1, 2, requires_grad=True)
        with mg.amp.autocast("fp16"):
            y = mg.linear(x, w)
        (y.sum() * 1e-9 * scale).backward()
        assert bool(host(w.grad).any()) is survives


def test_formats_meet_in_the_wider_one(backend):
    a, b = mg.amp.round_to(mg.ones(2), "fp16"), mg.amp.round_to(mg.ones(2), "bf16")
    assert ((a + a).format, (a + b).format, (a + mg.ones(2)).format, (a * 2.0).format) == ("fp16", "fp32", "fp32", "fp16")
    assert a.reshape(2, 1).format == "fp16" and a.detach().format == "fp16"
    assert (mg.ones(2) + 1.0).format == "fp32"


def test_sums_of_gradients_are_rounded_too(backend):
    x = mg.amp.round_to(mg.ones(1), "bf16").detach().requires_grad_()
    (x * 1.0 + x * mg.amp.round_to(mg.tensor([2.0 ** -9]), "bf16")).sum().backward()
    assert host(x.grad).tolist() == [1.0]           # 1 + 2⁻⁹ is no bf16 number


@pytest.mark.parametrize("policy, classes", [("cuda", {"softmax": "fp32", "layer_norm": "fp32", "relu": "fp16"}),
                                             ("cpu", {"softmax": "fp16", "layer_norm": "fp16", "relu": "fp16"})])
def test_policies_are_data(backend, policy, classes):
    with mg.amp.autocast("fp16", policy=policy):
        y = mg.linear(mg.ones(2, 3), mg.ones(4, 3))
        found = {"softmax": y.softmax(-1).format, "layer_norm": F.layer_norm(y, 4).format, "relu": y.relu().format}
        assert F.cross_entropy(y, [0, 1]).format == "fp32" and F.mse_loss(y, y).format == "fp32"
    assert y.format == "fp16" and found == classes


def test_regions_nest_switch_off_and_cast_a_weight_once(backend):
    w, x = mg.ones(3, 3, requires_grad=True), mg.ones(2, 3)
    with mg.amp.autocast("fp16"):
        y = mg.linear(x, w)
        with mg.amp.autocast("bf16"):
            assert mg.linear(x, w).format == "bf16"
        with mg.amp.autocast("fp16", enabled=False):
            assert mg.linear(x, w).format == "fp32"
        z = mg.linear(x, w)
        region = precision._autocast.get()
        assert len(region.cache) == 1
        w.data = w.data * 2.0
        assert host(mg.linear(x, w)).max() == 2 * host(z).max()        # a changed weight is cast again
    assert y.format == "fp16" and mg.linear(x, w).format == "fp32"


def test_integers_and_float64_are_left_alone(backend):
    with mg.amp.autocast("fp16"):
        assert (mg.tensor([1, 2]) + 1).dtype.name == "int64"
        wide = mg.tensor(np.ones((2, 2)))
        assert (wide @ wide).dtype.name == "float64"


@pytest.mark.oracle
@pytest.mark.parametrize("format, torch_type, eps", [("bf16", "bfloat16", 2.0 ** -7), ("fp16", "float16", 2.0 ** -10)])
def test_the_gpt_under_autocast_is_pytorchs(backend, format, torch_type, eps):
    """Logits and gradients agree within a few steps of the format (both round; they add in other orders)."""
    torch = pytest.importorskip("torch")
    from minigrad.experiments.torch_twin import torch_twin

    config = GPTConfig(vocab_size=23, context=16, d_model=32, n_layers=2, n_heads=4)
    model = GPT(config)
    rng = np.random.default_rng(0)
    for p in model.parameters():                    # weights of a size at which rounding shows
        p.data = p.backend.send(rng.standard_normal(p.shape).astype(np.float32) * (0.2 if p.ndim > 1 else 0.1)
                                + (1.0 if p.ndim == 1 and host(p).all() else 0.0))
    other = torch_twin(model)
    ids, targets = rng.integers(0, 23, (3, 12)), rng.integers(0, 23, (3, 12))
    with mg.amp.autocast(format, policy="cpu"):
        logits = model(ids)
    F.cross_entropy(logits.reshape(-1, 23), targets.reshape(-1)).backward()
    with torch.autocast("cpu", dtype=getattr(torch, torch_type)):
        expected = other(torch.tensor(ids))
    torch.nn.functional.cross_entropy(expected.float().reshape(-1, 23), torch.tensor(targets).reshape(-1)).backward()
    theirs = dict(other.named_parameters())
    size = expected.float().abs().max().item()
    assert np.abs(host(logits) - host(expected.float())).max() < 6 * eps * size
    for name, p in model.named_parameters():
        a, b = host(p.grad), host(theirs[name].grad.float())
        if "k_proj.bias" not in name:
            assert np.linalg.norm(a - b) < 8 * eps * np.linalg.norm(b), name


def test_logical_and_physical_bytes(backend):
    x, w = mg.ones(4, 8), mg.ones(8, 8, requires_grad=True)
    plain = mg.graph_stats(mg.linear(x, w))
    with mg.amp.autocast("bf16"):
        low = mg.graph_stats(mg.linear(x, w))
    assert plain.logical_bytes == plain.saved_bytes == 4 * 8 * 4
    assert low.logical_bytes == low.saved_bytes / 2 and low.saved_bytes >= plain.saved_bytes


@pytest.mark.parametrize("call, says", [
    (lambda: mg.amp.autocast("fp12"), "unknown number format"),
    (lambda: mg.amp.autocast("fp32"), "would change nothing"),
    (lambda: mg.amp.autocast("fp16", policy="tpu"), "unknown policy"),
    (lambda: mg.amp.autocast("fp16", policy={"wide": ("exp",)}), "'low' and 'fp32'"),
    (lambda: mg.amp.LowPrecisionWeights(None, keep="none"), "keep must be"),
    (lambda: mg.amp.matmul(np.ones((2, 3), np.float32), np.ones((2, 3), np.float32), "fp16"), r"\(M, K\) and \(K, N\)"),
])
def test_mistakes(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize("keep, moves", [("nearest", False), ("master", True), ("kahan", True), ("stochastic", True)])
def test_small_updates_of_bf16_weights(backend, keep, moves):
    w = mg.tensor(np.ones(64, np.float32), requires_grad=True)
    optimizer = mg.amp.LowPrecisionWeights(mg.optim.SGD([w], lr=1e-3), "bf16", keep=keep)
    for _ in range(100):
        w.grad = mg.ones(64).data
        optimizer.step()
        assert on_grid(w, "bf16")
    mean = float(host(w).mean())
    assert abs(mean - 0.9) < 0.01 if moves else mean == 1.0


@pytest.mark.parametrize("format, eps", [("fp16", 2.0 ** -10), ("bf16", 2.0 ** -7)])
def test_two_models_of_a_matrix_product(format, eps):
    rng = np.random.default_rng(0)
    errors = {}
    for k in (64, 1024):
        a, b = rng.standard_normal((8, k)).astype(np.float32), rng.standard_normal((k, 8)).astype(np.float32)
        exact = a.astype(np.float64) @ b
        for model in ("tensorcore", "per_op"):
            c = mg.amp.matmul(a, b, format, model=model)
            errors[model, k] = np.linalg.norm(c - exact) / np.linalg.norm(exact)
    assert errors["tensorcore", 1024] < 1.5 * errors["tensorcore", 64] < 1.5 * eps
    assert errors["per_op", 1024] > 2 * errors["per_op", 64]


@pytest.mark.oracle
@pytest.mark.parametrize("format, torch_type", [("fp16", "float16"), ("bf16", "bfloat16")])
def test_the_tensorcore_model_is_pytorchs_product(format, torch_type):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((32, 512)).astype(np.float32), rng.standard_normal((512, 32)).astype(np.float32)
    kind = getattr(torch, torch_type)
    expected = (torch.tensor(a).to(kind) @ torch.tensor(b).to(kind)).float().numpy()
    assert (mg.amp.matmul(a, b, format) == expected).mean() >= 0.98


def test_two_backward_passes_in_one_region_and_one_region_twice(backend):
    w, x = mg.ones(2, 3, requires_grad=True), mg.ones(1, 3)
    with mg.amp.autocast("bf16"):
        mg.linear(x, w).sum().backward()
        mg.linear(x, w).sum().backward()
    assert host(w.grad).tolist() == [[2.0] * 3] * 2
    region = mg.amp.autocast("bf16")
    with region, region:
        assert mg.linear(x, w).format == "bf16"
    assert mg.linear(x, w).format == "fp32"


def test_saturation_and_swapped_masters():
    assert mg.amp.round_to(np.float32([3.4e38, -3.4e38]), "bf16", overflow="saturate").tolist() == [
        mg.amp.finfo("bf16").max, -mg.amp.finfo("bf16").max]
    w = mg.tensor([1.0], requires_grad=True)
    optimizer = mg.amp.LowPrecisionWeights(mg.optim.SGD([w], lr=0.0), "bf16", keep="master")
    w.data = mg.tensor([5.0]).data
    w.grad = mg.ones(1).data
    optimizer.step()
    assert w.item() == 5.0


def test_a_scaler_survives_any_number_of_skipped_steps():
    w = mg.tensor([1.0], requires_grad=True)
    optimizer, scaler = mg.optim.SGD([w], lr=0.1), mg.amp.GradScaler()
    for _ in range(300):
        w.grad = mg.full(1, float("nan")).data
        scaler.step(optimizer)
        scaler.update()
    assert scaler.get_scale() == 0.0 and w.item() == 1.0
