"""Running checks on a module, and finding which known misconception its answers match."""
from __future__ import annotations

import contextlib
import io
import re
import signal
import threading
import traceback
import warnings
from dataclasses import dataclass

import numpy as np

from lessons.kit import Wrong
from lessons.source import Lesson

_TODO = re.compile(r"^(\d\d\.\d+) ")


class TooSlow(Exception):
    """A check ran longer than it may: most likely a loop that never ends."""


@dataclass(frozen=True)
class Verdict:
    """What one case of one check said: "passed", "todo", "wrong" or "crashed"; what; and where (file, line) if known."""

    state: str
    message: str = ""
    exercise: str = ""          # of a TODO: which one is not written
    file: str = ""
    line: int = 0


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
        with limit(seconds), np.errstate(all="ignore"), warnings.catch_warnings(), \
                contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            check(ex, **case)
    except Exception as error:
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
        return Verdict("wrong", str(error))
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


def _signature(found: list[Verdict]) -> list[tuple[str, str]]:
    """What two implementations must share to be the same mistake: every verdict with its numbers."""
    return [(v.state, v.message) for v in found]


def diagnose(lesson: Lesson, ex, exercise: str) -> list[str]:
    """The diagnoses of all named mutants that answer every check of this exercise exactly as `ex` does."""
    mine = _signature(verdicts(lesson, ex, exercise, seconds=2.0))
    if all(state == "passed" for state, _ in mine):
        return []
    found = []
    for mutant in lesson.mutants:
        if mutant.exercise == exercise and mutant.diagnosis not in found:
            theirs = _signature(verdicts(lesson, lesson.mutant_module(mutant), exercise, seconds=2.0))
            if theirs == mine:
                found.append(mutant.diagnosis)
    return found
