"""The lessons' checks are themselves checked: on untouched stubs, on the solution, and on every known wrong answer."""
from __future__ import annotations

import ast
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from lessons import kit, source
from lessons.__main__ import generated
from lessons.judge import diagnose, run, verdicts
from lessons.meta import examine, table
from lessons.mutate import automatic

LESSONS = source.lessons()
IDS = [x.name for x in LESSONS]


@pytest.mark.parametrize("lesson", LESSONS, ids=IDS)
def test_every_wrong_answer_dies_at_its_exercise_with_its_diagnosis(lesson):
    report = examine(lesson)
    assert not report.problems, "\n  ".join([f"{lesson.name}:", *report.problems])
    assert report.named_killed == report.named and report.automatic_killed + report.allowed == report.automatic
    assert report.automatic > 0
    row = table([report]).splitlines()[2]
    published = (source.HERE / "CHECKS.md").read_text(encoding="utf-8").splitlines()
    assert row in published, f"lessons/CHECKS.md lacks {row}: python -m lessons mutants --write"


@pytest.mark.parametrize("lesson", LESSONS, ids=IDS)
def test_what_is_generated_is_up_to_date(lesson):
    """In CI stubs too; elsewhere exercises.py is the learner's to edit."""
    for path, text in generated(lesson).items():
        if path.name == "exercises.py" and not os.environ.get("CI"):
            continue
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date: python -m lessons build"


@pytest.mark.parametrize("lesson", LESSONS, ids=IDS)
def test_the_checks_grade_the_learner_and_not_the_package(lesson, monkeypatch):
    """Where a solution does without the engine, its verdicts stay the same when every operation of the engine raises."""
    from minigrad.autograd import Function

    if "minigrad" in lesson.solution:
        pytest.skip("this lesson's exercises are written with the engine")

    def broken(*args, **kwargs):
        raise RuntimeError("the engine was asked")
    solution = source.load(lesson.path("solution.py"))
    wrong = lesson.mutant_module(lesson.mutants[0])
    monkeypatch.setattr(Function, "__call__", broken)
    for check in lesson.checks:
        if not check.plug_in:
            assert all(run(check, solution, case).state == "passed" for case in check.cases), check.__name__
    assert any(v.state == "wrong" for v in verdicts(lesson, wrong, lesson.mutants[0].exercise))


def test_there_are_enough_exercises():
    assert sum(len(x.exercises) for x in LESSONS) >= 70
    assert [x.number for x in LESSONS] == [f"{n:02d}" for n in range(1, 21)]


# ---- the meta-check can fail ------------------------------------------------------------------------------------------

SOLUTION = '''
import numpy as np


def scale_vjp(g, x, c):
    """The gradient of x for y = c·x."""
    # <solution hint="What does one unit of x do to y?">
    return g * c
    # </solution>
'''
CHECKS = '''
import numpy as np
from lessons.kit import exercise, rng, same

@exercise("99.1")
def test_scale_vjp(ex):
    g, x = {cotangent}, rng(1).normal(size=(2, 3))
    same(ex.scale_vjp(g, x, 3.0), 3.0 * g, "scale_vjp")

@exercise("99.1", plug_in=True)
def test_inside(ex):
    ex.scale_vjp(np.ones(2), np.ones(2), 1.0)
'''
MUTANTS = '''
from lessons.kit import Mutant
MUTANTS = [Mutant("99.1", name, f"{{name}}!", f"def scale_vjp(g, x, c):\\n    return {{code}}") for name, code in
           [("ignores g", "np.ones_like(x) * c"), ("forgets c", "g"), ("divides", "g / c"), ("takes x", "g * x")]]
ALLOWED = {allowed}
'''


def small_lesson(folder, cotangent="rng(0).normal(size=(2, 3))", allowed="{}"):
    folder = folder / "99_scale"
    folder.mkdir()
    (folder / "solution.py").write_text(SOLUTION)
    (folder / "test_99_scale.py").write_text(CHECKS.format(cotangent=cotangent))
    (folder / "mutants.py").write_text(MUTANTS.format(allowed=allowed))
    return source.Lesson(folder)


def test_a_good_check_is_found_good(tmp_path):
    report = examine(small_lesson(tmp_path))
    assert not report.problems and report.named_killed == 4 and report.automatic_killed == report.automatic >= 4


def test_a_cotangent_of_ones_is_noticed(tmp_path):
    problems = examine(small_lesson(tmp_path, "np.ones((2, 3))")).problems
    assert any("'ignores g' survives" in p for p in problems) and any("scale_vjp: ignores g" in p for p in problems)


