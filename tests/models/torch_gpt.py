"""The same GPT in PyTorch, as short as it goes: parameter names and shapes are minigrad's, so weights can be copied."""
import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads = n_heads
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(d_model, d_model))

    def forward(self, x):
        B, T, D = x.shape
        projections = (self.q_proj, self.k_proj, self.v_proj)
        q, k, v = (proj(x).view(B, T, self.n_heads, -1).transpose(1, 2) for proj in projections)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    """A pre-norm block."""

    def __init__(self, d_model, n_heads, d_ff):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attn = Attention(d_model, n_heads)
        self.mlp = nn.ModuleDict({"up_proj": nn.Linear(d_model, d_ff), "down_proj": nn.Linear(d_ff, d_model)})

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["down_proj"](F.gelu(self.mlp["up_proj"](self.norm2(x)), approximate="tanh"))


class TorchGPT(nn.Module):
    """A GPT with the sizes of a minigrad GPTConfig."""

    def __init__(self, config):
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position_embedding = nn.Embedding(config.context, config.d_model)
        self.blocks = nn.ModuleList(Block(config.d_model, config.n_heads, config.d_ff) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tie_head:
            self.head.weight = self.token_embedding.weight

    def forward(self, ids, start=0):
        x = self.token_embedding(ids) + self.position_embedding(start + torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def twin(model):
    """The PyTorch model with the same weights as a minigrad GPT."""
    other = TorchGPT(model.config).to(getattr(torch, model.token_embedding.weight.dtype.name))
    with torch.no_grad():
        for name, p in other.named_parameters():
            p.copy_(torch.from_numpy(model.get_parameter(name).numpy()))
    return other
