"""`python -m notebooks.reduced`: the comparison and the rank sweep at a size that a notebook can run while you watch.

The same runs as `minigrad compare --full` and `minigrad rank-sweep --full` with a tenth of the steps and an eighth of the
test words, but eight seeds: figures/lessons/reduced.csv. Notebook 16 makes the runs of one more seed and asks whether they
fall where these eight say that they should. Takes about 5 minutes on 2 cores.
"""
from __future__ import annotations

import sys
import tempfile

from minigrad.experiments import table
from minigrad.experiments.adaptation import Run, perform
from minigrad.experiments.compare import METHODS
from minigrad.experiments.rank_sweep import ALPHA_PER_RANK, SHARE_OF_RATE
from minigrad.experiments.rates import learning_rate
from minigrad.experiments.runner import Results, run_all
from notebooks.setup import FIGURES

SIZE = {"task": "rhyme", "examples": 1280, "epochs": 1, "batch_size": 32, "words": 250}         # 40 steps
SEEDS = range(8)
RANKS = (1, 4, 16)
COLUMNS = ("task", "method", "rank", "lr", "seed", "steps", "trainable", "acc_base", "acc", "per_base", "per")


def methods(seed: int) -> list[Run]:
    """The comparison with this seed: each method at the size and learning rate of figures/compare.csv."""
    return [Run(method=name, lr=learning_rate(name), seed=seed, **SIZE) for name in METHODS]


def ranks(seed: int) -> list[Run]:
    """The rank sweep with this seed: LoRA's rates and scales of figures/rank_vs_accuracy.csv."""
    return [Run(method="lora", lr=SHARE_OF_RATE * learning_rate("lora"), seed=seed,
                hyper={"rank": r, "alpha": ALPHA_PER_RANK * r}, **SIZE) for r in RANKS]


def main() -> int:
    """Make all runs and write figures/lessons/reduced.{csv,json}."""
    runs = [Run(method="base", seed=0, **SIZE)] + [run for seed in SEEDS for run in methods(seed) + ranks(seed)]
    with tempfile.TemporaryDirectory() as folder:
        done = run_all(runs, perform, Results(folder, "reduced", SIZE))
    base = done[0]["row"]
    rows = [result["row"] | {"acc_base": base["acc"], "per_base": base["per"]} for result in done[1:]]
    table.write("reduced", FIGURES, rows, columns=COLUMNS, about={
        "command": "python -m notebooks.reduced", "settings": {**SIZE, "seeds": list(SEEDS), "ranks": list(RANKS)}})
    return 0


if __name__ == "__main__":
    sys.exit(main())
