"""GPT: a decoder-only transformer (GPT-2's layout: pre-norm blocks, GELU in its tanh form; learned or rotary positions).

Read GPT.forward first, then Block, MLP and minigrad/nn/attention.py: this is the whole model.
"""
from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

from minigrad import nn
from minigrad.autograd import Tensor, checkpoint, is_grad_enabled
from minigrad.backend import host
from minigrad.models.cache import KVCache
from minigrad.models.generate import generate
from minigrad.nn import functional as F
from minigrad.nn.checks import positive, probability

POSITIONS = ("learned", "rotary")


@dataclass(frozen=True)
class GPTConfig:
    """The sizes of a GPT; `d_ff=None` means 4·d_model.

    positions: "learned" adds a trained vector per position to the stream, "rotary" turns queries and keys (rotary.py).
    interpolation: rotary positions are divided by it.
    Raises ValueError when a size is not positive, d_model cannot be split into n_heads, or positions is unknown.

    >>> GPTConfig(vocab_size=80).d_ff
    512
    """

    vocab_size: int
    context: int = 64
    d_model: int = 128
    n_layers: int = 4
    n_heads: int = 4
    d_ff: int | None = None
    dropout: float = 0.0
    tie_head: bool = False
    positions: str = "learned"
    interpolation: float = 1.0

    def __post_init__(self):
        if self.d_ff is None:
            object.__setattr__(self, "d_ff", 4 * positive(self.d_model, "GPTConfig: d_model"))
        for name in ("vocab_size", "context", "d_model", "n_layers", "n_heads", "d_ff"):
            positive(getattr(self, name), f"GPTConfig: {name}")
        probability(self.dropout, "GPTConfig: dropout")
        if self.d_model % self.n_heads:
            raise ValueError(f"GPTConfig: d_model={self.d_model} cannot be split into n_heads={self.n_heads} equal "
                             "heads")
        if self.positions not in POSITIONS:
            raise ValueError(f"GPTConfig: unknown positions {self.positions!r}: known are {', '.join(POSITIONS)}")
        if self.positions == "rotary" and self.d_model // self.n_heads % 2:
            raise ValueError(f"GPTConfig: rotary positions turn pairs of numbers, but each head has "
                             f"{self.d_model // self.n_heads}; d_model/n_heads must be even")
        if self.interpolation <= 0 or (self.interpolation != 1.0 and self.positions != "rotary"):
            raise ValueError(f"GPTConfig: interpolation divides rotary positions and must be positive; got "
                             f"{self.interpolation} with positions={self.positions!r}")

    def to_dict(self) -> dict:
        """The fields as plain values (for JSON)."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> GPTConfig:
        """The config that `to_dict` described; unknown or missing fields raise ValueError."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"GPTConfig has no field {', '.join(unknown)}; its fields are {', '.join(sorted(known))}")
        if "vocab_size" not in values:
            raise ValueError("GPTConfig needs vocab_size")
        return cls(**values)


class MLP(nn.Module):
    """y = W_down · gelu(W_up · x), at each position by itself: (B, T, D) -> (B, T, D_ff) -> (B, T, D)."""

    def __init__(self, d_model: int, d_ff: int):
        super().__init__()
        self.up_proj = nn.Linear(d_model, d_ff)
        self.down_proj = nn.Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        h = F.gelu(self.up_proj(x), approximate="tanh")     # (B, T, D) -> (B, T, D_ff)
        return self.down_proj(h)                            # (B, T, D_ff) -> (B, T, D)


