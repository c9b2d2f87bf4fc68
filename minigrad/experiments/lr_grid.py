"""`minigrad experiments lr-grid`: choose each method's learning rate on validation words, never on test words."""
from __future__ import annotations

from pathlib import Path

from minigrad import pretrained, tasks
from minigrad.experiments import budget as budgets
from minigrad.experiments import families, table
from minigrad.experiments import rates as rates_file
from minigrad.experiments.adaptation import Run, make_method, perform
from minigrad.experiments.compare import METHODS, base_identity
from minigrad.experiments.figure import draw_points, groups, new_figure, percent, percent_axis, spread_labels, style
from minigrad.experiments.runner import Results, run_all
from minigrad.experiments.statistics import summarize
from minigrad.pretrained import write_json

COLUMNS = ("task", "method", "lr", "seed", "steps", "acc_validation", "per_validation", "train_loss", "chosen")
# Factors of about two around what each method is usually given; a best rate at an end asks for a wider range.
RANGES = {"full": (2.5e-4, 5e-4, 1e-3, 2e-3), "topk": (1e-3, 2e-3, 4e-3, 8e-3), "adapter": (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2),
          "prefix": (2e-2, 4e-2, 8e-2, 1.6e-1, 3.2e-1), "prompt": (1e-2, 3e-2, 1e-1, 3e-1),
          "lora": (2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2),
          "did": (1e-2, 3e-2, 1e-1, 3e-1), "said": (3e-2, 1e-1, 3e-1),      # steps along directions of length 1
          "lora_plus": (5e-4, 2e-3, 8e-3), "pissa": (5e-4, 2e-3, 8e-3), "longlora": (5e-4, 2e-3, 8e-3),
          "residual_adapter": (5e-4, 2e-3, 8e-3), "combined": (4e-3, 1.6e-2, 6.4e-2),
          **dict.fromkeys(("bitfit", "layernorm", "adalora", "multilora", "lora_fa", "adapterdrop"),
                          (2e-3, 8e-3, 3.2e-2, 1.28e-1)),
          **dict.fromkeys(("llama_adapter", "ptuning", "preembed"), (7.5e-3, 3e-2, 1.2e-1, 4.8e-1)),
          **dict.fromkeys(("vera", "ia3"), (8e-3, 3e-2, 1e-1, 4e-1))}
AROUND = (1 / 4, 1, 4)                              # of the rate of a method's nearest relative, where no range is known


def lr_grid(*, task: str = "rhyme", methods=METHODS, rates=None, seeds=(0, 1, 2), examples: int = 2000, epochs: int = 3,
            words: int = 1000, batch_size: int = 32, base: str = "reader", out="runs/lr-grid", processes: int = 2,
            threads: int = 1, backend: str = "numpy", budget: int | None = None, adopt: bool = False, fresh: bool = False,
            progress: bool = True, say=print, command: str = "") -> dict[str, float]:
    """Try learning rates; write lr_grid.{csv,png,json} to `out` and return {method: best rate}.

    Best is the highest mean share of validation words right over the seeds; of equals, the one with fewer phoneme errors.
    methods: names, or "all" for every method that can be trained alone · rates: what to try with each; without it a
    range around the method's usual rate, or around its nearest relative's · budget: try each method at the size with
    the number of parameters nearest to it · adopt: write the choice into the package, for all experiments.
    """
    out, shared = Path(out), {"task": task, "base": base, "examples": examples, "epochs": epochs, "batch_size": batch_size,
                              "words": words, "split": "validation", "may_diverge": True}
    methods = budgets.trainable_alone() if methods == "all" else list(methods)
    the_task = tasks.get(task)
    fitted = budgets.fit_all(methods, pretrained.load(base)[0], budget, the_task) if budget else {}
    for name in methods:
        make_method(name)
    runs = [Run(method=name, lr=lr, seed=seed, **shared, hyper=fitted[name].hyper if fitted else {})
            for seed in seeds for name in methods for lr in (rates or range_of(name))]
    results = Results(out, "lr_grid", {**shared, "base": base_identity(base), "backend": backend,
                                        **({"budget": budget} if budget else {})}, fresh)
    done = run_all(runs, perform, results, processes=processes, threads=threads, backend=backend, progress=progress, say=say)
    rows = [{**result["row"], "acc_validation": result["row"]["acc"], "per_validation": result["row"]["per"],
             "train_loss": result["row"]["loss"]} for result in done]
    rows.sort(key=lambda row: (list(methods).index(row["method"]), row["lr"], row["seed"]))
    best = choose(rows)
    for row in rows:
        row["chosen"] = int(row["lr"] == best[row["method"]])
    how = (f"the best of a grid on {words:,} validation words of {task}: {examples:,} examples, {runs[0].steps} steps of "
           f"{batch_size}, {len(list(seeds))} seed{'s' * (len(list(seeds)) > 1)} ({out / 'lr_grid.csv'})")
    figure, alt = draw(rows, best)
    table.write("lr_grid", out, rows, columns=COLUMNS, figure=figure, alt=alt, about={
        "command": command, "settings": {**shared, "seeds": list(seeds)}, **budgets.record(fitted, budget),
        "base_model": base_identity(base), "chosen": best})
    say(report(rows, best))
    if adopt:
        write_json(rates_file.FILE, {"grids": rates_file.adopted(rates_file.read_json(rates_file.FILE)["grids"], how, best)})
        say(f"the package now uses these rates ({rates_file.FILE.name})")
    say(f"\nwrote lr_grid.csv, lr_grid.png and lr_grid.json to {out}")
    results.remove()
    return best


