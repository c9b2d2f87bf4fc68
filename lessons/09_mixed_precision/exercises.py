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
    # TODO 09.1: delete the next line and write underflow_share (about 4 lines).
    raise NotImplementedError("09.1 underflow_share")


def unscale(grads, scale):
    """(the gradients divided by scale, whether any number among them all is infinite or NaN).   grads: a list of arrays

    The first is a list of new float32 arrays, the second True or False.
    """
    # TODO 09.2: delete the next line and write unscale (about 2 lines).
    raise NotImplementedError("09.2 unscale")


def guarded_step(weights, grads, found_inf, lr, max_norm):
    """The weights after one step of SGD, a list of new float32 arrays; or the list `weights` itself if found_inf.

    grads: unscaled. If their joint length (over all arrays) exceeds max_norm, all are shortened by the same factor to it.
    """
    # TODO 09.3: delete the next line and write guarded_step (about 5 lines).
    raise NotImplementedError("09.3 guarded_step")


def next_scale(scale, good_steps, found_inf, growth=2.0, backoff=0.5, interval=2000):
    """The loss scale for the next step, and the number of good steps in a row since it was last changed: (scale, good_steps).

    A step with an infinity lowers it at once; `interval` good steps in a row raise it.
    """
    # TODO 09.4: delete the next line and write next_scale (about 5 lines).
    raise NotImplementedError("09.4 next_scale")


def swallowed(w, update, rounded):
    """Which share of the updates that are not 0 leaves its weight as it was, when w + update is rounded. A float.

    w: weights that lie on the format's grid; rounded: a function from an array to the array that the format makes of it.
    """
    # TODO 09.5: delete the next line and write swallowed (about 2 lines).
    raise NotImplementedError("09.5 swallowed")


def master_step(master, g, lr, rounded):
    """One step of SGD with master weights: (the new master, the weights for the next forward pass), both new arrays.

    master: the float32 copy that takes the updates; the forward pass sees only its rounding.
    """
    # TODO 09.6: delete the next line and write master_step (about 2 lines).
    raise NotImplementedError("09.6 master_step")
