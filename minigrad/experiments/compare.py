"""`minigrad compare`: every method on one task, same words, same steps; what it gains and what it costs.

Three parts: the runs (adaptation.py, in processes of their own), the times (measure.py, afterwards and alternating), and
the table and figure drawn from them, here.
"""
from __future__ import annotations

from pathlib import Path

from minigrad import peft, pretrained, tasks
from minigrad.experiments import budget as budgets
from minigrad.experiments import table
from minigrad.experiments.adaptation import Run, make_method, perform
from minigrad.experiments.figure import draw_points, groups, new_figure, percent, percent_axis, reference_line, style
from minigrad.experiments.measure import measure
from minigrad.experiments.rates import learning_rate, provenance
from minigrad.experiments.runner import Results, run_all
from minigrad.experiments.statistics import summarize
from minigrad.experiments.tradeoff import write_tradeoff

METHODS = ("full", "topk", "adapter", "prefix", "lora")
BUDGET = 8192                                       # trained parameters with --methods all: LoRA of rank 4
SHOWN_WORDS = 6
SHOWN_METHODS = 6                                   # of many methods, how many have a column in the table of words read


def compare(*, task: str = "rhyme", methods=METHODS, seeds=(0, 1, 2), examples: int = 2000, epochs: int = 3, words: int = 1000,
            batch_size: int = 32, base: str = "reader", out="runs/compare", adapters=None, processes: int = 2,
            threads: int = 1, backend: str = "numpy", lr: float | None = None, budget: int | None = None, rounds: int = 10,
            fresh: bool = False, progress: bool = True, say=print, command: str = "") -> list[dict]:
    """Compare methods on a task; writes compare.{csv,png,json} and accuracy_vs_parameters.* to `out`, returns the rows.

    A seed changes the words learned from, their order and the initial weights; all methods make the same steps on the same
    batches. Learning rates come from rates.py unless `lr` is given. methods: names, or "all" for every method that can be
    trained alone · budget: each method at the size whose number of trained parameters is nearest to it (with "all":
    BUDGET), otherwise at its usual size. The adapters of the first seed are kept in the folder `adapters` (default:
    "adapters" in `out`). Raises ValueError for unknown names and runs kept in `out` under other settings, Interrupted on
    Ctrl-C (the same call then goes on).
    """
    out, adapters, the_task = Path(out), Path(adapters or Path(out) / "adapters"), tasks.get(task)
    model, tokenizer = pretrained.load(base)
    the_task.add_symbols(tokenizer)
    shared = {"task": task, "base": base, "examples": examples, "epochs": epochs, "batch_size": batch_size, "words": words}
    if methods == "all":
        methods, budget = budgets.trainable_alone(), BUDGET if budget is None else budget
    rates = {name: learning_rate(name) if lr is None else lr for name in methods}
    fitted = budgets.fit_all(methods, model, budget, the_task) if budget else {}
    hyper = {name: fitted[name].hyper if fitted else {} for name in methods}
    for name in methods:                            # what cannot work is told before anything runs
        peft.apply(model, make_method(name, **hyper[name]))
    if fitted:
        say(budgets.explain(fitted, budget))
    # The adapters of the first seed stay: they are what the times are measured on, and they can be tried out.
    runs = [Run(method="base", seed=0, **shared)] + [
        Run(method=name, seed=seed, lr=rates[name], hyper=hyper[name], **shared,
            keep=str(adapters / name) if seed == seeds[0] else None)
        for seed in seeds for name in methods]
    results = Results(out, "compare", {**shared, "base": base_identity(base), "lr": lr, "first seed": seeds[0],
                                       "adapters": str(adapters), "backend": backend,
                                       **({"budget": budget} if budget else {})}, fresh)
    done = run_all(runs, perform, results, processes=processes, threads=threads, backend=backend, progress=progress, say=say)
    costs = _costs(base, the_task, {name: adapters / name for name in methods}, batch_size, rounds, progress, threads, backend)
    before, rows = done[0], []
    for result in done[1:]:
        row = result["row"] | {"acc_base": before["row"]["acc"], "per_base": before["row"]["per"]}
        rows.append(row | {key: value for key, value in costs[row["method"]].items()})
    read = {"base": before["read"]} | {result["row"]["method"]: result["read"] for result in reversed(done[1:])
                                       if result["row"]["seed"] == seeds[0]}
    about = {"command": command, "settings": {**shared, "seeds": list(seeds), "backend": backend, "processes": processes,
                                              "threads": threads},
             "learning_rates": {"from": provenance(methods) if lr is None else "the command line", **rates},
             **budgets.record(fitted, budget), "base_model": base_identity(base), "floor": floor(the_task),
             "base_latency": costs["base"], "words_read": _sample(the_task, words, read)}
    rows.sort(key=lambda row: (list(methods).index(row["method"]), row["seed"]))
    figure, alt = draw(rows, costs["base"])
    table.write("compare", out, rows, figure=figure, alt=alt, about=about)
    write_tradeoff(rows, out, {"command": command, "from": "compare.csv"})
    say(report(rows, about))
    say(f"\nwrote compare.csv, compare.png, compare.json and accuracy_vs_parameters.* to {out}")
    results.remove()
    return rows


