"""One more token for each sequence of a batch, on plain arrays: GPT.forward without tensors, graphs and checks.

With a KV cache a token costs a few dozen products of one row with a matrix. Each takes microseconds, and so would wrapping
every result in a Tensor. So generation turns the model once into functions of arrays, built from the modules that are there,
and calls those. A kind of module has its `array_form` here or beside its class; whatever has none runs as it always does.
The arithmetic is that of `forward`, kernel by kernel: a test holds the two together, bit by bit.
"""
from __future__ import annotations

import math

from minigrad import nn
from minigrad.autograd import Function, Tensor
from minigrad.autograd.precision import narrow
from minigrad.models.gpt import GPT, MLP, Block

_forms: dict[type, object] = {}


def array_form(kind: type):
    """Decorator for form(module) -> function of arrays (B, in) -> (B, out) that computes what `kind`.forward does in
    evaluation mode; or None, if this module is not of the simple sort. Classes derived from `kind` are not meant."""
    def register(form):
        _forms[kind] = form
        return form
    return register


def on_arrays(module):
    """The module as a function of arrays: its form, or else its own forward on a sequence of one token."""
    form = _forms.get(type(module))
    found = form(module) if form is not None and "forward" not in vars(module) else None
    return found or (lambda x: module(Tensor(x[:, None])).data[:, 0])


def decoder(model, cache):
    """A function ids (B,) -> logits (B, V) that computes what model(ids[:, None], cache=cache) would, as a raw array.

    None where only `forward` itself can tell: another class than GPT, rotary positions, attention with a pattern or
    something beside it, narrow number formats, a replaced operation. Weights are read once, here.
    """
    blocks = getattr(model, "blocks", ())
    if (type(model) is not GPT or "forward" in vars(model) or model.config.positions != "learned"
            or type(model.token_embedding) is not nn.Embedding or type(model.position_embedding) is not nn.Embedding
            or narrow(*model.parameters()) or any(op.override for op in Function.registry.values())
            or not all(_is_plain(block) for block in blocks)):
        return None
    layers = [_block(block, cache.layers[i], cache) for i, block in enumerate(blocks)]
    norm, head = on_arrays(model.norm), on_arrays(model.head)
    tokens, positions = model.token_embedding.weight.data, model.position_embedding.weight.data
    be, shift = cache.backend, model.position_shift

    def step(ids):
        x = tokens[be.send(ids)] + positions[shift + cache.length]      # (B,) -> (B, D)
        for layer in layers:
            x = layer(x)                                                # (B, D)
        cache.advance(1)
        return head(norm(x))                                            # (B, D) -> (B, V)
    return step


def _is_plain(block) -> bool:
    """Whether a block and its attention are what they were made as, but for the layers inside and a prefix."""
    attn = getattr(block, "attn", None)
    return (type(block) is Block and type(attn) is nn.MultiHeadAttention and attn.beside is None and attn.pattern is None
            and type(block.dropout) is nn.Dropout and not any("forward" in vars(m) for m in (block, attn, block.dropout)))


def _block(block, layer, cache):
    """x + attention(norm1(x)), and to that its mlp(norm2(·)); dropout does nothing here."""
    norm1, norm2, mlp = (on_arrays(m) for m in (block.norm1, block.norm2, block.mlp))
    attention = _attention(block.attn, layer, cache)

    def forward(x):
        x = x + attention(norm1(x))
        return x + mlp(norm2(x))
    return forward


def _attention(attn, layer, cache):
    """One query per sequence looks at the prefix, at everything in the cache, and at itself; nothing is masked."""
    q_proj, k_proj, v_proj, o_proj = (on_arrays(m) for m in (attn.q_proj, attn.k_proj, attn.v_proj, attn.o_proj))
    be, H, d = cache.backend, attn.n_heads, attn.d_model // attn.n_heads
    scale = 1.0 / math.sqrt(d)

    def forward(x):
        B, at = len(x), layer.front + cache.length
        layer.k[:, :, at] = k_proj(x).reshape(B, H, d)
        layer.v[:, :, at] = v_proj(x).reshape(B, H, d)
        q, k, v = q_proj(x).reshape(B, H, 1, d), layer.k[:, :, :at + 1], layer.v[:, :, :at + 1]
        return o_proj(be.attention(q, k, v, None, None, scale, None).reshape(B, H * d))
    return forward


@array_form(nn.Linear)
def linear_form(module):
    """y = x Wᵀ + b"""
    W, b, linear = module.weight.data, module.bias, module.weight.backend.linear
    b = b if b is None else b.data
    return lambda x: linear(x, W, b)


@array_form(nn.LayerNorm)
def _layer_norm(module):
    """y = x̂·w + b"""
    if len(module.normalized_shape) > 1 or module.weight is None or module.bias is None:
        return None
    w, b, eps, layer_norm = module.weight.data, module.bias.data, module.eps, module.weight.backend.layer_norm
    return lambda x: layer_norm(x, w, b, eps)[0]


@array_form(MLP)
def _mlp(module):
    """y = W_down · gelu(W_up · x)"""
    up, down = on_arrays(module.up_proj), on_arrays(module.down_proj)
    gelu = next(module.parameters()).backend.gelu_tanh
    return lambda x: down(gelu(up(x))[0])
