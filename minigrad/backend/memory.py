"""Where arrays lie: keeping freed memory, and beginning at a cache line.

A training step frees and needs arrays of the same sizes again and again. The C library gives large blocks back to the
system as soon as they are freed, and the system hands out pages of zeros again at the first touch: a fifth of a step's
time at 2,000 tokens and width 128. (CuPy has a pool for this.)
"""
from __future__ import annotations

import ctypes
import functools
import math

import numpy as np

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3         # from glibc's malloc.h
LARGEST = (1 << 30, 1 << 25)                        # bytes: blocks up to here come from the heap; older glibc takes less
KEPT = (1 << 31) - 1                                # bytes of free heap that are not given back
SMALL = 32_768                                      # elements: below, looking for a cache line costs more than it gains

_asked = False


def keep_freed_memory() -> bool:
    """Ask the C library to keep what is freed for the next array; False where it cannot be asked (only glibc can).

    The process then stays as large as its largest step was. Asked once per process.
    """
    global _asked
    if not _asked:
        try:
            mallopt = ctypes.CDLL(None).mallopt
        except (AttributeError, OSError, TypeError):
            return False
        _asked = any(mallopt(M_MMAP_THRESHOLD, size) for size in LARGEST) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))
    return _asked


class Padded(np.ndarray):
    """Memory with room for an array that begins at the next multiple of 64 bytes."""


def aligned(shape, dtype, least=SMALL):
    """np.empty that begins at a multiple of 64 bytes, from `least` elements on: NumPy writes whole cache lines twice as fast.

    >>> aligned((300, 200), np.float32).ctypes.data % 64
    0
    """
    size = math.prod(shape)
    if size < least:
        return np.empty(shape, dtype)
    whole = Padded(size + 64 // np.dtype(dtype).itemsize, dtype)
    return np.ndarray(shape, dtype, whole, -whole.ctypes.data % 64)


@functools.lru_cache(maxsize=256)
def constant(n, value, dtype):
    """A read-only column of n equal numbers, kept: making it would cost as much as a small product with it."""
    a = np.full((n, 1), value, dtype)
    a.flags.writeable = False
    return a
