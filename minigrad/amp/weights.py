"""Weights kept in a narrow format, and three ways not to lose small updates: 1 − 0.001 is 1 in bf16."""
from __future__ import annotations

from minigrad import backend as _backend
from minigrad.amp.formats import round_to
from minigrad.backend import formats

KEEPING = ("nearest", "master", "kahan", "stochastic")


class LowPrecisionWeights:
    """Wraps an optimizer so that after each step its parameters lie on the grid of `format`.

    keep: "nearest" rounds, and an update below half a step of the grid is lost for ever · "master" keeps a float32 copy
    that takes the updates, the weights being its rounding (arXiv 1710.03740) · "kahan" keeps, in the same format, what
    rounding cut off, and adds it to the next update · "stochastic" rounds up or down at random, so that the mean is
    right (arXiv 1502.02551).

    >>> import minigrad as mg
    >>> w = mg.tensor([1.0], requires_grad=True)
    >>> optimizer = LowPrecisionWeights(mg.optim.SGD([w], lr=1e-3), "bf16", keep="kahan")
    >>> for _ in range(100):
    ...     w.grad = mg.ones(1).data
    ...     optimizer.step()
    >>> w.item()                                            # 1 − 100 · 0.001, as near as bf16 comes to 0.9
    0.8984375
    """

    def __init__(self, optimizer, format: str = "bf16", keep: str = "master"):
        if keep not in KEEPING:
            raise ValueError(f"keep must be one of {', '.join(KEEPING)}; got {keep!r}")
        self.optimizer, self.format, self.keep = optimizer, formats.get(format), keep
        self._kept = {}                             # id of the parameter -> the float32 master, or what was cut off
        self._last = {}                             # id of the parameter -> its values after the last step
        for p in self._params():
            self._begin(p)

    @property
    def param_groups(self) -> list[dict]:
        """The optimizer's."""
        return self.optimizer.param_groups

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad()

    def step(self) -> None:
        """One step of the optimizer, then back onto the grid."""
        for p in self._params():
            if id(p) not in self._last or bool((self._last[id(p)] != p.data).any()):
                self._begin(p)                      # unfrozen, or given other values, since the last step
        before = {id(p): p.data.copy() for p in self._params()}
        if self.keep == "master":
            for p in self._params():
                self._set(p, self._kept[id(p)])
        self.optimizer.step()
        for p in self._params():
            new = p.data
            if self.keep == "master":
                self._kept[id(p)] = new.copy()
            elif self.keep == "kahan":
                update = self._rounded(new - before[id(p)] + self._kept[id(p)])
                new = self._rounded(before[id(p)] + update)
                self._kept[id(p)] = self._rounded(update - (new - before[id(p)]))
            if self.keep == "stochastic":
                self._set(p, round_to(new, self.format.name, rounding="stochastic"))
            else:
                self._set(p, self._rounded(new))
            self._last[id(p)] = p.data.copy()

    def _begin(self, p) -> None:
        """Take a parameter's present values as the start."""
        if self.keep == "master":
            self._kept[id(p)] = p.data.copy()
        elif self.keep == "kahan":
            self._kept[id(p)] = _backend.of(p.data).xp.zeros_like(p.data)
        self._set(p, self._rounded(p.data))
        self._last[id(p)] = p.data.copy()

    def _params(self):
        return [p for group in self.optimizer.param_groups for p in group["params"] if p.requires_grad]

    def _rounded(self, a):
        return _backend.of(a).round_to(a, self.format)

    @staticmethod
    def _set(p, values) -> None:
        p.data[...] = values
        p.bump_version()
