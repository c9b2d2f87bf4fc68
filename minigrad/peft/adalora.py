"""AdaLoRA: a budget of ranks for the whole model, moved during training to the layers that use them."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from minigrad.nn import Module
from minigrad.peft.adalora_layer import TRIPLET, SVDLinear, allocate
from minigrad.peft.method import parameter, positive, whole_number
from minigrad.peft.registry import register
from minigrad.peft.targeted import Targeted, check_dropout, check_rank


@register
@dataclass(frozen=True)
class AdaLoRA(Targeted):
    """y = W₀x + b + s·P(λ ⊙ Q·dropout(x)), s = α/r₀, with P (out, r₀), λ (r₀,), Q (r₀, in) trained; ΔW = s·P Λ Q.

    P and Q are kept near orthonormal by the penalty γ·Σ(‖PᵀP − I‖² + ‖QQᵀ − I‖²), so that λ are singular values and a
    triplet (P_i, λ_i, Q_i) can be silenced, λ_i = 0, without hurting the others. After each step (`after_step`) the
    triplets are scored by smoothed importance |w·g| times its fluctuation, and only the best b(t) of the whole model are
    kept, every `interval` steps. With B₀ = r₀ and B_T = rank times the number of targets, and p the share done:
        b(t) = B₀ for t ≤ t_i;   B_T + (B₀ − B_T)·(1 − p)³, p = (t − t_i)/(T − t_f − t_i);   B_T for t ≥ T − t_f
    From T − t_f on the choice is final. `bake` then drops what is silenced, and `ranks` says what is left.
    rank: the mean rank at the end · initial_rank: r₀ (None: one and a half times that, as in the paper) ·
    tinit, tfinal: t_i and t_f in steps, or as shares of the run if below 1 · beta1, beta2: of the two running means ·
    orthogonality: γ.
    Count: Σ over targets r₀·(in + out + 1). Starts at the base: yes (λ = 0). Mergeable: yes, W₀ + s·P Λ Q.
    A training loop that forgets `after_step` gets a RuntimeError in its second step. Paper: arXiv 2303.10512.

    >>> import minigrad as mg
    >>> AdaLoRA().count(mg.models.GPTConfig(vocab_size=80))                 # 8 · 12 · 257
    24672
    >>> [AdaLoRA(tinit=10, tfinal=20).budget(t, 100, targets=1) for t in (10, 20, 45, 80, 100)]
    [12, 10, 8, 8, 8]
    """

    rank: int = 8
    initial_rank: int | None = None
    alpha: float = 16
    targets: tuple[str, ...] | str = ("q_proj", "v_proj")
    tinit: float = 0.1
    tfinal: float = 0.3
    interval: int = 10
    beta1: float = 0.85
    beta2: float = 0.85
    orthogonality: float = 0.1
    dropout: float = 0.0
    ranks: tuple[int, ...] | None = None

    name = "adalora"
    paper = "2303.10512"
    formula = "Σ r₀·(in + out + 1)"
    extra_latency = "none once merged; else two thin layers per target"
    layer = SVDLinear

    def __post_init__(self):
        super().__post_init__()
        whole_number(self.rank, "AdaLoRA: rank")
        positive(self.alpha, "AdaLoRA: alpha")
        if self.initial_rank is not None:
            whole_number(self.initial_rank, "AdaLoRA: initial_rank", least=self.rank)
        whole_number(self.interval, "AdaLoRA: interval")
        check_dropout(self)
        for name in ("tinit", "tfinal"):
            if (value := getattr(self, name)) >= 1:
                whole_number(value, f"AdaLoRA: {name} (steps; below 1, a share of the run)")
            elif value < 0:
                raise ValueError(f"AdaLoRA: {name} must be a number of steps, or a share of the run below 1; got {value!r}")
        for name in ("beta1", "beta2"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"AdaLoRA: {name} must lie between 0 and 1; got {getattr(self, name)!r}")
        if self.orthogonality < 0:
            raise ValueError(f"AdaLoRA: orthogonality must be at least 0; got {self.orthogonality!r}")
        if self.ranks is not None:
            object.__setattr__(self, "ranks", tuple(self.ranks))
            if isinstance(self.targets, str) or len(self.ranks) != len(self.targets):
                raise ValueError(f"AdaLoRA: ranks needs a number for each target, and whole paths as targets; got "
                                 f"{len(self.ranks)} ranks for {self.targets!r}")

    @property
    def r0(self) -> int:
        """r₀, the rank that every target starts with."""
        return -(-3 * self.rank // 2) if self.initial_rank is None else self.initial_rank

    @property
    def scale(self) -> float:
        """s = α/r₀, whatever rank is left."""
        return self.alpha / self.r0

    def rank_of(self, path: str) -> int:
        """How many triplets the target at this path has: r₀, or what was left of it."""
        if self.ranks is None:
            return self.r0
        if path not in self.targets:
            raise ValueError(f"AdaLoRA: with ranks given, targets must be whole paths, one for each; {path} is not among "
                             f"{self.targets!r}")
        return self.ranks[self.targets.index(path)]

    def size(self, path: str, out_features: int, in_features: int) -> int:
        """P, λ and Q."""
        check_rank(self, self.rank_of(path), path, out_features, in_features)
        return self.rank_of(path) * (in_features + out_features + 1)

    # ---- training ---------------------------------------------------------------------------------------------------

    def phases(self, total: int) -> tuple[int, int]:
        """(t_i, T − t_f): the steps after which the budget begins to shrink, and has shrunk."""
        first, final = (n if n >= 1 else int(n * total) for n in (self.tinit, self.tfinal))
        if first >= total - final:
            raise ValueError(f"AdaLoRA: of {total} steps, tinit={self.tinit} and tfinal={self.tfinal} leave none in which the "
                             "budget could shrink. Train longer, or make them smaller")
        return first, total - final

    def budget(self, t: int, total: int, targets: int) -> int:
        """b(t): how many triplets all `targets` together may have after t of `total` steps."""
        first, last = self.phases(total)
        start, end = self.r0 * targets, self.rank * targets
        left = 1 - (min(max(t, first), last) - first) / (last - first)
        return int(end + (start - end) * left ** 3)

    def before_step(self, model: Module, step: int, total: int) -> None:
        """Refuse a run that is too short before it begins."""
        if self.ranks is None:
            self.phases(total)

    def penalty(self, model: Module):
        """γ·Σ(‖PᵀP − I‖² + ‖QQᵀ − I‖²)."""
        layers = self.layers(model)
        return sum((m.penalty() for m in layers[1:]), layers[0].penalty()) * self.orthogonality if self.orthogonality else None

    def after_step(self, model: Module, step: int, total: int) -> None:
        """Update the scores and move the budget; gradients must still be there."""
        if self.ranks is not None:
            return
        layers, t, (first, last) = self.layers(model), step + 1, self.phases(total)
        if t < last or t == 1:                      # scores are final when the choice is
            for m in layers:
                if m.stepped:                       # a step that was skipped for its infinite gradients says nothing
                    m.update_importance(self.beta1, self.beta2)
        if t == last or first < t < last and t % self.interval == 0:
            allocate(layers, self.budget(t, total, len(layers)))
        for m in layers:
            if t > last:
                m.silence()                         # the optimizer's momentum has moved them
            m.mark()

    def allocation(self, model: Module) -> dict[str, int]:
        """{path: how many triplets it has now}."""
        return {m.path: m.lora_E.shape[0] if m.fixed else int(m.kept_triplets.numpy().sum()) for m in self.layers(model)}

    def bake(self, model: Module) -> AdaLoRA:
        """Drop silenced triplets, and the layers that have none left; the ranks stay as they are from now on."""
        if self.ranks is not None:
            return self
        ranks = self.allocation(model)
        for place, m in [(n, m) for n, m in model.named_modules() if type(m) is SVDLinear]:
            kept = m.kept_triplets.numpy()[:, 0] > 0
            if not kept.any():
                model.set_submodule(place, m.base_layer)
                continue
            for name in TRIPLET:
                old, values = getattr(m, name), getattr(m, name).numpy()
                new = parameter(values[:, kept] if name == "lora_B" else values[kept], old)
                setattr(m, name, new.requires_grad_(old.requires_grad))
            for name in list(m._buffers):
                delattr(m, name)
            m.fixed = True
        left = {path: r for path, r in ranks.items() if r}
        return dataclasses.replace(self, targets=tuple(left), ranks=tuple(left.values()))

    def load_state(self, model: Module, own: dict, state: dict) -> None:
        """Take the values; a λ of 0 among others is a silenced triplet, and a target with nothing left is no target."""
        super().load_state(model, own, {name: a for name, a in state.items() if a.size})
        if self.ranks is None:
            for m in self.layers(model):
                values = m.lora_E.numpy()[:, 0]
                m.keep(values != 0 if values.any() else values == 0)
