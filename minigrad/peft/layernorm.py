"""Layer-norm tuning: train the norms' gains and shifts and nothing else."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.nn import LayerNorm, Module, RMSNorm
from minigrad.peft.clone import thaw
from minigrad.peft.method import Method
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
    mergeable = True

    def attach(self, model: Module, rng) -> Module:
        """Thaw every norm."""
        for p in norm_parameters(model):
            thaw(p)
        return model

    def count(self, config) -> int:
        """γ and β of 2L + 1 norms."""
        return 2 * (2 * config.n_layers + 1) * config.d_model


def norm_parameters(model: Module) -> list:
    """The parameters of all normalization layers."""
    return [p for m in model.modules() if isinstance(m, LayerNorm | RMSNorm) for p in m.parameters()]
