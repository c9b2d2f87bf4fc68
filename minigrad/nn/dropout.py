"""Dropout: noise in training, nothing in evaluation."""
from __future__ import annotations

from minigrad.autograd import Tensor
from minigrad.nn import functional as F
from minigrad.nn.checks import probability
from minigrad.nn.module import Module


class Dropout(Module):
    """In training each element is 0 with probability p and otherwise divided by 1 − p (1207.0580); else the identity.

    >>> import minigrad as mg
    >>> mg.nn.Dropout(0.5).eval()(mg.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, p: float = 0.5):
        super().__init__()
        self.p = probability(p, "Dropout: p")

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"
