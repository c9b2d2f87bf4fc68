"""Module: a part of a network, with its weights and its smaller parts, found by name.

Assigning a Parameter or a Module to an attribute registers it; names are joined with dots, so that a weight deep
inside is "blocks.0.attn.q_proj.weight". The conventions are PyTorch's.
"""
from __future__ import annotations

import difflib
from collections import namedtuple
from collections.abc import Callable, Iterator

from minigrad import backend as _backend
from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.nn.parameter import Parameter

LoadResult = namedtuple("LoadResult", ["missing_keys", "unexpected_keys"])


class Module:
    """Base class of everything with weights: define `__init__` (start with super().__init__()) and `forward`.

    >>> import minigrad as mg
    >>> class Scale(mg.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = mg.nn.Parameter(mg.ones(1))
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> [name for name, p in Scale().named_parameters()]
    ['factor']
    """

    def __init__(self):
        # Straight into __dict__: __setattr__ below needs these three to exist.
        self.__dict__.update(_parameters={}, _buffers={}, _modules={}, training=True)

    def __call__(self, *args, **kwargs):
        return self.forward(*args, **kwargs)

    def forward(self, *args, **kwargs):
        """What this module computes."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(self, ...)")

    # ---- attributes are the registry --------------------------------------------------------------------------------

    def __setattr__(self, name: str, value) -> None:
        if "_parameters" not in self.__dict__:
            if isinstance(value, Parameter | Module):
                raise AttributeError(f"{type(self).__name__}.{name} was assigned before the module was set up: "
                                     "call super().__init__() first in __init__")
            object.__setattr__(self, name, value)
            return
        kinds = {"_parameters": Parameter, "_modules": Module, "_buffers": Tensor}
        if isinstance(value, Parameter | Module):
            home = "_parameters" if isinstance(value, Parameter) else "_modules"
        else:
            home = next((registry for registry in kinds if name in self.__dict__[registry]), None)
            if home is None:                        # an ordinary attribute
                object.__setattr__(self, name, value)
                return
            if value is not None and not isinstance(value, kinds[home]):
                kind = kinds[home].__name__
                raise TypeError(f"{type(self).__name__}.{name} is a {kind}; a {type(value).__name__} cannot take its "
                                f"place. Assign a {kind} or None, or `del` the attribute first")
        for registry in kinds:
            if registry != home:
                self.__dict__[registry].pop(name, None)
        self._register(home, name, value)

    def _register(self, home: str, name: str, value) -> None:
        """Into the registry, and among the ordinary attributes, where Python finds it ten times as fast as by __getattr__."""
        self.__dict__[home][name] = self.__dict__[name] = value

    def __getattr__(self, name: str):               # only called when there is none
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}"
                             + _did_you_mean(name, [*self.__dict__.get("_parameters", ()),
                                                    *self.__dict__.get("_modules", ())]))

    def __delattr__(self, name: str) -> None:
        for registry in (self._parameters, self._buffers, self._modules):
            if name in registry:
                del registry[name]
                break
        object.__delattr__(self, name)

    def register_buffer(self, name: str, tensor: Tensor | None) -> None:
        """Add a tensor that is saved and moved with the module but never trained (a mask, a running mean)."""
        if hasattr(self, name) and name not in self._buffers:
            raise KeyError(f"{type(self).__name__} already has an attribute {name!r}")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"buffer {name!r} must be a Tensor or None; got {type(tensor).__name__}")
        self._register("_buffers", name, tensor)

    def add_module(self, name: str, module: Module | None) -> None:
        """Register a child under a name that is computed rather than written."""
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"child {name!r} must be a Module or None; got {type(module).__name__}")
        if not name or "." in name:
            raise KeyError(f"a child's name must be non-empty and without dots; got {name!r}")
        self._register("_modules", name, module)

    # ---- walking ----------------------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the direct children."""
        return ((name, child) for name, child in self._modules.items() if child is not None)

    def children(self) -> Iterator[Module]:
        """The direct children."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True, _seen: set | None = None):
        """(dotted name, module) of this module and everything below, parents first; a shared module once."""
        seen = set() if _seen is None else _seen
        if remove_duplicate and self in seen:
            return
        seen.add(self)
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name, remove_duplicate, seen)

    def modules(self) -> Iterator[Module]:
        """This module and everything below it."""
        return (module for _, module in self.named_modules())

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True):
        """(dotted name, parameter); a tied weight appears once, under its first name, unless remove_duplicate=False."""
        yield from self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Every parameter, a tied one once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True):
        """(dotted name, buffer)."""
        yield from self._named("_buffers", prefix, recurse, remove_duplicate)

    def _named(self, registry: str, prefix: str, recurse: bool, remove_duplicate: bool):
        seen = set()
        modules = self.named_modules(prefix, remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, t in getattr(module, registry).items():
                if t is None or (remove_duplicate and id(t) in seen):
                    continue
                seen.add(id(t))
                yield (f"{path}.{name}" if path else name), t

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted name ("" is this one); AttributeError tells where the path ends.

        >>> import minigrad as mg
        >>> mg.nn.Sequential(mg.nn.Linear(2, 3)).get_submodule("0")
        Linear(in_features=2, out_features=3, bias=True)
        """
        module, walked = self, []
        for name in target.split(".") if target else []:
            child = module._modules.get(name)
            if child is None:
                where = ".".join(walked) or type(self).__name__
                raise AttributeError(f"no submodule {target!r}: {where} has no child {name!r}; its children are "
                                     f"{', '.join(n for n, _ in module.named_children()) or '(none)'}"
                                     + _did_you_mean(name, list(module._modules)))
            module = child
            walked.append(name)
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put `module` at a dotted name; its parent must exist, and with strict=True the old module as well."""
        if not isinstance(module, Module):
            raise TypeError(f"set_submodule needs a Module; got {type(module).__name__}")
        path, _, name = target.rpartition(".")
        if not name:
            raise ValueError("set_submodule needs the name of a submodule, such as 'blocks.0.attn.q_proj'; got "
                             f"{target!r}")
        parent = self.get_submodule(path)
        taken = name in parent.__dict__ or name in parent._parameters or name in parent._buffers
        if name not in parent._modules and (strict or taken):
            self.get_submodule(target)              # raises, and says what is there
        parent.add_module(name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted name."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        found = module._parameters.get(name)
        if found is None:
            raise AttributeError(f"no parameter {target!r}: {path or type(self).__name__} has "
                                 f"{', '.join(n for n, p in module._parameters.items() if p is not None) or 'none'}")
        return found

    # ---- modes and gradients ----------------------------------------------------------------------------------------

    def apply(self, fn: Callable[[Module], None]) -> Module:
        """Call fn on every module below and on this one, children first."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Module:
        """Training mode (dropout is active) for this module and everything below."""
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self) -> Module:
        """Evaluation mode: nothing is dropped."""
        return self.train(False)

    def requires_grad_(self, flag: bool = True) -> Module:
        """Unfreeze or freeze every parameter below. A frozen one keeps no gradient and costs no backward work."""
        for p in self.parameters():
            p.requires_grad = flag
            if not flag:
                p.grad = None
        return self

    def zero_grad(self) -> None:
        """Forget all gradients (they become None)."""
        for p in self.parameters():
            p.grad = None

    def num_parameters(self, trainable_only: bool = False) -> int:
        """How many numbers the parameters hold, a tied weight counted once."""
        return sum(p.size for p in self.parameters() if p.requires_grad or not trainable_only)

    def to(self, backend: str | None = None, dtype=None) -> Module:
        """Move parameters and buffers (gradients too) to a backend and/or floating dtype, in place; returns self.

        >>> import minigrad as mg
        >>> mg.nn.Linear(2, 2).to(dtype="float64").weight.dtype.name
        'float64'
        """
        target = None if backend is None else _backend.get(backend)
        if dtype is not None:
            dtype = host.dtype(dtype)
            if not host.is_floating(dtype):
                raise TypeError(f"a module can only be converted to a floating dtype; got {dtype}")
        tensors = {id(t): t for named in (self.named_parameters(), self.named_buffers()) for _, t in named}
        for t in tensors.values():
            t.data = _moved(t.data, target, dtype)
            if t.grad is not None:
                t.grad = _moved(t.grad, target, dtype)
        return self

    # ---- saving and loading -----------------------------------------------------------------------------------------

    def state_dict(self) -> dict:
        """{name: NumPy copy} of every parameter and buffer, on the host whatever the backend; a tied weight once."""
        return {name: t.numpy() for name, t in self._state()}

    def load_state_dict(self, state: dict, strict: bool = True) -> LoadResult:
        """Take the values of `state` (host arrays or tensors), keeping this model's backend and dtypes.

        A tied weight may come under any one of its names. Raises RuntimeError that lists every missing name,
        unexpected name and wrong shape at once; then nothing has been changed. With strict=False names may be
        missing or unexpected (they are returned), but shapes must fit.
        """
        own = dict(self._state())
        first_name = {id(t): name for name, t in own.items()}
        names = {name: first_name[id(t)] for name, t in self._state(remove_duplicate=False)}    # alias -> first name
        values, problems = {}, []
        for name in state:
            if name not in names:
                continue
            key, value = names[name], _host(state[name])
            want = tuple(own[key].shape)
            if value is None:
                problems.append(f"not an array of numbers: {name} is {type(state[name]).__name__}")
            elif value.shape != want:
                problems.append(f"wrong shape: {name} is {value.shape}, the model needs {want}")
            elif key in values and not host.np.array_equal(values[key], value, equal_nan=True):
                problems.append(f"two values for one tied weight: {name} and {key} differ")
            else:
                values[key] = value
        broken = bool(problems)
        given = {names[name] for name in state if name in names}
        missing = [name for name in own if name not in given]
        unexpected = [name for name in state if name not in names]
        if strict:
            problems += [f"missing: {name}" for name in missing]
            problems += [f"unexpected: {name}{_did_you_mean(name, missing)}" for name in unexpected]
        if broken or (strict and problems):
            raise RuntimeError(f"load_state_dict: the state does not fit this {type(self).__name__}; nothing was "
                               "changed.\n  " + "\n  ".join(problems))
        for name, value in values.items():
            # A new array rather than a write into the old one: another model may share it.
            own[name].data = own[name].backend.send(value.astype(own[name].dtype))
        return LoadResult(missing, unexpected)

    def _state(self, remove_duplicate: bool = True):
        yield from self.named_parameters(remove_duplicate=remove_duplicate)
        yield from self.named_buffers(remove_duplicate=remove_duplicate)

    # ---- showing ----------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands in the brackets of the printed module: its sizes."""
        return ""

    def __repr__(self) -> str:
        lines = []
        for name, child in self.named_children():
            text = repr(child).replace("\n", "\n  ")
            if lines and lines[-1][2] == text and lines[-1][1].isdigit() and name.isdigit():
                lines[-1] = (lines[-1][0], name, text, lines[-1][3] + 1)    # one line for a run of equal layers
            else:
                lines.append((name, name, text, 1))
        inner = [f"({a}): {text}" if n == 1 else f"({a}-{b}): {n} x {text}" for a, b, text, n in lines]
        if not inner:
            return f"{type(self).__name__}({self.extra_repr()})"
        head = [self.extra_repr()] if self.extra_repr() else []
        return f"{type(self).__name__}(\n  " + "\n  ".join([*head, *inner]) + "\n)"


def _moved(a, target, dtype):
    """The raw array `a` on `target` (None: where it is) as `dtype` (None, or not floating: as it is)."""
    if dtype is not None and host.is_floating(a.dtype) and a.dtype != dtype:
        a = a.astype(dtype)
    here = _backend.of(a)
    return a if target is None or target is here else target.send(here.to_numpy(a))


def _host(value):
    """`value` as a host array of numbers, or None."""
    if isinstance(value, Tensor):
        return value.numpy()
    if not isinstance(value, host.np.ndarray | host.np.generic | int | float | list | tuple):
        try:
            return _backend.of(value).to_numpy(value)
        except TypeError:
            return None
    try:
        array = host.np.asarray(value)
    except ValueError:                              # nested lists of unequal lengths
        return None
    return array if array.dtype.kind in "fiub" else None


def _did_you_mean(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f" (did you mean {close[0]!r}?)" if close else ""