def floor(task) -> dict:
    """What reading a word plainly scores on a task: the share of words that need not be changed, and how to say it."""
    share = task.baseline("test")
    return {"share": share, "note": f"{percent(share)} of the test words of {task.name} have their plain pronunciation as an "
                                    "accepted answer: a model that reads well scores as much without having learned the task"}


def base_identity(base: str) -> dict:
    """Which base model a result belongs to: name, checksum, seed, its own test scores."""
    described = pretrained.manifest(base)
    return {"name": base, "sha256": described["sha256"][:16], "seed": described.get("seed"), "test": described.get("test")}


def _costs(base: str, task, folders: dict, batch_size: int, rounds: int, progress: bool, threads: int, backend: str) -> dict:
    from tqdm import tqdm

    import minigrad as mg

    mg.set_num_threads(threads)
    layout = "{desc} {percentage:3.0f}% |{bar}| {elapsed} passed, {remaining} to go"
    with mg.use_backend(backend), tqdm(total=rounds + 1, desc="measuring times", disable=not progress, dynamic_ncols=True,
                                       bar_format=layout) as bar:
        model, tokenizer = pretrained.load(base)
        task.add_symbols(tokenizer)
        return measure(model, tokenizer, task, folders, batch_size=batch_size, rounds=rounds, on_round=bar.update)


def _sample(task, words: int, read: dict) -> list[dict]:
    """A few test words with what base and methods made of them; words that some method learned come first."""
    accepted = dict(task.examples("test")[:words])
    entries = [{"word": word, "accepted": [" ".join(answer) for answer in accepted[word]],
                **{name: answers[word] for name, answers in read.items()}} for word in read["base"]]

    def gained(entry):
        return entry["base"] not in entry["accepted"] and any(entry[name] in entry["accepted"] for name in read)

    learned, others = [e for e in entries if gained(e)], [e for e in entries if not gained(e)]
    return (learned[:SHOWN_WORDS - 2] + others)[:SHOWN_WORDS]


# ---- the table on the screen ----------------------------------------------------------------------------------------------

def report(rows, about: dict) -> str:
    """The comparison as text: gains, costs, a few words read before and after."""
    base = rows[0]
    gains, costs = [["(base model)", "", "", *(summarize([base[key]]).percent() for key in ("acc_base", "per_base"))]], []
    for (name,), runs in groups(rows, "method").items():
        one = runs[0]
        gains.append([name, f"{one['trainable']:,}", f"{one['percent']:.2f}", summarize(row["acc"] for row in runs).percent(),
                      summarize(row["per"] for row in runs).percent()])
        costs.append([name, _ms(one["step_ms"]), *(table.bytes_text(one[f"{what}_bytes"]) for what in
                                                  ("activation", "gradient", "optimizer", "stored")),
                      _ms(one["latency1_ms"]), _ms(one.get("latency1_merged_ms")), _ms(one["latency32_ms"]),
                      _ms(one.get("latency32_merged_ms"))])
    settings, latency = about["settings"], about["base_latency"]
    costs.append(["(base model)", "", "", "", "", "", _ms(latency["latency1_ms"]), "", _ms(latency["latency32_ms"]), ""])
    lines = [
        f"\n{settings['task']}: {settings['examples']:,} examples, {base['steps']} steps of {settings['batch_size']}, "
        f"{len(settings['seeds'])} seeds; scored on {settings['words']:,} test words; ± is the 95 % t-interval over seeds\n"
        + (f"each method at the size nearest to {about['budget']:,} trained parameters\n" if "budget" in about else ""),
        table.text_table(["method", "trained", "% of base", "words right, %", "phoneme errors, %"], gains),
        f"\nMind the floor: {about['floor']['note']}.\n",
        table.text_table(["method", "step", "activations", "gradients", "optimizer", "stored", "1 word", "merged", "32 words",
                          "merged"], costs),
        f"\nTimes are medians; \"1 word\" and \"32 words\" are the time to read them and write 8 symbols; activations are what "
        f"one step on {settings['batch_size']} words keeps for its backward pass.\n"]
    names = [name for name in about["words_read"][0] if name not in ("word", "accepted")] if about["words_read"] else []
    if len(names) > SHOWN_METHODS:                  # the base, and the best
        best = sorted(groups(rows, "method").items(), key=lambda g: -summarize(row["acc"] for row in g[1]).mean)
        names = ["base", *(name for (name,), _ in best[:SHOWN_METHODS - 1])]
    lines.append(table.text_table(["word", "right answer", *names], [
        [entry["word"], entry["accepted"][0], *(entry[name] + (" ✓" if entry[name] in entry["accepted"] else "")
                                               for name in names)] for entry in about["words_read"]], left=99))
    return "\n".join(lines)


