"""What a check is written with. It needs NumPy alone, and runs the same inside pytest and without it.

    @exercise("03.1")
    @cases(small=[(3,), (2, 1)], big=[(2, 3), (2, 4)])
    def test_unbroadcast(ex, small, big):
        g = rng(3).normal(size=big)
        (want,) = num_vjp(lambda a: np.broadcast_to(a, big), [np.zeros(small)], g)
        same(ex.unbroadcast(g.copy(), small), want, f"unbroadcast {big} -> {small}")

`ex` is the file under test: the learner's, the solution, or a mutant of it. A check never asks which.
"""
from __future__ import annotations

import builtins
import contextlib
import math
import sys
from dataclasses import dataclass

import numpy as np


class Wrong(AssertionError):
    """The verdict of a check on a wrong answer: one line that says what was expected, what came, and where.

    got: the whole array that came, where it was one; two mistakes with the same line may differ in the rest of it.
    """

    def __init__(self, message: str, got: np.ndarray | None = None):
        super().__init__(message)
        self.got = got


@dataclass(frozen=True)
class Mutant:
    """A wrong answer that people give: the exercise, a name, what to tell who gives it, and its source.

    source replaces the function of the same name; a class replaces the methods that it lists.
    """

    exercise: str
    name: str
    diagnosis: str
    source: str


def exercise(*ids: str, plug_in: bool = False):
    """Mark a check as belonging to these exercises; plug_in: it runs the learner's functions inside the live engine."""
    def mark(check):
        check.exercises, check.plug_in = ids, plug_in
        if not hasattr(check, "cases"):
            check.cases = [{}]
        return check
    return mark


def cases(rows=None, **columns):
    """Run a check once per row: a list of dicts, or one list per argument, read side by side."""
    if columns:
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"cases: every argument needs as many values as the others; got {lengths}")
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if not rows:
        raise ValueError("cases: no case, so nothing would be checked")

    def mark(check):
        check.cases = list(rows)
        return check
    return mark


def rng(seed: int):
    """NumPy's generator with this seed."""
    return np.random.default_rng(seed)


def fail(message: str):
    """Raise Wrong with this message."""
    raise Wrong(message)


def check(condition, message: str) -> None:
    """Raise Wrong with this message unless the condition holds."""
    if not condition:
        raise Wrong(message)


def as_array(value, what: str) -> np.ndarray:
    """The learner's value as a NumPy array; Wrong if it is none, or nothing at all."""
    if value is None:
        raise Wrong(f"{what}: your function returned nothing (None); did you forget `return`?")
    if value is NotImplemented or isinstance(value, type) or callable(value) and not hasattr(value, "shape"):
        raise Wrong(f"{what}: expected numbers, yours is {value!r}")
    if hasattr(value, "numpy") and hasattr(value, "requires_grad"):         # a minigrad Tensor
        value = value.numpy()
    try:
        array = np.asarray(value)
    except ValueError:
        raise Wrong(f"{what}: expected one array, yours has rows of different lengths") from None
    if array.dtype.kind not in "biufc":
        raise Wrong(f"{what}: expected numbers, yours is {_short(value)}")
    return array


def same(got, want, what: str, *, rtol: float = 1e-4, atol: float = 1e-6, dtype: bool = False) -> None:
    """Wrong unless `got` has the shape and the values of `want`; dtype=True: and its dtype.

    Entries may differ by atol + rtol·|want|. NaN equals nothing, not even NaN, unless `want` has it there too.
    """
    want = np.asarray(want)
    got = as_array(got, what)
    if got.shape != want.shape:
        raise Wrong(f"{what}: shape should be {want.shape}, yours is {got.shape}", got)
    if (want.dtype.kind == "b") != (got.dtype.kind == "b"):
        raise Wrong(f"{what}: dtype should be {want.dtype}, yours is {got.dtype}")
    if dtype and got.dtype != want.dtype:
        raise Wrong(f"{what}: dtype should be {want.dtype}, yours is {got.dtype}")
    with np.errstate(all="ignore"):
        equal = (got == want) | (np.isnan(got) & np.isnan(want)) if want.dtype.kind in "fc" else got == want
        near = np.abs(got.astype(complex) - want) <= atol + rtol * np.abs(want)
    good = equal | (near & np.isfinite(want))
    if not good.all():
        at = tuple(int(i) for i in np.argwhere(~good)[0])
        where = f"{int((~good).sum())} of {good.size} entries differ; at {at} " if good.ndim else ""
        raise Wrong(f"{what}: {where}expected {_number(want[at])}, yours is {_number(got[at])}", got)


