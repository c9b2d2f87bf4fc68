"""Names of other libraries' models: where Hugging Face's GPT-2 and Llama keep what a model with our names keeps.

    ours                            GPT-2                                   Llama
    token_embedding                 transformer.wte                         model.embed_tokens
    blocks.{i}.attn.{q,k,v}_proj    transformer.h.{i}.attn.c_attn           model.layers.{i}.self_attn.{q,k,v}_proj
    blocks.{i}.mlp.up_proj          transformer.h.{i}.mlp.c_fc              model.layers.{i}.mlp.up_proj
    …                               three layers in one there               one to one

c_attn computes q, k and v with one matrix, so LoRA has one pair A, B across all three there. Both ways are exact: a pair
across is three pairs with the same A here; pairs of our own become one with the A's stacked and B block by block.
"""
from __future__ import annotations

import re

from minigrad.backend import host
from minigrad.nn import Module

_GPT2 = {"token_embedding": "transformer.wte", "position_embedding": "transformer.wpe", "norm": "transformer.ln_f",
         "head": "lm_head", "blocks.{i}.norm1": "transformer.h.{i}.ln_1", "blocks.{i}.norm2": "transformer.h.{i}.ln_2",
         "blocks.{i}.attn.q_proj": "transformer.h.{i}.attn.c_attn", "blocks.{i}.attn.k_proj": "transformer.h.{i}.attn.c_attn",
         "blocks.{i}.attn.v_proj": "transformer.h.{i}.attn.c_attn", "blocks.{i}.attn.o_proj": "transformer.h.{i}.attn.c_proj",
         "blocks.{i}.mlp.up_proj": "transformer.h.{i}.mlp.c_fc", "blocks.{i}.mlp.down_proj": "transformer.h.{i}.mlp.c_proj"}
_LLAMA = {"token_embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head",
          "blocks.{i}.norm1": "model.layers.{i}.input_layernorm",
          "blocks.{i}.norm2": "model.layers.{i}.post_attention_layernorm",
          **{f"blocks.{{i}}.attn.{n}_proj": f"model.layers.{{i}}.self_attn.{n}_proj" for n in "qkvo"},
          **{f"blocks.{{i}}.mlp.{n}_proj": f"model.layers.{{i}}.mlp.{n}_proj" for n in ("gate", "up", "down")}}
NAMES = {"gpt2": _GPT2, "llama": _LLAMA}
ROOTS = {"gpt2": ("transformer.h.", "transformer.w", "transformer.ln_f"), "llama": ("model.layers.", "model.embed_tokens")}
A, B, BETA, LENGTHS = "lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_magnitude_vector"
BIAS, WRAPPED_BIAS = "bias", "base_layer.bias"


def translate(kind: str, path: str) -> str | None:
    """The name in a model of this kind ("gpt2" or "llama") of what we call `path`, or None.

    >>> translate("gpt2", "blocks.3.attn.k_proj"), translate("llama", "blocks.3.mlp.gate_proj")
    ('transformer.h.3.attn.c_attn', 'model.layers.3.mlp.gate_proj')
    """
    found = re.fullmatch(r"(blocks\.)(\d+)(\..*)", path)
    name = NAMES[kind].get(path if found is None else f"{found[1]}{{i}}{found[3]}")
    return name if name is None or found is None else name.replace("{i}", found[2])


def guess(paths, model: Module) -> str | None:
    """Whose names these are: "gpt2" or "llama"; None where they are the model's own, or nobody's that we know."""
    own = {name for name, _ in model.named_modules()}
    return next((kind for kind, roots in ROOTS.items()
                 if any(path.startswith(roots) and path not in own for path in paths)), None)


def sources(kind: str, model: Module) -> dict[str, list[str]]:
    """{their name: our paths, in the order in which they stand in that layer} of everything in `model`."""
    found = {}
    for path, _ in model.named_modules():
        if (name := translate(kind, path)) is not None:
            found.setdefault(name, []).append(path)
    return found


