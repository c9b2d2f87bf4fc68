"""Random graphs with reuse, views, broadcasts and indexing: values and gradients are PyTorch's, in float64."""
from __future__ import annotations

import random

import numpy as np
import pytest

import minigrad as mg
from tests.helpers import host

torch = pytest.importorskip("torch")
TF = torch.nn.functional

pytestmark = pytest.mark.oracle

N = 4


def both(mine, theirs=None):
    return mine, theirs or mine


# each makes a (4, 4) result of one or two (4, 4) tensors, of moderate size
STEPS = [
    both(lambda a, b: a + b), both(lambda a, b: a - b), both(lambda a, b: a * b), both(lambda a, b: a / (b * b + 1.0)),
    both(lambda a, b: a @ b * 0.3), both(lambda a, b: a @ b[0] + a), both(lambda a, b: b[:, 1] @ a * 0.5 + b),
    both(lambda a, b: a.tanh()), both(lambda a, b: a.sigmoid() * b), both(lambda a, b: a.relu() + b),
    both(lambda a, b: (a * 0.1).exp() - b), both(lambda a, b: a + a), both(lambda a, b: a - a * 0.5),
    both(lambda a, b: a.transpose(0, 1)), both(lambda a, b: a.T + b), both(lambda a, b: a.reshape(2, 8).reshape(4, 4) + b),
    both(lambda a, b: a.reshape(16)[3:].reshape(13)[:4] + b), both(lambda a, b: a[1:2] + b), both(lambda a, b: a[:, -1:] * b),
    both(lambda a, b: a[::2].sum(0) + b), both(lambda a, b: a[None].expand(2, 4, 4).sum(0) * 0.5),
    both(lambda a, b: a[[0, 0, 2, 1]]), both(lambda a, b: a[:, [3, 3, 0, 1]] + b), both(lambda a, b: a[[0, 1], [2, 2]].sum() + b),
    both(lambda a, b: a.flip(0) - b), both(lambda a, b: a.cumsum(1) * 0.5), both(lambda a, b: a.mean(0) + b),
    both(lambda a, b: a.var(1, keepdim=True) * 0.2 + b), both(lambda a, b: a.max(1, keepdim=True)[0] + b),
    both(lambda a, b: a.amin() * b * 0.2), both(lambda a, b: a.softmax(-1) + a), both(lambda a, b: a.log_softmax(0) * 0.1),
    both(lambda a, b: a.logsumexp(1, keepdim=True) - b), both(lambda a, b: a.tril() + b.triu(1)),
    both(lambda a, b: a.split(1, dim=1)[2] * b), both(lambda a, b: a.chunk(2)[1].sum() * 0.1 + b.squeeze()),
    both(lambda a, b: a.clamp(-0.5, 0.5) + b), both(lambda a, b: a.abs() + b.sin()),
    both(lambda a, b: a.unsqueeze(1).permute(1, 0, 2).flatten(0, 1)), both(lambda a, b: a.detach() * b),
    (lambda a, b: mg.cat([a[:2], b[2:]], 0), lambda a, b: torch.cat([a[:2], b[2:]], 0)),
    (lambda a, b: mg.stack([a, b, a], 1).mean(1), lambda a, b: torch.stack([a, b, a], 1).mean(1)),
    (lambda a, b: mg.where(a.detach() > b.detach(), a, b), lambda a, b: torch.where(a.detach() > b.detach(), a, b)),
    (lambda a, b: mg.maximum(a, b.mean()), lambda a, b: torch.maximum(a, b.mean())),
    (lambda a, b: mg.gelu(a, "tanh") + b, lambda a, b: TF.gelu(a, approximate="tanh") + b),
    (lambda a, b: mg.layer_norm(a, 4) * b, lambda a, b: TF.layer_norm(a, (4,)) * b),
    (lambda a, b: mg.layer_norm(a, 4, b[0], b[1]), lambda a, b: TF.layer_norm(a, (4,), b[0], b[1])),
    (lambda a, b: mg.linear(a, b, b[0]) * 0.3, lambda a, b: TF.linear(a, b, b[0]) * 0.3),
    (lambda a, b: mg.scaled_dot_product_attention(a, b, a, is_causal=True),
     lambda a, b: TF.scaled_dot_product_attention(a[None], b[None], a[None], is_causal=True)[0]),
    (lambda a, b: a + mg.cross_entropy(b, [0, 3, -100, 1]), lambda a, b: a + TF.cross_entropy(b, torch.tensor([0, 3, -100, 1]))),
    (lambda a, b: mg.embedding([1, 1, 3, 0], a), lambda a, b: TF.embedding(torch.tensor([1, 1, 3, 0]), a)),
    (lambda a, b: a.masked_fill(mg.tensor(np.eye(N) > 0), 0.5), lambda a, b: a.masked_fill(torch.eye(N) > 0, 0.5)),
]


