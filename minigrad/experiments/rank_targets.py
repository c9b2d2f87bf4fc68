"""`minigrad experiments rank-targets`: rank times targets. How little rank is enough depends on how much it is given to."""
from __future__ import annotations

from minigrad.experiments.figure import (
    draw_points,
    new_figure,
    percent,
    percent_axis,
    reference_line,
    spread_labels,
    style,
)
from minigrad.experiments.rank_sweep import SHARE_OF_RATE
from minigrad.experiments.study import Finding, Study, above, difference, matching, mean, points
from minigrad.experiments.targets import short

RANKS = (1, 2, 4, 8, 64)
CHOICES = (("q_proj",), ("q_proj", "v_proj"), ("q_proj", "k_proj", "v_proj", "o_proj"))
COLUMNS = ("task", "method", "targets", "rank", "alpha", "lr", "seed", "steps", "trainable", "acc_base", "acc", "per")
LOOKS = ("prompt", "lora", "adapter", "prefix", "topk")             # the styles that the choices are drawn in, in order
NEARLY = 0.95                                       # a rank is enough when it reaches this share of the best rank's score


def rank_targets(choices=CHOICES, ranks=RANKS, **options) -> list[dict]:
    """LoRA of every rank on every choice of matrices, with α = 2r and one rate; writes rank_targets.{csv,png,json}.

    options: Study's. The rate is the rank sweep's, which suits small and large ranks alike.
    """
    study = Study("rank_targets", **options)
    runs = [study.lora(seed, r, c, SHARE_OF_RATE) for c in choices for r in ranks for seed in study.seeds]
    before, *rows = study.run([study.base(), *runs], choices=choices, ranks=ranks)
    rows = [row | {"targets": short(run.hyper["targets"]), "acc_base": before["acc"]}
            for row, run in zip(rows, runs, strict=True)]
    return study.write(rows, COLUMNS, draw(rows), findings(rows))


def findings(rows) -> list[Finding]:
    """Whether the smallest rank is enough, where LoRA is given to more than one matrix."""
    found = []
    for name in dict.fromkeys(row["targets"] for row in rows if "+" in row["targets"]):
        ranks = sorted({row["rank"] for row in matching(rows, targets=name)})
        best = max(ranks, key=lambda r: mean(rows, targets=name, rank=r))
        least, top = mean(rows, targets=name, rank=ranks[0]), mean(rows, targets=name, rank=best)
        gain = difference(matching(rows, targets=name, rank=best), matching(rows, targets=name, rank=ranks[0]))
        enough = least >= NEARLY * top or (best != ranks[0] and not above(gain))
        found.append(Finding(f"on {name}, rank {ranks[0]} is already enough", enough,
                             f"rank {ranks[0]} {percent(least)}, best rank {best} {percent(top)}, {points(gain)}"))
    return found


def draw(rows):
    """(figure, alt text): accuracy over rank, a line for each choice of matrices."""
    figure, ax = new_figure()
    ends, said = [], []
    for i, (name, look) in enumerate(zip(dict.fromkeys(row["targets"] for row in rows), LOOKS, strict=False)):
        mine = matching(rows, targets=name)
        ranks = sorted({row["rank"] for row in mine})
        places = [r * 1.07 ** (i - 1) for r in ranks]                       # side by side, not over one another
        summaries = draw_points(ax, places, [[row["acc"] for row in matching(mine, rank=r)] for r in ranks], look, line=True)
        ends.append((1.07 * ranks[-1], summaries[-1].mean, name, style(look)[0]))
        said.append(f"{name}: " + ", ".join(f"rank {r} {percent(s.mean)}" for r, s in zip(ranks, summaries, strict=True)))
    every = sorted({row["rank"] for row in rows})
    ax.set_xscale("log", base=2)
    ax.set_xticks(every, [str(r) for r in every])
    ax.minorticks_off()
    ax.margins(x=0.12)
    percent_axis(ax)
    reference_line(ax, rows[0]["acc_base"], f"base model {percent(rows[0]['acc_base'])}")
    ax.set_xlabel("rank r (α = 2r)")
    ax.set_ylabel("test words answered exactly right")
    ax.set_title(f"{rows[0]['task']}: rank and targets", loc="left", fontsize=11)
    spread_labels(ax, ends)
    alt = (f"Accuracy on {rows[0]['task']} against LoRA's rank on a base-2 logarithmic axis, one line for each set of "
           f"matrices, mean, 95 percent interval and single seeds. {'; '.join(said)}. Base model "
           f"{percent(rows[0]['acc_base'])}.")
    return figure, alt
