"""Automatic wrong answers: small changes of a solution, one at a time, each of which some check must notice.

A mutant is named by what it changes, so that its name survives edits elsewhere: "unbroadcast: g.ndim - n -> g.ndim + n".
"""
from __future__ import annotations

import ast
import copy

from lessons.source import Lesson, without_docstrings

ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
              ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult}
COMPARISON = {ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is], ast.In: [ast.NotIn],
              ast.NotIn: [ast.In], ast.Lt: [ast.LtE, ast.Gt], ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.Lt],
              ast.GtE: [ast.Gt, ast.Lt]}
NAMES = {"sum": "mean", "mean": "sum", "max": "min", "min": "max", "maximum": "minimum", "minimum": "maximum", "zeros": "ones",
         "ones": "zeros", "zeros_like": "ones_like", "ones_like": "zeros_like", "argmax": "argmin", "triu": "tril",
         "tril": "triu", "append": "remove", "ceil": "floor", "floor": "ceil", "sin": "cos", "cos": "sin"}
UNWRAP = {"exp", "sqrt", "log", "abs", "tanh", "sum", "mean", "reversed", "sorted", "copy", "detach", "cumsum", "square"}
KEYWORDS = {"axis", "keepdims", "dim", "keepdim", "axes", "ddof", "correction", "requires_grad", "is_causal"}
SWAPPED = {"matmul", "dot", "outer", "subtract", "divide", "isinstance", "zip", "einsum"} - {"zip", "isinstance", "einsum"}
COTANGENTS = {"g", "gy", "gout", "grad_out"}


def automatic(lesson: Lesson):
    """Yield (exercise id, name, syntax tree) for every automatic mutant of every exercise."""
    seen = {without_docstrings(ast.parse(lesson.solution))}
    for exercise in lesson.exercises:
        taken: dict[str, int] = {}
        for label, tree in _mutants(lesson.solution, exercise):
            text = without_docstrings(tree)
            if text in seen:                                # the same program by another road, or no change at all
                continue
            seen.add(text)
            name = f"{exercise.name}: {label}"
            taken[name] = taken.get(name, 0) + 1
            yield exercise.id, name if taken[name] == 1 else f"{name} ({taken[name]})", tree


def _mutants(source: str, exercise):
    tree = ast.parse(source)
    inside = [node for node in ast.walk(tree)
              if exercise.first < getattr(node, "lineno", 0) < exercise.last or isinstance(node, ast.keyword)
              and exercise.first < node.value.lineno < exercise.last]
    position = {id(node): i for i, node in enumerate(ast.walk(tree))}

    def changed(node, change):
        """A copy of the tree in which `change` was applied to this node; what it returns takes the node's place."""
        mine = copy.deepcopy(tree)
        target = next(n for i, n in enumerate(ast.walk(mine)) if i == position[id(node)])
        result = change(target)
        if result is not target:
            _Put(target, result).visit(mine)
        return ast.fix_missing_locations(mine)

    for node in inside:
        for change, label in _changes(node):
            yield label, changed(node, change)
    yield from _whole(tree, exercise, changed)


