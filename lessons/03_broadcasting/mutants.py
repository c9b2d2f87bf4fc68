"""Wrong answers to the exercises of lesson 03, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("03.1", "forgets the axes in front", "You sum over the axes of size 1 only. NumPy also adds axes in front: (3,) becomes (1, 3) and "
           "then (2, 3).", '''
def unbroadcast(g, shape):
    lead = g.ndim - len(shape)
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and i + lead < g.ndim)
    return g.sum(axis=axes, keepdims=True)
'''),
    Mutant("03.1", "forgets the axes of size 1", "You sum over the axes that were added in front only. Axes of size 1 were repeated too.", '''
def unbroadcast(g, shape):
    return g.sum(axis=tuple(range(g.ndim - len(shape))))
'''),
    Mutant("03.1", "reshapes what was not summed", "The reshape fails because there are too many numbers left: axes of size 1 were repeated too, "
           "and have to be summed.", '''
def unbroadcast(g, shape):
    return g.sum(axis=tuple(range(g.ndim - len(shape)))).reshape(shape)
'''),
    Mutant("03.1", "takes the mean", "Each repetition has a gradient of its own, and they add. You took their mean.", '''
def unbroadcast(g, shape):
    lead = g.ndim - len(shape)
    axes = [*range(lead), *(lead + i for i, n in enumerate(shape) if n == 1)]
    return g.mean(axis=tuple(axes), keepdims=True).reshape(shape)
'''),
    Mutant("03.1", "takes the first", "You kept one of the repetitions. All of them moved the loss.", '''
def unbroadcast(g, shape):
    lead = g.ndim - len(shape)
    g = g[(0,) * lead]
    return g[tuple(slice(0, 1) if n == 1 else slice(None) for n in shape)]
'''),
    Mutant("03.1", "loses the axes of size 1", "The sum is right, but its axis is gone: (2, 1) has to come back as (2, 1), not as (2,). That is what "
           "keepdims is for.", '''
def unbroadcast(g, shape):
    lead = g.ndim - len(shape)
    axes = [*range(lead), *(lead + i for i, n in enumerate(shape) if n == 1)]
    return g.sum(axis=tuple(axes))
'''),
    Mutant("03.1", "matches sizes from the left", "NumPy lines shapes up at their right end; you compared them from the left.", '''
def unbroadcast(g, shape):
    axes = tuple(i for i in range(g.ndim) if i >= len(shape) or shape[i] != g.shape[i])
    g = g.sum(axis=axes, keepdims=True)
    return g.reshape(shape) if g.size == int(np.prod(shape)) else g
'''),
    Mutant("03.1", "stretches instead", "That goes the other way: g is the large one and has to shrink.", '''
def unbroadcast(g, shape):
    return np.broadcast_to(g, np.broadcast_shapes(g.shape, shape))
'''),
    Mutant("03.2", "swaps the factors", "ga and gb are exchanged: the gradient of a is multiplied by b.", '''
def mul_vjp(gy, a, b):
    return gy * a, gy * b
'''),
    Mutant("03.2", "ignores gy", "Your gradients do not depend on gy. They are right for a loss that sums y, and for no other.", '''
def mul_vjp(gy, a, b):
    return np.ones_like(gy) * b, np.ones_like(gy) * a
'''),
    Mutant("03.2", "passes gy on", "That is the vjp of a sum.", '''
def mul_vjp(gy, a, b):
    return gy.copy(), gy.copy()
'''),
    Mutant("03.2", "multiplies by both", "Only the other factor counts: when a moves by 1, y moves by b, not by a·b.", '''
def mul_vjp(gy, a, b):
    return gy * a * b, gy * a * b
'''),
    Mutant("03.2", "returns one gradient", "A product has two inputs, and each wants a gradient.", '''
def mul_vjp(gy, a, b):
    return gy * b
'''),
    Mutant("03.2", "divides y", "a·b/a is b only where a is not 0. The gradient of a is gy·b, whatever a is.", '''
def mul_vjp(gy, a, b):
    return gy * (a * b) / a, gy * (a * b) / b
'''),
    Mutant("03.3", "puts the axis back at the end", "The axis that was summed away belongs where it was; you put it at the end.", '''
def sum_vjp(gy, shape, axis=None, keepdims=False):
    if axis is not None and not keepdims:
        for _ in axis if isinstance(axis, tuple) else (axis,):
            gy = gy[..., None]
    return gy * np.ones(shape)
'''),
    Mutant("03.3", "does not put the axis back", "Without keepdims the axis is gone, and NumPy lines the rest up at the right end. Put it back first "
           "(np.expand_dims).", '''
def sum_vjp(gy, shape, axis=None, keepdims=False):
    return np.broadcast_to(gy, shape).copy()
'''),
    Mutant("03.3", "divides by the number", "That is the vjp of a mean. Each summand moves a sum by 1.", '''
def sum_vjp(gy, shape, axis=None, keepdims=False):
    if axis is not None and not keepdims:
        gy = np.expand_dims(gy, axis)
    return np.broadcast_to(gy, shape) * np.size(gy) / np.prod(shape)
'''),
    Mutant("03.3", "returns ones", "Your answer does not depend on gy; it is right only where gy is 1.", '''
def sum_vjp(gy, shape, axis=None, keepdims=False):
    return np.ones(shape)
'''),
    Mutant("03.3", "adds the axis even with keepdims", "With keepdims the axis is still there, with size 1; you added it once more.", '''
def sum_vjp(gy, shape, axis=None, keepdims=False):
    if axis is not None:
        gy = np.expand_dims(gy, axis)
    return gy * np.ones(shape)
'''),
    Mutant("03.3", "does not repeat", "Your answer has the shape of the sum. Every entry of x gets a gradient.", '''
def sum_vjp(gy, shape, axis=None, keepdims=False):
    if axis is not None and not keepdims:
        gy = np.expand_dims(gy, axis)
    return gy
'''),
    Mutant("03.3", "puts the axes back one by one", "With a tuple of axes the order counts: putting one back moves the others. "
           "np.expand_dims takes the whole tuple at once.", '''
def sum_vjp(gy, shape, axis=None, keepdims=False):
    if axis is not None and not keepdims:
        for one in axis if isinstance(axis, tuple) else (axis,):
            gy = np.expand_dims(gy, one)
    return np.broadcast_to(gy, shape)
'''),
    Mutant("03.4", "does not turn the matrices", "The shapes do not fit, or fit by luck. ga = gy·bᵀ and gb = aᵀ·gy.", '''
def matmul_vjp(gy, a, b):
    return gy @ b, a @ gy
'''),
    Mutant("03.4", "turns all axes", "For stacks of matrices .T turns every axis round. Only the last two change places: np.swapaxes(b, -1, -2).", '''
def matmul_vjp(gy, a, b):
    return gy @ b.T, a.T @ gy
'''),
    Mutant("03.4", "swaps ga and gb", "ga and gb are exchanged: their order is that of the arguments.", '''
def matmul_vjp(gy, a, b):
    return np.swapaxes(a, -1, -2) @ gy, gy @ np.swapaxes(b, -1, -2)
'''),
    Mutant("03.4", "multiplies the wrong way round", "Products of matrices may not be turned round: bᵀ·gy is not gy·bᵀ.", '''
def matmul_vjp(gy, a, b):
    return np.swapaxes(b, -1, -2) @ gy, gy @ np.swapaxes(a, -1, -2)
'''),
    Mutant("03.4", "ignores gy", "Your gradients do not depend on gy. They are right for a loss that sums y, and for no other.", '''
def matmul_vjp(gy, a, b):
    gy = np.ones_like(gy)
    return gy @ np.swapaxes(b, -1, -2), np.swapaxes(a, -1, -2) @ gy
'''),
    Mutant("03.4", "adds the stacks up", "Here the leading axes stay; unbroadcast sums over those that were repeated, and only it knows which.", '''
def matmul_vjp(gy, a, b):
    ga, gb = gy @ np.swapaxes(b, -1, -2), np.swapaxes(a, -1, -2) @ gy
    return ga.reshape(-1, *ga.shape[-2:]).sum(axis=0), gb.reshape(-1, *gb.shape[-2:]).sum(axis=0)
'''),
    Mutant("03.5", "turns once more in the same way", "You applied the same order again. That undoes an exchange of two axes, but not a turn of three.", '''
def transpose_vjp(gy, axes):
    return gy.transpose(axes)
'''),
    Mutant("03.5", "reverses the axes", "The reverse order is right for matrices. In general it has to undo `axes`.", '''
def transpose_vjp(gy, axes):
    return gy.T
'''),
    Mutant("03.5", "reads the order backward", "You used axes from back to front. The order that undoes it says where each axis went: np.argsort(axes).", '''
def transpose_vjp(gy, axes):
    return gy.transpose(axes[::-1])
'''),
    Mutant("03.5", "reshapes", "The shape is right, but reshaping keeps the entries in their order in memory. They have to move back to their "
           "places.", '''
def transpose_vjp(gy, axes):
    return gy.reshape(tuple(gy.shape[i] for i in np.argsort(axes)))
'''),
    Mutant("03.5", "leaves it", "gy has the axes of y; x has them in another order.", '''
def transpose_vjp(gy, axes):
    return gy.copy()
'''),
    Mutant("03.6", "adds with += or overwrites", "Where an index comes twice, one of the two gradients is lost. gx[index] = gy keeps the last one; "
           "gx[index] += gy reads, adds and writes back once, which is the same. np.add.at adds each.", '''
def getitem_vjp(gy, shape, index):
    gx = np.zeros(shape, dtype=gy.dtype)
    gx[index] += gy
    return gx
'''),
    Mutant("03.6", "picks from gy", "You took from gy at the index. It is x that was indexed; gy has to be put back into its places.", '''
def getitem_vjp(gy, shape, index):
    return gy[index]
'''),
    Mutant("03.6", "ignores gy", "You count how often each place was used. Each use brings its own gradient, an entry of gy.", '''
def getitem_vjp(gy, shape, index):
    gx = np.zeros(shape, dtype=gy.dtype)
    np.add.at(gx, index, 1)
    return gx
'''),
    Mutant("03.6", "fills the rest with ones", "What was not taken does not move the loss: its gradient is 0.", '''
def getitem_vjp(gy, shape, index):
    gx = np.ones(shape, dtype=gy.dtype)
    np.add.at(gx, index, gy)
    return gx
'''),
    Mutant("03.6", "changes the dtype", "np.zeros makes float64 unless told otherwise; a float32 network would run in float64 from here on.", '''
def getitem_vjp(gy, shape, index):
    gx = np.zeros(shape)
    np.add.at(gx, index, gy)
    return gx
'''),
]
