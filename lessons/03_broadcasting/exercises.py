"""Lesson 03: broadcasting and vector-Jacobian products. `pytest lessons/03_broadcasting` checks it.

A vjp takes gy, the gradient of the loss in y = f(x), and gives the gradient in x: gx = Σ gy·∂y/∂x over all entries of y.
No function may write into its arguments.
"""
import numpy as np


def unbroadcast(g, shape):
    """Sum g back to `shape`, the shape of an input that NumPy repeated to the shape of g: (4, 2, 3) -> (2, 1), say.

    NumPy repeats along axes that the input lacks in front, and along those in which it has size 1.
    """
    # TODO 03.1: delete the next line and write unbroadcast (about 3 lines).
    raise NotImplementedError("03.1 unbroadcast")


def mul_vjp(gy, a, b):
    """The gradients (ga, gb) for y = a·b, entry by entry.

    a and b may have been repeated to gy's shape; both gradients keep gy's shape here, and unbroadcast is applied to them later.
    """
    # TODO 03.2: delete the next line and write mul_vjp (about 1 line).
    raise NotImplementedError("03.2 mul_vjp")


def sum_vjp(gy, shape, axis=None, keepdims=False):
    """The gradient of x, which has this shape, for y = x.sum(axis, keepdims). axis: None for all, a number, or a tuple."""
    # TODO 03.3: delete the next line and write sum_vjp (about 3 lines).
    raise NotImplementedError("03.3 sum_vjp")


def matmul_vjp(gy, a, b):
    """The gradients (ga, gb) for y = a @ b with a (…, n, k), b (…, k, m), gy (…, n, m).

    The leading axes may have been repeated; both gradients keep those of gy, and unbroadcast is applied to them later.
    """
    # TODO 03.4: delete the next line and write matmul_vjp (about 1 line).
    raise NotImplementedError("03.4 matmul_vjp")


def transpose_vjp(gy, axes):
    """The gradient of x for y = x.transpose(axes): axis i of y is axis axes[i] of x."""
    # TODO 03.5: delete the next line and write transpose_vjp (about 1 line).
    raise NotImplementedError("03.5 transpose_vjp")


def getitem_vjp(gy, shape, index):
    """The gradient of x, which has this shape, for y = x[index], with gy's dtype.

    index: anything NumPy takes: slices, a list or an array of integers in which one may come twice, a mask, a tuple of these
    """
    # TODO 03.6: delete the next line and write getitem_vjp (about 3 lines).
    raise NotImplementedError("03.6 getitem_vjp")
