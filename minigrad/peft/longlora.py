"""LongLoRA: train on long texts with attention inside shifted groups; use full attention afterwards."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.nn import Module, MultiHeadAttention
from minigrad.peft.clone import thaw
from minigrad.peft.layernorm import norm_parameters
from minigrad.peft.lora import LoRA
from minigrad.peft.method import Method, whole_number
from minigrad.peft.prefix import attentions, occupy
from minigrad.peft.registry import register


class ShiftedGroups:
    """Which keys a query sees in training: those of its own group of G tokens, and no later one.

    In half of the heads the groups begin at 0, G, 2G, …; in the other half half a group earlier, so that information
    crosses from group to group. Groups are told apart by the tokens' own places, and the causal rule is on top of that.
    (Shifting by rolling the sequence would put its end and its beginning into one group, and a mask that is causal in
    the rolled order would then show the first tokens the last ones.)
    """

    def __init__(self, group: int):
        self.group = group

    def __call__(self, attn: MultiHeadAttention, T: int, Tk: int):
        """A boolean tensor (H, T, Tk), or None for all earlier keys: outside training, and where one group holds all."""
        if not attn.training or self.group >= T:
            return None
        np, H, G = host.np, attn.n_heads, self.group
        visible = np.ones((H, T, Tk), dtype=bool)           # a prefix or a cache before these tokens is seen by all
        visible[:, :, Tk - T:] = [same_group(T, G, 0 if h < (H + 1) // 2 else G // 2) for h in range(H)]
        return Tensor(next(attn.parameters()).backend.send(visible))


def same_group(tokens: int, group: int, shift: int):
    """Host boolean (T, T): whether tokens i and j are in one group.

    >>> same_group(4, 2, 1).astype(int).tolist()            # groups {0}, {1, 2}, {3}
    [[1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    """
    number = (host.np.arange(tokens) + shift) // group
    return number[:, None] == number[None, :]


@register
@dataclass(frozen=True)
class LongLoRA(Method):
    """LoRA in q, k, v and o, trained embeddings and norms, and in training attention within groups: N·G scores, not N².

    group: G, the tokens of a group (the paper: a quarter of the training length); a last group may be shorter. In eval
    mode, and so in generation, attention is full. Here the groups are a mask, which shows what is learned; the saving
    needs a kernel that skips what is masked.
    extend: by how much the context grows. Rotary positions are divided by it (interpolation, arXiv 2306.15595), so that
    no angle occurs that the model has not seen; learned positions have no rows for a longer context: ValueError.
    embeddings_and_norms: False leaves these frozen (the paper finds that plain LoRA then falls short on long texts).
    Count: LoRA's Σ r·(in + out) + V·d (+ C·d for learned positions) + (4L + 2)·d. Starts at the base: yes, with full
    attention and extend=1. Mergeable: yes, as LoRA. Paper: arXiv 2309.12307.

    >>> import minigrad as mg
    >>> LongLoRA(8).count(mg.models.GPTConfig(vocab_size=80, positions="rotary"))   # 4·4·8·256 + 80·128 + 18·128
    45312
    """

    rank: int = 8
    alpha: float = 16
    group: int = 16
    extend: int = 1
    embeddings_and_norms: bool = True
    dropout: float = 0.0

    name = "longlora"
    paper = "2309.12307"
    formula = "Σ r·(in + out) + V·d + (4L + 2)·d"
    mergeable = True
    extra_latency = "none once merged; else as LoRA's"

    def __post_init__(self):
        super().__post_init__()
        whole_number(self.group, "LongLoRA: group", least=2)
        whole_number(self.extend, "LongLoRA: extend")
        self.lora()                                         # checks the rest

    def lora(self) -> LoRA:
        """The low-rank part."""
        return LoRA(self.rank, self.alpha, ("q_proj", "k_proj", "v_proj", "o_proj"), self.dropout)

    def attach(self, model: Module, rng) -> Module:
        """LoRA, thawed embeddings and norms, groups in every attention, a longer context."""
        if self.extend > 1 and model.config.positions != "rotary":
            raise ValueError(f"LongLoRA: extend={self.extend} needs rotary positions, which can be interpolated; this "
                             f"model's are {model.config.positions}: it has vectors for {model.config.context} positions "
                             "and no more. Use extend=1, or a GPTConfig with positions='rotary'")
        model = self.lora().attach(model, rng)
        if self.embeddings_and_norms:
            tables = [getattr(model, n, None) for n in ("token_embedding", "position_embedding")]
            for p in [table.weight for table in tables if table is not None] + norm_parameters(model):
                thaw(p)
        for attn in attentions(model):
            occupy(attn, "pattern", ShiftedGroups(self.group), self)
        if self.extend > 1:
            c = model.config
            model.config = dataclasses.replace(c, context=c.context * self.extend,
                                               interpolation=c.interpolation * self.extend)
        return model

    def count(self, config) -> int:
        """LoRA's matrices, the embeddings, the norms."""
        d, n = config.d_model, self.lora().count(config)
        if self.embeddings_and_norms:
            tables = config.vocab_size + (config.context if config.positions == "learned" else 0)
            n += tables * d + (4 * config.n_layers + 2) * d
        return n

    def merge(self, model: Module) -> None:
        """W ← W₀ + s·BA in every target."""
        self.lora().merge(model)

    def unmerge(self, model: Module) -> None:
        """W ← W₀ in every target."""
        self.lora().unmerge(model)
