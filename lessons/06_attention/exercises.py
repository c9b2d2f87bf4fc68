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
    # TODO 06.1: delete the next line and write visible (about 1 line).
    raise NotImplementedError("06.1 visible")


def weights(q, k, mask):
    """How much each query attends to each key, (…, Tq, Tk): the softmax over the keys of q·kᵀ/√d.

    mask (Tq, Tk): True where a query may look; elsewhere the weight is 0. A query that may look at nothing gets zeros.
    """
    # TODO 06.2: delete the next line and write weights (about 2 lines).
    raise NotImplementedError("06.2 weights")


def split_heads(x, H):
    """Cut each token's D numbers into H heads of D/H: (B, T, D) -> (B, H, T, D/H). Head 0 gets the first D/H numbers."""
    # TODO 06.3: delete the next line and write split_heads (about 2 lines).
    raise NotImplementedError("06.3 split_heads")


def merge_heads(y):
    """The way back, heads side by side again: (B, H, T, d) -> (B, T, H·d)."""
    # TODO 06.4: delete the next line and write merge_heads (about 2 lines).
    raise NotImplementedError("06.4 merge_heads")


def attention_vjp(gy, P, q, k, v):
    """From the gradient gy (…, Tq, d) of y = P·v, with P = weights(q, k, mask): the gradients (gq, gk, gv).

    P is given. It is 0 wherever a query may not look, so the mask is not needed again.
    """
    # TODO 06.5: delete the next line and write attention_vjp (about 5 lines).
    raise NotImplementedError("06.5 attention_vjp")


def step(q, k, v, K, V):
    """Attention for one new token behind a cache: (y, K, V), the output and the cache with the new token in it.

    q, k, v (1, d) belong to the new token; K, V (t, d) are the keys and values of the t tokens before it (t may be 0). The
    new token sees all of them and itself.
    """
    # TODO 06.6: delete the next line and write step (about 2 lines).
    raise NotImplementedError("06.6 step")
