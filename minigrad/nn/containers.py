"""Modules that hold other modules: a chain and a list."""
from __future__ import annotations

from collections.abc import Iterable, Iterator

from minigrad.nn.module import Module


class ModuleList(Module):
    """A list of modules whose parameters are found; it computes nothing itself.

    >>> import minigrad as mg
    >>> layers = mg.nn.ModuleList(mg.nn.Linear(2, 2) for _ in range(3))
    >>> len(layers), [name for name, _ in layers.named_children()]
    (3, ['0', '1', '2'])
    """

    def __init__(self, modules: Iterable[Module] = ()):
        super().__init__()
        self.extend(modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __getitem__(self, index: int | slice):
        if isinstance(index, slice):
            return type(self)(*self._slice(index))
        return self._modules[self._name(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._name(index), module)

    def append(self, module: Module) -> Module:
        """Add one module at the end; returns self."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Module:
        """Add several modules at the end; returns self."""
        for module in modules:
            self.append(module)
        return self

    def _slice(self, index: slice):
        return (list(self)[index],)

    def _name(self, index: int) -> str:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"index {index} is outside this {type(self).__name__} of {n} modules")
        return str(index % n)


class Sequential(ModuleList):
    """A chain: each module's output is the next one's input.

    >>> import minigrad as mg
    >>> net = mg.nn.Sequential(mg.nn.Linear(4, 8), mg.nn.ReLU(), mg.nn.Linear(8, 2))
    >>> net(mg.ones(3, 4)).shape
    (3, 2)
    """

    def __init__(self, *modules: Module):
        super().__init__(modules)

    def forward(self, x):
        """Pass x through all modules in order."""
        for module in self:
            x = module(x)
        return x

    def _slice(self, index: slice):
        return list(self)[index]
