"""Which layers a method goes to: names in, dotted paths out. Every name must match something."""
from __future__ import annotations

import difflib
import re
from fnmatch import fnmatchcase

from minigrad.nn import Embedding, Linear, Module

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


def embedding_shapes(config) -> dict[str, tuple[int, int]]:
    """{path: (num_embeddings, embedding_dim)} of every table of a GPT with this configuration."""
    shapes = {"token_embedding": (config.vocab_size, config.d_model)}
    if config.positions == "learned":
        shapes["position_embedding"] = (config.context, config.d_model)
    return shapes


def block_count(config) -> int:
    """Parameters of one GPT block: 4 projections d·d, an MLP d → f → d, their biases, two layer norms: 12d² + 13d."""
    d, f = config.d_model, config.d_ff or 4 * config.d_model
    return 4 * (d * d + d) + (f * d + f) + (d * f + d) + 2 * 2 * d


def find_linears(model: Module, targets) -> dict[str, str]:
    """{path: where its Linear is now} for the targets in `model`; the two differ where a wrapper came before."""
    places = _places(model, Linear)
    return {path: places[path] for path in match(targets, places)}


def find_layers(model: Module, targets, layers=None) -> dict[str, str]:
    """{path: where it is now} of the targets that are linear layers or embeddings; `layers` as in `match`."""
    tables = _places(model, Embedding)
    places = {**_places(model, Linear), **tables}
    return {path: places[path] for path in match(targets, places, layers, tables)}


def _places(model: Module, kinds) -> dict[str, str]:
    return {name.replace(WRAPPED, ""): name for name, m in model.named_modules() if isinstance(m, kinds)}


def match(targets, paths, layers=None, tables=()) -> list[str]:
    """The paths that `targets` name, in the model's order.

    A target is the end of a path ("q_proj", "attn.q_proj"), a whole path, a pattern over whole paths
    ("blocks.[01].*.q_proj"), or "re:" and a regular expression for whole paths ("re:.*attn\\.(q|v)_proj"). "all-linear"
    is every linear layer but the head; embeddings (`tables` among the paths) must be named.
    layers: numbers of blocks; of what was found, only what lies in these is kept.
    ValueError for a target, or a number in `layers`, without a match.

    >>> match(["q_proj"], ["blocks.0.attn.q_proj", "blocks.0.attn.k_proj"])
    ['blocks.0.attn.q_proj']
    >>> match("re:.*(q|v)_proj", ["blocks.0.attn.q_proj", "blocks.1.attn.v_proj"], layers=[1])
    ['blocks.1.attn.v_proj']
    """
    paths = list(paths)
    names = [targets] if isinstance(targets, str) else list(targets)
    found = set()
    for target in names:
        hits = [p for p in paths if matches(target, p) and not (target == "all-linear" and p in tables)]
        if not hits:
            endings = list(dict.fromkeys(p.rpartition(".")[2] for p in paths))
            close = difflib.get_close_matches(target, endings, 1)
            raise ValueError(f"target {target!r} matches no linear layer of this model. Available: "
                             f"{', '.join(endings)}, whole paths such as {paths[0]!r}, patterns with *, regular "
                             "expressions behind 're:' and 'all-linear'" + (f". Did you mean {close[0]!r}?" if close else ""))
        found.update(hits)
    if not found:
        raise ValueError(f"no targets were given ({targets!r}); name at least one layer, such as 'q_proj'")
    if layers is not None:
        found = {p for p in found if block_number(p) in layers}
        if empty := sorted(set(layers) - {block_number(p) for p in found}):
            raise ValueError(f"layers={list(layers)}: no target lies in block {empty[0]}; the targets are in blocks "
                             f"{sorted({n for p in paths if (n := block_number(p)) is not None})}")
    return [p for p in paths if p in found]


def block_number(path: str) -> int | None:
    """The first number in a dotted path, which is its block's; None for a layer outside the blocks.

    >>> block_number("blocks.3.attn.q_proj"), block_number("head")
    (3, None)
    """
    return next((int(part) for part in path.split(".") if part.isdigit()), None)


def matches(target: str, path: str) -> bool:
    """Whether one target names one path; see `match`."""
    if target == "all-linear":
        return path.rpartition(".")[2] != "head"
    if target.startswith("re:"):
        try:
            return re.fullmatch(target[3:], path) is not None
        except re.error as error:
            raise ValueError(f"target {target!r}: behind 're:' must stand a regular expression; this is none: {error}") \
                from None
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
