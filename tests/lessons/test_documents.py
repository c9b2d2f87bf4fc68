"""What lessons and pages say about themselves: front blocks, answers, links, examples, alternative texts, data of figures."""
from __future__ import annotations

import contextlib
import io
import json
import math
import pathlib
import re

import pytest

from lessons import source
from lessons.front import front, split

ROOT = pathlib.Path(__file__).resolve().parents[2]
LESSONS = source.lessons()
IDS = [x.name for x in LESSONS]
SECTIONS = ["The idea", "Predict before you run", "Exercises", "Common mistakes", "Check yourself", "Further reading"]
PAGES = sorted((ROOT / "lessons").glob("*.md"))
each_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=IDS)
each_page = pytest.mark.parametrize("page", PAGES, ids=[p.name for p in PAGES])


def readme(lesson) -> str:
    return lesson.path("README.md").read_text(encoding="utf-8")


@each_lesson
def test_front_block(lesson):
    f = front(lesson)
    assert f.id == lesson.number and f.run == f"pytest lessons/{lesson.name}"
    assert 5 <= f.teaching <= 40 and 15 <= f.exercises <= 60 and 30 <= f.teaching + f.exercises <= 75
    assert all("01" <= need < f.id for need in f.needs)
    assert 2 <= len(f.objectives) <= 4
    assert not [o for o in f.objectives if o.split()[0] in ("understand", "know", "learn", "appreciate", "see")], "not observable"
    assert sorted({n.split(".")[0] for n in f.build}) == sorted({e.name.split(".")[0] for e in lesson.exercises})
    assert (lesson.folder / f.notebook).resolve() == ROOT / "notebooks" / f"{lesson.name}.ipynb"


@each_lesson
def test_sections_and_length(lesson):
    _, body = split(readme(lesson))
    headings = re.findall(r"^(#+) (.+)$", body, flags=re.M)
    assert [t for level, t in headings if level == "#"] == [front(lesson).title]
    found = [t for level, t in headings if level == "##" and t in SECTIONS]
    assert found == SECTIONS
    prose = re.sub(r"<!-- mistakes:begin -->.*?<!-- mistakes:end -->|^\|.*$|```.*?```", "", body, flags=re.S | re.M)
    assert len(prose.split()) <= 950
    for e in lesson.exercises:
        assert f"| {e.id} |" in body, f"{e.id} is not in the table of exercises"


@each_lesson
def test_answers_are_right(lesson):
    """`<!-- answer: expression = value -->`: the value is the expression's, and stands in the answer's text."""
    answers = re.findall(r"<details>(.*?)</details>", readme(lesson), flags=re.S)
    assert 3 <= len(answers) <= 6
    numeric = 0
    for text in answers:
        for expression, value in re.findall(r"<!-- answer: (.+?) = ([^=]+?) -->", text):
            names = {"math": math, "round": round, "sum": sum, "abs": abs, "min": min, "max": max, "range": range, "len": len}
            got = eval(expression, {"__builtins__": {}}, names)
            assert math.isclose(got, float(value), rel_tol=1e-9), f"{expression} is {got}, not {value}"
            shown = text.split("<!--")[0].split("</summary>")[1]
            number = float(value)
            forms = {value, f"{number:,.0f}" if number == int(number) else value, value.replace("e-0", "e-"), f"{number:g}"}
            assert any(form in shown for form in forms), f"{value} is not in the answer {shown!r}"
            numeric += 1
    assert numeric, "one self-check question needs a numeric answer, with <!-- answer: … = … -->"


@each_lesson
def test_links_of_lessons(lesson):
    for target in re.findall(r"\]\(([^)#]+)\)", readme(lesson)):
        assert target.startswith("http") or (lesson.folder / target).exists(), target


@each_page
def test_links_of_pages(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


@each_page
def test_examples_of_pages_run(page):
    """Python blocks of one page run one after the other; a line `# prints: …` says what the block printed."""
    names: dict = {}
    for code in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, page.name, "exec"), names)
        assert re.findall(r"# prints: (.*)", code) == out.getvalue().splitlines()


# ---- notebooks and figures --------------------------------------------------------------------------------------------

@each_lesson
def test_notebook_shows_pictures_with_alternative_texts(lesson):
    notebook = json.loads((ROOT / "notebooks" / f"{lesson.name}.ipynb").read_text(encoding="utf-8"))
    assert "".join(notebook["cells"][0]["source"]).startswith("# ")
    pictures = [o for cell in notebook["cells"] for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) >= 2
    for picture in pictures:
        assert len(picture["metadata"]["image/png"]["alt"]) >= 20
    assert not [o for cell in notebook["cells"] for o in cell.get("outputs", []) if o["output_type"] == "error"]
    assert not [o for cell in notebook["cells"] for o in cell.get("outputs", []) if o.get("name") == "stderr"]
    assert len(notebook["cells"]) <= 40


def test_every_figure_lies_beside_its_data():
    pictures = sorted((ROOT / "figures").rglob("*.png"))
    assert pictures and not [p for p in pictures if not p.with_suffix(".csv").exists() and not p.with_suffix(".json").exists()]
    assert not [p for p in (ROOT / "figures/lessons").glob("*.png") if not p.with_suffix(".csv").exists()]


def test_images_in_pages_have_alternative_texts():
    for page in [ROOT / "README.md", *PAGES, *(x.path("README.md") for x in LESSONS)]:
        for alt in re.findall(r"!\[(.*?)\]\(", page.read_text(encoding="utf-8")):
            assert len(alt) >= 20, f"{page}: {alt!r}"
