"""Tall products: many rows times one weight, which may have a low-rank sum. The rows are shared among the threads.

OpenBLAS copies both factors of a large product into an order of its own first: a tenth of the time at width 128. Products of at
most 10⁶ multiplications it makes without, by kernels for AVX-512. So a small weight is laid out once, and rows come in tiles:

    w (K, N):     | K × 64 | K × 64 | …    each panel contiguous and aligned: a register's 64 bytes are one line of the cache
    x (rows, K):  48 rows at a time, times every panel, in one call: NumPy runs over tiles and panels without Python's lock
"""
from __future__ import annotations

import functools

import numpy as np

from minigrad.backend import memory
from minigrad.backend.threads import in_blocks, num_threads

WIDTH = 64                                          # columns of a panel: four of the kernels' registers
ROWS = 48                                           # rows of a tile; a multiple of the kernels' six
FEW = 16                                            # columns
THIN = 64                                           # rows of a tile where one factor has so few columns
SMALL = 10**6                                       # multiplications of one tile; above it BLAS packs
WEIGHT = 1 << 18                                    # elements: the panels stay in a core's cache
BLOCK = 131_072                                     # elements of a sum that are made at a time


def plan(x, w, left=None, right=None, threads: int | None = None):
    """How to make x·(w + left·right): a function (rows of x, rows of y) that writes, and in how many pieces to cut x.

    x (rows, K), w (K, N), left (K, r), right (r, N). The fewest pieces that keep `threads` threads (all, if None) at work:
    every piece packs the weight again. Panels are packed once, so that smaller pieces cost nothing and end together.
    """
    if fits(x, w):
        p = panels(w, left, right)
        return (lambda rows, y: multiply(rows, p, y)), 2 * num_threads()
    whole = w if left is None else low_rank_sum(w, left, right)
    return (lambda rows, y: np.matmul(rows, whole, out=y)), threads or num_threads()


@functools.cache
def small_kernels() -> bool:
    """Whether NumPy's BLAS is an OpenBLAS that multiplies small matrices by AVX-512."""
    import threadpoolctl

    return any(library.get("architecture") in ("SkylakeX", "Cooperlake", "SapphireRapids")
               for library in threadpoolctl.threadpool_info() if library["internal_api"] == "openblas")


def fits(x, w) -> bool:
    """Whether panels pay: float32, whole panels, a small weight, many more rows than it has columns, the right BLAS."""
    K, N = w.shape
    return (x.dtype == w.dtype == np.float32 and N % WIDTH == 0 and N > 0 and K * N <= WEIGHT and len(x) >= 2 * N
            and 0 < K * WIDTH * ROWS <= SMALL and small_kernels())


def panels(w, left=None, right=None):
    """w, or w + left·right, cut into columns: (K, N) -> (N/64, K, 64)"""
    K, N = w.shape
    p, cut = memory.aligned((N // WIDTH, K, WIDTH), w.dtype, 0), w.reshape(K, N // WIDTH, WIDTH).transpose(1, 0, 2)
    if left is None:
        p[...] = cut
    else:
        np.matmul(left, right.reshape(-1, N // WIDTH, WIDTH).transpose(1, 0, 2), out=p)
        p += cut
    return p


def multiply(x, p, y) -> None:
    """y ← x·w for w in panels p: (rows, K), (N/64, K, 64) -> (rows, N)"""
    rows, K = x.shape
    whole = rows // ROWS * ROWS                     # the rows that fill tiles; the rest is one more
    np.matmul(x[:whole].reshape(-1, 1, ROWS, K), p, out=y[:whole].reshape(-1, ROWS, len(p), WIDTH).transpose(0, 2, 1, 3))
    np.matmul(x[whole:], p, out=y[whole:].reshape(rows - whole, len(p), WIDTH).transpose(1, 0, 2))


def thin(x, A, y) -> None:
    """y ← x·A for a few columns, in tiles as well: (rows, K), (K, r) -> (rows, r)"""
    whole = len(x) // THIN * THIN if A.shape[1] <= FEW else 0
    np.matmul(x[:whole].reshape(-1, THIN, x.shape[1]), A, out=y[:whole].reshape(-1, THIN, y.shape[1]))
    np.matmul(x[whole:], A, out=y[whole:])


def thin_gradient(h, x, gA) -> None:
    """gA ← hᵀ·x for a few columns of h, a sum over tiles: (rows, r), (rows, K) -> (r, K)"""
    whole = len(x) // THIN * THIN if h.shape[1] <= FEW else 0
    tiles = h[:whole].reshape(-1, THIN, h.shape[1]).swapaxes(1, 2) @ x[:whole].reshape(-1, THIN, x.shape[1])
    np.sum(tiles, axis=0, out=gA)
    gA += h[whole:].T @ x[whole:]


def low_rank_sum(w, left, right):
    """w + left·right, in blocks of rows, laid out as w is"""
    if not w.flags.c_contiguous and w.T.flags.c_contiguous:
        return low_rank_sum(w.T, right.T, left.T).T
    whole = memory.aligned(w.shape, w.dtype)

    def rows(i, j):
        np.matmul(left[i:j], right, out=whole[i:j])
        whole[i:j] += w[i:j]

    in_blocks(rows, len(w), BLOCK // max(1, w.shape[1]))
    return whole
