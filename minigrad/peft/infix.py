"""Infix tuning: a prefix that stands between the input and the answer, seen only from there on."""
from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.models import GPT
from minigrad.nn import Module, MultiHeadAttention
from minigrad.peft.method import one_of, whole_number
from minigrad.peft.prefix import PrefixTuning, attentions, occupy
from minigrad.peft.registry import register
from minigrad.peft.slots import check_plain, check_separator

# While a forward runs: which tokens stand behind the input, (B or 1, T). In a context variable, since a block that is
# checkpointed runs again in backward, in the context of its forward.
_BEHIND: ContextVar = ContextVar("behind")


class InfixedGPT(GPT):
    """A GPT that notes for each token whether it stands behind the input, for its attentions' `pattern`."""

    def forward(self, ids, *, cache=None, start=0, embeddings: Tensor | None = None) -> Tensor:
        """Host integers (B, T) -> logits (B, T, vocab_size)."""
        np, infix = host.np, self.infix
        if ids is not None:
            ids = self._check_ids(ids)
        elif infix.separator is not None or embeddings is None:
            raise ValueError("an infix behind a separator needs ids, not embeddings alone")
        T = (embeddings if ids is None else ids).shape[1]
        seen, met = getattr(cache, "infix", (0, False))     # tokens in the cache, and whether the infix is behind them
        if infix.separator is None:
            behind = (seen + np.arange(T) + 1 >= infix.after)[None]                         # (1, T)
        else:
            behind = np.logical_or.accumulate(ids == infix.separator, axis=1) | met         # (B, T)
        if cache is not None:
            if behind[:, -1].min() != behind[:, -1].max():
                raise ValueError("with a KV cache all sequences of a batch must meet their separator in the same call; "
                                 "generate() groups prompts by length for that")
            cache.infix = seen + T, bool(behind[0, -1])
        token = _BEHIND.set(behind)
        try:
            return super().forward(ids, cache=cache, start=start, embeddings=embeddings)
        finally:
            _BEHIND.reset(token)


class Infix:
    """Attention's pattern: the first `length` keys are for the tokens behind the input only."""

    def __init__(self, length: int, separator: int | None, after: int):
        self.length, self.separator, self.after = length, separator, after

    def __call__(self, attn: MultiHeadAttention, T: int, Tk: int) -> Tensor:
        """A boolean tensor (B or 1, 1, T, Tk)."""
        behind = _BEHIND.get()
        visible = host.np.ones((len(behind), 1, T, Tk), dtype=bool)
        visible[:, :, :, :self.length] = behind[:, None, :, None]
        return Tensor(next(attn.parameters()).backend.send(visible))


@register
@dataclass(frozen=True)
class InfixTuning(PrefixTuning):
    """head = softmax(q·[P_k; K]ᵀ/√d)·[P_v; V] for the tokens behind the input, the base's attention for those before.

    The rows stand behind the first token `separator` of each sequence (that token, which predicts the answer's first,
    sees them), or, where that is None, behind `after` real tokens. So the input is read as the base reads it, and what is
    computed for it can be shared between tasks. Positions are kept.
    length, hidden, init and the count are prefix tuning's. Starts at the base: no. Mergeable: no.
    Paper: arXiv 2101.00190.

    >>> import minigrad as mg
    >>> InfixTuning(length=8).count(mg.models.GPTConfig(vocab_size=80))
    8192
    """

    positions: str = "keep"
    separator: int | None = None
    after: int = 1

    name = "infix"

    def __post_init__(self):
        super().__post_init__()
        one_of(self.positions, ("keep",), "InfixTuning: positions")
        whole_number(self.after, "InfixTuning: after")
        if self.separator is not None:
            whole_number(self.separator, "InfixTuning: separator", least=0)

    def attach(self, model: Module, rng) -> Module:
        """Prefix tuning's rows, and the pattern that hides them from the input."""
        check_plain(model, "InfixTuning")
        check_separator(self, model)
        model = super().attach(model, rng)
        infixed = object.__new__(InfixedGPT)
        infixed.__dict__.update(model.__dict__)
        infixed.infix = Infix(self.length, self.separator, self.after)
        for attn in attentions(infixed):
            occupy(attn, "pattern", infixed.infix, self)
        return infixed
