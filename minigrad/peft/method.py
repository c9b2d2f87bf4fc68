"""Method: what every way of fine-tuning has in common, and the only thing the rest of the house knows of one.

A method is a frozen dataclass: its fields are its hyper-parameters and nothing else. Whatever it needs to remember
while training lives in the modules that `attach` builds, so that one method object can adapt any number of models.

The life of a method, in the order of the calls:

    model = method.attach(model, rng)           once: build the new modules, thaw what is trained
    groups = method.param_groups(model, lr)     once: what the optimizer gets
    method.before_step(model, step, total)      each step, before the forward pass
    loss = loss + method.penalty(model)         each step, where there is one
    method.after_step(model, step, total)       each step, after optimizer.step(); gradients are still there
    method = method.bake(model)                 once at the end, where training used scaffolding
    method.merge(model); method.unmerge(model)  fold into the base's weights and take out again, where possible
    method.state(model, own); method.load_state(model, own, state)      to a file and back

`model` is always the adapted tree, a twin of the base that shares its arrays (clone.py): a method may do with it
what it likes, except write into an array that it did not make or `thaw`.
"""
from __future__ import annotations

import dataclasses
import inspect
import math
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

from minigrad.backend import host
from minigrad.nn import Module, Parameter

PEFT_PREFIX = "base_model.model."                   # what Hugging Face PEFT puts before every name in its files


@dataclass(frozen=True)
class Method:
    """Base class: override attach and count, and of the rest what differs.

    The class-level facts are the method's row in the feature table. name: what the command line calls it ·
    paper: arXiv id · formula: number of trained parameters · starts_at_base: whether the adapted model equals the base
    before the first step (with default settings) · mergeable: whether it folds into the base's weights ·
    extra_latency: what it costs at inference. needs: what of a GPT a model must have for it.
    """

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    starts_at_base: ClassVar[bool] = True
    mergeable: ClassVar[bool] = False
    extra_latency: ClassVar[str] = "none"
    why_not_mergeable: ClassVar[str] = ""           # one clause; `merge` puts it into its message
    needs: ClassVar[tuple[str, ...]] = ("config", "blocks", "token_embedding", "norm")

    def __post_init__(self):
        """Hold every hyper-parameter to the kind that its field names; a list or array becomes a tuple.

        A subclass with checks of its own calls this first. Raises ValueError.
        """
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, of_kind(getattr(self, f.name), f.type, f"{type(self).__name__}: {f.name}"))

    # ---- building ---------------------------------------------------------------------------------------------------

    def attach(self, model: Module, rng) -> Module:
        """Change `model` (a frozen twin of the base) and return it, or the module that takes its place.

        rng: the host generator from which all initial values are drawn, so every backend starts from the same ones.
        """
        raise NotImplementedError(f"{type(self).__name__} must define attach(self, model, rng)")

    def count(self, config) -> int:
        """How many parameters are trained on a model of this configuration: the closed form, without a model."""
        raise NotImplementedError(f"{type(self).__name__} must define count(self, config)")

    def describe(self) -> str:
        """One line for `summary()`: the hyper-parameters and what follows from them."""
        return repr(self)

    # ---- training ---------------------------------------------------------------------------------------------------

    def param_groups(self, model: Module, lr: float) -> list[dict]:
        """The optimizer's groups: each a dict with "params" (name, parameter) pairs and its own "lr"."""
        return [{"params": [(n, p) for n, p in model.named_parameters() if p.requires_grad], "lr": lr}]

    def before_step(self, model: Module, step: int, total: int) -> None:
        """Called before the forward pass of step 0 … total−1 (AdapterDrop draws here what to skip)."""

    def penalty(self, model: Module):
        """A scalar tensor to add to the loss, or None for nothing."""

    def after_step(self, model: Module, step: int, total: int) -> None:
        """Called after the optimizer's step, before gradients are forgotten (AdaLoRA moves its budget here)."""

    def bake(self, model: Module) -> Method:
        """Replace what only helped training by what it computes; returns the method that describes the result."""
        return self

    # ---- merging ----------------------------------------------------------------------------------------------------

    def merge(self, model: Module) -> None:
        """Fold the method into the tree's weights, so that inference costs what the base's does."""
        if not self.mergeable:
            raise ValueError(f"{type(self).__name__} cannot be merged: {self.why_not_mergeable}. Keep it as it is; "
                             f"its cost at inference is {self.extra_latency}")

    def unmerge(self, model: Module) -> None:
        """Undo merge bit by bit: the arrays from before are put back, nothing is subtracted."""

    # ---- files ------------------------------------------------------------------------------------------------------

    def state(self, model: Module, own: dict[str, Parameter]) -> dict:
        """{name in the file: host array}; `own` is what the adapter has of its own, by its names in the tree."""
        return {PEFT_PREFIX + name: p.numpy() for name, p in own.items()}

    def load_state(self, model: Module, own: dict[str, Parameter], state: dict) -> None:
        """Take the values that `state` gave. Raises ValueError naming every missing, extra or misshaped tensor."""
        fill({PEFT_PREFIX + name: p for name, p in own.items()}, state)

    def stored(self) -> Method:
        """The method that a file describes: this one, or what `bake` makes of it."""
        return self


