"""Lesson 04: linear layers, softmax and cross-entropy. `pytest lessons/04_linear_softmax` checks it.

Shapes:   x (n, in)   W (out, in)   b (out,)   logits (n, classes)   targets (n,): the right class of each row, an integer
No function may write into its arguments.
"""
import numpy as np


def softmax(x):
    """Probabilities from scores, along the last axis: eˣ / Σ eˣ, also where eˣ itself is too large or too small to be written.

    x: (…, classes); a score of −inf gets probability 0
    """
    # <solution hint="Adding one number to all scores of a row changes nothing. Which one makes every exponent at most 0?">
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
    # </solution>


def softmax_vjp(gy, y):
    """The gradient of x for y = softmax(x), from y alone."""
    # <solution hint="∂y[j]/∂x[i] is y[j]·(1 − y[i]) where i = j, and −y[j]·y[i] elsewhere. Sum over j with weights gy[j].">
    return y * (gy - (gy * y).sum(axis=-1, keepdims=True))
    # </solution>


def cross_entropy(logits, targets):
    """The mean over the rows of −ln softmax(row)[target], a number; finite wherever it can be."""
    # <solution hint="−ln softmax(x)[t] = ln Σ eˣ − x[t]. With m = max x, ln Σ eˣ = m + ln Σ eˣ⁻ᵐ.">
    m = logits.max(axis=1)
    total = m + np.log(np.exp(logits - m[:, None]).sum(axis=1))
    return (total - logits[np.arange(len(targets)), targets]).mean()
    # </solution>


def cross_entropy_vjp(gy, logits, targets):
    """The gradient of the logits for the mean cross-entropy. gy: the gradient of the mean, a number"""
    # <solution hint="Differentiate ln Σ eˣ − x[t]: softmax, minus 1 at the target. And a mean divides by its rows.">
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    p[np.arange(len(targets)), targets] -= 1
    return gy * p / len(targets)
    # </solution>


def linear_vjp(gy, x, W):
    """The gradients (gx, gW, gb) for y = x·Wᵀ + b.   gy (n, out)"""
    # <solution hint="Only one product has the right shape for each. b was repeated for every row.">
    return gy @ W, gy.T @ x, gy.sum(axis=0)
    # </solution>


def classifier_step(x, targets, W, b, lr):
    """One step of gradient descent for logits = x·Wᵀ + b: (mean cross-entropy before the step, new W, new b).

    lr: the learning rate · W and b stay as they are. Write it with NumPy; it needs none of your functions above.
    """
    # <solution hint="Forward: logits, probabilities, loss. Back: logits' gradient, then gW and gb. Then against them, lr times.">
    logits = x @ W.T + b
    m = logits.max(axis=1, keepdims=True)
    e = np.exp(logits - m)
    total = e.sum(axis=1, keepdims=True)
    at_targets = np.arange(len(targets)), targets
    loss = ((m + np.log(total))[:, 0] - logits[at_targets]).mean()
    g = e / total
    g[at_targets] -= 1
    g = g / len(targets)
    return loss, W - lr * g.T @ x, b - lr * g.sum(axis=0)
    # </solution>
