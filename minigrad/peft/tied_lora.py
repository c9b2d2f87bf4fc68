"""Tied-LoRA: one A and one B for all layers, told apart by two vectors in each. Our reading of the paper."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.nn import Linear, Module, Parameter
from minigrad.nn import functional as F
from minigrad.peft.layers import Mergeable
from minigrad.peft.method import fixed, one_of, parameter, positive, whole_number
from minigrad.peft.registry import register
from minigrad.peft.targeted import Targeted, check_dropout
from minigrad.peft.vera import kaiming, scaled_product, scaled_projection

PARTS = ("A", "B", "u", "v")


class TiedLinear(Mergeable):
    """A linear layer with a branch of shared matrices beside it: y = W₀x + b + v ⊙ B(s·u ⊙ A·dropout(x))."""

    def __init__(self, base_layer: Linear, method: TiedLoRA, path: str, rng, common):
        super().__init__(base_layer)
        weight = base_layer.weight
        A, B = common[tuple(weight.shape)]                                  # (r, in), (out, r): the same objects everywhere
        u, v = (method.vector(name, n, weight) for name, n in (("u", method.rank), ("v", weight.shape[0])))
        for name, p in zip(PARTS, (A, B, u, v), strict=True):
            if p.requires_grad:
                setattr(self, f"tied_{name}", p)
            else:
                self.register_buffer(f"tied_{name}", p)
        self.scale, self.dropout = method.scale, method.dropout

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        y = self.base_layer(x)
        if self.merged:
            return y
        if self.dropout:
            x = F.dropout(x, self.dropout, self.training)
        return y + scaled_projection(x, self.tied_A, self.tied_u * self.scale, self.tied_B, self.tied_v)

    def delta_weight(self):
        """ΔW = s·Λ_v B Λ_u A, a raw array (out, in)."""
        return scaled_product(self.tied_A.data, self.tied_u.data * self.scale, self.tied_B.data, self.tied_v.data)

    def extra_repr(self) -> str:
        """The scale, and whether the branch is folded in."""
        return f"scale={self.scale:g}" + (", merged" if self.merged else "")


@register
@dataclass(frozen=True)
class TiedLoRA(Targeted):
    """y = W₀x + b + s·v ⊙ B(u ⊙ A·dropout(x)), s = α/r: A (r, in) and B (out, r) shared, u (r,) and v (out,) per layer.

    Our reading: the paper ties A and B over the layers of one fused projection; here all targets of equal shape share a
    pair. train: which of A, B, u and v are trained. A frozen matrix is random, drawn from `seed` (which files keep
    instead of it), a frozen vector is 1. With A and B frozen this is VeRA.
    Of what is trained, the first of B, v, A, u starts at 0; other vectors start at 1, other matrices Kaiming-uniform.
    Count: r·in [A] + r·out [B] for each shape, + r [u] + out [v] for each target, of those that are trained.
    Starts at the base: yes. Mergeable: yes, W₀ + s·Λ_v B Λ_u A. Paper: arXiv 2311.09578.

    >>> import minigrad as mg
    >>> TiedLoRA(rank=8).count(mg.models.GPTConfig(vocab_size=80))          # 8 · 256 + 8 · (8 + 128)
    3136
    """

    rank: int = 8
    alpha: float = 16
    targets: tuple[str, ...] | str = ("q_proj", "v_proj")
    train: tuple[str, ...] = PARTS
    dropout: float = 0.0
    seed: int = 0

    name = "tied_lora"
    paper = "2311.09578"
    formula = "r·(in + out) + Σ (r + out)"
    extra_latency = "none once merged; else two thin layers per target"
    layer = TiedLinear

    def __post_init__(self):
        super().__post_init__()
        whole_number(self.rank, "TiedLoRA: rank")
        positive(self.alpha, "TiedLoRA: alpha")
        whole_number(self.seed, "TiedLoRA: seed", least=0)
        for part in self.train or ("",):
            one_of(part, PARTS, "TiedLoRA: train")
        object.__setattr__(self, "train", tuple(name for name in PARTS if name in self.train))
        check_dropout(self)

    @property
    def scale(self) -> float:
        """s = α/r."""
        return self.alpha / self.rank

    @property
    def zero(self) -> str:
        """Which part starts at 0."""
        return next(name for name in "BvAu" if name in self.train)

    def common(self, model: Module, shapes: dict, rng) -> dict:
        """{(out, in): (A, B)} for every shape there is."""
        drawn, like, made = host.np.random.default_rng(self.seed), next(model.parameters()), {}
        for out_features, in_features in dict.fromkeys(shapes.values()):
            made[out_features, in_features] = tuple(
                self._matrix(name, rows, columns, rng if name in self.train else drawn, like)
                for name, rows, columns in (("A", self.rank, in_features), ("B", out_features, self.rank)))
        return made

    def vector(self, name: str, n: int, like: Parameter) -> Parameter:
        """u or v at the start."""
        values = host.np.zeros(n) if name == self.zero else host.np.ones(n)
        return parameter(values, like) if name in self.train else fixed(values, like)

    def size(self, path: str, out_features: int, in_features: int) -> int:
        """u and v."""
        return self.rank * ("u" in self.train) + out_features * ("v" in self.train)

    def common_size(self, config, shapes: dict) -> int:
        """A and B for each shape."""
        return sum(self.rank * (out_features * ("B" in self.train) + in_features * ("A" in self.train))
                   for out_features, in_features in set(shapes.values()))

    def _matrix(self, name: str, rows: int, columns: int, rng, like: Parameter) -> Parameter:
        values = host.np.zeros((rows, columns)) if name == self.zero else kaiming(rng, rows, columns)
        return parameter(values, like) if name in self.train else fixed(values, like)
