"""SGD: step against the gradient, optionally with momentum."""
from __future__ import annotations

from minigrad.optim.optimizer import Optimizer, at_least_zero


class SGD(Optimizer):
    """Stochastic gradient descent with momentum μ, dampening τ and L2 penalty λ, as PyTorch's.

        g ← g + λp;    b ← μb + (1 − τ)g   (b ← g at first);    p ← p − lr·b        (nesterov: p ← p − lr·(g + μb))

    >>> import minigrad as mg
    >>> w = mg.tensor([1.0], requires_grad=True)
    >>> optimizer = mg.optim.SGD([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.8
    """

    def __init__(self, params, lr: float = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
                 weight_decay: float = 0.0, nesterov: bool = False):
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                                  "nesterov": nesterov})

    def check(self, group: dict) -> None:
        """Raise ValueError for impossible options."""
        super().check(group)
        at_least_zero(group["momentum"], "momentum")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("nesterov needs momentum > 0 and dampening = 0; got "
                             f"momentum={group['momentum']}, dampening={group['dampening']}")

    def state_names(self, group: dict) -> tuple[str, ...]:
        """The momentum buffer, if there is momentum."""
        return ("momentum_buffer",) if group["momentum"] else ()

    def update(self, group: dict, backend, p, g, state: dict, step: int) -> None:
        """One step on 1-D arrays, in place."""
        backend.sgd_step(p, g, state.get("momentum_buffer"), lr=float(group["lr"]), momentum=group["momentum"],
                         dampening=group["dampening"], weight_decay=group["weight_decay"], nesterov=group["nesterov"],
                         first=step == 1)
