"""MultiLoRA: several LoRAs side by side that no single direction can dominate. Our reading of the paper."""
from __future__ import annotations

import math
from dataclasses import dataclass

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.nn import Linear, Module, ModuleList, Parameter
from minigrad.nn import functional as F
from minigrad.peft.layers import Mergeable
from minigrad.peft.method import one_of, parameter, whole_number
from minigrad.peft.registry import register
from minigrad.peft.targeted import Targeted, check_dropout, check_rank


class Branch(Module):
    """c ⊙ B(A·x), with A (r, in) and B (out, r) drawn and c, a number or one per output, 0 at the start."""

    def __init__(self, method: MultiLoRA, like: Parameter, rng):
        super().__init__()
        out_features, in_features = like.shape
        r, scales = method.rank, 1 if method.scaling == "scalar" else out_features
        self.A = parameter(rng.uniform(-1.0, 1.0, (r, in_features)) / math.sqrt(in_features), like)
        self.B = parameter(rng.uniform(-1.0, 1.0, (out_features, r)) / math.sqrt(r), like)
        self.c = parameter(host.np.zeros(scales), like)                     # (1,) or (out,)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, r) -> (…, out)."""
        return F.linear(F.linear(x, self.A), self.B) * self.c

    def matrix(self):
        """The same as one matrix, a raw array (out, in)."""
        return (self.c.data[:, None] * self.B.data) @ self.A.data


class MultiLoRALinear(Mergeable):
    """A linear layer with n branches beside it: y = W₀x + b + Σ_i c_i ⊙ B_i(A_i·dropout(x))."""

    def __init__(self, base_layer: Linear, method: MultiLoRA, path: str, rng, common):
        super().__init__(base_layer)
        self.branches = ModuleList(Branch(method, base_layer.weight, rng) for _ in range(method.branches))
        self.dropout = method.dropout

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        y = self.base_layer(x)
        if self.merged:
            return y
        if self.dropout:
            x = F.dropout(x, self.dropout, self.training)
        for branch in self.branches:
            y = y + branch(x)
        return y

    def delta_weight(self):
        """ΔW = Σ_i c_i ⊙ B_i A_i, a raw array (out, in)."""
        return sum(branch.matrix() for branch in self.branches)


@register
@dataclass(frozen=True)
class MultiLoRA(Targeted):
    """y = W₀x + b + Σ_i c_i ⊙ B_i(A_i·dropout(x)) with n branches of rank r, all A_i, B_i and c_i trained.

    LoRA's zero B lets a few singular directions grow first and dominate ΔW. Here A and B both start Kaiming-uniform and
    the zero is in c, so that in the first step only c moves, and many directions move at once afterwards.
    scaling: c_i is one number ("scalar") or one per output ("vector"). Our reading: of the paper we have the idea (parallel
    branches, their initialization, learned scales), not the exact shapes.
    Count: Σ over targets n·r·(in + out) + n, or + n·out. Starts at the base: yes (c = 0).
    Mergeable: yes, W₀ + Σ c_i ⊙ B_i A_i. Paper: arXiv 2311.11501.

    >>> import minigrad as mg
    >>> MultiLoRA(branches=3, rank=4).count(mg.models.GPTConfig(vocab_size=80))     # 8 · (3 · 4 · 256 + 3)
    24600
    """

    branches: int = 3
    rank: int = 4
    targets: tuple[str, ...] | str = ("q_proj", "v_proj")
    scaling: str = "scalar"
    dropout: float = 0.0

    name = "multilora"
    paper = "2311.11501"
    formula = "Σ n·r·(in + out) + n"
    extra_latency = "none once merged; else 2n thin layers per target"
    layer = MultiLoRALinear

    def __post_init__(self):
        super().__post_init__()
        whole_number(self.branches, "MultiLoRA: branches")
        whole_number(self.rank, "MultiLoRA: rank")
        one_of(self.scaling, ("scalar", "vector"), "MultiLoRA: scaling")
        check_dropout(self)

    def size(self, path: str, out_features: int, in_features: int) -> int:
        """n times A, B and c."""
        check_rank(self, self.rank, path, out_features, in_features)
        scales = 1 if self.scaling == "scalar" else out_features
        return self.branches * (self.rank * (in_features + out_features) + scales)
