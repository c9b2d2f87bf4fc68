"""Embedding: a table with one trainable row per id."""
from __future__ import annotations

from minigrad.autograd import Tensor
from minigrad.nn import functional as F
from minigrad.nn import init
from minigrad.nn.checks import positive
from minigrad.nn.module import Module
from minigrad.nn.parameter import Parameter
from minigrad.ops import zeros


class Embedding(Module):
    """Row lookup: host integers (…) -> (…, embedding_dim); rows start as N(0, 1).

    An id outside 0 … num_embeddings−1 raises IndexError before anything is computed.

    >>> import minigrad as mg
    >>> mg.nn.Embedding(10, 4)([[1, 2, 2]]).shape
    (1, 3, 4)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int):
        super().__init__()
        self.num_embeddings = positive(num_embeddings, "Embedding: num_embeddings")
        self.embedding_dim = positive(embedding_dim, "Embedding: embedding_dim")
        self.weight = Parameter(zeros(num_embeddings, embedding_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial rows."""
        init.normal_(self.weight)

    def forward(self, ids) -> Tensor:
        """Host integers (…) -> (…, embedding_dim)."""
        return F.embedding(ids, self.weight)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"{self.num_embeddings}, {self.embedding_dim}"
