"""Two models of a low-precision matrix product: how the sum over K is rounded makes all the difference."""
from __future__ import annotations

from minigrad import backend as _backend
from minigrad.backend import formats


def matmul(a, b, format: str, *, model: str = "tensorcore"):
    """a·b of two float32 raw arrays (M, K) and (K, N), in a number format.

    model "tensorcore": inputs rounded, products and sums in float32, the result rounded, as GPUs do · "per_op": every
    product and every partial sum rounded, to show why they do not do that (a loop over K: for demonstrations). The
    error of "per_op" grows with √K, that of "tensorcore" does not.

    >>> import numpy as np
    >>> ones = np.ones((1, 4096), np.float32)
    >>> matmul(ones, ones.T, "fp16").item(), matmul(ones, ones.T, "fp16", model="per_op").item()
    (4096.0, 2048.0)
    """
    fmt, be = formats.get(format), _backend.of(a, b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"matmul needs (M, K) and (K, N); got {tuple(a.shape)} and {tuple(b.shape)}")
    a, b = be.round_to(a, fmt), be.round_to(b, fmt)
    if model == "tensorcore":
        return be.round_to(a @ b, fmt)
    if model != "per_op":
        raise ValueError(f"matmul: model must be 'tensorcore' or 'per_op'; got {model!r}")
    total = be.xp.zeros((a.shape[0], b.shape[1]), dtype="float32")
    for k in range(a.shape[1]):                     # (M, 1) · (1, N) -> (M, N)
        total = be.round_to(total + be.round_to(a[:, k:k + 1] * b[k:k + 1], fmt), fmt)
    return total
