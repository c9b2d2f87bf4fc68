"""Lesson 02: graphs, and why order matters. `pytest lessons/02_graphs` checks it.

A graph is made of nodes. Each knows its parents: the nodes it was computed from.
"""


class Node:
    """One step of a computation, or an input of it (a leaf, which has no parents).

    parents: the nodes it was made of, in order; y = x·x has x there twice · vjp(gy): from the gradient of this node a
    list with one gradient for each parent · trainable: whether it is a leaf that is to be learned
    """

    def __init__(self, name, parents=(), vjp=lambda gy: [], trainable=False):
        self.name, self.parents, self.vjp, self.trainable = name, list(parents), vjp, trainable

    def __repr__(self):
        return self.name


def is_topological(nodes):
    """Whether each node of the list comes after all its parents, and no node comes twice. A bool."""
    # TODO 02.1: delete the next line and write is_topological (about 6 lines).
    raise NotImplementedError("02.1 is_topological")


def topological_order(root):
    """A list of the root and all nodes under it, each once, parents before what is made of them; so the root is last.

    The graph may be thousands of nodes deep, where a function that calls itself hits Python's recursion limit.
    """
    # TODO 02.2: delete the next line and write topological_order (about 10 lines).
    raise NotImplementedError("02.2 topological_order")


def uses(order):
    """{node: how often it is used}: over all nodes of the order, how often it is among their parents; 0 for the root."""
    # TODO 02.3: delete the next line and write uses (about 5 lines).
    raise NotImplementedError("02.3 uses")


def backward(order, gy):
    """{node: gradient} for every node of a topological order, when gy is the gradient of the last one.

    Each node's vjp is called once, when all of its gradient has arrived. Gradients are numbers or arrays; no array that
    came out of a vjp is written into, for it may be in other hands too.
    """
    # TODO 02.4: delete the next line and write backward (about 5 lines).
    raise NotImplementedError("02.4 backward")


def paths(order):
    """{node: on how many paths the last node of a topological order is reached from it}; 1 for the last itself."""
    # TODO 02.5: delete the next line and write paths (about 6 lines).
    raise NotImplementedError("02.5 paths")


def needs_gradient(order):
    """The nodes that a backward walk has to enter, in the same order: trainable ones, and those made of such at any depth."""
    # TODO 02.6: delete the next line and write needs_gradient (about 5 lines).
    raise NotImplementedError("02.6 needs_gradient")
