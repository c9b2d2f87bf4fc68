"""The matrix products of a training step alone: NumPy's BLAS beside PyTorch's, on the same shapes and as many threads.

No engine is involved: results go into arrays that exist, layouts are those of a linear layer. What a step loses here no
kernel in Python can win back. NumPy's BLAS multiplies in one piece per thread, or all in one thread where that is
faster. (Its own threads spin on, waiting for more, while PyTorch has its turn: that would be measuring them.)
"""
from __future__ import annotations

from collections import Counter

import numpy as np

from minigrad.backend import threads as workers
from minigrad.experiments.bench_turns import turns
from minigrad.experiments.figure import groups, new_figure
from minigrad.experiments.table import text_table

COLUMNS = ("size", "product", "m", "k", "n", "calls", "numpy_ms", "way", "torch_ms", "ratio", "numpy_gflops", "torch_gflops")
KINDS = ("forward", "input gradient", "weight gradient")
WAYS = ("in pieces", "one thread")
ROUNDS = 20


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


def products(size, threads: int, rounds: int | None = None) -> tuple[list[dict], dict]:
    """(one row per product, {"NumPy's BLAS": …, "PyTorch": …}: ms of all of a step's products, per round).

    Each total adds every product as often as a step computes it.
    """
    import torch

    rounds, shapes = min(size.rounds, ROUNDS) if rounds is None else rounds, layers_of(size)
    kinds, actions = [(shape, kind) for shape in shapes for kind in KINDS], {}
    for shape, kind in kinds:
        a, b = operands(kind, *shape)
        out = np.empty((len(a), b.shape[1]), np.float32)
        at, bt, out_t = (torch.from_numpy(array) for array in (a, b, np.empty_like(out)))
        jobs = [(a[i:j], b, out[i:j]) for i, j in workers.pieces(len(a), threads)]
        each = {"in pieces": lambda j=jobs: workers.spread(np.matmul, j),
                "one thread": lambda a=a, b=b, o=out: np.matmul(a, b, out=o),
                "torch": lambda a=at, b=bt, o=out_t: torch.mm(a, b, out=o)}
        for who, product in each.items():
            actions[who, shape, kind] = product
            product()
        if not np.allclose(out, out_t.numpy(), rtol=1e-3, atol=1e-3 * shape[1] ** 0.5):
            raise RuntimeError(f"the {kind} product of (m, k, n) = {shape} differs between NumPy and PyTorch")
    times = {key: np.array(ms) for key, ms in turns(actions, rounds, at_least=0.004).items()}
    rows, totals = [], {"NumPy's BLAS": np.zeros(rounds), "PyTorch": np.zeros(rounds)}
    for shape, kind in kinds:
        way = min(WAYS, key=lambda w: np.median(times[w, shape, kind]))
        each = times[way, shape, kind], times["torch", shape, kind]
        for name, ms in zip(totals, each, strict=True):
            totals[name] += shapes[shape] * ms
        (m, k, n), (ours, theirs) = shape, (float(np.median(ms)) for ms in each)
        rows.append({"size": size.name, "product": kind, "m": m, "k": k, "n": n, "calls": shapes[shape], "numpy_ms": ours,
                     "way": way, "torch_ms": theirs, "ratio": float(np.median(each[0] / each[1])),
                     "numpy_gflops": 2e-6 * m * k * n / ours, "torch_gflops": 2e-6 * m * k * n / theirs})
    return rows, {name: list(ms) for name, ms in totals.items()}


def report(rows) -> str:
    """The rows as text."""
    return text_table(["size", "product", "m × k × n", "calls", "NumPy", "way", "PyTorch", "ratio", "GFLOP/s", "PyTorch's"], [
        [r["size"], r["product"], f"{r['m']}×{r['k']}×{r['n']}", r["calls"], f"{r['numpy_ms']:.3f}", r["way"],
         f"{r['torch_ms']:.3f}", f"{r['ratio']:.2f}", f"{r['numpy_gflops']:.0f}", f"{r['torch_gflops']:.0f}"] for r in rows],
        left=2)


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
    axes[0][0].legend(frameon=False, fontsize=9, loc="lower left")
    return figure, ("Rate of each matrix product of a training step, NumPy's BLAS beside PyTorch's. All products of a step: "
                    + "; ".join(said) + ".")
