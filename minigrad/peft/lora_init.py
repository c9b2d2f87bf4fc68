"""What LoRA's two matrices are before the first step.

    kaiming     A ~ U(−1/√in, 1/√in), B = 0         2106.09685's code, and PEFT's default
    gaussian    A ~ N(0, 1/r²), B = 0               2106.09685's text; σ as in PEFT
    zero_a      A = 0, B ~ N(0, 1)
    random      both from a uniform distribution: not the base at the start (a test aid)
    pissa       the r largest singular values of W₀ = U S Vᵀ: B = U_r √(S_r/s), A = √(S_r/s) V_rᵀ      2404.02948
    olora       W₀ = QR: B = Q[:, :r], A = R[:r]                                                        2406.01775

The last two take their part out of the weight: what stays frozen is W_res = W₀ − s·B₀A₀. A wide input makes a small A:
the bound is 1/√in because A is (r, in); for an A stored as (in, r), as some texts have it, the same routine would draw
from 1/√r instead, ten times as wide at in = 768.
"""
from __future__ import annotations

import math

from minigrad.backend import host

INITS = ("kaiming", "gaussian", "zero_a", "random", "pissa", "olora")
RESIDUAL = ("pissa", "olora")                       # W₀ is split: these two change what is frozen


def initial(init: str, rank: int, scale: float, shape, rng, weight=None):
    """Host arrays A (r, in) and B (out, r) for a weight of `shape` (out, in) and a branch s·BA with s = `scale`.

    weight: the host array itself, for "pissa" and "olora", which need its values.

    >>> import numpy as np
    >>> A, B = initial("pissa", 1, 2.0, (2, 2), None, np.diag([3.0, 8.0]))      # the largest singular value is 8
    >>> (2.0 * B @ A).round(6).tolist()
    [[0.0, 0.0], [0.0, 8.0]]
    """
    np, (out, width), r = host.np, shape, rank
    if init == "pissa":
        U, S, Vt = np.linalg.svd(weight.astype(np.float64), full_matrices=False)
        root = np.sqrt(S[:r] / scale)
        return root[:, None] * Vt[:r], U[:, :r] * root
    if init == "olora":
        Q, R = np.linalg.qr(weight.astype(np.float64))
        return R[:r], Q[:, :r]
    if init == "zero_a":
        return np.zeros((r, width)), rng.standard_normal((out, r))
    if init == "gaussian":
        return rng.standard_normal((r, width)) / r, np.zeros((out, r))
    A = rng.uniform(-1.0, 1.0, (r, width)) / math.sqrt(width)
    return A, rng.uniform(-1.0, 1.0, (out, r)) / math.sqrt(r) if init == "random" else np.zeros((out, r))
