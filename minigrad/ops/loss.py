"""Losses. Targets are host integers, checked before they are sent."""
from __future__ import annotations

from minigrad.autograd import Tensor
from minigrad.autograd.precision import widened
from minigrad.backend import host
from minigrad.ops.elementwise import neg, square, sub, where
from minigrad.ops.fused import CrossEntropy, log_softmax_naive
from minigrad.ops.index import gather
from minigrad.ops.promote import as_tensor, floating
from minigrad.ops.reduce import mean
from minigrad.ops.reduce import sum as sum_
from minigrad.ops.shape import permute, reshape


def _reduced(losses: Tensor, counted: int, reduction: str, what: str) -> Tensor:
    if reduction == "none":
        return losses
    if reduction == "sum":
        return sum_(losses)
    if reduction != "mean":
        raise ValueError(f"{what}: reduction must be 'mean', 'sum' or 'none'; got {reduction!r}")
    return sum_(losses) * (1.0 / counted)


def _rows(x, targets, ignore_index, what):
    """Scores as (N, C) rows and their checked targets (N,), from PyTorch's layouts (C,), (N, C) and (N, C, …)."""
    x = widened(floating(x))
    if x.ndim == 0:
        raise ValueError(f"{what}: the input needs a class dimension; got a number")
    classes = x.shape[0 if x.ndim == 1 else 1]
    targets = host.ids(targets, classes, f"{what} target", also=ignore_index)
    expected = () if x.ndim == 1 else (x.shape[0], *x.shape[2:])
    if targets.shape != expected:
        raise ValueError(f"{what}: an input of shape {tuple(x.shape)} needs targets of shape {expected}; got "
                         f"{targets.shape}")
    if x.ndim > 2:
        x = permute(x, (0, *range(2, x.ndim), 1))   # (N, C, …) -> (N, …, C)
    rows = reshape(x, (targets.size, classes))
    flat = targets.reshape(-1)
    counted = int((flat != ignore_index).sum())
    if counted == 0:
        raise ValueError(f"{what}: every target is ignored (ignore_index={ignore_index}), or the batch is empty: there "
                         "is nothing to average. Skip this batch")
    return rows, flat, counted, expected


def cross_entropy(input, target, *, ignore_index: int = -100, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:
    """−ln softmax(input)[target], averaged over the targets that are not ignored (natural logarithm: nats).

    input: (N, C), (C,) or (N, C, …) scores, not probabilities · target: host integers (N,), () or (N, …) ·
    label_smoothing ε spreads ε of the target over all classes. Raises IndexError for a target outside 0 … C−1,
    ValueError when every target is ignored.

    >>> import minigrad as mg
    >>> round(mg.nn.functional.cross_entropy(mg.zeros(2, 4), [1, 3]).item(), 4)
    1.3863
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: label_smoothing must be in 0 … 1; got {label_smoothing}")
    rows, flat, counted, shape = _rows(input, target, ignore_index, "cross_entropy")
    losses = CrossEntropy(flat, ignore_index, label_smoothing)(rows)
    return _reduced(reshape(losses, shape) if reduction == "none" else losses, counted, reduction, "cross_entropy")


def cross_entropy_naive(input, target) -> Tensor:
    """The mean cross-entropy of (N, C) scores from small operations, no target ignored."""
    return nll_loss(log_softmax_naive(input, 1), target)


def nll_loss(input, target, *, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """−input[target] for log-probabilities; layouts and errors as in cross_entropy."""
    rows, flat, counted, shape = _rows(input, target, ignore_index, "nll_loss")
    keep = flat != ignore_index
    index = Tensor(rows.backend.send(host.np.where(keep, flat, 0)[:, None]))
    # chosen by where, not by a product with 0: an ignored row may hold −inf
    picked = where(Tensor(rows.backend.send(keep)), neg(reshape(gather(rows, 1, index), (-1,))), 0.0)
    return _reduced(reshape(picked, shape) if reduction == "none" else picked, counted, reduction, "nll_loss")


def mse_loss(input, target, *, reduction: str = "mean") -> Tensor:
    """The squared difference, averaged over all elements."""
    x, target = widened(as_tensor(input)), widened(as_tensor(target))
    if x.shape != target.shape:
        raise ValueError(f"mse_loss: input {tuple(x.shape)} and target {tuple(target.shape)} must have one shape")
    squares = square(sub(x, target))
    return mean(squares) if reduction == "mean" else _reduced(squares, squares.size, reduction, "mse_loss")
