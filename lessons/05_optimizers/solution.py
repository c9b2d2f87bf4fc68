"""Lesson 05: optimizers, what to do with a gradient. `pytest lessons/05_optimizers` checks it.

p is a weight array and g its gradient; every function returns new arrays and leaves those it was given as they are.
"""
import numpy as np


def sgd(p, g, lr, weight_decay=0.0):
    """One step of gradient descent on the loss plus ½·weight_decay·Σp²: the new p."""
    # <solution hint="What is the gradient of ½λp²? Add it to g, then step against the sum.">
    return p - lr * (g + weight_decay * p)
    # </solution>


def momentum(p, g, b, lr, mu):
    """One step with momentum, PyTorch's: b ← mu·b + g, then p ← p − lr·b. Returns (p, b)."""
    # <solution hint="The buffer first, then the step: the new gradient already counts in this step.">
    b = mu * b + g
    return p - lr * b, b
    # </solution>


def adam(p, g, m, v, t, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """Step number t = 1, 2, … of Adam: the new (p, m, v).

    m and v are running means of g and of g², with the weights beta1 and beta2 on the past. Both start at zero and are too
    small at first: m̂ = m/(1 − beta1ᵗ) and v̂ = v/(1 − beta2ᵗ) undo that. Then p ← p − lr·m̂/(√v̂ + eps).
    """
    # <solution hint="Return m and v as they are; the corrected m̂ and v̂ are for this step alone.">
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g ** 2
    m_hat, v_hat = m / (1 - beta1 ** t), v / (1 - beta2 ** t)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v
    # </solution>


def adamw(adam, p, g, m, v, t, lr, weight_decay):
    """AdamW: p shrinks by the factor 1 − lr·weight_decay, then adam(p, g, m, v, t, lr) takes its step. Returns (p, m, v).

    `adam` is given to you: a function like the one above.
    """
    # <solution hint="Decoupled: the decay must not enter g, or Adam would divide it by √v̂ as well.">
    return adam(p * (1 - lr * weight_decay), g, m, v, t, lr)
    # </solution>


def clip(grads, max_norm):
    """Shorten a list of gradients: (the new list, their length before).

    The length ‖g‖ is that of one long vector, all of them side by side; all are scaled by min(1, max_norm/(‖g‖ + 1e-6)).
    """
    # <solution hint="One number scales them all, so the direction stays. A short gradient is left alone.">
    norm = np.sqrt(sum((g ** 2).sum() for g in grads))
    scale = min(1.0, max_norm / (norm + 1e-6))
    return [g * scale for g in grads], norm
    # </solution>


def schedule(step, total, warmup, peak):
    """The learning rate of step 0, 1, …: linear up to `peak` over `warmup` steps, then half a cosine down to 0 at `total`.

    Step 0 gets peak/warmup, not 0; from step `total` on the rate stays 0. warmup < total.
    """
    # <solution hint="After the warm-up: which share of the way to `total` is done? Half a cosine goes from cos 0 to cos π.">
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min(1.0, (step - warmup) / (total - warmup))
    return peak * (1 + np.cos(np.pi * done)) / 2
    # </solution>
