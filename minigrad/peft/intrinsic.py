"""Intrinsic dimension: train d numbers instead of D, along a random plane through the weights."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.autograd import is_grad_enabled
from minigrad.backend import host
from minigrad.nn import Module, Parameter
from minigrad.peft.method import Method, one_of, parameter, whole_number
from minigrad.peft.projection import KINDS, Projection
from minigrad.peft.registry import register


class OnPlane:
    """Mixed into a model's class: forward runs with θ = θ₀ + Pz in place of θ₀.

    z (d,) are the coordinates, factors (m,) SAID's or None: parameters of the model itself, since a container such as
    Sequential would run a child. `spots` lists (parameter, [(module, name), …] that have it, first and last number in
    Pz, index of its layer).
    """

    def forward(self, *args, **kwargs):
        """The model's own forward, with the moved weights."""
        if self.folded:
            return super().forward(*args, **kwargs)
        if getattr(self, "checkpoint_blocks", False) and is_grad_enabled():
            raise ValueError("checkpoint_blocks runs a block again in backward, when the moved weights are gone: training "
                             "on a plane needs checkpoint_blocks = False")
        moved = self.projection(self.z)                               # (D,)
        try:
            for p, places, a, b, layer in self.spots:
                change = moved[a:b].reshape(p.shape)
                if self.factors is not None:
                    change = change * self.factors[layer]
                for module, name in places:
                    module.__dict__[name] = p + change                      # the registered parameter stays
            return super().forward(*args, **kwargs)
        finally:
            for p, places, *_ in self.spots:
                for module, name in places:
                    module.__dict__[name] = p

    def __reduce__(self):                           # pickle finds no class that was made at run time
        return _on_plane, (type(self).__bases__[1],), self.__dict__


def _on_plane(kind: type) -> Module:
    """An empty model of class `kind`, on a plane."""
    return object.__new__(type(f"{kind.__name__}OnPlane", (OnPlane, kind), {}))


@register
@dataclass(frozen=True)
class IntrinsicDimension(Method):
    """θ = θ₀ + P z, with z (d,) trained from 0 and P (D, d) a fixed random map over all D parameters of the model.

    The smallest d that reaches nine tenths of full fine-tuning's score is the task's intrinsic dimension d₉₀ (`d90`).
    projection: "dense", "sparse" or "fastfood", see projection.py; drawn from `seed`, which files keep instead of P.
    Count: d. Starts at the base: yes. Mergeable: yes, θ₀ + Pz. Works on any model.
    Paper: arXiv 1804.08838; on pretrained language models ("DID") arXiv 2012.13255.

    >>> import minigrad as mg
    >>> IntrinsicDimension(100).count(mg.models.GPTConfig(vocab_size=80))
    100
    """

    dimension: int = 64
    projection: str = "fastfood"
    seed: int = 0

    name = "did"
    paper = "1804.08838"
    formula = "d"
    mergeable = True
    extra_latency = "none once merged; else Pz in every forward pass"
    needs = ()

    def __post_init__(self):
        super().__post_init__()
        whole_number(self.dimension, f"{type(self).__name__}: dimension")
        whole_number(self.seed, f"{type(self).__name__}: seed", least=0)
        one_of(self.projection, KINDS, f"{type(self).__name__}: projection")

    def attach(self, model: Module, rng) -> Module:
        """The same model, running with moved weights."""
        if any(p.requires_grad for p in model.parameters()):
            raise ValueError(f"{type(self).__name__} moves all parameters of the model that it gets, and what an earlier part "
                             "trains would be among them: it comes first among the parts of Combined")
        moved = _on_plane(type(model))
        moved.__dict__.update(model.__dict__)
        spots, size, layers = _spots(moved)
        coordinates = self.dimension - (len(layers) if self.scaled else 0)
        if not 1 <= coordinates <= size:
            raise ValueError(f"{type(self).__name__}: dimension={self.dimension} does not fit a model of {size:,} "
                             f"parameters" + (f" in {len(layers)} layers, each of which takes one" if self.scaled else "")
                             + f"; it must lie in {self.dimension - coordinates + 1} … {self.dimension - coordinates + size}")
        like = spots[0][0]
        moved.z = parameter(host.np.zeros(coordinates), like)
        moved.factors = parameter(host.np.ones(len(layers)), like) if self.scaled else None
        moved.projection = Projection(self.projection, coordinates, size, self.seed)
        moved.spots, moved.folded = spots, False
        return moved

    @property
    def scaled(self) -> bool:
        """Whether each layer has a factor."""
        return False

    def count(self, config) -> int:
        """The dimension itself."""
        return self.dimension

    def merge(self, model: Module) -> None:
        """θ ← θ₀ + Pz in every layer."""
        moved, factors = model.projection.apply(model.z.data), model.factors
        for p, places, a, b, layer in model.spots:
            change = moved[a:b].reshape(p.shape)
            change = change if factors is None else change * factors.data[layer]
            new = Parameter(p.data + change, requires_grad=False)
            for module, name in places:
                setattr(module, name, new)
        model.folded = True

    def unmerge(self, model: Module) -> None:
        """The parameters of before, themselves."""
        for p, places, *_ in model.spots:
            for module, name in places:
                setattr(module, name, p)
        model.folded = False


@register
@dataclass(frozen=True)
class SAID(IntrinsicDimension):
    """θ_i = θ₀_i + λ_i·(P z)_i for each layer i: the plane of `IntrinsicDimension`, and a trained factor λ per layer.

    A layer is an entry of the model's list of blocks, or any other child of the model. The m factors are part of the
    budget: z has d − m numbers. λ = 1 at the start.
    Count: d = (d − m) + m. Starts at the base: yes (z = 0). Mergeable: yes. Paper: arXiv 2012.13255.

    >>> import minigrad as mg
    >>> SAID(100).count(mg.models.GPTConfig(vocab_size=80))
    100
    """

    name = "said"
    paper = "2012.13255"

    @property
    def scaled(self) -> bool:
        """Yes."""
        return True


def d90(score, full: float, dimensions, share: float = 0.9) -> int | None:
    """The smallest of `dimensions` with score(d) ≥ share·full, or None; tries them from small to large.

    score: trains with d numbers and gives an accuracy (larger is better) · full: full fine-tuning's.

    >>> d90(lambda d: 1 - 1 / d, full=0.95, dimensions=[2, 4, 8, 16, 32])
    8
    """
    if not full > 0:
        raise ValueError(f"d90 needs a positive score of full fine-tuning; got {full!r}")
    return next((d for d in sorted(dimensions) if score(d) >= share * full), None)


def _spots(model: Module):
    """What OnPlane needs to know of each parameter; how many numbers they have together; and the layers' names."""
    found, size, layers = {}, 0, {}
    for path, module in model.named_modules():
        for name, p in module._parameters.items():
            if p is None:
                continue
            if id(p) not in found:                  # a tied weight is moved once
                first, _, rest = path.partition(".")
                layer = f"{first}.{rest.partition('.')[0]}" if first == "blocks" else first
                found[id(p)] = [p, [], size, size + p.size, layers.setdefault(layer, len(layers))]
                size += p.size
            found[id(p)][1].append((module, name))
    return [tuple(spot) for spot in found.values()], size, list(layers)
