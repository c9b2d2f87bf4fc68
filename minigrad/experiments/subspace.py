"""`minigrad experiments subspace`: what LoRA's change of a weight looks like, and whether ranks and seeds agree about it.

Of each trained ΔW (out, in) two things are looked at: its singular values, and its leading right singular vectors, the
directions of the input that it reacts to. Of two changes with directions U and V, (in, i) and (in, j),

    φ(i, j) = ‖UᵀV‖² / min(i, j)        1: the smaller space lies in the larger · max(i, j)/in: what chance gives

(LoRA's paper, arXiv 2106.09685, section 7, takes them from A; here from ΔW = s·BA, since A keeps much of its random start).
"""
from __future__ import annotations

import shutil

import numpy as np

import minigrad as mg
from minigrad import peft
from minigrad.experiments.figure import new_figure, style
from minigrad.experiments.rank_sweep import SHARE_OF_RATE
from minigrad.experiments.statistics import summarize
from minigrad.experiments.study import Finding, Study, matching

TARGETS = ("q_proj", "v_proj")
SMALL, LARGE = 8, 64
COLUMNS = ("task", "kind", "matrix", "layer", "of", "with", "seed", "seed_with", "index", "value", "chance")
ENERGY = 0.9                                        # share of the squared singular values that counts as all that matters


def subspace(ranks=(SMALL, LARGE), **options) -> list[dict]:
    """LoRA of two ranks and full fine-tuning, on the same words; writes subspace.{csv,png,json}.

    A row is one number: kind "singular" is σ_index/σ_1 of a change, "overlap" is φ(index, index) of two. options: Study's.
    """
    small, large = sorted(ranks)
    study = Study("subspace", **options)
    folder = study.out / "subspace.adapters"        # from which the changes are read when all runs are there
    runs = {}
    for seed in study.seeds:
        runs["full", seed] = study.of("full", seed, keep=str(folder / f"full-{seed}"))
        for r in (small, large):
            runs[f"rank {r}", seed] = study.lora(seed, r, TARGETS, SHARE_OF_RATE, keep=str(folder / f"rank-{r}-{seed}"))
    trained = study.run(list(runs.values()), ranks=ranks)
    changes = {key: changes_of(study.model, run.keep) for key, run in runs.items()}
    rows = [{"task": study.task.name, **row} for row in compare_changes(changes, study.seeds, small, large)]
    scores = {name: str(summarize(row["acc"] for (n, _), row in zip(runs, trained, strict=True) if n == name))
              for name in ("full", f"rank {small}", f"rank {large}")}
    study.write(rows, COLUMNS, draw(rows), findings(rows), {"words right": scores})
    shutil.rmtree(folder)
    return rows


def changes_of(model, folder) -> dict:
    """{(matrix, layer): (singular values, right singular vectors (in, n))} of a saved adapter's ΔW, best direction first."""
    merged, found = peft.load(model, folder).merge_and_unload(), {}
    for layer in range(model.config.n_layers):
        for matrix in TARGETS:
            path = f"blocks.{layer}.attn.{matrix}"
            before, after = (mg.to_numpy(m.get_submodule(path).weight.data).astype(np.float64) for m in (model, merged))
            _, sizes, directions = np.linalg.svd(after - before)
            found[matrix, layer] = sizes, directions.T
    return found


def overlap(U, V, i: int, j: int) -> float:
    """φ(i, j) of two sets of orthonormal directions (in, n): 0 where they have nothing in common, 1 where one holds the other.

    >>> overlap(np.eye(4), np.eye(4)[:, [1, 0, 2, 3]], 1, 1), overlap(np.eye(4), np.eye(4)[:, [1, 0, 2, 3]], 2, 2)
    (0.0, 1.0)
    """
    return float(np.sum((U[:, :i].T @ V[:, :j]) ** 2) / min(i, j))


def compare_changes(changes: dict, seeds, small: int, large: int):
    """The rows: spectra of every change, overlaps between the ranks (same seed), and between the seeds (each pair)."""
    names = list(dict.fromkeys(name for name, _ in changes))
    for (name, seed), found in changes.items():
        limit = int(name.split()[1]) if name.startswith("rank") else large
        for (matrix, layer), (sizes, _) in found.items():
            for k, value in enumerate(sizes[:limit] / sizes[0], start=1):
                yield {"kind": "singular", "matrix": matrix, "layer": layer, "of": name, "seed": seed, "index": k,
                       "value": float(value)}
            full_energy = np.cumsum(sizes ** 2) / np.sum(sizes ** 2)
            yield {"kind": "energy", "matrix": matrix, "layer": layer, "of": name, "seed": seed,
                   "index": int(np.searchsorted(full_energy, ENERGY) + 1), "value": ENERGY}
    pairs = [((f"rank {small}", s), (f"rank {large}", s), small) for s in seeds]
    pairs += [((name, a), (name, b), small if name == f"rank {small}" else large)
              for name in names for n, a in enumerate(seeds) for b in list(seeds)[n + 1:]]
    for first, second, limit in pairs:
        for (matrix, layer), (_, U) in changes[first].items():
            V = changes[second][matrix, layer][1]
            for k in (k for k in (1, 2, 4, 8, 16, 32, 64) if k <= limit):
                yield {"kind": "overlap", "matrix": matrix, "layer": layer, "of": first[0], "with": second[0],
                       "seed": first[1], "seed_with": second[1], "index": k, "value": overlap(U, V, k, k),
                       "chance": k / U.shape[0]}


