"""Lesson 06: attention, how tokens look at each other. `pytest lessons/06_attention` checks it.

Shapes: q (…, Tq, d) queries · k (…, Tk, d) keys · v (…, Tk, d) values · "…" stands for any axes in front (batch, heads)
"""
import numpy as np


def softmax(x, axis):
    """e^x / Σ e^x along an axis, shifted by the maximum so that nothing overflows."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def visible(Tq, Tk, offset):
    """Which keys each query may look at: True or False, (Tq, Tk). Query i sees key j if j ≤ i + offset.

    offset 0: both start at the same token. Behind a cache of P tokens, query 0 is token P, so the offset is P.
    """
    # <solution hint="np.arange(n)[:, None] is a column. Comparing a row with a column gives a matrix.">
    return np.arange(Tk) <= np.arange(Tq)[:, None] + offset
    # </solution>


def weights(q, k, mask):
    """How much each query attends to each key, (…, Tq, Tk): the softmax over the keys of q·kᵀ/√d.

    mask (Tq, Tk): True where a query may look; elsewhere the weight is 0. A query that may look at nothing gets zeros.
    """
    # <solution hint="Hide scores before the softmax. With −1e30 for −∞ a row without any key is not NaN; then set it to zero.">
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])     # (…, Tq, d) · (…, d, Tk) -> (…, Tq, Tk)
    return softmax(np.where(mask, scores, -1e30), axis=-1) * mask
    # </solution>


def split_heads(x, H):
    """Cut each token's D numbers into H heads of D/H: (B, T, D) -> (B, H, T, D/H). Head 0 gets the first D/H numbers."""
    # <solution hint="Two moves: cut the last axis in two, then bring the heads before the tokens.">
    B, T, D = x.shape
    return x.reshape(B, T, H, D // H).swapaxes(1, 2)
    # </solution>


def merge_heads(y):
    """The way back, heads side by side again: (B, H, T, d) -> (B, T, H·d)."""
    # <solution hint="Undo the two moves of split_heads, in the opposite order.">
    B, H, T, d = y.shape
    return y.swapaxes(1, 2).reshape(B, T, H * d)
    # </solution>


def attention_vjp(gy, P, q, k, v):
    """From the gradient gy (…, Tq, d) of y = P·v, with P = weights(q, k, mask): the gradients (gq, gk, gv).

    P is given. It is 0 wherever a query may not look, so the mask is not needed again.
    """
    # <solution hint="Backwards: y = P·v, then P = softmax(s) with gs = P·(gP − Σ gP·P) over the keys, then s = q·kᵀ/√d.">
    d = q.shape[-1]
    gv = np.swapaxes(P, -1, -2) @ gy                                # (…, Tk, Tq) · (…, Tq, d) -> (…, Tk, d)
    gP = gy @ np.swapaxes(v, -1, -2)                                # (…, Tq, d) · (…, d, Tk) -> (…, Tq, Tk)
    gs = P * (gP - (gP * P).sum(axis=-1, keepdims=True)) / np.sqrt(d)
    return gs @ k, np.swapaxes(gs, -1, -2) @ q, gv
    # </solution>


def step(q, k, v, K, V):
    """Attention for one new token behind a cache: (y, K, V), the output and the cache with the new token in it.

    q, k, v (1, d) belong to the new token; K, V (t, d) are the keys and values of the t tokens before it (t may be 0). The
    new token sees all of them and itself.
    """
    # <solution hint="Put the new key and value behind the old ones first. No mask: nothing in the cache lies in the future.">
    K, V = np.concatenate([K, k]), np.concatenate([V, v])           # (t, d), (1, d) -> (t + 1, d)
    return softmax(q @ K.T / np.sqrt(q.shape[1]), axis=1) @ V, K, V
    # </solution>
