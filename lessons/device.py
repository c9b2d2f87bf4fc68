"""A device for lessons about two array libraries, on any machine: NumPy underneath, but as strict as CuPy's arrays.

It refuses what CuPy's arrays refuse (NumPy operands, implicit conversion), and what they let pass at a hidden cost (NumPy
functions, lists as indices, loops over entries). It counts what costs time there: arrays sent, and moments in which the
host waits. It is the array that minigrad's own tests run on (tests/strict/), held against CuPy's recorded functions and
signatures. It computes on the CPU: it is not fast, and what it cannot show (ordering, speed, rounding of real kernels)
only a GPU can.
"""
from __future__ import annotations

import contextlib
from dataclasses import dataclass

from tests.strict.array import STATE, SyncError, policy
from tests.strict.array import StrictArray as Array
from tests.strict.backend import register
from tests.strict.library import Library

__all__ = ["Array", "SyncError", "get", "register", "send", "watch", "xp"]

xp = Library()                                      # like `import cupy as xp`


def send(array, dtype=None) -> Array:
    """A device copy of host numbers; counted."""
    return xp.array(array, dtype=dtype)


def get(array):
    """A host copy of a device array; the host waits for it, and that is counted."""
    return array.get()


@dataclass
class Seen:
    """What happened inside `watch`: arrays sent to the device, and times the host waited for it."""

    sends: int = 0
    waits: int = 0


@contextlib.contextmanager
def watch(*, waiting: bool = True, float64: bool = True):
    """Count sends and waits inside the block; waiting=False, float64=False: refuse to wait, refuse float64 arrays."""
    seen, sends, syncs = Seen(), STATE.sends, STATE.syncs
    with policy(allow_sync=None if waiting else False, no_float64=None if float64 else True):
        try:
            yield seen
        finally:
            seen.sends, seen.waits = STATE.sends - sends, STATE.syncs - syncs
