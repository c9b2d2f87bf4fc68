"""Several methods on one model at once: LoRA with a prefix, a prefix with adapters, …"""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.backend import host
from minigrad.nn import Module
from minigrad.peft.clone import clone
from minigrad.peft.layers import Mergeable
from minigrad.peft.method import Method
from minigrad.peft.parallel import ScaledParallelAdapter
from minigrad.peft.prefix import PrefixTuning
from minigrad.peft.registry import create, register
from minigrad.peft.targets import WRAPPED


@register
@dataclass(frozen=True)
class Combined(Method):
    """What `parts` do, one after the other: each is attached to what the ones before it have made.

    The default is the "mix and match" adapter: a prefix in attention, a scaled parallel adapter beside the MLP. A part
    that replaces the whole model (PromptTuning, PTuning, PreEmbed, InfixTuning, IntrinsicDimension) wants the plain one,
    so it comes first. Two parts must not train the same parameter.
    Count: the sum of the parts'. Starts at the base and mergeable: if all parts are (the default is neither).
    Paper: arXiv 2110.04366 for the default.

    >>> import minigrad as mg
    >>> from minigrad.peft import BitFit, LoRA
    >>> both = Combined((LoRA(rank=8), BitFit()))
    >>> both.count(mg.models.GPTConfig(vocab_size=80)), both.mergeable      # 16384 + 5760
    (22144, True)
    """

    parts: tuple = (PrefixTuning(length=8), ScaledParallelAdapter(bottleneck=16))

    name = "combined"
    paper = "2110.04366"
    formula = "Σ of its parts"
    starts_at_base = False
    why_not_mergeable = "not all of its parts can be"
    extra_latency = "that of its parts together"

    def __post_init__(self):
        super().__post_init__()
        made = []
        for part in self.parts:
            if isinstance(part, dict):              # as files hold it: {"method": name, hyper-parameter: value, …}
                hyper = {k: tuple(v) if isinstance(v, list) else v for k, v in part.items() if k != "method"}
                part = create(part.get("method"), **hyper)
            if not isinstance(part, Method) or isinstance(part, Combined):
                raise ValueError(f"Combined: parts are methods such as LoRA(rank=8), not combined themselves; got "
                                 f"{part!r}")
            made.append(part)
        if len(made) < 2:
            raise ValueError(f"Combined needs at least two parts; got {len(made)}")
        object.__setattr__(self, "parts", tuple(made))
        object.__setattr__(self, "starts_at_base", all(part.starts_at_base for part in made))
        object.__setattr__(self, "mergeable", all(part.mergeable for part in made))
        object.__setattr__(self, "needs", tuple(dict.fromkeys(name for part in made for name in part.needs)))

    def attach(self, model: Module, rng) -> Module:
        """Attach all; remember which parameters are whose. ValueError where two parts train the same parameter."""
        self._check_overlap(model)
        shares = []
        for part in self.parts:
            before = {id(p): p.requires_grad for p in model.parameters()}
            model = part.attach(model, rng)
            shares.append([p for p in model.parameters() if p.requires_grad > before.get(id(p), -1)])
        model.shares = shares
        return model

    def count(self, config) -> int:
        """The parts' together."""
        return sum(part.count(config) for part in self.parts)

    def describe(self) -> str:
        """What the parts say."""
        return "\n".join(f"{i + 1}. {part.describe()}" for i, part in enumerate(self.parts))

    # ---- training: each part's hooks, in order ----------------------------------------------------------------------

    def param_groups(self, model: Module, lr: float) -> list[dict]:
        """Each part's groups, with what belongs to that part."""
        groups = []
        for part, share in zip(self.parts, model.shares, strict=True):
            own = {id(p) for p in share}
            for group in part.param_groups(model, lr):
                if mine := [(n, p) for n, p in group["params"] if id(p) in own]:
                    groups.append({**group, "params": mine})
        return groups

    def before_step(self, model: Module, step: int, total: int) -> None:
        """Every part's."""
        for part in self.parts:
            part.before_step(model, step, total)

    def penalty(self, model: Module):
        """The sum of the parts'."""
        given = [p for p in (part.penalty(model) for part in self.parts) if p is not None]
        return sum(given[1:], given[0]) if given else None

    def after_step(self, model: Module, step: int, total: int) -> None:
        """Every part's."""
        for part in self.parts:
            part.after_step(model, step, total)

    def bake(self, model: Module) -> Combined:
        """Bake every part; what a part made new is its own."""
        parts = []
        for i, part in enumerate(self.parts):
            before = {id(p) for p in model.parameters()}
            parts.append(part.bake(model))
            own = {id(p) for p in model.shares[i]}
            model.shares[i] = [p for p in model.parameters() if id(p) in own or id(p) not in before]
        return Combined(tuple(parts))

    def stored(self) -> Combined:
        """The parts as files hold them."""
        return Combined(tuple(part.stored() for part in self.parts))

    # ---- merging and files -------------------------------------------------------------------------------------------

    def merge(self, model: Module) -> None:
        """One part after the other; refused before anything is changed where a part cannot be merged."""
        for part in self.parts:
            if not part.mergeable:
                raise ValueError(f"Combined cannot be merged: its part {part!r} cannot, because {part.why_not_mergeable}")
        for name, m in model.named_modules():
            if isinstance(m, Mergeable) and isinstance(m.base_layer, Mergeable):
                raise ValueError(f"Combined cannot be merged: two parts change the weight of {name.replace(WRAPPED, '')}, "
                                 "and what that gives depends on which is inside. Give the parts different targets")
        for part in self.parts:
            part.merge(model)

    def unmerge(self, model: Module) -> None:
        """In reverse order."""
        for part in reversed(self.parts):
            part.unmerge(model)

    def state(self, model: Module, own) -> dict:
        """Each part's tensors, with the part's number before their names."""
        return {f"{i}:{name}": values for i, part in enumerate(self.parts)
                for name, values in part.state(model, self._share(model, own, i)).items()}

    def load_state(self, model: Module, own, state: dict) -> None:
        """Give each part its tensors; if one does not fit, those before it are put back."""
        before = [part.state(model, self._share(model, own, i)) for i, part in enumerate(self.parts)]
        if stray := [name for name in state if name.split(":")[0] not in map(str, range(len(self.parts)))]:
            raise ValueError(f"tensors of no part of {self!r}: {', '.join(stray)}")
        for i, part in enumerate(self.parts):
            try:
                part.load_state(model, self._share(model, own, i),
                                {n.partition(":")[2]: a for n, a in state.items() if n.startswith(f"{i}:")})
            except ValueError:
                for j in range(i):
                    self.parts[j].load_state(model, self._share(model, own, j), before[j])
                raise

    def _check_overlap(self, model: Module) -> None:
        """Each part goes to a twin of its own first, which shows what of the base it trains."""
        base, owner = {n for n, _ in model.named_parameters(remove_duplicate=False)}, {}
        for i, part in enumerate(self.parts):
            twin = part.attach(clone(model), host.np.random.default_rng(0))
            for name in [n.replace(WRAPPED, "") for n, p in twin.named_parameters() if p.requires_grad]:
                if name in base and owner.setdefault(name, i) != i:
                    raise ValueError(f"Combined: {self.parts[owner[name]]!r} and {part!r} both train {name}. Leave one of "
                                     "them out, or choose others")

    def _share(self, model: Module, own: dict, i: int) -> dict:
        mine = {id(p) for p in model.shares[i]}
        return {name: p for name, p in own.items() if id(p) in mine}
