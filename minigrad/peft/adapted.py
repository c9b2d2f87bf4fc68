"""AdaptedModel: a base model with adapters, each a twin of the base that shares its arrays.

    base          GPT, untouched: not a weight, not a flag, not a name of it changes
    model         the active adapter's twin: same frozen arrays, own trained ones
    ("french": twin, "rhyme": twin, …)      the others; switching is one assignment
"""
from __future__ import annotations

import contextlib
from dataclasses import dataclass

from minigrad.autograd import is_grad_enabled
from minigrad.backend import host
from minigrad.nn import Module, Parameter
from minigrad.peft.clone import clone
from minigrad.peft.method import Method
from minigrad.peft.targets import WRAPPED


@dataclass
class _Adapter:
    """One named adapter: its twin of the base, its method, and which of the base's parameters it trains copies of."""

    tree: Module
    method: Method
    copied: frozenset[str]
    merged: bool = False


def apply(model: Module, method: Method, name: str = "default", rng=None) -> AdaptedModel:
    """Adapt `model` by `method`: new modules, frozen arrays shared with the base, trained ones copied.

    The base model is left untouched. rng: the host generator for initial values (mg.manual_seed's if None).
    Raises ValueError for targets that match nothing, a rank larger than the matrix, or a method that trains nothing;
    TypeError for a model that is adapted already.

    >>> import minigrad as mg
    >>> gpt = mg.models.GPT(mg.models.GPTConfig(vocab_size=11, context=8, d_model=16, n_layers=2, n_heads=2))
    >>> adapted = mg.peft.apply(gpt, mg.peft.LoRA(rank=2, alpha=4))
    >>> adapted.summary()
    trainable params: 256 || all params: 7,328 || trainable%: 3.4934
    LoRA(rank=2, alpha=4, targets=('q_proj', 'v_proj'), dropout=0.0, scaling='alpha/r', init='kaiming', bias='none')
    effective scaling: s = alpha/r = 2
    on disk: 1,944 bytes || base: 31,472 bytes || 6.1769%
    """
    adapted = AdaptedModel(model)
    adapted.add(name, method, rng)
    return adapted


