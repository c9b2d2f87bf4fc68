"""Bottleneck adapters (Houlsby): two small networks per block, trained; everything else frozen."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.nn import Module
from minigrad.nn import functional as F
from minigrad.peft.layers import Affine, Wrapped
from minigrad.peft.method import Method, one_of, parameter, whole_number
from minigrad.peft.registry import register
from minigrad.peft.targets import place


class Bottleneck(Module):
    """Ad(h) = h + W_up · gelu(W_down h + b_down) + b_up, with r = bottleneck numbers in the middle."""

    def __init__(self, down: Affine, up: Affine):
        super().__init__()
        self.down, self.up = down, up

    def forward(self, h: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, r) -> (B, T, D)."""
        return h + self.up(F.gelu(self.down(h)))


class AdapterAfter(Wrapped):
    """A layer followed by a bottleneck adapter."""

    def __init__(self, base_layer: Module, adapter: Bottleneck):
        super().__init__(base_layer)
        self.adapter = adapter

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, in) -> (B, T, D)."""
        return self.adapter(self.base_layer(x))


@register
@dataclass(frozen=True)
class Adapter(Method):
    """x ← x + Ad₁(attn(norm1(x))) and x ← x + Ad₂(mlp(norm2(x))), with Ad(h) = h + W_up·gelu(W_down·h + b_down) + b_up.

    Both sit before the residual addition: after attention's o_proj and after the MLP's down_proj.
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
        whole_number(self.bottleneck, "Adapter: bottleneck")
        one_of(self.init, ("zero_up", "houlsby"), "Adapter: init")

    def attach(self, model: Module, rng) -> Module:
        """Put an adapter behind both sub-layers of every block."""
        for i in range(len(model.blocks)):
            for path in (f"blocks.{i}.attn.o_proj", f"blocks.{i}.mlp.down_proj"):
                here = place(model, path)
                layer = model.get_submodule(here)
                model.set_submodule(here, AdapterAfter(layer, self._bottleneck(model.norm.weight, rng)))
        return model

    def count(self, config) -> int:
        """Two bottlenecks with their biases in each block."""
        d, r = config.d_model, self.bottleneck
        return 2 * config.n_layers * (2 * d * r + r + d)

    def _bottleneck(self, like, rng) -> Bottleneck:
        np, r, (d,) = host.np, self.bottleneck, like.shape
        if self.init == "zero_up":
            down, up = rng.uniform(-1.0, 1.0, (r, d)) / np.sqrt(d), np.zeros((d, r))
        else:
            down, up = truncated_normal(rng, (r, d), 1e-3), truncated_normal(rng, (d, r), 1e-3)
        return Bottleneck(Affine(parameter(down, like), parameter(np.zeros(r), like)),
                          Affine(parameter(up, like), parameter(np.zeros(d), like)))


def truncated_normal(rng, shape, std: float):
    """Host numbers from N(0, std²), drawn again while they lie beyond 2·std."""
    values = rng.standard_normal(shape)
    while (beyond := abs(values) > 2).any():
        values[beyond] = rng.standard_normal(int(beyond.sum()))
    return values * std
