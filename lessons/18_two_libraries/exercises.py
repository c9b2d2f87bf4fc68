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
    # TODO 18.1: delete the next line and write library (about 11 lines).
    raise NotImplementedError("18.1 library")


def gelu(x, xp):
    """y = ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))), in x's own dtype: float32 in, float32 out."""
    # TODO 18.2: delete the next line and write gelu (about 2 lines).
    raise NotImplementedError("18.2 gelu")


def embed(table, ids, send):
    """table[ids], rows of an array that may live on a device.   table (V, D), ids: host integers, any shape -> (…, D)

    IndexError, before anything is sent, if an id is not in 0 … V-1. One array is sent; the host never waits.
    """
    # TODO 18.3: delete the next line and write embed (about 4 lines).
    raise NotImplementedError("18.3 embed")


def clip(grads, max_norm, xp):
    """The gradients, shortened together to joint length max_norm if they are longer: a list of new arrays, same dtypes.

    The host never waits: no `if` on a number that only the device knows. Gradients of length 0 stay 0.
    """
    # TODO 18.4: delete the next line and write clip (about 3 lines).
    raise NotImplementedError("18.4 clip")


def mean_loss(losses, xp):
    """The mean of the losses of many steps, a Python float.   losses: a list of 0-d arrays

    The host waits once, however many losses there are.
    """
    # TODO 18.5: delete the next line and write mean_loss (about 1 line).
    raise NotImplementedError("18.5 mean_loss")


def dropout(x, p, rng, send):
    """x with each entry zeroed with probability p, the rest divided by 1 - p; the same entries on every library.

    rng: a NumPy Generator; draw with one call of rng.random(x.shape) and keep where it is ≥ p. x's dtype stays.
    """
    # TODO 18.6: delete the next line and write dropout (about 2 lines).
    raise NotImplementedError("18.6 dropout")
