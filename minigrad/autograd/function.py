"""Function: one differentiable operation, and everything that all of them have in common.

An operation is two lines of calculus on raw arrays:

    class Exp(Function):
        '''y = eˣ;  gx = gy·y'''

        def forward(self, x):
            y = self.xp.exp(x)
            self.save(y)
            return y

        def backward(self, gy):
            (y,) = self.saved
            return gy * y

The base class does the rest once for all: it finds the backend, records the graph, sums a broadcast gradient
back to its input's shape, and asserts that each gradient has the shape and the dtype of its input.
"""
from __future__ import annotations

import itertools
import re
import weakref

from minigrad import backend as _backend
from minigrad.autograd import state
from minigrad.autograd.state import _debug, _grad_enabled
from minigrad.autograd.tensor import Tensor
from minigrad.backend import formats

_counter = itertools.count()


class Function:
    """One differentiable operation: options in the constructor, tensors in the call.

    `forward(*arrays)` and `backward(gy)` see raw arrays. `self.needs[i]` says whether input i wants a gradient:
    what it says no to need be neither saved nor computed. `backward` returns one gradient, or a tuple with None
    where none is needed; a fresh array it returns is handed over, so it must not keep one. It may write into `gy`
    when `self.owns_gy` is true.
    """

    registry: dict[str, type[Function]] = {}
    options: tuple[str, ...] = ()                   # names of the attributes that a replaced forward is told about
    is_view = False                                 # the output may share memory with input 0
    override = None                                 # set by mg.override
    forward_line = ""                               # set by mg.debug
    owns_gy = False
    watchers = _saved = _sources = ()
    _inputs = None                                  # during a forward that is recorded: its inputs
    out_format = None                               # the number format of the output, where it is narrower than float32

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        cls.override = None                         # its own: one set on a class it derives from is not meant for it
        Function.registry[cls.name] = cls

    def __call__(self, *inputs):
        rounds, enabled = False, _grad_enabled.get()
        if state.hook is None:
            if not enabled and self.override is None:
                return self._unrecorded(inputs)
        else:                                       # number formats are in use: see precision.py
            inputs, self.out_format, rounds = state.hook(self, inputs)
        arrays, edges, needs = [], [], []
        for x in inputs:
            edge = None                             # where the gradient goes: to a leaf, or to the operation that made x
            if not isinstance(x, Tensor):
                arrays.append(x)
            else:
                arrays.append(x.data)
                if x._requires_grad and enabled:
                    edge = x if x._fn is None else x._fn
            edges.append(edge)
            needs.append(edge is not None)
        self.be, self.edges, self.needs = _backend.of(*arrays), edges, needs
        self._inputs = inputs if True in needs else None    # only what is recorded is noted, in save and below
        self.override = override = type(self).override      # what runs forward also decides what runs backward
        y = self.forward(*arrays) if override is None else override.run_forward(self, arrays)
        out = Tensor(self.be.asarray(y))
        out._format = self.out_format
        if rounds:
            self._round(out)
        if self.is_view and isinstance(inputs[0], Tensor):
            out._version = inputs[0]._version
        if self._inputs is not None:
            self._record(out)
        return out

    def _unrecorded(self, inputs) -> Tensor:
        """The output alone: generating one token takes seventy operations, and notes would be most of the time of each."""
        arrays = []
        for x in inputs:
            arrays.append(x.data if isinstance(x, Tensor) else x)
        self.be, self.needs = _backend.of(*arrays), (False,) * len(arrays)
        out = Tensor(self.be.asarray(self.forward(*arrays)))
        if self.is_view and isinstance(inputs[0], Tensor):
            out._version = inputs[0]._version
        return out

    def _record(self, out) -> None:
        """Put this operation into the graph, behind its output."""
        self.number, self._inputs = next(_counter), None
        self.out_shape, self.out_dtype = out.data.shape, out.data.dtype
        out._requires_grad, out._fn = True, self
        if _debug.get():
            _debug.get().recorded(self)

    def _round(self, out) -> None:
        """Put the output on its format's grid; backward then uses the rounded values, if it kept the output."""
        low = self.be.round_to(out.data, formats.get(self.out_format))
        if any(a is out.data for a in self._saved):
            out.data[...] = low
        else:
            out.data = low

    def save(self, *arrays) -> None:
        """Keep arrays for `backward`: an input by reference (its later in-place change is noticed), others by value."""
        if self._inputs is None:
            return
        self._saved, self._sources = arrays, []
        for x in self._inputs:
            if isinstance(x, Tensor):
                for a in arrays:
                    if a is x.data:
                        self._sources.append((a, x._version, x._version.count))
                        break

    @property
    def saved(self):
        """What `save` kept, checked to be unchanged since."""
        for _, version, count in self._sources:
            if version.count != count:
                raise RuntimeError(
                    f"backward of {self.name}: an input it saved was changed in place after the forward pass "
                    f"({version.count - count} times){self.forward_line}. Call backward() before optimizer.step(), or "
                    "run the forward pass again")
        return self._saved

    @property
    def xp(self):
        """The backend's array library."""
        return self.be.xp

    @property
    def recording(self) -> bool:
        """During forward: whether backward may be asked for."""
        return self._inputs is not None

    @property
    def shapes(self) -> list:
        """The shapes of the inputs; None for those that want no gradient."""
        return [None if edge is None else edge.out_shape for edge in self.edges]

    def saved_activations(self) -> list:
        """The saved arrays that are not parameters (those are in memory anyway); None and numbers left out."""
        parameters = [a for a, version, _ in self._sources if version.parameter]
        return [a for a in self._saved if self.be.owns(a) and not any(a is p for p in parameters)]

    def watch(self, tensor) -> None:
        """Remember, weakly, that `tensor` (this node's output) wants to see its gradient."""
        if all(ref() is not tensor for ref in self.watchers):
            self.watchers = (*self.watchers, weakref.ref(tensor))

    @property
    def released(self) -> bool:
        """Whether a backward pass has already used this node up."""
        return self._saved is None

    def release(self) -> None:
        """Drop what was saved."""
        self._saved, self._sources = None, ()

    def gradients(self, gy, owned: bool):
        """The gradients for the inputs, un-broadcast and checked, in the inputs' order."""
        self.owns_gy = owned
        gxs = self.backward(gy) if self.override is None else self.override.run_backward(self, gy)
        if type(gxs) is not tuple:
            gxs = (gxs,)
        if len(gxs) != len(self.edges):
            raise RuntimeError(f"backward of {self.name} returned {len(gxs)} gradients for {len(self.edges)} inputs")
        checked = []
        for gx, edge in zip(gxs, self.edges, strict=True):
            if edge is None:
                gx = None
            elif gx is None:
                raise RuntimeError(f"backward of {self.name} gave no gradient for input {len(checked)}, which needs one"
                                   f"{self.forward_line}")
            else:                                   # an edge knows the shape, dtype and format of the input it stands for
                gx = self.be.asarray(gx)
                if gx.shape != edge.out_shape:
                    gx = unbroadcast(gx, edge.out_shape, self.name, len(checked))
                if gx.dtype != edge.out_dtype:
                    gx = gx.astype(edge.out_dtype)
                if edge.out_format is not None:
                    gx = self.be.round_to(gx, formats.get(edge.out_format))
            checked.append(gx)
        return checked

    def forward(self, *arrays):
        """The output array from the input arrays."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(self, *arrays)")

    def backward(self, gy):
        """The gradient of each input from the output's."""
        raise NotImplementedError(f"{type(self).__name__} must define backward(self, gy)")


def unbroadcast(g, shape, name="", i=0):
    """Sum a gradient over the axes along which its input of `shape` was repeated: one multi-axis sum."""
    lead = g.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(lead + a for a, n in enumerate(shape) if n == 1 and g.shape[lead + a] != 1)
    if lead < 0 or any(n not in (1, g.shape[lead + a]) for a, n in enumerate(shape)):
        raise RuntimeError(f"backward of {name}: the gradient of input {i} has shape {tuple(g.shape)}, which does not "
                           f"reduce to the input's shape {tuple(shape)}")
    return g.sum(axis=axes, keepdims=True).reshape(shape)
