"""`minigrad bench --formats`: what emulating a number format costs, per number and per training step."""
from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np

import minigrad as mg
from minigrad.backend import formats
from minigrad.experiments import table
from minigrad.models import GPT, GPTConfig
from minigrad.nn import functional as F

NUMBERS = 1_000_000
#: ranges of values: fp16 rounding must not be slow where results are subnormal, as NumPy's own cast is
RANGES = {"normal": 1.0, "subnormal": 1e-7}


def bench_formats(*, batch_size: int = 32, tokens: int = 64, rounds: int = 20, threads: int = 1, vocab_size: int = 80,
                  say=print) -> dict:
    """Time rounding of a million float32 numbers beside adding them, and emulated steps beside the float32 step.

    Everything takes turns in one process; medians, and ratios to the float32 add and to the float32 step. Returns
    {"rounding": {name: ratio}, "step": {format: ratio}, …}.
    """
    mg.set_num_threads(threads)
    be, numbers = mg.backend.get("numpy"), np.random.default_rng(0).standard_normal(NUMBERS).astype(np.float32)
    out = np.empty_like(numbers)
    actions = {"float32 add": lambda: np.add(numbers, numbers, out=out)}
    for name in formats.FORMATS:
        if name != "fp32":
            for where, size in RANGES.items():
                actions[f"{name}, {where}"] = _rounding(be, numbers * np.float32(size), formats.get(name))
    rounding = _turns(actions, 3 * rounds)
    step = _turns(_steps(batch_size, tokens, vocab_size), rounds)
    result = {"threads": threads, "rounds": rounds, "batch_size": batch_size, "tokens": tokens,
              "rounding_ms": rounding, "rounding": {name: ms / rounding["float32 add"] for name, ms in rounding.items()},
              "step_ms": step, "step": {name: ms / step["fp32"] for name, ms in step.items()}, **table.surroundings()}
    say(report(result))
    return result


def report(result: dict) -> str:
    """The result as text."""
    rows = [[name, f"{result['rounding_ms'][name]:.2f} ms", f"{ratio:.1f}"] for name, ratio in result["rounding"].items()]
    steps = [[name, f"{result['step_ms'][name]:.1f} ms", f"{ratio:.2f}"] for name, ratio in result["step"].items()]
    return (f"rounding {NUMBERS:,} numbers, {result['threads']} thread(s)\n\n"
            + table.text_table(["", "median", "× float32 add"], rows)
            + f"\n\none training step, batch {result['batch_size']} × {result['tokens']} tokens, autocast\n\n"
            + table.text_table(["", "median", "× float32 step"], steps))


def _rounding(be, numbers, fmt):
    return lambda: be.round_to(numbers, fmt)


def _steps(batch_size: int, tokens: int, vocab_size: int) -> dict:
    """{format: one training step of the base model under it}; each has a model of its own."""
    ids, targets = np.random.default_rng(0).integers(0, vocab_size, (2, batch_size, tokens))
    batch = SimpleNamespace(ids=ids, targets=targets)

    def make(format):
        mg.manual_seed(0)
        model = GPT(GPTConfig(vocab_size, context=tokens))
        optimizer = mg.optim.AdamW(model.named_parameters(), lr=1e-3)

        def step():
            with mg.amp.autocast("bf16" if format == "fp32" else format, enabled=format != "fp32"):
                loss = F.cross_entropy(model(batch.ids).reshape(-1, vocab_size), batch.targets.reshape(-1))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    return {name: make(name) for name in ("fp32", "bf16", "fp16")}


def _turns(actions: dict, rounds: int) -> dict:
    """{name: median milliseconds}, all actions taking turns; the first three rounds warm up."""
    times: dict = {name: [] for name in actions}
    for number in range(rounds + 3):
        for name, action in actions.items():
            began = time.perf_counter()
            action()
            if number >= 3:
                times[name].append(1e3 * (time.perf_counter() - began))
    return {name: sorted(values)[len(values) // 2] for name, values in times.items()}
