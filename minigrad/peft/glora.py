"""GLoRA: scale and shift weights and biases at once, each by a support of its own kind."""
from __future__ import annotations

import math
from dataclasses import dataclass

from minigrad.autograd import Tensor, no_grad
from minigrad.backend import host
from minigrad.nn import Linear, Module, Parameter
from minigrad.nn import functional as F
from minigrad.peft.layers import Mergeable
from minigrad.peft.method import one_of, parameter, whole_number
from minigrad.peft.registry import register
from minigrad.peft.targeted import Targeted

MATRIX, COLUMN, VECTOR = (("lora", "vector", "constant", "none"), ("lora", "vector", "none"), ("vector", "constant", "none"))


class Support(Module):
    """One of GLoRA's A … E, 0 at the start: a thin product Xd·Xu, a vector, or a number.

    shape: of the matrix that it stands for, (rows, columns), or (n,) of the vector.
    """

    def __init__(self, kind: str, shape: tuple, rank: int, like: Parameter, rng):
        super().__init__()
        np = host.np
        if kind == "lora":
            self.Xd = parameter(np.zeros((shape[0], rank)), like)
            self.Xu = parameter(rng.uniform(-1.0, 1.0, (rank, shape[1])) / math.sqrt(shape[1]), like)
        else:                                       # one number per row, or one in all
            self.X = parameter(np.zeros(1 if kind == "constant" else (shape[0], 1)[:len(shape)]), like)

    def forward(self) -> Tensor:
        """What it stands for, or what broadcasts to it."""
        return self.Xd @ self.Xu if "Xd" in self._parameters else self.X


class GLoRALinear(Mergeable):
    """A linear layer with W' = W₀ + W₀ ⊙ A + B and b' = b₀ + b₀ ⊙ D + E + W₀C."""

    def __init__(self, base_layer: Linear, method: GLoRA, path: str, rng, common):
        super().__init__(base_layer)
        (out_features, in_features), like = base_layer.weight.shape, base_layer.weight
        shapes = {"A": (out_features, in_features), "B": (out_features, in_features), "C": (in_features, 1),
                  "D": (out_features,), "E": (out_features,)}
        for name, shape in shapes.items():
            kind = method.kind(name, base_layer.bias is not None)
            support = None if kind == "none" else Support(kind, shape, method.rank, like, rng)
            self.add_module(f"glora_{name}", support)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        y = self.base_layer(x)
        if self.merged:
            return y
        weight, bias = self.changes()
        if weight is not None:
            y = y + F.linear(x, weight.expand(*self.linear.weight.shape))
        return y if bias is None else y + bias

    def changes(self) -> tuple[Tensor | None, Tensor | None]:
        """W₀ ⊙ A + B and b₀ ⊙ D + E + W₀C, or what broadcasts to them; None where there is nothing."""
        W, b = self.linear.weight, self.linear.bias
        supports = (self.glora_A, self.glora_B, self.glora_C, self.glora_D, self.glora_E)
        A, B, C, D, E = (None if support is None else support() for support in supports)
        return (total([None if A is None else W * A, B]),
                total([None if D is None else b * D, E, None if C is None else (W @ C).reshape(-1)]))

    def changed(self) -> dict:
        """W' and b', both from W₀ and b₀ as they are in the base."""
        with no_grad():
            return {name: p.data + change.data for name, p, change in
                    zip(("weight", "bias"), (self.linear.weight, self.linear.bias), self.changes(), strict=True)
                    if change is not None}


def total(terms) -> Tensor | None:
    """The sum of those that are there."""
    there = [t for t in terms if t is not None]
    return sum(there[1:], there[0]) if there else None


@register
@dataclass(frozen=True)
class GLoRA(Targeted):
    """y = (W₀ + W₀ ⊙ A + B) x + b₀ + b₀ ⊙ D + E + W₀C, with supports A … E trained: scales and shifts of both.

    A, B: "lora" Xd·Xu (out, r)·(r, in), "vector" a number per row, "constant" one number, or "none" · C (in, 1): "lora",
    "vector" or "none" · D, E (out,): "vector", "constant" or "none". That is 4·4·3·3·3 = 432 layers, of which one trains
    nothing; the paper searches among them. A layer without a bias has no C, D and E.
    Count: A, B r·(in + out), out or 1 each; C r·(in + 1) or in; D, E out or 1 each. Starts at the base: yes (Xd = X = 0).
    Mergeable: yes, weight and bias. Paper: arXiv 2306.07967.

    >>> import minigrad as mg
    >>> GLoRA(rank=4).count(mg.models.GPTConfig(vocab_size=80))             # 8 · (2 · 4 · 256 + 4 · 129 + 1 + 1)
    20528
    """

    rank: int = 4
    targets: tuple[str, ...] | str = ("q_proj", "v_proj")
    A: str = "lora"
    B: str = "lora"
    C: str = "lora"
    D: str = "constant"
    E: str = "constant"

    name = "glora"
    paper = "2306.07967"
    formula = "Σ 2r·(in + out) + r·(in + 1) + 2"
    extra_latency = "none once merged; else a second full layer per target"
    layer = GLoRALinear

    def __post_init__(self):
        super().__post_init__()
        whole_number(self.rank, "GLoRA: rank")
        for names, kinds in (("AB", MATRIX), ("C", COLUMN), ("DE", VECTOR)):
            for name in names:
                one_of(getattr(self, name), kinds, f"GLoRA: {name}")

    def kind(self, name: str, has_bias: bool) -> str:
        """What the support `name` is in a layer with or without a bias."""
        return getattr(self, name) if name in "AB" or has_bias else "none"

    def size(self, path: str, out_features: int, in_features: int) -> int:
        """The supports' sizes; the head has no bias."""
        r, n = self.rank, 0
        for name in "ABCDE":
            rows, columns = (in_features, 1) if name == "C" else (out_features, in_features)
            sizes = {"lora": r * (rows + columns), "vector": rows, "constant": 1, "none": 0}
            n += sizes[self.kind(name, path != "head")]
        return n
