"""LoRALinear: a linear layer with a low-rank branch beside it."""
from __future__ import annotations

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.models.decode import array_form, on_arrays
from minigrad.nn import Linear, Module
from minigrad.nn import functional as F
from minigrad.peft.layers import Affine, Mergeable
from minigrad.peft.method import fixed, parameter


class LoRALinear(Mergeable):
    """y = W₀x + b + s·B(A·dropout(x)), or with the part s·B₀A₀ taken out of W₀: y = W_res·x + b + s·BA·dropout(x).

    A (r, in), B (out, r): host arrays, the values at the start · split: whether they were taken out of W₀ (PiSSA, OLoRA) ·
    biased: B has a bias β (out,) as well, from 0: the branch is s·(B(Ax) + β).
    W_res = W₀ − s·B₀A₀ is then never formed: the frozen factors cost 2r vectors where W_res would be a second matrix, W₀
    stays the base's own array, and at the start the two branches cancel to the last bit.
    """

    def __init__(self, base_layer: Module, A, B, scale: float, dropout: float = 0.0, split: bool = False,
                 biased: bool = False):
        super().__init__(base_layer)
        weight = self.linear.weight
        self.lora_A = Affine(parameter(A, weight))  # (r, in)
        self.lora_B = Affine(parameter(B, weight), parameter(host.np.zeros(len(B)), weight) if biased else None)    # (out, r)
        self.scale, self.dropout, self.split = scale, dropout, split
        if split:
            self.register_buffer("start_A", fixed(A, weight))
            self.register_buffer("start_B", fixed(B, weight))

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        if self.merged:
            return self.base_layer(x)
        dropped = self.dropped(x)
        if dropped is x and self.is_plain:
            return F.low_rank_linear(x, self.linear.weight, self.linear.bias, *self.factor_parameters(), self.scale)
        return self.base_layer(x) + self.branch(x, dropped)

    @property
    def is_plain(self) -> bool:
        """Whether W₀ + s·BA is all there is: one linear layer below, no start to subtract, no β."""
        return type(self.base_layer) is Linear and not self.split and self.lora_B.bias is None

    def dropped(self, x: Tensor) -> Tensor:
        """What the branch sees of x in training."""
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

    def branch(self, x: Tensor, dropped: Tensor) -> Tensor:
        """ΔW x, without ever forming ΔW: (…, in) -> (…, r) -> (…, out). The scale meets the r numbers in the middle."""
        B, beta = self.lora_B.weight, self.lora_B.bias
        y = F.linear(self.lora_A(dropped) * self.scale, B, None if beta is None else beta * self.scale)
        if self.split:
            y = y - F.linear(F.linear(x, self.start_A) * self.scale, self.start_B)
        return y

    def delta_weight(self):
        """ΔW = s·BA, or s·(BA − B₀A₀) where the weight was split; a raw array (out, in)."""
        delta = (self.lora_B.weight.data * self.scale) @ self.lora_A.weight.data
        return delta - (self.start_B.data * self.scale) @ self.start_A.data if self.split else delta

    def changed(self) -> dict:
        """W₀ + ΔW, and b + s·β where B has a bias."""
        beta = self.lora_B.bias
        bias = {} if beta is None else {"bias": self.linear.bias.data + beta.data * self.scale}
        return {**super().changed(), **bias}

    def residual_weight(self):
        """W_res, what is frozen: W₀ − s·B₀A₀, or W₀ itself; a raw array (out, in)."""
        w0 = self.kept["weight"] if self.merged else self.linear.weight
        return w0.data - (self.start_B.data * self.scale) @ self.start_A.data if self.split else w0.data

    def factors(self):
        """Host arrays A (R, in) and B (out, R) with ΔW = s·BA for the base's own W₀; R = 2r where the weight was split."""
        A, B = self.lora_A.weight.numpy(), self.lora_B.weight.numpy()
        if self.split:                              # s·(BA − B₀A₀) = s·[B, −B₀][A; A₀]
            A, B = host.np.concatenate([A, self.start_A.numpy()]), host.np.concatenate([B, -self.start_B.numpy()], axis=1)
        return A, B

    def factor_parameters(self):
        """A's and B's parameters."""
        return self.lora_A.weight, self.lora_B.weight

    def extra_repr(self) -> str:
        """The scale, and whether the branch is folded in."""
        return f"scale={self.scale:g}" + (", merged" if self.merged else "")


@array_form(LoRALinear)
def _on_arrays(module):
    """y = W₀x + b + B(s·(Ax)): one row at a time, the branch costs less than the sum of the matrices."""
    base = on_arrays(module.base_layer)
    if module.merged:
        return base
    if not module.is_plain:
        return None
    A, B, scale, linear = *(p.data for p in module.factor_parameters()), module.scale, module.linear.weight.backend.linear

    return lambda x: base(x) + linear(linear(x, A, None) * scale, B, None)
