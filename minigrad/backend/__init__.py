"""Which array library computes: NumPy on the CPU, CuPy on the GPU, or one registered by a test.

An array belongs to a backend, and an operation runs on its arguments' backend (`of`). The *current* backend
only says where new tensors are made. Nothing outside this room imports an array library.

>>> from minigrad import backend
>>> backend.current().name
'numpy'
"""
from __future__ import annotations

import contextvars
import difflib

from minigrad.backend import cupy_backend, host
from minigrad.backend.base import Backend
from minigrad.backend.numpy_backend import NumpyBackend
from minigrad.backend.threads import set_num_threads

__all__ = ["Backend", "BackendUnavailable", "available", "current", "get", "host", "of", "register", "set_num_threads",
           "use_backend"]

BackendUnavailable = cupy_backend.BackendUnavailable

_BACKENDS: dict[str, Backend] = {}
_BY_TYPE: dict[type, Backend | None] = {bool: None, int: None, float: None}     # Python scalars belong to nobody
_BY_TYPES: dict[tuple[type, ...], Backend] = {}     # the types of an operation's arrays -> what `of` found for them before
_process_default = "numpy"
_in_context: contextvars.ContextVar[str | None] = contextvars.ContextVar("minigrad_backend", default=None)


def register(name: str, backend: Backend) -> Backend:
    """Make `backend` available under `name`; its `array_types` say which arrays are its own."""
    _BACKENDS[name] = backend
    _BY_TYPES.clear()
    for kind in backend.array_types:
        _BY_TYPE[kind] = backend
    return backend


def get(name: str) -> Backend:
    """The backend called `name`; raises ValueError for an unknown name, BackendUnavailable for CuPy without a GPU."""
    if name in _BACKENDS:
        return _BACKENDS[name]
    if name == "cupy":
        return register("cupy", cupy_backend.load())
    known = sorted({*_BACKENDS, "cupy"})
    close = difflib.get_close_matches(str(name), known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown backend {name!r}: known are {', '.join(known)}{hint}")


def available() -> dict[str, str]:
    """Each backend's name and its state, in words ("usable", or why not)."""
    states = {name: "usable" for name in _BACKENDS}
    state, detail = cupy_backend.state()
    states["cupy"] = state if not detail else f"{state}: {detail}"
    return states


def current() -> Backend:
    """The backend on which new tensors are made."""
    return get(_in_context.get() or _process_default)


class use_backend:
    """Choose where new tensors are made: for the process when called plainly, for a block as `with`.

    >>> import minigrad as mg
    >>> with mg.use_backend("numpy"):
    ...     mg.zeros(2).backend.name
    'numpy'
    """

    def __init__(self, name: str):
        global _process_default
        get(name)                                   # unknown or unusable: say so here, before anything changes
        self.name, self.previous, self.token = name, _process_default, None
        _process_default = name

    def __enter__(self) -> Backend:
        global _process_default
        _process_default = self.previous            # the plain call is taken back: only this context is switched
        self.token = _in_context.set(self.name)
        return get(self.name)

    def __exit__(self, *error) -> None:
        _in_context.reset(self.token)


def of(*arrays) -> Backend:
    """The one backend that all these raw arrays belong to (Python numbers belong to any).

    Raises TypeError that names both when two libraries are mixed, or when something is no array at all.
    """
    kinds = tuple(map(type, arrays))
    found = _BY_TYPES.get(kinds)
    if found is not None:
        return found
    for a in arrays:
        kind = type(a)
        if kind in _BY_TYPE:
            owner = _BY_TYPE[kind]
        else:
            owner = _owner_of_unknown(a)
        if owner is None or owner is found:
            continue
        if found is not None:
            raise TypeError(f"arrays of two backends in one operation: {found.name} and {owner.name}. "
                            f"Move one of them first, e.g. model.to(backend={found.name!r}) or "
                            f"mg.tensor(mg.to_numpy(t)) under mg.use_backend({found.name!r})")
        found = owner
    if found is None:
        return current()
    _BY_TYPES[kinds] = found
    return found


def _owner_of_unknown(a) -> Backend:
    for backend in _BACKENDS.values():
        if backend.owns(a):
            _BY_TYPE[type(a)] = backend             # a scalar type or a subclass, seen for the first time
            return backend
    raise TypeError(f"{type(a).__name__} is not an array of a known backend ({', '.join(sorted(_BACKENDS))}): "
                    "make a tensor of it with mg.tensor(...)")


register("numpy", NumpyBackend())
