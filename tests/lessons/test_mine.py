"""`python -m lessons train --mine`: a transformer of the lessons' functions goes the way of the engine's own."""
from __future__ import annotations

import shutil

import numpy as np
import pytest

from lessons import mine, source
from lessons.__main__ import main

NUMBERS = sorted({seat.split(".")[0] for seat in mine.SEATS})


@pytest.fixture
def class_room(tmp_path):
    """Copies of the lessons that have seats, with untouched stubs, for a learner to work in."""
    for lesson in source.lessons():
        if lesson.number in NUMBERS:
            folder = tmp_path / lesson.name
            folder.mkdir()
            for name in ("solution.py", "mutants.py", f"test_{lesson.name}.py"):
                shutil.copy(lesson.path(name), folder / name)
            (folder / "exercises.py").write_text(lesson.stubs, encoding="utf-8")
    return source.lessons(tmp_path)


def write(lessons, number, text):
    lesson = next(x for x in lessons if x.number == number)
    lesson.path("exercises.py").write_text(text if isinstance(text, str) else text(lesson), encoding="utf-8")


def test_every_seat_is_an_exercise_and_every_part_is_called():
    parts = mine.gather(mine=False)
    assert sorted(p.exercise.id for p in parts.values()) == sorted(mine.SEATS)
    model, losses = mine.train(parts, steps=40)
    _, engines = mine.train(None, steps=40)
    np.testing.assert_allclose(losses, engines, rtol=2e-3)
    assert losses[-1] < 0.4 * losses[0]
    assert mine.read(model, parts, "moon")[:1] == ["M"]
    assert 0 < mine.loss_on(model, parts, mine.examples(["moon"])) < 2
    assert all(part.count for part in parts.values()), [name for name, part in parts.items() if not part.count]


def test_the_engines_own_operations_are_back_afterwards():
    from minigrad.autograd import Function

    with mine.installed(mine.gather(mine=False)):
        assert Function.registry["gelu"].override is not None
    assert all(op.override is None for op in Function.registry.values())


def test_reading_with_the_cache_is_reading_without():
    from minigrad.tasks import Tokenizer

    parts, tokenizer = mine.gather(mine=False), Tokenizer()
    model, _ = mine.train(parts, steps=40)
    for word in mine.WORDS[:5]:
        plain = mine.make(None, model.config)
        plain.load_state_dict(model.state_dict())
        [ids] = plain.generate([tokenizer.encode_source(word)], 8, stop=tokenizer.end_id)
        assert mine.read(model, parts, word) == tokenizer.decode(ids)


def test_yours_are_those_that_pass_their_checks(class_room):
    assert not any(part.yours for part in mine.gather(lessons=class_room).values())
    write(class_room, "07", lambda lesson: lesson.only("07.3", "07.5"))
    write(class_room, "05", lambda lesson: lesson.only("05.3").replace("beta2 * v", "beta1 * v"))     # passes nothing
    parts = mine.gather(lessons=class_room)
    assert {name for name, part in parts.items() if part.yours} == {"gelu", "embedding_vjp"}


def test_a_file_that_cannot_be_read_is_named_and_the_solution_sits_in(class_room, capsys):
    write(class_room, "06", "def visible(:\n")
    parts = mine.gather(lessons=class_room)
    assert "06_attention/exercises.py cannot be used: SyntaxError" in capsys.readouterr().out
    assert not parts["visible"].yours and parts["visible"](1, 1, 0).all()


def test_the_command(capsys):
    assert main(["train", "--mine", "--steps", "3"]) == 0
    out = capsys.readouterr().out
    assert f"of {len(mine.SEATS)}" in out and "07.7 greedy" in out
    assert main(["train", "--steps", "1"]) == 2


def test_a_function_that_goes_another_way_is_reported(monkeypatch, capsys):
    def gather(mine_too):
        parts = real(mine=False)
        parts["gelu"].function = lambda x: np.maximum(x, 0)
        return parts
    real = mine.gather
    monkeypatch.setattr(mine, "gather", gather)
    assert mine.report(steps=30) == 1
    assert "part at step" in capsys.readouterr().out


def test_the_capstone_counts_the_seats():
    assert f"in which {len(mine.SEATS)} places are functions of lessons 03 to 07" in " ".join(
        source.find("20").path("README.md").read_text(encoding="utf-8").split())