# ---- tools for writing a method -------------------------------------------------------------------------------------

def parameter(values, like: Parameter) -> Parameter:
    """A new trainable parameter with these host values, on the backend and with the dtype of `like`."""
    return Parameter(like.backend.send(host.np.ascontiguousarray(values, dtype=like.dtype)))


def fixed(values, like: Parameter) -> Parameter:
    """Like `parameter`, but never trained: for `register_buffer`, so that it moves with the module and no optimizer or
    `set_trainable` finds it. Being a parameter, it does not count as an activation where an operation keeps it."""
    p = parameter(values, like)
    p.requires_grad = False
    return p


def fill(own: dict[str, Parameter], state: dict) -> None:
    """Give each parameter the host array of its name; all names and shapes are checked before the first changes."""
    problems = [f"missing: {name}, shape {tuple(p.shape)}" for name, p in own.items() if name not in state]
    problems += [f"unexpected: {name}, shape {tuple(a.shape)}" for name, a in state.items() if name not in own]
    problems += [f"wrong shape: {name} is {tuple(state[name].shape)}, the model needs {tuple(p.shape)}"
                 for name, p in own.items() if name in state and tuple(state[name].shape) != tuple(p.shape)]
    if problems:
        raise ValueError("\n  ".join(["the adapter's tensors do not fit this model; nothing was changed.", *problems]))
    for name, p in own.items():
        p.data = p.backend.send(host.np.ascontiguousarray(state[name], dtype=p.dtype))


def whole_number(value, what: str, least: int = 1) -> int:
    """`value` if it is an int of at least `least`; ValueError naming `what` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{what} must be a whole number of at least {least}; got {value!r}")
    return value


def positive(value, what: str):
    """`value` if it is above 0, for a factor without which nothing is learned; ValueError naming `what` otherwise."""
    if not value > 0:
        raise ValueError(f"{what} must be above 0; got {value!r}")
    return value


# What a field's type asks of a value. Ranges are the methods' own affair.
KINDS = {
    "int": ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    "float": ("a finite number", lambda v: isinstance(v, Real) and not isinstance(v, bool) and math.isfinite(v)),
    "bool": ("True or False", lambda v: isinstance(v, bool)),
    "str": ("a word", lambda v: isinstance(v, str)),
    "tuple": ("a tuple", lambda v: isinstance(v, tuple)),
    "dict": ("a dict", lambda v: isinstance(v, dict)),
    "None": ("None", lambda v: v is None),
}
ANYTHING = ("anything", lambda v: True)


def of_kind(value, kind, what: str):
    """`value` if it is what `kind`, the type of a field, allows; ValueError naming `what` otherwise. Types that are not
    in KINDS allow everything.

    >>> of_kind(["q_proj"], "tuple[str, ...] | str", "LoRA: targets")
    ('q_proj',)
    >>> of_kind(2.5, "int | None", "PrefixTuning: hidden")
    Traceback (most recent call last):
    ValueError: PrefixTuning: hidden must be a whole number or None; got 2.5
    """
    value, words = value.tolist() if hasattr(value, "tolist") else value, []                # NumPy's numbers and arrays
    value = tuple(value) if isinstance(value, list) else value
    kind = kind if isinstance(kind, str) else inspect.formatannotation(kind)
    for choice in kind.split(" | "):
        outer, _, inner = choice.removesuffix(", ...]").partition("[")
        word, fits = KINDS.get(outer, ANYTHING)
        of_what, each = KINDS.get(inner, ANYTHING)
        if fits(value) and (not inner or all(map(each, value))):
            return value
        words.append(f"{word} (each entry {of_what})" if inner else word)
    raise ValueError(f"{what} must be {' or '.join(words)}; got {value!r}")


def one_of(value, choices, what: str):
    """`value` if it is among the choices; ValueError listing them otherwise."""
    if value not in choices:
        raise ValueError(f"{what} must be one of {', '.join(map(repr, choices))}; got {value!r}")
    return value


def fields(method: Method) -> dict:
    """{hyper-parameter: value}, fit for JSON."""
    return {f.name: _plain(getattr(method, f.name)) for f in dataclasses.fields(method)}


def _plain(value):
    if isinstance(value, Method):                   # a part of a combined method
        return {"method": value.name, **fields(value)}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
