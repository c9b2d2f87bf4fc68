"""Where a step's time goes: each operation's forward and backward, beside the least it could take on this machine.

The floor of a matrix product is the time the product alone takes for the same shapes, on as many threads; that of everything
else is its bytes (what it reads and what it writes, once) at the speed with which this machine copies arrays of that size, on
as many threads. What the sum of all operations leaves of the step is the graph's bookkeeping and the optimizer.
"""
from __future__ import annotations

import contextlib
import time

import numpy as np

from minigrad import backend
from minigrad.autograd import Function
from minigrad.backend import threads
from minigrad.experiments.bench_steps import Size, our_step

COLUMNS = ("size", "operation", "calls", "forward_ms", "backward_ms", "floor_ms", "share", "times_floor")


@contextlib.contextmanager
def recording(log: list):
    """Inside, every operation notes (name, "forward" | "backward", seconds, shapes of its arrays, bytes)."""
    originals = []

    def timed(cls, which, original):
        def run(self, *arrays):
            began = time.perf_counter()
            result = original(self, *arrays)
            seconds = time.perf_counter() - began
            given = [a for a in arrays if hasattr(a, "shape")]
            if which == "forward":
                self.profiled = [tuple(a.shape) for a in given]
            made = [a for a in (result if isinstance(result, tuple) else (result,)) if hasattr(a, "nbytes")]
            view = given and made and all(np.may_share_memory(given[0], b) for b in made)       # moves nothing
            moved = 0 if view else sum(a.nbytes for a in given + made)
            log.append((self.name, which, seconds, self.profiled, self.needs, moved))
            return result
        return run
    for cls in set(Function.registry.values()):
        for which in ("forward", "backward"):
            if which in vars(cls):
                originals.append((cls, which, vars(cls)[which]))
                setattr(cls, which, timed(cls, which, vars(cls)[which]))
    try:
        yield
    finally:
        for cls, which, original in originals:
            setattr(cls, which, original)


def profile(size: Size, rounds: int = 5) -> list[dict]:
    """One row per operation of a step: times (medians over the rounds), floor, share of the step; and two rows of sums."""
    ids, targets = size.data()
    step = our_step(size.model(), ids, targets)
    for _ in range(2):
        step()
    whole, logs = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        step()
        whole.append(1e3 * (time.perf_counter() - began))
        log: list = []
        with recording(log):
            step()
        logs.append(log)
    total, floors = float(np.median(whole)), Floors()
    rows = []
    for name in sorted({entry[0] for entry in logs[0]}):
        times = {which: float(np.median([sum(e[2] for e in log if e[:2] == (name, which)) for log in logs])) * 1e3
                 for which in ("forward", "backward")}
        mine = [e for e in logs[-1] if e[0] == name]
        floor = 1e3 * sum(floors.of(name, which, shapes, needs, moved) for _, which, _, shapes, needs, moved in mine)
        spent = times["forward"] + times["backward"]
        rows.append({"size": size.name, "operation": name, "calls": sum(e[1] == "forward" for e in mine),
                     "forward_ms": times["forward"], "backward_ms": times["backward"], "floor_ms": floor,
                     "share": spent / total, "times_floor": spent / floor if floor > 1e-3 else None})
    rows.sort(key=lambda r: -r["share"])
    covered = sum(r["forward_ms"] + r["backward_ms"] for r in rows)
    floor = sum(r["floor_ms"] for r in rows)
    empty = {"size": size.name, "calls": 1, "forward_ms": None, "backward_ms": None, "floor_ms": None, "times_floor": None}
    rows.append(empty | {"operation": "graph and optimizer", "share": max(0.0, 1 - covered / total)})
    rows.append(empty | {"operation": "whole step", "floor_ms": floor, "share": 1.0, "times_floor": total / floor})
    return rows


