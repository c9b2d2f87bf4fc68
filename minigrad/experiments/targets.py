"""`minigrad experiments targets`: which of attention's matrices should LoRA change, if the number of parameters is given?"""
from __future__ import annotations

from minigrad.experiments.figure import draw_points, new_figure, percent, percent_axis, reference_line, style
from minigrad.experiments.study import Finding, Study, above, difference, matching, mean, points

BUDGET = 8                                          # rank times number of matrices
CHOICES = (("q_proj",), ("k_proj",), ("v_proj",), ("o_proj",), ("q_proj", "k_proj"), ("q_proj", "v_proj"),
           ("q_proj", "k_proj", "v_proj", "o_proj"))
COLUMNS = ("task", "method", "targets", "rank", "alpha", "lr", "seed", "steps", "trainable", "acc_base", "acc", "per")


def targets(choices=CHOICES, budget: int = BUDGET, **options) -> list[dict]:
    """LoRA on one, two or four of W_q, W_k, W_v, W_o, with rank · matrices = budget; writes targets.{csv,png,json}.

    choices: tuples of targets whose number divides the budget (ValueError otherwise) · options: Study's.
    """
    study = Study("targets", **options)
    if bad := [c for c in choices if budget % len(c)]:
        raise ValueError(f"a budget of {budget} ranks cannot be shared by the {len(bad[0])} matrices {', '.join(bad[0])}")
    runs = [study.lora(seed, budget // len(c), c) for c in choices for seed in study.seeds]
    before, *rows = study.run([study.base(), *runs], choices=choices, budget=budget)
    rows = [row | {"targets": short(run.hyper["targets"]), "acc_base": before["acc"]}
            for row, run in zip(rows, runs, strict=True)]
    return study.write(rows, COLUMNS, draw(rows), findings(rows))


def short(targets) -> str:
    """The matrices as the course writes them: q_proj and v_proj are "q+v"."""
    return "+".join(name.removesuffix("_proj") for name in targets)


def findings(rows) -> list[Finding]:
    """Whether spreading the budget helps, and whether values and outputs matter more than queries and keys."""
    names = list(dict.fromkeys(row["targets"] for row in rows))
    one = max((n for n in names if "+" not in n), key=lambda n: mean(rows, targets=n), default=None)
    many = max((n for n in names if "+" in n), key=lambda n: mean(rows, targets=n), default=None)
    found = []
    if one and many:
        gain = difference(matching(rows, targets=many), matching(rows, targets=one))
        found.append(Finding("at an equal budget several matrices of low rank beat one of high rank", above(gain),
                             f"the best several, {many}, {percent(mean(rows, targets=many))}; the best single, {one}, "
                             f"{percent(mean(rows, targets=one))}; {points(gain)}"))
    if {"q", "k", "v", "o"} <= set(names):
        worst = min(("v", "o"), key=lambda n: mean(rows, targets=n))
        other = max(("q", "k"), key=lambda n: mean(rows, targets=n))
        gap = difference(matching(rows, targets=worst), matching(rows, targets=other))
        found.append(Finding("W_v and W_o alone do better than W_q and W_k alone", above(gap), ", ".join(
            f"W_{n} {percent(mean(rows, targets=n))}" for n in "qkvo")))
    return found


def draw(rows):
    """(figure, alt text): one row per choice of matrices."""
    names = list(dict.fromkeys(row["targets"] for row in rows))
    figure, ax = new_figure(size=(7.2, 1.2 + 0.42 * len(names)))
    places = list(range(len(names)))[::-1]
    samples = [[row["acc"] for row in matching(rows, targets=n)] for n in names]
    draw_points(ax, places, samples, "lora", horizontal=True)
    ranks = [matching(rows, targets=n)[0]["rank"] for n in names]
    ax.set_yticks(places, [f"{n}, r = {rank}" for n, rank in zip(names, ranks, strict=True)], fontsize=9)
    for place, name in zip(places, names, strict=True):
        ax.annotate(percent(mean(rows, targets=name)), (mean(rows, targets=name), place), xytext=(0, 7),
                    textcoords="offset points", ha="center", fontsize=8, color=style("lora")[0])
    reference_line(ax, rows[0]["acc_base"], f"base {percent(rows[0]['acc_base'])}", vertical=True)
    ax.set_ylim(-0.6, len(names) - 0.3)
    percent_axis(ax, "x")
    ax.set_xlabel(f"test words right ({rows[0]['task']}), {rows[0]['trainable']:,} trained parameters each")
    ax.set_title("LoRA at an equal budget: which matrices?", loc="left", fontsize=11, pad=16)
    alt = (f"Words right on {rows[0]['task']} for LoRA on different matrices with {rows[0]['trainable']:,} parameters each, "
           "mean, 95 percent interval and single seeds: " + ", ".join(
               f"{n} of rank {rank} {percent(mean(rows, targets=n))}" for n, rank in zip(names, ranks, strict=True)) + ".")
    return figure, alt
