"""Slots: places among the real tokens of a GPT's input at which a method puts vectors of its own.

    ids        a b c            real tokens
    slots      0 0 2            how many real tokens stand before each slot (here: two in front, one behind b)
    sequence   s₀ s₁ a b s₂ c   what the blocks see
    logits     at s₁? no: at a, s₂, c. A token's logits are taken at the last place before the next token, so slots behind
               a token are read before its successor is predicted.
"""
from __future__ import annotations

from contextvars import ContextVar

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.models import GPT
from minigrad.nn import Module
from minigrad.nn import functional as F
from minigrad.ops import cat, where
from minigrad.peft.layers import Wrapped

# While a forward runs: which slot stands where (B, W), negative for real tokens. See infix.py for why it is a variable of
# the context.
_SLOT: ContextVar = ContextVar("slot")


class SlottedGPT(GPT):
    """A GPT with the vectors of `slots` at the places `before`; ids (B, T) -> logits (B, T, V) as ever.

    slots: a Module that gives (S, D) when called with the model's token embedding. before: for each slot the number of
    real tokens before it, or "separator": it then stands behind the first token `separator` of each sequence, wherever
    that is. `position_shift` counts all S slots.
    """

    def forward(self, ids, *, cache=None, start=0, embeddings: Tensor | None = None) -> Tensor:
        """Host integers (B, T) -> logits (B, T, vocab_size)."""
        if ids is not None:
            ids = self._check_ids(ids)
        if embeddings is None:
            embeddings = self.token_embedding(self._check_ids(ids))                 # (B, T) -> (B, T, D)
        B, T, D = embeddings.shape
        order, readout = self._lay_out(ids, B, T, cache)                            # (B, W), (B, T)
        soft = self.slots(self.token_embedding)                                     # (S, D)
        S = soft.shape[0]
        pool = cat([embeddings, soft.unsqueeze(0).expand(B, S, D)], dim=1)          # (B, T + S, D)
        start = host.np.asarray(start) - S                                          # the shift brings it back
        token = _SLOT.set(order - T)
        try:
            out = super().forward(None, cache=cache, start=start, embeddings=_rows(pool, order))  # (B, W, V)
        finally:
            _SLOT.reset(token)
        return _rows(out, readout)                                                  # (B, W, V) -> (B, T, V)

    def new_cache(self, batch: int, capacity: int | None = None):
        """An empty KV cache with room for the slots as well."""
        return super().new_cache(batch, capacity if capacity is None else capacity + len(self.before))

    def _lay_out(self, ids, batch: int, tokens: int, cache):
        """Which entry of [tokens; slots] stands where (B, W), and where each token's logits are taken (B, T)."""
        np = host.np
        seen, behind = getattr(cache, "read", (0, False))   # real tokens in the cache, and whether the separator was one
        token_keys = np.tile(seen + np.arange(tokens) + 0.5, (batch, 1))
        slot_keys = np.empty((batch, len(self.before)))
        for s, n in enumerate(self.before):
            if n == "separator":
                slot_keys[:, s] = np.inf if behind else self._behind_separator(ids, seen)
            else:
                slot_keys[:, s] = n if (seen < n <= seen + tokens) or n == seen == 0 else np.inf
        keys = np.concatenate([token_keys, slot_keys], axis=1)                      # (B, T + S)
        counts = np.isfinite(keys).sum(axis=1)
        if cache is not None:
            if counts.min() != counts.max():
                raise ValueError("with a KV cache all sequences of a batch must meet their separator at the same place, "
                                 "since a cache has no holes; generate() groups prompts by length for that")
            found = behind or bool(np.isfinite(slot_keys[:, [n == "separator" for n in self.before]]).any())
            cache.read = (seen + tokens, found)
        # Rows with fewer slots are filled up at the end, where no real token sees the filling.
        order = np.argsort(keys, axis=1, kind="stable")[:, :counts.max()]
        readout = (keys[:, None, :] <= (token_keys + 0.5)[:, :, None]).sum(axis=2) - 1
        return order, readout

    def _behind_separator(self, ids, seen: int):
        np = host.np
        if ids is None:
            raise ValueError("slots behind a separator need ids, not embeddings alone")
        met = ids == self.separator                                                 # (B, T)
        return np.where(met.any(axis=1), seen + met.argmax(axis=1) + 1, np.inf)


class SlotInput(Wrapped):
    """A block that gets `vectors` (S, D) at the slots, whatever the block below has put there (PreLayer)."""

    def __init__(self, base_layer: Module, vectors):
        super().__init__(base_layer)
        self.vectors = vectors

    def forward(self, x: Tensor, *more) -> Tensor:
        """(B, W, D) -> (B, W, D)."""
        slot = _SLOT.get()                                                          # (B, W)
        if (slot >= 0).any():
            own = F.embedding(slot.clip(0), self.vectors)                           # (S, D) -> (B, W, D)
            x = where(Tensor(x.backend.send((slot >= 0)[:, :, None])), own, x)
        return self.base_layer(x, *more)


def with_slots(model: Module, slots: Module, before: tuple, separator: int | None, owner: str) -> SlottedGPT:
    """The same GPT with these slots; what `Method.attach` of the prompt methods returns."""
    check_plain(model, owner)
    context = model.config.context
    if len(before) + 1 > context:
        raise ValueError(f"{owner}: {len(before)} slots leave no room in a context of {context}; there must be at most "
                         f"{context - 1}")
    slotted = object.__new__(SlottedGPT)
    slotted.__dict__.update(model.__dict__)
    slotted.slots, slotted.before, slotted.separator = slots, before, separator
    slotted.position_shift += len(before)
    return slotted


def check_plain(model: Module, owner: str) -> None:
    """TypeError unless the model is a GPT as it was made: methods that change its forward replace the whole model."""
    if type(model) is not GPT:
        raise TypeError(f"{owner} works on a GPT; got {type(model).__name__}. Among the parts of Combined it comes first, and "
                        "no other part may change what the whole model does")


def check_separator(method, model: Module) -> None:
    """ValueError for a separator that can be no token of this model: nothing behind it would ever be seen."""
    if method.separator is not None and method.separator >= model.config.vocab_size:
        raise ValueError(f"{type(method).__name__}: separator={method.separator} is no token of this model; its vocabulary "
                         f"is 0 … {model.config.vocab_size - 1}")


def initial_rows(model: Module, count: int, init: str, rng):
    """Host array (count, D): "vocab" embeddings of random tokens, "random" N(0, σ²) with the table's σ."""
    table = model.token_embedding.weight.numpy()
    if init == "vocab":
        return table[rng.integers(0, len(table), count)]
    return table.std() * rng.standard_normal((count, table.shape[1]))


def _rows(x: Tensor, index) -> Tensor:
    """x[b, index[b, i]]: (B, N, D), host (B, W) -> (B, W, D)."""
    B, N, D = x.shape
    return F.embedding(index + N * host.np.arange(B)[:, None], x.reshape(B * N, D))