def test_a_check_that_looks_at_nothing_is_void(tmp_path, monkeypatch):
    lesson = small_lesson(tmp_path)
    path = lesson.path("test_99_scale.py")
    path.write_text(path.read_text().replace('    same(', '    len('))
    assert any(p.startswith("VOID") or "fails" in p for p in examine(source.Lesson(lesson.folder)).problems)
    path.write_text(path.read_text().replace('    len(ex.scale_vjp(g, x, 3.0), 3.0 * g, "scale_vjp")', "    ex.scale_vjp(g, x, 3.0)"))
    assert any(p.startswith("VOID: test_scale_vjp passes whatever") for p in examine(source.Lesson(lesson.folder)).problems)


def test_an_allowance_that_is_not_needed_is_noticed(tmp_path):
    problems = examine(small_lesson(tmp_path, allowed="{'scale_vjp: g * c -> g / c': 'the same'}")).problems
    assert any("does not survive" in p for p in problems)


@pytest.mark.parametrize("lesson", LESSONS[:3], ids=IDS[:3])
def test_weakening_a_real_lessons_checks_is_noticed(lesson, monkeypatch):
    """With `same` looking at shapes alone, wrong answers survive, and the meta-check says so."""
    def shapes_only(got, want, what, **tolerances):
        kit.check(np.shape(kit.as_array(got, what)) == np.shape(want), f"{what}: shape")
    weak = source.Lesson(lesson.folder)
    for check in weak.checks:
        monkeypatch.setitem(check.__globals__, "same", shapes_only)
    assert any("survives" in p or "VOID" in p or "not shown" in p for p in examine(weak).problems)


# ---- a file that is graded does its own work -----------------------------------------------------------------------

@pytest.mark.parametrize("text, message", [
    ("import minigrad as mg", "imports minigrad"), ("def f():\n    from minigrad.nn import functional", "imports minigrad"),
    ("import lessons.kit as kit", "imports lessons"), ("from . import solution", "imports a file beside it"), ("import torch", "imports torch"),
    ("import sys", "imports sys"), ("import numpy, unittest", "imports unittest"), ("m = __import__('minigrad')", "uses __import__"),
    ("exec(open('solution.py').read())", "uses exec"),
])
def test_a_submission_with_anothers_work_is_refused(tmp_path, text, message):
    lesson = small_lesson(tmp_path)
    (tmp_path / "mine.py").write_text("import numpy as np\n" + text)
    with pytest.raises(source.NotAllowed, match=message):
        source.submission(tmp_path / "mine.py", lesson)


@pytest.mark.parametrize("lesson", LESSONS, ids=IDS)
def test_a_submission_may_import_what_the_solution_does(lesson):
    source.submission(lesson.path("solution.py"), lesson)


def test_pytest_refuses_it_too(tmp_path):
    (tmp_path / "mine.py").write_text("from minigrad.nn import functional as F\nsoftmax = F.softmax\n")
    done = subprocess.run([sys.executable, "-m", "pytest", "lessons/04_linear_softmax", "-q", "-k", "04.1", "--impl", tmp_path / "mine.py"],
                          cwd=source.HERE.parent, capture_output=True, text=True)
    assert done.returncode == 1 and "mine.py:1: imports minigrad" in done.stdout and "passed" not in done.stdout


def test_functions_that_a_submission_replaces_are_put_back(tmp_path):
    lesson, real = small_lesson(tmp_path), np.abs
    (tmp_path / "mine.py").write_text("import numpy as np\nnp.abs = lambda x: 0 * x\ndef scale_vjp(g, x, c):\n    return g")
    with pytest.raises(kit.Wrong, match="your file replaced numpy.abs"):
        source.submission(tmp_path / "mine.py", lesson)
    assert np.abs is real
    later = source.from_source("import numpy as np\ndef scale_vjp(g, x, c):\n    np.abs = lambda x: 0 * x\n    return g * c", "<later>")
    assert "your file replaced numpy.abs" in run(lesson.checks[0], later, {}).message and np.abs is real


def test_an_answer_that_equals_everything_is_wrong():
    class Yes(np.ndarray):
        def __eq__(self, other):
            return np.ones(np.shape(other), dtype=bool)

        def __array_ufunc__(self, *args, **kwargs):
            return np.zeros((2, 3))
    with pytest.raises(kit.Wrong, match="expected 1, yours is 0"):
        kit.same(np.zeros((2, 3)).view(Yes), np.ones((2, 3)), "f")


def test_leaving_the_program_is_a_wrong_answer(tmp_path):
    lesson = small_lesson(tmp_path)
    ex = source.from_source("def scale_vjp(g, x, c):\n    raise SystemExit(0)", "<exit>")
    assert run(lesson.checks[0], ex, {}).state == "crashed"


