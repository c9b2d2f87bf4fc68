"""Flat buffers: the parameters of a group side by side in one array, so that a step is one kernel, not fifty.

After adoption `p.data` is a view of the buffer, and writing into the buffer trains the model. Somebody else may
put another array there at any time (load_state_dict, a merge, a hot swap, a move to another backend); the next step
sees that `p.data` is no longer its view, and copies the new values in.

    group:   | q_proj.bias | norm.weight | …  | q_proj.weight | v_proj.weight …      one array for the values,
    runs:    '---- small, copied together ---'  '-------------'  '------------       one for small gradients, one per moment

Large gradients are used where they are: on a CPU reading and writing them once more takes as long as half a step.
"""
from __future__ import annotations

from minigrad import backend as _backend


class Slot:
    """One parameter of an optimizer: its name, its state, and its place in a flat buffer (view None: not in one)."""

    __slots__ = ("name", "param", "view", "start", "stop", "steps", "state")

    def __init__(self, name: str, param):
        self.name, self.param = name, param
        self.view, self.start, self.stop = None, 0, 0
        self.steps = 0                              # updates so far; a step without a gradient does not count
        self.state = {}                             # name -> 1-D array, a slice of the buffer's state while adopted

    @property
    def kind(self):
        """What parameters must share to lie in one buffer: (backend name, dtype)."""
        return self.param.backend.name, self.param.data.dtype

    def release(self) -> None:
        """Leave the buffer with an array of one's own (a frozen parameter must not keep a buffer alive)."""
        if self.view is not None:
            if self.param.data is self.view:
                self.param.data = self.view.copy()
            self.state = {key: array.copy() for key, array in self.state.items()}
            self.view = None


class FlatBuffer:
    """The values and moments of parameters of one kind, each as one 1-D array, and one for their small gradients."""

    def __init__(self, slots: list[Slot], state_names: tuple[str, ...]):
        be = slots[0].param.backend
        dtype = slots[0].param.data.dtype
        size = sum(slot.param.size for slot in slots)
        self.slots = sorted(slots, key=lambda slot: slot.param.size >= be.gathers_below)
        self.backend = be
        self.data = be.xp.empty(size, dtype=dtype)
        self.grad = be.xp.empty(sum(slot.param.size for slot in slots if slot.param.size < be.gathers_below), dtype=dtype)
        self.state = {key: be.xp.zeros(size, dtype=dtype) for key in state_names}
        start = 0
        for slot in self.slots:
            slot.start, slot.stop = start, start + slot.param.size
            slot.view = self.data[start:slot.stop].reshape(slot.param.shape)
            self._adopt(slot)
            if any(key not in slot.state for key in state_names):
                slot.steps = 0                      # a moment that is only now kept starts from nothing
            for key in state_names:
                place = self.state[key][start:slot.stop]
                if key in slot.state:
                    place[...] = carried(slot.state[key], be, dtype)
                slot.state[key] = place
            start = slot.stop

    def gather(self) -> list[tuple]:
        """Bring values and gradients in; the runs to update: (start, stop, step number, gradient).

        A large gradient is a run of its own; else a run is as long as possible: neighbors that all have a gradient and
        have been updated equally often. Gradients may be the parameters' own arrays and must not be written.
        """
        runs, pieces = [], []
        for slot in self.slots:
            p = slot.param
            if p.grad is None:
                continue
            if p.grad.shape != p.data.shape or p.grad.dtype != p.data.dtype:
                raise ValueError(f"the gradient of {slot.name} has shape {tuple(p.grad.shape)} and dtype "
                                 f"{p.grad.dtype}; the parameter has {tuple(p.shape)} and {p.data.dtype}")
            if p.data is not slot.view:
                self._adopt(slot)
            g, small = p.grad.reshape(-1), slot.stop <= self.grad.size
            if small and runs and runs[-1][1:3] == (slot.start, slot.steps + 1):
                runs[-1] = (runs[-1][0], slot.stop, slot.steps + 1)
                pieces[-1].append(g)
            else:
                runs.append((slot.start, slot.stop, slot.steps + 1))
                pieces.append([g])
        return [(*run, self._together(run, grads)) for run, grads in zip(runs, pieces, strict=True)]

    def written(self) -> None:
        """Count the step for every parameter that took part, and tell the graphs that hold it."""
        for slot in self.slots:
            if slot.param.grad is not None:
                slot.steps += 1
                slot.param.bump_version()

    def _together(self, run, grads: list):
        """The gradients of a run as one array: a large one as it is, small ones in their place in the buffer."""
        start, stop, _ = run
        if stop > self.grad.size:
            return grads[0]
        self.backend.xp.concatenate(grads, out=self.grad[start:stop])
        return self.grad[start:stop]

    def _adopt(self, slot: Slot) -> None:
        slot.view[...] = slot.param.data
        slot.param.data = slot.view


def carried(array, backend, dtype):
    """`array` (host or of any backend) on `backend` with `dtype`."""
    here = _backend.of(array)
    if here is not backend:
        array = backend.send(here.to_numpy(array))
    return array if array.dtype == dtype else array.astype(dtype)
