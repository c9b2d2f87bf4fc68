"""Two seams into the live engine: `mg.debug()` makes it suspicious, `mg.override()` swaps one operation."""
from __future__ import annotations

import difflib
import pathlib
import traceback

from minigrad.autograd.function import Function
from minigrad.autograd.state import _debug

_PACKAGE = str(pathlib.Path(__file__).resolve().parent.parent)


class debug:
    """Inside, mistakes with memory and numbers show where they happen instead of much later.

    Saved arrays are read-only until their backward pass; a gradient buffer is filled with NaN once it has been used;
    every step of the backward walk is checked for NaN, and the error names the line of the forward pass.

    >>> import minigrad as mg
    >>> x = mg.tensor([0.0], requires_grad=True)
    >>> with mg.debug(), mg.override("exp", vjp=lambda gy, y, x: (gy * float("nan"),)):
    ...     try:
    ...         x.exp().sum().backward()
    ...     except FloatingPointError as error:
    ...         print(str(error)[:39])
    backward of exp made NaN, for input 0 (
    """

    def __enter__(self):
        self._token, self._locked = _debug.set(self), {}
        return self

    def __exit__(self, *error):
        _debug.reset(self._token)
        for fn in list(self._locked):
            self._unlock(fn)

    def recorded(self, fn: Function) -> None:
        """Called by the engine after each recorded forward: note the user's line, lock what was saved."""
        for frame in reversed(traceback.extract_stack()):
            if not frame.filename.startswith(_PACKAGE):
                fn.forward_line = f" (forward: {pathlib.Path(frame.filename).name}:{frame.lineno}: {frame.line})"
                break
        # a parameter is the optimizer's to change; its version count guards it
        locked = [a for a in fn.saved_activations() if getattr(getattr(a, "flags", None), "writeable", True)]
        for a in locked:
            fn.be.set_writeable(a, False)
        self._locked[fn] = locked

    def walked(self, fn: Function, gy, owned: bool, gxs) -> None:
        """Called by the walk after each backward: unlock, look for NaN, poison the used-up gradient."""
        self._unlock(fn)
        for i, gx in enumerate(gxs):
            if gx is not None and bool(fn.xp.isnan(gx).any()):
                into = "already had NaN in its output's gradient" if bool(fn.xp.isnan(gy).any()) else "made NaN"
                raise FloatingPointError(f"backward of {fn.name} {into}, for input {i}{fn.forward_line}")
        if owned and all(gx is None or fn.be.buffer(gx) is not fn.be.buffer(gy) for gx in gxs):
            gy[...] = float("nan")

    def _unlock(self, fn: Function) -> None:
        for a in self._locked.pop(fn, ()):
            fn.be.set_writeable(a, True)


class override:
    """Swap one operation of the live engine, by name, until the block ends.

    op: a name in `minigrad.autograd.Function.registry` ("exp", "linear", "softmax", …) · forward(*arrays, **options):
    the output array · vjp(gy, y, *arrays, **options): a tuple with the gradient of each input. What is not given stays
    the engine's. `calls` and `vjp_calls` count the uses.

    >>> import minigrad as mg
    >>> with mg.override("exp", vjp=lambda gy, y, x: (gy * y,)) as mine:
    ...     x = mg.tensor([0.0], requires_grad=True)
    ...     x.exp().sum().backward()
    >>> mine.calls, mine.vjp_calls, x.grad.tolist()
    (1, 1, [1.0])
    """

    def __init__(self, op: str, forward=None, vjp=None):
        if op not in Function.registry:
            close = difflib.get_close_matches(str(op), Function.registry, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"override: there is no operation {op!r}{hint}. "
                             f"Known are: {', '.join(sorted(Function.registry))}")
        if forward is None and vjp is None:
            raise ValueError(f"override({op!r}): give forward=, vjp= or both; otherwise nothing would change")
        self.op, self.forward, self.vjp = Function.registry[op], forward, vjp
        self.calls = self.vjp_calls = 0

    def __enter__(self):
        self._previous = self.op.override
        self.op.override = self
        return self

    def __exit__(self, *error):
        self.op.override = self._previous

    def run_forward(self, fn: Function, arrays):
        """The replaced forward of one node."""
        self.calls += 1
        options = {name: getattr(fn, name) for name in fn.options}
        if self.forward is None or self.vjp is None:
            y = fn.forward(*arrays)                 # also saves what the engine's own backward needs
        if self.forward is not None:
            y = self.forward(*arrays, **options)
            if y is None:
                raise RuntimeError(f"override of {fn.name}: forward returned None; it must return the output array")
        if self.vjp is not None:
            fn._overridden = (y, arrays, options)
        return y

    def run_backward(self, fn: Function, gy):
        """The replaced backward of one node."""
        if self.vjp is None:
            return fn.backward(gy)
        self.vjp_calls += 1
        y, arrays, options = fn._overridden
        return self.vjp(gy, y, *arrays, **options)
