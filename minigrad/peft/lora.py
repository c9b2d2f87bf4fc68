"""LoRA: learn the change of a weight matrix as a product of two thin ones."""
from __future__ import annotations

import math
from dataclasses import dataclass

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.nn import Module
from minigrad.nn import functional as F
from minigrad.peft.clone import thaw
from minigrad.peft.layers import Affine, Mergeable
from minigrad.peft.method import Method, one_of, parameter, whole_number
from minigrad.peft.registry import register
from minigrad.peft.targets import find_linears, linear_shapes, match

SCALINGS = {"alpha": lambda alpha, r: alpha, "alpha/r": lambda alpha, r: alpha / r,
            "alpha/sqrt(r)": lambda alpha, r: alpha / math.sqrt(r)}
INITS = ("kaiming", "gaussian", "zero_a", "random")


class LoRALinear(Mergeable):
    """A linear layer with a low-rank branch beside it: y = W₀x + b + s·B(A·dropout(x))."""

    def __init__(self, base_layer: Module, method: LoRA, rng):
        super().__init__(base_layer)
        weight = self.linear.weight
        A, B = method.initial(*weight.shape, rng)
        self.lora_A = Affine(parameter(A, weight))  # (r, in)
        self.lora_B = Affine(parameter(B, weight))  # (out, r)
        self.scale, self.dropout = method.scale, method.dropout

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        y = self.base_layer(x)
        if self.merged:
            return y
        if self.dropout:
            x = F.dropout(x, self.dropout, self.training)
        # The scale is applied in the middle, where there are only r numbers: (…, in) -> (…, r) -> (…, out).
        return y + self.lora_B(self.lora_A(x) * self.scale)

    def delta_weight(self):
        """ΔW = s·BA, a raw array (out, in)."""
        return (self.lora_B.weight.data * self.scale) @ self.lora_A.weight.data

    def extra_repr(self) -> str:
        """The scale, and whether the branch is folded in."""
        return f"scale={self.scale:g}" + (", merged" if self.merged else "")


@register
@dataclass(frozen=True)
class LoRA(Method):
    """y = W₀x + b + s·B(A·dropout(x)), with A (r, in) and B (out, r) trained and W₀ frozen: ΔW = s·BA has rank ≤ r.

    scaling: s = α ("alpha"), α/r ("alpha/r", the paper's), or α/√r ("alpha/sqrt(r)", rank-stabilized, 2312.03732).
    init: "kaiming" A ~ U(−1/√in, 1/√in), B = 0 · "gaussian" A ~ N(0, 1/r²), B = 0 · "zero_a" A = 0, B ~ N(0, 1) ·
    "random" both non-zero (a test aid; does not start at the base). targets: see targets.py; every one must match.
    bias: which biases are trained as well: "none", "all" of the model, or "lora_only", those of the targets.
    Count: Σ over targets r·(in + out), plus the biases. Starts at the base: yes (BA = 0).
    Mergeable: yes, W₀ + s·BA. Paper: arXiv 2106.09685.

    >>> import minigrad as mg
    >>> config = mg.models.GPTConfig(vocab_size=80)
    >>> LoRA(rank=8).count(config), LoRA(rank=8, targets="all-linear").count(config)
    (16384, 73728)
    """

    rank: int = 8
    alpha: float = 16
    targets: tuple[str, ...] | str = ("q_proj", "v_proj")
    dropout: float = 0.0
    scaling: str = "alpha/r"
    init: str = "kaiming"
    bias: str = "none"

    name = "lora"
    paper = "2106.09685"
    formula = "Σ r·(in + out)"
    mergeable = True
    extra_latency = "none once merged; else two thin layers per target"

    def __post_init__(self):
        whole_number(self.rank, "LoRA: rank")
        one_of(self.scaling, tuple(SCALINGS), "LoRA: scaling")
        one_of(self.init, INITS, "LoRA: init")
        one_of(self.bias, ("none", "all", "lora_only"), "LoRA: bias")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"LoRA: dropout must lie in 0 … 1 (at 1 nothing would be left); got {self.dropout!r}")
        if isinstance(self.targets, list):
            object.__setattr__(self, "targets", tuple(self.targets))

    @property
    def scale(self) -> float:
        """s, the factor in front of BA."""
        return float(SCALINGS[self.scaling](self.alpha, self.rank))

    def attach(self, model: Module, rng) -> Module:
        """Wrap every target; thaw biases where asked."""
        for path, place in find_linears(model, self.targets).items():
            layer = model.get_submodule(place)
            self._check(path, *layer.weight.shape)
            if path == "head" and layer.weight is model.token_embedding.weight:
                raise ValueError("LoRA: the head is tied to the token embedding, and merging would change both. "
                                 "Leave 'head' out of the targets, or use a model with tie_head=False")
            if self.bias == "lora_only" and layer.bias is not None:
                thaw(layer.bias)
            model.set_submodule(place, LoRALinear(layer, self, rng))
        if self.bias == "all":
            for name, p in model.named_parameters():
                if name.endswith("bias") and not p.requires_grad:
                    thaw(p)
        return model

    def count(self, config) -> int:
        """r·(in + out) for each target, and the biases that are trained."""
        shapes = linear_shapes(config)
        paths = match(self.targets, shapes)
        for path in paths:
            self._check(path, *shapes[path])
        n = sum(self.rank * (shapes[p][0] + shapes[p][1]) for p in paths)
        if self.bias == "lora_only":
            n += sum(shapes[p][0] for p in paths if p != "head")                # the head has no bias
        if self.bias == "all":
            norms = (2 * config.n_layers + 1) * config.d_model
            n += norms + sum(out for p, (out, _) in shapes.items() if p != "head")
        return n

    def describe(self) -> str:
        """The hyper-parameters and the scale that follows from them."""
        return f"{self!r}\neffective scaling: s = {self.scaling} = {self.scale:g}"

    def merge(self, model: Module) -> None:
        """W ← W₀ + s·BA in every target."""
        for m in _layers(model):
            m.merge()

    def unmerge(self, model: Module) -> None:
        """W ← W₀ in every target, the very arrays."""
        for m in reversed(_layers(model)):
            m.unmerge()

    def initial(self, out_features: int, in_features: int, rng):
        """Host arrays A (r, in) and B (out, r)."""
        np, r = host.np, self.rank
        A = {"kaiming": lambda: rng.uniform(-1.0, 1.0, (r, in_features)) / math.sqrt(in_features),
             "random": lambda: rng.uniform(-1.0, 1.0, (r, in_features)) / math.sqrt(in_features),
             "gaussian": lambda: rng.standard_normal((r, in_features)) / r,
             "zero_a": lambda: np.zeros((r, in_features))}[self.init]()
        B = {"zero_a": lambda: rng.standard_normal((out_features, r)),
             "random": lambda: rng.uniform(-1.0, 1.0, (out_features, r)) / math.sqrt(r)}.get(
                 self.init, lambda: np.zeros((out_features, r)))()
        return A, B

    def _check(self, path: str, out_features: int, in_features: int) -> None:
        if self.rank > min(out_features, in_features):
            raise ValueError(f"LoRA: rank {self.rank} is too large for {path}, whose weight is {out_features} × "
                             f"{in_features}: its rank is at most {min(out_features, in_features)}. Choose a smaller "
                             "rank")


def _layers(model: Module) -> list[LoRALinear]:
    return [m for m in model.modules() if isinstance(m, LoRALinear)]
