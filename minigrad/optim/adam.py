"""Adam and AdamW: every weight has its own step size, from running means of its gradient and of its square."""
from __future__ import annotations

from minigrad.optim.optimizer import Optimizer, at_least_zero


class Adam(Optimizer):
    """Adam (1412.6980), with the weight decay λ as an L2 penalty on the loss. At step t:

        g ← g + λp
        m ← β₁m + (1 − β₁)g;     v ← β₂v + (1 − β₂)g²
        m̂ = m/(1 − β₁ᵗ);         v̂ = v/(1 − β₂ᵗ)               the means start at 0: this undoes the bias
        p ← p − lr·m̂/(√v̂ + ε)

    >>> import minigrad as mg
    >>> w = mg.tensor([1.0], requires_grad=True)
    >>> optimizer = mg.optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)                                   # the first step has length lr, whatever the gradient
    0.9
    """

    decoupled = False

    def __init__(self, params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def check(self, group: dict) -> None:
        """Raise ValueError for impossible options."""
        super().check(group)
        at_least_zero(group["eps"], "eps")
        betas = group["betas"]
        if not isinstance(betas, tuple | list) or len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers of at least 0 and below 1; got {betas!r}")

    def state_names(self, group: dict) -> tuple[str, ...]:
        """The two running means, m and v."""
        return ("exp_avg", "exp_avg_sq")

    def update(self, group: dict, backend, p, g, state: dict, step: int) -> None:
        """One step on 1-D arrays, in place."""
        beta1, beta2 = group["betas"]
        backend.adam_step(p, g, state["exp_avg"], state["exp_avg_sq"], lr=float(group["lr"]), beta1=beta1,
                          beta2=beta2, eps=group["eps"], weight_decay=group["weight_decay"], step=step,
                          decoupled=self.decoupled)


class AdamW(Adam):
    """Adam with decoupled weight decay (1711.05101): each step first shrinks the weight, p ← p − lr·λ·p.

    The decay does not pass through m and v, so it is equally strong for weights with large and with small gradients.

    >>> import minigrad as mg
    >>> model = mg.nn.Linear(2, 2)
    >>> decay = {"params": [model.weight], "name": "decay"}
    >>> optimizer = mg.optim.AdamW([decay, {"params": [model.bias], "weight_decay": 0.0, "name": "no decay"}], lr=1e-3)
    >>> [group["weight_decay"] for group in optimizer.param_groups]
    [0.01, 0.0]
    """

    decoupled = True

    def __init__(self, params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.01):
        super().__init__(params, lr, betas, eps, weight_decay)