def nearly(mine, theirs, what):
    a, e = host(mine), host(theirs)
    assert a.shape == e.shape and a.dtype == e.dtype, what
    np.testing.assert_allclose(a, e, rtol=1e-9, atol=1e-10 * max(1.0, np.abs(e).max()), err_msg=what)


def compare(seed: int) -> None:
    """Grow one graph in both engines, walk it once or twice, compare everything that can be seen."""
    choose, rng = random.Random(seed), np.random.default_rng(seed)
    arrays = [rng.standard_normal((N, N)) for _ in range(3)]
    frozen = choose.choice([None, 0, 1, 2])
    xs = [mg.tensor(a, requires_grad=i != frozen) for i, a in enumerate(arrays)]
    ts = [torch.tensor(a, requires_grad=i != frozen) for i, a in enumerate(arrays)]
    mine, theirs, path, watched = list(xs), list(ts), [], []
    for _ in range(choose.randint(3, 20)):
        i, j, k = choose.randrange(len(mine)), choose.randrange(len(mine)), choose.randrange(len(STEPS))
        y, z = STEPS[k][0](mine[i], mine[j]), STEPS[k][1](theirs[i], theirs[j])
        path.append((k, i, j))
        assert y.requires_grad == z.requires_grad, (seed, path)
        if y.requires_grad and choose.random() < 0.2:
            y.retain_grad(), z.retain_grad()
            watched.append((y, z))
        mine.append(y), theirs.append(z)
    what = f"graph {seed}: {path}"
    for y, z in zip(mine, theirs, strict=True):
        nearly(y, z, what)
    loss, other = (sum((t * t).mean() for t in side[-3:]) for side in (mine, theirs))
    if not other.requires_grad:
        return
    walks = choose.randint(1, 2)
    for walk in range(walks):
        loss.backward(retain_graph=walk < walks - 1)
        other.backward(retain_graph=walk < walks - 1)
    for x, t in [*zip(xs, ts, strict=True), *watched]:
        assert (x.grad is None) == (t.grad is None), what
        if x.grad is not None:
            nearly(x.grad, t.grad, what)
    held = [getattr(x.grad, "_a", x.grad) for x in [*xs, *(y for y, _ in watched)] if x.grad is not None]
    for i, g in enumerate(held):
        assert not any(np.shares_memory(g, other_g) for other_g in held[:i]), what
    for x, a in zip(xs, arrays, strict=True):
        assert host(x).tobytes() == a.tobytes(), what


@pytest.mark.parametrize("block", range(10))
def test_random_graphs_are_pytorchs(backend, block):
    for seed in range(40 * block, 40 * (block + 1)):
        compare(seed)


def test_each_step_is_compared(backend):
    """Each kind of step once by itself, so that none is left out by chance."""
    rng = np.random.default_rng(1)
    arrays = rng.standard_normal((2, N, N))
    for k, (mine, theirs) in enumerate(STEPS):
        xs, ts = [mg.tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
        mine(*xs).sum().backward()
        theirs(*ts).sum().backward()
        for x, t in zip(xs, ts, strict=True):
            assert (x.grad is None) == (t.grad is None), k
            if x.grad is not None:
                nearly(x.grad, t.grad, f"step {k}")


@pytest.mark.parametrize("seed", range(3))
def test_random_graphs_under_debug(backend, seed):
    with mg.debug():
        for s in range(1000 + 10 * seed, 1010 + 10 * seed):
            compare(s)
