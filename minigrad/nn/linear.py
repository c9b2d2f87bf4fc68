"""Linear: the layer that has nearly all of a transformer's weights."""
from __future__ import annotations

import math

from minigrad.autograd import Tensor
from minigrad.nn import functional as F
from minigrad.nn import init
from minigrad.nn.checks import positive
from minigrad.nn.module import Module
from minigrad.nn.parameter import Parameter
from minigrad.ops import zeros


class Linear(Module):
    """y = x Wᵀ + b, on the last dimension: (…, in_features) -> (…, out_features).

    weight: (out_features, in_features), bias: (out_features,), both U(−1/√in, 1/√in) at the start.

    >>> import minigrad as mg
    >>> mg.nn.Linear(3, 5)(mg.ones(2, 4, 3)).shape
    (2, 4, 5)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        self.in_features = positive(in_features, "Linear: in_features")
        self.out_features = positive(out_features, "Linear: out_features")
        self.weight = Parameter(zeros(out_features, in_features))
        self.bias = Parameter(zeros(out_features)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5.0))
        if self.bias is not None:
            bound = 1.0 / math.sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) -> (…, out_features)."""
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
