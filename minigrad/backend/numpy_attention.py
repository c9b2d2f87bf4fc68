"""Attention on the CPU, block by block: scores are made, used and forgotten while they are in the cache.

No weight P is kept for the backward pass. Making it again costs one product; keeping it would cost batch·heads·tokens²
numbers. Both passes call `_exponentials`, so the P of the backward pass is the P of the forward pass, bit by bit. The
forward pass divides the rows of o by the row sums, not those of P, which are longer.
"""
from __future__ import annotations

import math

import numpy as np

from minigrad.backend.threads import spread

BLOCK = 131_072                                     # scores: 512 KiB of float32
QUERIES = 64                                        # per block; keys that none of them sees are not even multiplied
SAFE = 30.0                                         # e^±30 neither overflows nor vanishes, whatever it is summed with


def fits(q, k, v) -> bool:
    """Whether the arrays are of the usual kind: (B, H, T, D) or (H, T, D) each, one dtype, nothing empty or broadcast."""
    return (q.ndim in (3, 4) and q.shape[:-2] == k.shape[:-2] == v.shape[:-2] and q.dtype == k.dtype == v.dtype
            and q.size > 0 and k.size > 0 and v.size > 0)


def forward(q, k, v, visible, additive, scale, drop):
    """o = (E∘drop)·v / Σ E with E = exp(scale·q·kᵀ + bias). The result lies in memory as (B, T, H, D): heads merge freely."""
    shape, (q, k, v) = q.shape, _four_dims(q, k, v)
    B, H, Tq, Tk, bias = *q.shape[:3], k.shape[2], _bias(q, k, visible, additive)
    drop = None if drop is None else drop.reshape(B, H, Tq, Tk)
    o = np.empty((B, Tq, H, v.shape[3]), q.dtype).transpose(0, 2, 1, 3)

    def block(bh, i, j, n):
        e, total = _exponentials(q[bh][:, :, i:j] * scale, k[bh][:, :, :n], bias, bh, i, j, additive is None)
        if drop is not None:
            e *= drop[bh][:, :, i:j, :n]
        out = o[bh][:, :, i:j]
        np.matmul(e, v[bh][:, :, :n], out=out)
        out /= total

    spread(block, [(bh, i, j, n) for bh in _parts(B, H, Tq, Tk) for i, j, n in _rows(Tq, Tk, bias)])
    return o.reshape(*shape[:-1], v.shape[3])


def backward(go, q, k, v, visible, additive, scale, drop, needs):
    """P = E/Σ E;  gv = (P∘drop)ᵀ·go;  gP = (go·vᵀ)∘drop;  gs = P·(gP − Σ gP·P);  gq = scale·gs·k;  gk = scale·gsᵀ·q"""
    shapes, (go, q, k, v) = (q.shape, k.shape, v.shape), _four_dims(go, q, k, v)
    B, H, Tq, Tk, bias = *q.shape[:3], k.shape[2], _bias(q, k, visible, additive)
    drop = None if drop is None else drop.reshape(B, H, Tq, Tk)
    gq, gk, gv = (np.empty((B, a.shape[2], H, a.shape[3]), a.dtype).transpose(0, 2, 1, 3) if need else None
                  for a, need in zip((q, k, v), needs, strict=True))

    def heads(bh):
        for i, j, n in reversed(rows):              # the last queries first: they see most, and what they write is new
            keys, g, queries = k[bh][:, :, :n], go[bh][:, :, i:j], q[bh][:, :, i:j] * scale
            p, total = _exponentials(queries, keys, bias, bh, i, j, additive is None)
            p /= total
            dropped = None if drop is None else drop[bh][:, :, i:j, :n]
            if gv is not None:
                _add(p if drop is None else p * dropped, g, gv[bh][:, :, :n], j == Tq)
            if gq is None and gk is None:
                continue
            gs = g @ v[bh][:, :, :n].swapaxes(-1, -2)
            if drop is not None:
                gs *= dropped
            gs -= np.vecdot(gs, p)[..., None]
            gs *= p
            if gq is not None:
                out = np.matmul(gs, keys, out=gq[bh][:, :, i:j])
                out *= scale
            if gk is not None:
                _add(gs, queries, gk[bh][:, :, :n], j == Tq)

    rows = _rows(Tq, Tk, bias)
    for g in (gk, gv):
        if g is not None:
            g[:, :, rows[-1][2]:] = 0.0             # what the last queries do not see, they do not write
    spread(heads, [(bh,) for bh in _parts(B, H, Tq, Tk)])
    return tuple(None if g is None else g.reshape(shape) for g, shape in zip((gq, gk, gv), shapes, strict=True))


def _exponentials(queries, keys, bias, bh, i, j, plain):
    """E = exp(s − c), s = queries·keysᵀ + bias, and its row sums. E/Σ E is the softmax for any c; here c is 0 unless s is
    large, which saves the search for each row's maximum. A row that sees nothing has E = 0, and 1 in place of its sum."""
    s = queries @ keys.swapaxes(-1, -2)             # (b, h, j − i, n)
    small = plain and max(s.max(), -s.min()) <= SAFE
    if bias is not None:
        s += bias[bh][:, :, i:j, :s.shape[3]]
    if not small:
        s -= np.maximum(s.max(axis=-1, keepdims=True), np.finfo(s.dtype).min)      # never −∞ − (−∞)
    np.exp(s, out=s)
    total = s @ np.ones((s.shape[3], 1), s.dtype)   # BLAS sums rows six times as fast as s.sum(axis=-1)
    total[total == 0] = 1.0
    return s, total


def _add(a, b, out, first: bool):
    """out += aᵀ·b, or at first out = aᵀ·b"""
    if first:
        np.matmul(a.swapaxes(-1, -2), b, out=out)
    else:
        out += a.swapaxes(-1, -2) @ b


def _four_dims(*arrays):
    return [a if a.ndim == 4 else a[None] for a in arrays]


def _bias(q, k, visible, additive):
    """What is added to the scores, −∞ where a key is hidden; seen as (B, H, Tq, Tk), stored once. None for nothing."""
    if visible is None and additive is None:
        return None
    low = q.dtype.type(-np.inf)
    bias = additive if visible is None else np.where(visible, q.dtype.type(0) if additive is None else additive, low)
    return np.broadcast_to(bias, (*q.shape[:3], k.shape[2]))


def _parts(B: int, H: int, Tq: int, Tk: int) -> list:
    """Slices of (batch, heads) whose blocks have about BLOCK scores."""
    each = BLOCK // (min(Tq, QUERIES) * Tk)         # heads in a block
    h = H if each >= H else math.ceil(H / math.ceil(H / max(1, each)))
    b = max(1, each // H)
    return [(slice(x, x + b), slice(y, y + h)) for x in range(0, B, b) for y in range(0, H, h)]


def _rows(Tq: int, Tk: int, bias) -> list:
    """Blocks of queries i … j−1 with the number of keys they need: up to the last one that any of them sees."""
    rows = []
    for i in range(0, Tq, QUERIES):
        j, n = min(i + QUERIES, Tq), Tk
        if bias is not None and bias.strides[0] == bias.strides[1] == 0:            # one mask for all
            seen = np.flatnonzero((bias[0, 0, i:j] != -np.inf).any(axis=0))
            n = int(seen[-1]) + 1 if seen.size else 1
        rows.append((i, j, n))
    return rows
