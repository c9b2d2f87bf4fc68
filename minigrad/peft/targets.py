"""Which layers a method goes to: names in, dotted paths out. Every name must match something."""
from __future__ import annotations

import difflib
from fnmatch import fnmatchcase

from minigrad.nn import Linear, Module

WRAPPED = ".base_layer"                             # where a wrapper keeps the layer it wraps (PEFT's word)


def linear_shapes(config) -> dict[str, tuple[int, int]]:
    """{path: (out_features, in_features)} of every linear layer of a GPT with this configuration."""
    d, f = config.d_model, config.d_ff or 4 * config.d_model
    shapes = {}
    for i in range(config.n_layers):
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes[f"blocks.{i}.attn.{name}"] = (d, d)
        shapes[f"blocks.{i}.mlp.up_proj"] = (f, d)
        shapes[f"blocks.{i}.mlp.down_proj"] = (d, f)
    shapes["head"] = (config.vocab_size, d)
    return shapes


def block_count(config) -> int:
    """Parameters of one GPT block: 4 projections d·d, an MLP d → f → d, their biases, two layer norms: 12d² + 13d."""
    d, f = config.d_model, config.d_ff or 4 * config.d_model
    return 4 * (d * d + d) + (f * d + f) + (d * f + d) + 2 * 2 * d


def find_linears(model: Module, targets) -> dict[str, str]:
    """{path: where its Linear is now} for the targets in `model`; the two differ where a wrapper came before."""
    places = {name.replace(WRAPPED, ""): name for name, m in model.named_modules() if isinstance(m, Linear)}
    return {path: places[path] for path in match(targets, places)}


def match(targets, paths) -> list[str]:
    """The paths that `targets` name, in the model's order.

    A target is the end of a path ("q_proj", "attn.q_proj"), a whole path, or a pattern over whole paths
    ("blocks.[01].*.q_proj"); "all-linear" is every linear layer but the head. ValueError for a target without a match.

    >>> match(["q_proj"], ["blocks.0.attn.q_proj", "blocks.0.attn.k_proj"])
    ['blocks.0.attn.q_proj']
    """
    paths = list(paths)
    names = [targets] if isinstance(targets, str) else list(targets)
    found = set()
    for target in names:
        hits = [p for p in paths if matches(target, p)]
        if not hits:
            endings = list(dict.fromkeys(p.rpartition(".")[2] for p in paths))
            close = difflib.get_close_matches(target, endings, 1)
            raise ValueError(f"target {target!r} matches no linear layer of this model. Available: "
                             f"{', '.join(endings)}, whole paths such as {paths[0]!r}, patterns with * and "
                             "'all-linear'" + (f". Did you mean {close[0]!r}?" if close else ""))
        found.update(hits)
    if not found:
        raise ValueError(f"no targets were given ({targets!r}); name at least one layer, such as 'q_proj'")
    return [p for p in paths if p in found]


def matches(target: str, path: str) -> bool:
    """Whether one target names the layer at this path."""
    if target == "all-linear":
        return path.rpartition(".")[2] != "head"
    if any(c in target for c in "*?["):
        return fnmatchcase(path, target)
    return path == target or path.endswith("." + target)


def place(model: Module, path: str) -> str:
    """Where the module that the base has at `path` is now, with whatever an earlier method wrapped around it.

    >>> import minigrad as mg
    >>> gpt = mg.models.GPT(mg.models.GPTConfig(vocab_size=11, context=8, d_model=16, n_layers=1, n_heads=2))
    >>> place(gpt, "blocks.0.mlp")
    'blocks.0.mlp'
    """
    for name, _ in model.named_modules():           # outside in: the outermost wrapper comes first
        if name.replace(WRAPPED, "") == path and not name.endswith(WRAPPED):
            return name
    raise ValueError(f"this model has no layer {path!r}")
