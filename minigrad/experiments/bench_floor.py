"""The least that generating a token takes with NumPy's functions: the GPT's arithmetic written out, and no engine around it.

Weights are taken out once, queries, keys and values in one matrix; keys and values have room from the start; one row goes
through the layers as a vector. What is left are calls of NumPy, each on a few hundred numbers: the floor of every loop of
this kind in Python. An adapted model adds its own few calls.
"""
from __future__ import annotations

import math

import numpy as np

import minigrad as mg

SQRT_2_OVER_PI, CUBIC = np.float32(math.sqrt(2 / math.pi)), np.float32(0.044715)


def numpy_generate(model, adapted, prompt, new_tokens: int):
    """A function that continues `prompt` (1, T) greedily and returns the tokens.

    model: a GPT · adapted: the tree of an adapted one, with LoRA, adapters or a prefix, or None.
    """
    c, tree = model.config, model if adapted is None else adapted
    H, D, size = c.n_heads, c.d_model, c.d_model // c.n_heads
    layers = [_layer(block) for block in tree.blocks]
    tokens, positions, head = (_array(m.weight) for m in (tree.token_embedding, tree.position_embedding, tree.head))
    last_norm = _norm(tree.norm)
    with mg.no_grad():
        start = [None if b.attn.prefix is None else [_array(t)[0] for t in b.attn.prefix(1)] for b in tree.blocks]
    extra, shift = 0 if start[0] is None else start[0][0].shape[1], tree.position_shift
    room, scale = extra + prompt.shape[1] + new_tokens, np.float32(1 / math.sqrt(size))

    def run():
        keys, values = ([np.empty((H, room, size), np.float32) for _ in layers] for _ in range(2))
        for kept, given in zip(zip(keys, values, strict=True), start, strict=True):
            for into, prefix in zip(kept, given or (), strict=False):
                into[:, :extra] = prefix
        fed, done, out = prompt[0], 0, []
        for _ in range(new_tokens):
            T, at = len(fed), extra + done
            x = tokens[fed] + positions[shift + done:shift + done + T]          # (T, D)
            for (norm1, qkv, o, norm2, up, down), K, V in zip(layers, keys, values, strict=True):
                q, k, v = qkv(norm1(x)).reshape(T, 3, H, size).transpose(1, 2, 0, 3)        # (T, 3·D) -> 3 of (H, T, D/H)
                K[:, at:at + T], V[:, at:at + T] = k, v
                scores = q @ K[:, :at + T].transpose(0, 2, 1)                   # (H, T, at + T)
                scores *= scale
                if T > 1:
                    scores[:, np.arange(at + T) > at + np.arange(T)[:, None]] = -np.inf
                scores -= scores.max(axis=2, keepdims=True)
                np.exp(scores, out=scores)
                scores /= scores.sum(axis=2, keepdims=True)
                y = scores @ V[:, :at + T]                                      # (H, T, D/H)
                x += o(y.transpose(1, 0, 2).reshape(T, D))
                x += down(_gelu(up(norm2(x))))
            chosen = int((last_norm(x[-1:]) @ head.T).argmax())
            out.append(chosen)
            fed, done = np.array([chosen]), done + T
        return out
    return run


def _array(p):
    return np.ascontiguousarray(mg.to_numpy(p), dtype=np.float32)


def _gelu(x):
    """½x(1 + tanh(√(2/π)(x + 0.044715x³))), in place where it can"""
    u = x * x
    u *= SQRT_2_OVER_PI * CUBIC
    u += SQRT_2_OVER_PI
    u *= x
    np.tanh(u, out=u)
    u += 1
    u *= x
    u *= np.float32(0.5)
    return u


def _exact_gelu(x):
    """½x(1 + erf(x/√2)) of an adapter's few numbers: NumPy has no erf"""
    erf = np.array([math.erf(v) for v in (x * np.float32(math.sqrt(0.5))).ravel().tolist()], np.float32)
    return np.float32(0.5) * x * (1 + erf.reshape(x.shape))


def _norm(layer):
    """(x − mean)/√(var + ε)·w + b as a function of rows; the sums are products with a vector."""
    w, b, eps = _array(layer.weight), _array(layer.bias), layer.eps
    mean = np.full((w.size, 1), 1 / w.size, np.float32)

    def norm(x):
        x = x - x @ mean
        x /= np.sqrt((x * x) @ mean + np.float32(eps))
        x *= w
        x += b
        return x
    return norm


def _layer(block):
    """(norm1, q k v together, o_proj, norm2, up_proj, down_proj) of a block, as functions of rows."""
    attn, mlp = block.attn, block.mlp
    return (_norm(block.norm1), _linear(attn.q_proj, attn.k_proj, attn.v_proj), _linear(attn.o_proj), _norm(block.norm2),
            _linear(mlp.up_proj), _linear(mlp.down_proj))


def _linear(*modules):
    """x·Wᵀ + b of layers side by side; with LoRA's branches, or with an adapter behind."""
    bases = [getattr(m, "base_layer", m) for m in modules]
    W, b = (np.ascontiguousarray(np.concatenate(list(parts))) for parts in
            zip(*((_array(m.weight), _array(m.bias)) for m in bases), strict=True))
    Wt, D = W.T, bases[0].weight.shape[0]
    branches = [(slice(i * D, (i + 1) * D), _array(m.lora_A.weight).T, (_array(m.lora_B.weight) * np.float32(m.scale)).T)
                for i, m in enumerate(modules) if hasattr(m, "lora_A")]
    behind = modules[0].adapter if hasattr(modules[0], "adapter") else None
    if behind is not None:
        down, up = _linear(behind.down), _linear(behind.up)

    def linear(x):
        y = x @ Wt
        y += b
        for part, At, Bt in branches:
            y[:, part] += (x @ At) @ Bt
        if behind is not None:
            y += up(_exact_gelu(down(y)))
        return y
    return linear
