"""Prefix tuning: every layer gets P trained keys and values that all tokens may look at."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from minigrad.autograd import Tensor, no_grad
from minigrad.backend import host
from minigrad.nn import Module, MultiHeadAttention, Parameter
from minigrad.peft.layers import Affine
from minigrad.peft.method import Method, fill, one_of, parameter, whole_number
from minigrad.peft.registry import register

FILE_KEY = "prompt_embeddings"                      # PEFT's one tensor (P, 2·L·D): for each slot K₀ V₀ K₁ V₁ …


class Prefix(Module):
    """One layer's trained keys and values, each (H, P, D/H); attention calls it with the batch size."""

    def __init__(self, key: Parameter, value: Parameter):
        super().__init__()
        self.key, self.value = key, value

    def forward(self, batch: int) -> tuple[Tensor, Tensor]:
        """(H, P, D/H) -> (B, H, P, D/H), twice."""
        return tuple(t.unsqueeze(0).expand(batch, *t.shape) for t in (self.key, self.value))


class PrefixTrunk(Module):
    """The part of the reparametrization that all layers share: tanh(W·E + b), (P, D) -> (P, m)."""

    def __init__(self, embedding: Parameter, hidden: Affine):
        super().__init__()
        self.embedding, self.hidden = embedding, hidden

    def forward(self) -> Tensor:
        """(P, m). Each layer computes it anew: P·D·m multiplications are nothing beside attention's."""
        return self.hidden(self.embedding).tanh()


class ReparametrizedPrefix(Module):
    """One layer's keys and values as the output of a small network, which trains more steadily than they do."""

    def __init__(self, trunk: PrefixTrunk, out: Affine, n_heads: int):
        super().__init__()
        self.trunk, self.out, self.n_heads = trunk, out, n_heads

    def forward(self, batch: int) -> tuple[Tensor, Tensor]:
        """(P, m) -> (P, 2·D) -> (P, 2, H, D/H) -> (2, H, P, D/H) -> (B, H, P, D/H), twice."""
        both = self.out(self.trunk())
        both = both.reshape(both.shape[0], 2, self.n_heads, -1).permute(1, 2, 0, 3)
        return tuple(both[i].unsqueeze(0).expand(batch, *both.shape[1:]) for i in (0, 1))


