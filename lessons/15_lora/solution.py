"""Lesson 15: LoRA, the change of a weight matrix as a product of two thin ones. `pytest lessons/15_lora` checks it.

Shapes, as everywhere here:   x (n, in)   W (out, in)   b (out,)   A (rank, in)   B (out, rank)   y (n, out)
"""
import numpy as np


def lora_init(out_features, in_features, rank, rng):
    """The starting values (A, B): A uniform in ±1/√in, B zero, so that training starts at the base model.

    rng: a NumPy Generator; draw A with one call of rng.uniform.
    """
    # <solution hint="Only one of the two may be random. Which zero lets the other one learn from the first step on?">
    bound = 1 / np.sqrt(in_features)
    A = rng.uniform(-bound, bound, (rank, in_features))
    return A, np.zeros((out_features, rank))
    # </solution>


def lora_forward(x, W, b, A, B, alpha):
    """y = xWᵀ + b + s·(xAᵀ)Bᵀ with s = alpha/rank: the frozen layer, and the branch beside it."""
    # <solution hint="Multiply x by A first: (n, in) -> (n, rank) is small. The rank is a number of rows.">
    s = alpha / A.shape[0]
    return x @ W.T + b + s * (x @ A.T) @ B.T
    # </solution>


def lora_vjp(gy, x, W, A, B, alpha):
    """From the gradient gy of y: the gradients (gx, gA, gB). W and b are frozen and get none.   gy (n, out)"""
    # <solution hint="gy flows through two branches into x. For A and B, let z = xAᵀ and differentiate y = s·zBᵀ.">
    s = alpha / A.shape[0]
    gz = s * gy @ B                                 # (n, out) -> (n, rank)
    gx = gy @ W + gz @ A
    return gx, gz.T @ x, s * gy.T @ (x @ A.T)
    # </solution>


def merge(W, A, B, alpha):
    """The one matrix that does the work of W and the branch together: a new array; W stays as it is."""
    # <solution hint="Which matrix M has xMᵀ = xWᵀ + s·(xAᵀ)Bᵀ for every x?">
    return W + alpha / A.shape[0] * B @ A
    # </solution>


def swap(W, adapters, name, alpha):
    """The weight to run with: W itself (the very array) if name is None, else W with adapters[name] = (A, B) merged in.

    Called a hundred times with changing names it must not drift: always start from W.
    """
    # <solution hint="Do not take an old adapter out of a merged weight: subtracting does not give W back bit by bit.">
    if name is None:
        return W
    A, B = adapters[name]
    return W + alpha / A.shape[0] * B @ A
    # </solution>


def trained(shapes, rank):
    """How many numbers LoRA trains on layers of these shapes, a list of (out, in)."""
    # <solution hint="Each layer has its own A (rank, in) and B (out, rank).">
    return sum(rank * (out_features + in_features) for out_features, in_features in shapes)
    # </solution>