def same_each(rows, **tolerances) -> None:
    """`same` for several numbers, [(got, want, what), …]: Wrong at the first that differs, which knows all the others too."""
    for got, want, what in rows:
        try:
            same(got, want, what, **tolerances)
        except Wrong as error:
            gots = [as_array(one, about).ravel() for one, _, about in rows]
            raise Wrong(str(error), np.concatenate(gots)) from None


def num_vjp(f, args, cotangent, eps: float = 1e-5) -> list[np.ndarray]:
    """Σ cotangent·∂f/∂arg for each argument by central differences in float64: what a gradient is compared with."""
    args = [np.array(a, dtype=np.float64) for a in args]
    cotangent = np.asarray(cotangent, dtype=np.float64)
    gradients = []
    for a in args:
        g = np.zeros_like(a)
        for at in np.ndindex(a.shape):
            old = a[at]
            a[at] = old + eps
            above = (cotangent * f(*args)).sum()
            a[at] = old - eps
            below = (cotangent * f(*args)).sum()
            a[at] = old
            g[at] = (above - below) / (2 * eps)
        gradients.append(g)
    return gradients


@contextlib.contextmanager
def unchanged(*inputs):
    """Wrong if one of these arrays, lists or dicts changes in the block: no function may write into its input."""
    before = [a.copy() for a in inputs]
    yield
    for number, (a, old) in enumerate(zip(inputs, before, strict=True), 1):
        if not isinstance(a, np.ndarray):
            now, then = ([*x, *x.values()] if isinstance(x, dict) else [*x] for x in (a, old))
            if len(now) != len(then) or any(x is not y for x, y in zip(now, then, strict=True)):
                a.clear()
                (a.update if isinstance(a, dict) else a.extend)(old)        # the same case may be run again
                raise Wrong(f"your function changed its input number {number}, a {type(a).__name__}; work on a copy")
        elif a.shape != old.shape or not np.array_equal(a, old, equal_nan=a.dtype.kind in "fc"):
            raise Wrong(f"your function changed its input number {number}; compute a new array instead of writing into it",
                        a.copy())


TOOLS = (np, np.linalg, np.random, math, builtins)      # what checks compute with, and a submission can reach


@contextlib.contextmanager
def intact():
    """Wrong if the block replaced a function of NumPy, math or Python itself; it is put back, so that nobody else meets it."""
    before, replaced, depth = [(m, dict(vars(m))) for m in TOOLS], [], sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(depth)
        for module, names in before:
            for name, value in names.items():
                if not name.startswith("_") and vars(module).get(name) is not value:
                    setattr(module, name, value)
                    replaced.append(f"{module.__name__}.{name}")
    if replaced:
        raise Wrong(f"your file replaced {', '.join(replaced)}, which the checks use too; write a function of your own")


class calls:
    """A function that counts how often it is called: `f = calls(ex.f); …; f.count`."""

    def __init__(self, function):
        self.function, self.count = function, 0

    def __call__(self, *args, **kwargs):
        self.count += 1
        return self.function(*args, **kwargs)


def _number(value) -> str:
    return f"{value:.6g}" if isinstance(value, np.floating | float) else str(value)


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
