"""Top-K layers: train the last K blocks and what follows them."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.nn import Module
from minigrad.peft.clone import thaw
from minigrad.peft.method import Method, whole_number
from minigrad.peft.registry import register
from minigrad.peft.targets import block_count


@register
@dataclass(frozen=True)
class TopK(Method):
    """θ ← θ − η·∇L(θ) for the blocks L−K … L−1, the final norm and (head=True) the head; the rest is frozen.

    The embeddings and the lower blocks need no gradient and nothing below them does, so the engine records no graph
    there: no activation is saved and the backward pass ends at the input of block L−K. K = 0 trains norm and head.
    Count: K·(12d² + 13d) + 2d + V·d (for d_ff = 4d; no last term with head=False).
    Starts at the base: yes. Mergeable: yes, trivially. Paper: FT^Top2 in arXiv 2106.09685.

    A tied head is the input embedding as well, so training it would train the model's bottom too: with such a model
    head=True raises ValueError; say head=False.

    >>> import minigrad as mg
    >>> TopK(2, head=False).count(mg.models.GPTConfig(50257, 1024, d_model=1024, n_layers=24))   # GPT-2 M, two blocks
    25194496
    """

    k: int
    head: bool = True

    name = "topk"
    paper = "2106.09685 (baseline)"
    formula = "K·(12d² + 13d) + 2d + V·d"
    mergeable = True

    def __post_init__(self):
        super().__post_init__()
        whole_number(self.k, "TopK: k", least=0)

    def attach(self, model: Module, rng) -> Module:
        """Thaw the top."""
        layers = len(model.blocks)
        self._check(layers)
        if self.head and model.head.weight is model.token_embedding.weight:
            raise ValueError("TopK(head=True): this model's head is tied to its token embedding, so training the head "
                             f"would train the input as well. Use TopK({self.k}, head=False), or a model with "
                             "tie_head=False")
        top = [*list(model.blocks)[layers - self.k:], model.norm, *([model.head] if self.head else [])]
        for module in top:
            for p in module.parameters():
                thaw(p)
        return model

    def count(self, config) -> int:
        """K blocks, the final norm, and the head."""
        self._check(config.n_layers)
        head = config.vocab_size * config.d_model if self.head else 0
        return self.k * block_count(config) + 2 * config.d_model + head

    def _check(self, layers: int) -> None:
        if self.k > layers:
            raise ValueError(f"TopK: k={self.k}, but the model has {layers} blocks; k must lie in 0 … {layers}")
