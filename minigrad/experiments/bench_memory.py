"""What a training step keeps for its backward pass, layer by layer, here and in PyTorch, by one rule for both.

A buffer counts once, whole, at the layer that saves it (or a view of it) first; parameters do not count. PyTorch is asked
through torch.autograd.graph.saved_tensors_hooks, our graph is read.
"""
from __future__ import annotations

import re

import numpy as np

from minigrad.autograd import saved_arrays
from minigrad.experiments.figure import groups, new_figure
from minigrad.experiments.table import bytes_text, text_table
from minigrad.nn import functional as F
from minigrad.training.memory import owners

COLUMNS = ("size", "layer", "minigrad_bytes", "torch_bytes", "ratio")
COLORS = {"norm1": "#56B4E9", "attention": "#0072B2", "norm2": "#F0E442", "mlp": "#D55E00", "outside of blocks": "#999999"}
AFTER = {"norm": "final norm and head", "head": "final norm and head", "": "loss"}


def layer_of(module: str) -> str:
    """The row of the table to which a module belongs.

    >>> layer_of("blocks.3.attn.q_proj"), layer_of("blocks.0.norm1"), layer_of("position_embedding"), layer_of("")
    ('block 3, attention', 'block 0, norm1', 'embedding', 'loss')
    """
    if found := re.match(r"blocks\.(\d+)(?:\.(\w+))?", module):
        return f"block {found[1]}, {(found[2] or 'residual').replace('attn', 'attention')}"
    return AFTER.get(module, "embedding")


def ours_by_layer(model, ids, targets) -> dict[str, int]:
    """{layer: bytes} of our graph, in the order of the forward pass."""
    ids, targets = np.array(ids), np.array(targets)         # not views of something larger, which would count whole
    model.train()
    with owners(model) as owner:
        logits = model(ids)                         # (B, T) -> (B, T, V)
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
    saved, sizes = list(saved_arrays(loss)), {}
    seen = {id(fn.be.buffer(a)) for fn, arrays in saved for a, _ in arrays}
    for fn, arrays in saved:
        # token ids and targets are not `saved` but attributes of their operation; PyTorch counts its own
        held = {id(b): b.nbytes for b in (fn.be.buffer(a) for a in vars(fn).values() if fn.be.owns(a))}
        name = owner.get(fn, "")
        sizes[name] = sizes.get(name, 0) + sum(n for _, n in arrays) + sum(n for key, n in held.items() if key not in seen)
        seen.update(held)
    return _summed(sizes)


