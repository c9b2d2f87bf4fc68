"""Where PyTorch's step spends its time: the twin's step under torch.profiler, its events added up by kind of operation.

The profiler itself costs time, at the small size a third of the step. So what is taken from it are shares of the step, and
they are multiplied with the time of the step without it.
"""
from __future__ import annotations

import os
import re
import time
from collections import Counter

import numpy as np

from minigrad.experiments.bench_steps import torch_step

#: kind of operation: beginnings of its events' names, in lower case and without "aten::"
EVENTS = {"linear": ("linear", "addmm", "mm", "tbackward"), "attention": ("scaled_dot_product", "scaleddotproduct"),
          "layer_norm": ("layer_norm", "nativelayernorm"), "gelu": ("gelu",), "add": ("add",),
          "cross_entropy": ("cross_entropy", "nll", "logsoftmax", "ones_like"), "embedding": ("embedding", "slice"),
          "views and copies": ("view", "unsafe", "transpose", "reshape", "clone"), "optimizer": ("optimizer",)}
ACCUMULATION = "gradient accumulation"


def kind_of(event: str) -> tuple[str, str]:
    """(kind, "forward" or "backward") of an outermost event of the profiler; what is unknown is "other".

    >>> kind_of("aten::linear"), kind_of("autograd::engine::evaluate_function: AddmmBackward0")
    (('linear', 'forward'), ('linear', 'backward'))
    """
    name, which = event, "forward"
    if found := re.match(r"autograd::engine::evaluate_function: (?:torch::autograd::)?(\w+)", event):
        name, which = found[1], "backward"
    if name == "AccumulateGrad":
        return ACCUMULATION, which
    name = name.removeprefix("aten::").lower()
    fitting = {start: kind for kind, starts in EVENTS.items() for start in starts if name.startswith(start)}
    return (fitting[max(fitting, key=len)] if fitting else "other"), which


def by_kind(events) -> Counter:
    """{(kind, "forward" or "backward"): microseconds} of a profile's outermost events."""
    spent: Counter = Counter()
    for event in events:
        if event.cpu_parent is None:
            kind, which = kind_of(event.name)
            # where two branches meet, the sum is made right behind the operation that gave the second gradient
            sums = sum(c.cpu_time_total for c in event.cpu_children if re.fullmatch(r"aten::add_?", c.name)) \
                if which == "backward" else 0
            spent[kind, which] += event.cpu_time_total - sums
            spent[ACCUMULATION, which] += sums
    return spent


class TorchProfile:
    """PyTorch's step at a size (bench_steps.Size), measured round by round so that another engine's can be in between."""

    def __init__(self, size):
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")     # or it tells of each start and stop
        self.step, self.whole, self.profiled, self.spent = torch_step(size.model(), *size.data()), [], 0.0, Counter()
        for _ in range(2):
            self.step()

    def round(self) -> None:
        """A few plain steps and one under the profiler."""
        import torch

        self.whole += [_seconds(self.step) for _ in range(3)]
        with torch.autograd.profiler.profile(use_kineto=False) as profile:
            self.profiled += _seconds(self.step)
        self.spent.update(by_kind(profile.function_events))

    def result(self) -> tuple[dict, float]:
        """({kind: {"forward": ms, "backward": ms}}, ms of the whole step)."""
        kinds, ms = {}, 1e3 * float(np.median(self.whole))
        for (kind, which), microseconds in self.spent.items():
            kinds.setdefault(kind, {"forward": 0.0, "backward": 0.0})[which] += 1e-6 * microseconds / self.profiled * ms
        return kinds, ms


def _seconds(action) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
