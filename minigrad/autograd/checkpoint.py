"""Activation checkpointing: keep a segment's inputs only, and run the segment again when its gradients are due.

    forward    y = f(x), recorded as one node that keeps x alone
    backward   f runs once more, now recorded, from the same x and the same random numbers; then gy is walked through it

It trades time for memory: one more forward pass of the segment for what the segment would have kept (1604.06174).
"""
from __future__ import annotations

import contextvars

from minigrad.autograd.function import Function
from minigrad.autograd.state import is_grad_enabled, no_grad
from minigrad.autograd.tensor import Tensor
from minigrad.backend import host


def checkpoint(fn, *args, parameters=None, **kwargs) -> Tensor:
    """fn(*args, **kwargs), one tensor, with nothing kept for backward but the tensors among `args`.

    parameters: the trainable tensors that fn uses besides its arguments; a Module's own are found. They get their
    gradients even where no argument requires one, as below a frozen embedding. Dropout draws the same numbers again.

    >>> import minigrad as mg
    >>> layer, x = mg.nn.Linear(3, 2), mg.ones(4, 3)
    >>> mg.checkpoint(lambda x: layer(x).exp().tanh(), x, parameters=layer.parameters()).sum().backward()
    >>> layer.weight.grad.shape
    (2, 3)
    """
    if parameters is None:
        parameters = fn.parameters() if hasattr(fn, "parameters") else ()
    own = [p for p in parameters if p.requires_grad]
    tensors = [a for a in args if isinstance(a, Tensor)]
    if not is_grad_enabled() or not any(t.requires_grad for t in tensors + own):
        return fn(*args, **kwargs)

    def run(given):
        given = iter(given)
        return fn(*(next(given) if isinstance(a, Tensor) else a for a in args), **kwargs)
    return Checkpoint(run, own)(*tensors, *own)


class Checkpoint(Function):
    """y = f(x; w), remembered by x and the state of the random numbers;  (gx, gw) come from running f again."""

    def __init__(self, run, own):
        self.run, self.own = run, own

    def forward(self, *arrays):
        self.inputs = len(arrays) - len(self.own)
        self.random = host.get_state()
        self.context = contextvars.copy_context()           # autocast is as it was when f runs again
        self.save(*arrays[:self.inputs])
        with no_grad():
            y = self.run([Tensor(a) for a in arrays[:self.inputs]])
        if not isinstance(y, Tensor):
            raise TypeError(f"checkpoint: the function must return one tensor; it returned {type(y).__name__}")
        return y.data.copy() if any(y.data is a for a in arrays) else y.data

    def backward(self, gy):
        return self.context.run(self._again, gy)

    def _again(self, gy):
        xs = [Tensor(a, requires_grad=need) for a, need in zip(self.saved, self.needs[:self.inputs], strict=True)]
        # The inner walk fills .grad and tells who listens; here the gradients only pass through, so both are put aside.
        aside = [(p.grad, p._hooks) for p in self.own]
        now = host.get_state()
        host.set_state(self.random)
        try:
            for p in self.own:
                p.grad = p._hooks = None
            y = self.run(xs)
            if y.requires_grad:
                y.backward(gy)
            gws = [p.grad for p in self.own]
        finally:
            host.set_state(now)
            for p, (grad, hooks) in zip(self.own, aside, strict=True):
                p.grad, p._hooks = grad, hooks
        zeros = [x.data * 0 if x.requires_grad and x.grad is None else x.grad for x in xs]
        return (*zeros, *(p.data * 0 if g is None else g for p, g in zip(self.own, gws, strict=True)))
