"""How many bytes of activations a training step keeps for its backward pass, in closed form, for each method.

The counting rule is the engine's: an operation saves what its own backward needs, and nothing for a frozen weight.

    layer norm      its input x (R·d) and 1/σ (R), R = batch · tokens; x alone where x needs no gradient
    linear          its input, if the weight is trained; three layers that read one input share it
    attention       q, k, v (R·d each); its weights, batch · heads · tokens² numbers, are made again when they are needed
    GELU            its slope (R·d_ff) · cross-entropy: the log-probabilities (R·V) · additions and shapes: nothing

So a frozen model still keeps what lies between the operations, and a method below the first trained weight keeps nothing.
tests/training/test_memory_model.py holds every formula here against the graph, to the byte.
"""
from __future__ import annotations

from minigrad.peft.targets import embedding_shapes, linear_shapes, match

FLOAT = 4


def activation_bytes(method, config, batch: int, tokens: int) -> int | None:
    """Bytes that one step of `method` on (batch, tokens) ids keeps, float32; None where no formula is known.

    method: a peft method · config: the base's GPTConfig, with learned positions and without dropout.

    >>> import minigrad as mg
    >>> config = mg.models.GPTConfig(vocab_size=80)
    >>> full, lora = (activation_bytes(m, config, 32, 16) for m in (mg.peft.FullFineTuning(), mg.peft.LoRA()))
    >>> round(lora / full, 2)                               # a hundredth of the parameters trained, but not of this
    0.62
    """
    formula = FORMULAS.get(method.name)
    if formula is None or config.dropout or config.positions != "learned":
        return None
    floats = formula(method, config, batch, tokens)
    return None if floats is None else FLOAT * floats


def norm(c, rows: int) -> int:
    """x and 1/σ of a layer norm."""
    return rows * c.d_model + rows


def attention(c, batch: int, tokens: int, prefix: int = 0) -> int:
    """q, k and v, with `prefix` more keys and values than tokens."""
    return batch * (tokens + 2 * (prefix + tokens)) * c.d_model


def frozen_block(c, batch: int, tokens: int, prefix: int = 0) -> int:
    """A block that gradient passes through and nothing in it is trained: two norms, attention, GELU."""
    return 2 * norm(c, batch * tokens) + attention(c, batch, tokens, prefix) + batch * tokens * c.d_ff


def trained_block(c, batch: int, tokens: int) -> int:
    """The same, and the inputs of its linear layers: of q, k and v (one), o, up (R·d each) and down (R·d_ff)."""
    return frozen_block(c, batch, tokens) + batch * tokens * (3 * c.d_model + c.d_ff)


def frozen_end(c, batch: int, tokens: int, prompt: int = 0) -> int:
    """The final norm (of `prompt` more rows per sequence) and the loss."""
    return norm(c, batch * (tokens + prompt)) + batch * tokens * c.vocab_size


def _full(method, c, batch, tokens):
    return c.n_layers * trained_block(c, batch, tokens) + frozen_end(c, batch, tokens) + batch * tokens * c.d_model


def _topk(method, c, batch, tokens):
    head = batch * tokens * c.d_model if method.head else 0
    lowest = batch * tokens                         # the lowest trained norm has no gradient to pass on: x is enough
    return method.k * trained_block(c, batch, tokens) + frozen_end(c, batch, tokens) + head - lowest


def _bitfit(method, c, batch, tokens):
    # A bias's gradient is a sum of what arrives: nothing is saved for it. The lowest norm passes no gradient on.
    if method.biases != "all":
        return None
    return c.n_layers * frozen_block(c, batch, tokens) + frozen_end(c, batch, tokens) - norm(c, batch * tokens)


def _layernorm(method, c, batch, tokens):
    return c.n_layers * frozen_block(c, batch, tokens) + frozen_end(c, batch, tokens) - batch * tokens


def _lora(method, c, batch, tokens):
    shapes = {**linear_shapes(c), **embedding_shapes(c)}
    adapted = match(method.targets, shapes, method.layers, embedding_shapes(c))
    if method.slices is not None or method.rank_pattern or any(p in embedding_shapes(c) for p in adapted):
        return None
    layers = [[name for name in INPUTS if f"blocks.{i}.{name}" in adapted] for i in range(c.n_layers)]
    if method.dropout or method.bias != "none" or "head" in adapted or any(names != layers[0] for names in layers):
        return None                                 # the formula is for the same layers in every block
    rows, sizes = batch * tokens, {"norm1": c.d_model, "heads": c.d_model, "norm2": c.d_model, "gelu": c.d_ff}
    inputs = {INPUTS[name] for name in layers[0]}
    beside = len(layers[0]) * rows * method.rank    # inputs of B; and of A, unless that is frozen
    if method.name != "lora_fa":
        beside += rows * sum(sizes[name] for name in inputs)
    # Below the first trained weight nothing is kept: in the lowest block that is all that comes before it.
    silent = norm(c, rows)
    if "norm1" not in inputs:
        silent += attention(c, batch, tokens)
    if not inputs & {"norm1", "heads"}:
        silent += norm(c, rows)
    if inputs == {"gelu"}:
        silent += rows * c.d_ff
    return c.n_layers * (frozen_block(c, batch, tokens) + beside) + frozen_end(c, batch, tokens) - silent


def _adapter(method, c, batch, tokens):
    rows = batch * tokens
    beside = rows * c.d_model + 4 * rows * method.bottleneck    # input of down; exact GELU (3 arrays) and up's input
    silent = norm(c, rows) + attention(c, batch, tokens)        # the lowest block, up to its first adapter
    return c.n_layers * (frozen_block(c, batch, tokens) + 2 * beside) + frozen_end(c, batch, tokens) - silent


def _prefix(method, c, batch, tokens):
    if method.hidden is not None:
        return None
    blocks = c.n_layers * frozen_block(c, batch, tokens, method.length)
    return blocks + frozen_end(c, batch, tokens) - norm(c, batch * tokens)


def _prompt(method, c, batch, tokens):
    return c.n_layers * frozen_block(c, batch, tokens + method.length) + frozen_end(c, batch, tokens, method.length)


INPUTS = {"attn.q_proj": "norm1", "attn.k_proj": "norm1", "attn.v_proj": "norm1", "attn.o_proj": "heads",
          "mlp.up_proj": "norm2", "mlp.down_proj": "gelu"}
FORMULAS = {"full": _full, "topk": _topk, "bitfit": _bitfit, "layernorm": _layernorm, "adapter": _adapter, "prefix": _prefix,
            "prompt": _prompt, "lora": _lora, "lora_plus": _lora, "lora_fa": _lora, "pissa": _lora}
