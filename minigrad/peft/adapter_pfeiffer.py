"""Adapter-P (Pfeiffer): one bottleneck per block, behind the MLP only."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.nn import Module
from minigrad.peft.method import Method, one_of, whole_number
from minigrad.peft.registry import register
from minigrad.peft.targets import place
from minigrad.peft.unified import DESIGNS, ModifiedByBottleneck, bottleneck


@register
@dataclass(frozen=True)
class AdapterP(Method):
    """x ← x + h + W_up · relu(W_down · h + b_down) + b_up with h = mlp(norm2(x)): Houlsby's without the one in attention.

    The paper searches over positions and finds that one adapter per block, behind the MLP, is enough. Its models
    normalize after the residual addition and move that norm around; in a pre-norm block none of that is needed.
    Count: L·(2dr + r + d). Starts at the base: exactly with init="zero_up", nearly with "houlsby".
    Mergeable: no. Paper: arXiv 2005.00247.

    >>> import minigrad as mg
    >>> AdapterP(16).count(mg.models.GPTConfig(vocab_size=80))              # half of Houlsby's
    16960
    """

    bottleneck: int = 16
    init: str = "zero_up"

    name = "adapter_pfeiffer"
    paper = "2005.00247"
    formula = "L·(2dr + r + d)"
    why_not_mergeable = "a nonlinearity stands between its two matrices"
    extra_latency = "two small layers, once per block"

    def __post_init__(self):
        super().__post_init__()
        whole_number(self.bottleneck, "AdapterP: bottleneck")
        one_of(self.init, ("zero_up", "houlsby"), "AdapterP: init")

    def attach(self, model: Module, rng) -> Module:
        """Put an adapter behind every MLP."""
        for i in range(len(model.blocks)):
            here = place(model, f"blocks.{i}.mlp")
            new = bottleneck(self.bottleneck, model.norm.weight, rng, self.init)
            model.set_submodule(here, ModifiedByBottleneck(model.get_submodule(here), DESIGNS["adapter_pfeiffer"], new))
        return model

    def count(self, config) -> int:
        """One bottleneck with its biases per block."""
        d, r = config.d_model, self.bottleneck
        return config.n_layers * (2 * d * r + r + d)
