"""One lesson's files: the solution is the single source, and the stubs are what is left of it without its regions.

    # <solution hint="…">        begins a region, the answer to one exercise
    # </solution>                ends it

Each region lies in one top-level function or one method and is an exercise, numbered in the order of the file.
"""
from __future__ import annotations

import ast
import copy
import linecache
import pathlib
import re
import types
from dataclasses import dataclass
from functools import cached_property

from lessons.kit import intact

HERE = pathlib.Path(__file__).parent
_OPEN = re.compile(r'^( *)# <solution hint="(.+)">$')
_CLOSE = re.compile(r"^ *# </solution>$")
_DEF = re.compile(r"^( *)(def|class) (\w+)")


@dataclass(frozen=True)
class Exercise:
    """One region: its id ("03.1"), the function ("unbroadcast" or "Linear.forward"), the hint, its lines in the source."""

    id: str
    name: str
    hint: str
    first: int
    last: int

    @property
    def lines(self) -> int:
        """How long the solution is."""
        return self.last - self.first - 1


class NotAllowed(Exception):
    """A submission uses what it may not: another program that knows the answer, or the checks."""

    def __init__(self, message: str, line: int):
        super().__init__(message)
        self.line = line


class Lesson:
    """A folder NN_topic under lessons/ (or anywhere else, for tests)."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.name = self.folder.name
        self.number = self.name[:2]

    def __repr__(self):
        return f"Lesson({self.name})"

    def path(self, name: str) -> pathlib.Path:
        """A file of this lesson."""
        return self.folder / name

    @cached_property
    def solution(self) -> str:
        """The source of solution.py."""
        return self.path("solution.py").read_text(encoding="utf-8")

    @cached_property
    def exercises(self) -> list[Exercise]:
        """The regions of the solution, in order."""
        return regions(self.solution, self.number)

    @cached_property
    def stubs(self) -> str:
        """What exercises.py is when nothing is written yet."""
        return strip(self.solution, self.exercises)

    @cached_property
    def checks(self) -> list:
        """The check functions, in the order of the file."""
        module = load(self.path(f"test_{self.name}.py"))
        found = [f for f in vars(module).values() if callable(f) and hasattr(f, "exercises")]
        return [f for f in found if f.__name__.startswith("test_")]

    @cached_property
    def mutants(self) -> list:
        """The named wrong answers."""
        return list(load(self.path("mutants.py")).MUTANTS)

    @cached_property
    def allowed(self) -> dict[str, str]:
        """{automatic mutant that may survive: why}."""
        return dict(getattr(load(self.path("mutants.py")), "ALLOWED", {}))

    def exercise(self, number: str) -> Exercise:
        """The exercise with this id; ValueError naming the ids there are."""
        for e in self.exercises:
            if e.id == number:
                return e
        raise ValueError(f"lesson {self.name} has no exercise {number!r}; it has {', '.join(e.id for e in self.exercises)}")

    def only(self, *solved: str) -> str:
        """The source in which these exercises are solved and the others are stubs."""
        return strip(self.solution, [e for e in self.exercises if e.id not in solved])

    def mutant_module(self, mutant) -> types.ModuleType:
        """The solution with one named mutant in it."""
        return from_tree(replaced(ast.parse(self.solution), mutant.source), f"<{mutant.exercise} {mutant.name}>")


def lessons(folder=HERE) -> list[Lesson]:
    """All lessons, in order."""
    return [Lesson(f) for f in sorted(pathlib.Path(folder).glob("[0-9][0-9]_*")) if (f / "solution.py").exists()]


def find(number: str, folder=HERE) -> Lesson:
    """The lesson "03" (or "3", "03.2", "03_broadcasting"); ValueError naming those there are."""
    wanted = str(number).split(".")[0].split("_")[0].zfill(2)
    for lesson in lessons(folder):
        if lesson.number == wanted:
            return lesson
    raise ValueError(f"there is no lesson {number!r}; there are {', '.join(x.name for x in lessons(folder))}")


def regions(source: str, number: str) -> list[Exercise]:
    """The exercises of a solution. Raises ValueError for markers that do not pair up or lie outside of functions."""
    found, scope, opened = [], [], None
    for n, line in enumerate(source.splitlines(), 1):
        if m := _DEF.match(line):
            indent = len(m[1])
            scope = [(i, name) for i, name in scope if i < indent] + [(indent, m[3])]
        if m := _OPEN.match(line):
            if opened:
                raise ValueError(f"line {n}: a region begins inside the one that began on line {opened[0]}")
            opened = n, m[2], ".".join(name for i, name in scope if i < len(m[1]))
        elif _CLOSE.match(line):
            if not opened:
                raise ValueError(f"line {n}: a region ends that never began")
            found.append(Exercise(f"{number}.{len(found) + 1}", opened[2], opened[1], opened[0], n))
            opened = None
        elif "<solution" in line or "</solution" in line:
            raise ValueError(f'line {n}: not a marker: {line.strip()!r}. Write # <solution hint="…"> and # </solution>')
    if opened:
        raise ValueError(f"the region that begins on line {opened[0]} never ends")
    names = [e.name for e in found]
    if not found or "" in names or len(set(names)) != len(names):
        raise ValueError(f"each region must lie in a function of its own; found them in {names}")
    return found


def strip(source: str, exercises: list[Exercise]) -> str:
    """The source with these regions replaced by a TODO, and the markers of the others dropped."""
    lines, out = source.splitlines(), []
    begins, inside = {e.first: e for e in exercises}, None
    for n, line in enumerate(lines, 1):
        if n in begins:
            inside, indent = begins[n], line[:len(line) - len(line.lstrip())]
            about = f"{inside.lines} line{'s' if inside.lines > 1 else ''}"
            out += [f"{indent}# TODO {inside.id}: delete the next line and write {inside.name} (about {about}).",
                    f'{indent}raise NotImplementedError("{inside.id} {inside.name}")']
        elif inside and n == inside.last:
            inside = None
        elif not inside and not (_OPEN.match(line) or _CLOSE.match(line)):
            out.append(line)
    return "\n".join(out) + "\n"


# ---- modules --------------------------------------------------------------------------------------------------------

def load(path) -> types.ModuleType:
    """Run a file as a module of its own, whatever its name; SyntaxError as it comes."""
    path = pathlib.Path(path)
    return from_source(path.read_text(encoding="utf-8"), str(path))


# What a submission may import besides what the solution does, and the built-in functions that would lead around this list.
MAY_IMPORT = set("__future__ bisect cmath collections copy dataclasses decimal enum fractions functools heapq itertools math "
                 "numbers numpy operator random statistics string struct time typing".split())
LOOPHOLES = {"__builtins__", "__import__", "compile", "eval", "exec", "open"}


def submission(path, lesson: Lesson) -> types.ModuleType:
    """Load a file that is to be graded. NotAllowed if it could hand in the package's work, or another's, as its own."""
    text = pathlib.Path(path).read_text(encoding="utf-8")
    allowed = MAY_IMPORT | {name for _, name in _imports(ast.parse(lesson.solution))}
    tree = ast.parse(text, str(path))
    for line, name in _imports(tree):
        if name not in allowed:
            raise NotAllowed(f"imports {name or 'a file beside it'}. A file that is graded does its own work: it may import "
                             "numpy, math, itertools and the like, and what the lesson's own solution imports", line)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in LOOPHOLES:
            raise NotAllowed(f"uses {node.id}, which no exercise needs", node.lineno)
    with intact():
        return from_source(text, str(path))


def _imports(tree: ast.Module) -> list[tuple[int, str]]:
    """(line, package) of every import; the package of a relative one is ""."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name.split(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.lineno, "" if node.level else (node.module or "").split(".")[0]))
    return found


