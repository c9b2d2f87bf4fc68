"""What training a model costs before anybody buys the machine: bytes, bits and floating-point operations in closed form.

Everything here is arithmetic on counts: no array is made. minigrad/training/memory.py measures the same things on an
actual step of a model that fits on a desk; minigrad/training/activation_model.py predicts the one part that depends on
the batch. GB means 10⁹ bytes, GiB means 2³⁰.

    SCHEMES         bytes that each trained parameter costs, by training recipe
    model_states    weights, gradients and optimizer state of a model, all trained or only a part of it
    zero            the same on one of N devices that share them out (ZeRO)
    kv_bytes        the keys and values that generation keeps per token
    GPT3, flops_…   the sizes of the GPT-3 family and what a step of each computes
"""
from __future__ import annotations

import math
from dataclasses import dataclass

GB = 1e9
IN_PLACE = ("full", "topk", "bitfit", "layernorm")  # methods that train parameters of the base; the others add their own


@dataclass(frozen=True)
class Scheme:
    """Bytes per parameter of a training recipe.

    weights: the copy the forward pass reads · gradients · optimizer: its moments, and with them whatever else the update
    needs: a float32 master copy, a compensation term · transient: held only inside a step, not counted in `total`.
    """

    name: str
    weights: float
    gradients: float
    optimizer: float
    about: str
    transient: float = 0.0

    @property
    def total(self) -> float:
        """Bytes per trained parameter."""
        return self.weights + self.gradients + self.optimizer


_ALL = (
    Scheme("fp32-adam", 4, 4, 8, "float32 everywhere: what this engine holds; the two moments m and v"),
    Scheme("mixed", 2, 2, 12, "16-bit weights and gradients, float32 master + m + v: K = 12 of ZeRO (1910.02054)"),
    Scheme("autocast", 4, 4, 8, "float32 leaves under autocast; the 16-bit copies live only inside a step", transient=2),
    Scheme("16bit", 2, 2, 8, "16-bit weights and gradients, float32 m + v, no master copy (QLoRA's count, 2305.14314)"),
    Scheme("bf16", 2, 2, 4, "bfloat16 for everything, the moments included"),
    Scheme("bf16-kahan", 2, 2, 6, "the same and a bfloat16 compensation term, which keeps what rounding loses"),
    Scheme("adam8bit", 4, 4, 2 + 8 / 256, "float32 weights and gradients; 8-bit m + v, one float32 scale per 256 of each"),
    Scheme("sgd", 2, 2, 4, "mixed precision without moments: the master copy alone"),
    Scheme("momentum", 2, 2, 8, "mixed precision with one moment"),
)
SCHEMES = {scheme.name: scheme for scheme in _ALL}


def scheme_named(name: str | Scheme) -> Scheme:
    """The scheme of that name; ValueError listing the known ones.

    >>> scheme_named("mixed").total
    16
    """
    if isinstance(name, Scheme):
        return name
    if name not in SCHEMES:
        raise ValueError(f"unknown scheme {name!r}: known are {', '.join(SCHEMES)}")
    return SCHEMES[name]


@dataclass(frozen=True)
class States:
    """Bytes of a model's states on one device. Activations are not among them: they depend on the batch; measure them."""

    weights: float
    gradients: float
    optimizer: float

    @property
    def total(self) -> float:
        """All of them together."""
        return self.weights + self.gradients + self.optimizer


def model_states(params: float, trained: float | None = None, *, scheme: str | Scheme = "mixed", added: bool = True,
                 base_bits: float | None = None) -> States:
    """Bytes of weights, gradients and optimizer state: a trained parameter costs the whole scheme, a frozen one its weight.

    params: of the base model · trained: how many are trained (None: all) · added: the trained ones come on top of the
    base's (LoRA, adapters, prefixes) rather than being a part of it (top-K layers) · base_bits: bits per frozen weight
    where it is stored in fewer than the scheme's (QLoRA).

    >>> model_states(7.5e9).total / GB                               # 16 bytes for each of 7.5 billion
    120.0
    >>> round(model_states(65e9, 0, base_bits=nf4_bits()).total / GB, 1)     # QLoRA: a 65B model below 48 GB
    33.5
    """
    scheme = scheme_named(scheme)
    _count(params, "params")
    if trained is None:
        if base_bits is not None:
            raise ValueError("base_bits is for frozen weights; a model trained in full has none. Say how many are trained")
        return States(scheme.weights * params, scheme.gradients * params, scheme.optimizer * params)
    _count(trained, "trained")
    if not added and trained > params:
        raise ValueError(f"{trained:,} of {params:,} parameters cannot be trained; with added=True they come on top")
    frozen = params if added else params - trained
    frozen_bytes = frozen * (scheme.weights if base_bits is None else base_bits / 8)
    return States(frozen_bytes + scheme.weights * trained, scheme.gradients * trained, scheme.optimizer * trained)


