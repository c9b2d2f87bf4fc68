"""What the engine knows besides the graph: whether it records, whether it is being debugged, what changed in place."""
from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect

_grad_enabled: contextvars.ContextVar[bool] = contextvars.ContextVar("minigrad_grad_enabled", default=True)
_debug: contextvars.ContextVar = contextvars.ContextVar("minigrad_debug", default=None)


def is_grad_enabled() -> bool:
    """Whether operations record a graph here and now."""
    return _grad_enabled.get()


class no_grad(contextlib.ContextDecorator):
    """Inside, operations record nothing: no graph, no saved arrays. A context, and a decorator
    of functions and generators.

    >>> import minigrad as mg
    >>> w = mg.ones(2).requires_grad_()
    >>> with mg.no_grad():
    ...     (w * 2).requires_grad
    False
    """

    def __enter__(self):
        self._tokens = [*getattr(self, "_tokens", []), _grad_enabled.set(False)]
        return self

    def __exit__(self, *error):
        _grad_enabled.reset(self._tokens.pop())

    def __call__(self, function):
        if not inspect.isgeneratorfunction(function):
            return super().__call__(function)

        @functools.wraps(function)
        def generator(*args, **kwargs):             # graphs are off while it runs, and not while it waits
            running = function(*args, **kwargs)
            sent = None
            try:
                while True:
                    with type(self)():
                        item = running.send(sent)
                    sent = yield item
            except StopIteration as end:
                return end.value
            finally:
                running.close()
        return generator

    def _recreate_cm(self):
        return type(self)()


class Version:
    """Counts in-place changes of one piece of memory; a tensor and its views share it."""

    count, parameter = 0, False                     # until changed; no __init__, because every result has a Version


#: called before each operation once number formats are in use: precision.enter, or None
hook = None