def findings(rows) -> list[Finding]:
    """Whether ranks and seeds agree about the first direction, and whether the change is of low rank."""
    small, large = _ranks(rows)
    overlaps = matching(rows, kind="overlap")
    found = []
    between = [row for row in overlaps if row["of"] != row["with"]]
    if between:
        first, last = (summarize(r["value"] for r in between if r["index"] == k) for k in
                       (1, max(row["index"] for row in between)))
        found.append(Finding(f"rank {small} and rank {large} share their first direction, and the later ones less",
                             first.mean > 0.5 and first.mean > last.mean,
                             f"φ(1, 1) = {first.mean:.2f}, φ({small}, {small}) = {last.mean:.2f}; 1 would be the same, chance "
                             f"{between[0]['chance']:.3f} and {small * between[0]['chance']:.2f}"))
    seeds = [row for row in overlaps if row["of"] == row["with"] == f"rank {large}" and row["index"] == 1]
    if seeds:
        s, chance = summarize(r["value"] for r in seeds), seeds[0]["chance"]
        found.append(Finding(f"two seeds of rank {large} find the same first direction", s.mean > 0.5,
                             f"φ(1, 1) = {s.mean:.2f}, chance {chance:.3f}"))
    full = matching(rows, kind="energy", of="full")
    if full:
        s = summarize(row["index"] for row in full)
        found.append(Finding("the change that full fine-tuning makes has low rank", s.mean <= small,
                             f"{s.mean:.0f} directions hold {100 * ENERGY:.0f} % of its squared singular values, on average "
                             f"over layers and seeds; rank {small} is what LoRA usually has"))
    return found


def _ranks(rows) -> list[int]:
    return sorted({int(row["of"].split()[1]) for row in rows if row["of"].startswith("rank")})


def draw(rows):
    """(figure, alt text): singular values on the left, overlaps on the right, a row for each matrix."""
    small, large = _ranks(rows)
    figure, axes = new_figure(2, 2, (10.4, 7.0))
    said = []
    looks = {f"rank {small}": "adapter", f"rank {large}": "lora", "full": "full"}
    for (left, right), matrix in zip(axes, TARGETS, strict=True):
        for name, look in looks.items():
            color, marker, dashes, _ = style(look)
            mine = matching(rows, kind="singular", matrix=matrix, of=name)
            places = sorted({row["index"] for row in mine})
            values = [summarize(r["value"] for r in mine if r["index"] == k).mean for k in places]
            left.plot(places, values, color=color, marker=marker, markevery=[0, len(places) - 1], linestyle=dashes)
            left.annotate(name, (places[-1], values[-1]), xytext=(-4, 6), textcoords="offset points", fontsize=8, color=color,
                          ha="right")
        left.set_xscale("log", base=2)
        left.set_xticks([1, 2, 4, 8, 16, 32, 64], ["1", "2", "4", "8", "16", "32", "64"])
        left.set_yscale("log")
        left.minorticks_off()
        left.set_ylabel(f"{matrix}: σᵢ / σ₁")
        curves = {f"rank {small} and rank {large}, same seed": (f"rank {small}", f"rank {large}", "adapter"),
                  f"rank {large}, two seeds": (f"rank {large}", f"rank {large}", "lora"),
                  "full, two seeds": ("full", "full", "full")}
        for label, (a, b, look) in curves.items():
            color, marker, dashes, _ = style(look)
            mine = [r for r in matching(rows, kind="overlap", matrix=matrix, of=a) if r["with"] == b]
            if not mine:                            # one seed has no other to agree with
                continue
            places = sorted({row["index"] for row in mine})
            values = [summarize(r["value"] for r in mine if r["index"] == k).mean for k in places]
            right.plot(places, values, color=color, marker=marker, linestyle=dashes, label=label)
            said.append(f"{matrix}, {label}: " + ", ".join(f"φ({k}, {k}) {v:.2f}" for k, v in
                                                           zip(places, values, strict=True)))
        chance = sorted({(row["index"], row["chance"]) for row in matching(rows, kind="overlap", matrix=matrix)})
        color, _, dashes, _ = style("base")
        right.plot(*zip(*chance, strict=True), color=color, linestyle=dashes, label="chance")
        right.set_xscale("log", base=2)
        right.set_xticks([k for k, _ in chance], [str(k) for k, _ in chance])
        right.minorticks_off()
        right.set_ylim(0, 1.05)
        right.set_ylabel(f"{matrix}: overlap φ(i, i)")
        right.legend(fontsize=8, frameon=False)
    axes[0][0].set_title("singular values of the change", loc="left", fontsize=10)
    axes[0][1].set_title("do the first i directions agree?", loc="left", fontsize=10)
    for ax in axes[1]:
        ax.set_xlabel("i")
    alt = (f"On {rows[0]['task']}, the changes of W_q and W_v, means over layers and seeds. Left: singular values relative to "
           "the first, falling with the index. Right: overlap of the first i directions between ranks and between seeds, with "
           f"what chance would give. {'; '.join(said)}.")
    return figure, alt

