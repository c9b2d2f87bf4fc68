"""Random programs on tensors of many shapes, run by minigrad and by PyTorch in float64; hypothesis shrinks what differs.

Where test_random_graphs.py keeps one size, here sizes meet and broadcast, and two losses share a graph. What a gradient
may be added to in place, and what somebody else still holds, differs from program to program.
"""
from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minigrad as mg
from tests.helpers import close

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

SHAPES = [(), (4,), (3, 1), (3, 4), (2, 3, 4), (1, 4)]

# each line is one text for both libraries: m is minigrad or torch
UNARY = {
    "tanh": lambda m, x: m.tanh(x), "sin": lambda m, x: m.sin(x), "exp": lambda m, x: m.exp(m.tanh(x)),
    "relu": lambda m, x: m.relu(x), "square": lambda m, x: m.square(m.sin(x)), "neg": lambda m, x: -x,
    "gelu": lambda m, x: m.nn.functional.gelu(x, approximate="tanh"), "scale": lambda m, x: x * 0.75,
    "shift": lambda m, x: x + 0.25, "silu": lambda m, x: m.nn.functional.silu(x), "same": lambda m, x: x.view(x.shape),
    # views
    "T": lambda m, x: x.permute(tuple(range(x.ndim))[::-1]), "flat": lambda m, x: x.reshape(-1),
    "front": lambda m, x: x.unsqueeze(0) if x.ndim < 3 else x[0], "back": lambda m, x: x[..., -1] if x.ndim else x,
    "every second": lambda m, x: x[..., ::2] if x.ndim else x,
    "rest": lambda m, x: x[1:] if x.ndim and x.shape[0] > 1 else x,
    "expand": lambda m, x: x.unsqueeze(0).expand(2, *x.shape) if x.ndim < 3 else x,
    # reductions and picks
    "sum": lambda m, x: m.tanh(x.sum(-1)) if x.ndim else x, "mean": lambda m, x: x.mean(0, keepdim=True) if x.ndim else x,
    "amax": lambda m, x: x.amax(-1) if x.ndim else x, "softmax": lambda m, x: m.softmax(x, 0) if x.ndim else x,
    "cumsum": lambda m, x: m.tanh(m.cumsum(x, 0)) if x.ndim else x, "flip": lambda m, x: x.flip(0) if x.ndim else x,
    "repeat": lambda m, x: x[[0, -1, 0]] if x.ndim else x, "detach": lambda m, x: x.detach(),
}
BINARY = {
    "add": lambda m, a, b: a + b, "sub": lambda m, a, b: a - b, "mul": lambda m, a, b: m.tanh(a) * b,
    "div": lambda m, a, b: a / (1.5 + m.sin(b)), "maximum": lambda m, a, b: m.maximum(a, b),
    "where": lambda m, a, b: m.where(a.detach() > b.detach(), a * 2.0, b),
    "cat": lambda m, a, b: m.cat([a.reshape(-1), b.reshape(-1)])[:24],
    "stack": lambda m, a, b: m.stack([a.reshape(-1)[:1], b.reshape(-1)[:1]]),
    "matmul": lambda m, a, b: m.sin(a.reshape(-1, 1)[:6] @ b.reshape(1, -1)[:, :8]),
    "linear": lambda m, a, b: m.nn.functional.linear(m.sin(a), m.sin(b))
    if a.ndim and b.ndim == 2 and a.shape[-1] == b.shape[-1] else a * b.mean(),
}

leaves = st.lists(st.tuples(st.sampled_from(SHAPES), st.sampled_from([True, True, True, False])), min_size=1, max_size=4)
picks = st.integers(0, 1000)
steps = st.lists(st.one_of(st.tuples(st.sampled_from(sorted(UNARY)), picks),
                           st.tuples(st.sampled_from(sorted(BINARY)), picks, picks)), min_size=1, max_size=14)


def fits(a, b) -> bool:
    """Whether two shapes broadcast."""
    return all(x == y or 1 in (x, y) for x, y in zip(a[::-1], b[::-1], strict=False))


def run(m, inputs, program, watched):
    """The pool of all tensors that a program makes; some results are asked to keep their gradients."""
    pool = list(inputs)
    for name, *picked in program:
        xs = [pool[-1 - p % min(len(pool), 6)] if i == 0 else pool[p % len(pool)] for i, p in enumerate(picked)]
        if name in UNARY:
            y = UNARY[name](m, xs[0])
        else:
            y = BINARY[name](m, xs[0], xs[1] if fits(xs[0].shape, xs[1].shape) else xs[1].mean())
        if math.prod(y.shape) > 200:
            y = y.mean(0)
        if y.requires_grad and (len(pool) + watched) % 4 == 0 and all(y is not x for x in pool):
            y.retain_grad()
        pool.append(y)
    return pool


def loss(tensors):
    """A number that depends on all of them, on each in its own way."""
    total = 0.0
    for i, t in enumerate(tensors):
        total = total + t.sum() * (1.0 + i) if i % 2 else (t * t).mean() + total
    return total


@given(leaves, steps, st.integers(0, 3), st.integers(0, 1000), st.booleans())
@settings(max_examples=80, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_a_random_program_has_pytorchs_gradients(inputs, program, watched, seed, twice):
    mg.manual_seed(seed)
    arrays = [mg.randn(*shape, dtype="float64").numpy() for shape, _ in inputs]
    flags = [i == 0 or trains for i, (_, trains) in enumerate(inputs)]
    for name in ("numpy", "strict"):
        pools = []
        with mg.use_backend(name):
            for m in (mg, torch):
                pool = run(m, [m.tensor(a, requires_grad=f) for a, f in zip(arrays, flags, strict=True)], program, watched)
                trained = [t for t in pool if t.requires_grad]
                first, second = loss(trained[-3:]), loss(trained[::2])      # they share most of the graph
                first.backward(retain_graph=True)
                if twice:
                    second.backward()
                pools.append(pool)
            for i, (a, b) in enumerate(zip(*pools, strict=True)):
                close(a, b, rtol=1e-10, atol=1e-12)
                assert a.requires_grad == b.requires_grad
                if b.is_leaf or b.retains_grad:
                    assert (a.grad is None) == (b.grad is None), f"tensor {i} of the pool"
                    if b.grad is not None:
                        close(a.grad, b.grad, rtol=1e-9, atol=1e-11)
