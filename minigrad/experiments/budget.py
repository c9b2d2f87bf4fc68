"""Matched budgets: of each method the size whose number of trained parameters, by its closed form, is nearest to a budget.

Which hyper-parameter sets a method's size is found by trying: the first whole number among its fields that changes the
count. A method that enters the registry tomorrow is fitted like the others, without a line here.
"""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from minigrad import peft, tasks
from minigrad.experiments.adaptation import SIZES

# Methods whose size is not one number: {name: (word for the size, size -> hyper-parameters)}.
SHAPED = {
    "ptuning": ("vectors", lambda n: {"template": ("p",) * (n - n // 2) + ("x",) + ("p",) * (n // 2)}),
    "combined": ("bottleneck", lambda n: {"parts": (peft.PrefixTuning(length=n), peft.ScaledParallelAdapter(bottleneck=n))}),
}


@dataclass(frozen=True)
class Fitted:
    """A method at the size that a budget gives it: what to create it with, its count, and the size in words."""

    name: str
    hyper: dict
    count: int
    size: str


def trainable_alone() -> list[str]:
    """The registered methods that train a model by themselves, in the registry's order: all that can be made by name.

    >>> {"full", "prompt", "lora"} <= set(trainable_alone())
    True
    """
    return list(peft.methods())


def fit(name: str, model, budget: int, room: int = 0) -> Fitted:
    """The method at the size with the count nearest to `budget` on this model; of two sizes as near, the smaller.

    room: tokens of the context that prefixes and prompts must leave free. No rank is larger than the model is wide, even
    where it could be (VeRA's matrices are not trained, but they have to be multiplied with). A method without a size keeps
    its count.

    >>> import minigrad as mg
    >>> gpt = mg.models.GPT(mg.models.GPTConfig(vocab_size=80))
    >>> fit("lora", gpt, 8000)
    Fitted(name='lora', hyper={'rank': 4, 'alpha': 8}, count=8192, size='rank 4')
    >>> fit("bitfit", gpt, 8000).size
    'as it is'
    """
    word, hyper = _size(name, model.config)
    if word is None:
        return Fitted(name, hyper(None), peft.create(name, **hyper(None)).count(model.config), "as it is")
    takes_room = _shift(peft.create(name, **SIZES.get(name, {})), model) > 0

    def count(n: int) -> int | None:
        if word == "rank" and n > model.config.d_model:
            return None
        try:
            method = peft.create(name, **hyper(n))
            if room and takes_room and model.config.context - _shift(method, model) < room:
                return None
            return method.count(model.config)
        except ValueError:                          # too small for the method, or too large for the model
            return None

    low = next((n for n in range(100) if count(n) is not None), None)
    if low is None:
        raise ValueError(f"no size of {name!r} fits this model: tried {word} 0 … 99")
    high, top = low, 2 * low + 1
    while (c := count(top)) is not None and c < budget:
        high, top = top, 2 * top + 1
    while top - high > 1:                           # counts grow with the size: the answer is one of these two
        middle = (high + top) // 2
        c = count(middle)
        high, top = (middle, top) if c is not None and c < budget else (high, middle)
    best = min((n for n in (high, top) if count(n) is not None), key=lambda n: (abs(count(n) - budget), n))
    return Fitted(name, hyper(best), count(best), f"{word} {best}")


def fit_all(methods, model, budget: int, task) -> dict[str, Fitted]:
    """{name: the method at the size nearest to the budget}, with room for the task's longest example."""
    tokenizer = tasks.Tokenizer()
    task.add_symbols(tokenizer)
    longest = max(len(s.ids) for s in tasks.encode_examples(tokenizer, task.examples("adapt")))
    return {name: fit(name, model, budget, longest) for name in methods}


def record(fitted: dict[str, Fitted], budget: int | None) -> dict:
    """What the JSON beside a figure says of the budget and of each method's size."""
    return {"budget": budget, "sizes": {f.name: {"size": f.size, "trainable": f.count} for f in fitted.values()}} if fitted \
        else {}


def explain(fitted: dict[str, Fitted], budget: int) -> str:
    """The sizes as text: what each method was given, and how far its count is from the budget.

    >>> print(explain({"lora": Fitted("lora", {}, 8192, "rank 4")}, 8000))
    sizes nearest to 8,000 trained parameters: lora rank 4 (8,192)
    """
    tuned = ", ".join(f"{f.name} {f.size} ({f.count:,})" for f in fitted.values() if f.size != "as it is")
    as_is = ", ".join(f"{f.name} ({f.count:,})" for f in fitted.values() if f.size == "as it is")
    return f"sizes nearest to {budget:,} trained parameters: {tuned or 'none'}" + (
        f"\nmethods whose number of parameters cannot be chosen: {as_is}" if as_is else "")


def _shift(method, model) -> int:
    """How much of the context a method takes."""
    return peft.apply(model, method, rng=np.random.default_rng(0)).position_shift


def _size(name: str, config):
    """(word for the size or None, size -> hyper-parameters) of a method."""
    if name in SHAPED:
        return SHAPED[name]
    usual = dict(SIZES.get(name, {}))
    fields = dataclasses.fields(peft.methods()[name])
    given = {f.name: f.default for f in fields if f.default is not dataclasses.MISSING} | usual
    for f in fields:
        value = given.get(f.name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            continue

        def hyper(n, word=f.name):
            return {**usual, word: n, **_same_factor(word, n, given)}
        try:
            counts = {peft.create(name, **hyper(n)).count(config) for n in (value, value + 1)}
        except ValueError:
            continue
        if len(counts) > 1:
            return f.name, hyper
    return None, lambda n: usual


def _same_factor(word: str, n: int, given: dict) -> dict:
    """α for rank n with which α/r stays what it is; nothing for other sizes."""
    if word != "rank" or not given.get("alpha"):
        return {}
    alpha = given["alpha"] * n / given["rank"]
    return {"alpha": int(alpha) if alpha == int(alpha) else alpha}
