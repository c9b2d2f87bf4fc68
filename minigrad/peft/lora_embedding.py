"""LoRA for a table of embeddings: the row of id i changes by s·B times column i of A."""
from __future__ import annotations

from minigrad.autograd import Tensor
from minigrad.nn import Module, Parameter
from minigrad.nn import functional as F
from minigrad.peft.layers import Mergeable
from minigrad.peft.method import parameter


class LoRAEmbedding(Mergeable):
    """e_i = E₀[i] + s·B·A[:, i], with A (r, V) and B (d, r): E changes by s·(BA)ᵀ, of rank ≤ r.

    A lookup takes columns of A, so only the ids of a batch cost anything. The two are parameters of this module itself,
    because PEFT's files call them lora_embedding_A and lora_embedding_B, without ".weight".
    """

    def __init__(self, base_layer: Module, A, B, scale: float):
        super().__init__(base_layer)
        table = self.linear.weight                  # the layer inside: here an Embedding
        self.lora_embedding_A = parameter(A, table)                         # (r, V)
        self.lora_embedding_B = parameter(B, table)                         # (d, r)
        self.scale = scale

    @property
    def weight(self) -> Parameter:
        """The table as it is without the branch; the model asks it for its dtype and backend."""
        return self.linear.weight

    def forward(self, ids) -> Tensor:
        """Host integers (…) -> (…, d)."""
        e = self.base_layer(ids)
        if self.merged:
            return e
        columns = F.embedding(ids, self.lora_embedding_A.transpose(0, 1))   # (…) -> (…, r)
        return e + F.linear(columns * self.scale, self.lora_embedding_B)    # (…, r) -> (…, d)

    def delta_weight(self):
        """ΔE = s·(BA)ᵀ, a raw array (V, d)."""
        return ((self.lora_embedding_B.data * self.scale) @ self.lora_embedding_A.data).T

    def factors(self):
        """Host arrays A (r, V) and B (d, r) with ΔE = s·(BA)ᵀ."""
        return self.lora_embedding_A.numpy(), self.lora_embedding_B.numpy()

    def factor_parameters(self):
        """A's and B's parameters."""
        return self.lora_embedding_A, self.lora_embedding_B

    def extra_repr(self) -> str:
        """The scale, and whether the branch is folded in."""
        return f"scale={self.scale:g}" + (", merged" if self.merged else "")
