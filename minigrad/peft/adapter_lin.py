"""Adapter-L (Lin): one bottleneck with a norm of its own at the end of each block."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.nn import LayerNorm, Module
from minigrad.peft.method import Method, one_of, parameter, whole_number
from minigrad.peft.registry import register
from minigrad.peft.targets import place
from minigrad.peft.unified import DESIGNS, Bottleneck, Modified, bottleneck, modify


class AdapterBehindBlock(Modified):
    """A block followed by x + W_up · relu(W_down · norm(x))."""

    design = DESIGNS["adapter_lin"]

    def __init__(self, base_layer: Module, norm: LayerNorm, adapter: Bottleneck):
        super().__init__(base_layer)
        self.norm, self.adapter = norm, adapter

    def modify(self, h: Tensor, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return modify(self.design, h, x, lambda z: self.adapter.down(self.norm(z)), self.adapter.up)


@register
@dataclass(frozen=True)
class AdapterL(Method):
    """x ← x + W_up · relu(W_down · LN(x) + b_down) + b_up behind every block, with LN's γ and β trained as well.

    Half as many adapters as Houlsby's, so half the added latency. The norm keeps the adapter's input at unit size,
    however far the stream x has grown.
    Count: L·(2dr + r + 3d). Starts at the base: exactly with init="zero_up", nearly with "houlsby".
    Mergeable: no. Paper: arXiv 2004.03829 (Adapter^L in LoRA's tables).

    >>> import minigrad as mg
    >>> AdapterL(6).count(mg.models.GPTConfig(50257, 1024, d_model=1024, n_layers=24))     # GPT-2 M
    368784
    """

    bottleneck: int = 16
    init: str = "zero_up"

    name = "adapter_lin"
    paper = "2004.03829"
    formula = "L·(2dr + r + 3d)"
    why_not_mergeable = "a norm and a nonlinearity stand around its first matrix"
    extra_latency = "a norm and two small layers, once per block"

    def __post_init__(self):
        super().__post_init__()
        whole_number(self.bottleneck, "AdapterL: bottleneck")
        one_of(self.init, ("zero_up", "houlsby"), "AdapterL: init")

    def attach(self, model: Module, rng) -> Module:
        """Put an adapter behind every block."""
        like = model.norm.weight
        for i in range(len(model.blocks)):
            here = place(model, f"blocks.{i}")
            norm = LayerNorm(like.shape[0])
            norm.weight, norm.bias = (parameter(make(like.shape), like) for make in (host.np.ones, host.np.zeros))
            new = AdapterBehindBlock(model.get_submodule(here), norm, bottleneck(self.bottleneck, like, rng, self.init))
            model.set_submodule(here, new)
        return model

    def count(self, config) -> int:
        """A bottleneck with its biases, and a norm, per block."""
        d, r = config.d_model, self.bottleneck
        return config.n_layers * (2 * d * r + r + 3 * d)
