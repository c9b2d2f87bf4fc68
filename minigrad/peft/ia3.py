"""(IA)³: stretch or shrink what flows through keys, values and the MLP, one number per feature."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.nn import Linear
from minigrad.peft.layers import Mergeable
from minigrad.peft.method import parameter
from minigrad.peft.registry import register
from minigrad.peft.targeted import Targeted
from minigrad.peft.targets import match, matches


class IA3Linear(Mergeable):
    """y = l ⊙ (W₀x + b), or y = W₀(l ⊙ x) + b for a layer that takes the MLP's inner features."""

    def __init__(self, base_layer: Linear, method: IA3, path: str, rng, common):
        super().__init__(base_layer)
        out_features, in_features = base_layer.weight.shape
        self.scales_input = method.scales_input(path)
        shape = (1, in_features) if self.scales_input else (out_features, 1)    # how it meets W₀, and PEFT's shape
        self.ia3_l = parameter(host.np.ones(shape), base_layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        if self.merged:
            return self.base_layer(x)
        l = self.ia3_l.reshape(-1)
        return self.base_layer(x * l) if self.scales_input else self.base_layer(x) * l

    def changed(self) -> dict:
        """W₀'s columns times l; or its rows, and then the bias as well."""
        l, linear = self.ia3_l.data, self.linear
        changed = {"weight": linear.weight.data * l}
        if not self.scales_input and linear.bias is not None:
            changed["bias"] = linear.bias.data * l[:, 0]
        return changed

    def extra_repr(self) -> str:
        """What is scaled."""
        return ("input" if self.scales_input else "output") + (", merged" if self.merged else "")


@register
@dataclass(frozen=True)
class IA3(Targeted):
    """k ← l_k ⊙ k, v ← l_v ⊙ v, and down_proj takes l_ff ⊙ act(up_proj x): three trained vectors per block, from 1.

    targets: the layers that are scaled, by their output · feedforward: those of them that are scaled by their input.
    Count: L·(2d + d_ff). Starts at the base: yes (l = 1). Mergeable: yes, into rows of W₀ and the bias, or into columns.
    Unmerging puts W₀ back, where dividing by l would fail for l = 0. Paper: arXiv 2205.05638.

    >>> import minigrad as mg
    >>> IA3().count(mg.models.GPTConfig(vocab_size=80))                     # 4 · (2 · 128 + 512)
    3072
    """

    targets: tuple[str, ...] | str = ("k_proj", "v_proj", "down_proj")
    feedforward: tuple[str, ...] | str = ("down_proj",)

    name = "ia3"
    paper = "2205.05638"
    formula = "L·(2d + d_ff)"
    extra_latency = "none once merged; else one product per feature"
    layer = IA3Linear

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.feedforward, str):
            object.__setattr__(self, "feedforward", (self.feedforward,))

    def scales_input(self, path: str) -> bool:
        """Whether the layer at this path is one of `feedforward`."""
        return any(matches(name, path) for name in self.feedforward)

    def common(self, model, shapes: dict, rng):
        """Nothing is shared; but a name in `feedforward` that is no target's would go unnoticed."""
        if self.feedforward:
            match(self.feedforward, shapes)

    def size(self, path: str, out_features: int, in_features: int) -> int:
        """One number per feature that is scaled."""
        return in_features if self.scales_input(path) else out_features
