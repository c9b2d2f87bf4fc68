"""`minigrad bench`: every speed that this project promises, measured in one run, with what was promised beside it."""
from __future__ import annotations

import importlib.util
import os
import time
from types import SimpleNamespace

import minigrad as mg
from minigrad import peft, pretrained, tasks, training
from minigrad.experiments import bench_growth, bench_memory, bench_products, bench_profile, table
from minigrad.experiments.adaptation import reference_batch
from minigrad.experiments.bench_formats import bench_formats
from minigrad.experiments.bench_generation import generation, kernels_per_token
from minigrad.experiments.bench_steps import NAMES, SIZES, TINY, method, our_step, steps
from minigrad.experiments.bench_torch import TorchProfile
from minigrad.experiments.bench_turns import COLUMNS, ratio_row, turns
from minigrad.experiments.bench_why import reasons

ALT = ("step", "saved bytes", "products", "method", "generation", "generation floor")     # what the alt text tells
NEED_TORCH = ("products", "memory")                 # comparisons that are nothing without it
PARTS = ("steps", "products", "memory", "generation", "adaptation", "rounding", "profile", "growth")
ROUNDING = {"bf16, normal": 10.0, "fp16, normal": 40.0, "fp16, subnormal": 40.0}        # × a float32 add
#: seconds that each unit of work took on two cores: what "to go" is estimated from, scaled by the units that are done
SECONDS = {"steps, small": 12, "steps, middle": 60, "steps, large": 80, "products": 50, "memory": 2, "generation": 40,
           "adaptation": 11, "rounding": 3, "profile": 60, "growth": 20}


