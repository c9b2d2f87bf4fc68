"""PreEmbed and PreLayer, the LoRA paper's two prompt methods: trained special tokens before and behind the input."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.nn import Module, Parameter
from minigrad.peft.method import Method, one_of, parameter, whole_number
from minigrad.peft.registry import register
from minigrad.peft.slots import SlotInput, check_separator, initial_rows, with_slots
from minigrad.peft.targets import place


class Rows(Module):
    """The trained vectors of all slots, (S, D)."""

    def __init__(self, rows: Parameter):
        super().__init__()
        self.rows = rows

    def forward(self, token_embedding: Module) -> Parameter:
        """(S, D)."""
        return self.rows


@register
@dataclass(frozen=True)
class PreEmbed(Method):
    """logits = GPT([E_p; E(input); E_i; E(answer)]): l_p trained embeddings in front and l_i behind the input.

    prefix: l_p · infix: l_i. The infix stands behind the first token `separator` of each sequence (with the package's
    tokenizer SEP, which ends the input), or, where that is None, behind `after` real tokens.
    init: "vocab" or "random", see slots.py.
    Count: d·(l_p + l_i). Starts at the base: no. Mergeable: no. Paper: arXiv 2106.09685, section 5.1.

    >>> import minigrad as mg
    >>> PreEmbed(256, 8).count(mg.models.GPTConfig(50257, 2048, d_model=12288, n_layers=96, n_heads=96))    # GPT-3
    3244032
    """

    prefix: int = 4
    infix: int = 4
    separator: int | None = None
    after: int = 1
    init: str = "vocab"

    name = "preembed"
    paper = "2106.09685"
    formula = "d·(l_p + l_i)"
    starts_at_base = False
    why_not_mergeable = "it is more input, not a change of weights"
    extra_latency = "l_p + l_i more tokens"

    def __post_init__(self):
        super().__post_init__()
        what = type(self).__name__
        whole_number(self.prefix, f"{what}: prefix", least=0)
        whole_number(self.infix, f"{what}: infix", least=0)
        whole_number(self.after, f"{what}: after")
        if self.separator is not None:
            whole_number(self.separator, f"{what}: separator", least=0)
        if self.prefix + self.infix == 0:
            raise ValueError(f"{what}: prefix and infix are both 0, so nothing would be trained")
        one_of(self.init, ("vocab", "random"), f"{what}: init")

    def attach(self, model: Module, rng) -> Module:
        """The same GPT with the special tokens among its input."""
        check_separator(self, model)
        behind = self.after if self.separator is None else "separator"
        before = (0,) * self.prefix + (behind,) * self.infix
        rows = parameter(initial_rows(model, len(before), self.init, rng), model.norm.weight)
        return with_slots(model, Rows(rows), before, self.separator, type(self).__name__)

    def count(self, config) -> int:
        """One vector per special token."""
        return config.d_model * (self.prefix + self.infix)


@register
@dataclass(frozen=True)
class PreLayer(PreEmbed):
    """PreEmbed, and the special tokens' activations after every layer are replaced by trained vectors as well.

    What the blocks below make of a special token is thrown away, so each block gets l_p + l_i vectors of its own (the
    last layer's output there is never used). They still pass through k_proj and v_proj, hence half the parameters of
    prefix tuning, which trains keys and values directly.
    Count: L·d·(l_p + l_i). Starts at the base: no. Mergeable: no. Paper: arXiv 2106.09685, section 5.1.

    >>> import minigrad as mg
    >>> PreLayer(8, 8).count(mg.models.GPTConfig(50257, 2048, d_model=12288, n_layers=96, n_heads=96))  # the paper: 20.2 M
    18874368
    """

    name = "prelayer"
    formula = "L·d·(l_p + l_i)"
    why_not_mergeable = "its vectors depend on no weight that they could be added to"
    extra_latency = "l_p + l_i more tokens"

    def attach(self, model: Module, rng) -> Module:
        """PreEmbed's, and vectors at the input of every further block."""
        slotted = super().attach(model, rng)
        for i in range(1, model.config.n_layers):
            rows = parameter(initial_rows(model, self.prefix + self.infix, self.init, rng), model.norm.weight)
            here = place(slotted, f"blocks.{i}")
            slotted.set_submodule(here, SlotInput(slotted.get_submodule(here), rows))
        return slotted

    def count(self, config) -> int:
        """One vector per special token and layer."""
        return config.n_layers * super().count(config)
