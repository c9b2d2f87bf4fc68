"""Our GPT once more, in PyTorch, written as one would write it there: what the speed of ours is compared with."""
from __future__ import annotations


def torch_twin(model):
    """A torch.nn.Module with the layout and the weights of a minigrad GPT (on the CPU, in float32)."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    c = model.config

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
                setattr(self, name, nn.Linear(c.d_model, c.d_model))

        def forward(self, x):
            B, T, D = x.shape
            q, k, v = (p(x).view(B, T, c.n_heads, D // c.n_heads).transpose(1, 2)      # (B, T, D) -> (B, H, T, D/H)
                       for p in (self.q_proj, self.k_proj, self.v_proj))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.o_proj(y.transpose(1, 2).reshape(B, T, D))                     # (B, H, T, D/H) -> (B, T, D)

    class MLP(nn.Module):
        def __init__(self):
            super().__init__()
            self.up_proj, self.down_proj = nn.Linear(c.d_model, c.d_ff), nn.Linear(c.d_ff, c.d_model)

        def forward(self, x):
            return self.down_proj(F.gelu(self.up_proj(x), approximate="tanh"))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(c.d_model), nn.LayerNorm(c.d_model)
            self.attn, self.mlp = Attention(), MLP()

        def forward(self, x):
            x = x + self.attn(self.norm1(x))
            return x + self.mlp(self.norm2(x))

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
