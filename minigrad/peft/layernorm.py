"""Layer-norm tuning: train the norms' gains and shifts and nothing else."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.nn import LayerNorm, Module, RMSNorm
from minigrad.peft.clone import thaw
from minigrad.peft.method import PEFT_PREFIX, Method, fill
from minigrad.peft.registry import register


@register
@dataclass(frozen=True)
class LayerNormTuning(Method):
    """y = γ ⊙ (x − mean)/√(var + ε) + β with γ and β of every norm trained and all else frozen.

    Count: 2·(2L + 1)·d: two norms per block and the final one, each with γ and β.
    Starts at the base: yes. Mergeable: yes, trivially (γ and β are the model's own).
    Paper: arXiv 2312.11420 (for multimodal models; a baseline in many others).

    >>> import minigrad as mg
    >>> LayerNormTuning().count(mg.models.GPTConfig(vocab_size=80))         # 2 · 9 · 128
    2304
    """

    name = "layernorm"
    paper = "2312.11420"
    formula = "(4L + 2)·d"
    needs = ()
    mergeable = True

    def attach(self, model: Module, rng) -> Module:
        """Thaw every norm."""
        for p in norm_parameters(model):
            thaw(p)
        return model

    def count(self, config) -> int:
        """γ and β of 2L + 1 norms."""
        return 2 * (2 * config.n_layers + 1) * config.d_model

    def state(self, model: Module, own: dict) -> dict:
        """The norms' parameters, as PEFT's files name them."""
        return {name: p.numpy() for name, p in _named(own).items()}

    def load_state(self, model: Module, own: dict, state: dict) -> None:
        """Take the values under these names."""
        fill(_named(own), state)


def _named(own: dict) -> dict:
    """PEFT keeps its trained norm in a module of that name beside the base's."""
    return {PEFT_PREFIX + "{}.ln_tuning_layers.{}".format(*name.rsplit(".", 1)): p for name, p in own.items()}


def norm_parameters(model: Module) -> list:
    """The parameters of all normalization layers."""
    return [p for m in model.modules() if isinstance(m, LayerNorm | RMSNorm) for p in m.parameters()]
