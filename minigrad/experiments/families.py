"""Families of methods, for pictures of all of them: a panel for each family, a look for each method in its panel."""
from __future__ import annotations

import dataclasses
import math

from minigrad import peft
from minigrad.experiments.figure import draw_points, groups, new_figure, percent, percent_axis, reference_line
from minigrad.experiments.statistics import summarize

# A method belongs where the hyper-parameter that it has puts it, and to the last family if it has none of them.
FAMILIES = {"LoRA": {"rank_pattern"}, "other changes of low rank": {"rank"}, "adapters": {"bottleneck", "parts"},
            "prompts and prefixes": {"length", "prefix", "template"},
            "subsets, scales, planes": set()}
MANY = 9                                            # more methods than one picture can tell apart
LOOKS = (("#0072B2", "o", "-"), ("#D55E00", "D", "--"), ("#009E73", "^", "-."), ("#CC79A7", "v", ":"),
         ("#000000", "s", (0, (7, 2))), ("#E69F00", "P", (0, (3, 1, 1, 1))), ("#56B4E9", "X", (0, (5, 1))),
         ("#666666", "h", (0, (1, 1))), ("#0072B2", "*", (0, (3, 3))), ("#D55E00", "<", (0, (8, 1, 1, 1))),
         ("#009E73", ">", (0, (2, 2))), ("#CC79A7", "p", (0, (6, 3))))


def family(method: str) -> str:
    """Which family a registered method belongs to.

    >>> family("lora"), family("adapter"), family("prompt"), family("full")
    ('LoRA', 'adapters', 'prompts and prefixes', 'subsets, scales, planes')
    """
    fields = {f.name for f in dataclasses.fields(peft.methods()[method])}
    return next((name for name, marks in FAMILIES.items() if marks & fields), list(FAMILIES)[-1])


def panels(rows, title: str, xlabel: str, ylabel: str):
    """(figure, [(axes, {method: (its rows, its look)})]): a panel for each family that has rows, on one scale."""
    members: dict = {}
    for (method,), runs in groups(rows, "method").items():
        members.setdefault(family(method), {})[method] = runs
    shown = [(name, members[name]) for name in FAMILIES if name in members]
    width = min(2, len(shown))
    figure, axes = new_figure(width, math.ceil(len(shown) / width), (5.6 * width, 4.0 * math.ceil(len(shown) / width)),
                              sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(shown):]:
        ax.set_visible(False)
    for ax, (name, _) in zip(axes.flat, shown, strict=False):
        ax.set_title(name, loc="left", fontsize=10)
    for ax in axes[-1]:
        ax.set_xlabel(xlabel)
    for ax in axes[:, 0]:
        ax.set_ylabel(ylabel)
    figure.suptitle(title, fontsize=11, x=0.02, ha="left")
    return figure, [(ax, {method: (runs, LOOKS[i % len(LOOKS)]) for i, (method, runs) in enumerate(of.items())})
                    for ax, (_, of) in zip(axes.flat, shown, strict=False)]


def finish(axes, top: float) -> None:
    """Names in every panel, and room for them above the highest value."""
    for ax in axes:
        percent_axis(ax)
        ax.legend(fontsize=7, frameon=False, ncols=2, loc="upper left", bbox_to_anchor=(0, 1))
        ax.set_ylim(0, 1.45 * top if top else 1)


def draw(rows):
    """(figure, alt text): accuracy over trained parameters, one panel per family, each method with its own look."""
    task, base = rows[0]["task"], summarize({row["acc_base"] for row in rows}).mean
    figure, found = panels(rows, f"{task}: accuracy against trained parameters, every method", "trained parameters",
                           "test words right")
    full = [row["acc"] for row in rows if row["method"] == "full"]
    counts, said = [row["trainable"] for row in rows], []
    ticks = [n for n in (1000, 3000, 10_000, 30_000, 100_000, 1_000_000) if min(counts) / 3 < n < 3 * max(counts)]
    for ax, members in found:
        for i, (method, (runs, look)) in enumerate(members.items()):
            aside = 1.06 ** (i - (len(members) - 1) / 2)                    # side by side, not over one another
            sizes = groups(sorted(runs, key=lambda row: row["trainable"]), "trainable")
            samples = [[row["acc"] for row in of_size] for of_size in sizes.values()]
            draw_points(ax, [size * aside for (size,) in sizes], samples, method, line=True, label=method, look=look)
            said.append(f"{method} " + ", ".join(f"{percent(summarize(s).mean)} with {size:,}" for (size,), s in
                                                 zip(sizes, samples, strict=True)))
        if full:
            reference_line(ax, summarize(full).mean, f"full {percent(summarize(full).mean)}", "full", left=True)
        reference_line(ax, base, f"base {percent(base)}", left=True)
        ax.set_xscale("log")
        ax.set_xticks(ticks, [f"{n:,}" for n in ticks])
        ax.minorticks_off()
    finish([ax for ax, _ in found], max(row["acc"] for row in rows))
    alt = (f"Accuracy on the task {task} against the number of trained parameters (logarithmic), one panel per family of "
           f"methods, mean and 95 percent interval over seeds. Base model {percent(base)}. " + "; ".join(said) + ".")
    return figure, alt
