"""How everything here is timed: in turns, in one process, with equal threads; what counts is the ratio within a round.

A machine that is busy for a moment is busy for all who take turns in that moment, so the ratio of two times of one round
says more than the ratio of two averages. Reported are the median of those ratios and their quartiles.
"""
from __future__ import annotations

import gc
import math
import time

import numpy as np

COLUMNS = ("part", "size", "what", "against", "threads", "ms", "against_ms", "ratio", "low", "high", "target", "reached")
AT_LEAST = 0.02                                     # seconds of one measurement


def turns(actions: dict, rounds: int, warm_up: int = 3, on_round=lambda: None) -> dict:
    """{name: milliseconds of each round}, all actions once per round, in an order that alternates.

    What takes less than AT_LEAST is run several times in a row, so that the clock and the caches do not decide.
    """
    times: dict = {name: [] for name in actions}
    repeat = dict.fromkeys(actions, 1)
    for number in range(rounds + warm_up):
        order = list(actions.items())
        gc.collect()
        for name, action in order if number % 2 else order[::-1]:
            began = time.perf_counter()
            for _ in range(repeat[name]):
                action()
            each = (time.perf_counter() - began) / repeat[name]
            if number >= warm_up:
                times[name].append(1e3 * each)
            else:
                repeat[name] = max(1, math.ceil(AT_LEAST / each))
        on_round()
    return times


def ratio_row(part: str, size: str, times: dict, what: str, against: str, *, threads: int, target: float | None = None) -> dict:
    """One line of the table: `what` relative to `against`, and whether that is at most the target (None: no target)."""
    ratios = np.array(times[what]) / np.array(times[against])
    low, ratio, high = (float(q) for q in np.quantile(ratios, (0.25, 0.5, 0.75)))
    return {"part": part, "size": size, "what": what, "against": against, "threads": threads,
            "ms": float(np.median(times[what])), "against_ms": float(np.median(times[against])), "ratio": ratio, "low": low,
            "high": high, "target": target, "reached": None if target is None else bool(ratio <= target)}


def bytes_row(part: str, size: str, what: str, against: str, ours: int, theirs: int, *, threads: int, target: float) -> dict:
    """One line for a ratio of bytes, which has no spread."""
    ratio = ours / theirs
    return {"part": part, "size": size, "what": what, "against": against, "threads": threads, "ms": None, "against_ms": None,
            "ratio": ratio, "low": ratio, "high": ratio, "target": target, "reached": bool(ratio <= target)}
