"""Residual adapters (Rebuffi): the ancestor of all adapters, one linear map per sub-layer and no bottleneck."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.nn import Module, Parameter
from minigrad.peft.clone import thaw
from minigrad.peft.layernorm import norm_parameters
from minigrad.peft.layers import Mergeable
from minigrad.peft.method import Method, parameter
from minigrad.peft.registry import register
from minigrad.peft.targets import place
from minigrad.peft.unified import DESIGNS, modify


class ResidualAdapted(Mergeable):
    """h = W₀x + b₀ followed by h + α·h; merged: W = W₀ + α·W₀ and b = b₀ + α·b₀."""

    def __init__(self, base_layer: Module, alpha: Parameter):
        super().__init__(base_layer)
        self.alpha = alpha                          # (D, D)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, in) -> (B, T, D)."""
        h = self.base_layer(x)
        if self.merged:
            return h
        return modify(DESIGNS["residual_adapter"], h, x, lambda z: z @ self.alpha.T, lambda a: a)

    def changed(self) -> dict:
        """The bias passes through α as well."""
        alpha, linear = self.alpha.data, self.linear
        return {name: p.data + alpha @ p.data for name, p in (("weight", linear.weight), ("bias", linear.bias))}


@register
@dataclass(frozen=True)
class ResidualAdapter(Method):
    """h ← h + α·h, with a square matrix α (d, d) behind attention's o_proj and behind the MLP's down_proj.

    The first adapters were 1×1 convolutions between a residual network's layers, each with a batch norm of its task;
    on a stream of tokens a 1×1 convolution is a linear layer. norms=True trains the model's norms along.
    Count: 2L·d², with norms (4L + 2)·d more. Houlsby's bottleneck made it thin and put a nonlinearity in, for which it
    can no longer be merged. Starts at the base: yes (α = 0). Mergeable: yes, (I + α)·W₀. Paper: arXiv 1705.08045.

    >>> import minigrad as mg
    >>> ResidualAdapter().count(mg.models.GPTConfig(vocab_size=80))         # 8 · 128²
    131072
    """

    norms: bool = False

    name = "residual_adapter"
    paper = "1705.08045"
    formula = "2L·d²"
    mergeable = True
    extra_latency = "none once merged; else one square layer, twice per block"

    def attach(self, model: Module, rng) -> Module:
        """Put a matrix of zeros behind both sub-layers of every block."""
        for i in range(len(model.blocks)):
            for path in (f"blocks.{i}.attn.o_proj", f"blocks.{i}.mlp.down_proj"):
                here, d = place(model, path), model.config.d_model
                alpha = parameter(host.np.zeros((d, d)), model.norm.weight)
                model.set_submodule(here, ResidualAdapted(model.get_submodule(here), alpha))
        if self.norms:
            for p in norm_parameters(model):
                thaw(p)
        return model

    def count(self, config) -> int:
        """Two square matrices per block, and the norms."""
        L, d = config.n_layers, config.d_model
        return 2 * L * d * d + ((4 * L + 2) * d if self.norms else 0)

    def merge(self, model: Module) -> None:
        """W ← W₀ + α·W₀ and b ← b₀ + α·b₀."""
        for m in _layers(model):
            m.merge()

    def unmerge(self, model: Module) -> None:
        """The very arrays of before."""
        for m in reversed(_layers(model)):
            m.unmerge()


def _layers(model: Module) -> list[ResidualAdapted]:
    return [m for m in model.modules() if isinstance(m, ResidualAdapted)]
