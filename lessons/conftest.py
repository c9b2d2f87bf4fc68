"""`pytest lessons/03_broadcasting`: which file is under test, and verdicts that a learner can read.

--impl exercises (default) | solution | FILE.py | FOLDER      whose functions the checks get
--hints                                                       a hint under every exercise that is not right yet
"""
from __future__ import annotations

import ast
import os
import pathlib

import pytest

from lessons.judge import TooSlow, cases_of, diagnose, limit, verdict
from lessons.kit import Wrong, intact
from lessons.source import Lesson, NotAllowed, submission

SECONDS = 120       # a check that runs longer is wrong: its loop does not end
WORDS = {"passed": ("[x]", "done"), "todo": ("[ ]", "todo"), "wrong": ("[!]", "not right yet")}


def pytest_addoption(parser):
    group = parser.getgroup("lessons")
    group.addoption("--impl", default="exercises", metavar="WHOSE",
                    help="what the checks grade: exercises (default), solution, a file.py, or a folder of NN_topic.py")
    group.addoption("--hints", action="store_true", help="show a hint for each exercise that is not right yet")


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "ignore")     # the learner's warnings are not errors


def pytest_ignore_collect(collection_path):
    """Only the checks are collected: no examples in docstrings, which untouched stubs could not run."""
    return None if collection_path.is_dir() or collection_path.name.startswith("test_") else True


def pytest_generate_tests(metafunc):
    check = metafunc.function
    if getattr(check, "cases", [{}]) != [{}]:
        pairs = cases_of(check)
        names = list(pairs[0][1])
        metafunc.parametrize(names, [tuple(case[n] for n in names) for _, case in pairs], ids=[label for label, _ in pairs])


def pytest_collection_modifyitems(items):
    for item in items:
        item.extra_keyword_matches.update(getattr(item.function, "exercises", ()))      # pytest -k 03.2


@pytest.fixture(scope="module")
def ex(request):
    """The module under test."""
    folder = pathlib.Path(request.path).parent
    path = implementation(request.config.getoption("--impl"), folder)
    if path.name == "exercises.py" and not path.exists():
        pytest.fail(f"{path} is missing; `python -m lessons reset {folder.name[:2]}` writes it again", pytrace=False)
    if not path.exists():
        pytest.fail(f"--impl {request.config.getoption('--impl')}: there is no file {path}", pytrace=False)
    try:
        with limit(SECONDS):
            return submission(path, Lesson(folder))
    except NotAllowed as error:
        pytest.fail(f"{_place(path, request.config)}:{error.line}: {error}", pytrace=False)
    except Wrong as error:
        pytest.fail(f"{_place(path, request.config)}: {error}", pytrace=False)
    except SyntaxError as error:
        pytest.fail(f"{_place(path, request.config)}:{error.lineno}: {error.msg}: {(error.text or '').strip()}", pytrace=False)
    except (Exception, TooSlow, SystemExit) as error:
        pytest.fail(f"{_place(path, request.config)} stops while it is loaded: {type(error).__name__}: {error}", pytrace=False)


def implementation(impl: str, folder: pathlib.Path) -> pathlib.Path:
    """The file that --impl means for this lesson."""
    if impl in ("exercises", "solution"):
        return folder / f"{impl}.py"
    path = pathlib.Path(impl)
    if path.is_dir():
        inside = path / f"{folder.name}.py"
        return inside if inside.exists() else path / folder.name / "exercises.py"
    return path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """No check runs for ever, and none leaves replaced functions behind."""
    with limit(SECONDS), intact():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    check = getattr(item, "function", None)
    if not hasattr(check, "exercises"):
        return report
    report.exercises, report.folder = check.exercises, str(pathlib.Path(item.path).parent)
    report.plug_in = check.plug_in
    if report.when != "call" or not report.failed:
        return report
    error = call.excinfo.value
    ex = item.funcargs.get("ex")
    file = getattr(ex, "__file__", "")
    v = verdict(error, file, SECONDS)
    if v.state == "todo":
        report.todo = v.exercise
        report.longrepr = f"TODO {v.message}: not written yet -> {_place(v.file, item.config)}:{v.line}"
        if _code_below(v.file, v.line):
            report.longrepr += "\n  There is code below `raise NotImplementedError`: delete that line so that yours runs."
        return report
    lesson = Lesson(pathlib.Path(item.path).parent)
    text = f"{', '.join(check.exercises)} ({item.name}): {v.message}"
    if not isinstance(error, Wrong):
        text += f"\n  at {_place(v.file, item.config)}:{v.line}"
    known = _diagnoses(item, lesson, ex, check.exercises)
    report.longrepr = "\n  ".join([text, *(f"This looks familiar: {d}" for d in known)])
    return report


def _diagnoses(item, lesson, ex, exercises) -> list[str]:
    """The misconceptions that match, worked out once per exercise and run."""
    cache = item.config.stash.setdefault(_DIAGNOSES, {})
    out = []
    for e in exercises:
        if (lesson.name, e) not in cache:
            cache[lesson.name, e] = diagnose(lesson, ex, e)
        out += cache[lesson.name, e]
    return out


_DIAGNOSES = pytest.StashKey()


def pytest_report_teststatus(report, config):
    if getattr(report, "todo", False) and report.when == "call":
        return "todo", "T", "TODO"
    return None


def pytest_terminal_summary(terminalreporter, config):
    """TODO lines, then one line per exercise."""
    reports, together = {}, []                              # exercise -> [state, ...]; checks of several that went wrong
    todos, folders = {}, {}
    for category, found in terminalreporter.stats.items():
        for r in found:
            for e in getattr(r, "exercises", ()):
                if r.when == "call" or r.failed:
                    state = "todo" if category == "todo" else "passed" if category == "passed" else "wrong"
                    if state == "todo":
                        todos.setdefault(r.todo, str(r.longrepr))
                        if r.todo != e:
                            continue                        # a plug-in check waits for another exercise
                    folders[e] = r.folder
                    if state == "wrong" and r.plug_in and len(r.exercises) > 1:
                        together.append((r, e))
                    else:
                        reports.setdefault(e, []).append(state)
    blamed = {e for e, states in reports.items() if "wrong" in states}
    for r, e in together:                                   # a mistake is not laid at the door of those that are right
        if e in blamed or not blamed & set(r.exercises):
            reports.setdefault(e, []).append("wrong")
    if not reports:
        return
    for e in sorted(todos):
        terminalreporter.write_line(todos[e])
    terminalreporter.section("progress")
    done = 0
    for e in sorted(reports):
        exercise = Lesson(folders[e]).exercise(e)
        states = reports[e]
        state = "todo" if "todo" in states else "wrong" if "wrong" in states else "passed"
        done += state == "passed"
        mark, word = WORDS[state]
        terminalreporter.write_line(f"  {mark} {e} {exercise.name}: {word} ({states.count('passed')} of {len(states)} checks)")
        if state != "passed" and config.getoption("--hints"):
            terminalreporter.write_line(f"      hint: {exercise.hint}")
    terminalreporter.write_line(f"  {done} of {len(reports)} exercises done"
                                + ("" if done == len(reports) or config.getoption("--hints") else "; --hints shows hints"))


def _place(path, config) -> str:
    try:
        return os.path.relpath(path, config.invocation_params.dir)
    except ValueError:
        return str(path)


def _code_below(path: str, line: int) -> bool:
    """Whether the function whose line raises goes on after it."""
    try:
        tree = ast.parse(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return False
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.FunctionDef):
            for i, statement in enumerate(body):
                if isinstance(statement, ast.Raise) and statement.lineno == line:
                    return bool(body[i + 1:])
    return False
