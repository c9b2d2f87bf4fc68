"""Bottleneck adapters (Houlsby): two small networks per block, trained; everything else frozen."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.nn import Module
from minigrad.peft.method import Method, one_of, whole_number
from minigrad.peft.registry import register
from minigrad.peft.targets import place
from minigrad.peft.unified import DESIGNS, ModifiedByBottleneck, bottleneck


@register
@dataclass(frozen=True)
class Adapter(Method):
    """x ← x + Ad₁(attn(norm1(x))) and x ← x + Ad₂(mlp(norm2(x))), with Ad(h) = h + W_up·gelu(W_down·h + b_down) + b_up.

    Both sit before the residual addition: after attention's o_proj and after the MLP's down_proj. gelu is the exact one,
    with erf, where the base's MLP has the tanh form.
    Count: 2L·(2dr + r + d). Starts at the base: exactly with init="zero_up" (W_up = 0, W_down Kaiming-uniform); with
    init="houlsby" (both from N(0, 0.001²), cut off at 2σ, as in the authors' code) only nearly.
    Mergeable: no (gelu between the two matrices). Paper: arXiv 1902.00751; the paper's layer-norm training is left out.

    >>> import minigrad as mg
    >>> Adapter(bottleneck=16).count(mg.models.GPTConfig(vocab_size=80))     # 8 · (2·128·16 + 16 + 128)
    33920
    """

    bottleneck: int = 16
    init: str = "zero_up"

    name = "adapter"
    paper = "1902.00751"
    formula = "2L·(2dr + r + d)"
    why_not_mergeable = "a nonlinearity stands between its two matrices"
    extra_latency = "two small layers, one after the other, twice per block"

    def __post_init__(self):
        super().__post_init__()
        whole_number(self.bottleneck, f"{type(self).__name__}: bottleneck")
        one_of(self.init, ("zero_up", "houlsby"), f"{type(self).__name__}: init")

    def attach(self, model: Module, rng) -> Module:
        """Put an adapter behind both sub-layers of every block."""
        for i in range(len(model.blocks)):
            for path in (f"blocks.{i}.attn.o_proj", f"blocks.{i}.mlp.down_proj"):
                here = place(model, path)
                new = bottleneck(self.bottleneck, model.norm.weight, rng, self.init)
                model.set_submodule(here, ModifiedByBottleneck(model.get_submodule(here), DESIGNS["adapter"], new))
        return model

    def count(self, config) -> int:
        """Two bottlenecks with their biases in each block."""
        d, r = config.d_model, self.bottleneck
        return 2 * config.n_layers * (2 * d * r + r + d)
