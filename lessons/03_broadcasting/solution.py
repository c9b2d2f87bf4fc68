"""Lesson 03: broadcasting and vector-Jacobian products. `pytest lessons/03_broadcasting` checks it.

A vjp takes gy, the gradient of the loss in y = f(x), and gives the gradient in x: gx = Σ gy·∂y/∂x over all entries of y.
No function may write into its arguments.
"""
import numpy as np


def unbroadcast(g, shape):
    """Sum g back to `shape`, the shape of an input that NumPy repeated to the shape of g: (4, 2, 3) -> (2, 1), say.

    NumPy repeats along axes that the input lacks in front, and along those in which it has size 1.
    """
    # <solution hint="A number that was used k times has k gradients, and they add. Which axes of g hold repetitions?">
    lead = g.ndim - len(shape)
    axes = [*range(lead), *(lead + i for i, n in enumerate(shape) if n == 1)]
    return g.sum(axis=tuple(axes)).reshape(shape)
    # </solution>


def mul_vjp(gy, a, b):
    """The gradients (ga, gb) for y = a·b, entry by entry.

    a and b may have been repeated to gy's shape; both gradients keep gy's shape here, and unbroadcast is applied to them later.
    """
    # <solution hint="If an entry of a moves by 1, the entry of y moves by b.">
    return gy * b, gy * a
    # </solution>


def sum_vjp(gy, shape, axis=None, keepdims=False):
    """The gradient of x, which has this shape, for y = x.sum(axis, keepdims). axis: None for all, a number, or a tuple."""
    # <solution hint="Each summand moves the sum by 1, so gy is repeated. Without keepdims the axes are gone: bring them back.">
    if axis is not None and not keepdims:
        gy = np.expand_dims(gy, axis)
    return np.broadcast_to(gy, shape)
    # </solution>


def matmul_vjp(gy, a, b):
    """The gradients (ga, gb) for y = a @ b with a (…, n, k), b (…, k, m), gy (…, n, m).

    The leading axes may have been repeated; both gradients keep those of gy, and unbroadcast is applied to them later.
    """
    # <solution hint="ga must be (…, n, k). Which product of gy (…, n, m) with b has that shape? np.swapaxes turns b.">
    return gy @ np.swapaxes(b, -1, -2), np.swapaxes(a, -1, -2) @ gy
    # </solution>


def transpose_vjp(gy, axes):
    """The gradient of x for y = x.transpose(axes): axis i of y is axis axes[i] of x."""
    # <solution hint="It takes the order that puts everything back. For axes (1, 2, 0) that is (2, 0, 1).">
    return gy.transpose(np.argsort(axes))
    # </solution>


def getitem_vjp(gy, shape, index):
    """The gradient of x, which has this shape, for y = x[index], with gy's dtype.

    index: anything NumPy takes: slices, a list or an array of integers in which one may come twice, a mask, a tuple of these
    """
    # <solution hint="Zeros, and gy added where it was taken from. gx[index] += gy adds only once where an index repeats.">
    gx = np.zeros(shape, dtype=gy.dtype)
    np.add.at(gx, index, gy)
    return gx
    # </solution>
