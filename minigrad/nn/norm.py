"""Normalization layers: they keep activations at unit size, whatever the layers below do."""
from __future__ import annotations

from minigrad.autograd import Tensor
from minigrad.nn import functional as F
from minigrad.nn.checks import positive
from minigrad.nn.module import Module
from minigrad.nn.parameter import Parameter
from minigrad.ops import ones, zeros


class LayerNorm(Module):
    """y = (x − mean)/√(var + ε) · weight + bias over the last dimensions (1607.06450).

    normalized_shape: the size of the last dimension, or a tuple of the last sizes.

    >>> import minigrad as mg
    >>> y = mg.nn.LayerNorm(4)(mg.tensor([[1.0, 2.0, 3.0, 4.0]]))
    >>> abs(y.mean().item()) < 1e-6
    True
    """

    def __init__(self, normalized_shape, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True):
        super().__init__()
        self.normalized_shape, self.eps = _sizes(normalized_shape, "LayerNorm"), eps
        self.weight = Parameter(ones(*self.normalized_shape)) if elementwise_affine else None
        self.bias = Parameter(zeros(*self.normalized_shape)) if elementwise_affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(…, *normalized_shape) -> the same shape."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"{self.normalized_shape}, eps={self.eps}"


class RMSNorm(Module):
    """y = x/√(mean(x²) + ε) · weight over the last dimensions (1910.07467): no mean is taken off, no bias added.

    eps=None means the dtype's machine epsilon, as in PyTorch.
    """

    def __init__(self, normalized_shape, eps: float | None = None, elementwise_affine: bool = True):
        super().__init__()
        self.normalized_shape, self.eps = _sizes(normalized_shape, "RMSNorm"), eps
        self.weight = Parameter(ones(*self.normalized_shape)) if elementwise_affine else None

    def forward(self, x: Tensor) -> Tensor:
        """(…, *normalized_shape) -> the same shape."""
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"{self.normalized_shape}, eps={self.eps}"


def _sizes(shape, owner: str) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    return tuple(positive(n, f"{owner}: normalized_shape") for n in sizes)
