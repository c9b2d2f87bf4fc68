"""What the smaller experiments share: their runs, kept one by one; then table, figure and what the course would expect.

    study = Study("targets", out="runs/targets", say=print)
    rows = study.run([study.lora(…), …])                    resumes where it was interrupted
    study.write(rows, COLUMNS, draw(rows), findings(rows))  targets.csv, targets.png, targets.json, and a sentence
"""
from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from minigrad import peft, pretrained, tasks
from minigrad.experiments import table
from minigrad.experiments.adaptation import Run, make_method, perform
from minigrad.experiments.compare import base_identity
from minigrad.experiments.rates import chosen, learning_rate
from minigrad.experiments.runner import Results, run_all
from minigrad.experiments.statistics import Summary, summarize


@dataclass(frozen=True)
class Finding:
    """A claim of the course material, whether it shows in a table of ours, and the numbers that decide.

    >>> print(Finding("adapters cost time", True, "13 ms against 12"))
    adapters cost time: shows at our scale (13 ms against 12).
    """

    claim: str
    shows: bool
    evidence: str

    def __str__(self) -> str:
        return f"{self.claim}: {'shows' if self.shows else 'does not show'} at our scale ({self.evidence})."


class Study:
    """One experiment of `minigrad experiments`: what its runs have in common, and where its files go.

    seeds: of every cell · examples, epochs, batch_size: what is learned from · words: how many test words are read ·
    out: folder of NAME.csv, NAME.png, NAME.json, and of NAME.partial.jsonl while runs are missing · processes, threads,
    backend, fresh, progress, say: as in runner.py · command: for the record.
    """

    def __init__(self, name: str, *, task: str = "rhyme", base: str = "reader", seeds=(0, 1, 2), examples: int = 1280,
                 epochs: int = 3, words: int = 300, batch_size: int = 32, out="runs/experiments", processes: int = 1,
                 threads: int = 1, backend: str = "numpy", fresh: bool = False, progress: bool = True, say=print,
                 command: str = ""):
        self.name, self.out, self.say, self.command, self.seeds = name, Path(out), say, command, tuple(seeds)
        self.shared = {"task": task, "base": base, "examples": examples, "epochs": epochs, "batch_size": batch_size,
                       "words": words}
        self.settings = self.shared
        self.running = {"processes": processes, "threads": threads, "backend": backend}
        self.fresh, self.progress, self.results, self.rates = fresh, progress, None, {}
        self.model, self.tokenizer = pretrained.load(base)
        self.task = tasks.get(task)
        self.task.add_symbols(self.tokenizer)

    def of(self, method: str, seed: int, share: float = 1.0, **more) -> Run:
        """A run of a method with its learning rate (times `share`) and what all runs have in common."""
        self.rates[method] = {"rate": share * learning_rate(method), "from": chosen(method)[1]}
        return Run(method=method, seed=seed, lr=share * learning_rate(method), **{**self.shared, **more})

    def base(self) -> Run:
        """The base model as it is."""
        return Run(method="base", seed=0, **self.shared)

    def lora(self, seed: int, rank: int, targets, share: float = 1.0, **more) -> Run:
        """LoRA with α = 2·rank on these targets."""
        return self.of("lora", seed, share, hyper={"rank": rank, "alpha": 2 * rank, "targets": tuple(targets)}, **more)

    def run(self, runs: list, perform=perform, **settings) -> list[dict]:
        """The results' rows in order, those of an interrupted study taken over. settings: what else tells studies apart.

        Raises ValueError where `out` holds runs with other settings, Interrupted on Ctrl-C.
        """
        for method, hyper in {repr((r.method, r.hyper)): (r.method, r.hyper) for r in runs if isinstance(r, Run)}.values():
            if method != "base":                    # what cannot work is told before anything runs
                peft.apply(self.model, make_method(method, **hyper))
        self.settings = {**self.shared, **settings}
        self.results = Results(self.out, self.name, {**self.settings, "base": base_identity(self.shared["base"]),
                                                     "backend": self.running["backend"]}, self.fresh)
        done = run_all(runs, perform, self.results, **self.running, progress=self.progress, say=self.say)
        return [result["row"] for result in done]

    def write(self, rows, columns, drawn, findings: list[Finding], about: dict | None = None) -> list[dict]:
        """Write table, figure and record; say what was found; returns the rows as the table has them."""
        figure, alt = drawn
        table.write(self.name, self.out, rows, columns=columns, figure=figure, alt=alt, about={
            "command": self.command, "settings": {**self.settings, "seeds": list(self.seeds), **self.running},
            **({"learning_rates": self.rates} if self.rates else {}), "base_model": base_identity(self.shared["base"]),
            "findings": [{**asdict(f), "sentence": str(f)} for f in findings], **(about or {})})
        for found in findings:
            self.say(f"\n{found}")
        self.say(f"\nwrote {self.name}.csv, {self.name}.png and {self.name}.json to {self.out}")
        if self.results is not None:
            self.results.remove()
        return rows


# ---- what findings are made of ------------------------------------------------------------------------------------------

def mean(rows, column: str = "acc", **where) -> float:
    """The mean of a column over the rows whose other columns have these values; ValueError if there are none.

    >>> mean([{"m": "a", "acc": 0.1}, {"m": "a", "acc": 0.3}, {"m": "b", "acc": 1}], m="a")
    0.2
    """
    return summarize(row[column] for row in matching(rows, **where)).mean


def matching(rows, **where) -> list[dict]:
    """The rows whose columns have these values."""
    return [row for row in rows if all(row[key] == value for key, value in where.items())]


def difference(a, b, column: str = "acc") -> Summary:
    """Mean and 95 % t-interval of a − b, paired by seed: the same seed saw the same words.

    >>> difference([{"seed": 0, "acc": 3}, {"seed": 1, "acc": 5}], [{"seed": 1, "acc": 2}, {"seed": 0, "acc": 1}]).mean
    2.5
    """
    other = {row["seed"]: row[column] for row in b}
    return summarize(row[column] - other[row["seed"]] for row in a if row["seed"] in other)


def above(d: Summary) -> bool:
    """Whether a difference is above 0 by more than the spread of the seeds; never with a single one."""
    return not math.isnan(d.half) and d.low > 0


def points(d: Summary) -> str:
    """A difference of shares in percentage points: "+2.1 ± 0.8 points"."""
    return f"{100 * d.mean:+.1f}" + ("" if math.isnan(d.half) else f" ± {100 * d.half:.1f}") + " points"