class Floors:
    """Measured least times, in seconds: of matrix products by their shape, of bytes by their number."""

    def __init__(self):
        self.products: dict = {}
        self.copies: dict = {}

    def of(self, name: str, which: str, shapes, needs, moved: int) -> float:
        """The floor of one call."""
        if name == "linear":
            x, w = shapes[0], shapes[1]
            m, k, n = int(np.prod(x[:-1])), x[-1], w[0]
            if which == "forward":
                return self.product(m, k, n)
            return needs[0] * self.product(m, n, k) + needs[1] * self.product(n, m, k)
        if name == "scaled_dot_product_attention":
            B, H, T, d = shapes[0]
            S = shapes[1][2]
            # causal: half of each square is masked, and a kernel may skip it
            one = B * H * (self.product(T, d, S) + self.product(T, S, d)) / 2
            return one if which == "forward" else 2 * one
        return moved / self.bandwidth(moved) if moved else 0.0

    def product(self, m: int, k: int, n: int) -> float:
        """Seconds of an (m, k) by (k, n) product in float32."""
        if (m, k, n) not in self.products:
            a, b = np.ones((m, k), np.float32), np.ones((k, n), np.float32)
            self.products[m, k, n] = min(_fastest(lambda: a @ b), _fastest(lambda: backend.get("numpy").matmul(a, b)))
        return self.products[m, k, n]

    def bandwidth(self, moved: int) -> float:
        """Bytes per second of a copy that moves about this many bytes."""
        key = max(12, int(np.log2(max(moved, 1))))
        if key not in self.copies:
            a = np.ones(2 ** key // 8, np.float32)
            b = np.empty_like(a)
            halves = [(b[i:j], a[i:j]) for i, j in threads.pieces(a.size)]
            self.copies[key] = 2 * a.nbytes / min(_fastest(lambda: np.copyto(b, a)),
                                                  _fastest(lambda: threads.spread(np.copyto, halves)))
        return self.copies[key]


def _fastest(action) -> float:
    """Seconds of the fastest of some runs."""
    action()
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < 0.02:
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return best


def draw(rows):
    """(figure, alt text): per size, bars of the operations' times with their floors."""
    from minigrad.experiments.figure import groups, new_figure

    by_size = groups(rows, "size")
    figure, axes = new_figure(len(by_size), size=(5.4 * len(by_size), 4.6), squeeze=False)
    said = []
    for ax, ((size,), of_size) in zip(axes[0], by_size.items(), strict=True):
        bars = [r for r in of_size if r["forward_ms"] is not None and r["share"] >= 0.01][:9][::-1]
        y = range(len(bars))
        ax.barh(y, [r["forward_ms"] for r in bars], color="#0072B2", label="forward")
        ax.barh(y, [r["backward_ms"] for r in bars], left=[r["forward_ms"] for r in bars], color="#E69F00", hatch="//",
                edgecolor="white", label="backward")
        ax.plot([r["floor_ms"] for r in bars], y, linestyle="none", marker="|", markersize=18, markeredgewidth=2.5,
                color="#000000", label="floor")
        ax.set_yticks(list(y), [r["operation"].replace("scaled_dot_product_", "") for r in bars])
        ax.set_xlabel("ms per step")
        total = of_size[-1]
        ax.set_title(f"{size}: the step is {total['times_floor']:.1f} × its floor", loc="left", fontsize=11)
        ax.legend(frameon=False, fontsize=9, loc="lower right")
        said.append(f"{size}: " + ", ".join(f"{r['operation']} {r['share']:.0%} of the step" for r in bars[::-1][:3])
                    + f"; the whole step takes {total['times_floor']:.1f} times the sum of the floors")
    return figure, ("Time of each operation in a training step, forward and backward, with a mark at its measured floor. "
                    + ". ".join(said) + ".")


def report(rows) -> str:
    """The rows as text."""
    from minigrad.experiments import table

    return table.text_table(["size", "operation", "calls", "ms", "floor", "share", "× floor"], [
        [r["size"], r["operation"], r["calls"], "" if r["forward_ms"] is None else f"{r['forward_ms'] + r['backward_ms']:.2f}",
         "" if r["floor_ms"] is None else f"{r['floor_ms']:.2f}", f"{r['share']:.0%}",
         "" if r["times_floor"] is None else f"{r['times_floor']:.1f}"] for r in rows], left=2)