def from_source(source: str, name: str) -> types.ModuleType:
    """A module made of this source; tracebacks show its lines."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    return _run(compile(source, name, "exec"), name)


def from_tree(tree: ast.Module, name: str) -> types.ModuleType:
    """A module made of a syntax tree."""
    return _run(compile(ast.fix_missing_locations(tree), name, "exec"), name)


def _run(code, name: str) -> types.ModuleType:
    module = types.ModuleType(re.sub(r"\W", "_", pathlib.Path(name).stem))
    module.__file__ = name
    exec(code, module.__dict__)
    return module


def replaced(tree: ast.Module, source: str) -> ast.Module:
    """The tree with the functions of `source` in the place of those of the same name; a class gives single methods."""
    tree = copy.deepcopy(tree)
    for new in ast.parse(source).body:
        places = [i for i, old in enumerate(tree.body) if getattr(old, "name", None) == getattr(new, "name", "")]
        if not places and isinstance(new, ast.FunctionDef | ast.ClassDef) and not new.name.startswith("_"):
            raise ValueError(f"a mutant defines {new.name!r}, which the solution does not have")
        if not places:                                                      # a helper or an import of the mutant's
            tree.body.insert(_after_imports(tree), new)
        elif isinstance(new, ast.ClassDef):
            old = tree.body[places[-1]]
            mine = {part.name: part for part in new.body if isinstance(part, ast.FunctionDef)}
            if unknown := set(mine) - {getattr(part, "name", "") for part in old.body}:
                raise ValueError(f"a mutant of class {new.name} has methods that the solution lacks: {sorted(unknown)}")
            old.body = [mine.get(getattr(part, "name", ""), part) for part in old.body]
        else:
            tree.body[places[-1]] = new
    return tree


def _after_imports(tree: ast.Module) -> int:
    last = max((i for i, node in enumerate(tree.body) if isinstance(node, ast.Import | ast.ImportFrom)), default=-1)
    docstring = 1 if ast.get_docstring(tree) is not None else 0
    return max(last + 1, docstring)


def without_docstrings(tree: ast.AST) -> str:
    """The code as text, comments and docstrings aside: two that agree here are the same program."""
    tree = copy.deepcopy(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Expr(ast.Constant(...))]
    return ast.unparse(ast.fix_missing_locations(tree))
