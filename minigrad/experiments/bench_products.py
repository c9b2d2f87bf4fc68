"""The matrix products of a training step alone: NumPy's BLAS beside PyTorch's, on the same shapes and as many threads.

No engine is involved: results go into arrays that exist, layouts are those of a linear layer. What a step loses here no
kernel in Python can win back. All products of a step are timed as one, with NumPy's BLAS in pieces, a thread for each, as
our kernels call it (small ones whole), and with its own threads; and each product alone.
"""
from __future__ import annotations

import time
from collections import Counter

import numpy as np

from minigrad.backend import threads as workers
from minigrad.experiments.bench_profile import fastest
from minigrad.experiments.bench_turns import ratio_row, turns
from minigrad.experiments.figure import groups, new_figure
from minigrad.experiments.table import text_table

COLUMNS = ("size", "product", "m", "k", "n", "calls", "numpy_ms", "way", "torch_ms", "ratio", "numpy_gflops", "torch_gflops")
KINDS = ("forward", "input gradient", "weight gradient")
PIECES, WHOLE, TORCH = WAYS = ("NumPy's BLAS, in pieces", "NumPy's BLAS, one thread", "PyTorch")
OWN = "NumPy's BLAS, its own threads"


def layers_of(size) -> dict:
    """{(rows m, in k, out n): how many linear layers} of a size (bench_steps.Size)."""
    config, m = size.model().config, size.batch * size.tokens
    d, wide = config.d_model, config.d_ff
    found = Counter({(m, d, config.vocab_size): 1})
    for shape, count in (((m, d, d), 4), ((m, d, wide), 1), ((m, wide, d), 1)):
        found[shape] += count * config.n_layers
    return dict(found)


def operands(kind: str, m: int, k: int, n: int):
    """The two float32 matrices of one product of a linear layer: y = x·wᵀ, gx = gy·w, gw = gyᵀ·x."""
    rng = np.random.default_rng(0)
    x, w, gy = (rng.standard_normal(shape, dtype=np.float32) for shape in ((m, k), (n, k), (m, n)))
    return {"forward": (x, w.T), "input gradient": (gy, w), "weight gradient": (gy.T, x)}[kind]


def _actions(size, threads: int) -> dict:
    """{(way, shape, kind): the product in this way}, checked to be the same in all."""
    import torch

    actions = {}
    for shape in layers_of(size):
        for kind in KINDS:
            a, b = operands(kind, *shape)
            outs = {way: np.empty((len(a), b.shape[1]), np.float32) for way in WAYS}
            at, bt, out_t = (torch.from_numpy(array) for array in (a, b, outs[TORCH]))
            jobs = [(a[i:j], b, outs[PIECES][i:j]) for i, j in workers.pieces(len(a), threads)]
            actions[PIECES, shape, kind] = lambda j=jobs: workers.spread(np.matmul, j)
            actions[WHOLE, shape, kind] = lambda a=a, b=b, o=outs[WHOLE]: np.matmul(a, b, out=o)
            actions[TORCH, shape, kind] = lambda a=at, b=bt, o=out_t: torch.mm(a, b, out=o)
            for way in WAYS:
                actions[way, shape, kind]()
                if not np.allclose(outs[way], outs[PIECES], rtol=1e-3, atol=1e-3 * shape[1] ** 0.5):
                    raise RuntimeError(f"the {kind} product of (m, k, n) = {shape} differs, {way} from {PIECES}")
    return actions


