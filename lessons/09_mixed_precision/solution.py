"""Lesson 09: mixed precision, loss scaling and master weights. `pytest lessons/09_mixed_precision` checks it.

Gradients g are float32 arrays whose values fp16 may have cut; S is the loss scale. Return new arrays; write into none.
"""
import numpy as np


def fp16(x):
    """x rounded to fp16, as a float32 array: below 2^-25 nothing is left, from 65520 on it is infinite."""
    with np.errstate(all="ignore"):
        return np.asarray(x, dtype=np.float32).astype(np.float16).astype(np.float32)


def underflow_share(g, scale):
    """Which share of the non-zero gradients becomes 0 in fp16 when the loss is multiplied by `scale`. A float; 0.0 if all are 0.

    g: the exact gradients of the loss itself, an array.
    """
    # <solution hint="The gradients of scale·loss are scale·g. Leave out those that are 0 to begin with.">
    real = g[g != 0]
    if real.size == 0:
        return 0.0
    return float((fp16(real * scale) == 0).mean())
    # </solution>


def unscale(grads, scale):
    """(the gradients divided by scale, whether any number among them all is infinite or NaN).   grads: a list of arrays

    The first is a list of new float32 arrays, the second True or False.
    """
    # <solution hint="np.isfinite sees infinity and NaN alike. One bad number in one array condemns the whole step.">
    found_inf = not all(np.isfinite(g).all() for g in grads)
    return [g / np.float32(scale) for g in grads], found_inf
    # </solution>


def guarded_step(weights, grads, found_inf, lr, max_norm):
    """The weights after one step of SGD, a list of new float32 arrays; or the list `weights` itself if found_inf.

    grads: unscaled. If their joint length (over all arrays) exceeds max_norm, all are shortened by the same factor to it.
    """
    # <solution hint="Skip first. The joint length is the root of the sum of all squares; the factor is never above 1.">
    if found_inf:
        return weights
    norm = np.sqrt(sum((g ** 2).sum() for g in grads))
    factor = max_norm / max(norm, max_norm)
    return [w - np.float32(lr * factor) * grads[i] for i, w in enumerate(weights)]
    # </solution>


def next_scale(scale, good_steps, found_inf, growth=2.0, backoff=0.5, interval=2000):
    """The loss scale for the next step, and the number of good steps in a row since it was last changed: (scale, good_steps).

    A step with an infinity lowers it at once; `interval` good steps in a row raise it.
    """
    # <solution hint="Three cases; in two of them the count starts again at 0.">
    if found_inf:
        return scale * backoff, 0
    if good_steps + 1 == interval:
        return scale * growth, 0
    return scale, good_steps + 1
    # </solution>


def swallowed(w, update, rounded):
    """Which share of the updates that are not 0 leaves its weight as it was, when w + update is rounded. A float.

    w: weights that lie on the format's grid; rounded: a function from an array to the array that the format makes of it.
    """
    # <solution hint="Round the sum and compare it with w; count among the updates that are not 0.">
    real = update != 0
    return float((rounded(w + update) == w)[real].mean())
    # </solution>


def master_step(master, g, lr, rounded):
    """One step of SGD with master weights: (the new master, the weights for the next forward pass), both new arrays.

    master: the float32 copy that takes the updates; the forward pass sees only its rounding.
    """
    # <solution hint="Nothing is rounded that is carried on to the next step.">
    master = master - lr * g
    return master, rounded(master)
    # </solution>