STAGES = ("data parallel", "ZeRO-1: optimizer shared out", "ZeRO-2: and gradients", "ZeRO-3: and weights")


def zero(states: States, stage: int, devices: int) -> States:
    """What one of `devices` holds when ZeRO shares the states out (1910.02054): stage 1 the optimizer's, 2 also the
    gradients, 3 also the weights, frozen ones included; stage 0 is plain data parallelism.

    Stages 1 and 2 need in addition one bucket of full gradients for a moment, stage 3 one or two units of full weights.

    >>> [round(zero(model_states(7.5e9), stage, 64).total / GB, 1) for stage in range(4)]
    [120.0, 31.4, 16.6, 1.9]
    """
    if stage not in range(4):
        raise ValueError(f"stage must be 0, 1, 2 or 3; got {stage!r}")
    if isinstance(devices, bool) or not isinstance(devices, int) or devices < 1:
        raise ValueError(f"devices must be a whole number of at least 1; got {devices!r}")
    share = [devices if stage >= least else 1 for least in (3, 2, 1)]
    return States(states.weights / share[0], states.gradients / share[1], states.optimizer / share[2])


def bytes_sent(payload: float, stage: int, devices: int) -> float:
    """Bytes that each of `devices` sends per step, for gradients and weights of `payload` bytes, with ring collectives.

    Stages 0 to 2: a reduce-scatter and an all-gather, (N−1)/N of the payload each; stage 3 gathers once more.

    >>> bytes_sent(2 * 7.5e9, 0, 64) / GB                            # not 15, the payload, but nearly twice that
    29.53125
    """
    return (3 if stage == 3 else 2) * (devices - 1) / devices * payload


# ---- fine-tuning ----------------------------------------------------------------------------------------------------

def lora_count(layers: int, width: int, rank: int, matrices: int = 2) -> int:
    """Parameters of LoRA on `matrices` square width × width matrices of each layer: 2·width·rank each (2106.09685).

    >>> lora_count(96, 12288, rank=1), lora_count(96, 12288, rank=8)         # GPT-3, queries and values
    (4718592, 37748736)
    """
    return layers * matrices * 2 * width * rank


def nf4_bits(*, block: int = 64, double: bool = True, scales_block: int = 256) -> float:
    """Bits per weight of QLoRA's 4-bit format: 4 and a share of the block's scale (2305.14314).

    Without double quantization the scale is a float32 per `block` weights; with it, 8 bits per block and a float32 per
    `scales_block` blocks.

    >>> nf4_bits(double=False), round(nf4_bits(), 3)
    (4.5, 4.127)
    """
    return 4 + (8 / block + 32 / (block * scales_block) if double else 32 / block)


def weight_bytes(params: float, bits: float = 16) -> float:
    """Bytes of a checkpoint's weights.

    >>> weight_bytes(175e9, 32) / GB, weight_bytes(175e9) / GB, weight_bytes(7e9) / GB
    (700.0, 350.0, 14.0)
    """
    return params * bits / 8


def change_percent(before: float, after: float) -> float:
    """How much more `after` is than `before`, in percent. The course's QLoRA table says 21.33 → 14.18 GB and
    1.85 → 2.79 hours; the "+39 % time" in its text is not what these numbers give.

    >>> round(change_percent(21.33, 14.18), 1), round(change_percent(1.85, 2.79), 1)
    (-33.5, 50.8)
    """
    return 100 * (after / before - 1)


# ---- generation -----------------------------------------------------------------------------------------------------

def kv_bytes(layers: int, kv_heads: int, head_dim: int, tokens: int = 1, batch: int = 1, bytes_each: float = 2) -> float:
    """Bytes of the keys and values that a cache keeps: 2 · layers · kv_heads · head_dim · tokens · batch numbers.

    >>> kv_bytes(32, 32, 128), kv_bytes(32, 32, 128, tokens=2048) / 2**30    # LLaMA-7B, float16: per token; in GiB
    (524288, 1.0)
    """
    return 2 * layers * kv_heads * head_dim * tokens * batch * bytes_each