# ---- parts ------------------------------------------------------------------------------------------------------------

def test_stubs_keep_everything_but_the_region(tmp_path):
    lesson = small_lesson(tmp_path)
    assert 'raise NotImplementedError("99.1 scale_vjp")' in lesson.stubs and "return g * c" not in lesson.stubs
    assert '"""The gradient of x for y = c·x."""' in lesson.stubs and "<solution" not in lesson.stubs


@pytest.mark.parametrize("source_text, message", [
    ("x = 1\n# <solution hint=\"a\">\n# </solution>\n", "in a function"),
    ("def f():\n    # <solution hint=\"a\">\n    return 1\n", "never ends"),
    ("def f():\n    # </solution>\n", "never began"),
    ("def f():\n    # <solution>\n    return 1\n    # </solution>\n", "not a marker"),
])
def test_markers_that_do_not_pair_up_are_refused(source_text, message):
    with pytest.raises(ValueError, match=message):
        source.regions(source_text, "01")


def test_automatic_mutants_differ_from_the_solution_and_from_each_other(tmp_path):
    lesson = small_lesson(tmp_path)
    texts = [source.without_docstrings(tree) for _, _, tree in automatic(lesson)]
    assert len(set(texts)) == len(texts) and source.without_docstrings(ast.parse(lesson.solution)) not in texts


def test_the_learner_is_told_which_misconception_it_is(tmp_path):
    lesson = small_lesson(tmp_path)
    mine = source.from_source("import numpy as np\ndef scale_vjp(g, x, c):\n    return np.full(x.shape, c)", "<mine>")
    assert diagnose(lesson, mine, "99.1") == ["ignores g!"]
    other = source.from_source("def scale_vjp(g, x, c):\n    return g * c + 1", "<other>")
    assert diagnose(lesson, other, "99.1") == []


def test_mistakes_that_differ_later_on_are_not_taken_for_each_other(tmp_path):
    """The verdict's line shows the first wrong entry; the misconception is found by all of them."""
    lesson = small_lesson(tmp_path)
    mine = source.from_source("import numpy as np\ndef scale_vjp(g, x, c):\n    y = np.full(x.shape, c)\n    y[-1, -1] += 1\n    return y", "<mine>")
    assert diagnose(lesson, mine, "99.1") == []


@pytest.mark.parametrize("got, message", [
    (None, "returned nothing"), (np.ones((3, 2)), r"shape should be \(2, 3\), yours is \(3, 2\)"),
    (np.array([[1, 2, 3], [4, 5, np.nan]]), "expected 6, yours is nan"), ("text", "expected numbers"),
    ([[1, 2, 3], [4, 5]], "rows of different lengths"), (np.ones((2, 3), dtype=bool), "dtype should be"),
    (np.array([[1, 2, 3], [4, 5.1, 6]]), r"1 of 6 entries differ; at \(1, 1\) expected 5, yours is 5.1"),
])
def test_verdicts_say_expected_got_and_where(got, message):
    with pytest.raises(kit.Wrong, match=message):
        kit.same(got, np.arange(1.0, 7.0).reshape(2, 3), "f")


def test_a_loop_that_never_ends_is_a_wrong_answer(tmp_path):
    lesson = small_lesson(tmp_path)
    ex = source.from_source("def scale_vjp(g, x, c):\n    while True:\n        c = c + 1", "<loop>")
    assert "still running" in run(lesson.checks[0], ex, {}, seconds=0.2).message


@pytest.mark.parametrize("given, change", [
    (np.ones(3), lambda a: a.fill(2)), ([1, 2], lambda a: a.pop()), ([1, 2], lambda a: a.reverse()), ({"a": 1}, lambda a: a.update(a=2)),
    ({"a": 1}, lambda a: a.clear())])
def test_writing_into_an_input_is_noticed(given, change):
    with pytest.raises(kit.Wrong, match="changed its input number 1"), kit.unchanged(given):
        change(given)
    with kit.unchanged(given):
        pass


@pytest.mark.parametrize("mark, new, same", [("", "1.04 K AE", True), ("", "1.10 K AE", False), ("# about", "1.10 K AE", True),
                                             ("# about", "1.0 K EH", False), ("# may differ", "7 K EH", True),
                                             ("# may differ", "1.0 K AE\nmore", False)])
def test_how_far_two_builds_of_a_notebook_may_differ(mark, new, same):
    from notebooks.build import difference

    def notebook(text):
        return json.dumps({"cells": [{"source": [mark], "outputs": [{"output_type": "stream", "text": [text]}]}]})
    assert (difference(notebook("1.0 K AE"), notebook(new)) is None) == same
