"""LoRA for a fused projection: one layer that computes several things side by side, such as q, k and v.

A (3d, d) layer gives two choices, with different functions at the same count:

    one pair across (the default)   A (r, d), B (3d, r)                 r·(d + 3d) = 4rd    q, k and v share A
    a pair per slice                A (2r, d), B (2d, r) for q and v    2·r·(d + d) = 4rd   k is not touched

PEFT does the first on GPT-2's c_attn, Microsoft's loralib (MergedLinear) the second, so neither reads the other's files.
The second is what LoRA(targets=("q_proj", "v_proj")) is on a model whose projections are apart.
"""
from __future__ import annotations

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.nn import Module
from minigrad.ops import cat, zeros_like
from minigrad.peft.lora_layer import LoRALinear


class SlicedLoRALinear(LoRALinear):
    """A linear layer whose output is n equal slices, with a low-rank pair of its own for each enabled one.

    enabled: n booleans. A (k·r, in) and B (k·out/n, r) hold the pairs of the k enabled slices one below the other; ΔW is
    s·B_i A_i in the rows of slice i and 0 in the others: block by block, never A of one slice with B of another.
    """

    def __init__(self, base_layer: Module, A, B, scale: float, dropout: float, enabled):
        super().__init__(base_layer, A, B, scale, dropout)
        self.enabled = tuple(enabled)
        self.width = self.linear.weight.shape[0] // len(self.enabled)       # out/n
        self.rank = B.shape[1]

    is_plain = False                                # its ΔW is made of blocks

    def pairs(self):
        """[(slice's number, its rows of A, its rows of B)] of the enabled slices."""
        numbers = [i for i, on in enumerate(self.enabled) if on]
        return [(i, slice(j * self.rank, (j + 1) * self.rank), slice(j * self.width, (j + 1) * self.width))
                for j, i in enumerate(numbers)]

    def branch(self, x: Tensor, dropped: Tensor) -> Tensor:
        """ΔW x: (…, in) -> (…, k·r) -> (…, out)."""
        h, found = self.lora_A(dropped) * self.scale, {}                    # (…, k·r)
        for i, of_A, of_B in self.pairs():
            found[i] = h[..., of_A] @ self.lora_B.weight[of_B].transpose(0, 1)          # (…, r) -> (…, out/n)
        nothing = zeros_like(next(iter(found.values())))
        return cat([found.get(i, nothing) for i in range(len(self.enabled))], dim=-1)

    def delta_weight(self):
        """ΔW, a raw array (out, in)."""
        A, B = self.lora_A.weight.data, self.lora_B.weight.data * self.scale
        delta = self.linear.weight.backend.xp.zeros_like(self.linear.weight.data)
        for i, of_A, of_B in self.pairs():
            delta[i * self.width:(i + 1) * self.width] = B[of_B] @ A[of_A]
        return delta

    def factors(self):
        """Host arrays A (k·r, in) and the block-diagonal B (out, k·r) with ΔW = s·BA: LoRA of rank k·r."""
        A, B = self.lora_A.weight.numpy(), self.lora_B.weight.numpy()
        spread = host.np.zeros((self.width * len(self.enabled), A.shape[0]), dtype=B.dtype)
        for i, of_A, of_B in self.pairs():
            spread[i * self.width:(i + 1) * self.width, of_A] = B[of_B]
        return A, spread
