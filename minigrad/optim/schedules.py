"""Learning-rate schedules: small steps while the moments are still noise, large ones, then small ones to settle."""
from __future__ import annotations

import math

from minigrad.optim.optimizer import Optimizer


def cosine(step: int, total: int, warmup: int, peak: float, final: float = 0.0) -> float:
    """The learning rate of step 0, 1, …: linear up to `peak` in `warmup` steps, then half a cosine down to `final`.

    From step `total` on it stays at `final`. The first step of the warm-up is peak/warmup, not 0.

    >>> [round(cosine(step, total=8, warmup=2, peak=1.0), 3) for step in range(9)]
    [0.5, 1.0, 1.0, 0.933, 0.75, 0.5, 0.25, 0.067, 0.0]
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    return final + (peak - final) * 0.5 * (1.0 + math.cos(math.pi * done))


class CosineWithWarmup:
    """Sets every group's lr to cosine(step, …) of its own peak; call step() after optimizer.step().

    final_ratio: the last learning rate as a share of the peak. Each group's peak is the lr it has now.

    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = mg.optim.CosineWithWarmup(optimizer, warmup=4, total=10)
    >>> optimizer.param_groups[0]["lr"]
    0.25
    """

    def __init__(self, optimizer: Optimizer, warmup: int, total: int, final_ratio: float = 0.1):
        if not isinstance(warmup, int) or not isinstance(total, int) or not 0 <= warmup <= total or total < 1:
            raise ValueError("CosineWithWarmup needs 0 ≤ warmup ≤ total steps, total at least 1; got "
                             f"warmup={warmup!r}, total={total!r}")
        if not 0 <= final_ratio <= 1:
            raise ValueError(f"final_ratio must lie between 0 and 1; got {final_ratio!r}")
        self.optimizer, self.warmup, self.total, self.final_ratio = optimizer, warmup, total, final_ratio
        self.steps = 0
        self.peaks = [group["lr"] for group in optimizer.param_groups]
        self._set()

    def step(self) -> None:
        """Go to the next step's learning rate."""
        self.steps += 1
        self._set()

    def state_dict(self) -> dict:
        """Everything needed to continue, as plain values."""
        return {"steps": self.steps, "warmup": self.warmup, "total": self.total, "final_ratio": self.final_ratio,
                "peaks": list(self.peaks)}

    def load_state_dict(self, state: dict) -> None:
        """Continue from what state_dict gave."""
        if set(state) != set(self.state_dict()) or len(state["peaks"]) != len(self.optimizer.param_groups):
            raise ValueError(f"this is not the state of a schedule for {len(self.optimizer.param_groups)} parameter "
                             f"groups: {state!r}")
        for name, value in state.items():
            setattr(self, name, value)
        self._set()

    def _set(self) -> None:
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = cosine(self.steps, self.total, self.warmup, peak, peak * self.final_ratio)