class AdaptedModel(Module):
    """A base model and its adapters; behaves like the base, with the active adapter at work. Made by `apply`.

    base: the model that was given · model: the active adapter's tree (its parameters are named "model.…" here) ·
    method: the active adapter's method · active: its name. Which adapter is active and which parameters are trainable
    are two things: `set_active` and `set_trainable` do not touch each other.

    >>> import minigrad as mg
    >>> gpt = mg.models.GPT(mg.models.GPTConfig(vocab_size=11, context=8, d_model=16, n_layers=2, n_heads=2))
    >>> adapted = mg.peft.apply(gpt, mg.peft.LoRA(rank=2), name="rhyme").add("accent", mg.peft.Adapter(bottleneck=4))
    >>> adapted.set_active("rhyme")
    >>> adapted.names, adapted.active, len(adapted.trainable_parameters())
    (['rhyme', 'accent'], 'rhyme', 8)
    >>> with adapted.disabled():
    ...     (adapted([[1, 2, 3]]) - gpt([[1, 2, 3]])).abs().amax().item()
    0.0
    """

    def __init__(self, base: Module):
        super().__init__()
        if isinstance(base, AdaptedModel):
            raise TypeError(f"this model is adapted already, by {base.method!r}. Give its base (adapted.base), or put "
                            "a second adapter beside the first: adapted.add(name, method)")
        if not isinstance(base, Module):
            raise TypeError(f"peft.apply(model, method) needs a model (mg.nn.Module); got {type(base).__name__}")
        # Plain attributes, put past Module's registry: only the active tree's parameters are this module's.
        self.__dict__.update(base=base, active="", _adapters={}, _plain=None)
        self.training = base.training

    # ---- adapters by name -------------------------------------------------------------------------------------------

    def add(self, name: str, method: Method, rng=None) -> AdaptedModel:
        """Put another adapter on the same base and make it active; costs what the method adds. Returns self."""
        if not isinstance(method, Method):
            raise TypeError(f"peft.apply needs a method such as LoRA(rank=8); got {method!r}"
                            + (" (a class: call it)" if isinstance(method, type) else ""))
        if not (isinstance(name, str) and name):
            raise TypeError(f"an adapter's name is a word, such as 'default'; got {name!r}")
        if lacking := [n for n in method.needs if not hasattr(self.base, n)]:
            raise TypeError(f"{type(method).__name__} works on a GPT; got {type(self.base).__name__}, which has no "
                            f"{', no '.join(lacking)}")
        if name in self._adapters:
            raise ValueError(f"there is an adapter called {name!r} already; delete({name!r}) it first")
        tree = method.attach(clone(self.base), host.rng() if rng is None else rng)
        tree.train(self.training)
        trained = [n for n, p in tree.named_parameters() if p.requires_grad]
        if not trained:
            raise ValueError(f"{method!r} trains no parameter of this {type(self.base).__name__}: nothing could be "
                             "learned")
        self._adapters[name] = _Adapter(tree, method, frozenset(trained) & self._base_names(tree))
        self.set_active(name)
        return self

    def take(self, other: AdaptedModel) -> None:
        """Move the adapters of another AdaptedModel of the same base here; its active one becomes active."""
        if other.base is not self.base:
            raise ValueError("take(other) needs adapters of the same base: other.base is not this model's")
        if known := [name for name in other.names if name in self._adapters]:
            raise ValueError(f"there is an adapter called {known[0]!r} already; give the other another name")
        self._adapters.update(other._adapters)
        self.set_active(other.active)

    def set_active(self, name: str) -> None:
        """Let forward and generate run through this adapter from now on: one assignment, whatever the model's size."""
        entry = self._entry(name)
        self.active, self.model = name, entry.tree
        if entry.tree.training != self.training:
            entry.tree.train(self.training)

    def set_trainable(self, flag: bool = True, name: str | None = None) -> None:
        """Unfreeze or freeze what an adapter (the active one) has of its own; the base's arrays stay frozen."""
        for p in self.own_parameters(name).values():
            p.requires_grad = flag
            p.grad = p.grad if flag else None

    def delete(self, name: str) -> None:
        """Forget an adapter; the last and the active one cannot be deleted."""
        self._entry(name)
        if name == self.active:
            raise ValueError(f"{name!r} is the active adapter; set_active another one first"
                             + ("" if len(self._adapters) > 1 else " (it is the only one: use adapted.base instead)"))
        del self._adapters[name]

    @property
    def names(self) -> list[str]:
        """The adapters' names, in the order in which they were added."""
        return list(self._adapters)

    @property
    def method(self) -> Method:
        """The active adapter's method."""
        return self._adapters[self.active].method

    @property
    def merged(self) -> bool:
        """Whether the active adapter is folded into its weights."""
        return self._adapters[self.active].merged

    # ---- running ----------------------------------------------------------------------------------------------------

    def forward(self, *args, **kwargs):
        """What the base's forward computes, with the active adapter; same arguments."""
        if self._plain is not None:
            return self._plain(*args, **kwargs)
        if self.merged and self.training and is_grad_enabled():
            raise RuntimeError("this adapter is merged, so its parameters would get no gradient: call unmerge() before "
                               "training, or eval() to use the model")
        return self.model(*args, **kwargs)

    def generate(self, prompts, max_new_tokens: int, **options) -> list:
        """Continue prompts as GPT.generate does."""
        return self.running.generate(prompts, max_new_tokens, **options)

    def new_cache(self, *args, **kwargs):
        """An empty KV cache for the model that is running."""
        return self.running.new_cache(*args, **kwargs)

    @property
    def running(self) -> Module:
        """The module that computes now: the active tree, or inside `disabled()` a plain twin of the base."""
        return self.model if self._plain is None else self._plain

    @property
    def config(self):
        """The configuration of what is running; it is the base's, unless a method has extended the context."""
        return self.running.config

    @property
    def position_shift(self) -> int:
        """How far real tokens' positions are shifted by a prefix or a prompt."""
        return self.running.position_shift

    @contextlib.contextmanager
    def disabled(self):
        """Inside, the model is the base, bit by bit, whatever has been trained or merged."""
        before = self._plain
        self.__dict__["_plain"] = clone(self.base).train(self.training)
        try:
            yield self
        finally:
            self.__dict__["_plain"] = before

    def train(self, mode: bool = True) -> AdaptedModel:
        """Training mode, for whatever is running."""
        super().train(mode)
        if self._plain is not None:
            self._plain.train(mode)
        return self

    def to(self, backend: str | None = None, dtype=None) -> AdaptedModel:
        """Move all adapters; the given base stays where it is, and `.base` becomes its moved twin. Returns self."""
        merged = [name for name, a in self._adapters.items() if a.merged]
        if merged:
            raise RuntimeError(f"adapter {merged[0]!r} is merged: unmerge() before moving the model")
        base = clone(self.base)
        for twin, p in zip(base.parameters(), self.base.parameters(), strict=True):
            twin.requires_grad = p.requires_grad
        before = {id(p.data): (p.data, p) for p in base.parameters()}       # the arrays are held, so ids stay theirs
        Module.to(base, backend, dtype)
        for a in self._adapters.values():
            for p in a.tree.parameters():
                if id(p.data) in before:
                    p.data = before[id(p.data)][1].data                     # what was shared stays shared
            a.tree.to(backend, dtype)
        self.__dict__["base"] = base
        if self._plain is not None:
            self.__dict__["_plain"] = clone(base).train(self.training)
        return self

    # ---- parameters -------------------------------------------------------------------------------------------------

    def named_trainable_parameters(self) -> list[tuple[str, Parameter]]:
        """(name, parameter) of what the active adapter trains."""
        return [(n, p) for n, p in self.named_parameters() if p.requires_grad]

    def trainable_parameters(self) -> list[Parameter]:
        """What the active adapter trains."""
        return [p for _, p in self.named_trainable_parameters()]

    def own_parameters(self, name: str | None = None) -> dict[str, Parameter]:
        """{name in the tree: parameter} of what an adapter does not share with the base, trainable or not."""
        a = self._entry(self.active if name is None else name)
        base = self._base_names(a.tree)
        return {n: p for n, p in a.tree.named_parameters() if n in a.copied or n not in base}

    def counts(self) -> tuple[int, int]:
        """(trainable, all) parameters; all counts the base's and the active adapter's."""
        return self.num_parameters(trainable_only=True), self.num_parameters()

    def describe(self) -> str:
        """What `summary` prints."""
        from minigrad.peft.files import size_on_disk

        (trainable, total), (own, base) = self.counts(), size_on_disk(self)
        percent = 100 * trainable / total
        return (f"trainable params: {trainable:,d} || all params: {total:,d} || trainable%: {percent:.4f}\n"
                f"{self.method.describe()}\non disk: {own:,d} bytes || base: {base:,d} bytes || {100 * own / base:.4f}%"
                + ("\nmerged" if self.merged else ""))

    def summary(self) -> None:
        """Print PEFT's line of counts, the method, what follows from its settings (LoRA's scaling), and sizes on disk."""
        print(self.describe())

    # ---- what the training loop calls -------------------------------------------------------------------------------

    def param_groups(self, lr: float) -> list[dict]:
        """The optimizer's groups, as the method wants them, under the names of `named_parameters`."""
        return [{**group, "params": [(f"model.{name}", p) for name, p in group["params"]]}
                for group in self.method.param_groups(self.model, lr)]

    def before_step(self, step: int, total: int) -> None:
        """Call before the forward pass of step 0 … total−1."""
        self.method.before_step(self.model, step, total)

    def penalty(self):
        """A scalar to add to the loss, or None."""
        return self.method.penalty(self.model)

    def after_step(self, step: int, total: int) -> None:
        """Call after the optimizer's step, before gradients are forgotten."""
        self.method.after_step(self.model, step, total)

    def bake(self) -> AdaptedModel:
        """Replace what only helped training (a prefix's network) by what it computes. Make a new optimizer after it."""
        a = self._adapters[self.active]
        a.method = a.method.bake(a.tree)
        return self

    # ---- merging ----------------------------------------------------------------------------------------------------

    def merge(self) -> AdaptedModel:
        """Fold the active adapter into its own copies of the weights; ValueError where a method cannot be."""
        if self.merged:
            raise RuntimeError(f"adapter {self.active!r} is merged already")
        self.method.merge(self.model)
        self._adapters[self.active].merged = True
        return self

    def unmerge(self) -> AdaptedModel:
        """Take the active adapter out again: every base array is back, bit by bit."""
        if not self.merged:
            raise RuntimeError(f"adapter {self.active!r} is not merged")
        self.method.unmerge(self.model)
        self._adapters[self.active].merged = False
        return self

    def merge_and_unload(self) -> Module:
        """A new plain model like the base with the active adapter in its weights and no trace of the method."""
        was_merged = self.merged
        if not was_merged:
            self.merge()
        weights = {n.replace(WRAPPED, ""): p for n, p in self.model.named_parameters(remove_duplicate=False)}
        plain = clone(self.base).train(self.training)
        for (name, new), old in zip(plain.named_parameters(), self.base.parameters(), strict=True):
            if weights[name].data is not old.data:
                new.data = weights[name].data.copy()
            new.requires_grad = old.requires_grad
        if getattr(self.base, "config", None) != getattr(self.model, "config", None):
            plain.config = self.model.config        # a longer context stays
        if not was_merged:
            self.unmerge()
        return plain

    # ---- files ------------------------------------------------------------------------------------------------------

    def save(self, directory, names: str | None = None) -> None:
        """Write the active adapter (not the base) to a folder, in Hugging Face PEFT's format; see files.py."""
        from minigrad.peft.files import save

        save(self, directory, names)

    def state(self) -> dict:
        """{name in the file: host array} of the active adapter."""
        return self.method.state(self.model, self.own_parameters())

    def load_state(self, state: dict) -> None:
        """Give the active adapter these values; ValueError, and nothing changed, if a name or shape does not fit."""
        if self.merged:
            raise RuntimeError(f"adapter {self.active!r} is merged: unmerge() before loading other values")
        self.method.load_state(self.model, self.own_parameters(), state)

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _entry(self, name: str) -> _Adapter:
        if name not in self._adapters:
            raise KeyError(f"no adapter is called {name!r}; there are {', '.join(map(repr, self._adapters))}")
        return self._adapters[name]

    def _base_names(self, tree: Module) -> set[str]:
        """The names, in `tree`, of the parameters that the base has too (a wrapper adds ".base_layer" on the way)."""
        base = {n for n, _ in self.base.named_parameters(remove_duplicate=False)}
        return {n for n, _ in tree.named_parameters() if n.replace(WRAPPED, "") in base}
