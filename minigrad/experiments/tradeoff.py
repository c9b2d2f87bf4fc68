"""accuracy_vs_parameters: what each method reaches, against how much it trains."""
from __future__ import annotations

import math

from minigrad.experiments import families, table
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

COLUMNS = ("task", "method", "rank", "alpha", "lr", "seed", "steps", "trainable", "percent", "acc_base", "acc")


def write_tradeoff(rows, out, about: dict) -> None:
    """Write accuracy_vs_parameters.{csv,png,json} from rows of comparisons and rank sweeps on one task."""
    figure, alt = draw(rows)
    table.write("accuracy_vs_parameters", out, rows, columns=COLUMNS, figure=figure, alt=alt, about=about)


def draw(rows):
    """(figure, alt text): accuracy over trained parameters, a method's sizes joined by a line; of many, a panel per family."""
    if len({row["method"] for row in rows}) > families.MANY:
        return families.draw(rows)
    task = rows[0]["task"]
    figure, ax = new_figure()
    points, said = [], []
    for (name,), group in groups(rows, "method").items():
        sizes = groups(sorted(group, key=lambda row: row["trainable"]), "trainable")
        positions = [size for (size,) in sizes]
        samples = [[row["acc"] for row in runs] for runs in sizes.values()]
        last = draw_points(ax, positions, samples, name, line=len(positions) > 1)[-1]
        points.append((positions[-1], last.mean if math.isnan(last.half) else last.high, name, style(name)[0]))
        said.append(f"{name} " + ", ".join(f"{percent(summarize(s).mean)} with {p:,}" for p, s in
                                           zip(positions, samples, strict=True)))
    base = summarize({row["acc_base"] for row in rows}).mean
    reference_line(ax, base, f"base model {percent(base)}")
    ax.set_xscale("log")
    percent_axis(ax)
    ax.margins(x=0.12)
    ax.set_xlabel("trained parameters")
    ax.set_ylabel("words answered exactly right")
    ax.set_title(f"{task}: accuracy against trained parameters", loc="left", fontsize=11)
    spread_labels(ax, points, above=True)
    alt = (f"Accuracy on the task {task} against the number of trained parameters (logarithmic), mean and 95 percent "
           f"interval over seeds. Base model {percent(base)}. " + "; ".join(said) + ".")
    return figure, alt
