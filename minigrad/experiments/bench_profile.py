"""Where a step's time goes, by kind of operation: ours beside PyTorch's and beside the least it could take on this machine.

The floor of a matrix product is the time the product alone takes for the same shapes with NumPy's BLAS, on as many threads;
that of everything else is its bytes (what it reads and what it writes, once) at the speed with which this machine copies
arrays of that size, on as many threads. What operations, the sums where branches meet and the optimizer leave of the step is
Python around them: recording the graph, walking it, the modules.
"""
from __future__ import annotations

import contextlib
import importlib
import time

import numpy as np

from minigrad import backend, optim
from minigrad.autograd import Function
from minigrad.backend import threads

COLUMNS = ("size", "operation", "calls", "forward_ms", "backward_ms", "ms", "floor_ms", "share", "times_floor",
           "torch_forward_ms", "torch_backward_ms", "torch_ms", "times_torch")
#: operations that are compared with PyTorch together; every other is a kind of its own
KINDS = {"scaled_dot_product_attention": "attention", "low_rank_linear": "linear", "sum": "cross_entropy",
         "mul": "cross_entropy", **dict.fromkeys(("permute", "reshape", "split_heads", "merge_heads"), "views and copies")}
ACCUMULATION, OPTIMIZER, PYTHON, WHOLE = "gradient accumulation", "optimizer", "Python around operations", "whole step"
SUM = "_sum"                                        # the walk's function that adds two gradients of one array
ADAM_PASSES = 7                                     # arrays as large as the parameters: p, g, m, v read; p, m, v written


@contextlib.contextmanager
def recording(log: list):
    """Inside, everything notes (name, "forward" | "backward" | "step", seconds, shapes of its arrays, needs, bytes)."""
    originals = []

    def replace(owner, name, make):
        originals.append((owner, name, vars(owner)[name]))
        setattr(owner, name, make(vars(owner)[name]))

    def operation(which):
        def timed(original):
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
        return timed

    def sums(original):
        def run(*args):
            began = time.perf_counter()
            total = original(*args)
            log.append((ACCUMULATION, "backward", time.perf_counter() - began, (), (), 3 * total.nbytes))
            return total
        return run

    def step(original):
        def run(self):
            began = time.perf_counter()
            original(self)
            seconds = time.perf_counter() - began
            held = sum(p.data.nbytes for group in self.param_groups for p in group["params"] if p.grad is not None)
            log.append((OPTIMIZER, "step", seconds, (), (), ADAM_PASSES * held))
        return run

    for cls in set(Function.registry.values()):
        for which in ("forward", "backward"):
            if which in vars(cls):
                replace(cls, which, operation(which))
    walk = importlib.import_module("minigrad.autograd.backward")
    if hasattr(walk, SUM):
        replace(walk, SUM, sums)
    for name in ("step", "zero_grad"):
        replace(optim.Optimizer, name, step)
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def profile(name: str, step, rounds: int = 5, beside=None, floors: Floors | None = None) -> list[dict]:
    """One row per kind of operation of a step, times as medians over the rounds; then the sums, the optimizer, the rest, all.

    step: a function without arguments · beside: the bench_torch.TorchProfile of the same step, which takes turns; or None ·
    floors: what was measured for other profiles, if they are to be compared with this one: rates change from minute to minute.
    """
    floors = Floors() if floors is None else floors
    for _ in range(2):
        step()
    whole, logs = [], []
    for _ in range(rounds):
        if beside is not None:
            beside.round()
        plain = []
        for _ in range(3):
            began = time.perf_counter()
            step()
            plain.append(1e3 * (time.perf_counter() - began))
        whole.append(float(np.median(plain)))
        log: list = []
        with recording(log):
            step()
        logs.append([(KINDS.get(entry[0], entry[0]), *entry) for entry in log])
    total, (theirs, their_total) = float(np.median(whole)), beside.result() if beside else ({}, None)
    rows = []
    for kind in {entry[0] for entry in logs[0]}:
        # relative to the plain step of the same round: a machine that is slower for a moment is slower for both
        spent = {which: total * float(np.median([1e3 * sum(e[3] for e in log if (e[0], e[2]) == (kind, which)) / ms
                                                 for log, ms in zip(logs, whole, strict=True)]))
                 for which in ("forward", "backward", "step")}
        mine = [e for e in logs[-1] if e[0] == kind]
        floor = 1e3 * sum(floors.of(*e[1:3], *e[4:]) for e in mine)
        calls = sum(e[2] == "forward" for e in mine) or (1 if kind == OPTIMIZER else sum(e[-1] > 0 for e in mine))
        rows.append(_row(name, kind, calls, total, floor, theirs.pop(kind, None), **spent))
    rows.sort(key=lambda r: (r["operation"] == OPTIMIZER, r["operation"] == ACCUMULATION, -r["ms"]))
    rest, floor = total - sum(r["ms"] for r in rows), sum(r["floor_ms"] for r in rows)
    spared = None if beside is None else {"step": their_total - sum(r["torch_ms"] or 0.0 for r in rows)}
    return [*rows, _row(name, PYTHON, 1, total, None, spared, step=rest),
            _row(name, WHOLE, 1, total, floor, None if beside is None else {"step": their_total}, step=total)]


