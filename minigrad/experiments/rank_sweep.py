"""`minigrad rank-sweep`: how much rank does LoRA need? Accuracy against rank, at fixed α/r and fixed learning rate."""
from __future__ import annotations

from pathlib import Path

from minigrad import peft, pretrained, tasks
from minigrad.experiments import table
from minigrad.experiments.adaptation import Run, make_method, perform
from minigrad.experiments.compare import base_identity
from minigrad.experiments.figure import draw_points, groups, new_figure, percent, percent_axis, reference_line, style
from minigrad.experiments.rates import chosen, learning_rate
from minigrad.experiments.runner import Results, run_all
from minigrad.experiments.statistics import summarize
from minigrad.experiments.tradeoff import write_tradeoff

RANKS = (1, 2, 4, 8, 16, 32, 64, 128)
ALPHA_PER_RANK = 2                                  # fixed, so that the factor before BA does not change with the rank
# The same for all ranks, too. LoRA's rate was chosen at rank 8; Adam moves each number by about the rate, so the change of
# W grows with the rank, and what suits rank 8 is too much for rank 128. Half of it serves all (validation words).
SHARE_OF_RATE = 0.5


def rank_sweep(*, task: str = "rhyme", ranks=RANKS, targets=("q_proj", "v_proj"), lr: float | None = None, seeds=(0, 1, 2),
               examples: int = 2000, epochs: int = 3, words: int = 1000, batch_size: int = 32, base: str = "reader",
               out="runs/rank-sweep", processes: int = 2, threads: int = 1, backend: str = "numpy", fresh: bool = False,
               progress: bool = True, say=print, command: str = "") -> list[dict]:
    """Fine-tune with LoRA of several ranks, and fully for comparison; write rank_vs_accuracy.{csv,png,json} to `out`.

    Also writes accuracy_vs_parameters.*: these rows, and those of a compare.csv in `out` with the same task and steps.
    Raises ValueError for a rank larger than a target's matrix, unknown targets, and runs kept under other settings.
    """
    out = Path(out)
    model, tokenizer = pretrained.load(base)
    tasks.get(task).add_symbols(tokenizer)
    targets = targets[0] if list(targets) == ["all-linear"] else tuple(targets)
    rate, full_rate = (SHARE_OF_RATE * learning_rate("lora") if lr is None else lr), learning_rate("full")
    shared = {"task": task, "base": base, "examples": examples, "epochs": epochs, "batch_size": batch_size, "words": words}
    for rank in ranks:                              # what cannot work is told before anything runs
        peft.apply(model, make_method("lora", rank=rank, alpha=ALPHA_PER_RANK * rank, targets=targets))
    runs = [Run(method="base", seed=0, **shared)]
    for seed in seeds:
        runs.append(Run(method="full", lr=full_rate, seed=seed, **shared))
        runs += [Run(method="lora", lr=rate, seed=seed, **shared, hyper={"rank": r, "alpha": ALPHA_PER_RANK * r,
                                                                         "targets": targets}) for r in ranks]
    results = Results(out, "rank_vs_accuracy", {**shared, "base": base_identity(base), "targets": targets, "lr": rate,
                                                "lr of full": full_rate, "backend": backend}, fresh)
    done = run_all(runs, perform, results, processes=processes, threads=threads, backend=backend, progress=progress, say=say)
    before = done[0]["row"]
    rows = [result["row"] | {"acc_base": before["acc"], "per_base": before["per"]} for result in done[1:]]
    rows.sort(key=lambda row: (row["method"] != "full", row.get("rank") or 0, row["seed"]))
    about = {"command": command, "settings": {**shared, "seeds": list(seeds), "ranks": list(ranks), "targets": targets,
                                              "alpha/rank": ALPHA_PER_RANK, "lr": rate, "lr of full": full_rate,
                                              "processes": processes, "threads": threads},
             "learning_rates_from": f"{chosen('lora')[1]}; LoRA's times {SHARE_OF_RATE}" if lr is None else "the command line",
             "base_model": base_identity(base)}
    figure, alt = draw(rows, targets)
    table.write("rank_vs_accuracy", out, rows, figure=figure, alt=alt, about=about)
    others = comparable(out / "compare.csv", rows[0])
    seen = {(row["method"], row.get("rank"), row["seed"]) for row in others}
    write_tradeoff(others + [row for row in rows if (row["method"], row.get("rank"), row["seed"]) not in seen], out,
                   {"command": command, "from": "rank_vs_accuracy.csv" + (" and compare.csv" if others else "")})
    say(report(rows))
    say(f"\nwrote rank_vs_accuracy.csv, .png, .json and accuracy_vs_parameters.* to {out}")
    results.remove()
    return rows


def comparable(path: Path, row: dict) -> list[dict]:
    """The rows of a comparison that can stand beside `row`: same task and number of steps; none if there is no file."""
    if not path.is_file():
        return []
    return [r for r in table.read_csv(path) if (r.get("task"), r.get("steps")) == (row["task"], row["steps"])]


def report(rows) -> str:
    """The sweep as text."""
    lines = [["(base model)", "", f"{100 * rows[0]['acc_base']:.1f}", f"{100 * rows[0]['per_base']:.1f}"]]
    for (name, rank), runs in groups(rows, "method", "rank").items():
        lines.append([name if rank is None else f"rank {rank}", f"{runs[0]['trainable']:,}",
                      summarize(r["acc"] for r in runs).percent(), summarize(r["per"] for r in runs).percent()])
    return "\n" + table.text_table(["", "trained", "words right, %", "phoneme errors, %"], lines)


def draw(rows, targets):
    """(figure, alt text): accuracy over rank on a log-2 axis; full fine-tuning and the base as lines."""
    figure, ax = new_figure()
    sweep = groups([row for row in rows if row["method"] == "lora"], "rank")
    ranks = [rank for (rank,) in sweep]
    summaries = draw_points(ax, ranks, [[row["acc"] for row in runs] for runs in sweep.values()], "lora", line=True)
    full, base = summarize(row["acc"] for row in rows if row["method"] == "full"), rows[0]["acc_base"]
    ax.set_xscale("log", base=2)
    ax.set_xticks(ranks, [str(rank) for rank in ranks])
    ax.minorticks_off()
    if full.n > 1:
        ax.axhspan(full.low, full.high, color=style("full")[0], alpha=0.08, linewidth=0)
    reference_line(ax, full.mean, f"full fine-tuning {percent(full.mean)}", "full", left=True)
    reference_line(ax, base, f"base model {percent(base)}")
    top = summaries[-1].high if summaries[-1].n > 1 else summaries[-1].mean
    ax.annotate("LoRA", (ranks[-1], top), xytext=(0, 8), textcoords="offset points", fontsize=9,
                color=style("lora")[0], ha="center")
    percent_axis(ax)
    ax.set_xlabel(f"rank r (α = {ALPHA_PER_RANK}r; {targets if isinstance(targets, str) else ', '.join(targets)})")
    ax.set_ylabel("test words answered exactly right")
    ax.set_title(f"{rows[0]['task']}: accuracy against LoRA's rank", loc="left", fontsize=11)
    said = ", ".join(f"rank {rank}: {percent(s.mean)}" for rank, s in zip(ranks, summaries, strict=True))
    alt = (f"Accuracy on {rows[0]['task']} against LoRA's rank on a base-2 logarithmic axis, mean, 95 percent interval and "
           f"single seeds. {said}. Full fine-tuning {percent(full.mean)}, base model {percent(base)}.")
    return figure, alt
