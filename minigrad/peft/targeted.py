"""Targeted: what the methods have in common that put a layer of their own around each linear layer they are aimed at."""
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from minigrad.nn import Module
from minigrad.peft.layers import Mergeable, Wrapped
from minigrad.peft.method import Method
from minigrad.peft.targets import find_linears, linear_shapes, match


@dataclass(frozen=True)
class Targeted(Method):
    """Base class of methods that wrap their targets; ia3.py is the shortest of them.

    A subclass has a field `targets` (targets.py) and the class attribute `layer`, made as layer(linear, method, path,
    rng, common). It defines `size`, and `common` where the layers share something.
    """

    layer: ClassVar[type[Wrapped]]
    mergeable = True
    needs = ()                                      # any model with linear layers

    def size(self, path: str, out_features: int, in_features: int) -> int:
        """How many parameters the layer around this target trains by itself; ValueError where it does not suit."""
        raise NotImplementedError(f"{type(self).__name__} must define size(self, path, out_features, in_features)")

    def common(self, model: Module, shapes: dict, rng):
        """What all layers share; shapes: {path: (out_features, in_features)} of the targets."""

    def common_size(self, config, shapes: dict) -> int:
        """How many trained parameters the layers share."""
        return 0

    # ---- the contract of method.py ----------------------------------------------------------------------------------

    def attach(self, model: Module, rng) -> Module:
        """Wrap every target."""
        places = find_linears(model, self.targets)
        linears = {path: model.get_submodule(place) for path, place in places.items()}
        if "head" in linears and linears["head"].weight is getattr(getattr(model, "token_embedding", None), "weight", None):
            raise ValueError(f"{type(self).__name__}: the head is tied to the token embedding, and merging would change "
                             "both. Leave 'head' out of the targets, or use a model with tie_head=False")
        shapes = {path: tuple(linear.weight.shape) for path, linear in linears.items()}
        for path, shape in shapes.items():
            self.size(path, *shape)                 # raises where a target does not suit, before anything is changed
        common = self.common(model, shapes, rng)
        for path, linear in linears.items():
            model.set_submodule(places[path], self.layer(linear, self, path, rng, common))
        return model

    def count(self, config) -> int:
        """What the layers train, each by itself and together."""
        known = linear_shapes(config)
        shapes = {path: known[path] for path in match(self.targets, known)}
        return sum(self.size(path, *shape) for path, shape in shapes.items()) + self.common_size(config, shapes)

    def merge(self, model: Module) -> None:
        """Fold every layer into the linear layer it is around."""
        if not issubclass(self.layer, Mergeable):
            super().merge(model)                    # says why not
        for m in self.layers(model):
            m.merge()

    def unmerge(self, model: Module) -> None:
        """Every linear layer as before, the very arrays."""
        for m in self.layers(model):
            m.unmerge()

    def layers(self, model: Module) -> list:
        """The layers of this method in `model`."""
        return [m for m in model.modules() if type(m) is self.layer]


def check_rank(method: Targeted, rank: int, path: str, out_features: int, in_features: int) -> None:
    """ValueError if the rank is larger than that of any matrix of this shape."""
    if rank > min(out_features, in_features):
        raise ValueError(f"{type(method).__name__}: rank {rank} is too large for {path}, whose weight is {out_features} × "
                         f"{in_features}: its rank is at most {min(out_features, in_features)}. Choose a smaller rank")


def check_dropout(method: Targeted) -> None:
    """ValueError if the method's dropout is no probability below 1."""
    if not 0.0 <= method.dropout < 1.0:
        raise ValueError(f"{type(method).__name__}: dropout must lie in 0 … 1 (at 1 nothing would be left); got "
                         f"{method.dropout!r}")
