"""The strict arrays as a backend of minigrad, for the tests only."""
from __future__ import annotations

import numpy as np

from minigrad import backend
from tests.strict.array import StrictArray, policy, sync
from tests.strict.library import Library


class StrictBackend(backend.Backend):
    """The base class's kernels on strict arrays: what passes here uses nothing that a GPU would refuse."""

    name = "strict"
    xp = Library()
    array_types = (StrictArray,)

    def send(self, array, dtype=None):
        """A device copy of a host array."""
        if isinstance(array, StrictArray):
            raise TypeError("send: this is a device array already")
        return self.xp.array(array, dtype=dtype)

    def to_numpy(self, a):
        """A host copy; counted as a synchronization."""
        return a.get()

    def synchronize(self) -> None:
        """Counted like everything else that waits."""
        sync("synchronize")

    def no_waiting(self):
        """Waiting raises SyncError."""
        return policy(allow_sync=False)

    def quiet(self):
        """A GPU never warns of infinity; NumPy underneath would."""
        return np.errstate(over="ignore", divide="ignore")

    def buffer(self, a):
        """The host array that owns the memory."""
        a = a._a
        while isinstance(a.base, np.ndarray):
            a = a.base
        return a

    def set_writeable(self, a, flag: bool) -> None:
        """As the NumPy backend does."""
        backend.get("numpy").set_writeable(a._a, flag)


def register() -> None:
    """Make `mg.use_backend("strict")` work."""
    backend.register("strict", StrictBackend())
