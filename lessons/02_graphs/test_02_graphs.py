"""The checks of lesson 02. They import nothing of yours: `ex` is the file under test."""
import sys

import numpy as np

from lessons import engine
from lessons.kit import calls, cases, check, exercise, rng, same, same_each, unchanged
from minigrad import optim

# name: parents. The last one is the root; the dictionaries' own order is not always a topological one.
GRAPHS = {
    "one leaf": {"x": ""},
    "a chain": {"x": "", "u": "x", "v": "u", "y": "v"},
    "a square": {"x": "", "y": "xx"},
    "a short cut": {"x": "", "u": "x", "v": "u", "y": "xv"},
    "the short cut first": {"x": "", "u": "x", "v": "u", "y": "vx"},
    "lesson": {"x": "", "u": "xx", "w": "ux", "y": "uw"},
    "two ends": {"a": "", "b": "", "u": "ab", "v": "bb", "w": "uv", "y": "wuw"},
    "wide": {"a": "", "b": "", "c": "", "p": "ab", "q": "bc", "r": "pa", "s": "rqp", "y": "qsc"},
}


def told(graph):
    """A graph in words: u = f(x, x), w = f(u, x), …"""
    return ", ".join(f"{n} = f({', '.join(p)})" for n, p in GRAPHS[graph].items() if p) or "x alone"


def build(ex, spec):
    """{name: Node} of a graph."""
    nodes = {}
    for name, parents in spec.items():
        nodes[name] = ex.Node(name, [nodes[p] for p in parents])
    return nodes


def namesakes(ex, graph):
    """{letter: Node} of a graph in which every node has the same name, as in the engine, where names are those of operations."""
    nodes = build(ex, GRAPHS[graph])
    for node in nodes.values():
        node.name = "add"
    return nodes


class Watched(list):
    """Parents that notice when they are looked at once for every path."""

    def __iter__(self):
        self.looks = getattr(self, "looks", 0) + 1
        check(self.looks < 1000, "the parents of one node were looked at a thousand times; this walks every path to it, and there may "
              "be 2ⁿ of them")
        return super().__iter__()


def doublings(ex, n):
    """n + 1 nodes, each made of the one before it, twice."""
    nodes = [ex.Node("x0")]
    for i in range(n):
        nodes.append(ex.Node(f"x{i + 1}", [nodes[-1], nodes[-1]]))
        nodes[-1].parents = Watched(nodes[-1].parents)
    return nodes


def check_order(order, root, under, what):
    """Wrong unless `order` has each node under the root once, parents first."""
    check(isinstance(order, list), f"{what}: should be a list of nodes, yours is {type(order).__name__}")
    place = {}
    for i, node in enumerate(order):
        check(any(node is u for u in under), f"{what}: {node!r} is no node under the root")
        check(node not in place, f"{what}: {node!r} comes twice")
        place[node] = i
    for node in under:
        check(node in place, f"{what}: {node!r} is missing")
        for parent in node.parents:
            check(place.get(parent, -1) < place[node], f"{what}: {node!r} comes before {parent!r}, of which it is made; "
                  f"yours is {order if len(order) < 12 else '…'}")
    check(order[-1] is root, f"{what}: the root {root!r} should come last")


@exercise("02.1")
@cases(graph=["a chain", "a short cut", "a square", "wide"], good=["xuvy", "xuvy", "xy", "abcpqrsy"],
       bad=[["xvuy", "yvux", "uvy", "xxuvy", "xuvyv"], ["uxvy", "xvuy", "xuy"], ["yx", "y", "xyy"],
            ["acpbqrsy", "abcpqsry", "abcpqry", "abcqrspy", "abpqrscy"]])
def test_is_topological(ex, graph, good, bad):
    nodes = build(ex, GRAPHS[graph])
    rows = []
    for names, want in [*((good[:n], True) for n in range(len(good), -1, -1)), *((b, False) for b in bad)]:
        given = [nodes[n] for n in names]
        with unchanged(given):
            got = ex.is_topological(given)
        rows.append((got, want, f"is_topological of {', '.join(names) or 'no node'}, where {told(graph)}"))
    same_each(rows)


@exercise("02.1")
def test_is_topological_of_namesakes(ex):
    nodes = list(namesakes(ex, "wide").values())
    same(ex.is_topological(nodes), True, "is_topological where nodes have the same name but are different nodes")
    same(ex.is_topological(nodes[::-1]), False, "is_topological of the reverse, where nodes have the same name")


@exercise("02.2")
@cases(graph=list(GRAPHS))
def test_topological_order(ex, graph):
    nodes = build(ex, GRAPHS[graph])
    root = list(nodes.values())[-1]
    with unchanged(*(node.parents for node in nodes.values())):
        order = ex.topological_order(root)
    check_order(order, root, list(nodes.values()), f"topological_order where {told(graph)}")
    check_order(ex.topological_order(root), root, list(nodes.values()), f"topological_order, called again, where {told(graph)}")


