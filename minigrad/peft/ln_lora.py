"""LN-LoRA: LoRA with a layer norm in its branch. Our reading of one line in the course."""
from __future__ import annotations

import math
from dataclasses import dataclass

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.nn import Linear
from minigrad.nn import functional as F
from minigrad.peft.layers import Wrapped
from minigrad.peft.method import one_of, parameter, positive, whole_number
from minigrad.peft.registry import register
from minigrad.peft.targeted import Targeted, check_dropout, check_rank

EPS = 1e-5                                          # as nn.LayerNorm's


class LNLoRALinear(Wrapped):
    """A linear layer with a normalized low-rank branch beside it."""

    def __init__(self, base_layer: Linear, method: LNLoRA, path: str, rng, common):
        super().__init__(base_layer)
        np, weight = host.np, base_layer.weight
        out_features, in_features = weight.shape
        self.pos, self.scale, self.dropout = method.pos, method.alpha / method.rank, method.dropout
        n = in_features if self.pos == "pre" else method.rank
        self.gamma, self.beta = parameter(np.ones(n), weight), parameter(np.zeros(n), weight)
        A = rng.uniform(-1.0, 1.0, (method.rank, in_features)) / math.sqrt(in_features)
        self.lora_A = parameter(A, weight)                                  # (r, in)
        self.lora_B = parameter(np.zeros((out_features, method.rank)), weight)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        y = self.base_layer(x)
        z = F.dropout(x, self.dropout, self.training) if self.dropout else x
        z = F.linear(z if self.pos == "mid" else self.norm(z), self.lora_A)         # (…, in) -> (…, r)
        z = z if self.pos == "pre" else self.norm(z)
        return y + F.linear(z * self.scale, self.lora_B)

    def norm(self, z: Tensor) -> Tensor:
        """γ ⊙ (z − mean)/√(var + ε) + β over the last dimension."""
        return F.layer_norm(z, z.shape[-1:], self.gamma, self.beta, EPS)


@register
@dataclass(frozen=True)
class LNLoRA(Targeted):
    """y = W₀x + b + s·B(A·LN(dropout(x))), s = α/r, with A (r, in), B (out, r) and LN's γ and β trained.

    pos: the norm is before A ("pre"), or behind it: B·LN(A·x) ("mid"). Our reading: the course names the variant, with no
    paper to it that we could find. Without the norm this is LoRA.
    Count: Σ over targets r·(in + out) + 2·in, or + 2·r. Starts at the base: yes (B = 0). Mergeable: no.
    Source: CMU 10-423, lecture on parameter-efficient fine-tuning.

    >>> import minigrad as mg
    >>> LNLoRA(rank=8).count(mg.models.GPTConfig(vocab_size=80))            # 8 · (8 · 256 + 2 · 128)
    18432
    """

    rank: int = 8
    alpha: float = 16
    targets: tuple[str, ...] | str = ("q_proj", "v_proj")
    pos: str = "pre"
    dropout: float = 0.0

    name = "ln_lora"
    paper = "no paper (CMU 10-423)"
    formula = "Σ r·(in + out) + 2·in"
    mergeable = False
    why_not_mergeable = "its layer norm divides by the spread of each input, which no fixed matrix does"
    extra_latency = "a norm and two thin layers per target"
    layer = LNLoRALinear

    def __post_init__(self):
        super().__post_init__()
        whole_number(self.rank, "LNLoRA: rank")
        positive(self.alpha, "LNLoRA: alpha")
        one_of(self.pos, ("pre", "mid"), "LNLoRA: pos")
        if self.pos == "mid" and self.rank == 1:
            raise ValueError("LNLoRA: pos='mid' with rank 1 would normalize a single number, which gives 0 whatever it was; "
                             "choose a rank of at least 2, or pos='pre'")
        check_dropout(self)

    def size(self, path: str, out_features: int, in_features: int) -> int:
        """A, B, γ and β."""
        check_rank(self, self.rank, path, out_features, in_features)
        return self.rank * (in_features + out_features) + 2 * (in_features if self.pos == "pre" else self.rank)
