"""PiSSA: LoRA that starts from the largest singular values of the weight and freezes the rest."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.backend import host
from minigrad.peft.adapted import AdaptedModel
from minigrad.peft.lora import LoRA, alpha_for, lora_layers
from minigrad.peft.lora_init import RESIDUAL
from minigrad.peft.method import fill
from minigrad.peft.registry import register


@register
@dataclass(frozen=True, repr=False)
class PiSSA(LoRA):
    """y = W_res·x + b + s·B(Ax): W₀ = U S Vᵀ, A = √(S_r/s) V_rᵀ and B = U_r √(S_r/s) trained, W_res = W₀ − s·B₀A₀ frozen.

    The trained part holds what the layer does most, so it moves from the first step, A as well as B. With init="olora" the
    same is done with the first columns of a QR decomposition (arXiv 2406.01775).
    The base's arrays are not written into: see lora_layer.py. `to_lora` gives a plain LoRA of rank 2r for the original W₀.
    Count: as LoRA's. Starts at the base: yes. Mergeable: yes. Paper: arXiv 2404.02948.

    >>> import minigrad as mg
    >>> PiSSA(rank=8).count(mg.models.GPTConfig(vocab_size=80))
    16384
    """

    init: str = "pissa"

    name = "pissa"
    paper = "2404.02948"
    extra_latency = "none once merged; else four thin layers per target"

    def __post_init__(self):
        super().__post_init__()
        if self.init not in RESIDUAL:
            raise ValueError(f"PiSSA: init must be one of {', '.join(map(repr, RESIDUAL))}; got {self.init!r}. For the others "
                             "use LoRA")


def to_lora(adapted: AdaptedModel, name: str = "lora") -> AdaptedModel:
    """Add the active adapter, a LoRA that split the weights or their outputs, as a plain LoRA called `name`; it becomes
    active.

    ΔW = s·(BA − B₀A₀) = s·[B, −B₀]·[A; A₀]: rank 2r, and 2α for s = α/r, on the base as it is, so that the file is good for
    anyone who has the base (PEFT calls this subtracting the mutated initialization). Pairs for k slices of a fused
    layer become one of rank k·r. Returns `adapted`. Raises ValueError for DoRA, whose change is of no low rank, for other
    methods, and where the rank would exceed a matrix's.

    >>> import minigrad as mg
    >>> gpt = mg.models.GPT(mg.models.GPTConfig(vocab_size=11, context=8, d_model=16, n_layers=2, n_heads=2))
    >>> to_lora(mg.peft.apply(gpt, PiSSA(rank=2, alpha=6))).method
    LoRA(rank=4, alpha=12, targets=('q_proj', 'v_proj'), dropout=0.0, scaling='alpha/r', init='kaiming', bias='none')
    """
    old, tree = adapted.method, adapted.model
    if not (isinstance(old, LoRA) and old.plain):
        raise ValueError(f"only low-rank changes of weights, without trained biases, are a plain LoRA; this adapter is {old!r}")
    if adapted.merged:
        raise ValueError(f"adapter {adapted.active!r} is merged: unmerge() it first")
    found = {path: (m.factors(), m.scale) for path, m in lora_layers(tree).items()}
    ranks = {path: A.shape[0] for path, ((A, _), _) in found.items()}
    rank = max(ranks.values())
    alphas = {path: alpha_for(old.scaling, scale, ranks[path]) for path, (_, scale) in found.items()}
    alpha = next(alphas[path] for path in found if ranks[path] == rank)
    plain = LoRA(rank=rank, alpha=alpha, targets=old.targets, scaling=old.scaling, layers=old.layers,
                 rank_pattern={path: r for path, r in ranks.items() if r != rank},
                 alpha_pattern={path: a for path, a in alphas.items() if a != alpha})
    adapted.add(name, plain, rng=host.np.random.default_rng(0))
    for path, ((A, B), _) in found.items():
        fill(dict(zip("AB", adapted.model.get_submodule(path).factor_parameters(), strict=True)), {"A": A, "B": B})
    return adapted
