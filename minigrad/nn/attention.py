"""Multi-head causal self-attention, with room for a KV cache and for a trained prefix."""
from __future__ import annotations

from minigrad.autograd import Tensor
from minigrad.nn import functional as F
from minigrad.nn.checks import positive, probability
from minigrad.nn.linear import Linear
from minigrad.nn.module import Module
from minigrad.nn.rotary import rotate
from minigrad.ops import cat


class MultiHeadAttention(Module):
    """softmax(Q Kᵀ/√d) V in n_heads subspaces of size d = d_model/n_heads; token i sees tokens 0 … i (1706.03762).

    dropout: probability of dropping an attention weight in training. Three places are open to fine-tuning methods, each
    None or a callable: `prefix(batch) -> (k, v)`, each (B, H, P, d), which every token may look at (2101.00190) ·
    `beside(attn, q) -> (B, H, T, d)`, added to the heads' output (2303.16199) · `pattern(attn, T, Tk) -> boolean tensor
    (H, T, Tk)`, or None, that says which keys are visible where not all earlier ones are (2309.12307).

    >>> import minigrad as mg
    >>> mg.nn.MultiHeadAttention(8, n_heads=2)(mg.ones(1, 5, 8)).shape
    (1, 5, 8)
    """

    def __init__(self, d_model: int, n_heads: int, dropout: float = 0.0):
        super().__init__()
        self.d_model = positive(d_model, "MultiHeadAttention: d_model")
        self.n_heads = positive(n_heads, "MultiHeadAttention: n_heads")
        if d_model % n_heads:
            raise ValueError(f"MultiHeadAttention: d_model={d_model} cannot be split into n_heads={n_heads} equal "
                             "heads")
        self.dropout = probability(dropout, "MultiHeadAttention: dropout")
        self.q_proj = Linear(d_model, d_model)
        self.k_proj = Linear(d_model, d_model)
        self.v_proj = Linear(d_model, d_model)
        self.o_proj = Linear(d_model, d_model)
        self.prefix = self.beside = self.pattern = None

    def forward(self, x: Tensor, cache=None, rotation: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D). `cache.append(k, v, prefix)` adds these T keys and values and gives all so far.

        rotation: cos and sin of the tokens' rotary positions (rotary.py); cached keys are stored turned.
        """
        B, T, _ = x.shape
        q = self.split_heads(self.q_proj(x))        # (B, T, D) -> (B, H, T, D/H)
        k = self.split_heads(self.k_proj(x))        # (B, T, D) -> (B, H, T, D/H)
        v = self.split_heads(self.v_proj(x))        # (B, T, D) -> (B, H, T, D/H)
        if rotation is not None:
            q, k = rotate(q, *rotation), rotate(k, *rotation)
        if cache is not None:
            k, v = cache.append(k, v, self.prefix)  # (B, H, T, D/H) -> (B, H, P + past + T, D/H)
        elif self.prefix is not None:
            prefix_k, prefix_v = self.prefix(B)     # (B, H, P, D/H)
            k = cat([prefix_k, k], dim=2)           # -> (B, H, P + T, D/H)
            v = cat([prefix_v, v], dim=2)
        # Query i is key number Tk − T + i: it sees the whole prefix and past, and itself.
        Tk = k.shape[2]
        visible = None if self.pattern is None else self.pattern(self, T, Tk)
        y = F.scaled_dot_product_attention(q, k, v, visible, dropout_p=self.dropout if self.training else 0.0,
                                           is_causal=True, causal_offset=Tk - T)            # (B, H, T, D/H)
        if self.beside is not None:
            y = y + self.beside(self, q)
        return self.o_proj(F.merge_heads(y))        # (B, H, T, D/H) -> (B, T, H, D/H) -> (B, T, D)

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, H, D/H) -> (B, H, T, D/H)."""
        return F.split_heads(x, self.n_heads)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"d_model={self.d_model}, n_heads={self.n_heads}"
