"""Lesson 05: optimizers, what to do with a gradient. `pytest lessons/05_optimizers` checks it.

p is a weight array and g its gradient; every function returns new arrays and leaves those it was given as they are.
"""
import numpy as np


def sgd(p, g, lr, weight_decay=0.0):
    """One step of gradient descent on the loss plus ½·weight_decay·Σp²: the new p."""
    # TODO 05.1: delete the next line and write sgd (about 1 line).
    raise NotImplementedError("05.1 sgd")


def momentum(p, g, b, lr, mu):
    """One step with momentum, PyTorch's: b ← mu·b + g, then p ← p − lr·b. Returns (p, b)."""
    # TODO 05.2: delete the next line and write momentum (about 2 lines).
    raise NotImplementedError("05.2 momentum")


def adam(p, g, m, v, t, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """Step number t = 1, 2, … of Adam: the new (p, m, v).

    m and v are running means of g and of g², with the weights beta1 and beta2 on the past. Both start at zero and are too
    small at first: m̂ = m/(1 − beta1ᵗ) and v̂ = v/(1 − beta2ᵗ) undo that. Then p ← p − lr·m̂/(√v̂ + eps).
    """
    # TODO 05.3: delete the next line and write adam (about 4 lines).
    raise NotImplementedError("05.3 adam")


def adamw(adam, p, g, m, v, t, lr, weight_decay):
    """AdamW: p shrinks by the factor 1 − lr·weight_decay, then adam(p, g, m, v, t, lr) takes its step. Returns (p, m, v).

    `adam` is given to you: a function like the one above.
    """
    # TODO 05.4: delete the next line and write adamw (about 1 line).
    raise NotImplementedError("05.4 adamw")


def clip(grads, max_norm):
    """Shorten a list of gradients: (the new list, their length before).

    The length ‖g‖ is that of one long vector, all of them side by side; all are scaled by min(1, max_norm/(‖g‖ + 1e-6)).
    """
    # TODO 05.5: delete the next line and write clip (about 3 lines).
    raise NotImplementedError("05.5 clip")


def schedule(step, total, warmup, peak):
    """The learning rate of step 0, 1, …: linear up to `peak` over `warmup` steps, then half a cosine down to 0 at `total`.

    Step 0 gets peak/warmup, not 0; from step `total` on the rate stays 0. warmup < total.
    """
    # TODO 05.6: delete the next line and write schedule (about 4 lines).
    raise NotImplementedError("05.6 schedule")
