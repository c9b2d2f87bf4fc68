"""DoRA: take a weight apart into the lengths of its rows and their directions; train the lengths, and LoRA the rest."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.autograd import Tensor
from minigrad.nn import Linear, Module
from minigrad.nn import functional as F
from minigrad.peft.lora import LoRA
from minigrad.peft.lora_layer import LoRALinear
from minigrad.peft.method import parameter
from minigrad.peft.registry import register


class DoRALinear(LoRALinear):
    """y = m ⊙ (W₀ + ΔW)x / ‖W₀ + ΔW‖ + b, with the lengths m (out,) of the rows trained and ΔW as in LoRA.

    The norm ‖·‖ (out,) is a constant in backward, as the paper has it: less memory, and the gradients of A and B then keep
    the part along the row that only changes its length. The bias is added after the scaling: b is no part of a row.
    """

    def __init__(self, base_layer: Module, *args, **kwargs):
        super().__init__(base_layer, *args, **kwargs)
        weight = self.linear.weight
        self.lora_magnitude_vector = parameter(weight.backend.to_numpy(self.norm()), weight)        # (out,)

    def norm(self):
        """‖W₀ + ΔW‖, the length of each row; a raw array (out,). A row of zeros counts as of length 1."""
        w = self.linear.weight
        v, xp = w.data + self.delta_weight(), w.backend.xp
        if v.dtype.name == "float16":
            v = v.astype("float32")                 # squares would overflow
        length = xp.sqrt((v * v).sum(axis=1))
        return xp.where(length == 0, xp.ones_like(length), length).astype(w.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        y = self.base_layer(x)
        if self.merged:
            return y
        dropped = self.dropped(x)
        if isinstance(self.base_layer, Linear) and dropped is x:
            h = y if self.linear.bias is None else y - self.linear.bias     # W₀x, (…, out)
        else:
            h = F.linear(dropped, self.linear.weight)
        gain = self.lora_magnitude_vector / Tensor(self.norm())             # (out,); 1 at the start
        return y + (gain - 1.0) * h + gain * self.branch(x, dropped)

    def changed(self) -> dict:
        """m ⊙ (W₀ + ΔW)/‖W₀ + ΔW‖ in the place of W₀."""
        gain = self.lora_magnitude_vector.data / self.norm()
        return {"weight": gain[:, None] * (self.linear.weight.data + self.delta_weight())}


@register
@dataclass(frozen=True, repr=False)
class DoRA(LoRA):
    """y = m ⊙ (W₀ + s·BA)x / ‖W₀ + s·BA‖ + b, row by row, with A, B and the lengths m (out,) trained; m starts at ‖W₀‖.

    The norm is taken as a constant in backward. Unmerged it is computed from the whole matrix in every forward pass, so
    merge before generating.
    Count: LoRA's, and out per target. Starts at the base: yes. Mergeable: yes; the merged rows have the lengths m.
    Paper: arXiv 2402.09353.

    >>> import minigrad as mg
    >>> DoRA(rank=8).count(mg.models.GPTConfig(vocab_size=80))              # 8 · (8 · (128 + 128) + 128)
    17408
    """

    name = "dora"
    paper = "2402.09353"
    formula = "Σ r·(in + out) + out"
    extra_latency = "none once merged; else two thin layers and a norm of the whole matrix per target"
    low_rank = False
    layer_class = DoRALinear
    plain_linears = True

    def count(self, config) -> int:
        """LoRA's, and a length for each row of each target."""
        return super().count(config) + sum(out for _, out, _ in self._sizes(config))
