"""Attention on the CPU, block by block: scores are made, used and forgotten while they are in the cache.

No weight P is kept for the backward pass. Making it again costs one product; keeping it would cost batch·heads·tokens²
numbers. The forward pass divides the rows of o by the row sums, not those of P, which are longer.
"""
from __future__ import annotations

import math

import numpy as np

from minigrad.backend.memory import aligned, constant
from minigrad.backend.threads import num_threads, spread

BLOCK = 262_144                                     # scores: 1 MiB of float32; with less, threads often wait for each other
FORWARD, BACKWARD = 32, 64                          # queries per block; keys that none of them sees are not even multiplied
SAFE = math.exp(30.0)                               # row sums between 1/SAFE and SAFE have neither overflowed nor vanished


def fits(q, k, v) -> bool:
    """Whether the arrays are of the usual kind: (B, H, T, D) or (H, T, D) each, one dtype, nothing empty or broadcast."""
    return (q.ndim in (3, 4) and q.shape[:-2] == k.shape[:-2] == v.shape[:-2] and q.dtype == k.dtype == v.dtype
            and q.size > 0 and k.size > 0 and v.size > 0)


def one_query(q, k, v, scale):
    """o of a single query that sees every key, in as few calls as possible: a generated token has one per layer."""
    e = (q * scale) @ k.swapaxes(-1, -2)            # (…, 1, Tk)
    e -= e.max(axis=-1, keepdims=True)
    np.exp(e, out=e)
    o = e @ v
    o /= e.sum(axis=-1, keepdims=True)
    return o


def forward(q, k, v, visible, additive, scale, drop):
    """o = (E∘drop)·v / Σ E with E = exp(scale·q·kᵀ + bias). The result lies in memory as (B, T, H, D): heads merge freely."""
    shape, (q, k, v) = q.shape, _four_dims(q, k, v)
    B, H, Tq, Tk = *q.shape[:3], k.shape[2]
    drop = None if drop is None else drop.reshape(B, H, Tq, Tk)
    o = aligned((B, Tq, H, v.shape[3]), q.dtype)

    def heads(bh):
        keys, values = _transposed(k[bh], scale), v[bh]
        for i, j, n, bias in rows:
            e, inverse = _exponentials(q[bh][:, :, i:j], keys[..., :n], bias, bh)
            if drop is not None:
                e *= drop[bh][:, :, i:j, :n]
            out = o[bh[0], i:j, bh[1]]              # (b, j − i, h, D)
            np.matmul(e, values[:, :, :n], out=out.transpose(0, 2, 1, 3))
            _scale_rows(out, inverse.transpose(0, 2, 1, 3))

    rows = _rows(q, k, visible, additive, FORWARD)
    with np.errstate(over="ignore", invalid="ignore"):                              # the row sums show an overflow
        spread(heads, [(bh,) for bh in _parts(B, H, Tq, Tk, FORWARD)])
    return o.transpose(0, 2, 1, 3).reshape(*shape[:-1], v.shape[3])


def backward(go, q, k, v, visible, additive, scale, drop, needs):
    """P = E/Σ E;  gv = (P∘drop)ᵀ·go;  gP = (go·vᵀ)∘drop;  gs = P·(gP − Σ gP·P);  gq = scale·gs·k;  gk = scale·gsᵀ·q"""
    shapes, (go, q, k, v) = (q.shape, k.shape, v.shape), _four_dims(go, q, k, v)
    B, H, Tq, Tk = *q.shape[:3], k.shape[2]
    drop = None if drop is None else drop.reshape(B, H, Tq, Tk)
    gq, gk, gv = (aligned((B, a.shape[2], H, a.shape[3]), a.dtype).transpose(0, 2, 1, 3) if need else None
                  for a, need in zip((q, k, v), needs, strict=True))

    def heads(bh):
        keys, values = _transposed(k[bh], scale), _transposed(v[bh], scale) if needs[0] or needs[1] else None
        sums_k, sums_v = (None if a is None else _Sum(a[bh], len(rows) > 1) for a in (gk, gv))
        for i, j, n, bias in reversed(rows):        # the last queries first: they see most, and what they write is new
            queries, g = q[bh][:, :, i:j], go[bh][:, :, i:j]
            p, inverse = _exponentials(queries, keys[..., :n], bias, bh)
            p *= inverse
            dropped = None if drop is None else drop[bh][:, :, i:j, :n]
            if gv is not None:
                sums_v.add(p if drop is None else p * dropped, g, n)
            if values is None:
                continue
            gs = np.matmul(g, values[..., :n], out=aligned(p.shape, p.dtype))       # scale·gP
            if drop is not None:
                gs *= dropped
            gs -= np.vecdot(gs, p)[..., None]
            gs *= p
            if gq is not None:
                np.matmul(gs, k[bh][:, :, :n], out=gq[bh][:, :, i:j])
            if gk is not None:
                sums_k.add(gs, queries, n)
        for sums in (sums_k, sums_v):
            if sums is not None:
                sums.finish()

    rows = _rows(q, k, visible, additive, BACKWARD)
    with np.errstate(over="ignore", invalid="ignore"):
        spread(heads, [(bh,) for bh in _parts(B, H, Tq, Tk, BACKWARD)])
    return tuple(None if g is None else g.reshape(shape) for g, shape in zip((gq, gk, gv), shapes, strict=True))