def _ms(value) -> str:
    return "" if value is None else f"{value:.1f} ms"


# ---- the figure -----------------------------------------------------------------------------------------------------------

def draw(rows, base_costs: dict):
    """(figure, alt text): accuracy, training memory and latency side by side, one line per method."""
    by_method = {name: runs for (name,), runs in groups(rows, "method").items()}
    names = list(by_method)
    places = list(range(len(names)))[::-1]                          # the first method at the top
    figure, (gain, memory, latency) = new_figure(3, 1, (11.0, 1.6 + (0.55 if len(names) < 10 else 0.42) * len(names)),
                                                      sharey=True)
    base = rows[0]["acc_base"]
    for place, name in zip(places, names, strict=True):
        draw_points(gain, [place], [[row["acc"] for row in by_method[name]]], name, horizontal=True)
        _stack(memory, place, by_method[name][0])
        _latencies(latency, place, name, by_method[name][0])
    reference_line(gain, base, f"base {percent(base)}", vertical=True)
    reference_line(latency, base_costs["latency1_ms"], "base", vertical=True)
    gain.set_yticks(places, [f"{name}\n{by_method[name][0]['trainable']:,}" for name in names], fontsize=9)
    gain.set_ylim(-0.6, len(names) - 0.4)
    percent_axis(gain, "x")
    gain.set_xlabel(f"test words right ({rows[0]['task']})")
    gain.set_ylabel("method, trained parameters", fontsize=9)
    memory.set_xlabel("training memory beside the weights, MB")
    slowest = max(runs[0]["latency1_ms"] for runs in by_method.values())
    if slowest > 6 * base_costs["latency1_ms"]:     # one that is slow unmerged would press all others together
        latency.set_xscale("log")
        ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
                 if 0.5 * base_costs["latency1_ms"] <= t <= 1.1 * slowest]
        latency.set_xticks(ticks, [str(t) for t in ticks])
        latency.minorticks_off()
    else:
        latency.set_xlim(left=0)
    latency.set_xlabel("time to read one word, ms (open: merged)")
    said = []
    for name in names:
        runs, one = by_method[name], by_method[name][0]
        total = (one["activation_bytes"] + one["gradient_bytes"] + one["optimizer_bytes"]) / 1e6
        said.append(f"{name} trains {one['trainable']:,} parameters, answers "
                    f"{summarize(r['acc'] for r in runs).percent()} percent right, "
                    f"needs {total:.1f} MB and {one['latency1_ms']:.1f} ms per word")
    alt = (f"Methods compared on {rows[0]['task']} in three panels: words right (mean, 95 percent interval and single seeds), "
           f"training memory (activations, gradients, optimizer) and time per word. Base model {percent(base)}. "
           + "; ".join(said) + ".")
    return figure, alt


def _stack(ax, place: int, row: dict) -> None:
    """One bar of three parts, told apart by gray and hatching, labeled in the top row."""
    start = 0.0
    for what, gray, hatch in (("activation", "#BBBBBB", ""), ("gradient", "#777777", "///"), ("optimizer", "#FFFFFF", "...")):
        size = row[f"{what}_bytes"] / 1e6
        ax.barh(place, size, left=start, height=0.5, facecolor=gray, hatch=hatch, edgecolor="black", linewidth=0.6,
                label={"activation": "activations", "gradient": "gradients", "optimizer": "optimizer"}[what])
        start += size
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[:3], labels[:3], fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3,
              columnspacing=1.0, handletextpad=0.4)


def _latencies(ax, place: int, name: str, row: dict) -> None:
    color, marker, _, _ = style(name)
    ax.plot(row["latency1_ms"], place, marker=marker, color=color, markersize=7)
    if row.get("latency1_merged_ms") is not None:
        ax.plot(row["latency1_merged_ms"], place, marker=marker, color=color, markerfacecolor="white", markersize=7)

