"""`minigrad bench`: every speed that this project promises, measured in one run, with what was promised beside it."""
from __future__ import annotations

import importlib.util
import time
from types import SimpleNamespace

import minigrad as mg
from minigrad import peft, pretrained, tasks, training
from minigrad.experiments import bench_generation, bench_growth, bench_profile, table
from minigrad.experiments.adaptation import reference_batch
from minigrad.experiments.bench_formats import bench_formats
from minigrad.experiments.bench_generation import generation
from minigrad.experiments.bench_steps import SIZES, TINY, steps
from minigrad.experiments.bench_turns import COLUMNS, ratio_row, turns

PARTS = ("steps", "generation", "adaptation", "rounding", "profile", "growth")
ROUNDING = {"bf16, normal": 10.0, "fp16, normal": 40.0, "fp16, subnormal": 40.0}        # × a float32 add


def bench_suite(*, out="runs/bench", threads: int = 1, parts=PARTS, quick: bool = False, say=print,
                command: str = "") -> list[dict]:
    """Run the parts and write bench.*, bench_profile.* and bench_growth.* to `out`; returns the rows of bench.csv.

    quick: tiny sizes, to see that everything runs; its numbers say nothing. Without PyTorch the comparisons with it are
    left out. Other engines (autograd, mygrad) are timed where they are installed.
    """
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise ValueError(f"bench has no part {sorted(unknown)}; it has {', '.join(PARTS)}")
    mg.set_num_threads(threads)
    torch = importlib.util.find_spec("torch") is not None
    if torch:
        import torch as pytorch

        pytorch.set_num_threads(threads)
    else:
        say("PyTorch is not installed, so there is nothing to compare our steps and our generation with (pip install torch)")
    began, rows, why = time.perf_counter(), [], []

    def note(row):
        say(f"  {time.perf_counter() - began:4.0f} s  {line(row)}" if isinstance(row, dict) else f"  {row}")
    if "steps" in parts:
        for size in TINY if quick else SIZES:
            rows += steps(size, threads, note)
    if "generation" in parts:
        rows += generation(threads, say=note, **({"context": 32, "new_tokens": 4, "rounds": 1} if quick else {}))
    if "adaptation" in parts:
        rows += adaptation(threads, 2 if quick else 15, note)
    if "rounding" in parts:
        rows += rounding(threads, quick)
    if any(r["part"] == "generation" and r["reached"] is False for r in rows):
        why.append(bench_generation.reason())
    if "profile" in parts:
        profiled = [r for size in (TINY if quick else SIZES) for r in bench_profile.profile(size, 1 if quick else 5)]
        why += reasons(rows, profiled)
    about = {"command": command, "settings": {"threads": threads, "quick": quick, "parts": list(parts),
                                              "torch": pytorch.__version__ if torch else None}}
    if rows:
        figure, alt = draw(rows)
        table.write("bench", out, rows, columns=COLUMNS, figure=figure, alt=alt,
                    about=about | {"finding": finding(rows), "why": why})
        say("\n".join([report(rows), finding(rows), *why]))
    if "profile" in parts:
        figure, alt = bench_profile.draw(profiled)
        table.write("bench_profile", out, profiled, columns=bench_profile.COLUMNS, figure=figure, alt=alt, about=about)
        say(bench_profile.report(profiled))
    if "growth" in parts:
        curves = {"batch": ((1, 2), {"n_layers": 1, "d_model": 8, "tokens": 4})} if quick else bench_growth.CURVES
        grown = bench_growth.growth(1 if quick else 5, curves, note)
        figure, alt = bench_growth.draw(grown)
        table.write("bench_growth", out, grown, columns=bench_growth.COLUMNS, figure=figure, alt=alt, about=about)
        say(bench_growth.report(grown))
    say(f"wrote {out}")
    return rows


def adaptation(threads: int, rounds: int, say) -> list[dict]:
    """compare's inner loop: a training step of the reader on a batch of rhymes, each method against full fine-tuning."""
    base, tokenizer = pretrained.load()
    batch = reference_batch(tokenizer, tasks.get("rhyme"), 32)
    batch = SimpleNamespace(ids=batch.ids, targets=batch.targets)
    methods = {"full": peft.FullFineTuning(), "lora": peft.LoRA(rank=8), "adapter": peft.Adapter(16),
               "prefix": peft.PrefixTuning(8), "topk": peft.TopK(2)}
    trainers = {name: training.Trainer(peft.apply(base, m), steps=20 * rounds + 100, lr=1e-6) for name, m in methods.items()}
    times = turns({name: (lambda t=t: t.step(batch)) for name, t in trainers.items()}, rounds)
    rows = [ratio_row("compare's step", f"32×{batch.ids.shape[1]}", times, name, "full", threads=threads)
            for name in methods if name != "full"]
    for row in rows:
        say(row)
    return rows


