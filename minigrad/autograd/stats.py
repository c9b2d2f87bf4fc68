"""What a recorded graph will cost: how many backward nodes it has, and how many bytes it keeps for them."""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from minigrad.autograd.backward import _reachable
from minigrad.autograd.tensor import Tensor
from minigrad.backend import formats


@dataclass
class GraphStats:
    """nodes: operations in the graph · saved_bytes: memory they keep, once per buffer, parameters excluded ·
    by_op: {operation: (nodes, bytes)}, a shared buffer counted where it was saved first · logical_bytes: what the saved
    numbers would take in their formats; emulating a format does not shrink arrays, so saved_bytes stays."""

    nodes: int = 0
    saved_bytes: int = 0
    by_op: dict[str, tuple[int, int]] = field(default_factory=dict)
    logical_bytes: int = 0


def graph_stats(result: Tensor) -> GraphStats:
    """Count the backward nodes and the saved activation bytes under `result` (before its backward pass).

    A buffer that several operations saved, or saved views of, counts once; parameters do not count, because they
    are there anyway. Frozen parts of a model appear neither as nodes nor as bytes.

    >>> import minigrad as mg
    >>> x = mg.ones(100).requires_grad_()
    >>> mg.graph_stats(x.exp().sum()).saved_bytes
    400
    """
    nodes, sizes, logical = Counter(), Counter(), 0.0
    for fn, arrays in saved_arrays(result):
        nodes[fn.name] += 1
        for a, nbytes in arrays:
            sizes[fn.name] += nbytes
            low = fn.out_format if a.dtype.name == "float32" else None          # an operation saves what it computes in
            logical += nbytes * (1.0 if low is None else formats.get(low).bits / 32)
    by_op = {name: (nodes[name], sizes[name]) for name in nodes}
    return GraphStats(sum(nodes.values()), sum(sizes.values()), by_op, round(logical))


def saved_arrays(result: Tensor):
    """Yield (operation, [(saved array, bytes of its buffer)]), oldest first; each buffer once, parameters left out."""
    seen = set()
    for fn in reversed(_reachable(result._fn)[0] if result._fn is not None else []):
        new = []
        for a in fn.saved_activations():
            buffer = fn.be.buffer(a)
            if id(buffer) not in seen:
                seen.add(id(buffer))
                new.append((a, buffer.nbytes))
        yield fn, new
