"""Full fine-tuning: every parameter is trained. The yardstick for all other methods."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.nn import Module
from minigrad.peft.clone import thaw
from minigrad.peft.method import Method
from minigrad.peft.registry import register
from minigrad.peft.targets import block_count


@register
@dataclass(frozen=True)
class FullFineTuning(Method):
    """θ ← θ − η·∇L(θ) for all parameters θ.

    Count: all, V·d + C·d + L·(12d² + 13d) + 2d + V·d (for d_ff = 4d; no C·d with rotary positions, no last term with a
    tied head).
    Starts at the base: yes. Mergeable: yes, trivially (the weights are the model's own).
    Paper: the setting of Radford et al. (2018); as a baseline in arXiv 2106.09685.

    >>> import minigrad as mg
    >>> config = mg.models.GPTConfig(vocab_size=11, context=8, d_model=16, n_layers=2, n_heads=2)
    >>> mg.peft.FullFineTuning().count(config) == mg.models.GPT(config).num_parameters()
    True
    """

    name = "full"
    paper = "2106.09685 (baseline)"
    formula = "V·d + C·d + L·(12d² + 13d) + 2d + V·d"
    needs = ()
    mergeable = True

    def attach(self, model: Module, rng) -> Module:
        """Thaw everything."""
        for p in model.parameters():
            thaw(p)
        return model

    def count(self, config) -> int:
        """All parameters of a GPT."""
        d = config.d_model
        tables = config.vocab_size + (config.context if config.positions == "learned" else 0)
        head = 0 if config.tie_head else config.vocab_size * d
        return tables * d + config.n_layers * block_count(config) + 2 * d + head
