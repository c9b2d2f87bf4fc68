"""The unified view of He et al. (arXiv 2110.04366): adapters, LoRA and prefixes differ in four choices and no more.

    Δh = W_up · σ(W_down · z)                       a thin layer, a function σ, a thin layer
    form          σ: identity, relu, gelu or softmax
    insertion     z: what the changed layer gives ("sequential") or what it takes ("parallel")
    modified      which h: attention's or the MLP's output, a projection, or each head's output
    composition   h + s·Δh, or (1 − λ)·h + λ·Δh where a softmax shares its weight with the layer's own

`DESIGNS` has one row per method; `modify` is the one formula. The adapters of this package run through it, and a test
derives LoRA's and the prefix's own code from it.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.models.decode import array_form, on_arrays
from minigrad.nn import Module, Parameter
from minigrad.nn import functional as F
from minigrad.peft.layers import Affine, Wrapped
from minigrad.peft.method import parameter


@dataclass(frozen=True)
class Design:
    """One row of the paper's table."""

    form: str
    insertion: str
    modified: str
    composition: str = "h + s·Δh"


DESIGNS = {
    "adapter": Design("gelu", "sequential", "attention and MLP"),
    "adapter_lin": Design("relu", "sequential", "block"),
    "adapter_pfeiffer": Design("relu", "sequential", "MLP"),
    "residual_adapter": Design("identity", "sequential", "attention and MLP"),
    "parallel": Design("relu", "parallel", "MLP"),
    "scaled_parallel": Design("relu", "parallel", "MLP"),
    "lora": Design("identity", "parallel", "projection"),
    "prefix": Design("softmax", "parallel", "head", "(1 − λ)·h + λ·Δh"),
}

FORMS = {"identity": lambda a: a, "relu": F.relu, "gelu": F.gelu, "softmax": lambda a: F.softmax(a, dim=-1)}


def modify(design: Design, h: Tensor, x: Tensor, down, up, scale=1.0, own: Tensor | None = None) -> Tensor:
    """What becomes of h, which a layer has computed from x.

    down: (…, in) -> (…, r) and up: (…, r) -> (…, out) are the two thin layers · scale: s, a number or a tensor ·
    own: for the gated composition, log Σ e^score of the layer's own softmax, (…, 1).

    >>> import minigrad as mg
    >>> h, x = mg.ones(2, 3), mg.ones(2, 5)
    >>> modify(DESIGNS["parallel"], h, x, lambda x: x[:, :2], lambda a: a.sum(dim=1, keepdim=True), scale=4.0)[0].numpy()
    array([9., 9., 9.], dtype=float32)
    """
    scores = down(h if design.insertion == "sequential" else x)     # (…, in) -> (…, r)
    change = up(FORMS[design.form](scores))                         # (…, r) -> (…, out)
    if design.form != "softmax":
        return h + change * scale
    # λ is the share of the joint softmax that falls to the new rows: e^new/(e^new + e^own) = sigmoid(new − own).
    share = (scores.logsumexp(dim=-1, keepdim=True) - own).sigmoid()
    return (1.0 - share) * h + share * change


class Modified(Wrapped):
    """A layer whose output is changed: h = layer(x), y = modify(h, x). A subclass says by what."""

    design: Design

    def forward(self, x: Tensor, *more) -> Tensor:
        """The wrapped layer's arguments; its output, changed."""
        return self.modify(self.base_layer(x, *more), x)

    def modify(self, h: Tensor, x: Tensor) -> Tensor:
        """The method's change of h."""
        raise NotImplementedError(f"{type(self).__name__} must define modify(self, h, x)")


class Bottleneck(Module):
    """W_down (r, D) with its bias and W_up (D, r) with its bias, r = bottleneck; what stands between is the design's."""

    def __init__(self, down: Affine, up: Affine):
        super().__init__()
        self.down, self.up = down, up


class ModifiedByBottleneck(Modified):
    """A layer changed by a bottleneck in the way of `design`, with scale s (a number or a trained one-element tensor)."""

    def __init__(self, base_layer: Module, design: Design, adapter: Bottleneck, scale=1.0):
        super().__init__(base_layer)
        self.design, self.adapter, self.scale, self.skip = design, adapter, scale, False

    def modify(self, h: Tensor, x: Tensor) -> Tensor:
        """(B, T, D), (B, T, D) -> (B, T, D); h itself while `skip` is set."""
        return h if self.skip else modify(self.design, h, x, self.adapter.down, self.adapter.up, self.scale)


@array_form(ModifiedByBottleneck)
def _on_arrays(module):
    """h = layer(x), y = h + s·up(form(down(h or x)))"""
    be, design, scale = module.adapter.up.weight.backend, module.design, module.scale
    form = {"identity": lambda a: a, "relu": lambda a: be.xp.maximum(a, 0),
            "gelu": lambda a: 0.5 * a * (1.0 + be.erf(a * math.sqrt(0.5)))}.get(design.form)
    if form is None:
        return None
    scale = scale.data if isinstance(scale, Tensor) else scale
    base, down, up = on_arrays(module.base_layer), on_arrays(module.adapter.down), on_arrays(module.adapter.up)
    if module.skip:
        return base

    def forward(x):
        h = base(x)
        return h + up(form(down(h if design.insertion == "sequential" else x))) * scale
    return forward


def bottleneck(r: int, like: Parameter, rng, init: str = "zero_up") -> Bottleneck:
    """A bottleneck for a stream as wide as `like` (D,), on its backend.

    init: "zero_up" W_up = 0, W_down ~ U(−1/√D, 1/√D), so that Δh = 0 · "houlsby" both from N(0, 0.001²) cut off at 2σ.
    """
    np, (d,) = host.np, like.shape
    if init == "zero_up":
        down, up = rng.uniform(-1.0, 1.0, (r, d)) / np.sqrt(d), np.zeros((d, r))
    else:
        down, up = truncated_normal(rng, (r, d), 1e-3), truncated_normal(rng, (d, r), 1e-3)
    return Bottleneck(Affine(parameter(down, like), parameter(np.zeros(r), like)),
                      Affine(parameter(up, like), parameter(np.zeros(d), like)))


def truncated_normal(rng, shape, std: float):
    """Host numbers from N(0, std²), drawn again while they lie beyond 2·std."""
    values = rng.standard_normal(shape)
    while (beyond := abs(values) > 2).any():
        values[beyond] = rng.standard_normal(int(beyond.sum()))
    return values * std
