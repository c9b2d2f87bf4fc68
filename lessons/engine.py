"""For the last check of a lesson: the learner's functions inside the live engine, training something real and small."""
from __future__ import annotations

import contextlib

import numpy as np

import minigrad as mg
from lessons.kit import Wrong
from minigrad import optim
from minigrad.autograd import Function
from minigrad.nn import functional as F

WORDS = [("cat", "K AE T"), ("nation", "N EY SH AH N"), ("horse", "HH AO R S"), ("tree", "T R IY"), ("night", "N AY T"),
         ("water", "W AO T ER"), ("phone", "F OW N"), ("laugh", "L AE F")]


def operation(forward, vjp):
    """A differentiable function of tensors made of two functions of arrays: forward(*xs) -> y, vjp(gy, *xs) -> (gx, …).

    The engine does for it what it does for its own operations: it records the graph, and checks shapes.
    """
    class Learners(Function):
        def forward(self, *xs):
            self.save(*xs)
            return np.asarray(forward(*xs), dtype=xs[0].dtype)

        def backward(self, gy):
            gxs = vjp(gy, *self.saved)
            gxs = gxs if isinstance(gxs, tuple) else (gxs,)
            return tuple(None if g is None or not need else np.asarray(g, dtype=gy.dtype)
                         for g, need in zip(gxs, self.needs, strict=True))
    del Function.registry[Learners.name]                    # it belongs to this lesson alone
    return lambda *tensors: Learners()(*tensors)


def graph(result, Node):
    """The graph that the engine recorded under a tensor, in nodes of yours: (the root, {leaf tensor: its node}).

    Node(name, parents, vjp, trainable) is called once for each operation and for each tensor that wants a gradient.
    """
    made, leaves, stack = {}, {}, [result._fn]
    while stack:
        fn = stack[-1]
        edges = [edge for edge in fn.edges if edge is not None]
        missing = []
        for edge in edges:
            if isinstance(edge, mg.Tensor):
                if edge not in leaves:
                    made[edge] = leaves[edge] = Node("leaf", trainable=True)
            elif edge not in made:
                missing.append(edge)
        stack.extend(missing)
        if not missing:
            stack.pop()
            if fn not in made:
                made[fn] = Node(fn.name, [made[edge] for edge in edges], _vjp_of(fn))
    return made[result._fn], leaves


def _vjp_of(fn):
    return lambda gy: [g for g, edge in zip(fn.gradients(gy, False), fn.edges, strict=True) if edge is not None]


def small_gpt(seed: int = 0, **changes):
    """A GPT of two layers of width 16 for the eight words above, with seeded weights."""
    mg.manual_seed(seed)
    settings = dict(vocab_size=mg.tasks.Tokenizer().vocab_size, context=32, d_model=16, n_layers=2, n_heads=2)
    return mg.models.GPT(mg.models.GPTConfig(**settings | changes))


def batch():
    """Eight words as one batch: (ids, targets), host integers (8, T)."""
    tokenizer = mg.tasks.Tokenizer()
    examples = mg.tasks.encode_examples(tokenizer, [(word, [sounds.split()]) for word, sounds in WORDS])
    one = next(iter(mg.tasks.Batches(examples, batch_size=len(WORDS), bucket=False)))
    return one.ids, one.targets


def loss_of(model):
    """The mean cross-entropy of the eight words; a 0-d tensor."""
    ids, targets = batch()
    logits = model(ids)                                     # (8, T) -> (8, T, V)
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=-100)


def train(model, steps: int = 12, lr: float = 1e-2, parameters=None, autocast: str | None = None) -> list[float]:
    """Train with AdamW on the eight words; the loss before each step. autocast: the format of the matrix products."""
    optimizer = optim.AdamW([p for p in (model.parameters() if parameters is None else parameters) if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        with mg.amp.autocast(autocast) if autocast else contextlib.nullcontext():
            loss = loss_of(model)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@contextlib.contextmanager
def rounding(round_to):
    """Inside, the engine rounds to number formats with round_to(x, format, saturate=False); None changes nothing."""
    backend = mg.backend.get("numpy")
    if round_to is not None:
        backend.round_to = round_to
    try:
        yield
    finally:
        backend.__dict__.pop("round_to", None)


def same_curve(yours, engines, what: str, rtol: float = 2e-3) -> None:
    """Wrong unless the two lists of losses are the same to within `rtol`, and the loss falls."""
    if len(yours) != len(engines):
        raise Wrong(f"{what}: {len(yours)} losses, expected {len(engines)}")
    for step, (mine, theirs) in enumerate(zip(yours, engines, strict=True)):
        if not abs(mine - theirs) <= rtol * abs(theirs):
            raise Wrong(f"{what}: with your functions in the engine the loss at step {step} is {mine:.5g}; with the "
                        f"engine's own it is {theirs:.5g}")
    if not yours[-1] < yours[0]:
        raise Wrong(f"{what}: the loss did not fall ({yours[0]:.4g} -> {yours[-1]:.4g})")


def was_called(*counters) -> None:
    """Wrong unless each `calls(…)` counter was used: the engine really ran the learner's function."""
    for c in counters:
        if not c.count:
            raise Wrong(f"the engine never called {c.function.__name__}")