def _row(name: str, kind: str, calls: int, total: float, floor, theirs, *, forward=0.0, backward=0.0, step=0.0) -> dict:
    ms, torch_ms = forward + backward + step, None if theirs is None else sum(theirs.values())
    return {"size": name, "operation": kind, "calls": calls, "forward_ms": forward if step == 0.0 else None,
            "backward_ms": backward if step == 0.0 else None, "ms": ms, "floor_ms": floor, "share": ms / total,
            "times_floor": ms / floor if floor and floor > 1e-3 else None, "torch_ms": torch_ms,
            "torch_forward_ms": (theirs or {}).get("forward"), "torch_backward_ms": (theirs or {}).get("backward"),
            "times_torch": ms / torch_ms if torch_ms and torch_ms > 1e-3 else None}


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
        if name == "low_rank_linear":
            x, w, A = shapes[:3]
            m, k, n, r = int(np.prod(x[:-1])), x[-1], w[0], A[0]
            whole = self.product(n, r, k)           # the weight with its change, made once in each direction
            if which == "forward":
                return whole + self.product(m, k, n) + self.product(m, k, r)
            return (needs[0] * (whole + self.product(m, n, k)) + needs[2] * (self.product(m, n, r) + self.product(r, m, k))
                    + needs[3] * self.product(n, m, r))
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
            self.products[m, k, n] = min(fastest(lambda: a @ b), fastest(lambda: backend.get("numpy").matmul(a, b)))
        return self.products[m, k, n]

    def bandwidth(self, moved: int) -> float:
        """Bytes per second of a copy that moves about this many bytes."""
        key = max(12, int(np.log2(max(moved, 1))))
        if key not in self.copies:
            a = np.ones(2 ** key // 8, np.float32)
            b = np.empty_like(a)
            halves = [(b[i:j], a[i:j]) for i, j in threads.pieces(a.size)]
            self.copies[key] = 2 * a.nbytes / min(fastest(lambda: np.copyto(b, a)),
                                                  fastest(lambda: threads.spread(np.copyto, halves)))
        return self.copies[key]


def fastest(action) -> float:
    """Seconds of the fastest of some runs."""
    action()
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < 0.02:
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return best


def draw(rows):
    """(figure, alt text): per size, two bars for each kind of operation, ours and PyTorch's, and a mark at the floor."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    from minigrad.experiments.figure import groups, new_figure

    by_size = groups(rows, "size")
    figure, axes = new_figure(len(by_size), size=(5.6 * len(by_size), 5.0), squeeze=False)
    looks = {"ours: forward, or all": {"facecolor": "#0072B2"},
             "ours: backward": {"facecolor": "#56B4E9", "hatch": "//", "edgecolor": "white"},
             "PyTorch": {"facecolor": "#D55E00", "hatch": "..", "edgecolor": "white"}}
    said = []
    for ax, ((size,), of_size) in zip(axes[0], by_size.items(), strict=True):
        bars = [r for r in of_size[:-1] if max(r["share"], (r["torch_ms"] or 0) / of_size[-1]["ms"]) >= 0.01][::-1]
        for y, r in enumerate(bars):
            first = r["ms"] if r["forward_ms"] is None else r["forward_ms"]
            ax.barh(y + 0.2, first, 0.38, **looks["ours: forward, or all"])
            ax.barh(y + 0.2, r["ms"] - first, 0.38, left=first, **looks["ours: backward"])
            ax.barh(y - 0.2, r["torch_ms"] or 0, 0.38, **looks["PyTorch"])
            if r["floor_ms"] is not None:
                ax.plot([r["floor_ms"]] * 2, [y, y + 0.4], color="#000000", linewidth=2.5)
        ax.set_yticks(range(len(bars)), [r["operation"] for r in bars])
        ax.set_xlabel("ms per step")
        total = of_size[-1]
        beside = "" if total["torch_ms"] is None else f" ÷ {total['torch_ms']:.1f} ms"
        ax.set_title(f"{size}: {total['ms']:.1f}{beside}; floor {total['floor_ms']:.1f} ms", loc="left", fontsize=11)
        said.append(f"{size}: " + ", ".join(
            f"{r['operation']} {r['ms']:.2f} ms" + ("" if r["torch_ms"] is None else f" (PyTorch {r['torch_ms']:.2f})")
            for r in bars[::-1]) + f"; the whole step takes {total['times_floor']:.1f} times the sum of the floors")
    figure.legend(handles=[*(Patch(label=name, **look) for name, look in looks.items()),
                           Line2D([], [], color="#000000", linewidth=2.5, label="our floor")],
                  loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure, ("Time of each kind of operation in a training step, beside PyTorch's and with a mark at its measured "
                    "floor. " + ". ".join(said) + ".")


def report(rows) -> str:
    """The rows as text."""
    from minigrad.experiments import table

    def number(value, digits=2):
        return "" if value is None else f"{value:.{digits}f}"
    return table.text_table(["size", "operation", "calls", "ms", "PyTorch", "× PyTorch", "floor", "× floor", "share"], [
        [r["size"], r["operation"], r["calls"], number(r["ms"]), number(r["torch_ms"]), number(r["times_torch"]),
         number(r["floor_ms"]), number(r["times_floor"], 1), f"{r['share']:.0%}"] for r in rows], left=2)