def range_of(method: str) -> tuple[float, ...]:
    """The rates to try with a method.

    >>> range_of("prompt")
    (0.01, 0.03, 0.1, 0.3)
    """
    return RANGES.get(method) or tuple(float(f"{factor * rates_file.learning_rate(method):.3g}") for factor in AROUND)


def choose(rows) -> dict[str, float]:
    """{method: its best learning rate}.

    >>> choose([{"method": "m", "lr": lr, "acc_validation": acc, "per_validation": 0.5} for lr, acc in ((1, .2), (2, .3))])
    {'m': 2}
    """
    return {name: max((summarize(r["acc_validation"] for r in runs).mean, -summarize(r["per_validation"] for r in runs).mean,
                       -lr) for (lr,), runs in groups(of_method, "lr").items())[2] * -1
            for (name,), of_method in groups(rows, "method").items()}


def report(rows, best: dict) -> str:
    """The grid as text, the chosen rates marked, with a warning where the choice is at the end of the range."""
    lines = []
    for (name,), of_method in groups(rows, "method").items():
        for (lr,), runs in groups(of_method, "lr").items():
            lines.append([name, f"{lr:g}", summarize(row["acc_validation"] for row in runs).percent(),
                          f"{100 * summarize(row['per_validation'] for row in runs).mean:.1f}",
                          "chosen" if lr == best[name] else ""])
    text = "\n" + table.text_table(["method", "learning rate", "words right, %", "phoneme errors, %", ""], lines)
    for (name,), of_method in groups(rows, "method").items():
        tried = sorted({row["lr"] for row in of_method})
        if len(tried) > 1 and best[name] in (tried[0], tried[-1]):
            text += f"\n{name}: the best rate is at the end of the range; try rates beyond {best[name]:g} (--rates)"
    return text


def draw(rows, best: dict):
    """(figure, alt text): accuracy on validation words over the learning rate, one line per method."""
    title, labels = f"{rows[0]['task']}: choosing the learning rate", ("peak learning rate", "validation words right")
    many = len(best) > families.MANY
    if many:
        figure, found = families.panels(rows, title, *labels)
    else:
        figure, ax = new_figure()
        ax.set_title(title, loc="left", fontsize=11)
        ax.set_xlabel(labels[0])
        ax.set_ylabel(labels[1])
        found = [(ax, {name: (runs, None) for (name,), runs in groups(rows, "method").items()})]
    said = []
    for ax, members in found:
        ends = []
        for name, (of_method, look) in members.items():
            by_rate = groups(sorted(of_method, key=lambda row: row["lr"]), "lr")
            positions = [lr for (lr,) in by_rate]
            samples = [[r["acc_validation"] for r in runs] for runs in by_rate.values()]
            summaries = draw_points(ax, positions, samples, name, line=True, label=name, look=look)
            ends.append((positions[-1], summaries[-1].mean, name, style(name)[0]))
            said.append(f"{name} best at {best[name]:g} with {percent(summaries[positions.index(best[name])].mean)}")
        ax.set_xscale("log")
        if not many:
            percent_axis(ax)
            ax.margins(x=0.12)
            spread_labels(ax, ends)
    if many:
        families.finish([ax for ax, _ in found], max(row["acc_validation"] for row in rows))
    alt = (f"Share of validation words right on {rows[0]['task']} against the peak learning rate (logarithmic), mean, 95 "
           "percent interval and single seeds per method: " + "; ".join(said) + ".")
    return figure, alt
