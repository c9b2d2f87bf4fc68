"""BitFit: train the biases and nothing else."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.nn import Module
from minigrad.peft.clone import thaw
from minigrad.peft.method import Method, one_of
from minigrad.peft.registry import register


@register
@dataclass(frozen=True)
class BitFit(Method):
    """y = Wx + b with b trained and W frozen, in every layer that has a bias.

    biases: "all" trains every bias, those of the norms included; "query_and_mlp" only those of q_proj and of the MLP's
    first layer, which the paper finds to change most.
    Count: L·(7d + d_ff) + d, which is 11·L·d + d for d_ff = 4d; with "query_and_mlp" L·(d + d_ff).
    Starts at the base: yes. Mergeable: yes, trivially (the biases are the model's own). Paper: arXiv 2106.10199.

    A model without biases has nothing to train here: `peft.apply` raises ValueError.

    >>> import minigrad as mg
    >>> config = mg.models.GPTConfig(vocab_size=80)
    >>> BitFit().count(config), BitFit("query_and_mlp").count(config)       # 4 · 11 · 128 + 128, 4 · (128 + 512)
    (5760, 2560)
    """

    biases: str = "all"

    name = "bitfit"
    paper = "2106.10199"
    formula = "L·(7d + d_ff) + d"
    needs = ()
    mergeable = True

    def __post_init__(self):
        super().__post_init__()
        one_of(self.biases, ("all", "query_and_mlp"), "BitFit: biases")

    def attach(self, model: Module, rng) -> Module:
        """Thaw the biases."""
        endings = ("bias",) if self.biases == "all" else ("q_proj.bias", "up_proj.bias")
        for name, p in model.named_parameters():
            if name.endswith(endings):
                thaw(p)
        return model

    def count(self, config) -> int:
        """Per block: four of attention, d_ff and d of the MLP, two of the norms; and the final norm's."""
        L, d, f = config.n_layers, config.d_model, config.d_ff
        return L * (7 * d + f) + d if self.biases == "all" else L * (d + f)
