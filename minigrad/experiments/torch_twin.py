"""Our GPT once more, in PyTorch, written as one would write it there: what the speed of ours is compared with."""
from __future__ import annotations


def torch_twin(model):
    """A torch.nn.Module with the layout and the weights of a minigrad GPT (on the CPU, in float32)."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    c = model.config

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(c.d_model), nn.LayerNorm(c.d_model)
            self.attn, self.mlp = nn.Module(), nn.Module()
            for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
                setattr(self.attn, name, nn.Linear(c.d_model, c.d_model))
            self.mlp.up_proj, self.mlp.down_proj = nn.Linear(c.d_model, c.d_ff), nn.Linear(c.d_ff, c.d_model)

        def forward(self, x):
            B, T, D = x.shape
            h = self.norm1(x)
            q, k, v = (p(h).view(B, T, c.n_heads, D // c.n_heads).transpose(1, 2)      # (B, T, D) -> (B, H, T, D/H)
                       for p in (self.attn.q_proj, self.attn.k_proj, self.attn.v_proj))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.attn.o_proj(y.transpose(1, 2).reshape(B, T, D))               # (B, H, T, D/H) -> (B, T, D)
            return x + self.mlp.down_proj(F.gelu(self.mlp.up_proj(self.norm2(x)), approximate="tanh"))

    class Twin(nn.Module):
        def __init__(self):
            super().__init__()
            self.token_embedding = nn.Embedding(c.vocab_size, c.d_model)
            self.position_embedding = nn.Embedding(c.context, c.d_model)
            self.blocks = nn.ModuleList(Block() for _ in range(c.n_layers))
            self.norm, self.head = nn.LayerNorm(c.d_model), nn.Linear(c.d_model, c.vocab_size, bias=False)
            if c.tie_head:
                self.head.weight = self.token_embedding.weight

        def forward(self, ids):
            x = self.token_embedding(ids) + self.position_embedding.weight[:ids.shape[1]]
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

    twin = Twin()
    found = twin.load_state_dict({name: torch.from_numpy(array) for name, array in model.state_dict().items()}, strict=False)
    missing = [name for name in found.missing_keys if not (c.tie_head and name in ("head.weight", "token_embedding.weight"))]
    if missing or found.unexpected_keys:
        raise ValueError(f"the PyTorch twin does not fit the model: missing {missing}, unexpected {found.unexpected_keys}")
    return twin
