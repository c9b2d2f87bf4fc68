"""SVDLinear: AdaLoRA's layer, which knows how important each of its triplets has been; and the choice among all layers."""
from __future__ import annotations

from minigrad.autograd import Tensor, is_grad_enabled
from minigrad.backend import host
from minigrad.nn import Linear
from minigrad.nn import functional as F
from minigrad.peft.layers import Mergeable
from minigrad.peft.method import fixed, parameter
from minigrad.peft.targeted import Targeted

TRIPLET = ("lora_A", "lora_E", "lora_B")            # Q, λ and P, by PEFT's names


class SVDLinear(Mergeable):
    """A linear layer with a branch in the form of a singular value decomposition: y = W₀x + b + s·P(λ ⊙ Q·dropout(x)).

    Row i of Q, λ_i and column i of P are a triplet. For each entry the layer keeps two running means, of its importance
    |w·g| and of that importance's fluctuation; and which triplets the last allocation has kept.
    """

    def __init__(self, base_layer: Linear, method: Targeted, path: str, rng, common):
        super().__init__(base_layer)
        np, weight, r = host.np, base_layer.weight, method.rank_of(path)
        out_features, in_features = weight.shape
        self.lora_A = parameter(0.02 * rng.standard_normal((r, in_features)), weight)       # Q
        self.lora_E = parameter(np.zeros((r, 1)), weight)                                   # λ
        self.lora_B = parameter(0.02 * rng.standard_normal((out_features, r)), weight)      # P
        self.path, self.scale, self.dropout = path, method.scale, method.dropout
        self.fixed = method.ranks is not None       # the budget has been spent: no more allocations
        if not self.fixed:
            for name in TRIPLET:
                zero = np.zeros(getattr(self, name).shape)
                self.register_buffer(f"importance_{name}", fixed(zero, weight))
                self.register_buffer(f"uncertainty_{name}", fixed(zero, weight))
            self.register_buffer("kept_triplets", fixed(np.ones((r, 1)), weight))
        self.mark()

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        y = self.base_layer(x)
        if self.merged:
            return y
        if not self.fixed and self.training and is_grad_enabled() and self.stepped:
            raise RuntimeError("AdaLoRA's budget was not allocated after the last optimizer step, so this would train like "
                               "LoRA of the initial rank. Call adapted.after_step(step, total) after every "
                               "optimizer.step(), before zero_grad()")
        if self.dropout:
            x = F.dropout(x, self.dropout, self.training)
        z = F.linear(x, self.lora_A) * (self.lora_E.reshape(-1) * self.scale)               # (…, in) -> (…, r)
        return y + F.linear(z, self.lora_B)                                                 # (…, r) -> (…, out)

    def delta_weight(self):
        """ΔW = s·P Λ Q, a raw array (out, in)."""
        return self.lora_B.data @ (self.lora_A.data * self.lora_E.data * self.scale)

    def penalty(self) -> Tensor:
        """‖PᵀP − I‖² + ‖QQᵀ − I‖²: how far the columns of P and the rows of Q are from orthonormal."""
        P, Q = self.lora_B, self.lora_A
        eye = fixed(host.np.eye(Q.shape[0]), Q)
        return ((P.T @ P - eye) ** 2).sum() + ((Q @ Q.T - eye) ** 2).sum()

    # ---- the budget --------------------------------------------------------------------------------------------------

    def update_importance(self, beta1: float, beta2: float) -> None:
        """Ī ← β₁Ī + (1 − β₁)I with I = |w·g|, and Ū ← β₂Ū + (1 − β₂)|I − Ī|, for every entry of P, λ and Q."""
        for name in TRIPLET:
            p, mean, spread = (getattr(self, n) for n in (name, f"importance_{name}", f"uncertainty_{name}"))
            if p.grad is None:
                raise RuntimeError(f"AdaLoRA: {self.path} has no gradient any more. Call adapted.after_step(step, total) "
                                   "after optimizer.step() and before zero_grad()")
            now = abs(p.data * p.grad)
            mean.data = beta1 * mean.data + (1 - beta1) * now
            spread.data = beta2 * spread.data + (1 - beta2) * abs(now - mean.data)

    def scores(self):
        """Ī·Ū of λ_i + its mean over row i of Q + its mean over column i of P, for each triplet; raw array (r,)."""
        Q, E, P = (getattr(self, f"importance_{n}").data * getattr(self, f"uncertainty_{n}").data for n in TRIPLET)
        return E[:, 0] + Q.mean(axis=1) + P.mean(axis=0)

    def keep(self, mask) -> None:
        """Remember which triplets are kept: host booleans (r,)."""
        self.kept_triplets.data = fixed(mask[:, None], self.lora_E).data

    def silence(self) -> None:
        """λ_i = 0 for every triplet that is not kept."""
        self.lora_E.data[...] = self.lora_E.data * self.kept_triplets.data      # in place: the optimizer's own array
        self.lora_E.bump_version()

    @property
    def stepped(self) -> bool:
        """Whether the optimizer has changed λ since the budget was last seen to."""
        return self.lora_E._version.count != self.seen

    def mark(self) -> None:
        """The budget has been seen to as far as the optimizer has come."""
        self.seen = self.lora_E._version.count


def allocate(layers: list[SVDLinear], budget: int) -> None:
    """Keep the `budget` triplets with the highest scores of all layers, and silence the others."""
    np = host.np
    scores = [m.lora_E.backend.to_numpy(m.scores()) for m in layers]
    best = np.argsort(-np.concatenate(scores), kind="stable")[:budget]
    mask = np.zeros(sum(len(s) for s in scores), dtype=bool)
    mask[best] = True
    for m, kept in zip(layers, np.split(mask, np.cumsum([len(s) for s in scores])[:-1]), strict=True):
        m.keep(kept)
        m.silence()