def bench_suite(*, out="runs/bench", threads: int = 1, parts=PARTS, quick: bool = False, say=print,
                command: str = "") -> list[dict]:
    """Run the parts and write bench.* and a table for each of products, memory, profile and growth to `out`; returns the rows
    of bench.csv.

    quick: tiny sizes, to see that everything runs; its numbers say nothing. Without PyTorch the comparisons with it are
    left out. Other engines (autograd, mygrad) are timed where they are installed. When it is interrupted, or fails, what was
    measured until then is written.
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
    tables: dict = {name: [] for name in ("bench", "bench_products", "bench_memory", "bench_profile", "bench_growth")}
    evidence: dict = {"methods": {}, "tokens": {}}
    units = _units(tables, evidence, threads, quick, torch, parts)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    if load is not None and load > 0.5:
        say(f"The machine has been busy (load {load:.1f} in the last minute). PyTorch's threads wait for each other by "
            "spinning and lose more than ours when a core is taken: for ratios that mean something, nothing else may run")
    about = {"command": command, "settings": {"threads": threads, "quick": quick, "parts": list(parts), "load_before": load,
                                              "torch": pytorch.__version__ if torch else None}}
    clock, finished = Clock([name for name, _ in units]), False
    try:
        for name, work in units:
            started = clock.begin(name)
            if not quick:
                say(started)
            for row in work():
                say(f"  {row if isinstance(row, str) else line(row)}")
        finished = True
    finally:
        _write(tables, evidence, out, about if finished else about | {"not_finished": clock.left}, say)
    return tables["bench"]


class Clock:
    """How long it has taken, and how much longer it will."""

    def __init__(self, names):
        self.left, self.now, self.done, self.began = list(names), None, 0.0, time.perf_counter()

    def begin(self, name: str) -> str:
        """The next unit of work starts: a line that says so."""
        if self.now is not None:
            self.done += SECONDS.get(self.left.pop(0), 0)
        self.now = name
        passed, to_go = time.perf_counter() - self.began, sum(SECONDS.get(n, 0) for n in self.left)
        pace = passed / self.done if self.done >= 20 else 1.0
        return f"{name}: {passed:.0f} s passed, about {pace * to_go:.0f} to go"


def _units(tables: dict, evidence: dict, threads: int, quick: bool, torch: bool, parts) -> list:
    """(name, function): the work in its order; each function yields the rows or lines to show, and adds its rows to a table."""
    sizes, rows = TINY if quick else SIZES, tables["bench"]

    def kept(made):
        for row in made:
            rows.append(row)
            yield row

    def products():
        for size in sizes:
            yield from kept(bench_products.totals(size, threads))
            tables["bench_products"] += bench_products.products(size, threads, 1 if quick else 5)

    def memory():
        for size in sizes:
            tables["bench_memory"] += bench_memory.memory_rows(size)
            yield bench_memory.finding(tables["bench_memory"]).split(". ")[-1]

    def profile():
        floors = bench_profile.Floors()
        for size in sizes:
            beside = TorchProfile(size) if torch else None
            tables["bench_profile"] += bench_profile.profile(size.name, our_step(size.model(), *size.data()), 2 if quick else 5,
                                                             beside, floors)
            yield f"{size.name}: " + ", ".join(f"{p['operation']} {p['ms']:.2f} ms" for p in tables["bench_profile"]
                                               if p["size"] == size.name)
        for size in sizes:                          # a method that missed its target, beside the full step
            for name in (n for n, _ in size.methods if _missed(rows, "method", size.name, NAMES[n])):
                model = size.model()
                for what, tree in (("full", size.model()), (NAMES[name], peft.apply(model, method(name, model.config)))):
                    evidence["methods"][size.name, what] = bench_profile.profile(size.name, our_step(tree, *size.data()),
                                                                                1 if quick else 2, None, floors)
                yield f"{size.name}: looked into {NAMES[name]}"

    def generated():
        yield from kept(generation(threads, **({"context": 32, "new_tokens": 4, "rounds": 1} if quick else {})))
        for row in [r for r in rows if r["part"] == "generation" and r["reached"] is False and r["against"] != "tokens"]:
            evidence["tokens"][row["what"]] = kernels_per_token(row["what"], *((32, 4, 1) if quick else ()))

    def growth():
        curves = {"batch": ((1, 2), {"n_layers": 1, "d_model": 8, "tokens": 4})} if quick else bench_growth.CURVES
        for row in bench_growth.growth(1 if quick else 5, curves):
            tables["bench_growth"].append(row)
            yield f"along {row['along']} {row['value']}: {row['ms']:.1f} ms"
    work = {"products": products, "memory": memory, "generation": generated,
            "adaptation": lambda: kept(adaptation(threads, 2 if quick else 15)),
            "rounding": lambda: kept(rounding(threads, quick)), "profile": profile, "growth": growth}
    each = [(f"steps, {size.name}", lambda size=size: kept(steps(size, threads))) for size in sizes]
    return (each if "steps" in parts else []) + [(name, work[name]) for name in PARTS[1:]
                                                 if name in parts and (torch or name not in NEED_TORCH)]


def _missed(rows, part: str, size: str, what: str) -> bool:
    return any(r["reached"] is False for r in rows if (r["part"], r["size"], r["what"]) == (part, size, what))


def _write(tables: dict, evidence: dict, out, about: dict, say) -> None:
    """Write and show every table that has rows."""
    rows = tables["bench"]
    if rows:
        why = reasons(rows, profile=tables["bench_profile"], memory=tables["bench_memory"], **evidence)
        figure, alt = draw(rows)
        table.write("bench", out, rows, columns=COLUMNS, figure=figure, alt=alt,
                    about=about | {"finding": finding(rows), "why": why})
        say("\n".join([report(rows), finding(rows), *why]))
    for name, module in (("bench_products", bench_products), ("bench_memory", bench_memory), ("bench_profile", bench_profile),
                         ("bench_growth", bench_growth)):
        if tables[name]:
            figure, alt = module.draw(tables[name])
            found = {"finding": module.finding(tables[name])} if hasattr(module, "finding") else {}
            table.write(name, out, tables[name], columns=module.COLUMNS, figure=figure, alt=alt, about=about | found)
            say(module.report(tables[name]))
    if any(tables.values()):
        say(f"wrote {out}" + (f"; not finished: {', '.join(about['not_finished'])}" if "not_finished" in about else ""))


def adaptation(threads: int, rounds: int) -> list[dict]:
    """compare's inner loop: a training step of the reader on a batch of rhymes, each method against full fine-tuning."""
    base, tokenizer = pretrained.load()
    batch = reference_batch(tokenizer, tasks.get("rhyme"), 32)
    batch = SimpleNamespace(ids=batch.ids, targets=batch.targets)
    methods = {"full": peft.FullFineTuning(), "lora": peft.LoRA(rank=8), "adapter": peft.Adapter(16),
               "prefix": peft.PrefixTuning(8), "topk": peft.TopK(2)}
    trainers = {name: training.Trainer(peft.apply(base, m), steps=20 * rounds + 100, lr=1e-6) for name, m in methods.items()}
    times = turns({name: (lambda t=t: t.step(batch)) for name, t in trainers.items()}, rounds)
    return [ratio_row("compare's step", f"32×{batch.ids.shape[1]}", times, name, "full", threads=threads)
            for name in methods if name != "full"]


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
    return table.text_table(["part", "size", "what", "against", "ms", "ratio", "95 % interval", "at most", ""], [
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


def draw(rows):
    """(figure, alt text): every ratio with its 95 % interval and, where there is one, its target."""
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
    ax.set_xticks([1 / 16, 1 / 8, 0.25, 0.5, 1, 2, 4, 8, 16], ["1/16", "1/8", "1/4", "1/2", "1", "2", "4", "8", "16"])
    ax.set_ylim(-0.7, len(shown) - 0.3)
    ax.set_xlabel("ratio: less is faster or smaller\n| the most that was promised, ● reached, ✕ not")
    alt = ("Ratios of times and bytes, each a median with its 95 % interval and its target: "
           + "; ".join(line(r) for r in rows if r["part"] in ALT) + ".")
    return figure, alt