def torch_by_layer(model, ids, targets) -> dict[str, int]:
    """{layer: bytes} that PyTorch saves for the twin of `model`: hooks before and after each module say whose it is."""
    import torch
    from torch.nn import functional as TF

    from minigrad.experiments.torch_twin import torch_twin

    twin, inside, sizes, kept = torch_twin(model), [""], {}, []
    seen = {p.untyped_storage().data_ptr() for p in twin.parameters()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            kept.append(tensor)                     # alive to the end, so that no address is used twice
            sizes[inside[-1]] = sizes.get(inside[-1], 0) + storage.nbytes()
        return tensor
    for name, module in twin.named_modules():
        if name:                                    # the whole model is not a layer: what it saves itself belongs to the loss
            module.register_forward_pre_hook(lambda *_, name=name: inside.append(name))
            module.register_forward_hook(lambda *_: [inside.pop(), None][1])
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        TF.cross_entropy(twin(torch.from_numpy(ids)).flatten(0, 1), torch.from_numpy(targets).flatten())
    return _summed(sizes)


def _summed(modules: dict[str, int]) -> dict[str, int]:
    layers: dict[str, int] = {}
    for module, nbytes in modules.items():
        if nbytes:
            layers[layer_of(module)] = layers.get(layer_of(module), 0) + nbytes
    return layers


def memory_rows(size) -> list[dict]:
    """One row per layer of a size (bench_steps.Size), in the order of the forward pass, and one for all together."""
    ids, targets = size.data()
    ours, theirs = (by_layer(size.model(), ids, targets) for by_layer in (ours_by_layer, torch_by_layer))
    blocks = [f"block {i}, {part}" for i in range(size.n_layers) for part in ("norm1", "attention", "norm2", "mlp")]
    known = ["embedding", *blocks, "final norm and head", "loss"]
    others = sorted((ours.keys() | theirs.keys()) - set(known))
    rows = [_row(size.name, layer, ours.get(layer, 0), theirs.get(layer, 0)) for layer in (*known, *others)]
    return [*rows, _row(size.name, "together", sum(ours.values()), sum(theirs.values()))]


def _row(size: str, layer: str, ours: int, theirs: int) -> dict:
    return {"size": size, "layer": layer, "minigrad_bytes": ours, "torch_bytes": theirs,
            "ratio": ours / theirs if theirs else None}


def keep_more(layers) -> str:
    """The layers that keep more than PyTorch's, in words; what is the same in several blocks is said once."""
    more: dict = {}
    for r in layers:
        if r["minigrad_bytes"] > r["torch_bytes"]:
            block, _, part = r["layer"].rpartition(", ")
            more.setdefault((part, r["minigrad_bytes"] - r["torch_bytes"]), []).append(block)
    return ", ".join(f"{part}{' of ' + ', '.join(blocks) if blocks[0] else ''} (by {bytes_text(n)}"
                     f"{' each' if len(blocks) > 1 else ''})" for (part, n), blocks in more.items())


def finding(rows) -> str:
    """Which layers keep more than PyTorch's, though their sum may not."""
    said = []
    for (size,), of in groups(rows, "size").items():
        whole, layers = of[-1], of[:-1]
        more = keep_more(layers)
        said.append(f"{size}: {bytes_text(whole['minigrad_bytes'])}, PyTorch {bytes_text(whole['torch_bytes'])} "
                    f"({whole['ratio']:.4f}); " + (f"of {len(layers)} layers these keep more: {more}" if more else
                                                     f"none of {len(layers)} layers keeps more"))
    return ". ".join(said)


def draw(rows):
    """(figure, alt text): per size, for each block and what lies outside, two stacks side by side: ours hatched, PyTorch's."""
    from matplotlib.patches import Patch

    by_size = groups(rows, "size")
    figure, axes = new_figure(len(by_size), size=(5.0 * len(by_size), 4.4), squeeze=False)
    for ax, ((size,), of) in zip(axes[0], by_size.items(), strict=True):
        places = list(dict.fromkeys(r["layer"].partition(", ")[0] for r in of[:-1]))
        for (column, hatch, shift) in (("minigrad_bytes", "///", -0.21), ("torch_bytes", "", 0.21)):
            foot = dict.fromkeys(places, 0.0)
            for r in of[:-1]:
                place, _, part = r["layer"].partition(", ")
                color = COLORS.get(part if place.startswith("block") else "outside of blocks", "#CC79A7")
                ax.bar(places.index(place) + shift, r[column] / 1e6, 0.38, bottom=foot[place], color=color, hatch=hatch,
                       edgecolor="#333333", linewidth=0.5)
                foot[place] += r[column] / 1e6
        ax.set_xticks(range(len(places)), places, rotation=45, ha="right", fontsize=8)
        ax.set_title(f"{size}: {of[-1]['ratio']:.4f} of PyTorch's bytes", loc="left", fontsize=11)
        ax.grid(False, axis="x")
    axes[0][0].set_ylabel("MB kept for backward")
    figure.legend(handles=[*(Patch(facecolor=c, edgecolor="#333333", label=name) for name, c in COLORS.items()),
                           Patch(facecolor="white", edgecolor="#333333", hatch="///", label="left: minigrad"),
                           Patch(facecolor="white", edgecolor="#333333", label="right: PyTorch")],
                  loc="outside lower center", ncols=7, frameon=False, fontsize=9)
    return figure, ("Bytes that a training step keeps for its backward pass, layer by layer, minigrad beside PyTorch, each "
                    "buffer once, parameters excluded. " + finding(rows) + ".")


def report(rows) -> str:
    """The rows as text."""
    return text_table(["size", "layer", "minigrad", "PyTorch", "ratio"], [
        [r["size"], r["layer"], bytes_text(r["minigrad_bytes"]), bytes_text(r["torch_bytes"]),
         "" if r["ratio"] is None else f"{r['ratio']:.4f}"] for r in rows], left=2)
