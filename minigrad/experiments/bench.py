"""`minigrad bench`: a training step of the base model here and in PyTorch, in turns, in one process."""
from __future__ import annotations

import gc
import importlib.util
import time
from types import SimpleNamespace

import numpy as np

import minigrad as mg
from minigrad import training
from minigrad.experiments import table
from minigrad.models import GPT, GPTConfig

WARM_UP = 3                                         # rounds before counting: caches, allocators, thread pools


def bench(*, batch_size: int = 32, tokens: int = 64, rounds: int = 20, threads: int = 1, vocab_size: int = 80,
          say=print) -> dict:
    """Time forward, backward, clipping and AdamW on a batch (batch_size, tokens) in float32; medians in milliseconds.

    Returns {"minigrad_ms", "torch_ms", "ratio", "loss_difference", …}; the PyTorch entries are None without PyTorch. Both
    start from the same weights and see the same batch, so their losses must agree; both use `threads` threads.
    """
    mg.set_num_threads(threads)
    mg.manual_seed(0)
    model = GPT(GPTConfig(vocab_size, context=tokens))
    rng = np.random.default_rng(0)
    ids, targets = rng.integers(0, vocab_size, (2, batch_size, tokens))
    actions = {"minigrad": _ours(model, SimpleNamespace(ids=ids, targets=targets), rounds + WARM_UP)}
    theirs = _torch(model, ids, targets, threads) if importlib.util.find_spec("torch") else None
    if theirs is not None:
        actions["torch"] = theirs
    times: dict = {name: [] for name in actions}
    losses: dict = {name: [] for name in actions}
    for number in range(rounds + WARM_UP):
        for name, step in actions.items():
            gc.collect()                            # nobody pays for the other's garbage
            began = time.perf_counter()
            losses[name].append(step())
            if number >= WARM_UP:
                times[name].append(1e3 * (time.perf_counter() - began))
    ours, torchs = _median(times["minigrad"]), _median(times["torch"]) if theirs else None
    result = {"batch_size": batch_size, "tokens": tokens, "threads": threads, "rounds": rounds, "minigrad_ms": ours,
              "torch_ms": torchs, "ratio": ours / torchs if theirs else None,
              "loss_difference": max(abs(a - b) for a, b in zip(losses["minigrad"], losses["torch"], strict=True))
              if theirs else None, "torch": _torch_version() if theirs else None, **table.surroundings()}
    say(report(result, times))
    return result


def report(result: dict, times: dict) -> str:
    """The result as text."""
    rows = [[name, f"{_median(values):.1f} ms", f"{min(values):.1f}", f"{max(values):.1f}"] for name, values in times.items()]
    lines = [f"one training step of the base model: batch {result['batch_size']} × {result['tokens']} tokens, float32, "
             f"{result['threads']} thread(s), median of {result['rounds']} rounds in turns", "",
             table.text_table(["", "median", "fastest", "slowest"], rows), ""]
    if result["ratio"] is None:
        lines.append("PyTorch is not installed, so there is nothing to compare with (pip install torch)")
    else:
        lines.append(f"ratio {result['ratio']:.2f} (PyTorch {result['torch']}); the losses differ by at most "
                     f"{result['loss_difference']:.1e}")
    return "\n".join(lines)


def _median(values) -> float:
    return sorted(values)[len(values) // 2]


def _ours(model, batch, steps: int):
    trainer = training.Trainer(model, steps=steps, lr=1e-3, weight_decay=0.01, warmup=1, final_ratio=1.0)
    return lambda: trainer.step(batch)[0]


def _torch_version() -> str:
    import torch

    return torch.__version__


def _torch(model: GPT, ids, targets, threads: int):
    """The same model, weights and step in PyTorch."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from minigrad.experiments.torch_twin import torch_twin

    torch.set_num_threads(threads)
    twin, vocab_size = torch_twin(model), model.config.vocab_size
    optimizer = torch.optim.AdamW([{"params": [p for p in twin.parameters() if p.ndim >= 2]},
                                   {"params": [p for p in twin.parameters() if p.ndim < 2], "weight_decay": 0.0}], lr=1e-3)
    ids, targets = torch.from_numpy(ids), torch.from_numpy(targets)

    def step() -> float:
        loss = F.cross_entropy(twin(ids).view(-1, vocab_size), targets.view(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step
