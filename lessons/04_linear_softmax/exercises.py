"""Lesson 04: linear layers, softmax and cross-entropy. `pytest lessons/04_linear_softmax` checks it.

Shapes:   x (n, in)   W (out, in)   b (out,)   logits (n, classes)   targets (n,): the right class of each row, an integer
No function may write into its arguments.
"""
import numpy as np


def softmax(x):
    """Probabilities from scores, along the last axis: eˣ / Σ eˣ, also where eˣ itself is too large or too small to be written.

    x: (…, classes); a score of −inf gets probability 0
    """
    # TODO 04.1: delete the next line and write softmax (about 2 lines).
    raise NotImplementedError("04.1 softmax")


def softmax_vjp(gy, y):
    """The gradient of x for y = softmax(x), from y alone."""
    # TODO 04.2: delete the next line and write softmax_vjp (about 1 line).
    raise NotImplementedError("04.2 softmax_vjp")


def cross_entropy(logits, targets):
    """The mean over the rows of −ln softmax(row)[target], a number; finite wherever it can be."""
    # TODO 04.3: delete the next line and write cross_entropy (about 3 lines).
    raise NotImplementedError("04.3 cross_entropy")


def cross_entropy_vjp(gy, logits, targets):
    """The gradient of the logits for the mean cross-entropy. gy: the gradient of the mean, a number"""
    # TODO 04.4: delete the next line and write cross_entropy_vjp (about 4 lines).
    raise NotImplementedError("04.4 cross_entropy_vjp")


def linear_vjp(gy, x, W):
    """The gradients (gx, gW, gb) for y = x·Wᵀ + b.   gy (n, out)"""
    # TODO 04.5: delete the next line and write linear_vjp (about 1 line).
    raise NotImplementedError("04.5 linear_vjp")


def classifier_step(x, targets, W, b, lr):
    """One step of gradient descent for logits = x·Wᵀ + b: (mean cross-entropy before the step, new W, new b).

    lr: the learning rate · W and b stay as they are. Write it with NumPy; it needs none of your functions above.
    """
    # TODO 04.6: delete the next line and write classifier_step (about 10 lines).
    raise NotImplementedError("04.6 classifier_step")