class Block(nn.Module):
    """One layer: attention moves information between positions, the MLP works on each; both add to the stream x."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.d_model)
        self.attn = nn.MultiHeadAttention(config.d_model, config.n_heads, dropout=config.dropout)
        self.norm2 = nn.LayerNorm(config.d_model)
        self.mlp = MLP(config.d_model, config.d_ff)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, cache=None, rotation=None) -> Tensor:
        """(B, T, D) -> (B, T, D); `cache` is this layer's share of a KVCache, `rotation` the rotary positions'."""
        x = x + self.dropout(self.attn(self.norm1(x), cache, rotation))
        x = x + self.dropout(self.mlp(self.norm2(x)))
        return x


class GPT(nn.Module):
    """A language model: for each token, logits for the next one.

    `position_shift` is added to every position (prefix tuning sets it to the prefix's length). `checkpoint_blocks = True`
    keeps only what enters each block and runs the block again in backward: less memory, more time.
    Weights start as N(0, 0.02²), the projections that add to the stream divided by √(2·n_layers), biases as 0.

    >>> import minigrad as mg
    >>> gpt = mg.models.GPT(mg.models.GPTConfig(vocab_size=11, context=8, d_model=16, n_layers=2, n_heads=2))
    >>> gpt([[1, 2, 3]]).shape                               # (B, T) -> (B, T, vocab_size)
    (1, 3, 11)
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        if not isinstance(config, GPTConfig):
            raise TypeError(f"GPT needs a GPTConfig, e.g. GPT(GPTConfig(vocab_size=80)); got {type(config).__name__}")
        self.config = config
        self.position_shift, self.checkpoint_blocks = 0, False
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.context, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tie_head:
            self.head.weight = self.token_embedding.weight  # one array, found under its first name
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial weights from the seeded generator."""
        residual = 1.0 / math.sqrt(2 * self.config.n_layers)    # 2 additions per block: the stream keeps its size
        for name, p in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(p)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.normal_(p, std=0.02 * residual)
            elif p.ndim == 2:
                nn.init.normal_(p, std=0.02)
            else:
                nn.init.ones_(p)                                # the norms' weights

    def forward(self, ids, *, cache: KVCache | None = None, start=0, embeddings: Tensor | None = None) -> Tensor:
        """Host integers (B, T) -> logits (B, T, vocab_size).

        cache: holds the tokens before these; positions go on behind them.
        start: the position of the first token, an int or host integers (B,).
        embeddings: (B, T, D) to use in place of the token embeddings (prompt methods); `ids` may then be None.
        Raises TypeError/IndexError/ValueError for bad ids and for positions beyond the context.
        """
        if embeddings is None:
            x = self.token_embedding(self._check_ids(ids))      # (B, T) -> (B, T, D)
        else:
            x = self._check_embeddings(ids, embeddings)         # (B, T, D)
        B, T, _ = x.shape
        if cache is not None:
            self._check_cache(cache, B)
        positions, rotation = self._positions(B, T, cache, start), None
        if self.config.positions == "learned":
            x = x + self.position_embedding(positions)          # + (T, D) or (B, T, D)
        else:
            rotation = nn.rotary.rotation(positions, self.config.d_model // self.config.n_heads,
                                          self.token_embedding.weight, self.config.interpolation)
        x = self.dropout(x)
        for i, block in enumerate(self.blocks):
            if self.checkpoint_blocks and cache is None and is_grad_enabled():
                x = checkpoint(block, x, None, rotation)                        # (B, T, D), nothing else is kept
            else:
                x = block(x, None if cache is None else cache.layers[i], rotation)  # (B, T, D)
        if cache is not None:
            cache.advance(T)
        x = self.norm(x)                                                        # (B, T, D)
        return self.head(x)                                                     # (B, T, D) -> (B, T, V)

    def new_cache(self, batch: int, capacity: int | None = None) -> KVCache:
        """An empty KV cache for `batch` sequences of at most `capacity` (the context, if None) tokens."""
        c, weight = self.config, self.token_embedding.weight
        capacity = c.context if capacity is None else min(capacity, c.context)
        return KVCache(c.n_layers, batch, c.n_heads, capacity, c.d_model // c.n_heads, dtype=weight.dtype,
                       backend=weight.backend)

    def generate(self, prompts, max_new_tokens: int, *, temperature: float = 0.0, top_k: int | None = None,
                 stop: int | None = None, seed: int | None = None, use_cache: bool = True) -> list:
        """Continue each prompt: a list of 1-D host arrays of new token ids. See minigrad/models/generate.py."""
        return generate(self, prompts, max_new_tokens, temperature=temperature, top_k=top_k, stop=stop, seed=seed,
                        use_cache=use_cache)

    # ---- checks at the door -----------------------------------------------------------------------------------------

    def _check_ids(self, ids):
        if ids is None:
            raise TypeError("gpt(ids) needs host integers (B, T), or embeddings= in their place")
        ids = host.ids(ids, self.config.vocab_size, "token id")
        if ids.ndim != 2:
            raise ValueError(f"gpt(ids) needs ids of shape (B, T); got shape {ids.shape}"
                             + (". Put one sequence in a list: gpt([ids])" if ids.ndim == 1 else ""))
        if ids.shape[1] == 0:
            raise ValueError("gpt(ids) needs at least one token per sequence; got an empty sequence")
        return ids

    def _check_embeddings(self, ids, embeddings: Tensor) -> Tensor:
        if embeddings.ndim != 3 or embeddings.shape[2] != self.config.d_model:
            raise ValueError(f"embeddings must have shape (B, T, {self.config.d_model}); got {tuple(embeddings.shape)}")
        if ids is not None and self._check_ids(ids).shape != embeddings.shape[:2]:
            raise ValueError(f"ids of shape {host.np.shape(ids)} and embeddings of shape {tuple(embeddings.shape)} do "
                             "not belong together; give ids=None to use embeddings alone")
        return embeddings

    def _check_cache(self, cache: KVCache, batch: int) -> None:
        if len(cache.layers) != self.config.n_layers or cache.batch != batch:
            raise ValueError(f"this cache is for {len(cache.layers)} layers and a batch of {cache.batch}; the model "
                             f"has {self.config.n_layers} layers and the batch is {batch}. Make one with "
                             f"gpt.new_cache({batch})")

    def _positions(self, batch: int, tokens: int, cache: KVCache | None, start):
        """Host integers (T,) or, with a start per sequence, (B, T)."""
        np = host.np
        shift = self.position_shift + (0 if cache is None else cache.length)
        if type(start) is int:
            first = lowest = highest = start + shift
        else:
            first = np.asarray(start)
            if first.dtype.kind not in "iu" or first.shape not in ((), (batch,)):
                raise ValueError(f"start must be an int or host integers of shape ({batch},); got {start!r}")
            first = first[..., None] + shift
            lowest, highest = (int(first.min()), int(first.max())) if first.size else (0, 0)
        end = highest + tokens
        if lowest < 0:
            raise ValueError(f"positions start at {lowest}; start must not be negative")
        if end > self.config.context:
            past = "" if cache is None else f" + {cache.length} in the cache"
            shift = f" + shift {self.position_shift}" if self.position_shift else ""
            raise ValueError(f"{tokens} tokens{past} starting at {np.max(start)}{shift} need {end} positions, but "
                             f"the context is {self.config.context}. Shorten the sequence, or make the model with "
                             f"GPTConfig(context={end})")
        return first + np.arange(tokens)                        # () or (1,) -> (T,), (B, 1) -> (B, T)
