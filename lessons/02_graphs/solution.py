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
    # <solution hint="Go through the list and keep a set of what you have passed. What must hold of a node's parents?">
    passed = set()
    for node in nodes:
        if node in passed or any(parent not in passed for parent in node.parents):
            return False
        passed.add(node)
    return True
    # </solution>


def topological_order(root):
    """A list of the root and all nodes under it, each once, parents before what is made of them; so the root is last.

    The graph may be thousands of nodes deep, where a function that calls itself hits Python's recursion limit.
    """
    # <solution hint="A stack of (node, done). First visit: push it again as done, then its parents. Second: append it.">
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent in node.parents)
    return order
    # </solution>


def uses(order):
    """{node: how often it is used}: over all nodes of the order, how often it is among their parents; 0 for the root."""
    # <solution hint="Start every node at 0. y = x·x uses x twice.">
    counts = {node: 0 for node in order}
    for node in order:
        for parent in node.parents:
            counts[parent] += 1
    return counts
    # </solution>


def backward(order, gy):
    """{node: gradient} for every node of a topological order, when gy is the gradient of the last one.

    Each node's vjp is called once, when all of its gradient has arrived. Gradients are numbers or arrays; no array that
    came out of a vjp is written into, for it may be in other hands too.
    """
    # <solution hint="Walk from the result to the inputs. A parent without a gradient takes what comes; one with adds it.">
    grads = {order[-1]: gy}
    for node in reversed(order):
        for parent, g in zip(node.parents, node.vjp(grads[node]), strict=True):
            grads[parent] = grads[parent] + g if parent in grads else g
    return grads
    # </solution>


def paths(order):
    """{node: on how many paths the last node of a topological order is reached from it}; 1 for the last itself."""
    # <solution hint="All paths from x begin with a step to one of the nodes that use x. It is a backward with slopes of 1.">
    counts = {node: 0 for node in order}
    counts[order[-1]] = 1
    for node in reversed(order):
        for parent in node.parents:
            counts[parent] += counts[node]
    return counts
    # </solution>


def needs_gradient(order):
    """The nodes that a backward walk has to enter, in the same order: trainable ones, and those made of such at any depth."""
    # <solution hint="Walk forward. A node is needed if it is trainable, or if one of its parents is needed.">
    needed = set()
    for node in order:
        if node.trainable or any(parent in needed for parent in node.parents):
            needed.add(node)
    return [node for node in order if node in needed]
    # </solution>
