"""Gradient clipping: a rare huge gradient is shortened, so that it cannot ruin the weights."""
from __future__ import annotations

import math

from minigrad import backend as _backend
from minigrad.autograd import Tensor


def clip_grad_norm_(params, max_norm: float) -> Tensor:
    """Scale all gradients by min(1, max_norm/(‖g‖ + 1e-6)), ‖g‖ their joint Euclidean norm; returns ‖g‖ (0-d).

    Nothing is read back from the device: the norm is a tensor, to be read together with the loss. Parameters without
    a gradient are passed over. A norm of inf or NaN shows in the returned value, as in PyTorch.

    >>> import minigrad as mg
    >>> w = mg.tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w / 2).sum().backward()
    >>> mg.optim.clip_grad_norm_([w], max_norm=1.0).item()
    5.0
    """
    if isinstance(max_norm, bool) or not isinstance(max_norm, int | float) or not max_norm >= 0:
        raise ValueError(f"max_norm must be a number of at least 0; got {max_norm!r}")
    params = [params] if isinstance(params, Tensor) else list(params)
    params = [p for p in params if p.grad is not None]
    if not params:
        return Tensor(_backend.current().xp.zeros((), dtype="float32"))
    be = _backend.of(*(p.grad for p in params))
    squares = [be.xp.dot(g, g) for g in (p.grad.reshape(-1) for p in params)]
    norm = be.xp.sqrt(be.xp.stack([be.xp.asarray(s) for s in squares]).sum())
    if not math.isinf(max_norm):
        scale = be.xp.minimum(max_norm / (norm + 1e-6), 1.0)
        for p in params:
            p.grad = p.grad * scale                 # a new array: somebody else may hold the old one
    return Tensor(be.xp.asarray(norm))
