"""Lesson 18: one code, two array libraries. `pytest lessons/18_two_libraries` checks it.

Every function runs on NumPy arrays and on a device's arrays. xp is the library (numpy, or the device's), with the same
names in both; send(a) makes the library's array of a host array. The host's own work (ids, random numbers) is NumPy's.
"""
import math

import numpy as np


def library(arrays, libraries):
    """The one library that all these arrays belong to.   libraries: a list of pairs (class of its arrays, xp)

    Python numbers belong to nobody. TypeError if arrays of two libraries meet, or if something is of no known class.
    """
    # <solution hint="Look up each array's library with isinstance; pass over int and float; compare with the one found before.">
    found = None
    for a in arrays:
        if isinstance(a, int | float):
            continue
        mine = [xp for kind, xp in libraries if isinstance(a, kind)]
        if not mine:
            raise TypeError(f"{type(a).__name__} is no array of a known library")
        if found is not None and mine[0] is not found:
            raise TypeError(f"arrays of two libraries; one of them is {type(a).__name__}")
        found = mine[0]
    return found
    # </solution>


def gelu(x, xp):
    """y = ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))), in x's own dtype: float32 in, float32 out."""
    # <solution hint="xp.tanh, not np.tanh. And who computes √(2/π)? A NumPy float64 number makes everything float64.">
    c = math.sqrt(2 / math.pi)
    return 0.5 * x * (1 + xp.tanh(c * (x + 0.044715 * x * x * x)))
    # </solution>


def embed(table, ids, send):
    """table[ids], rows of an array that may live on a device.   table (V, D), ids: host integers, any shape -> (…, D)

    IndexError, before anything is sent, if an id is not in 0 … V-1. One array is sent; the host never waits.
    """
    # <solution hint="The ids are on the host: check them there, with NumPy. Then send them, once.">
    ids = np.asarray(ids)
    if ((ids < 0) | (ids >= table.shape[0])).any():
        raise IndexError("an id is outside of the table")
    return table[send(ids)]
    # </solution>


def clip(grads, max_norm, xp):
    """The gradients, shortened together to joint length max_norm if they are longer: a list of new arrays, same dtypes.

    The host never waits: no `if` on a number that only the device knows. Gradients of length 0 stay 0.
    """
    # <solution hint="The factor is max_norm / max(norm, max_norm), with xp.maximum: a 0-d array that stays on the device.">
    norm = xp.sqrt(sum((g * g).sum() for g in grads))
    factor = max_norm / xp.maximum(norm, max_norm)
    return [g * factor for g in grads]
    # </solution>


def mean_loss(losses, xp):
    """The mean of the losses of many steps, a Python float.   losses: a list of 0-d arrays

    The host waits once, however many losses there are.
    """
    # <solution hint="Stack or add them up on the device, and fetch one number.">
    return float(xp.stack(losses).mean())
    # </solution>


def dropout(x, p, rng, send):
    """x with each entry zeroed with probability p, the rest divided by 1 - p; the same entries on every library.

    rng: a NumPy Generator; draw with one call of rng.random(x.shape) and keep where it is ≥ p. x's dtype stays.
    """
    # <solution hint="Random numbers come from the host. Send the mask, not the float64 numbers it was drawn from.">
    keep = rng.random(x.shape) >= p
    return x * send(keep) * (1 / (1 - p))
    # </solution>
