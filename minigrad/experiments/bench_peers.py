"""Two other engines on NumPy, where they are installed: the same GPT in the words that autograd and mygrad share."""
from __future__ import annotations

import importlib.util

import numpy as np


def available() -> dict:
    """{name: a function (model, ids, targets) -> step} of the engines that can be imported."""
    makers = {"autograd": autograd_step, "mygrad": mygrad_step}
    return {name: make for name, make in makers.items() if importlib.util.find_spec(name) is not None}


def gpt_loss(xp, p: dict, config, ids, targets):
    """The GPT's mean cross-entropy, written with the functions of `xp`; p: {name: array or tensor}."""
    B, T = ids.shape
    H, D = config.n_heads, config.d_model

    def norm(x, name):
        x = x - xp.sum(x, axis=-1, keepdims=True) / D
        return x / xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True) / D + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]

    def linear(x, name):
        return xp.matmul(x, xp.transpose(p[f"{name}.weight"])) + p[f"{name}.bias"]

    def heads(x):                                                       # (B·T, D) -> (B, H, T, D/H)
        return xp.transpose(xp.reshape(x, (B, T, H, D // H)), (0, 2, 1, 3))

    hidden = np.triu(np.full((T, T), -1e9, dtype=np.float32), 1)
    x = p["token_embedding.weight"][ids.reshape(-1)] + p["position_embedding.weight"][np.tile(np.arange(T), B)]
    for i in range(config.n_layers):
        b = f"blocks.{i}"
        h = norm(x, f"{b}.norm1")
        q, k, v = (heads(linear(h, f"{b}.attn.{n}_proj")) for n in "qkv")
        scores = xp.matmul(q, xp.transpose(k, (0, 1, 3, 2))) / np.float32(np.sqrt(D // H)) + hidden
        weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
        weights = weights / xp.sum(weights, axis=-1, keepdims=True)
        y = xp.reshape(xp.transpose(xp.matmul(weights, v), (0, 2, 1, 3)), (B * T, D))   # (B, H, T, D/H) -> (B·T, D)
        x = x + linear(y, f"{b}.attn.o_proj")
        u = linear(norm(x, f"{b}.norm2"), f"{b}.mlp.up_proj")
        u = np.float32(0.5) * u * (1 + xp.tanh(np.float32(np.sqrt(2 / np.pi)) * (u + np.float32(0.044715) * u * u * u)))
        x = x + linear(u, f"{b}.mlp.down_proj")
    logits = xp.matmul(norm(x, "norm"), xp.transpose(p["head.weight"]))
    top = xp.max(logits, axis=-1, keepdims=True)
    log_sum = xp.log(xp.sum(xp.exp(logits - top), axis=-1, keepdims=True)) + top
    picked = logits[np.arange(B * T), targets.reshape(-1)]
    return (xp.sum(log_sum) - xp.sum(picked)) / np.float32(B * T)


class AdamW:
    """Plain AdamW on a dict of arrays, in place: these engines have none of their own for it."""

    def __init__(self, p: dict):
        self.p, self.t = p, 0
        self.m, self.v = ({n: np.zeros_like(a) for n, a in p.items()} for _ in range(2))

    def step(self, gradients: dict) -> None:
        """One step with lr 1e-3, weight decay 0.01."""
        self.t += 1
        for n, g in gradients.items():
            p, m, v = self.p[n], self.m[n], self.v[n]
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            p *= 1 - 1e-5
            p -= (1e-3 / (1 - 0.9 ** self.t)) * m / (np.sqrt(v / (1 - 0.999 ** self.t)) + 1e-8)


def autograd_step(model, ids, targets):
    """A step with HIPS autograd."""
    import autograd
    import autograd.numpy as anp

    p = {n: a.copy() for n, a in model.state_dict().items()}
    gradient = autograd.value_and_grad(lambda p: gpt_loss(anp, p, model.config, ids, targets))
    optimizer = AdamW(p)

    def step() -> float:
        loss, gradients = gradient(p)
        optimizer.step(gradients)
        return float(loss)
    return step


def mygrad_step(model, ids, targets):
    """A step with mygrad."""
    import mygrad

    p = {n: a.copy() for n, a in model.state_dict().items()}
    optimizer = AdamW(p)

    def step() -> float:
        tensors = {n: mygrad.tensor(a, copy=False) for n, a in p.items()}
        loss = gpt_loss(mygrad, tensors, model.config, ids, targets)
        loss.backward()
        gradients = {n: t.grad for n, t in tensors.items() if t.grad is not None}
        value = float(loss.data)
        del loss, tensors                           # mygrad locks the arrays of a living graph
        optimizer.step(gradients)
        return value
    return step
