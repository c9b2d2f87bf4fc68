"""Experiments: a function from arguments to a table, a CSV, a figure. Start with compare.py.

    adaptation.py   one run: base model, method, task, seed
    runner.py       many runs in processes of their own, each result kept at once
    statistics.py   mean and interval · figure.py, table.py   how results are drawn and written
    compare.py      every method on one task · rank_sweep.py   LoRA's rank · lr_grid.py   the learning rates
    study.py        the frame of the experiments on the course's findings, each in a file of its own: targets.py,
                    rank_targets.py, low_data.py, stability.py, subspace.py, methods.py, latency.py, costs.py, intrinsic.py
    budget.py       every method at the size nearest to a budget · rates.py   learning rates · families.py   pictures of all
    measure.py      time of a step and of a reading · tradeoff.py   accuracy against trained parameters
    bench.py        a training step here and in PyTorch · torch_twin.py   our GPT in PyTorch
    bench_suite.py  all of `minigrad bench`, a file for each part; bench_turns.py says how it is timed, bench_why.py why a
                    target was missed
    gpu_report.py   what only a GPU can show (checks in gpu_checks.py) · both_backends.py   one cell, two backends
    precision_*.py  number formats and memory: gradients, training, updates, matmul, adam, memory; a figure each
"""
from minigrad.experiments.compare import compare
from minigrad.experiments.lr_grid import lr_grid
from minigrad.experiments.rank_sweep import rank_sweep

__all__ = ["compare", "lr_grid", "rank_sweep"]
