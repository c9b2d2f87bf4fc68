"""VeRA: LoRA whose two matrices are random, frozen and the same in every layer; only two vectors are trained."""
from __future__ import annotations

import math
from dataclasses import dataclass

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.nn import Linear, Module, Parameter
from minigrad.nn import functional as F
from minigrad.peft.layers import Mergeable
from minigrad.peft.method import PEFT_PREFIX, fill, fixed, parameter, positive, whole_number
from minigrad.peft.registry import register
from minigrad.peft.targeted import Targeted, check_dropout

ROOT = "base_model."                                # where PEFT's files have what belongs to no layer


def scaled_projection(x: Tensor, A: Tensor, d: Tensor, B: Tensor, b: Tensor) -> Tensor:
    """b ⊙ B(d ⊙ Ax): (…, in) -> (…, r) -> (…, out)."""
    return F.linear(F.linear(x, A) * d, B) * b


def scaled_product(A, d, B, b):
    """Λ_b B Λ_d A, the same as one matrix (out, in), of raw arrays."""
    return (b[:, None] * B) @ (d[:, None] * A)


class VeRALinear(Mergeable):
    """A linear layer with a scaled random projection beside it: y = W₀x + b₀ + b ⊙ B(d ⊙ A·dropout(x))."""

    def __init__(self, base_layer: Linear, method: VeRA, path: str, rng, common):
        super().__init__(base_layer)
        np, weight = host.np, base_layer.weight
        out_features, in_features = weight.shape
        for name, p in zip(("vera_A", "vera_B"), common, strict=True):      # (r, most in), (most out, r)
            self.register_buffer(name, p)
        self.vera_lambda_d = parameter(np.full(method.rank, method.d_initial), weight)      # (r,)
        self.vera_lambda_b = parameter(np.zeros(out_features), weight)                      # (out,)
        self.dropout = method.dropout

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        y = self.base_layer(x)
        if self.merged:
            return y
        if self.dropout:
            x = F.dropout(x, self.dropout, self.training)
        A, B = self.vera_A[:, :x.shape[-1]], self.vera_B[:y.shape[-1]]      # what of them fits this layer
        return y + scaled_projection(x, A, self.vera_lambda_d, B, self.vera_lambda_b)

    def delta_weight(self):
        """ΔW = Λ_b B Λ_d A, a raw array (out, in)."""
        out_features, in_features = self.linear.weight.shape
        A, B = self.vera_A.data[:, :in_features], self.vera_B.data[:out_features]
        return scaled_product(A, self.vera_lambda_d.data, B, self.vera_lambda_b.data)


@register
@dataclass(frozen=True)
class VeRA(Targeted):
    """y = W₀x + b₀ + b ⊙ B(d ⊙ A·dropout(x)): A and B random, frozen and shared; d (r,) and b (out,) trained per layer.

    A (r, in) and B (out, r) are as large as the largest target; a smaller one uses their first columns and rows. Both
    are Kaiming-uniform (gain √2) from `seed`. d starts at d_initial, b at 0.
    save_projection: whether files hold A and B, as PEFT's do, or only the seed from which we draw them again.
    Count: Σ over targets (r + out). Starts at the base: yes (b = 0). Mergeable: yes, W₀ + Λ_b B Λ_d A.
    Paper: arXiv 2310.11454.

    >>> import minigrad as mg
    >>> VeRA(rank=256).count(mg.models.GPTConfig(vocab_size=80))            # 8 · (256 + 128)
    3072
    """

    rank: int = 256
    targets: tuple[str, ...] | str = ("q_proj", "v_proj")
    d_initial: float = 0.1
    dropout: float = 0.0
    seed: int = 0
    save_projection: bool = True

    name = "vera"
    paper = "2310.11454"
    formula = "Σ (r + out)"
    extra_latency = "none once merged; else two layers of rank r per target"
    layer = VeRALinear

    def __post_init__(self):
        super().__post_init__()
        whole_number(self.rank, "VeRA: rank")
        positive(self.d_initial, "VeRA: d_initial")
        whole_number(self.seed, "VeRA: seed", least=0)
        check_dropout(self)

    def common(self, model: Module, shapes: dict, rng) -> tuple[Parameter, Parameter]:
        """A and B, as large as the largest target needs."""
        most_out, most_in = (max(sizes) for sizes in zip(*shapes.values(), strict=True))
        drawn, like = host.np.random.default_rng(self.seed), next(model.parameters())
        return fixed(kaiming(drawn, self.rank, most_in), like), fixed(kaiming(drawn, most_out, self.rank), like)

    def size(self, path: str, out_features: int, in_features: int) -> int:
        """d and b."""
        return self.rank + out_features

    def state(self, model: Module, own: dict) -> dict:
        """The vectors, and A and B once, where files hold them."""
        return super().state(model, own) | {ROOT + name: p.numpy() for name, p in self._projections(model).items()}

    def load_state(self, model: Module, own: dict, state: dict) -> None:
        """The vectors, and A and B where files hold them."""
        fill({PEFT_PREFIX + n: p for n, p in own.items()} | {ROOT + n: p for n, p in self._projections(model).items()}, state)

    def _projections(self, model: Module) -> dict:
        first = self.layers(model)[0]
        return {"vera_A": first.vera_A, "vera_B": first.vera_B} if self.save_projection else {}


def kaiming(rng, rows: int, columns: int):
    """Host numbers (rows, columns) from U(−√(6/columns), √(6/columns)): Kaiming's, with gain √2."""
    return rng.uniform(-1.0, 1.0, (rows, columns)) * math.sqrt(6.0 / columns)
