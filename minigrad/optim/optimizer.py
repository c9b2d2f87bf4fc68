"""Optimizer: what SGD and Adam have in common: groups, names, flat buffers, saving and loading."""
from __future__ import annotations

import math
import numbers
from functools import partial

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.optim.flat import FlatBuffer, Slot


class Optimizer:
    """Base class: a subclass names its options (`defaults`), its state arrays and `update`, one step of its formula.

    params: tensors, (name, tensor) pairs such as model.named_parameters(), or group dicts
    {"params": …, "lr": …, "name": …} with options of their own. Frozen parameters may be among them: they are skipped
    until they are unfrozen. A parameter whose grad is None is skipped like in PyTorch: no update, no decay, no step.

    Raises ValueError when there is nothing to train, when a parameter is given twice, or for impossible options.
    """

    def __init__(self, params, defaults: dict):
        self.defaults = defaults
        self.param_groups: list[dict] = []
        self._slots: list[list[Slot]] = []          # per group
        self._buffers: list[list[FlatBuffer]] = []  # per group: one, unless dtypes or backends are mixed
        if isinstance(params, Tensor):
            raise TypeError("params must be an iterable of tensors, not one tensor: write [tensor]")
        params = list(params)
        if params and all(isinstance(group, dict) for group in params):
            for group in params:
                self.add_param_group(group)
        else:
            self.add_param_group({"params": params})
        total = len(self._all_slots())
        if not any(slot.param.requires_grad for slot in self._all_slots()):
            raise ValueError(f"{type(self).__name__} was given no trainable parameters ({total} in all). Unfreeze some "
                             "first (module.requires_grad_(True)), or check the names you selected")
        self._all_slots()[0].param.backend.keep_freed_memory()      # each step will need what the one before it has freed

    # ---- what a subclass defines ------------------------------------------------------------------------------------

    def state_names(self, group: dict) -> tuple[str, ...]:
        """The state arrays that this group's parameters have, each as large as the parameters."""
        raise NotImplementedError(f"{type(self).__name__} must define state_names(self, group)")

    def update(self, group: dict, backend, p, g, state: dict, step: int) -> None:
        """One step on 1-D arrays, in place; `step` counts from 1. `g` must not be written: it may be a parameter's gradient."""
        raise NotImplementedError(f"{type(self).__name__} must define update(self, group, backend, p, g, state, step)")

    def check(self, group: dict) -> None:
        """Raise ValueError for impossible options."""
        for option in ("lr", "weight_decay"):
            at_least_zero(group[option], option)

    # ---- training ---------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Update every trainable parameter that has a gradient. Reads nothing back from the device."""
        for i, group in enumerate(self.param_groups):
            if not self._fits(i):
                self._rebuild(i)
            for buffer in self._buffers[i]:
                buffer.backend.each_run(partial(self._update_run, group, buffer), buffer.gather())
                buffer.written()

    def _update_run(self, group: dict, buffer: FlatBuffer, start: int, stop: int, step: int, g) -> None:
        self.update(group, buffer.backend, buffer.data[start:stop], g,
                    {key: array[start:stop] for key, array in buffer.state.items()}, step)

    def zero_grad(self) -> None:
        """Forget the gradients (they become None)."""
        for slot in self._all_slots():
            slot.param.grad = None

    def add_param_group(self, group: dict) -> None:
        """Add parameters with options of their own; options that are not given take the defaults."""
        if "params" not in group:
            raise ValueError(f"a parameter group needs 'params'; got {', '.join(map(repr, group)) or 'an empty dict'}")
        allowed = {"params", "name", *self.defaults}
        if unknown := sorted(set(group) - allowed - {"initial_lr"}):
            raise ValueError(f"{type(self).__name__} has no option {', '.join(unknown)}; a group may have "
                             f"{', '.join(sorted(allowed))}")
        group = {**self.defaults, **group}
        self.check(group)
        first = len(self._all_slots())
        slots = [_slot(entry, first + i) for i, entry in enumerate(_entries(group["params"]))]
        taken = {id(slot.param): slot.name for slot in self._all_slots()}
        names = {slot.name for slot in self._all_slots()}
        for slot in slots:
            if id(slot.param) in taken:
                raise ValueError(f"parameter {slot.name} is given twice (also as {taken[id(slot.param)]}); "
                                 "each must be in one group, once")
            if slot.name in names:
                raise ValueError(f"two different parameters are named {slot.name!r}")
            taken[id(slot.param)] = slot.name
            names.add(slot.name)
        group["params"] = [slot.param for slot in slots]
        self.param_groups.append(group)
        self._slots.append(slots)
        self._buffers.append([])

    def state_bytes(self) -> int:
        """Bytes of the state arrays (moments) held now."""
        return sum(array.nbytes for slot in self._all_slots() for array in slot.state.values())

    def _all_slots(self) -> list[Slot]:
        return [slot for slots in self._slots for slot in slots]

    def _fits(self, i: int) -> bool:
        """Whether group i's buffers hold exactly its trainable parameters, as they are now, and the right state."""
        for buffer in self._buffers[i]:
            if tuple(buffer.state) != self.state_names(self.param_groups[i]):
                return False
        for slot in self._slots[i]:
            p = slot.param
            if p.requires_grad is not (slot.view is not None):
                return False                        # frozen or unfrozen since
            if slot.view is not None and p.data is not slot.view:
                if p.shape != slot.view.shape:
                    raise ValueError(f"parameter {slot.name} had shape {tuple(slot.view.shape)} and now has "
                                     f"{tuple(p.shape)}: make a new optimizer for it")
                # replaced, converted or moved; somebody may still hold the old view, or p.data may be another's view
                return False                        # (two weights swapped), so a new buffer is laid out
        return True

    def _rebuild(self, i: int) -> None:
        """Lay group i out anew; every parameter keeps its state and step count."""
        kinds: dict = {}
        for slot in self._slots[i]:
            if slot.param.requires_grad:
                kinds.setdefault(slot.kind, []).append(slot)
            else:
                slot.release()
        self._buffers[i] = [FlatBuffer(slots, self.state_names(self.param_groups[i])) for slots in kinds.values()]

    # ---- saving and loading -----------------------------------------------------------------------------------------

    def state_dict(self) -> dict:
        """{"state": {parameter name: {"step": int, state name: host array}}, "param_groups": [options, names]}.

        Parameters given without names are called "0", "1", ….
        """
        state = {}
        for slot in self._all_slots():
            if slot.steps:
                shape = slot.param.shape
                arrays = {key: Tensor(array).numpy().reshape(shape) for key, array in slot.state.items()}
                state[slot.name] = {"step": slot.steps, **arrays}
        groups = [{**{k: v for k, v in group.items() if k != "params"}, "params": [slot.name for slot in slots]}
                  for group, slots in zip(self.param_groups, self._slots, strict=True)]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, saved: dict) -> None:
        """Continue from what state_dict gave. Raises ValueError listing every mismatch, and then changes nothing."""
        problems = [f"missing: {key!r}" for key in ("state", "param_groups") if key not in saved]
        groups, state = saved.get("param_groups", []), saved.get("state", {})
        if not problems and len(groups) != len(self.param_groups):
            problems.append(f"{len(groups)} parameter groups, this optimizer has {len(self.param_groups)}")
        elif not problems:
            for i, (group, slots) in enumerate(zip(groups, self._slots, strict=True)):
                problems += self._group_problems(i, group, slots, state)
        known = {slot.name for slot in self._all_slots()}
        problems += [f"state for an unknown parameter: {name}" for name in state if name not in known]
        if problems:
            raise ValueError(f"this state does not fit the {type(self).__name__}; nothing was changed.\n  "
                             + "\n  ".join(problems))
        for i, (group, slots) in enumerate(zip(groups, self._slots, strict=True)):
            self.param_groups[i].update({k: _tupled(v) for k, v in group.items() if k != "params"})
            for slot in slots:
                entry = state.get(slot.name, {"step": 0})
                slot.release()
                slot.steps = int(entry["step"])
                slot.state = {key: slot.param.backend.send(host.np.asarray(value).astype(slot.param.dtype).reshape(-1))
                              for key, value in entry.items() if key != "step"}

    def _group_problems(self, i: int, group: dict, slots: list[Slot], state: dict):
        names, given = [slot.name for slot in slots], list(group.get("params", ()))
        for name in names:
            if name not in given:
                yield f"group {i}: missing parameter {name}"
        for name in given:
            if name not in names:
                yield f"group {i}: unexpected parameter {name}"
        if unknown := sorted(set(group) - {"params", "name", "initial_lr", *self.defaults}):
            yield f"group {i}: unknown options {', '.join(unknown)}"
        merged = {**self.param_groups[i], **{k: _tupled(v) for k, v in group.items()}}
        try:
            self.check(merged)
        except ValueError as error:
            yield f"group {i}: {error}"
        wanted = {"step", *self.state_names(merged)}
        for slot in slots:
            if slot.name not in state:
                continue
            entry = state[slot.name]
            if set(entry) != wanted:
                yield f"{slot.name}: has {', '.join(sorted(entry))}; needed are {', '.join(sorted(wanted))}"
            if not isinstance(entry.get("step", 0), int | host.np.integer):
                yield f"{slot.name}: step must be a whole number; got {entry['step']!r}"
            for key, value in entry.items():
                shape, wanted_shape = host.np.shape(value), tuple(slot.param.shape)
                if key != "step" and shape != wanted_shape:
                    yield f"{slot.name}: {key} has shape {shape}, the parameter {wanted_shape}"

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{k}={v}" for k, v in group.items() if k not in ("params", "name"))
            name, params = group.get("name", f"group {i}"), group["params"]
            lines.append(f"  {name}: {len(params)} tensors, {sum(p.size for p in params):,} numbers, {options}")
        return f"{type(self).__name__}(\n" + "\n".join(lines) + "\n)"


def at_least_zero(value, what: str) -> None:
    """Raise ValueError unless `value` is a finite number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < math.inf:
        raise ValueError(f"{what} must be a finite number of at least 0; got {value!r}")


def _entries(params) -> list:
    """Tensors or pairs, all of one sort."""
    if isinstance(params, Tensor):
        return [params]
    entries = list(params)
    if len({isinstance(entry, tuple) for entry in entries}) > 1:
        raise ValueError("give all parameters as tensors, or all as (name, tensor) pairs, not a mixture")
    return entries


def _slot(entry, index: int) -> Slot:
    name, param = entry if isinstance(entry, tuple) and len(entry) == 2 else (str(index), entry)
    if not isinstance(param, Tensor):
        raise TypeError(f"an optimizer needs tensors, (name, tensor) pairs or group dicts; got {type(param).__name__}")
    if not param.is_leaf:
        raise ValueError(f"parameter {name} is the result of an operation; only leaves can be trained (detach() it "
                         "first)")
    return Slot(str(name), param)


def _tupled(value):
    """JSON turns tuples into lists: turn them back."""
    return tuple(value) if isinstance(value, list) else value
