"""The registry: from a method's name to its class. The feature table, the command line's choices and the universal
tests are all generated from it.

>>> from minigrad import peft
>>> peft.create("lora", rank=4)
LoRA(rank=4, alpha=16, targets=('q_proj', 'v_proj'), dropout=0.0, scaling='alpha/r', init='kaiming', bias='none')
"""
from __future__ import annotations

import dataclasses
import difflib

from minigrad.peft.method import Method

_METHODS: dict[str, type[Method]] = {}


def register(cls: type[Method]) -> type[Method]:
    """Class decorator: put a method into the registry under its `name`, checking that its facts are filled in."""
    for fact in ("name", "paper", "formula", "extra_latency"):
        if not getattr(cls, fact):
            raise ValueError(f"method {cls.__name__} needs a class attribute {fact!r} for the feature table")
    if not cls.mergeable and not cls.why_not_mergeable:
        raise ValueError(f"method {cls.__name__} is not mergeable: say why in why_not_mergeable")
    if _METHODS.get(cls.name, cls).__qualname__ != cls.__qualname__:
        raise ValueError(f"two methods are called {cls.name!r}: {_METHODS[cls.name].__name__} and {cls.__name__}")
    _METHODS[cls.name] = cls
    return cls


def methods() -> dict[str, type[Method]]:
    """{name: class} of every method, in the order in which they are taught."""
    return dict(_METHODS)


def create(name: str, **hyper) -> Method:
    """The method called `name` with these hyper-parameters; ValueError for an unknown name or hyper-parameter.

    >>> create("topk", k=2)
    TopK(k=2, head=True)
    """
    cls = _METHODS.get(name)
    if cls is None:
        raise ValueError(f"unknown method {name!r}: known are {', '.join(_METHODS)}" + _hint(name, _METHODS))
    known = {f.name: f for f in dataclasses.fields(cls)}
    for key in hyper:
        if key not in known:
            raise ValueError(f"method {name!r} has no hyper-parameter {key!r}: it has "
                             f"{', '.join(known) or 'none'}" + _hint(key, known))
    required = [f.name for f in known.values() if f.default is dataclasses.MISSING and f.name not in hyper]
    if required:
        raise ValueError(f"method {name!r} needs a value for {', '.join(required)}")
    return cls(**hyper)


def table() -> list[dict]:
    """The feature table: one dict per method with its name, class, paper, formula and what it promises.

    >>> [row["mergeable"] for row in table() if row["method"] in ("adapter", "lora")]
    ['no', 'yes']
    """
    return [{"method": name, "class": cls.__name__, "paper": cls.paper, "trained parameters": cls.formula,
             "starts at base": "yes" if cls.starts_at_base else "no", "mergeable": "yes" if cls.mergeable else "no",
             "extra latency": cls.extra_latency} for name, cls in _METHODS.items()]


def _hint(word, known) -> str:
    close = difflib.get_close_matches(str(word), list(known), 1)
    return f". Did you mean {close[0]!r}?" if close else ""
