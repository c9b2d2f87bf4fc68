"""The front block of a lesson's README, and the index that is made of them.

    ---
    id: 15
    title: LoRA: scale, init, merge, swap
    teaching: 20 min
    exercises: 35 min
    needs: [04, 14]
    objectives:
      - implement …
    build: lora_init, lora_forward
    run: pytest lessons/15_lora
    notebook: ../../notebooks/15_lora.ipynb
    ---
"""
from __future__ import annotations

import re
from dataclasses import dataclass

from lessons.source import HERE, Lesson

FIELDS = ("id", "title", "teaching", "exercises", "needs", "objectives", "build", "run", "notebook")


@dataclass(frozen=True)
class Front:
    """What a lesson says of itself; minutes are whole numbers, needs are ids of lessons."""

    id: str
    title: str
    teaching: int
    exercises: int
    needs: list[str]
    objectives: list[str]
    build: list[str]
    run: str
    notebook: str


def split(text: str) -> tuple[str, str]:
    """(front block, body) of a README."""
    parts = re.match(r"---\n(.*?)\n---\n(.*)", text, flags=re.S)
    if not parts:
        raise ValueError("the README must begin with a front block between two lines ---")
    return parts[1], parts[2]


def front(lesson: Lesson) -> Front:
    """The front block of a lesson; ValueError for a field that is missing, unknown or not readable."""
    block, _ = split(lesson.path("README.md").read_text(encoding="utf-8"))
    found: dict = {}
    for line in block.splitlines():
        if line.startswith("  - "):
            found.setdefault("objectives", []).append(line[4:].strip())
        else:
            name, _, value = line.partition(":")
            found.setdefault(name, [] if name == "objectives" else value.strip())
    if list(found) != list(FIELDS):
        raise ValueError(f"{lesson.name}: the front block has {', '.join(found)}; it needs {', '.join(FIELDS)}, in this order")
    minutes = {}
    for name in ("teaching", "exercises"):
        if not (m := re.fullmatch(r"(\d+) min", found[name])):
            raise ValueError(f"{lesson.name}: {name} is {found[name]!r}; write it as '20 min'")
        minutes[name] = int(m[1])
    if not re.fullmatch(r"\[(\d\d(, \d\d)*)?\]", found["needs"]):
        raise ValueError(f"{lesson.name}: needs is {found['needs']!r}; write it as [04, 14], or []")
    return Front(**{**found, **minutes, "needs": re.findall(r"\d\d", found["needs"]),
                    "build": [n.strip() for n in found["build"].split(",")]})


def index(lessons: list[Lesson]) -> str:
    """The table of all lessons, as Markdown."""
    rows = ["| | lesson | notebook | reading + exercises | exercises | needs |", "|---|---|---|---|---|---|"]
    minutes = count = 0
    for lesson in lessons:
        f = front(lesson)
        notebook = f"[notebook](../notebooks/{lesson.name}.ipynb)"
        rows.append(f"| {f.id} | [{f.title}]({lesson.name}/README.md) | {notebook} | {f.teaching} + {f.exercises} min | "
                    f"{len(lesson.exercises)} | {', '.join(f.needs) or '–'} |")
        minutes, count = minutes + f.teaching + f.exercises, count + len(lesson.exercises)
    rows.append(f"| | all | | {minutes / 60:.0f} hours | {count} | |")
    return "\n".join(rows)


INDEX = HERE / "README.md"
BEGIN, END = "<!-- index:begin -->", "<!-- index:end -->"


def with_index(text: str, lessons: list[Lesson]) -> str:
    """The text of lessons/README.md with the table made again."""
    head, rest = text.split(BEGIN, 1)
    return f"{head}{BEGIN}\n{index(lessons)}\n{END}{rest.split(END, 1)[1]}"
