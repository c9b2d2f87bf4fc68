"""The training steps of `minigrad bench`: three sizes against PyTorch and other engines, methods against the full step."""
from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np

import minigrad as mg
from minigrad import peft
from minigrad.experiments.bench_memory import ours_by_layer, torch_by_layer
from minigrad.experiments.bench_turns import bytes_row, ratio_row, turns
from minigrad.models import GPT, GPTConfig
from minigrad.nn import functional as F

VOCAB = 88


@dataclass(frozen=True)
class Size:
    """A GPT and a batch."""

    name: str
    n_layers: int
    d_model: int
    n_heads: int
    batch: int
    tokens: int
    rounds: int
    target: float           # the step relative to PyTorch's
    methods: tuple = ()     # (method, target relative to our own full step)

    def model(self) -> GPT:
        """The GPT, with seeded weights."""
        mg.manual_seed(0)
        return GPT(GPTConfig(VOCAB, context=self.tokens, d_model=self.d_model, n_layers=self.n_layers, n_heads=self.n_heads))

    def data(self):
        """(ids, targets), random host integers (batch, tokens)."""
        return np.random.default_rng(0).integers(0, VOCAB, (2, self.batch, self.tokens))

    def __str__(self):
        return f"{self.n_layers} layers, d {self.d_model}, {self.batch}×{self.tokens}"


SIZES = (
    Size("small", 2, 32, 4, 8, 16, 100, 1.0),
    Size("middle", 4, 128, 4, 32, 64, 30, 1.2, (("lora", 0.90), ("topk", 0.60), ("adapter", None), ("prefix", None))),
    Size("large", 6, 384, 6, 4, 256, 12, 1.1, (("lora", 0.80), ("topk", 0.50), ("adapter", None), ("prefix", None))),
)
TINY = (Size("tiny", 1, 8, 2, 2, 4, 2, 1.0, (("lora", 0.9), ("topk", 0.6))),)

NAMES = {"lora": "LoRA, rank 8, all linear", "topk": "top-1", "adapter": "adapter, r 16", "prefix": "prefix, P 8"}


def our_step(model, ids, targets):
    """Forward, backward and AdamW of all that is trainable; one call is one step and returns the loss."""
    model.train()
    optimizer = mg.optim.AdamW([(n, p) for n, p in model.named_parameters() if p.requires_grad], lr=1e-3)

    def step() -> float:
        loss = F.cross_entropy(model(ids).reshape(-1, VOCAB), targets.reshape(-1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()
    return step


def torch_step(model, ids, targets):
    """The same in PyTorch: its fused attention, its fused AdamW."""
    import torch
    from torch.nn import functional as TF

    from minigrad.experiments.torch_twin import torch_twin

    twin = torch_twin(model)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=1e-3, fused=True)
    ids, targets = torch.from_numpy(ids), torch.from_numpy(targets)

    def step() -> float:
        loss = TF.cross_entropy(twin(ids).view(-1, VOCAB), targets.view(-1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()
    return step


def method(name: str, config):
    """The method at the size that is compared: LoRA has rank 8 wherever the model is wide enough."""
    return {"lora": lambda: peft.LoRA(rank=min(8, config.d_model // 2), alpha=8, targets="all-linear"),
            "topk": lambda: peft.TopK(1), "adapter": lambda: peft.Adapter(bottleneck=16),
            "prefix": lambda: peft.PrefixTuning(length=min(8, config.context // 2), positions="keep")}[name]()


def steps(size: Size, threads: int):
    """Yields the rows of one size: our step and its bytes against PyTorch's, peers' steps, methods against our full step."""
    from minigrad.experiments import bench_peers

    ids, targets = size.data()
    actions = {"minigrad": our_step(size.model(), ids, targets)}
    oracle = importlib.util.find_spec("torch") is not None
    if oracle:
        actions["PyTorch"] = torch_step(size.model(), ids, targets)
        first = [action() for action in actions.values()]
        if abs(first[0] - first[1]) > 1e-3:
            raise RuntimeError(f"the two models are not the same: losses {first} at {size}")
    times = turns(actions, size.rounds)
    yield ratio_row("step", size.name, times, "minigrad", "PyTorch", threads=threads, target=size.target) if oracle else \
        ratio_row("step", size.name, times, "minigrad", "minigrad", threads=threads)
    if oracle:
        ours, theirs = (sum(by_layer(size.model(), ids, targets).values()) for by_layer in (ours_by_layer, torch_by_layer))
        yield bytes_row("saved bytes", size.name, "minigrad", "PyTorch", ours, theirs, threads=threads, target=1.0)
        for name, make in bench_peers.available().items():
            pair = {name: make(size.model(), ids, targets), "PyTorch": actions["PyTorch"]}
            times = turns(pair, max(2, size.rounds // 4), 1, settle=False)
            yield ratio_row("peer", size.name, times, name, "PyTorch", threads=threads)
    yield from checkpoint_rows(size, threads)
    yield from method_rows(size, threads)


def checkpoint_rows(size: Size, threads: int) -> list[dict]:
    """Blocks that keep only their input and run again in backward: time and saved bytes relative to the plain step."""
    ids, targets = size.data()
    plain, again = size.model(), size.model()
    again.checkpoint_blocks = True
    actions = {"plain": our_step(plain, ids, targets), "checkpointed": our_step(again, ids, targets)}
    times = turns(actions, max(2, size.rounds // 2))
    return [ratio_row("checkpoint", size.name, times, "checkpointed", "plain", threads=threads),
            bytes_row("checkpoint bytes", size.name, "checkpointed", "plain", saved_bytes(again, ids, targets),
                      saved_bytes(plain, ids, targets), threads=threads, target=1.0)]


def method_rows(size: Size, threads: int):
    """Yields each method's step and saved activations relative to our own full step."""
    ids, targets = size.data()
    base = size.model()
    saved = {"full": saved_bytes(base, ids, targets)}
    actions = {"full": our_step(size.model(), ids, targets)}
    for name, _ in size.methods:
        adapted = peft.apply(base, method(name, base.config))
        saved[name] = saved_bytes(adapted, ids, targets)
        actions[name] = our_step(adapted, ids, targets)
    if size.methods:
        times = turns(actions, size.rounds)
        for name, target in size.methods:
            row = ratio_row("method", size.name, times, name, "full", threads=threads, target=target)
            yield row | {"what": NAMES[name]}
            yield bytes_row("method bytes", size.name, NAMES[name], "full", saved[name], saved["full"], threads=threads,
                            target=1.05)


def saved_bytes(model, ids, targets) -> int:
    """What the graph of one forward pass keeps for backward, parameters excluded, in bytes."""
    model.train()
    return mg.graph_stats(F.cross_entropy(model(ids).reshape(-1, VOCAB), targets.reshape(-1))).saved_bytes

