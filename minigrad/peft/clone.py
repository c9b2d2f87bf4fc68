"""A twin of a model: its own tree of modules, the same arrays. An adapter costs what it adds and nothing more."""
from __future__ import annotations

from minigrad.autograd import Tensor, Version
from minigrad.nn import Module, Parameter


def clone(module: Module) -> Module:
    """A second tree of modules whose parameters are frozen and share their arrays with the original's.

    Replacing a submodule or a parameter of the twin leaves the original as it was. Tied weights stay tied, shared
    modules stay shared.

    >>> import minigrad as mg
    >>> layer = mg.nn.Linear(2, 3)
    >>> twin = clone(layer)
    >>> twin.weight.data is layer.weight.data, twin.weight.requires_grad, layer.weight.requires_grad
    (True, False, True)
    """
    return _Cloning().module(module)


class _Cloning:
    """One run of `clone`: remembers what it has made, so that what was one object stays one."""

    def __init__(self):
        self.made = {}

    def module(self, old: Module) -> Module:
        """The twin of a module and of everything below it."""
        if id(old) not in self.made:
            new = self.made[id(old)] = object.__new__(type(old))
            new.__dict__.update(old.__dict__)
            for registry, twin in (("_modules", self.module), ("_parameters", self.parameter), ("_buffers", Tensor.detach)):
                new.__dict__[registry] = {}
                for name, value in old.__dict__[registry].items():
                    new._register(registry, name, None if value is None else twin(value))
        return self.made[id(old)]

    def parameter(self, old: Parameter) -> Parameter:
        """A frozen parameter over the same array; it shares the count of in-place changes, as a view would."""
        if id(old) not in self.made:
            new = self.made[id(old)] = Parameter(old, requires_grad=False)
            new._version, new._format = old._version, old._format
        return self.made[id(old)]


def thaw(p: Parameter) -> Parameter:
    """Make a twin's parameter trainable, with an array of its own."""
    p.data, p._version = p.data.copy(), Version()
    p._version.parameter = True
    p.requires_grad = True
    return p