def _changes(node):
    """[(change, label)] for one node; a change edits its copy or returns what replaces it."""
    old = ast.unparse(node) if not isinstance(node, ast.keyword) else f"{node.arg}={ast.unparse(node.value)}"

    def edit(label_of=None, **attributes):
        def change(n):
            for name, value in attributes.items():
                setattr(n, name, value)
            return n
        return change, f"{_short(old)} -> {_short(_after(node, change))}"

    def become(pick):
        return pick, f"{_short(old)} -> {_short(_after(node, pick))}"

    if isinstance(node, ast.BinOp):
        if type(node.op) in ARITHMETIC:
            yield edit(op=ARITHMETIC[type(node.op)]())
        if isinstance(node.op, ast.MatMult):
            yield edit(left=node.right, right=node.left)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for op in COMPARISON.get(type(node.ops[0]), []):
            yield edit(ops=[op()])
    elif isinstance(node, ast.BoolOp):
        yield edit(op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        if not isinstance(node.operand, ast.Constant):
            yield become(lambda n: n.operand)
    elif isinstance(node, ast.Attribute):
        if node.attr in ("T", "mT") and isinstance(node.ctx, ast.Load):
            yield become(lambda n: n.value)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield edit(value=not node.value)
        elif isinstance(node.value, int):
            yield edit(value=node.value + 1)
        elif isinstance(node.value, float):
            yield edit(value=node.value * 2 if node.value else 1.0)
    elif isinstance(node, ast.Call):
        yield from _call(node, edit, become)
    elif isinstance(node, ast.IfExp):
        yield become(lambda n: n.body)
        yield become(lambda n: n.orelse)
    elif isinstance(node, ast.If):
        head = f"if {_short(ast.unparse(node.test))}"
        yield _set(test=ast.Constant(True)), f"{head} -> always"
        yield _set(test=ast.Constant(False)), f"{head} -> never"
    elif isinstance(node, ast.AugAssign):
        yield (lambda n: ast.Assign([n.target], n.value)), f"{_short(old)} -> ="
        if type(node.op) in ARITHMETIC:
            yield edit(op=ARITHMETIC[type(node.op)]())
        yield (lambda n: ast.Pass()), f"without {_short(old)}"
    elif isinstance(node, ast.Assign):
        if isinstance(node.targets[0], ast.Subscript | ast.Attribute):
            yield (lambda n: ast.Pass()), f"without {_short(old)}"
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield (lambda n: ast.Pass()), f"without {_short(old)}"
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and len(node.value.elts) == 2:
        a, b = node.value.elts
        yield _set(value=ast.Tuple([b, a], ast.Load())), f"{_short(old)} -> swapped"
    elif isinstance(node, ast.Slice):
        if node.step is not None:
            yield edit(step=None)


def _call(node, edit, become):
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    for i, keyword in enumerate(node.keywords):
        if keyword.arg in KEYWORDS:
            yield edit(keywords=node.keywords[:i] + node.keywords[i + 1:])
    if called in NAMES:
        new = (ast.Attribute(node.func.value, NAMES[called], ast.Load()) if isinstance(node.func, ast.Attribute)
               else ast.Name(NAMES[called], ast.Load()))
        if isinstance(node.func, ast.Attribute) or called in ("sum", "max", "min"):
            if not (isinstance(node.func, ast.Name) and called == "sum"):           # there is no built-in mean
                yield edit(func=new)
    if called in UNWRAP:
        if node.args:
            yield become(lambda n: n.args[0])
        elif isinstance(node.func, ast.Attribute):
            yield become(lambda n: n.func.value)
    if called in SWAPPED and len(node.args) == 2:
        yield edit(args=node.args[::-1])


def _whole(tree, exercise, changed):
    """Mutants of the function as a whole: its answer is nothing, or it ignores what flows in from above."""
    function = _function(tree, exercise.name)
    names = [a.arg for a in function.args.args if a.arg != "self"]

    def begin_with(*statements):
        def change(f):
            f.body[1 if ast.get_docstring(f) is not None else 0:0] = [ast.parse(s).body[0] for s in statements]
            return f
        return change
    yield "returns nothing", changed(function, begin_with("if True:\n    return None"))
    if names:
        yield f"returns {names[0]}", changed(function, begin_with(f"if True:\n    return {names[0]}"))
    for name in COTANGENTS & set(names):
        # scaled and summed away, so that scalars, arrays and tensors alike become ones
        yield f"ignores {name}", changed(function, begin_with(f"{name} = {name} * 0 + 1"))


def _function(tree, name: str) -> ast.FunctionDef:
    node = tree
    for part in name.split("."):
        node = [n for n in ast.iter_child_nodes(node) if getattr(n, "name", None) == part][-1]
    return node


class _Put(ast.NodeTransformer):
    """Puts one node in the place of another."""

    def __init__(self, old, new):
        self.old, self.new = old, new

    def visit(self, node):
        return self.new if node is self.old else self.generic_visit(node)


def _set(**attributes):
    def change(n):
        for name, value in attributes.items():
            setattr(n, name, value)
        return n
    return change


def _after(node, change) -> str:
    return ast.unparse(ast.fix_missing_locations(change(copy.deepcopy(node))))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 64 else text[:30] + " … " + text[-30:]
