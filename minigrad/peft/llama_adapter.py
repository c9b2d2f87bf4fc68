"""LLaMA-Adapter: a trained prompt per layer behind a gate that starts closed."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.nn import Module, MultiHeadAttention, Parameter
from minigrad.nn import functional as F
from minigrad.peft.method import Method, parameter, whole_number
from minigrad.peft.prefix import attentions, occupy
from minigrad.peft.registry import register


class GatedPrompt(Module):
    """tanh(g) · softmax(q·K_pᵀ/√d)·V_p per head, with K_p = k_proj(p) and V_p = v_proj(p) from the layer's own weights."""

    def __init__(self, prompt: Parameter, gate: Parameter):
        super().__init__()
        self.prompt, self.gate = prompt, gate       # (K, D), (H,)

    def forward(self, attn: MultiHeadAttention, q: Tensor) -> Tensor:
        """(B, H, T, D/H) -> (B, H, T, D/H): what is added to the heads' output, before o_proj."""
        p = self.prompt.unsqueeze(0)                                        # (1, K, D)
        k, v = attn.split_heads(attn.k_proj(p)), attn.split_heads(attn.v_proj(p))       # (1, H, K, D/H)
        return F.scaled_dot_product_attention(q, k, v) * self.gate.tanh().reshape(-1, 1, 1)


@register
@dataclass(frozen=True)
class LlamaAdapter(Method):
    """head = softmax(q·Kᵀ/√d)·V + tanh(g) · softmax(q·K_pᵀ/√d)·V_p in the top `layers` blocks, with p (K, D) and g trained.

    K_p and V_p are the frozen projections of the prompt p (K = length rows), the same for every position: p is not
    rotated and every token sees all of it. The two softmaxes are apart, so a closed gate (g = 0, one per head) changes
    nothing; in a prefix the one softmax would give weight to any row (compare prefix.py).
    layers: None means all blocks.
    Count: L_a·(K·d + H). Starts at the base: yes; in the first step only the gates get a gradient.
    Mergeable: no. Paper: arXiv 2303.16199.

    >>> import minigrad as mg
    >>> llama_7b = mg.models.GPTConfig(32000, 2048, d_model=4096, n_layers=32, n_heads=32)
    >>> LlamaAdapter(length=10, layers=30).count(llama_7b)                  # the paper's 1.2 M, and 30 · 32 gates
    1229760
    """

    length: int = 10
    layers: int | None = None

    name = "llama_adapter"
    paper = "2303.16199"
    formula = "L_a·(K·d + H)"
    why_not_mergeable = "its softmax over the prompt depends on every query"
    extra_latency = "a second attention over K rows per adapted layer"

    def __post_init__(self):
        super().__post_init__()
        whole_number(self.length, "LlamaAdapter: length")
        if self.layers is not None:
            whole_number(self.layers, "LlamaAdapter: layers")

    def attach(self, model: Module, rng) -> Module:
        """Put a gated prompt beside the attention of the top blocks."""
        c, like = model.config, model.norm.weight
        for attn in attentions(model)[c.n_layers - self._layers(c):]:
            occupy(attn, "beside", GatedPrompt(parameter(rng.standard_normal((self.length, c.d_model)), like),
                                               parameter(host.np.zeros(c.n_heads), like)), self)
        return model

    def count(self, config) -> int:
        """A prompt and a gate per head for each adapted layer."""
        return self._layers(config) * (self.length * config.d_model + config.n_heads)

    def _layers(self, config) -> int:
        if self.layers is not None and self.layers > config.n_layers:
            raise ValueError(f"LlamaAdapter: layers={self.layers}, but the model has {config.n_layers} blocks")
        return config.n_layers if self.layers is None else self.layers