# ---- a family of models and what they compute -------------------------------------------------------------------------

@dataclass(frozen=True)
class Shape:
    """The sizes of a model as its paper states them.

    params: the nominal count · batch_tokens: tokens per training step · kv_heads: None for as many as heads.
    """

    name: str
    params: float
    layers: int
    width: int
    heads: int
    head_dim: int
    batch_tokens: float | None = None
    learning_rate: float | None = None
    vocabulary: int = 50257
    context: int = 2048
    kv_heads: int | None = None
    remark: str = ""

    @property
    def computed(self) -> int:
        """Parameters of a GPT-2-like model of these sizes: 12·L·d² + 13·L·d + 2·d + (V + C)·d, the head tied."""
        L, d = self.layers, self.width
        return 12 * L * d * d + 13 * L * d + 2 * d + (self.vocabulary + self.context) * d

    def kv_bytes(self, tokens: int = 1, batch: int = 1, bytes_each: float = 2) -> float:
        """Bytes of this model's KV cache."""
        return kv_bytes(self.layers, self.kv_heads or self.heads, self.head_dim, tokens, batch, bytes_each)


# Table 2.1 of the GPT-3 paper (2005.14165), as printed; the remarks say where its rows disagree with themselves.
GPT3 = (
    Shape("gpt3-small", 125e6, 12, 768, 12, 64, 0.5e6, 6.0e-4),
    Shape("gpt3-medium", 350e6, 24, 1024, 16, 64, 0.5e6, 3.0e-4),
    Shape("gpt3-large", 760e6, 24, 1536, 16, 96, 0.5e6, 2.5e-4),
    Shape("gpt3-xl", 1.3e9, 24, 2048, 24, 128, 1e6, 2.0e-4, remark="24 heads of 128 are 3,072, the width is 2,048"),
    Shape("gpt3-2.7b", 2.7e9, 32, 2560, 32, 80, 1e6, 1.6e-4),
    Shape("gpt3-6.7b", 6.7e9, 32, 4096, 32, 128, 2e6, 1.2e-4),
    Shape("gpt3-13b", 13e9, 40, 5140, 40, 128, 2e6, 1.0e-4, remark="40 heads of 128 are 5,120, the width is 5,140"),
    Shape("gpt3-175b", 175e9, 96, 12288, 96, 128, 3.2e6, 0.6e-4),
)
SHAPES = {shape.name: shape for shape in (
    *GPT3,
    Shape("gpt2-1.5b", 1.5e9, 48, 1600, 25, 64, context=1024),
    Shape("llama-7b", 6.738e9, 32, 4096, 32, 128, vocabulary=32000),
    Shape("llama-65b", 65e9, 80, 8192, 64, 128, vocabulary=32000),
    Shape("smollm2-135m", 135e6, 30, 576, 9, 64, vocabulary=49152, kv_heads=3),
)}


def flops_per_token(params: float, *, layers: int = 0, width: int = 0, context: int = 0) -> float:
    """Floating-point operations of one training step per token: 6 per parameter (2001.08361), and attention's own.

    A parameter takes part in one multiplication and one addition forward, and in two of each backward. Attention's
    scores and weighted sums are no parameters: 2·2·context·width per layer forward, three times that with backward,
    counted for all keys although the causal mask hides half of them.

    >>> f"{flops_per_token(175e9):.2e}"
    '1.05e+12'
    """
    return 6 * params + 12 * layers * context * width


def flops_per_step(shape: Shape, *, attention: bool = False) -> float:
    """Floating-point operations of one training step on the shape's own batch.

    >>> f"{flops_per_step(SHAPES['gpt3-175b']):.2e}"
    '3.36e+18'
    """
    if shape.batch_tokens is None:
        raise ValueError(f"{shape.name}: no batch size is known; use flops_per_token and your own number of tokens")
    extra = {"layers": shape.layers, "width": shape.width, "context": shape.context} if attention else {}
    return flops_per_token(shape.params, **extra) * shape.batch_tokens


def _count(value, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{what} must be a finite number of at least 0; got {value!r}")