def totals(size, threads: int, rounds: int | None = None) -> list[dict]:
    """Rows of bench.csv: all linear layers' products of a step, NumPy's BLAS in pieces and with its own threads ÷ PyTorch's."""
    import threadpoolctl

    calls, actions = layers_of(size), _actions(size, threads)
    libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers

    def all_of(*ways):
        of = [(min((actions[way, shape, kind] for way in ways), key=fastest), count) for shape, count in calls.items()
              for kind in KINDS]
        return [product for product, count in of for _ in range(count)]

    def with_own_threads():
        for library in libraries:
            library.set_num_threads(threads)
        _all(whole)
        for library in libraries:
            library.set_num_threads(1)
    whole, pieces, theirs = all_of(WHOLE), all_of(PIECES, WHOLE), all_of(TORCH)
    before = [library.num_threads for library in libraries]
    try:                                            # BLAS's threads spin on for a while: nobody may have the next turn
        times = turns({OWN: with_own_threads, "pause": lambda: time.sleep(0.05), TORCH: lambda: _all(theirs),
                       PIECES: lambda: _all(pieces)}, min(size.rounds, 20) if rounds is None else rounds)
    finally:
        for library, count in zip(libraries, before, strict=True):
            library.set_num_threads(count)
    return [ratio_row("products", size.name, times, way, TORCH, threads=threads) for way in (PIECES, OWN)]


def _all(actions) -> None:
    for action in actions:
        action()


def products(size, threads: int, rounds: int = 5) -> list[dict]:
    """One row per product, NumPy's in pieces or in one thread, whichever is faster, beside PyTorch's."""
    times = {key: np.array(ms) for key, ms in turns(_actions(size, threads), rounds, 2, at_least=0.01).items()}
    rows = []
    for shape, calls in layers_of(size).items():
        for kind in KINDS:
            way = min((PIECES, WHOLE), key=lambda w, of=(shape, kind): np.median(times[w, *of]))
            each = times[way, shape, kind], times[TORCH, shape, kind]
            (m, k, n), (ours, theirs) = shape, (float(np.median(ms)) for ms in each)
            rows.append({"size": size.name, "product": kind, "m": m, "k": k, "n": n, "calls": calls, "numpy_ms": ours,
                         "way": way, "torch_ms": theirs, "ratio": float(np.median(each[0] / each[1])),
                         "numpy_gflops": 2e-6 * m * k * n / ours, "torch_gflops": 2e-6 * m * k * n / theirs})
    return rows


def report(rows) -> str:
    """The rows as text."""
    header = ["size", "product", "m × k × n", "calls", "NumPy", "way", "PyTorch", "ratio", "GFLOP/s", "PyTorch's"]
    return text_table(header, [
        [r["size"], r["product"], f"{r['m']}×{r['k']}×{r['n']}", r["calls"], f"{r['numpy_ms']:.3f}",
         r["way"].partition(", ")[2], f"{r['torch_ms']:.3f}", f"{r['ratio']:.2f}", f"{r['numpy_gflops']:.0f}",
         f"{r['torch_gflops']:.0f}"] for r in rows], left=2)


def draw(rows):
    """(figure, alt text): per size, NumPy's rate and PyTorch's for each product, joined by a line."""
    by_size = groups(rows, "size")
    figure, axes = new_figure(len(by_size), size=(5.2 * len(by_size), 4.6), squeeze=False)
    said = []
    for ax, ((size,), of) in zip(axes[0], by_size.items(), strict=True):
        of = of[::-1]
        for y, r in enumerate(of):
            ax.plot([r["numpy_gflops"], r["torch_gflops"]], [y, y], color="#BBBBBB", linewidth=1.5, zorder=1)
        ax.plot([r["numpy_gflops"] for r in of], range(len(of)), "o", color="#0072B2", label="NumPy's BLAS")
        ax.plot([r["torch_gflops"] for r in of], range(len(of)), "^", color="#D55E00", label="PyTorch")
        ax.set_yticks(range(len(of)), [f"{r['product']}, {r['m']}×{r['k']}×{r['n']}" for r in of], fontsize=8)
        ax.set_xlim(0, None)
        ax.set_xlabel("GFLOP/s: more is faster")
        numpy, torch = (sum(r["calls"] * r[f"{who}_ms"] for r in of) for who in ("numpy", "torch"))
        ax.set_title(f"{size}: {numpy:.2f} ÷ {torch:.2f} ms = {numpy / torch:.2f}", loc="left", fontsize=11)
        said.append(f"{size}: {numpy:.2f} ms with NumPy, {torch:.2f} with PyTorch, ratio {numpy / torch:.2f}")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure, ("Rate of each matrix product of a training step, NumPy's BLAS beside PyTorch's. All products of a step: "
                    + "; ".join(said) + ".")
