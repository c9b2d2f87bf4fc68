"""CuPy: the same kernels on an NVIDIA GPU.

CuPy is in one of three states: not installed, installed without a usable GPU, or usable (a small kernel really
ran). It is imported only when somebody asks, so that importing minigrad costs nothing and never fails.
"""
from __future__ import annotations

import importlib.util

from minigrad.backend.base import Backend


class BackendUnavailable(RuntimeError):
    """The backend that was asked for cannot be used here; the message says why and what to do."""


def state() -> tuple[str, str]:
    """("not installed" | "no usable GPU" | "usable", the reason in CuPy's own words or "")."""
    if importlib.util.find_spec("cupy") is None:
        return "not installed", ""
    try:
        import cupy

        if (cupy.arange(3) + 1).sum().item() != 6:
            return "no usable GPU", "a test kernel gave a wrong sum"
    except Exception as error:                      # a missing driver, toolkit or device raises many kinds
        return "no usable GPU", f"{type(error).__name__}: {error}".splitlines()[0]
    return "usable", ""


def load() -> CupyBackend:
    """The CuPy backend, or BackendUnavailable that says what is missing."""
    found, detail = state()
    if found == "not installed":
        raise BackendUnavailable("backend 'cupy' needs CuPy, which is not installed: "
                                 "pip install 'minigrad-course[cuda12]' or '[cuda13]' on a machine with an NVIDIA GPU, "
                                 "or use backend 'numpy'")
    if found == "no usable GPU":
        raise BackendUnavailable(f"backend 'cupy': CuPy is installed but no GPU is usable ({detail}). "
                                 "Check the driver with nvidia-smi, or use backend 'numpy'")
    return CupyBackend()


class CupyBackend(Backend):
    """The base class's expressions, evaluated by CuPy."""

    name = "cupy"

    def __init__(self):
        import cupy

        self.xp = cupy
        self.array_types = (cupy.ndarray,)

    def send(self, array, dtype=None):
        """A device copy of a host array."""
        return self.xp.array(array, dtype=dtype)

    def to_numpy(self, a):
        """A host copy; waits for the device."""
        return self.xp.asnumpy(a)

    def synchronize(self) -> None:
        """Wait until the device has finished."""
        self.xp.cuda.get_current_stream().synchronize()

    def memory_used(self) -> int:
        """Bytes in use in CuPy's memory pool."""
        return self.xp.get_default_memory_pool().used_bytes()
