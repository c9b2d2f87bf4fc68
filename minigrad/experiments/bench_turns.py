"""How everything here is timed: in turns, in one process, with equal threads; what counts is the ratio within a round.

A machine that is busy for a moment is busy for all who take turns in that moment, so the ratio of two times of one round
says more than the ratio of two averages. Reported are the median of those ratios and its 95 % interval. Before an action is
timed it runs uncounted for a moment: in training, too, the caches hold what the step before has left there, not another
engine's, and no threads of another engine wait for more work by spinning.
"""
from __future__ import annotations

import gc
import math
import time

import numpy as np

COLUMNS = ("part", "size", "what", "against", "threads", "ms", "against_ms", "ratio", "low", "high", "target", "reached")
AT_LEAST, SETTLE = 0.02, 0.005                      # seconds of one measurement, and of what goes before it


def turns(actions: dict, rounds: int, warm_up: int = 3, on_round=lambda: None, *, at_least: float = AT_LEAST,
          settle: bool = True) -> dict:
    """{name: milliseconds of each round}, all actions once per round, in an order that alternates.

    What takes less than `at_least` seconds is run several times in a row, so that the clock does not decide. settle:
    whether to run what is not much longer than settling itself uncounted before.
    """
    times: dict = {name: [] for name in actions}
    repeat, seconds = dict.fromkeys(actions, 1), {}
    gc.collect()
    gc.freeze()                                     # a collection then looks only at what these rounds have left
    try:
        for number in range(rounds + warm_up):
            order = list(actions.items())
            gc.collect()
            for name, action in order if number % 2 else order[::-1]:
                if settle and number >= warm_up and seconds.get(name, 0.0) < 50 * SETTLE:
                    _settle(action)
                began = time.perf_counter()
                for _ in range(repeat[name]):
                    action()
                each = seconds[name] = (time.perf_counter() - began) / repeat[name]
                if number >= warm_up:
                    times[name].append(1e3 * each)
                else:
                    repeat[name] = max(1, math.ceil(at_least / each))
            on_round()
    finally:
        gc.unfreeze()
    return times


def _settle(action) -> None:
    """Run it once, and again until SETTLE seconds have passed."""
    began = time.perf_counter()
    action()
    while time.perf_counter() - began < SETTLE:
        action()


def median_interval(values) -> tuple[float, float, float]:
    """(low, median, high): the median and its 95 % interval, two of the sorted values; of fewer than 6, the outermost.

    Each value lies below the true median with probability ½, whatever the distribution: the interval leaves out as many on
    each side as leave both tails of the binomial distribution at most 5 % together.

    >>> median_interval(range(15))
    (3.0, 7.0, 11.0)
    """
    ordered = sorted(float(v) for v in values)
    n, left_out, tail = len(ordered), 0, 1
    while 2 * tail <= 0.05 * 2 ** n:                # 2 · P(at most left_out of n) ≤ 5 %
        left_out += 1
        tail += math.comb(n, left_out)
    left_out = max(0, left_out - 1)
    return ordered[left_out], float(np.median(ordered)), ordered[-1 - left_out]


def ratio_row(part: str, size: str, times: dict, what: str, against: str, *, threads: int, target: float | None = None) -> dict:
    """One line of the table: `what` relative to `against`, and whether that is at most the target (None: no target)."""
    low, ratio, high = median_interval(np.array(times[what]) / np.array(times[against]))
    return {"part": part, "size": size, "what": what, "against": against, "threads": threads,
            "ms": float(np.median(times[what])), "against_ms": float(np.median(times[against])), "ratio": ratio, "low": low,
            "high": high, "target": target, "reached": None if target is None else bool(ratio <= target)}


def bytes_row(part: str, size: str, what: str, against: str, ours: int, theirs: int, *, threads: int, target: float) -> dict:
    """One line for a ratio of bytes, which has no spread."""
    ratio = ours / theirs
    return {"part": part, "size": size, "what": what, "against": against, "threads": threads, "ms": None, "against_ms": None,
            "ratio": ratio, "low": ratio, "high": ratio, "target": target, "reached": bool(ratio <= target)}
