"""Lesson 15: LoRA, the change of a weight matrix as a product of two thin ones. `pytest lessons/15_lora` checks it.

Shapes, as everywhere here:   x (n, in)   W (out, in)   b (out,)   A (rank, in)   B (out, rank)   y (n, out)
"""
import numpy as np


def lora_init(out_features, in_features, rank, rng):
    """The starting values (A, B): A uniform in ±1/√in, B zero, so that training starts at the base model.

    rng: a NumPy Generator; draw A with one call of rng.uniform.
    """
    # TODO 15.1: delete the next line and write lora_init (about 3 lines).
    raise NotImplementedError("15.1 lora_init")


def lora_forward(x, W, b, A, B, alpha):
    """y = xWᵀ + b + s·(xAᵀ)Bᵀ with s = alpha/rank: the frozen layer, and the branch beside it."""
    # TODO 15.2: delete the next line and write lora_forward (about 2 lines).
    raise NotImplementedError("15.2 lora_forward")


def lora_vjp(gy, x, W, A, B, alpha):
    """From the gradient gy of y: the gradients (gx, gA, gB). W and b are frozen and get none.   gy (n, out)"""
    # TODO 15.3: delete the next line and write lora_vjp (about 4 lines).
    raise NotImplementedError("15.3 lora_vjp")


def merge(W, A, B, alpha):
    """The one matrix that does the work of W and the branch together: a new array; W stays as it is."""
    # TODO 15.4: delete the next line and write merge (about 1 line).
    raise NotImplementedError("15.4 merge")


def swap(W, adapters, name, alpha):
    """The weight to run with: W itself (the very array) if name is None, else W with adapters[name] = (A, B) merged in.

    Called a hundred times with changing names it must not drift: always start from W.
    """
    # TODO 15.5: delete the next line and write swap (about 4 lines).
    raise NotImplementedError("15.5 swap")


def trained(shapes, rank):
    """How many numbers LoRA trains on layers of these shapes, a list of (out, in)."""
    # TODO 15.6: delete the next line and write trained (about 1 line).
    raise NotImplementedError("15.6 trained")
