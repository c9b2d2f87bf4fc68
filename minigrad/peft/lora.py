"""LoRA: learn the change of a weight matrix as a product of two thin ones."""
from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import ClassVar

from minigrad.backend import host
from minigrad.nn import Embedding, Module
from minigrad.peft.clone import thaw
from minigrad.peft.fused import SlicedLoRALinear
from minigrad.peft.lora_embedding import LoRAEmbedding
from minigrad.peft.lora_init import INITS, RESIDUAL, initial
from minigrad.peft.lora_layer import LoRALinear
from minigrad.peft.method import Method, of_kind, one_of, positive, whole_number
from minigrad.peft.registry import register
from minigrad.peft.targets import embedding_shapes, find_layers, linear_shapes, match, matches

SCALINGS = {"alpha": lambda alpha, r: alpha, "alpha/r": lambda alpha, r: alpha / r,
            "alpha/sqrt(r)": lambda alpha, r: alpha / math.sqrt(r)}
LAYERS = (LoRALinear, LoRAEmbedding)                # what LoRA puts in a target's place (or a kind of these)
OPTIONS = ("layers", "rank_pattern", "alpha_pattern", "slices", "lora_bias")     # shown only where they are used


@register
@dataclass(frozen=True, repr=False)
class LoRA(Method):
    """y = W₀x + b + s·B(A·dropout(x)), with A (r, in) and B (out, r) trained and W₀ frozen: ΔW = s·BA has rank ≤ r.

    scaling: s = α ("alpha"), α/r ("alpha/r", the paper's), or α/√r ("alpha/sqrt(r)", rank-stabilized, 2312.03732).
    init: "kaiming", "gaussian", "zero_a", "random", "pissa" or "olora": see lora_init.py. "random" does not start at the
    base; "pissa" and "olora" freeze W_res = W₀ − s·B₀A₀ in W₀'s place. An embedding starts with A = 0, whatever `init`.
    targets: names, patterns, "re:…", "all-linear" (targets.py), embeddings too; every one must match. layers: only in
    these blocks. rank_pattern, alpha_pattern: {target: its own rank or alpha}; the first that matches counts.
    bias: which biases are trained as well: "none", "all" of the model, or "lora_only", those of the targets.
    slices: for fused projections, such as (True, False, True): a pair per enabled slice of the output (fused.py); None is
    one pair across. lora_bias: B has a bias of its own, s·(B(Ax) + β), which merges into b.
    Count: Σ over targets r·(in + out), plus the biases, lora_bias's out; with k of n slices r·k·(in + out/n).
    Starts at the base: yes (BA = 0). Mergeable: yes, W₀ + s·BA. Paper: arXiv 2106.09685.

    >>> import minigrad as mg
    >>> config = mg.models.GPTConfig(vocab_size=80)
    >>> LoRA(rank=8).count(config), LoRA(rank=8, targets="all-linear").count(config)
    (16384, 73728)
    >>> LoRA(rank=8, layers=(2, 3), rank_pattern={"v_proj": 4}).count(config)       # 2 · (8 + 4) · (128 + 128)
    6144
    """

    rank: int = 8
    alpha: float = 16
    targets: tuple[str, ...] | str = ("q_proj", "v_proj")
    dropout: float = 0.0
    scaling: str = "alpha/r"
    init: str = "kaiming"
    bias: str = "none"
    layers: tuple[int, ...] | None = None
    rank_pattern: dict | None = field(default=None, hash=False)
    alpha_pattern: dict | None = field(default=None, hash=False)
    slices: tuple[bool, ...] | None = None
    lora_bias: bool = False

    name = "lora"
    paper = "2106.09685"
    formula = "Σ r·(in + out)"
    mergeable = True
    extra_latency = "none once merged; else two thin layers per target"
    needs = ()
    low_rank: ClassVar[bool] = True                 # whether ΔW is a product of two factors
    layer_class: ClassVar[type] = LoRALinear
    plain_linears: ClassVar[bool] = False           # a variant that has neither embeddings nor slices

    def __post_init__(self):
        super().__post_init__()
        kind = type(self).__name__
        whole_number(self.rank, f"{kind}: rank")
        one_of(self.scaling, tuple(SCALINGS), f"{kind}: scaling")
        one_of(self.init, INITS, f"{kind}: init")
        one_of(self.bias, ("none", "all", "lora_only"), f"{kind}: bias")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"{kind}: dropout must lie in 0 … 1 (at 1 nothing would be left); got {self.dropout!r}")
        positive(self.alpha, f"{kind}: alpha")
        for name in ("rank_pattern", "alpha_pattern"):
            object.__setattr__(self, name, dict(getattr(self, name)) if getattr(self, name) else None)
        for target, rank in (self.rank_pattern or {}).items():
            whole_number(rank, f"{kind}: the rank of {target!r}")
        for target, alpha in (self.alpha_pattern or {}).items():
            positive(of_kind(alpha, "float", what := f"{kind}: the alpha of {target!r}"), what)
        if self.plain_linears and (self.slices is not None or self.lora_bias):
            raise ValueError(f"{kind} has no {'lora_bias' if self.lora_bias else 'slices'}; LoRA has")
        if self.slices is not None and self.lora_bias:
            raise ValueError(f"{kind}: slices and lora_bias do not go together; got slices={self.slices}")
        if self.slices is not None and (self.init in RESIDUAL or not any(self.slices)):
            raise ValueError(f"{kind}: slices needs at least one True, and an init other than 'pissa' and 'olora', which "
                             f"split a whole weight; got slices={self.slices}, init={self.init!r}")

    def __repr__(self) -> str:
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        shown = ", ".join(f"{n}={v!r}" for n, v in values.items() if v not in (None, False) or n not in OPTIONS)
        return f"{type(self).__name__}({shown})"

    @property
    def scale(self) -> float:
        """s, the factor in front of BA, for a target without a rank or alpha of its own."""
        return float(SCALINGS[self.scaling](self.alpha, self.rank))

    @property
    def plain(self) -> bool:
        """Whether all that is learned are products of two factors, which can be stacked (mixture.py, to_lora)."""
        return self.low_rank and self.bias == "none" and not self.lora_bias

    def rank_and_scale(self, path: str) -> tuple[int, float]:
        """The rank and s of the target at a path."""
        rank, alpha = (next((v for target, v in (pattern or {}).items() if matches(target, path)), default)
                       for pattern, default in ((self.rank_pattern, self.rank), (self.alpha_pattern, self.alpha)))
        return rank, float(SCALINGS[self.scaling](alpha, rank))

    # ---- building ---------------------------------------------------------------------------------------------------

    def attach(self, model: Module, rng) -> Module:
        """Wrap every target; thaw biases where asked."""
        places = find_layers(model, self.targets, self.layers)
        self._check_patterns(places)
        tied = [m.weight for m in (getattr(model, n, None) for n in ("head", "token_embedding")) if hasattr(m, "weight")]
        for path, place in places.items():
            layer = model.get_submodule(place)
            self._check(path, *layer.weight.shape, isinstance(layer, Embedding), getattr(layer, "bias", None) is not None)
            if path in ("head", "token_embedding") and len({id(w) for w in tied}) < len(tied):
                raise ValueError(f"{type(self).__name__}: the head is tied to the token embedding, and merging would change "
                                 f"both. Leave {path!r} out of the targets, or use a model with tie_head=False")
            if self.bias == "lora_only" and getattr(layer, "bias", None) is not None:
                thaw(layer.bias)
            model.set_submodule(place, self.wrap(path, layer, rng))
        if self.bias == "all":
            for name, p in model.named_parameters():
                if name.endswith("bias") and not p.requires_grad:
                    thaw(p)
        return model

    def wrap(self, path: str, layer: Module, rng) -> Module:
        """What comes in the place of a target."""
        (rank, scale), (out, width) = self.rank_and_scale(path), layer.weight.shape
        if isinstance(layer, Embedding):
            A, B = initial("random" if self.init == "random" else "zero_a", rank, scale, (width, out), rng)
            return LoRAEmbedding(layer, A, B, scale)
        if self.slices is not None:
            pairs, parts = self._pairs(False)
            drawn = [initial(self.init, rank, scale, (out // parts, width), rng) for _ in range(pairs)]
            A, B = (host.np.concatenate(matrices) for matrices in zip(*drawn, strict=True))
            return SlicedLoRALinear(layer, A, B, scale, self.dropout, self.slices)
        split = self.init in RESIDUAL
        A, B = initial(self.init, rank, scale, (out, width), rng, layer.weight.numpy() if split else None)
        return self.layer_class(layer, A, B, scale, self.dropout, split=split, biased=self.lora_bias)

    def count(self, config) -> int:
        """r·(in + out) for each target, and the biases that are trained."""
        linears = linear_shapes(config)
        n = sum(rank * (out + width) for rank, out, width in self._sizes(config))
        with_bias = [p for p in linears if p != "head"]                         # the head has no bias
        paths = match(self.targets, {**linears, **embedding_shapes(config)}, self.layers)
        n += sum(linears[p][0] for p in with_bias if p in paths) * (self.lora_bias + (self.bias == "lora_only"))
        if self.bias == "all":
            n += (2 * config.n_layers + 1) * config.d_model + sum(linears[p][0] for p in with_bias)
        return n

    def _sizes(self, config) -> list[tuple[int, int, int]]:
        """(rank, out, in) of every pair A, B."""
        tables = embedding_shapes(config)
        shapes, sizes = {**linear_shapes(config), **tables}, []
        paths = match(self.targets, shapes, self.layers, tables)
        self._check_patterns(paths)
        for path in paths:
            (out, width), (pairs, parts) = shapes[path], self._pairs(path in tables)
            self._check(path, out, width, path in tables, path not in tables and path != "head")
            sizes += pairs * [(self.rank_and_scale(path)[0], out // parts, width)]
        return sizes

    def describe(self) -> str:
        """The hyper-parameters and the scale that follows from them."""
        others = " (some targets have a rank or an alpha of their own)" if self.rank_pattern or self.alpha_pattern else ""
        return f"{self!r}\neffective scaling: s = {self.scaling} = {self.scale:g}{others}"

    # ---- merging ----------------------------------------------------------------------------------------------------

    def merge(self, model: Module) -> None:
        """W ← W₀ + s·BA in every target."""
        for m in lora_layers(model).values():
            m.merge()

    def unmerge(self, model: Module) -> None:
        """W ← W₀ in every target, the very arrays."""
        for m in reversed(lora_layers(model).values()):
            m.unmerge()

    # ---- checks -----------------------------------------------------------------------------------------------------

    def _check_patterns(self, paths) -> None:
        for name in ("rank_pattern", "alpha_pattern"):
            for target in getattr(self, name) or ():
                if not any(matches(target, path) for path in paths):
                    raise ValueError(f"{type(self).__name__}: {name} names {target!r}, which is none of the targets: "
                                     f"{', '.join(paths)}")

    def _check(self, path: str, out_features: int, in_features: int, table: bool, has_bias: bool) -> None:
        parts, kind = self._pairs(table)[1], type(self).__name__
        if table and self.plain_linears:
            raise ValueError(f"{kind} works on linear layers, and {path} is an embedding: take it out of the targets, or use "
                             "LoRA")
        if self.lora_bias and not has_bias:
            raise ValueError(f"{kind}: lora_bias needs layers with a bias to merge into, and {path} has none")
        if out_features % parts:
            raise ValueError(f"{kind}: {path} has {out_features} outputs, which cannot be cut into {parts} equal slices")
        rank, most = self.rank_and_scale(path)[0], min(out_features // parts, in_features)
        if rank > most:
            raise ValueError(f"{kind}: rank {rank} is too large for {path}, whose weight is {out_features // parts} × "
                             f"{in_features}{' in each slice' if parts > 1 else ''}: its rank is at most {most}. Choose a "
                             "smaller rank")

    def _pairs(self, table: bool) -> tuple[int, int]:
        """How many pairs A, B a target has, and into how many slices its output is cut."""
        return (1, 1) if self.slices is None or table else (sum(map(bool, self.slices)), len(self.slices))


def alpha_for(scaling: str, scale: float, rank: int) -> float:
    """The alpha that gives s = `scale` at this rank, to twelve digits.

    >>> alpha_for("alpha/r", 2.0, 8)
    16
    """
    alpha = float(f"{scale / SCALINGS[scaling](1.0, rank):.12g}")
    return int(alpha) if alpha.is_integer() else alpha


def lora_layers(model: Module) -> dict[str, Module]:
    """{place: layer} of every layer that LoRA or one of its variants has wrapped."""
    return {name: m for name, m in model.named_modules() if isinstance(m, LAYERS)}
