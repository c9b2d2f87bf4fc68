"""Several adapters of one model at once: a weighted mixture of them, or a batch whose rows use different ones."""
from __future__ import annotations

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.nn import functional as F
from minigrad.ops import cat
from minigrad.peft.adapted import AdaptedModel
from minigrad.peft.lora import LoRA, lora_layers
from minigrad.peft.method import fill, of_kind
from minigrad.peft.targets import WRAPPED


def mix(adapted: AdaptedModel, name: str, weights: dict[str, float]) -> AdaptedModel:
    """Add an adapter `name` that is the mixture Σ w_i · adapter_i of the adapters in `weights`; it becomes active.

    LoRA adapters, whatever their ranks and targets: ΔW = Σ w_i·s_i·B_i·A_i exactly, as one LoRA with the A_i stacked and
    rank Σ r_i (2r_i for PiSSA, k·r_i for k slices of a fused layer). (Averaging A and B each by itself would mix every
    B_i with every A_j.) Other methods: all must be of one kind with the same settings; their own parameters are
    averaged, θ₀ + Σ w_i·(θ_i − θ₀) where the base has the parameter too. That is exact where the function is linear in
    them, and a guess otherwise (adapters, prefixes).
    Returns `adapted`. Raises KeyError for an unknown adapter, ValueError for adapters that cannot be mixed.

    >>> import minigrad as mg
    >>> gpt = mg.models.GPT(mg.models.GPTConfig(vocab_size=11, context=8, d_model=16, n_layers=2, n_heads=2))
    >>> adapted = mg.peft.apply(gpt, mg.peft.LoRA(rank=2), name="rhyme").add("accent", mg.peft.LoRA(rank=3))
    >>> mix(adapted, "both", {"rhyme": 0.5, "accent": 0.5}).method.rank
    5
    """
    if not weights:
        raise ValueError("mix needs the weight of at least one adapter: {name: weight, …}")
    entries = {n: adapted._entry(n) for n in weights}
    weights = {n: of_kind(w, "float", f"mix: the weight of {n!r}") for n, w in weights.items()}
    if merged := [n for n, e in entries.items() if e.merged]:
        raise ValueError(f"adapter {merged[0]!r} is merged: unmerge() before mixing")
    methods = [e.method for e in entries.values()]
    if all(isinstance(m, LoRA) and m.plain for m in methods):
        return _mix_lora(adapted, name, weights, entries)
    if any(m != methods[0] for m in methods):
        raise ValueError("only LoRA adapters without biases may differ when they are mixed; got "
                         + ", ".join(f"{n}: {e.method!r}" for n, e in entries.items()))
    base = {n: p.numpy() for n, p in adapted.base.named_parameters(remove_duplicate=False)}
    own = {n: adapted.own_parameters(n) for n in weights}
    adapted.add(name, methods[0], rng=host.np.random.default_rng(0))
    values = {}
    for path in adapted.own_parameters():
        start = base.get(path.replace(WRAPPED, ""), 0.0)
        values[path] = start + sum(w * (own[n][path].numpy() - start) for n, w in weights.items())
    fill(adapted.own_parameters(), values)
    return adapted


def _mix_lora(adapted, name, weights, entries) -> AdaptedModel:
    np, places = host.np, {}
    for n, entry in entries.items():
        for path, module in lora_layers(entry.tree).items():
            A, B = module.factors()
            places.setdefault(path, []).append((A, weights[n] * module.scale * B))
    rank = max(sum(A.shape[0] for A, _ in found) for found in places.values())
    # alpha = rank makes the new scale 1: the old ones are in B.
    adapted.add(name, LoRA(rank=rank, alpha=rank, targets=tuple(places)), rng=np.random.default_rng(0))
    for path, found in places.items():
        A = np.concatenate([A for A, _ in found])                                           # (Σr, in)
        B = np.concatenate([B for _, B in found], axis=1)                                   # (out, Σr)
        rest = rank - A.shape[0]                    # a target that not all have: filled up with zeros
        fill(dict(zip("AB", adapted.model.get_submodule(path).factor_parameters(), strict=True)),
             {"A": np.pad(A, ((0, rest), (0, 0))), "B": np.pad(B, ((0, 0), (0, rest)))})
    return adapted


def forward_rows(adapted: AdaptedModel, ids, adapters) -> Tensor:
    """Logits (B, T, V) for a batch whose row b uses the adapter adapters[b]; None is the base.

    Rows are sorted by adapter and each group runs through its own tree, so that methods of any kind can share a batch.
    Differentiable. Leaves the active adapter as it is.
    """
    ids, groups = host.np.asarray(ids), _groups(adapted, adapters, len(ids))
    parts = [tree(ids[rows]) for tree, rows in groups]
    together = cat(parts, dim=0)                                                            # (B, T, V), grouped
    back = host.np.argsort(host.np.concatenate([rows for _, rows in groups]))
    B, T, V = together.shape
    return F.embedding(back, together.reshape(B, T * V)).reshape(B, T, V)


def generate_rows(adapted: AdaptedModel, prompts, max_new_tokens: int, adapters, **options) -> list:
    """Continue prompt b with the adapter adapters[b] (None: the base); otherwise as GPT.generate."""
    found = [None] * len(prompts)
    for tree, rows in _groups(adapted, adapters, len(prompts)):
        for b, new in zip(rows, tree.generate([prompts[b] for b in rows], max_new_tokens, **options), strict=True):
            found[b] = new
    return found


def _groups(adapted: AdaptedModel, adapters, count: int) -> list:
    """[(tree, rows)] in the order in which the adapters are first named."""
    adapters = list(adapters)
    if len(adapters) != count:
        raise ValueError(f"{count} rows need {count} names of adapters (or None for the base); got {len(adapters)}")
    groups = []
    for name in dict.fromkeys(adapters):
        if name is None:
            with adapted.disabled():
                tree = adapted.running
        else:
            tree = adapted._entry(name).tree.train(adapted.training)
        groups.append((tree, host.np.array([b for b, n in enumerate(adapters) if n == name])))
    return groups
