"""Many matrix products in one call of cuBLAS, on arrays as they lie in memory.

CuPy's own matmul copies both operands of a product of more than two dims into C order first, transposes included, and
computes float16 in float32. cuBLAS needs no copy: it takes one address, the distance between rows, the distance between
matrices, and a flag for "transposed". This file finds those numbers; `gemm` is who calls cuBLAS with them.
"""
from __future__ import annotations

import math
from typing import NamedTuple


class Batch(NamedTuple):
    """The matrices of an array (…, rows, columns): array, how many, apart by `stride` elements, each row by `lead`."""

    array: object
    count: int
    stride: int
    lead: int
    transposed: bool                                # the columns, not the rows, are contiguous


def as_batch(a, contiguous) -> Batch:
    """How cuBLAS can see `a`; contiguous(a) makes a copy in C order, for an array that it cannot.

    >>> import numpy as np
    >>> a = np.zeros((2, 3, 4, 5), "float32")
    >>> as_batch(a, np.ascontiguousarray)[1:]
    (6, 20, 5, False)
    >>> as_batch(a.swapaxes(-1, -2), np.ascontiguousarray)[1:]
    (6, 20, 5, True)
    """
    found = _described(a)
    return found if found is not None else _described(contiguous(a))


def _described(a) -> Batch | None:
    *dims, rows, columns = a.shape
    if any(step % a.itemsize for step in a.strides):
        return None
    *steps, down, right = (step // a.itemsize for step in a.strides)
    stride = _one_step(dims, steps)
    if stride is None:
        return None
    if (right == 1 or columns == 1) and (down >= columns or rows == 1):
        return Batch(a, math.prod(dims), stride, max(down, columns) if rows > 1 else columns, False)
    if (down == 1 or rows == 1) and (right >= rows or columns == 1):
        return Batch(a, math.prod(dims), stride, max(right, rows) if columns > 1 else rows, True)
    return None


def _one_step(dims, steps) -> int | None:
    """The distance from each matrix to the next, if it is always the same; 0 for a single matrix."""
    places = [(n, step) for n, step in zip(dims, steps, strict=True) if n != 1]
    for (_, outer), (n, inner) in zip(places, places[1:], strict=False):
        if outer != n * inner:
            return None
    if any(step < 0 for _, step in places):
        return None
    return places[-1][1] if places else 0


def batched_matmul(a, b, scale: float, out, gemm, contiguous) -> None:
    """out = scale · a·b for a (…, M, K) and b (…, K, N) with equal leading dims, none of them 0; out in C order.

    cuBLAS stores matrices by columns, so that to it our C-ordered out is outᵀ = bᵀ·aᵀ: b goes first, and what is
    contiguous by rows here needs no transposition there.
    """
    left, right = as_batch(b, contiguous), as_batch(a, contiguous)
    (M, K), N = a.shape[-2:], b.shape[-1]
    gemm(left.transposed, right.transposed, N, M, K, scale, left.array, left.lead, left.stride, right.array, right.lead,
         right.stride, out, N, M * N, left.count)