def _exponentials(queries, keys, bias, bh):
    """E = exp(s − c) with s = queries·keys + bias, and 1/Σ E of each row. E/Σ E is the softmax for any c: 0 is tried first,
    which saves the search for each row's maximum; the sums tell whether that was safe. A row that sees nothing has E = 0
    and 1 in place of its sum."""
    s = aligned((*queries.shape[:3], keys.shape[3]), queries.dtype)                 # (b, h, j − i, n)
    ones = constant(s.shape[3], 1, s.dtype)
    bias = None if bias is None else bias[tuple(p if n > 1 else slice(None) for p, n in zip(bh, bias.shape, strict=False))]
    for shift in (False, True):
        np.matmul(queries, keys, out=s)
        if bias is not None:
            s += bias
        if shift:
            s -= np.maximum(s.max(axis=-1, keepdims=True), np.finfo(s.dtype).min)   # never −∞ − (−∞)
        np.exp(s, out=s)
        total = (s.reshape(-1, len(ones)) @ ones).reshape(*s.shape[:3], 1)          # BLAS is faster than s.sum(axis=-1)
        if total.min() >= 1 / SAFE and total.max() <= SAFE:
            break
    else:
        total[total == 0] = 1.0
    return s, np.reciprocal(total, out=total)


def _transposed(a, scale):
    """scale·aᵀ, written out: BLAS multiplies by it twice as fast as by a view. (b, h, T, D) -> (b, h, D, T)"""
    out = aligned((*a.shape[:2], a.shape[3], a.shape[2]), a.dtype)
    return np.multiply(a.swapaxes(-1, -2), a.dtype.type(scale), out=out)


def _scale_rows(a, factor):
    """a ← a·factor, one factor for each row: written out first, since NumPy's loop over many short rows is slow."""
    written_out = aligned(a.shape, a.dtype)
    np.copyto(written_out, factor)
    a *= written_out


class _Sum:
    """out[:n] += aᵀ·b, over blocks whose n only falls: in an array of its own where there are several, since out has gaps."""

    def __init__(self, out, several: bool):
        self.out, self.total, self.several = out, aligned(out.shape, out.dtype) if several else out, several
        self.fresh = True

    def add(self, a, b, n: int) -> None:
        """total[:n] += aᵀ·b"""
        if self.fresh:
            np.matmul(a.swapaxes(-1, -2), b, out=self.total[:, :, :n])
            self.total[:, :, n:] = 0.0              # keys that nobody sees
            self.fresh = False
        else:
            self.total[:, :, :n] += a.swapaxes(-1, -2) @ b

    def finish(self) -> None:
        """Put the sum where it belongs."""
        if self.several:
            np.copyto(self.out, self.total)


def _four_dims(*arrays):
    return [a if a.ndim == 4 else a[None] for a in arrays]


def _bias(q, k, visible, additive):
    """What is added to the scores, −∞ where a key is hidden: (B or 1, H or 1, Tq, Tk). None for nothing."""
    if visible is None and additive is None:
        return None
    bias = additive
    if visible is not None:
        bias = np.where(visible, q.dtype.type(0) if additive is None else additive, q.dtype.type(-np.inf))
    if bias.shape[-2:] != (q.shape[2], k.shape[2]):
        bias = np.broadcast_to(bias, (*bias.shape[:-2], q.shape[2], k.shape[2]))
    return bias.reshape((1,) * (4 - bias.ndim) + bias.shape)


def _parts(B: int, H: int, Tq: int, Tk: int, queries: int) -> list:
    """Slices of (batch, heads) whose blocks have about BLOCK scores."""
    each = max(1, BLOCK // (min(Tq, queries) * Tk))                                 # heads in a block
    if B * H * Tq * Tk > BLOCK:
        each = min(each, math.ceil(B * H / num_threads()))
    h = H if each >= H else math.ceil(H / math.ceil(H / each))
    b = max(1, each // H)
    return [(slice(x, x + b), slice(y, y + h)) for x in range(0, B, b) for y in range(0, H, h)]


def _rows(q, k, visible, additive, queries: int) -> list:
    """Blocks of queries i … j−1, the number n of keys that they need (up to the last that any of them sees), and their bias.

    The blocks of a mask that nobody can write into are kept: it comes again from each layer and in each step.
    """
    constant_mask = additive is None and visible is not None and not visible.flags.writeable
    key = (id(visible), q.shape[2], k.shape[2], q.dtype, queries)
    if constant_mask and key in _kept:
        return _kept[key][1]
    rows, bias, Tq, Tk = [], _bias(q, k, visible, additive), q.shape[2], k.shape[2]
    for i in range(0, Tq, queries):
        j, n, part = min(i + queries, Tq), Tk, None
        if bias is not None:
            if Tq > queries and bias.shape[:2] == (1, 1):                           # one mask for all
                seen = np.flatnonzero((bias[0, 0, i:j] != -np.inf).any(axis=0))
                n = int(seen[-1]) + 1 if seen.size else 1
            part = np.ascontiguousarray(bias[:, :, i:j, :n])
        rows.append((i, j, n, part))
    if constant_mask:
        if len(_kept) >= 8:
            _kept.clear()
        _kept[key] = visible, rows                  # with the mask itself: while it is here, its id is nobody else's
    return rows


_kept: dict = {}
