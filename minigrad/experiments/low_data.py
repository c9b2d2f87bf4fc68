"""`minigrad experiments low-data`: how many examples does each method need? The same number of steps for every number."""
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

METHODS = ("full", "lora", "prefix", "prompt")
AMOUNTS = (100, 1000, 10000)
STEPS = 200                                         # 10,000 words are then seen less than once, 100 words 64 times
COLUMNS = ("task", "method", "examples", "lr", "seed", "steps", "trainable", "acc_base", "acc", "per", "loss")


def low_data(methods=METHODS, amounts=AMOUNTS, steps: int = STEPS, **options) -> list[dict]:
    """Every method on every number of examples, all for as many steps; writes low_data.{csv,png,json}.

    options: Study's; its examples and epochs are not used. ValueError for more examples than the task has.
    """
    study = Study("low_data", **options)
    runs = [study.of(name, seed, examples=n, updates=steps) for name in methods for n in amounts for seed in study.seeds]
    before, *rows = study.run([study.base(), *runs], methods=methods, amounts=amounts, steps=steps)
    rows = [row | {"examples": run.examples, "acc_base": before["acc"]} for row, run in zip(rows, runs, strict=True)]
    return study.write(rows, COLUMNS, draw(rows), findings(rows))


def findings(rows) -> list[Finding]:
    """Whether prefixes fall behind most where examples are few, and whether LoRA keeps up with full fine-tuning there."""
    names, amounts = {row["method"] for row in rows}, sorted({row["examples"] for row in rows})
    few, many = amounts[0], amounts[-1]
    found = []
    for name in ("prefix", "prompt"):
        if {name, "full"} <= names:
            share = {n: [{"seed": row["seed"], "acc": row["acc"] / max(full["acc"], 1e-9)} for row, full in zip(
                matching(rows, method=name, examples=n), matching(rows, method="full", examples=n), strict=True)]
                for n in (few, many)}
            gained = difference(share[many], share[few])
            found.append(Finding(f"{name} tuning falls behind most where examples are few", above(gained),
                                 f"of full fine-tuning's score it reaches {percent(mean(share[few]))} with {few:,} examples "
                                 f"and {percent(mean(share[many]))} with {many:,}; {points(gained)}"))
    if {"lora", "full"} <= names:
        gap = {n: difference(matching(rows, method="lora", examples=n), matching(rows, method="full", examples=n))
               for n in amounts}
        behind = [n for n in amounts if above(difference(matching(rows, method="full", examples=n),
                                                         matching(rows, method="lora", examples=n)))]
        found.append(Finding("LoRA is no worse than full fine-tuning, however few the examples", not behind,
                             "; ".join(f"{n:,}: {points(gap[n])}" for n in amounts)))
    return found


def draw(rows):
    """(figure, alt text): accuracy over the number of examples, one line per method."""
    figure, ax = new_figure()
    ends, said = [], []
    for i, ((name,), mine) in enumerate(groups(rows, "method").items()):
        by = groups(sorted(mine, key=lambda row: row["examples"]), "examples")
        places = [n * 1.1 ** i for (n,) in by]                              # side by side, not over one another
        summaries = draw_points(ax, places, [[row["acc"] for row in runs] for runs in by.values()], name, line=True)
        ends.append((1.3 * list(by)[-1][0], summaries[-1].mean, name, style(name)[0]))
        said.append(f"{name} " + ", ".join(f"{percent(summarize(r['acc'] for r in runs).mean)} with {n:,}"
                                           for (n,), runs in by.items()))
    amounts = sorted({row["examples"] for row in rows})
    ax.set_xscale("log")
    ax.set_xticks(amounts, [f"{n:,}" for n in amounts])
    ax.minorticks_off()
    ax.margins(x=0.15)
    percent_axis(ax)
    reference_line(ax, rows[0]["acc_base"], f"base {percent(rows[0]['acc_base'])}")
    ax.set_xlabel(f"examples learned from ({rows[0]['steps']} steps each)")
    ax.set_ylabel("test words answered exactly right")
    ax.set_title(f"{rows[0]['task']}: how many examples a method needs", loc="left", fontsize=11)
    spread_labels(ax, ends)
    alt = (f"Accuracy on {rows[0]['task']} against the number of examples (logarithmic), {rows[0]['steps']} steps each, mean, "
           f"95 percent interval and single seeds per method: {'; '.join(said)}. Base {percent(rows[0]['acc_base'])}.")
    return figure, alt