def rounding(threads: int, quick: bool) -> list[dict]:
    """Rounding a million numbers against adding them."""
    result = bench_formats(batch_size=2, tokens=4, rounds=1 if quick else 15, threads=threads, say=lambda *_: None)
    add = result["rounding_ms"]["float32 add"]
    return [{"part": "rounding", "size": "1 M numbers", "what": name, "against": "float32 add", "threads": threads,
             "ms": result["rounding_ms"][name], "against_ms": add, "ratio": ratio, "low": ratio, "high": ratio,
             "target": ROUNDING[name], "reached": bool(ratio <= ROUNDING[name])}
            for name, ratio in result["rounding"].items() if name in ROUNDING]


def line(row: dict) -> str:
    """One row as a line."""
    target = "" if row["target"] is None else f", at most {row['target']:g}: {'reached' if row['reached'] else 'NOT reached'}"
    return f"{row['part']}, {row['size']}: {row['what']} {row['ratio']:.2f} × {row['against']}{target}"


def report(rows) -> str:
    """The rows as text."""
    return table.text_table(["part", "size", "what", "against", "ms", "ratio", "quartiles", "at most", ""], [
        [r["part"], r["size"], r["what"], r["against"], "" if r["ms"] is None else f"{r['ms']:.2f}", f"{r['ratio']:.2f}",
         f"{r['low']:.2f} … {r['high']:.2f}", "" if r["target"] is None else f"{r['target']:g}",
         "" if r["target"] is None else "reached" if r["reached"] else "NOT reached"] for r in rows], left=4)


def finding(rows) -> str:
    """How many targets were reached, and which were not."""
    aimed = [r for r in rows if r["target"] is not None]
    missed = [f"{r['part']}, {r['size']}, {r['what']} ({r['ratio']:.2f}, at most {r['target']:g})" for r in aimed
              if not r["reached"]]
    return (f"{len(aimed) - len(missed)} of {len(aimed)} targets reached"
            + (f"; not reached: {'; '.join(missed)}" if missed else ""))


def reasons(rows, profiled) -> list[str]:
    """For each step that is slower than it should be: its floor, and what lies between the two."""
    texts = []
    for row in (r for r in rows if r["part"] == "step" and r["reached"] is False):
        of = [p for p in profiled if p["size"] == row["size"]]
        whole, parts = of[-1], [p for p in of[:-2] if p["floor_ms"] is not None]
        over = sorted(parts, key=lambda p: p["floor_ms"] - p["forward_ms"] - p["backward_ms"])[:3]
        texts.append(f"step, {row['size']}: {row['ms']:.2f} ms, PyTorch {row['against_ms']:.2f}, the sum of the floors "
                     f"{whole['floor_ms']:.2f}; above their floors: "
                     + ", ".join(f"{p['operation']} {p['forward_ms'] + p['backward_ms'] - p['floor_ms']:.2f} ms ({p['calls']} "
                                 f"calls)" for p in over)
                     + f"; outside of operations {of[-2]['share'] * row['ms']:.2f} ms")
    return texts


def draw(rows):
    """(figure, alt text): every ratio with its quartiles and, where there is one, its target."""
    from minigrad.experiments.figure import new_figure

    shown = [r for r in rows if r["part"] != "rounding"][::-1]
    figure, ax = new_figure(size=(9.5, 1.2 + 0.27 * len(shown)))
    colors = {True: ("#0072B2", "o"), False: ("#D55E00", "X"), None: ("#666666", "s")}
    for y, r in enumerate(shown):
        color, marker = colors[r["reached"]]
        ax.plot([r["low"], r["high"]], [y, y], color=color, linewidth=1.6)
        ax.plot(r["ratio"], y, color=color, marker=marker, markersize=6)
        if r["target"] is not None:
            ax.plot(r["target"], y, color="#000000", marker="|", markersize=12, markeredgewidth=2)
    ax.axvline(1.0, color="#BBBBBB", linewidth=1, zorder=0)
    ax.set_yticks(range(len(shown)), [f"{r['part']}, {r['size']}: {r['what']} ÷ {r['against']}" for r in shown], fontsize=8)
    ax.set_xscale("log", base=2)
    ax.set_xticks([0.25, 0.5, 1, 2, 4, 8, 16], ["1/4", "1/2", "1", "2", "4", "8", "16"])
    ax.set_ylim(-0.7, len(shown) - 0.3)
    ax.set_xlabel("ratio: less is faster or smaller\n| the most that was promised, ● reached, ✕ not")
    alt = ("Ratios of times and bytes, each with its quartiles and its target: "
           + "; ".join(line(r) for r in rows if r["part"] in ("step", "saved bytes", "method", "generation")) + ".")
    return figure, alt