@exercise("02.2")
def test_order_of_namesakes(ex):
    under = list(namesakes(ex, "wide").values())
    check_order(ex.topological_order(under[-1]), under[-1], under, "topological_order where nodes have the same name but are different nodes")


@exercise("02.2")
def test_order_of_a_part(ex):
    nodes = build(ex, GRAPHS["wide"])
    under = [nodes[n] for n in "abp"]
    check_order(ex.topological_order(nodes["p"]), nodes["p"], under, "topological_order of a part of a graph")


@exercise("02.2")
def test_order_of_deep_graphs(ex):
    nodes, limit = doublings(ex, 60), sys.getrecursionlimit()
    check_order(ex.topological_order(nodes[-1]), nodes[-1], nodes, "topological_order of 60 doublings (61 nodes, 2⁶⁰ paths)")
    nodes = [ex.Node("x0")]
    for i in range(3000):
        nodes.append(ex.Node(f"x{i + 1}", [nodes[-1]]))
    order = ex.topological_order(nodes[-1])
    check(sys.getrecursionlimit() == limit, "topological_order: you raised Python's recursion limit, for the whole program; a list as a "
          "stack needs no limit")
    check(len(order) == 3001 and all(a is b for a, b in zip(order, nodes, strict=True)),
          "topological_order of a chain of 3,001 nodes: it has one order, from the leaf to the root")


@exercise("02.3")
@cases(graph=list(GRAPHS))
def test_uses(ex, graph):
    nodes = build(ex, GRAPHS[graph])
    order = list(nodes.values())
    with unchanged(order):
        got = ex.uses(order)
    check(isinstance(got, dict), f"uses: should be a dictionary, yours is {type(got).__name__}")
    text = "".join(GRAPHS[graph].values())
    for name, node in nodes.items():
        check(node in got, f"uses where {told(graph)}: {name} is missing")
        same(got[node], text.count(name), f"uses where {told(graph)}: {name}")


def with_slopes(ex, seed, shape=()):
    """The graph "wide" in which each step multiplies by fixed slopes; {name: node}, and the gradient by all paths."""
    r, spec = rng(seed), GRAPHS["wide"]
    slope = {name: [r.normal(size=shape) for _ in parents] for name, parents in spec.items()}
    nodes = {}
    for name, parents in spec.items():
        nodes[name] = ex.Node(name, [nodes[p] for p in parents], lambda gy, s=slope[name]: [gy * k for k in s])

    def by_paths(name):
        total = np.ones(shape) if name == "y" else np.zeros(shape)
        for user, parents in spec.items():
            for p, k in zip(parents, slope[user], strict=True):
                if p == name:
                    total = total + k * by_paths(user)
        return total
    return nodes, {name: by_paths(name) for name in spec}


@exercise("02.4")
@cases(seed=[1, 2], shape=[(), (2, 3)])
def test_backward(ex, seed, shape):
    nodes, want = with_slopes(ex, seed, shape)
    gy = rng(seed + 7).normal(size=shape)
    order = list(nodes.values())
    for again, scale in (("", 1.0), (", in a second walk with 3·gy", 3.0)):
        with unchanged(order):
            got = ex.backward(order, scale * gy)
        check(isinstance(got, dict), f"backward: should be a dictionary {{node: gradient}}, yours is {type(got).__name__}")
        for name, node in nodes.items():
            check(node in got, f"backward: the gradient of {name} is missing")
            same(got[node], scale * gy * want[name], f"backward: the gradient of {name}{again}")
    for node in order:
        node.name = "mul"
    got = ex.backward(order, gy)
    for name, node in nodes.items():
        same(got.get(node), gy * want[name], f"backward where nodes have the same name but are different nodes: the gradient of {name}")


@exercise("02.4")
def test_backward_of_the_lesson(ex):
    x = ex.Node("x")
    u = ex.Node("u", [x, x], lambda gy: [gy * 3.0, gy * 3.0])
    w = ex.Node("w", [u, x], lambda gy: [gy, gy])
    y = ex.Node("y", [u, w], lambda gy: [gy * 12.0, gy * 9.0])
    got = ex.backward([x, u, w, y], 1.0)
    for node, want in ((w, 9.0), (u, 21.0), (x, 135.0)):
        same(got.get(node), want, f"backward of y = u·w, w = u + x, u = x² at x = 3: the gradient of {node!r}")


@exercise("02.4")
def test_backward_calls_each_vjp_once(ex):
    nodes, seen = doublings(ex, 40), []

    def vjp_of(node):
        def vjp(gy):
            seen.append(node)
            check(seen.count(node) == 1, f"backward: the vjp of {node!r} was called again; once, with all of its gradient, is enough")
            return [gy * 0.5] * len(node.parents)
        return vjp
    for node in nodes:
        node.vjp = vjp_of(node)
    got = ex.backward(nodes, 8.0)
    same(got[nodes[0]], 8.0, "backward of 40 steps that take the half twice: the gradient of the leaf")