@register
@dataclass(frozen=True)
class PrefixTuning(Method):
    """head = softmax(q·[P_k; K]ᵀ/√d)·[P_v; V] in every layer: P = length trained rows before the real keys and values.

    Only real tokens ask queries, so the scores are T × (P + T), and every token sees the whole prefix.
    hidden=m: the rows are made by a network E (P, D) → tanh(W E + b) (P, m) → (P, 2·D) per layer; `bake()` replaces it
    by the rows it gives once training is over.
    positions: "shift" puts real tokens at P, P+1, … (as if the prefix had been read; the context shrinks by P), "keep"
    leaves them at 0, 1, ….
    init: "activations" takes the keys and values the frozen model computes for random tokens, "random" N(0, 0.02²).
    Count: 2·L·P·D, or with hidden P·D + (D·m + m) + L·(2D·m + 2D).
    With hidden=None this is also P-tuning v2 (arXiv 2110.07602).
    Starts at the base: no; even zero keys draw attention (e⁰ = 1). Mergeable: no. Paper: arXiv 2101.00190.

    >>> import minigrad as mg
    >>> PrefixTuning(length=8).count(mg.models.GPTConfig(vocab_size=80))     # 2 · 4 · 8 · 128
    8192
    """

    length: int = 8
    hidden: int | None = None
    positions: str = "shift"
    init: str = "activations"

    name = "prefix"
    paper = "2101.00190"
    formula = "2L·P·d"
    starts_at_base = False
    why_not_mergeable = "its keys and values depend on no weight that they could be added to"
    extra_latency = "P more keys and values per layer"

    def __post_init__(self):
        super().__post_init__()
        kind = type(self).__name__
        whole_number(self.length, f"{kind}: length")
        if self.hidden is not None:
            whole_number(self.hidden, f"{kind}: hidden")
        one_of(self.positions, ("shift", "keep"), f"{kind}: positions")
        one_of(self.init, ("activations", "random"), f"{kind}: init")

    def attach(self, model: Module, rng) -> Module:
        """Give every attention its prefix."""
        c, like, P = model.config, model.token_embedding.weight, self.length
        if P + 1 > c.context:
            raise ValueError(f"{type(self).__name__}: length={P} leaves no room in a context of {c.context}; it must be "
                             f"at most {c.context - 1}")
        if self.init == "activations":
            rows = activations(model, rng.integers(0, c.vocab_size, P))
        else:
            rows = 0.02 * rng.standard_normal((c.n_layers, 2, c.n_heads, P, c.d_model // c.n_heads))
        if self.hidden is None:
            for attn, (key, value) in zip(attentions(model), rows, strict=True):
                occupy(attn, "prefix", Prefix(parameter(key, like), parameter(value, like)), self)
        else:
            self._attach_network(model, rows, like, rng)
        if self.positions == "shift":
            model.position_shift += P
        return model

    def count(self, config) -> int:
        """The keys and values themselves, or the network that makes them."""
        L, P, d, m = config.n_layers, self.length, config.d_model, self.hidden
        return 2 * L * P * d if m is None else P * d + (d * m + m) + L * (2 * d * m + 2 * d)

    def bake(self, model: Module) -> PrefixTuning:
        """Replace the network by the keys and values it gives; they are trained on directly from then on."""
        for attn in attentions(model):
            old, like = attn.prefix, model.token_embedding.weight
            if isinstance(old, ReparametrizedPrefix):
                with no_grad():
                    key, value = old(1)
                attn.prefix = Prefix(parameter(key.numpy()[0], like), parameter(value.numpy()[0], like))
                attn.prefix.requires_grad_(old.out.weight.requires_grad)
        return self.stored()

    def stored(self) -> PrefixTuning:
        """Files hold the baked prefix."""
        return dataclasses.replace(self, hidden=None)

    def state(self, model: Module, own) -> dict:
        """The keys and values of all layers as PEFT's one tensor (P, 2·L·D)."""
        with no_grad():
            rows = [t.numpy()[0] for attn in attentions(model) for t in attn.prefix(1)]     # 2·L times (H, P, D/H)
        return {FILE_KEY: host.np.stack(rows).transpose(2, 0, 1, 3).reshape(self.length, -1)}

    def load_state(self, model: Module, own, state: dict) -> None:
        """Put PEFT's tensor back into the layers."""
        if self.hidden is not None:
            raise ValueError("a prefix file holds baked keys and values, which a network (hidden=…) cannot take; "
                             "call bake() first")
        c = model.config
        shape = (self.length, 2 * c.n_layers * c.d_model)
        if set(state) == {FILE_KEY} and state[FILE_KEY].shape == shape:
            rows = state[FILE_KEY].reshape(self.length, 2 * c.n_layers, c.n_heads, -1).transpose(1, 2, 0, 3)
            fill(own, dict(zip(own, rows, strict=True)))    # own: key and value of layer 0, of layer 1, …
        else:
            raise ValueError(f"a prefix for this model is one tensor {FILE_KEY!r} of shape {shape}; the file has "
                             + ", ".join(f"{n} {tuple(a.shape)}" for n, a in state.items()))

    def _attach_network(self, model, rows, like, rng) -> None:
        np, P, d, m = host.np, self.length, model.config.d_model, self.hidden
        embedding = rng.standard_normal((P, d))
        weight = rng.uniform(-1.0, 1.0, (m, d)) / np.sqrt(d)
        trunk = PrefixTrunk(parameter(embedding, like), Affine(parameter(weight, like), parameter(np.zeros(m), like)))
        h = np.tanh(embedding @ weight.T)                   # (P, m)
        for attn, pair in zip(attentions(model), rows, strict=True):
            # Least squares makes the network start at the wanted rows: (2, H, P, D/H) -> (P, 2·D), exactly where m ≥ P.
            wanted = np.asarray(pair, dtype=np.float64).transpose(2, 0, 1, 3).reshape(P, 2 * d)
            out = np.linalg.lstsq(h, wanted, rcond=None)[0].T
            out = Affine(parameter(out, like), parameter(np.zeros(2 * d), like))
            occupy(attn, "prefix", ReparametrizedPrefix(trunk, out, model.config.n_heads), self)


def attentions(model: Module) -> list[MultiHeadAttention]:
    """The attention of every layer, whatever is wrapped around it."""
    return [m for m in model.modules() if isinstance(m, MultiHeadAttention)]


def occupy(attn: MultiHeadAttention, place: str, thing, method: Method) -> None:
    """Put `thing` at one of attention's open places; ValueError where another method has put something there."""
    if getattr(attn, place) is not None:
        raise ValueError(f"{type(method).__name__}: attention has one place for a {place}, and a method before it has taken "
                         "that. Combine methods that need different places, or put this one into an adapter of its own")
    setattr(attn, place, thing)


def activations(model: Module, ids) -> list:
    """Per layer the host arrays (key, value), each (H, T, D/H), that `model` computes for one sequence of ids (T,).

    A prefix that holds them does what reading these tokens would do: give `PrefixTuning` real words to start from.
    """
    cache = model.new_cache(1, len(ids))
    with no_grad():
        model(host.np.asarray(ids)[None], cache=cache)
    to_numpy = model.token_embedding.weight.backend.to_numpy
    return [(to_numpy(layer.k)[0, :, :len(ids)], to_numpy(layer.v)[0, :, :len(ids)]) for layer in cache.layers]


def set_prefix(model: Module, rows) -> None:
    """Overwrite a (baked) prefix with the keys and values of `activations`."""
    for attn, (key, value) in zip(attentions(model), rows, strict=True):
        fill({"key": attn.prefix.key, "value": attn.prefix.value}, {"key": key, "value": value})
