"""Generating one token after another with a KV cache, here and in an equivalent PyTorch loop; base and adapted models."""
from __future__ import annotations

import importlib.util
import time

import numpy as np

import minigrad as mg
from minigrad import peft
from minigrad.experiments.bench_profile import recording
from minigrad.experiments.bench_turns import ratio_row, turns
from minigrad.models import GPT, GPTConfig

PROMPT = 8


def generation(threads: int, *, context: int = 256, new_tokens: int = 64, rounds: int = 9,
               say=lambda *_: None) -> list[dict]:
    """Rows: base, LoRA, merged LoRA, adapter and prefix at batch 1 against PyTorch's loop; late tokens against early ones."""
    mg.manual_seed(0)
    base = GPT(GPTConfig(88, context=context)).eval()
    prompt = np.random.default_rng(0).integers(0, 88, (1, PROMPT))
    rank = peft.LoRA(rank=8, init="random")
    models = {"base": base, "LoRA": peft.apply(base, rank), "LoRA, merged": peft.apply(base, rank).merge(),
              "adapter": peft.apply(base, peft.Adapter(16)), "prefix": peft.apply(base, peft.PrefixTuning(8))}
    actions = {name: (lambda m=model: m.generate(prompt, new_tokens)) for name, model in models.items()}
    rows = []
    if importlib.util.find_spec("torch"):
        for name, model in models.items():
            tree = None if name in ("base", "LoRA, merged") else model.model
            actions[f"PyTorch, {name}"] = torch_generate(base, tree, prompt, new_tokens)
        times = turns(actions, rounds, 2)
        for name in models:
            rows.append(ratio_row("generation", f"{new_tokens} tokens", times, name, f"PyTorch, {name}", threads=threads,
                                  target=1.0))
            say(rows[-1])
    long = context - PROMPT - 8
    times = turns({"twice the tokens": lambda: base.generate(prompt, long),
                   "tokens": lambda: base.generate(prompt, long // 2)}, rounds, 1)
    rows.append(ratio_row("generation", f"{long} tokens", times, "twice the tokens", "tokens", threads=threads, target=2.5))
    say(rows[-1])
    return rows


def reason(new_tokens: int = 64) -> str:
    """Where the time of one generated token goes: kernels, and everything around them."""
    mg.manual_seed(0)
    base, log = GPT(GPTConfig(88, context=256)).eval(), []
    prompt = np.random.default_rng(0).integers(0, 88, (1, PROMPT))
    base.generate(prompt, new_tokens)
    began = time.perf_counter()
    base.generate(prompt, new_tokens)
    whole = 1e3 * (time.perf_counter() - began) / new_tokens
    with recording(log):
        base.generate(prompt, new_tokens)
    kernels, count = 1e3 * sum(entry[2] for entry in log) / new_tokens, len(log) / new_tokens
    return (f"generation: {whole:.2f} ms a token, of which {kernels:.2f} inside of {count:.0f} operations on one row each; the "
            f"rest, {1e3 * (whole - kernels) / count:.0f} μs an operation, is Python around them")


def torch_generate(model, adapted, prompt, new_tokens: int):
    """Greedy decoding of the twin of `model` with preallocated keys and values; adapted: the minigrad tree with LoRA, adapters
    or a prefix whose weights are taken over."""
    import torch
    from torch.nn import functional as F

    from minigrad.experiments.torch_twin import torch_twin

    c, twin = model.config, torch_twin(model).eval()
    H, size = c.n_heads, c.d_model // c.n_heads
    start = torch_method(twin, adapted)

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
                x = twin.token_embedding(fed) + twin.position_embedding.weight[done:done + T]
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
