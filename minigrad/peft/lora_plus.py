"""LoRA+: the same function as LoRA, trained with a higher learning rate for B than for A."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.nn import Module
from minigrad.peft.lora import LoRA
from minigrad.peft.registry import register


@register
@dataclass(frozen=True, repr=False)
class LoRAPlus(LoRA):
    """LoRA with two learning rates: η for every A, λ·η for every B (and for biases, where they are trained).

    A starts at about 1/√in and B at 0, so in a wide model the same rate moves one of them too little.
    ratio: λ ≥ 1, in the paper about 16; at 1 this is plain LoRA · embedding_lr: the rate of an embedding's two matrices,
    as PEFT has it; None for η and λ·η there too. Vectors are trained without weight decay.
    Count: as LoRA's. Starts at the base: yes. Mergeable: yes. Paper: arXiv 2402.12354.

    >>> import minigrad as mg
    >>> gpt = mg.models.GPT(mg.models.GPTConfig(vocab_size=11, context=8, d_model=16, n_layers=2, n_heads=2))
    >>> groups = mg.peft.apply(gpt, LoRAPlus(rank=2)).param_groups(1e-3)
    >>> [(group["name"], len(group["params"]), group["lr"]) for group in groups]
    [('A', 4, 0.001), ('B', 4, 0.016)]
    """

    ratio: float = 16.0
    embedding_lr: float | None = 1e-6

    name = "lora_plus"
    paper = "2402.12354"

    def __post_init__(self):
        super().__post_init__()
        if not self.ratio >= 1:
            raise ValueError(f"LoRAPlus: ratio is B's learning rate divided by A's, at least 1; got {self.ratio!r}")
        if self.embedding_lr is not None and not self.embedding_lr >= 0:
            raise ValueError(f"LoRAPlus: embedding_lr must be None or at least 0; got {self.embedding_lr!r}")

    def param_groups(self, model: Module, lr: float) -> list[dict]:
        """Up to four groups: "A", "embedding", "B" and "vectors"."""
        groups = {"A": {"lr": lr}, "embedding": {"lr": self.embedding_lr}, "B": {"lr": lr * self.ratio},
                  "vectors": {"lr": lr * self.ratio, "weight_decay": 0.0}}
        found = {name: [] for name in groups}
        for name, p in model.named_parameters():
            if p.requires_grad:
                found[self._group(name, p)].append((name, p))
        return [{"name": name, "params": found[name], **options} for name, options in groups.items() if found[name]]

    def _group(self, name: str, p) -> str:
        if "lora_embedding_" in name and self.embedding_lr is not None:
            return "embedding"
        if p.ndim == 1:
            return "vectors"
        return "B" if "lora_B" in name or "lora_embedding_B" in name else "A"
