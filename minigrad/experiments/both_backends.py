"""The same training cell on both backends: one word is different, the losses are not.

>>> result = both_backends(steps=2, size=TINY, backends=("numpy",), say=lambda text: None)
>>> sorted(result)
['numpy']
"""
from __future__ import annotations

import time

import minigrad as mg
from minigrad.experiments.gpu_checks import SIZES, TINY, Size, Step
from minigrad.experiments.table import text_table

__all__ = ["TINY", "both_backends", "train"]


def train(name: str, steps: int, size: Size) -> tuple[list[float], float]:
    """The cell: a small GPT trained on a backend. Gives its losses and the time of a step in milliseconds."""
    with mg.use_backend(name) as be:                # ← the only line that knows about the backend
        step, losses, times = Step(size), [], []
        for _ in range(steps):
            began = time.perf_counter()
            step()
            losses.append(step.loss.item())
            be.synchronize()
            times.append(1e3 * (time.perf_counter() - began))
            step.new_batch()
    return losses, sorted(times)[len(times) // 2]


def both_backends(steps: int = 30, size: Size = SIZES["lesson"], backends=("numpy", "cupy"), say=print) -> dict:
    """Train on each backend that is usable here and show losses and times side by side.

    Without a GPU it says so in a sentence and shows NumPy's alone. Returns {name: (losses, ms per step)}.
    """
    results, absent = {}, []
    for name in backends:
        try:
            mg.backend.get(name)
        except mg.backend.BackendUnavailable as unavailable:
            absent.append(f"No {name} column this time, and that is fine: on a machine with a GPU the same cell runs "
                          f"unchanged.\n({unavailable})")
            continue
        results[name] = train(name, steps, size)
    shown = sorted({0, steps // 4, steps // 2, 3 * steps // 4, steps - 1})
    rows = [[f"loss at step {i + 1}", *(f"{losses[i]:.6f}" for losses, _ in results.values())] for i in shown]
    rows.append(["one step", *(f"{ms:.1f} ms" for _, ms in results.values())])
    say(text_table(["", *results], rows))
    for sentence in absent:
        say(f"\n{sentence}")
    return results


if __name__ == "__main__":
    both_backends()
