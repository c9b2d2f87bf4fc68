"""Layer norm on the CPU, in blocks of rows: every array of a block is in the cache when it is used again.

What costs time here is neither arithmetic nor memory but NumPy's way with a factor per row: it writes the factors out into
a buffer first. BLAS computes the sums, and the outer product r⊗w in half the time of a multiplication.
"""
from __future__ import annotations

import math

import numpy as np

from minigrad.backend.memory import aligned, constant
from minigrad.backend.threads import pieces, spread

FEW = 8192                                          # elements that are computed as the formulas stand, in the fewest calls
ROWS = 65_536                                       # elements of a block of rows of which a few arrays are used at a time
LONG = 196_608                                      # the same for two threads: longer calls, between which they wait less


def forward(x, weight, bias, eps):
    """y = x̂·w + b with x̂ = (x − mean)·r, r = 1/√(var + eps). Here h = x − mean and y = h·(r⊗w) + b"""
    N, D = x.shape
    if N * D <= FEW:
        return _forward_few(x, weight, bias, eps)
    size, average = max(1, ROWS // D), constant(D, 1 / D, x.dtype)
    y, r = aligned((N, D), x.dtype), np.empty((N, 1), x.dtype)
    weight, bias = _above_zeros(weight, D, x.dtype), _repeated(bias, N, size)

    def rows(i, j):
        xb, yb, rb, h = x[i:j], y[i:j], r[i:j], aligned((j - i, D), x.dtype)
        np.copyto(h, xb @ average)              # x − mean is slower in one call: NumPy would buffer the mean
        np.subtract(xb, h, out=h)
        np.vecdot(h, h, out=rb[:, 0])
        rb += D * eps
        np.sqrt(rb, out=rb)
        np.divide(math.sqrt(D), rb, out=rb)     # 1/√(Σ/D + eps), multiplied out by √D
        _outer(rb, weight, yb)
        yb *= h
        if bias is not None:
            yb += bias[:j - i]

    for i, j in pieces(N, size=size):           # by one thread: calls as short as these keep two waiting for each other
        rows(i, j)
    return y, r


def backward(gy, x, r, weight, needs):
    """gx = r·(g − mean g − x̂·mean(g·x̂)) with g = gy·w;  gw = Σ gy·x̂,  gb = Σ gy. Here h = x − mean, so x̂ = r·h"""
    N, D = gy.shape
    if N * D <= FEW:
        return _backward_few(gy, x, r, weight, needs)
    blocks = pieces(N, parts=2 * math.ceil(N * D / (2 * LONG)) if N * D > ROWS else 1)
    size, average = blocks[0][1], constant(D, 1 / D, gy.dtype)
    gx, sums = aligned((N, D), gy.dtype) if needs[0] else None, np.empty((2, len(blocks), D), gy.dtype)
    averaged, weight = average if weight is None else average * weight[:, None], _above_zeros(weight, D, gy.dtype)

    def rows(i, j):
        gyb, xb, rb, h, t = gy[i:j], x[i:j], r[i:j], aligned((j - i, D), gy.dtype), aligned((j - i, D), gy.dtype)
        np.copyto(h, xb @ average)
        np.subtract(xb, h, out=h)
        np.multiply(gyb, h, out=t)
        np.matmul(rb.T, t, out=sums[0, i // size, None])
        np.matmul(constant(j - i, 1, gy.dtype).T, gyb, out=sums[1, i // size, None])
        if gx is None:
            return
        along, mean = t @ averaged, gyb @ averaged                  # mean(g·h) and mean g
        along *= rb * rb * rb
        mean *= rb
        h *= along
        h += mean
        g = gx[i:j]
        _outer(rb, weight, g)
        g *= gyb
        g -= h

    spread(rows, blocks)
    # block by block in order: the same bits with any number of threads
    gw, gb = sums[:, 0] if len(blocks) == 1 else sums.sum(axis=1)
    return gx, gw if needs[1] else None, gb if needs[2] else None


def _forward_few(x, weight, bias, eps):
    """y and r of few elements."""
    D = x.shape[1]
    y = x - x @ constant(D, 1 / max(D, 1), x.dtype)
    r = np.vecdot(y, y)[:, None]
    r += D * eps
    np.sqrt(r, out=r)
    np.divide(math.sqrt(D), r, out=r)
    y *= r
    if weight is not None:
        y *= weight
    if bias is not None:
        y += bias
    return y, r


def _backward_few(gy, x, r, weight, needs):
    """gx, gw and gb of few elements."""
    (N, D), dtype = gy.shape, gy.dtype
    average, ones, gx = constant(D, 1 / max(D, 1), dtype), constant(N, 1, dtype).T, None
    xhat = x - x @ average
    xhat *= r
    gw, gb = ((ones @ (gy * xhat))[0] if needs[1] else None, (ones @ gy)[0] if needs[2] else None)
    if needs[0]:
        gx = gy * (1.0 if weight is None else weight)
        along = np.vecdot(gx, xhat)[:, None]
        along *= 1 / max(D, 1)
        xhat *= along
        xhat += gx @ average
        gx -= xhat
        gx *= r
    return gx, gw, gb


def _above_zeros(row, n, dtype):
    """A row of n numbers (ones for None) above one of zeros, as `_outer` takes it."""
    pair = np.zeros((2, n), dtype)
    pair[0] = 1.0 if row is None else row
    return pair


def _outer(column, pair, out):
    """out ← column⊗row for pair = [row; 0], by BLAS, twice as fast as a multiplication (NumPy gives it no product of rank 1)"""
    columns = np.zeros((len(column), 2), out.dtype)
    columns[:, :1] = column
    np.matmul(columns, pair, out=out)


def _repeated(row, n, size):
    """A row for blocks of `size` of n rows: copied that often, since NumPy multiplies matrices of one shape twice as fast."""
    if row is None or n <= size:
        return None if row is None else row[None]
    a = aligned((size, len(row)), row.dtype)
    np.copyto(a, row)
    return a
