"""Activation functions as modules, for chains of layers; each calls its twin in nn.functional."""
from __future__ import annotations

from minigrad import ops
from minigrad.autograd import Tensor
from minigrad.nn import functional as F
from minigrad.nn.module import Module


class Identity(Module):
    """y = x."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return x


class ReLU(Module):
    """y = max(x, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return F.relu(x)


class GELU(Module):
    """y = x·Φ(x), Φ the normal distribution function (1606.08415); approximate="tanh" is the form GPT-2 uses."""

    def __init__(self, approximate: str = "none"):
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate must be 'none' or 'tanh'; got {approximate!r}")
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return F.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        """The form."""
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """y = x·σ(x), also called swish (1710.05941)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return F.silu(x)


class Tanh(Module):
    """y = tanh(x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return ops.tanh(x)


class Sigmoid(Module):
    """y = 1/(1 + e⁻ˣ)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return ops.sigmoid(x)
