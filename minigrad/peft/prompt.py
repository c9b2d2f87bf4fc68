"""Prompt tuning: P trained vectors stand before the embeddings of the real tokens."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.models import GPT
from minigrad.nn import Module
from minigrad.ops import cat
from minigrad.peft.method import Method, fill, one_of, parameter, whole_number
from minigrad.peft.registry import register
from minigrad.peft.slots import check_plain, initial_rows

FILE_KEY = "prompt_embeddings"                      # PEFT's one tensor (P, D)


class PromptedGPT(GPT):
    """A GPT that reads `prompt` (P, D) before every sequence and answers for the real tokens only.

    `position_shift` counts the P soft tokens, so real tokens stand at start + P, start + P + 1, …; in a KV cache the
    soft tokens are the first P entries.
    """

    def forward(self, ids, *, cache=None, start=0, embeddings: Tensor | None = None) -> Tensor:
        """Host integers (B, T) -> logits (B, T, vocab_size)."""
        P = self.prompt.shape[0]
        start = host.np.asarray(start) - P                          # the shift brings the soft tokens back to start
        if cache is not None and cache.length:
            return super().forward(ids, cache=cache, start=start, embeddings=embeddings)    # the prompt has been read
        if embeddings is None:
            embeddings = self.token_embedding(self._check_ids(ids))                         # (B, T) -> (B, T, D)
        soft = self.prompt.unsqueeze(0).expand(embeddings.shape[0], *self.prompt.shape)     # (P, D) -> (B, P, D)
        both = cat([soft, embeddings], dim=1)                                               # (B, P + T, D)
        return super().forward(None, cache=cache, start=start, embeddings=both)[:, P:]      # (B, T, V)

    def new_cache(self, batch: int, capacity: int | None = None):
        """An empty KV cache with room for the soft tokens as well."""
        return super().new_cache(batch, capacity if capacity is None else capacity + self.prompt.shape[0])


@register
@dataclass(frozen=True)
class PromptTuning(Method):
    """logits = GPT([E_p; E(x)]), with E_p (P, D), P = length, trained and the whole model frozen.

    The soft tokens take positions 0 … P−1, real tokens follow; the context shrinks by P.
    init: "vocab" starts from the embeddings of random tokens, "random" from N(0, σ²) with the table's σ, "text" from the
    embeddings of the token ids `text`, repeated or cut off to P.
    Count: P·D. Starts at the base: no. Mergeable: no. Paper: arXiv 2104.08691.

    >>> import minigrad as mg
    >>> PromptTuning(length=8).count(mg.models.GPTConfig(vocab_size=80))     # 8 · 128
    1024
    """

    length: int = 8
    init: str = "vocab"
    text: tuple[int, ...] = ()

    name = "prompt"
    paper = "2104.08691"
    formula = "P·d"
    starts_at_base = False
    why_not_mergeable = "it is more input, not a change of weights"
    extra_latency = "P more tokens"

    def __post_init__(self):
        super().__post_init__()
        whole_number(self.length, "PromptTuning: length")
        one_of(self.init, ("vocab", "random", "text"), "PromptTuning: init")
        if bool(self.text) != (self.init == "text"):
            raise ValueError(f"PromptTuning: init='text' and text=(token ids) belong together; got init={self.init!r} and "
                             f"text={self.text!r}")

    def attach(self, model: Module, rng) -> Module:
        """The same GPT with a prompt in front."""
        check_plain(model, "PromptTuning")
        c, table = model.config, model.token_embedding.weight
        if self.length + 1 > c.context:
            raise ValueError(f"PromptTuning: length={self.length} leaves no room in a context of {c.context}; it must "
                             f"be at most {c.context - 1}")
        if self.init == "text":
            text = host.ids(self.text, c.vocab_size, "PromptTuning: token id of the text")
            rows = table.numpy()[host.np.resize(text, self.length)]                         # (P, D)
        else:
            rows = initial_rows(model, self.length, self.init, rng)
        prompted = object.__new__(PromptedGPT)
        prompted.__dict__.update(model.__dict__)
        prompted.prompt = parameter(rows, table)
        prompted.position_shift += self.length
        return prompted

    def count(self, config) -> int:
        """The soft tokens' embeddings."""
        return self.length * config.d_model

    def state(self, model: Module, own) -> dict:
        """PEFT's one tensor (P, D)."""
        return {FILE_KEY: model.prompt.numpy()}

    def load_state(self, model: Module, own, state: dict) -> None:
        """Put it back."""
        fill({FILE_KEY: model.prompt}, state)
