"""Running checks on a module, and finding which known misconception its answers match."""
from __future__ import annotations

import contextlib
import io
import re
import signal
import threading
import traceback
import warnings
from dataclasses import dataclass, field

import numpy as np

from lessons.kit import Wrong, intact
from lessons.source import Lesson

_TODO = re.compile(r"^(\d\d\.\d+) ")


class TooSlow(BaseException):
    """A check ran longer than it may: most likely a loop that never ends. `except Exception` in that loop does not catch it."""


@dataclass(frozen=True)
class Verdict:
    """What one case of one check said: "passed", "todo", "wrong" or "crashed"; what; and where (file, line) if known."""

    state: str
    message: str = ""
    exercise: str = ""          # of a TODO: which one is not written
    file: str = ""
    line: int = 0
    got: np.ndarray | None = field(default=None, compare=False)     # all of a wrong array


def cases_of(check):
    """[(label, keyword arguments)] of a check."""
    return [(label(case, i), case) for i, case in enumerate(check.cases)]


def label(case: dict, number: int) -> str:
    """A short name for a case, the same in every process."""
    text = ",".join(f"{k}={v}" for k, v in case.items() if isinstance(v, int | float | str | bool | tuple | list | None))
    text = re.sub(r"[^\w.,=()+-]", "", text)
    return text if text and len(text) <= 48 and len(case) == text.count("=") else f"case{number + 1}" if case else ""


@contextlib.contextmanager
def limit(seconds: float):
    """TooSlow after this many seconds, where the platform can interrupt (a main thread with signals)."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_):
        raise TooSlow
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(check, ex, case: dict, seconds: float = 20.0) -> Verdict:
    """Run one case of a check on a module."""
    try:
        with limit(seconds), intact(), np.errstate(all="ignore"), warnings.catch_warnings(), \
                contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            check(ex, **case)
    except (Exception, TooSlow, SystemExit) as error:
        return verdict(error, getattr(ex, "__file__", ""), seconds)
    return Verdict("passed")


def verdict(error: BaseException, file: str = "", seconds: float = 20.0) -> Verdict:
    """What an exception out of a check means; the place it names is in `file`, the learner's, if it went through it."""
    frames = traceback.extract_tb(error.__traceback__)
    last = ([f for f in frames if f.filename == file] or frames)[-1]
    if isinstance(error, NotImplementedError) and (m := _TODO.match(str(error))):
        return Verdict("todo", str(error), m[1], last.filename, last.lineno)
    if isinstance(error, TooSlow):
        return Verdict("crashed", f"still running after {seconds:g} s; is there a loop that never ends?", "",
                       last.filename, last.lineno)
    if isinstance(error, Wrong):
        return Verdict("wrong", str(error), got=error.got)
    return Verdict("crashed", f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, "",
                   last.filename, last.lineno)


def verdicts(lesson: Lesson, ex, exercise: str, *, plug_ins: bool = False, seconds: float = 20.0,
             stop: bool = False) -> list[Verdict]:
    """The verdicts of all checks of one exercise; stop: end at the first that did not pass."""
    out = []
    for check in lesson.checks:
        if exercise not in check.exercises or check.plug_in and not plug_ins:
            continue
        for case in check.cases:
            out.append(run(check, ex, case, seconds))
            if stop and out[-1].state != "passed":
                return out
    return out


def _same_mistake(mine: list[Verdict], theirs: list[Verdict]) -> bool:
    """Whether two implementations got every verdict alike: its words, and all numbers of every wrong array."""
    return len(mine) == len(theirs) and all(a == b and _alike(a.got, b.got) for a, b in zip(mine, theirs, strict=True))


def _alike(a, b) -> bool:
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-6, atol=1e-12, equal_nan=True)


def diagnose(lesson: Lesson, ex, exercise: str) -> list[str]:
    """The diagnoses of all named mutants that answer every check of this exercise exactly as `ex` does."""
    mine = verdicts(lesson, ex, exercise, seconds=2.0)
    if all(v.state == "passed" for v in mine):
        return []
    found = []
    for mutant in lesson.mutants:
        if mutant.exercise == exercise and mutant.diagnosis not in found:
            if _same_mistake(mine, verdicts(lesson, lesson.mutant_module(mutant), exercise, seconds=2.0)):
                found.append(mutant.diagnosis)
    return found
