"""The backward walk: from a result to every leaf it depends on, each operation once, newest first.

An operation can only use what existed before it, so the order of creation, reversed, is a topological order: by
the time an operation is reached, all gradients that flow into its output have been added up. The walk is a loop
(no recursion limit), never enters a branch in which nothing is trainable, and drops saved arrays as it passes.
"""
from __future__ import annotations

from minigrad import backend as _backend
from minigrad.autograd.state import _debug
from minigrad.autograd.tensor import Tensor
from minigrad.backend import formats


def backward(root: Tensor, grad=None, retain_graph: bool = False) -> None:
    """Add d root / d leaf · grad to the `.grad` of every leaf under `root`; see Tensor.backward."""
    if not root.requires_grad:
        raise RuntimeError("backward(): this tensor depends on nothing that requires a gradient. Was it computed under "
                           "no_grad(), or is every parameter frozen?")
    start = root if root._fn is None else root._fn
    functions, uses = _reachable(start)
    grads = {start: (_seed(root, grad), False)}     # node -> (gradient so far, may it be written into?)

    if isinstance(start, Tensor):
        _finish_leaf(start, *grads.pop(start))
        return
    debug = _debug.get()
    for fn in functions:
        gy, owned = grads.pop(fn)
        for watcher in fn.watchers:
            _tell(watcher(), gy)
            owned = False                           # somebody else may now hold it
        gxs = fn.gradients(gy, owned)
        if debug:
            debug.walked(fn, gy, owned, gxs)
        held = [*map(id, gxs), *map(id, fn._saved)]
        for edge, gx in zip(fn.edges, gxs, strict=True):
            if edge is None:
                continue
            # has this operation just made gx, so that nobody else can see it change?
            fresh = held.count(id(gx)) == 1 and (owned if gx is gy else _is_new(fn.be, gx) and fn.override is None)
            if edge in grads:
                gx, fresh = _sum(edge, *grads.pop(edge), gx, fresh), True
            uses[edge] -= 1
            if uses[edge] or not isinstance(edge, Tensor):
                grads[edge] = gx, fresh
            else:
                _finish_leaf(edge, gx, fresh)
        if not retain_graph:
            fn.release()


def _reachable(start):
    """Every operation under `start`, newest first, and how often each node is used. Raises before anything changes."""
    uses, functions, stack = {start: 1}, [], [start]
    while stack:
        node = stack.pop()
        if isinstance(node, Tensor):
            continue
        if node.released:
            raise RuntimeError(
                f"backward(): this graph has been walked before, and {node.name} has dropped what it saved. Run the "
                "forward pass again, or call the first backward with retain_graph=True")
        functions.append(node)
        for edge in node.edges:
            if edge is None:
                continue
            if edge in uses:
                uses[edge] += 1
            else:
                uses[edge] = 1
                stack.append(edge)
    functions.sort(key=lambda fn: fn.number, reverse=True)
    return functions, uses


def _seed(root: Tensor, grad):
    """The gradient the walk starts from, checked."""
    be = _backend.of(root.data)
    if grad is None:
        if root.data.size != 1:
            raise RuntimeError(f"backward() on a tensor of shape {tuple(root.shape)}: only a scalar has a gradient of "
                               "1. Reduce it first (.sum(), .mean()), or pass grad= of the same shape")
        return be.xp.ones(root.data.shape, dtype=root.data.dtype)
    seed = grad.data if isinstance(grad, Tensor) else grad
    if isinstance(seed, int | float):
        seed = be.xp.full(root.data.shape, seed, dtype=root.data.dtype)
    elif not be.owns(seed):
        _backend.of(seed, root.data)                # an array of another backend: the error names both
    if seed.shape != root.data.shape:
        raise RuntimeError(f"backward(): grad has shape {tuple(seed.shape)}, the tensor {tuple(root.data.shape)}")
    return seed if seed.dtype == root.data.dtype else seed.astype(root.data.dtype)


def _sum(node, so_far, owned: bool, gx, fresh: bool):
    """Two gradients of a node added, without writing into an array that somebody else may hold."""
    if owned:
        so_far += gx
        total = so_far
    elif fresh:
        gx += so_far
        total = gx
    else:
        total = so_far + gx
    if node.out_format is not None:                 # the sum, too, lies on the grid of the tensor's format
        total = _backend.of(total).round_to(total, formats.get(node.out_format))
    return total


def _is_new(be, a) -> bool:
    """Whether an array owns its memory: it is no view, and no scalar, which cannot be written into."""
    return a.ndim > 0 and be.owns_memory(a)


def _finish_leaf(leaf: Tensor, gx, owned: bool) -> None:
    """A leaf's gradient is complete: add it to `.grad` (never in place: the old array may be held) and tell."""
    if leaf.grad is None:
        leaf.grad = gx if owned else gx.copy()
    else:
        leaf.grad = leaf.grad + gx
    for hook in leaf._hooks or ():
        hook(leaf)


def _tell(tensor: Tensor | None, gy) -> None:
    """Show a watched result its gradient."""
    if tensor is not None:
        tensor.grad = gy.copy() if tensor.grad is None else tensor.grad + gy
        for hook in tensor._hooks or ():
            hook(tensor)
