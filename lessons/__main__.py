"""`python -m lessons` (or `minigrad lessons`): where you are, hints, solutions, a fresh start; and the lessons' own checks.

    minigrad lessons                    progress over all lessons
    minigrad lessons hint 03.2          a hint for one exercise
    minigrad lessons peek 03.2          the solution of one exercise
    minigrad lessons reset 03           write the lesson's stubs again; what was there is kept beside it
    minigrad lessons train --mine       train a transformer made of your finished functions (and of solutions for the rest)
    minigrad lessons build [--check]    (authors) write exercises.py, the lists of mistakes and the index from their sources
    minigrad lessons mutants [03]       (authors) test the checks on every wrong answer
"""
from __future__ import annotations

import argparse
import pathlib
import re
import sys
import tempfile

from lessons import front, source
from lessons.judge import run
from lessons.kit import Wrong
from lessons.meta import examine, table


def main(argv=None) -> int:
    """Run one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="minigrad lessons", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", default="status",
                        choices=["status", "hint", "peek", "reset", "train", "build", "mutants"])
    parser.add_argument("what", nargs="?", help="a lesson (03) or an exercise (03.2)")
    parser.add_argument("--mine", action="store_true", help="train: with your functions where they are finished")
    parser.add_argument("--steps", type=int, default=60, help="train: how many steps (60)")
    parser.add_argument("--check", action="store_true", help="build: change nothing, exit 1 if something is out of date")
    parser.add_argument("--write", action="store_true", help="mutants: write the table to lessons/CHECKS.md")
    args = parser.parse_args(argv)
    try:
        return {"status": status, "hint": hint, "peek": peek, "reset": reset, "train": train, "build": build,
                "mutants": mutants}[args.command](args)
    except ValueError as error:
        print(f"minigrad lessons: {error}", file=sys.stderr)
        return 2


def chosen(args) -> list[source.Lesson]:
    """The lessons that were asked for: one, or all."""
    return [source.find(args.what)] if args.what else source.lessons()


def one_exercise(args) -> tuple[source.Lesson, source.Exercise]:
    """The exercise that was asked for."""
    if not args.what or not re.fullmatch(r"\d+\.\d+", args.what):
        raise ValueError(f"{args.command} needs the number of an exercise, such as 03.2; got {args.what!r}")
    lesson = source.find(args.what)
    return lesson, lesson.exercise(f"{lesson.number}.{args.what.split('.')[1]}")


def status(args) -> int:
    """Run every check on the learner's files and print one line per lesson."""
    done = total = 0
    for lesson in chosen(args):
        marks = []
        try:
            ex = source.submission(lesson.path("exercises.py"), lesson)
        except (SyntaxError, OSError, source.NotAllowed, Wrong) as error:
            where = f", line {error.line}" if isinstance(error, source.NotAllowed) else ""
            print(f"{lesson.name:28} cannot be graded{where}: {error}")
            continue
        for e in lesson.exercises:
            states = {run(c, ex, case).state for c in lesson.checks if e.id in c.exercises and not c.plug_in
                      for case in c.cases}
            marks.append("x" if states == {"passed"} else "." if states == {"todo"} else "!")
        done, total = done + marks.count("x"), total + len(marks)
        print(f"{lesson.name:28} [{''.join(marks):8}] {marks.count('x')} of {len(marks)}", flush=True)
    print(f"{done} of {total} exercises done   (x done, ! not right yet, . not written)")
    return 0


def hint(args) -> int:
    """Print one hint."""
    _, e = one_exercise(args)
    print(f"{e.id} {e.name}: {e.hint}")
    return 0


def peek(args) -> int:
    """Print the solution of one exercise."""
    lesson, e = one_exercise(args)
    print(f"The solution of {e.id} {e.name} (there may be others):\n")
    print("\n".join(lesson.solution.splitlines()[e.first:e.last - 1]))
    return 0


