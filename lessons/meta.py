"""The check of the checks: does every wrong answer die, at its own exercise, with the right diagnosis?"""
from __future__ import annotations

import ast
import time
from dataclasses import dataclass, field

from lessons.judge import diagnose, run, verdicts
from lessons.kit import calls
from lessons.mutate import automatic
from lessons.source import Lesson, from_source, from_tree, load, without_docstrings

SECONDS = 2.0       # a mutant that runs longer is dead: its loop does not end


@dataclass
class Report:
    """One lesson's kill table, and the problems that make it void."""

    lesson: Lesson
    exercises: int = 0
    checks: int = 0
    named: int = 0
    named_killed: int = 0
    automatic: int = 0
    automatic_killed: int = 0
    allowed: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def examine(lesson: Lesson, mutants: bool = True) -> Report:
    """Everything that must hold of a lesson's checks; what does not is in `problems`."""
    start = time.perf_counter()
    report = Report(lesson, len(lesson.exercises), sum(len(c.cases) for c in lesson.checks))
    report.problems += _structure(lesson) + _stubs(lesson) + _solution(lesson) + _independence(lesson) + _canary(lesson)
    if mutants and not report.problems:
        _named(lesson, report)
        _automatic(lesson, report)
    report.seconds = time.perf_counter() - start
    return report


def _structure(lesson: Lesson) -> list[str]:
    ids = {e.id for e in lesson.exercises}
    problems = [f"{c.__name__} grades {x}, which is no exercise" for c in lesson.checks for x in c.exercises if x not in ids]
    for e in lesson.exercises:
        if not any(e.id in c.exercises and not c.plug_in for c in lesson.checks):
            problems.append(f"{e.id} {e.name} has no check of its own")
        n = sum(m.exercise == e.id for m in lesson.mutants)
        if not 4 <= n <= 8:
            problems.append(f"{e.id} {e.name} has {n} named mutants; 4 to 8 are wanted")
    problems += [f"mutant {m.name!r} belongs to {m.exercise}, which is no exercise" for m in lesson.mutants
                 if m.exercise not in ids]
    if not any(c.plug_in for c in lesson.checks):
        problems.append("no check runs the learner's functions inside the engine (plug_in=True)")
    return problems


def _stubs(lesson: Lesson) -> list[str]:
    """Untouched stubs: every check of every exercise says TODO, of that exercise, and nothing else."""
    problems, ex = [], from_source(lesson.stubs, f"<stubs of {lesson.name}>")
    for check in lesson.checks:
        for case in check.cases:
            v = run(check, ex, case)
            if v.state != "todo" or v.exercise not in check.exercises:
                problems.append(f"{check.__name__} on untouched stubs: {v.state} {v.exercise} {v.message}")
    return problems


def _solution(lesson: Lesson) -> list[str]:
    """The solution passes everything, and every exercise's function is called by its own checks."""
    problems, ex = [], load(lesson.path("solution.py"))
    for e in lesson.exercises:
        holder, name = ex, e.name
        if "." in name:
            holder, name = getattr(ex, name.split(".")[0]), name.split(".")[1]
        original = getattr(holder, name)
        counter = calls(original)
        setattr(holder, name, _method(counter) if isinstance(holder, type) else counter)
        try:
            problems += [f"the solution of {e.id} {e.name} fails: {v.state} {v.message}" for v in verdicts(lesson, ex, e.id)
                         if v.state != "passed"]
        finally:
            setattr(holder, name, original)
        if not counter.count:
            problems.append(f"the checks of {e.id} never call {e.name}")
    for check in lesson.checks:
        if check.plug_in:                       # once, however many exercises it belongs to
            found = [run(check, ex, case) for case in check.cases]
            problems += [f"the solution fails {check.__name__}: {v.state} {v.message}" for v in found if v.state != "passed"]
    return problems


def _method(counter):
    return lambda self, *args, **kwargs: counter(self, *args, **kwargs)


def _independence(lesson: Lesson) -> list[str]:
    """With one exercise solved and all others stubs, its checks pass."""
    problems = []
    for e in lesson.exercises:
        ex = from_source(lesson.only(e.id), f"<only {e.id}>")
        problems += [f"{e.id} {e.name} needs another exercise: {v.message}" for v in verdicts(lesson, ex, e.id)
                     if v.state != "passed"]
    return problems


def _canary(lesson: Lesson) -> list[str]:
    """A function that always answers 0.123456 must fail every check; one that lets it pass checks nothing."""
    problems = []
    for e in lesson.exercises:
        tree = ast.parse(lesson.solution)
        node = tree
        for part in e.name.split("."):
            node = [n for n in ast.iter_child_nodes(node) if getattr(n, "name", None) == part][-1]
        node.body = [ast.Return(ast.Constant(0.123456))]
        ex = from_tree(tree, f"<canary {e.id}>")
        for check in lesson.checks:
            if e.id in check.exercises and not check.plug_in:
                if all(run(check, ex, case, SECONDS).state == "passed" for case in check.cases):
                    problems.append(f"VOID: {check.__name__} passes whatever {e.name} answers")
    return problems


def _named(lesson: Lesson, report: Report) -> None:
    solution = without_docstrings(ast.parse(lesson.solution))
    for mutant in lesson.mutants:
        report.named += 1
        where = f"{mutant.exercise} {mutant.name!r}"
        try:
            ex = lesson.mutant_module(mutant)
        except (SyntaxError, ValueError) as error:
            report.problems.append(f"mutant {where} cannot be built: {error}")
            continue
        from lessons.source import replaced
        if without_docstrings(replaced(ast.parse(lesson.solution), mutant.source)) == solution:
            report.problems.append(f"VOID: mutant {where} is the solution")
        elif all(v.state == "passed" for v in verdicts(lesson, ex, mutant.exercise, seconds=SECONDS)):
            report.problems.append(f"mutant {where} survives")
        elif mutant.diagnosis not in diagnose(lesson, ex, mutant.exercise):
            report.problems.append(f"mutant {where} dies, but its diagnosis is not shown (is an answer random?)")
        else:
            report.named_killed += 1


def _automatic(lesson: Lesson, report: Report) -> None:
    stale = dict(lesson.allowed)
    for exercise, name, tree in automatic(lesson):
        report.automatic += 1
        try:
            ex = from_tree(tree, f"<{name}>")
            passed = all(v.state == "passed" for v in verdicts(lesson, ex, exercise, seconds=SECONDS, stop=True))
        except Exception:                       # it does not even load
            passed = False
        if not passed:
            report.automatic_killed += 1
        elif name in lesson.allowed:
            report.allowed += 1
            del stale[name]
        else:
            report.problems.append(f"automatic mutant survives: {name}")
    report.problems += [f"ALLOWED lists {name!r}, which does not survive (any more)" for name in stale]


def table(reports: list[Report]) -> str:
    """The kill table, as Markdown."""
    rows = ["| lesson | exercises | checks | named mutants | killed | automatic mutants | killed | allowed |",
            "|---|---|---|---|---|---|---|---|"]
    for r in reports:
        rows.append(f"| {r.lesson.name} | {r.exercises} | {r.checks} | {r.named} | {r.named_killed} | {r.automatic} | "
                    f"{r.automatic_killed} | {r.allowed} |")
    total = [sum(getattr(r, f) for r in reports) for f in
             ("exercises", "checks", "named", "named_killed", "automatic", "automatic_killed", "allowed")]
    rows.append("| all | " + " | ".join(map(str, total)) + " |")
    return "\n".join(rows)
