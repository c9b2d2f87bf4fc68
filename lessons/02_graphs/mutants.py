"""Wrong answers to the exercises of lesson 02, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("02.1", "lets a node come twice", "A node that comes twice would be walked twice, and its gradient handed on twice.", '''
def is_topological(nodes):
    passed = set()
    for node in nodes:
        if any(parent not in passed for parent in node.parents):
            return False
        passed.add(node)
    return True
'''),
    Mutant("02.1", "looks for the parents anywhere", "It is not enough that the parents are in the list; they must come earlier.", '''
def is_topological(nodes):
    return len(set(nodes)) == len(nodes) and all(parent in nodes for node in nodes for parent in node.parents)
'''),
    Mutant("02.1", "looks at the first parent only", "You look at one parent. All of them must come earlier.", '''
def is_topological(nodes):
    passed = set()
    for node in nodes:
        if node in passed or node.parents and node.parents[0] not in passed:
            return False
        passed.add(node)
    return True
'''),
    Mutant("02.1", "is content with one parent", "One parent that came earlier is not enough: all must have.", '''
def is_topological(nodes):
    passed = set()
    for node in nodes:
        if node in passed or node.parents and all(parent not in passed for parent in node.parents):
            return False
        passed.add(node)
    return True
'''),
    Mutant("02.1", "wants results first", "You want each node before its parents. That is the order of the walk back; a topological order has "
           "parents first.", '''
def is_topological(nodes):
    passed = set()
    for node in reversed(nodes):
        if node in passed or any(parent not in passed for parent in node.parents):
            return False
        passed.add(node)
    return True
'''),
    Mutant("02.1", "overlooks a missing parent", "A parent that is not in the list at all does not come earlier either.", '''
def is_topological(nodes):
    nodes = list(nodes)
    place = {node: i for i, node in enumerate(nodes)}
    return len(place) == len(nodes) and all(place.get(p, -1) < place[n] for n in nodes for p in n.parents)
'''),
    Mutant("02.1", "goes by the names", "Different nodes may have the same name. Keep the nodes themselves in the set.", '''
def is_topological(nodes):
    passed = set()
    for node in nodes:
        if node.name in passed or any(parent.name not in passed for parent in node.parents):
            return False
        passed.add(node.name)
    return True
'''),
    Mutant("02.2", "calls itself", "A function that calls itself for each parent stops at a depth of about a thousand. Keep a stack of your "
           "own, a list.", '''
def topological_order(root):
    order, seen = [], set()
    def visit(node):
        if node not in seen:
            seen.add(node)
            for parent in node.parents:
                visit(parent)
            order.append(node)
    visit(root)
    return order
'''),
    Mutant("02.2", "walks in rings", "You took the nodes ring by ring from the root and turned that round. A node that is used near the root "
           "and far from it then comes too late.", '''
def topological_order(root):
    order, seen = [root], {root}
    for node in order:
        for parent in node.parents:
            if parent not in seen:
                seen.add(parent)
                order.append(parent)
    return order[::-1]
'''),
    Mutant("02.2", "writes down on the way in", "You write a node down when you first meet it. It belongs in the list only after all its "
           "parents are there: on the way out.", '''
def topological_order(root):
    order, seen, stack = [], set(), [root]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            order.append(node)
            stack.extend(node.parents)
    return order[::-1]
'''),
    Mutant("02.2", "marks too early", "You mark a parent as seen when it is put on the stack. It may wait there while a deeper node that needs "
           "it is written down. Mark a node when it is taken from the stack.", '''
def topological_order(root):
    order, seen, stack = [], {root}, [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
            continue
        stack.append((node, True))
        for parent in node.parents:
            if parent not in seen:
                seen.add(parent)
                stack.append((parent, False))
    return order
'''),
    Mutant("02.2", "forgets what it has seen", "A node that is used twice comes twice, and one under thirty doublings a billion times. Keep a set "
           "of what was seen.", '''
def topological_order(root):
    order, stack = [], [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        else:
            stack.append((node, True))
            stack.extend((parent, False) for parent in node.parents)
    return order
'''),
    Mutant("02.2", "puts the root first", "That is the order of the walk back. A topological order has parents first and the root last.", '''
def topological_order(root):
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent in node.parents)
    return order[::-1]
'''),
    Mutant("02.2", "leaves marks on the nodes", "You mark what you have seen on the nodes themselves, or in a default argument. "
           "The second walk over the same graph finds the marks of the first. Start each call with a set of its own.", '''
def topological_order(root):
    order, stack = [], [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif not hasattr(node, "seen"):
            node.seen = True
            stack.append((node, True))
            stack.extend((parent, False) for parent in node.parents)
    return order
'''),
    Mutant("02.2", "raises the recursion limit", "A higher limit only moves the depth at which it ends, and it changes the whole "
           "program. Keep a stack of your own, a list.", '''
import sys
def topological_order(root):
    sys.setrecursionlimit(100_000)
    order, seen = [], set()
    def visit(node):
        if node not in seen:
            seen.add(node)
            for parent in node.parents:
                visit(parent)
            order.append(node)
    visit(root)
    return order
'''),
    Mutant("02.3", "counts who uses it, not how often", "y = x·x uses x twice: it is among the parents twice, and two gradients will arrive.", '''
def uses(order):
    counts = {node: 0 for node in order}
    for node in order:
        for parent in set(node.parents):
            counts[parent] += 1
    return counts
'''),
    Mutant("02.3", "counts a node's own parents", "That is how many nodes it is made of. A use is the other way: who is made of it.", '''
def uses(order):
    return {node: len(node.parents) for node in order}
'''),
    Mutant("02.3", "counts the result as used", "Nothing in the graph uses the last node: its count is 0.", '''
def uses(order):
    counts = {node: 0 for node in order}
    counts[order[-1]] = 1
    for node in order:
        for parent in node.parents:
            counts[parent] += 1
    return counts
'''),
    Mutant("02.3", "leaves out what is not used", "A node that is never used belongs in the answer too, with 0.", '''
def uses(order):
    counts = {}
    for node in order:
        for parent in node.parents:
            counts[parent] = counts.get(parent, 0) + 1
    return counts
'''),
    Mutant("02.3", "counts paths", "That counts paths to the result. A use is one step: to be among the parents of a node.", '''
def uses(order):
    counts = {node: 0 for node in order}
    counts[order[-1]] = 1
    for node in reversed(order):
        for parent in node.parents:
            counts[parent] += counts[node]
    return counts
'''),
    Mutant("02.4", "overwrites instead of adding", "A node that is used twice gets two gradients; you kept the last one. They add.", '''
def backward(order, gy):
    grads = {order[-1]: gy}
    for node in reversed(order):
        for parent, g in zip(node.parents, node.vjp(grads[node])):
            grads[parent] = g
    return grads
'''),
    Mutant("02.4", "adds in place", "You add with +=, which writes into the array. A sum hands the very same array to both its parents, so the "
           "other one's gradient changes too.", '''
def backward(order, gy):
    grads = {order[-1]: gy}
    for node in reversed(order):
        for parent, g in zip(node.parents, node.vjp(grads[node])):
            if parent in grads:
                grads[parent] += g
            else:
                grads[parent] = g
    return grads
'''),
    Mutant("02.4", "starts from one", "You start from 1 and not from gy.", '''
def backward(order, gy):
    grads = {order[-1]: gy * 0 + 1.0}
    for node in reversed(order):
        for parent, g in zip(node.parents, node.vjp(grads[node])):
            grads[parent] = grads[parent] + g if parent in grads else g
    return grads
'''),
    Mutant("02.4", "hands on at once", "You hand on each gradient when it arrives, so a node is entered once for every path, and there may be 2ⁿ. "
           "Wait until all of it has arrived: walk the order from its end.", '''
def backward(order, gy):
    grads, stack = {}, [(order[-1], gy)]
    while stack:
        node, g = stack.pop()
        grads[node] = grads[node] + g if node in grads else g
        stack.extend(zip(node.parents, node.vjp(g)))
    return grads
'''),
    Mutant("02.4", "gives every step the same gradient", "You call each vjp with the gradient of the result. A step gets the gradient of its own "
           "node.", '''
def backward(order, gy):
    grads = {order[-1]: gy}
    for node in reversed(order):
        for parent, g in zip(node.parents, node.vjp(gy)):
            grads[parent] = grads[parent] + g if parent in grads else g
    return grads
'''),
    Mutant("02.4", "walks forward", "You walk from the inputs, whose gradients are not known yet. Begin at the end of the order.", '''
def backward(order, gy):
    grads = {order[-1]: gy}
    for node in order:
        for parent, g in zip(node.parents, node.vjp(grads[node])):
            grads[parent] = grads[parent] + g if parent in grads else g
    return grads
'''),
    Mutant("02.4", "lets a double parent count once", "Where a node is among the parents twice, both gradients count; a dictionary keeps the last.", '''
def backward(order, gy):
    grads = {order[-1]: gy}
    for node in reversed(order):
        for parent, g in dict(zip(node.parents, node.vjp(grads[node]))).items():
            grads[parent] = grads[parent] + g if parent in grads else g
    return grads
'''),
    Mutant("02.4", "keeps gradients on the nodes", "The gradients of an earlier walk are still on the nodes and are added to. "
           "Each call starts from an empty dictionary.", '''
def backward(order, gy):
    for node in order:
        node.grad = getattr(node, "grad", 0)
    order[-1].grad = order[-1].grad + gy
    for node in reversed(order):
        for parent, g in zip(node.parents, node.vjp(node.grad)):
            parent.grad = parent.grad + g
    return {node: node.grad for node in order}
'''),
    Mutant("02.5", "counts uses", "You add 1 for each use. A use by a node that reaches the result on five paths begins five paths.", '''
def paths(order):
    counts = {node: 0 for node in order}
    counts[order[-1]] = 1
    for node in reversed(order):
        for parent in node.parents:
            counts[parent] += 1
    return counts
'''),
    Mutant("02.5", "counts from the leaves", "You counted the paths by which a node is reached from the leaves. The question is on how many the "
           "result is reached from it: begin at the end.", '''
def paths(order):
    counts = {}
    for node in order:
        counts[node] = sum(counts[parent] for parent in node.parents) if node.parents else 1
    return counts
'''),
    Mutant("02.5", "lets a double parent count once", "y = x·x gives x two paths: one through each factor.", '''
def paths(order):
    counts = {node: 0 for node in order}
    counts[order[-1]] = 1
    for node in reversed(order):
        for parent in set(node.parents):
            counts[parent] += counts[node]
    return counts
'''),
    Mutant("02.5", "keeps the last", "Paths through different users add up; you kept those of one user.", '''
def paths(order):
    counts = {node: 0 for node in order}
    counts[order[-1]] = 1
    for node in reversed(order):
        for parent in node.parents:
            counts[parent] = counts[node]
    return counts
'''),
    Mutant("02.5", "measures the length", "That is the length of the longest path, not how many there are.", '''
def paths(order):
    counts = {node: 0 for node in order}
    for node in reversed(order):
        for parent in node.parents:
            counts[parent] = max(counts[parent], counts[node] + 1)
    return counts
'''),
    Mutant("02.6", "returns the leaves alone", "Those are the trainable leaves. To reach them the walk has to enter every node between them and the "
           "result.", '''
def needs_gradient(order):
    return [node for node in order if node.trainable]
'''),
    Mutant("02.6", "looks one step deep", "You look at the parents only. A node five steps above a trainable leaf is needed as well.", '''
def needs_gradient(order):
    return [node for node in order if node.trainable or any(parent.trainable for parent in node.parents)]
'''),
    Mutant("02.6", "wants all parents", "One parent that needs a gradient is enough.", '''
def needs_gradient(order):
    needed = set()
    for node in order:
        if node.trainable or node.parents and all(parent in needed for parent in node.parents):
            needed.add(node)
    return [node for node in order if node in needed]
'''),
    Mutant("02.6", "enters everything", "You enter frozen branches too. Nothing there is learned, so the walk may leave them out.", '''
def needs_gradient(order):
    return list(order)
'''),
    Mutant("02.6", "walks backward", "You walk from the result, before it is known whether the parents are needed. Parents come first in the order: "
           "walk it forward.", '''
def needs_gradient(order):
    needed = set()
    for node in reversed(order):
        if node.trainable or any(parent in needed for parent in node.parents):
            needed.add(node)
    return [node for node in order if node in needed]
'''),
]

ALLOWED = {"backward: True -> False": "strict= only notices a vjp that returns too few gradients"}