def reset(args) -> int:
    """Write the stubs of a lesson again; the file that was there is kept as exercises.py.bak-N."""
    if not args.what:
        raise ValueError("reset needs a lesson, such as 03")
    lesson = source.find(args.what)
    path = lesson.path("exercises.py")
    if path.exists() and path.read_text(encoding="utf-8") != lesson.stubs:
        n = 1
        while (backup := path.with_name(f"{path.name}.bak-{n}")).exists():
            n += 1
        path.rename(backup)
        print(f"your file is kept as {backup.name}")
    write(path, lesson.stubs)
    print(f"{lesson.name}/exercises.py is as new")
    return 0


def train(args) -> int:
    """Train the transformer of lesson 20 with the lessons' functions in every seat."""
    from lessons import mine  # here, because it loads the engine

    if args.steps < 2:
        raise ValueError(f"--steps must be at least 2; got {args.steps}")
    return mine.report(args.mine, args.steps)


def mistakes(lesson: source.Lesson) -> str:
    """The README's list of common mistakes, from the named mutants."""
    lines = []
    for e in lesson.exercises:
        for m in lesson.mutants:
            if m.exercise == e.id:
                lines.append(f"- `{e.name}` {m.name}. {m.diagnosis}")
    return "\n".join(lines)


def generated(lesson: source.Lesson) -> dict[pathlib.Path, str]:
    """{file: what it should hold} of what is made from a lesson's sources."""
    readme = lesson.path("README.md").read_text(encoding="utf-8")
    begin, end = "<!-- mistakes:begin -->", "<!-- mistakes:end -->"
    if begin not in readme or end not in readme:
        raise ValueError(f"{lesson.name}/README.md lacks {begin} … {end}")
    head, rest = readme.split(begin, 1)
    return {lesson.path("exercises.py"): lesson.stubs,
            lesson.path("README.md"): f"{head}{begin}\n{mistakes(lesson)}\n{end}{rest.split(end, 1)[1]}"}


def generated_index() -> dict[pathlib.Path, str]:
    """{lessons/README.md: what it should hold}: its table is made of the lessons' front blocks."""
    return {front.INDEX: front.with_index(front.INDEX.read_text(encoding="utf-8"), source.lessons())}


def build(args) -> int:
    """Write what is generated, or with --check say what is out of date."""
    stale = []
    for made in [*map(generated, chosen(args)), generated_index()]:
        for path, text in made.items():
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(path)
                if not args.check:
                    write(path, text)
    for path in stale:
        print(("out of date: " if args.check else "wrote ") + str(path.relative_to(source.HERE.parent)))
    if args.check and stale:
        print("write them with: python -m lessons build")
    return 1 if args.check and stale else 0


def mutants(args) -> int:
    """Print the kill table and every problem."""
    reports = []
    for lesson in chosen(args):
        report = examine(lesson)
        reports.append(report)
        print(f"{lesson.name}: named {report.named_killed}/{report.named}, automatic {report.automatic_killed}+"
              f"{report.allowed} allowed/{report.automatic}, {report.seconds:.1f} s", flush=True)
        for problem in report.problems:
            print(f"  {problem}", flush=True)
    print(table(reports))
    if args.write:
        write(source.HERE / "CHECKS.md", CHECKS.format(table=table(reports)))
    return 1 if any(r.problems for r in reports) else 0


CHECKS = """# How good are the checks?

Each lesson's checks are run on wrong answers and have to notice every one. A *named* mutant is a misconception that
people have; it must fail a check of its own exercise, and the learner who gives that answer must be told which
misconception it is. An *automatic* mutant is a small change of the solution (an operator, a constant, an axis, a missing
statement); it must fail too, unless it is allowed with a reason in the lesson's `mutants.py` because it computes the same.
Made by `python -m lessons mutants --write`; `tests/lessons` runs the same.

{table}
"""


def write(path: pathlib.Path, text: str) -> None:
    """Write a file under a temporary name, then rename it."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.write(text)
    pathlib.Path(file.name).chmod(0o644)
    pathlib.Path(file.name).replace(path)


if __name__ == "__main__":
    sys.exit(main())
