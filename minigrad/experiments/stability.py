"""`minigrad experiments stability`: does a method get better with every parameter it is given? Prefixes against LoRA."""
from __future__ import annotations

from minigrad.experiments.figure import (
    draw_points,
    groups,
    new_figure,
    percent,
    percent_axis,
    reference_line,
    spread_labels,
    style,
)
from minigrad.experiments.statistics import summarize
from minigrad.experiments.study import Finding, Study, above, difference, matching, mean, points

LENGTHS = (1, 2, 4, 8, 16, 24)                      # longer ones leave no room for the longest words
RANKS = (1, 2, 4, 8, 16, 24)                        # twice the parameters of the prefix of that length
COLUMNS = ("task", "method", "size", "lr", "seed", "steps", "trainable", "acc_base", "acc", "per", "loss")


def stability(lengths=LENGTHS, ranks=RANKS, **options) -> list[dict]:
    """Prefixes of growing length and LoRA of growing rank, each at its one learning rate; writes stability.{csv,png,json}.

    options: Study's. LoRA's rate is the one chosen at rank 8, the prefix's the one chosen at length 8.
    """
    study = Study("stability", **options)
    sized = [("prefix", n, {"hyper": {"length": n}}) for n in lengths]
    sized += [("lora", r, {"hyper": {"rank": r, "alpha": 2 * r}}) for r in ranks]
    runs = [(size, study.of(name, seed, **more)) for name, size, more in sized for seed in study.seeds]
    before, *rows = study.run([study.base(), *(run for _, run in runs)], lengths=lengths, ranks=ranks)
    rows = [row | {"size": size, "acc_base": before["acc"]} for row, (size, _) in zip(rows, runs, strict=True)]
    return study.write(rows, COLUMNS, draw(rows), findings(rows))


def deepest_fall(rows):
    """(smaller size, larger size, difference of their scores): the largest drop from a size to any larger one."""
    sizes = sorted({row["size"] for row in rows})
    pairs = [(a, b) for i, a in enumerate(sizes) for b in sizes[i + 1:]]
    a, b = max(pairs, key=lambda p: mean(rows, size=p[0]) - mean(rows, size=p[1]))
    return a, b, difference(matching(rows, size=a), matching(rows, size=b))


def findings(rows) -> list[Finding]:
    """Whether a longer prefix can be worse, and whether LoRA only gains."""
    found, falls = [], {}
    for name in ("prefix", "lora"):
        mine = matching(rows, method=name)
        if len({row["size"] for row in mine}) > 1:
            a, b, fall = deepest_fall(mine)
            falls[name] = above(fall), (f"from {a} to {b} it goes from {percent(mean(mine, size=a))} to "
                                        f"{percent(mean(mine, size=b))}, a fall of {points(fall)}" if fall.mean > 0 else
                                        "no size is worse than a smaller one")
    if "prefix" in falls:
        found.append(Finding("a longer prefix can do worse than a shorter one", *falls["prefix"]))
    if "lora" in falls:
        found.append(Finding("LoRA does not lose when it is given more rank", not falls["lora"][0], falls["lora"][1]))
    return found


def draw(rows):
    """(figure, alt text): accuracy over trained parameters, one line per method, sizes written at the points."""
    figure, ax = new_figure()
    ends, said = [], []
    for (name,), mine in groups(rows, "method").items():
        by = groups(sorted(mine, key=lambda row: row["trainable"]), "trainable", "size")
        places = [count * (1.05 if name == "lora" else 1) for count, _ in by]         # beside the prefix's, not over them
        summaries = draw_points(ax, places, [[row["acc"] for row in runs] for runs in by.values()], name, line=True)
        for place, (_, size), s in zip(places, by, summaries, strict=True):
            ax.annotate(f"{'P' if name == 'prefix' else 'r'}={size}", (place, s.mean), xytext=(6, -11),
                        textcoords="offset points", fontsize=8, color=style(name)[0])
        ends.append((places[-1], summaries[-1].mean, name, style(name)[0]))
        said.append(f"{name} " + ", ".join(f"{percent(summarize(r['acc'] for r in runs).mean)} with {count:,} (size {size})"
                                           for (count, size), runs in by.items()))
    ax.set_xscale("log", base=2)
    counts = sorted({row["trainable"] for row in rows})
    ax.set_xticks(counts, [f"{n:,}" for n in counts], rotation=30)
    ax.minorticks_off()
    ax.margins(x=0.12)
    percent_axis(ax)
    reference_line(ax, rows[0]["acc_base"], f"base {percent(rows[0]['acc_base'])}")
    ax.set_xlabel("trained parameters")
    ax.set_ylabel("test words answered exactly right")
    ax.set_title(f"{rows[0]['task']}: does more always help?", loc="left", fontsize=11)
    spread_labels(ax, ends)
    alt = (f"Accuracy on {rows[0]['task']} against the number of trained parameters on a base-2 logarithmic axis, mean, 95 "
           f"percent interval and single seeds: {'; '.join(said)}. Base {percent(rows[0]['acc_base'])}.")
    return figure, alt
