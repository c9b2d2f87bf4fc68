"""LoRA-FA: LoRA with A frozen at its random start; training keeps r numbers per token instead of the layer's input."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.autograd import Function, Tensor
from minigrad.backend import host
from minigrad.nn import Module
from minigrad.peft.lora import LoRA, lora_layers
from minigrad.peft.lora_layer import LoRALinear
from minigrad.peft.method import PEFT_PREFIX, fill, fixed
from minigrad.peft.registry import register

RIDGE = 1e-8                                        # keeps A Aᵀ invertible; PEFT's value


class Precondition(Function):
    """y = B;  gB = gy·C with a given C (r, r): not the gradient of what it computes, but of what is learned with it.

    For C = s⁻²·(A Aᵀ + εI)⁻¹ a step along it moves ΔW = s·BA along −∇W projected on the span of A's rows, whatever basis
    of that span A is.
    """

    is_view = True

    def forward(self, B, C):
        self.save(C)
        return B

    def backward(self, gy):
        (C,) = self.saved
        return gy @ C, None


class LoRAFALinear(LoRALinear):
    """A LoRALinear whose A is a buffer: saved and moved with the model, never trained."""

    def __init__(self, base_layer: Module, *args, **kwargs):
        super().__init__(base_layer, *args, **kwargs)
        a = self.lora_A.weight
        del self.lora_A.weight
        a.requires_grad, self.precondition, self.made = False, False, (None, None)
        self.lora_A.register_buffer("weight", a)

    @property
    def is_plain(self) -> bool:
        """As LoRA's, unless the gradient is changed on its way to B."""
        return super().is_plain and not self.precondition

    def branch(self, x: Tensor, dropped: Tensor) -> Tensor:
        """As LoRA's: z = A·x is all that B's gradient needs, and x's needs none of x."""
        if not self.precondition:
            return super().branch(x, dropped)
        B = Precondition()(self.lora_B.weight, self.conditioner())
        return (self.lora_A(dropped) * self.scale) @ B.transpose(0, 1)      # (…, in) -> (…, r) -> (…, out)

    def conditioner(self) -> Tensor:
        """s⁻²·(A Aᵀ + εI)⁻¹, made on the host (small, and A stays the same) whenever A is another array than before."""
        A, np = self.lora_A.weight, host.np
        if self.made[0] is not A.data:
            rows = A.numpy().astype(np.float64)
            C = np.linalg.inv(rows @ rows.T + RIDGE * np.eye(len(rows))) / self.scale ** 2
            self.made = (A.data, fixed(C, A))       # a tuple, so that it is not registered
        return self.made[1]


@register
@dataclass(frozen=True, repr=False)
class LoRAFA(LoRA):
    """y = W₀x + b + s·B(Ax) with A (r, in) random and frozen, and only B (out, r) trained.

    B's gradient is s·g·(Ax)ᵀ: per token and target r numbers are kept for it, where LoRA keeps the in numbers of x.
    precondition: multiply B's gradient by s⁻²(A Aᵀ)⁻¹ before the optimizer sees it, as PEFT's optimizer of this name does
    (a later idea than the paper's): the first step of SGD is then the same for every A with the same rows' span.
    Count: Σ over targets r·out. Starts at the base: yes (B = 0). Mergeable: yes. Paper: arXiv 2308.03303.

    >>> import minigrad as mg
    >>> LoRAFA(rank=8).count(mg.models.GPTConfig(vocab_size=80))            # 8 · 8 · 128
    8192
    """

    precondition: bool = False

    name = "lora_fa"
    paper = "2308.03303"
    formula = "Σ r·out"
    layer_class = LoRAFALinear
    plain_linears = True                            # an embedding's A starts at 0 and must be trained

    def __post_init__(self):
        super().__post_init__()
        if self.init not in ("kaiming", "gaussian", "random"):
            raise ValueError(f"LoRAFA: A stays as it is drawn, so init must be 'kaiming', 'gaussian' or 'random'; got "
                             f"{self.init!r}")

    def wrap(self, path: str, layer: Module, rng) -> Module:
        """A LoRAFALinear around a linear layer."""
        wrapped = super().wrap(path, layer, rng)
        wrapped.precondition = self.precondition
        return wrapped

    def count(self, config) -> int:
        """LoRA's without A: r·out for each target, and the biases that are trained."""
        return super().count(config) - sum(rank * width for rank, _, width in self._sizes(config))

    def state(self, model: Module, own: dict) -> dict:
        """B, biases, and A: a file that LoRA reads."""
        return {**super().state(model, own), **{name: t.numpy() for name, t in self._frozen(model, own).items()}}

    def load_state(self, model: Module, own: dict, state: dict) -> None:
        """Take B and A."""
        fill({**{PEFT_PREFIX + name: p for name, p in own.items()}, **self._frozen(model, own)}, state)

    def _frozen(self, model: Module, own: dict) -> dict:
        return {f"{PEFT_PREFIX}{place}.lora_A.weight": m.lora_A.weight for place, m in lora_layers(model).items()
                if isinstance(m, LoRAFALinear) and f"{place}.lora_B.weight" in own}
