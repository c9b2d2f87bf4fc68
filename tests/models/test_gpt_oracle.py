"""The GPT against the same model in PyTorch: logits, gradients, and 50 steps of training."""
import numpy as np
import pytest

import minigrad as mg
from minigrad.models import GPT, GPTConfig
from minigrad.nn import functional as F

torch = pytest.importorskip("torch")
from tests.models.torch_gpt import twin  # noqa: E402

pytestmark = pytest.mark.oracle
TINY = GPTConfig(vocab_size=13, context=12, d_model=16, n_layers=2, n_heads=4)
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}


def make(dtype, **changes):
    mg.manual_seed(1)
    model = GPT(GPTConfig(**{**TINY.to_dict(), **changes})).to(dtype=dtype)
    rng = np.random.default_rng(2)
    for name, p in model.named_parameters():        # no zero biases and no unit norms: every term must matter
        if p.ndim == 1:
            p.data[...] = p.backend.send((p.numpy() + 0.1 * rng.normal(size=p.shape)).astype(dtype))
    return model, twin(model)


def batch(rng, model, B=3, T=9):
    return rng.integers(0, model.config.vocab_size, (B, T)), rng.integers(0, model.config.vocab_size, (B, T))


def torch_loss(model, ids, targets):
    logits = model(torch.from_numpy(ids))
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten())


def our_loss(model, ids, targets):
    logits = model(ids)
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


def relative(ours, theirs):
    theirs = theirs.detach().numpy()
    return np.abs(ours - theirs).max() / max(1e-12, np.abs(theirs).max())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("tie_head", [False, True])
def test_logits_and_gradients_are_pytorchs(backend, dtype, tie_head):
    model, other = make(dtype, tie_head=tie_head)
    ids, targets = batch(np.random.default_rng(0), model)
    assert relative(model(ids).numpy(), other(torch.from_numpy(ids))) < TOLERANCE[dtype]
    our_loss(model, ids, targets).backward()
    torch_loss(other, ids, targets).backward()
    theirs = dict(other.named_parameters())
    assert set(dict(model.named_parameters())) == set(theirs)
    for name, p in model.named_parameters():
        if name.endswith("k_proj.bias"):            # its true gradient is 0: both are rounding noise
            continue
        assert p.grad.dtype.name == dtype
        assert relative(mg.to_numpy(p.grad), theirs[name].grad) < 10 * TOLERANCE[dtype], name


@pytest.mark.parametrize(("dtype", "atol"), [("float64", 1e-8), ("float32", 1e-4)])
def test_fifty_steps_of_training_follow_pytorch(backend, dtype, atol):
    """One fixed batch, learned by heart: the loss falls by far, so an error anywhere would show."""
    model, other = make(dtype)
    options = dict(lr=3e-3, betas=(0.9, 0.98), weight_decay=0.1)
    optimizer = mg.optim.AdamW(model.named_parameters(), **options)
    theirs = torch.optim.AdamW(other.parameters(), **options)
    rng = np.random.default_rng(3)
    ids, targets = batch(rng, model)
    targets[:, :3] = -100
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        theirs.zero_grad()
        loss, their_loss = our_loss(model, ids, targets), torch_loss(other, ids, targets)
        loss.backward()
        their_loss.backward()
        norm = mg.optim.clip_grad_norm_(model.parameters(), 0.5)
        their_norm = torch.nn.utils.clip_grad_norm_(other.parameters(), 0.5)
        losses.append((loss.item(), their_loss.item(), norm.item(), their_norm.item()))
        optimizer.step()
        theirs.step()
    ours, oracle, norms, their_norms = np.array(losses).T
    np.testing.assert_allclose(ours, oracle, rtol=0, atol=atol)
    np.testing.assert_allclose(norms, their_norms, rtol=10 * atol)
    assert ours[-1] < 0.5 * ours[0]
    for name, p in other.named_parameters():
        if not name.endswith("k_proj.bias"):
            np.testing.assert_allclose(model.get_parameter(name).numpy(), p.detach().numpy(), rtol=0, atol=20 * atol,
                                       err_msg=name)


def test_start_positions_are_pytorchs(backend):
    model, other = make("float64")
    ids, _ = batch(np.random.default_rng(4), model, B=2, T=5)
    expected = other(torch.from_numpy(ids), start=4).detach().numpy()
    np.testing.assert_allclose(model(ids, start=4).numpy(), expected, atol=1e-12)
    mixed = model(ids, start=np.array([1, 6])).numpy()
    for row, start in enumerate([1, 6]):
        one = other(torch.from_numpy(ids[row:row + 1]), start=start).detach().numpy()
        np.testing.assert_allclose(mixed[row:row + 1], one, atol=1e-12)