@exercise("02.4")
def test_backward_writes_into_no_array(ex):
    a, b = ex.Node("a"), ex.Node("b")
    s = ex.Node("s", [a, b], lambda gy: [gy, gy])                   # a sum hands the very same array to both
    t = ex.Node("t", [a, s], lambda gy: [gy, gy])
    y = ex.Node("y", [t, b], lambda gy: [gy, gy])
    gy = rng(3).normal(size=(2, 3))
    start = gy.copy()
    with unchanged(gy):
        got = ex.backward([a, b, s, t, y], gy)
    for node, times in ((a, 2), (b, 2), (s, 1), (t, 1)):
        same(got.get(node), times * start, f"backward of y = t + b, t = a + s, s = a + b: the gradient of {node!r}")


@exercise("02.5")
@cases(graph=["one leaf", "a square", "lesson", "two ends", "wide"])
def test_paths(ex, graph):
    nodes, spec = build(ex, GRAPHS[graph]), GRAPHS[graph]
    order = list(nodes.values())
    with unchanged(order):
        got = ex.paths(order)
    check(isinstance(got, dict), f"paths: should be a dictionary, yours is {type(got).__name__}")
    last = list(spec)[-1]

    def count(name):
        return int(name == last) + sum(p.count(name) * count(user) for user, p in spec.items() if name in p)
    for name, node in nodes.items():
        check(node in got, f"paths where {told(graph)}: {name} is missing")
        same(got[node], count(name), f"paths where {told(graph)}: from {name} to {last}")


@exercise("02.5")
def test_paths_of_doublings(ex):
    nodes = doublings(ex, 40)
    same(ex.paths(nodes).get(nodes[0]), 2 ** 40, "paths of 40 doublings, from the leaf")
    nodes = doublings(ex, 70)
    nodes.append(ex.Node("y", [nodes[-1], nodes[0]]))
    got = ex.paths(nodes).get(nodes[0])
    check(got == 2 ** 70 + 1, f"paths of 70 doublings and one short cut, from the leaf: expected 2⁷⁰ + 1 = {2 ** 70 + 1}, yours is {got!r:.40}; "
          "Python's own integers have no largest number")


@exercise("02.5")
def test_paths_of_a_deep_graph(ex):
    nodes = [ex.Node("x0")]
    for i in range(3000):
        nodes.append(ex.Node(f"x{i + 1}", [nodes[-1]]))
    same(ex.paths(nodes).get(nodes[0]), 1, "paths of a chain of 3,001 nodes, from the leaf")


@exercise("02.6")
@cases(graph=["lesson", "two ends", "wide", "wide", "wide", "a chain", "one leaf"], trainable=["x", "a", "a", "bc", "", "", "x"],
       want=["xuwy", "auwy", "aprsy", "bcpqrsy", "", "", "x"])
def test_needs_gradient(ex, graph, trainable, want):
    nodes = build(ex, GRAPHS[graph])
    for name in trainable:
        nodes[name].trainable = True
    order, leaves = list(nodes.values()), [node for node in nodes.values() if node.trainable]
    with unchanged(order):
        got = ex.needs_gradient(order)
    check([node for node in order if node.trainable] == leaves, "needs_gradient: trainable is for the model's owner to set; leave it as it is")
    check(isinstance(got, list), f"needs_gradient: should be a list, yours is {type(got).__name__}")
    names = "".join(node.name for node in got)
    check(names == want, f"needs_gradient where {told(graph)}; trainable: {', '.join(trainable) or 'nothing'}: expected "
          f"{', '.join(want) or 'no node'}, yours is {', '.join(names) or 'no node'}")


@exercise("02.6")
def test_needs_gradient_of_namesakes(ex):
    nodes = namesakes(ex, "wide")
    nodes["a"].trainable = True
    got = ex.needs_gradient(list(nodes.values()))
    check([node in got for node in nodes.values()] == [name in "aprsy" for name in nodes],
          "needs_gradient where nodes have the same name but are different nodes: the wrong ones are kept")


@exercise("02.2", "02.4", plug_in=True)
def test_your_walk_trains_the_engine(ex):
    """A transformer of two layers: the engine records the graph, you walk it, and AdamW takes your gradients."""
    order_of, walk = calls(ex.topological_order), calls(ex.backward)
    model = engine.small_gpt()
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    yours = []
    for _ in range(8):
        loss = engine.loss_of(model)
        root, leaves = engine.graph(loss, ex.Node)
        grads = walk(order_of(root), np.ones((), dtype=np.float32))
        for tensor, node in leaves.items():
            tensor.grad = grads[node]
        optimizer.step()
        yours.append(loss.item())
    engine.same_curve(yours, engine.train(engine.small_gpt(), steps=8), "eight words, your walk over the engine's graph")
    engine.was_called(order_of, walk)
