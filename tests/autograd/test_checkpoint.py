"""A checkpointed segment gives the same gradients as a recorded one, from less memory."""
import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import functional as F

SMALL = dict(vocab_size=13, context=8, d_model=8, n_layers=3, n_heads=2)


def gpt(**changes):
    mg.manual_seed(1)
    return mg.models.GPT(mg.models.GPTConfig(**SMALL | changes))


def loss_of(model, seed=0):
    ids, targets = np.random.default_rng(seed).integers(0, 13, (2, 3, 7))
    return F.cross_entropy(model(ids).reshape(-1, 13), targets.reshape(-1))


def gradients(model):
    return {n: None if p.grad is None else mg.to_numpy(p.grad).copy() for n, p in model.named_parameters()}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_and_random_numbers_are_the_same(backend, dropout):
    results = []
    for flag in (False, True):
        model = gpt(dropout=dropout)
        model.checkpoint_blocks = flag
        mg.manual_seed(7)
        loss = loss_of(model)
        loss.backward()
        results.append((loss.item(), gradients(model), mg.rand(3).numpy()))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][2], results[1][2])     # the generator stands where it would
    for name, g in results[0][1].items():
        np.testing.assert_allclose(results[1][1][name], g, rtol=1e-6, atol=1e-8, err_msg=name)


def test_it_keeps_one_array_per_block():
    model = gpt()
    plain = mg.graph_stats(loss_of(model))
    model.checkpoint_blocks = True
    less = mg.graph_stats(loss_of(model))
    assert less.by_op["checkpoint"] == (3, 3 * 3 * 7 * 8 * 4) and less.saved_bytes < 0.35 * plain.saved_bytes


def test_adapters_get_their_gradients_below_a_frozen_embedding():
    """The input of the first block requires no gradient, and LoRA inside of it still learns."""
    results = []
    for flag in (False, True):
        adapted = mg.peft.apply(gpt(), mg.peft.LoRA(rank=2, init="random"), rng=np.random.default_rng(0))
        adapted.model.checkpoint_blocks = flag
        loss_of(adapted).backward()
        results.append(gradients(adapted))
    assert any(g is not None for g in results[0].values())
    for name, g in results[0].items():
        assert (g is None) == (results[1][name] is None), name
        if g is not None:
            np.testing.assert_allclose(results[1][name], g, rtol=1e-5, atol=1e-8, err_msg=name)


def test_listeners_hear_once_and_old_gradients_are_added_to():
    layer, heard = mg.nn.Linear(3, 2), []
    layer.weight.on_grad_ready(lambda p: heard.append(mg.to_numpy(p.grad).copy()))
    x = mg.randn(4, 3)
    mg.checkpoint(layer, x).sum().backward()
    once = mg.to_numpy(layer.weight.grad).copy()
    assert len(heard) == 1
    np.testing.assert_array_equal(heard[0], once)
    mg.checkpoint(layer, x).sum().backward()
    np.testing.assert_allclose(mg.to_numpy(layer.weight.grad), 2 * once, rtol=1e-6)


def test_a_parameter_used_inside_and_outside():
    w = mg.randn(3, 3).requires_grad_()
    x = mg.randn(2, 3)
    y = mg.checkpoint(lambda x: (x @ w).tanh(), x, parameters=[w])
    ((y @ w) ** 2).sum().backward()
    got = w.grad.copy()
    w.grad = None
    (((x @ w).tanh() @ w) ** 2).sum().backward()
    np.testing.assert_allclose(mg.to_numpy(got), mg.to_numpy(w.grad), rtol=1e-5)


def test_gradcheck():
    w = mg.tensor(np.random.default_rng(0).normal(size=(3, 2)), requires_grad=True)
    x = mg.tensor(np.random.default_rng(1).normal(size=(4, 3)), requires_grad=True)
    assert mg.gradcheck(lambda x, w: mg.checkpoint(lambda x, w: (x @ w).tanh() * x.sum(), x, w), [x, w])


def test_retain_graph_and_no_grad():
    x = mg.randn(3).requires_grad_()
    y = mg.checkpoint(lambda x: x.exp(), x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad, 2 * np.exp(x.numpy()), rtol=1e-6)
    with mg.no_grad():
        assert not mg.checkpoint(lambda x: x.exp(), x).requires_grad


def test_autocast_is_as_it_was():
    layer, x = mg.nn.Linear(5, 4), mg.randn(3, 5)
    grads = []
    for run in (layer, lambda x: mg.checkpoint(layer, x)):
        layer.zero_grad()
        with mg.amp.autocast("bf16"):
            y = run(x)
        y.sum().backward()
        grads.append(mg.to_numpy(layer.weight.grad).copy())
    np.testing.assert_array_equal(*grads)


def test_it_must_return_a_tensor():
    with pytest.raises(TypeError, match="must return one tensor; it returned tuple"):
        mg.checkpoint(lambda x: (x, x), mg.ones(2).requires_grad_())
