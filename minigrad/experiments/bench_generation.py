"""Generating one token after another with a KV cache, here and in an equivalent PyTorch loop; base and adapted models."""
from __future__ import annotations

import contextlib
import importlib.util
import inspect
import time

import numpy as np

import minigrad as mg
from minigrad import peft
from minigrad.experiments.bench_floor import numpy_generate
from minigrad.experiments.bench_turns import ratio_row, turns
from minigrad.models import GPT, GPTConfig

PROMPT, MERGED = 8, "LoRA, merged"
#: methods of a backend that compute nothing
HOUSEKEEPING = {"to_numpy", "asarray", "send", "owns", "buffer", "synchronize", "memory_used", "keep_freed_memory",
                "set_writeable", "quiet", "device", "no_waiting"}


def generation(threads: int, *, context: int = 256, new_tokens: int = 64, rounds: int = 11):
    """Yields rows: base, LoRA, merged LoRA, adapter and prefix at batch 1 against PyTorch's loop, and the same arithmetic in
    bare NumPy against it; then late tokens against early ones."""
    base, prompt, models = _models(context)
    actions = {name: (lambda m=model: m.generate(prompt, new_tokens)) for name, model in models.items()}
    if importlib.util.find_spec("torch"):
        for name, model in models.items():
            tree = None if name in ("base", MERGED) else model.model
            actions[f"PyTorch, {name}"] = torch_generate(base, tree, prompt, new_tokens)
            if name != MERGED:                      # merged is the base's arithmetic
                actions[f"raw NumPy, {name}"] = numpy_generate(base, tree, prompt, new_tokens)
        times = turns(actions, rounds, 2)
        for name in models:
            yield ratio_row("generation", f"{new_tokens} tokens", times, name, f"PyTorch, {name}", threads=threads, target=1.0)
        for name in models:
            if name != MERGED:
                yield ratio_row("generation floor", f"{new_tokens} tokens", times, f"raw NumPy, {name}", f"PyTorch, {name}",
                                threads=threads)
    long = context - PROMPT - 8
    times = turns({"twice the tokens": lambda: base.generate(prompt, long),
                   "tokens": lambda: base.generate(prompt, long // 2)}, rounds, 1, settle=False)
    yield ratio_row("generation", f"{long} tokens", times, "twice the tokens", "tokens", threads=threads, target=2.5)


def kernels_per_token(name: str, context: int = 256, new_tokens: int = 64, rounds: int = 5) -> tuple[float, float, float]:
    """(calls of the backend's kernels, ms inside of them, ms in all) of a token that a model of `generation` generates."""
    _, prompt, models = _models(context)
    models[name].generate(prompt, new_tokens)
    inside, whole = [], []
    for _ in range(rounds):
        log: list = []
        began = time.perf_counter()
        models[name].generate(prompt, new_tokens)
        whole.append(time.perf_counter() - began)
        with _timed_kernels(log):
            models[name].generate(prompt, new_tokens)
        inside.append(sum(log))
    return len(log) / new_tokens, 1e3 * float(np.median(inside)) / new_tokens, 1e3 * float(np.median(whole)) / new_tokens


@contextlib.contextmanager
def _timed_kernels(log: list):
    """Inside, each call of a kernel of the NumPy backend notes its seconds; what a kernel calls itself is part of it."""
    cls, running = type(mg.backend.get("numpy")), []

    def timed(kernel):
        def run(*args, **kwargs):
            if running:
                return kernel(*args, **kwargs)
            running.append(kernel)
            began = time.perf_counter()
            try:
                return kernel(*args, **kwargs)
            finally:
                log.append(time.perf_counter() - began)
                running.pop()
        return run
    kernels = {name: getattr(cls, name) for name in dir(cls) if inspect.isfunction(getattr(cls, name))
               and not name.startswith("_") and name not in HOUSEKEEPING}
    own = {name: vars(cls)[name] for name in kernels if name in vars(cls)}
    for name, kernel in kernels.items():
        setattr(cls, name, timed(kernel))
    try:
        yield
    finally:
        for name in kernels:
            if name in own:
                setattr(cls, name, own[name])
            else:
                delattr(cls, name)


def _models(context: int):
    mg.manual_seed(0)
    base = GPT(GPTConfig(88, context=context)).eval()
    rank = peft.LoRA(rank=8, init="random")
    return base, np.random.default_rng(0).integers(0, 88, (1, PROMPT)), {
        "base": base, "LoRA": peft.apply(base, rank), MERGED: peft.apply(base, rank).merge(),
        "adapter": peft.apply(base, peft.Adapter(16)), "prefix": peft.apply(base, peft.PrefixTuning(8))}


def torch_generate(model, adapted, prompt, new_tokens: int):
    """Greedy decoding of the twin of `model` with preallocated keys and values; adapted: the minigrad tree with LoRA, adapters
    or a prefix whose weights are taken over."""
    import torch
    from torch.nn import functional as F

    from minigrad.experiments.torch_twin import torch_twin

    c, twin = model.config, torch_twin(model).eval()
    H, size = c.n_heads, c.d_model // c.n_heads
    start, shift = torch_method(twin, adapted), 0 if adapted is None else adapted.position_shift

    def run():
        with torch.inference_mode():
            extra = 0 if start is None else start[0][0].shape[2]
            room = prompt.shape[1] + new_tokens + extra
            keys, values = ([torch.zeros(1, H, room, size) for _ in twin.blocks] for _ in range(2))
            if start is not None:
                for i, (k, v) in enumerate(start):
                    keys[i][:, :, :extra], values[i][:, :, :extra] = k, v
            fed, done, out = torch.from_numpy(prompt), 0, []
            for _ in range(new_tokens):
                T = fed.shape[1]
                x = twin.token_embedding(fed) + twin.position_embedding.weight[shift + done:shift + done + T]
                for i, block in enumerate(twin.blocks):
                    h, at = block.attn, extra + done
                    n = block.norm1(x)
                    q, k, v = (p(n).view(1, T, H, size).transpose(1, 2) for p in (h.q_proj, h.k_proj, h.v_proj))
                    keys[i][:, :, at:at + T], values[i][:, :, at:at + T] = k, v
                    mask = None if T == 1 else torch.ones(T, at + T, dtype=torch.bool).tril(at)
                    y = F.scaled_dot_product_attention(q, keys[i][:, :, :at + T], values[i][:, :, :at + T], attn_mask=mask)
                    x = x + h.o_proj(y.transpose(1, 2).reshape(1, T, c.d_model))
                    x = x + block.mlp.down_proj(F.gelu(block.mlp.up_proj(block.norm2(x)), approximate="tanh"))
                fed = twin.head(twin.norm(x[:, -1:])).argmax(-1)
                out.append(int(fed))
                done += T
            return out
    return run


def torch_method(twin, adapted):
    """Put the adapted tree's LoRA branches or adapters into the twin; a prefix is returned as its keys and values."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    def tensor(p):
        return torch.from_numpy(np.array(mg.to_numpy(p)))

    class Branch(nn.Module):
        def __init__(self, base, A, B, scale):
            super().__init__()
            self.base, self.A, self.B, self.scale = base, A, B, scale

        def forward(self, x):
            return self.base(x) + F.linear(F.linear(x, self.A), self.B) * self.scale

    class Behind(nn.Module):
        def __init__(self, base, down, up):
            super().__init__()
            self.base, self.down, self.up = base, down, up

        def forward(self, x):
            h = self.base(x)
            return h + F.linear(F.gelu(F.linear(h, *self.down)), *self.up)
    if adapted is None:
        return None
    prefixes = []
    for ours, theirs in zip(adapted.blocks, twin.blocks, strict=True):
        if ours.attn.prefix is not None:
            with mg.no_grad():
                prefixes.append(tuple(tensor(t) for t in ours.attn.prefix(1)))
        for part, name in (("attn", "q_proj"), ("attn", "v_proj"), ("attn", "o_proj"), ("mlp", "down_proj")):
            layer, base = getattr(getattr(ours, part), name), getattr(getattr(theirs, part), name)
            if hasattr(layer, "lora_A"):
                new = Branch(base, tensor(layer.lora_A.weight), tensor(layer.lora_B.weight), layer.scale)
                setattr(getattr(theirs, part), name, new)
            elif hasattr(layer, "adapter"):
                new = Behind(base, *((tensor(m.weight), tensor(m.bias)) for m in (layer.adapter.down, layer.adapter.up)))
                setattr(getattr(theirs, part), name, new)
    return prefixes or None
