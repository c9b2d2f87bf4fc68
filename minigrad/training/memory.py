"""Where the memory of a training step goes: weights, gradients, optimizer, activations. Counted, not estimated."""
from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

from minigrad.autograd import Function, graph_stats, saved_arrays
from minigrad.training.fit import Trainer, loss_on


@dataclass(frozen=True)
class MemoryUse:
    """Bytes held at the height of a training step.

    weights: all parameters, trained or not, and the module's buffers (LoRA-FA's frozen A), each array once ·
    activations: what the graph keeps for its backward pass, each array once ·
    gradients: one per trained parameter · optimizer: Adam's two moments · trainable: trained parameters (a count).
    """

    weights: int
    activations: int
    gradients: int
    optimizer: int
    trainable: int

    @property
    def total(self) -> int:
        """All of them together."""
        return self.weights + self.activations + self.gradients + self.optimizer


def memory(model, batch) -> MemoryUse:
    """Measure one training step of a model on a batch. The step is taken with learning rate 0: no weight changes.

    >>> import minigrad as mg
    >>> from minigrad.tasks import Batches, Tokenizer, encode_examples
    >>> tokenizer = Tokenizer()
    >>> gpt = mg.models.GPT(mg.models.GPTConfig(tokenizer.vocab_size, d_model=8, n_layers=1, n_heads=1))
    >>> use = memory(gpt, next(iter(Batches(encode_examples(tokenizer, [("cat", [["K"]])]), batch_size=1))))
    >>> use.optimizer == 2 * use.gradients == 2 * use.weights
    True
    """
    training = model.training
    model.train()
    trainer = Trainer(model, steps=1, lr=1.0, weight_decay=0.0)
    for group in trainer.optimizer.param_groups:
        group["lr"] = 0.0
    loss = loss_on(model, batch)
    activations = graph_stats(loss).saved_bytes
    loss.backward()
    trained = {id(p): p for group in trainer.optimizer.param_groups for p in group["params"] if p.grad is not None}
    gradients = sum(p.grad.nbytes for p in trained.values())
    counts = {id(p): p._version.count for p in trained.values()}
    trainer.optimizer.step()
    for p in trained.values():                      # no value has changed: for graphs and methods there was no step
        p._version.count = counts[id(p)]
    trainer.optimizer.zero_grad()
    model.train(training)
    held = {id(t.data): t.data.nbytes for named in (model.named_parameters(), model.named_buffers()) for _, t in named}
    return MemoryUse(weights=sum(held.values()), activations=activations, gradients=gradients,
                     optimizer=trainer.optimizer.state_bytes(), trainable=sum(p.size for p in trained.values()))


def activations_by_layer(model, batch) -> dict[str, int]:
    """{module's name: bytes that its own operations keep for backward}, in the order of the forward pass.

    Each buffer counts once, where it was saved first; what a module's parts keep is theirs, not the module's. "" is the
    model itself with the loss. The values sum to `memory(model, batch).activations`.

    >>> import minigrad as mg
    >>> from minigrad.tasks import Batches, Tokenizer, encode_examples
    >>> tokenizer = Tokenizer()
    >>> gpt = mg.models.GPT(mg.models.GPTConfig(tokenizer.vocab_size, d_model=8, n_layers=1, n_heads=1))
    >>> batch = next(iter(Batches(encode_examples(tokenizer, [("cat", [["K"]])]), batch_size=1)))
    >>> layers = activations_by_layer(gpt, batch)
    >>> sum(layers.values()) == memory(gpt, batch).activations
    True
    """
    training = model.training
    model.train()
    with owners(model) as owner:
        loss = loss_on(model, batch)
    sizes: dict[str, int] = {}
    for fn, arrays in saved_arrays(loss):
        name = owner.get(fn, "")
        sizes[name] = sizes.get(name, 0) + sum(nbytes for _, nbytes in arrays)
    model.train(training)
    return {name: n for name, n in sizes.items() if n}


@contextmanager
def owners(model):
    """Inside, {operation: name of the innermost module that recorded it} is filled."""
    owner, stack, call = {}, [], Function.__call__

    def noted(fn, *inputs):
        result = call(fn, *inputs)
        if stack and result._fn is fn:
            owner[fn] = stack[-1]
        return result

    def named(name, forward):
        def run(*args, **kwargs):
            stack.append(name)
            try:
                return forward(*args, **kwargs)
            finally:
                stack.pop()
        return run
    modules = [(name, module) for name, module in model.named_modules() if name]
    Function.__call__ = noted
    for name, module in modules:
        module.__dict__["forward"] = named(name, module.forward)
    try:
        yield owner
    finally:
        Function.__call__ = call
        for _, module in modules:
            del module.__dict__["forward"]