def to_theirs(kind: str, tensors: dict, layers: dict, base: Module) -> tuple[dict, dict]:
    """tensors {our path: {suffix: host array}} and layers {our path: (rank, scale)} under the names of `kind`.

    ValueError for a path that such a model does not have.
    """
    known, new_tensors, new_layers = sources(kind, base), {}, {}
    if strange := [path for path in tensors if translate(kind, path) is None]:
        raise ValueError(f"a {kind} model of Hugging Face has nothing like {', '.join(strange)}: save under our own names")
    for name, paths in known.items():
        if not any(path in tensors for path in paths):
            continue
        if len(paths) == 1:
            new_tensors[name] = tensors[paths[0]]
            if paths[0] in layers:
                new_layers[name] = layers[paths[0]]
        else:
            new_tensors[name], layer = _fuse(paths, tensors, layers, base)
            if layer is not None:
                new_layers[name] = layer
    return new_tensors, new_layers


def to_ours(kind: str, tensors: dict, model: Module) -> dict:
    """tensors {their name: {suffix: host array}} as {our path: …}; names that `model` lacks stay as they are."""
    known, found = sources(kind, model), {}
    for name, own in tensors.items():
        paths = known.get(name, [name])
        if len(paths) == 1:
            found[paths[0]] = own
            continue
        ends = host.np.cumsum([model.get_submodule(path).weight.shape[0] for path in paths])
        for suffix, array in own.items():
            if suffix != A and array.shape[0] != ends[-1]:
                raise ValueError(f"{name}.{suffix} has shape {tuple(array.shape)}; {', '.join(paths)} together have "
                                 f"{ends[-1]} outputs")
            parts = [array] * len(paths) if suffix == A else host.np.split(array, ends[:-1])    # A is shared, rows are not
            for path, part in zip(paths, parts, strict=True):
                found.setdefault(path, {})[suffix] = part
    return found


def _fuse(paths, tensors: dict, layers: dict, base: Module):
    """The tensors of one layer that computes what `paths` compute, and its (rank, scale); None if none has a branch."""
    np, own, fused, layer = host.np, [tensors.get(path, {}) for path in paths], {}, None
    linears = [base.get_submodule(path) for path in paths]
    pairs = [(i, t[A], t[B], layers[path][1]) for i, (path, t) in enumerate(zip(paths, own, strict=True)) if path in layers]
    if pairs:
        _, first, _, scale = pairs[0]
        if len(pairs) == len(paths) and all(np.array_equal(first, a) and s == scale for _, a, _, s in pairs):
            fused[A], fused[B] = first, np.concatenate([b for _, _, b, _ in pairs])
        else:
            starts, column = np.cumsum([0] + [linear.weight.shape[0] for linear in linears]), 0
            fused[A] = np.concatenate([a for _, a, _, _ in pairs])
            fused[B] = np.zeros((starts[-1], len(fused[A])), dtype=first.dtype)
            for i, a, b, s in pairs:                # its own rows, its own columns
                fused[B][starts[i]:starts[i + 1], column:column + len(a)] = b * (s / scale)
                column += len(a)
        if any(BETA in t for t in own):
            parts = [t[BETA] * (layers[path][1] / scale) if BETA in t else np.zeros(linear.weight.shape[0])
                     for path, t, linear in zip(paths, own, linears, strict=True)]
            fused[BETA] = np.concatenate(parts).astype(first.dtype)
        layer = len(fused[A]), scale
    if any(LENGTHS in t for t in own):              # a layer that is not adapted keeps the lengths of its rows
        fused[LENGTHS] = np.concatenate([t[LENGTHS] if LENGTHS in t else np.linalg.norm(linear.weight.numpy(), axis=1)
                                         for t, linear in zip(own, linears, strict=True)]).astype(first.dtype)
    biases = [t.get(WRAPPED_BIAS, t.get(BIAS)) for t in own]
    if any(b is not None for b in biases):
        fused[WRAPPED_BIAS if pairs else BIAS] = np.concatenate(
            [linear.bias.numpy() if b is None else b for b, linear in zip(biases, linears, strict=True)])
    return fused, layer
