"""Parallel adapters (He): the bottleneck reads what a sub-layer reads, and runs beside it instead of behind it."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.backend import host
from minigrad.nn import Module
from minigrad.peft.method import Method, one_of, parameter, positive, whole_number
from minigrad.peft.registry import register
from minigrad.peft.targets import place
from minigrad.peft.unified import DESIGNS, ModifiedByBottleneck, bottleneck


@register
@dataclass(frozen=True)
class ParallelAdapter(Method):
    """h ← f(x) + W_up · relu(W_down · x + b_down) + b_up, with f the MLP or attention and x its (normalized) input.

    where: "mlp" (which the paper finds best) or "attn". f and the bottleneck can run at the same time.
    Count: L·(2dr + r + d). Starts at the base: yes (W_up = 0). Mergeable: no. Paper: arXiv 2110.04366.

    >>> import minigrad as mg
    >>> ParallelAdapter(16).count(mg.models.GPTConfig(vocab_size=80))
    16960
    """

    bottleneck: int = 16
    where: str = "mlp"

    name = "parallel"
    paper = "2110.04366"
    formula = "L·(2dr + r + d)"
    why_not_mergeable = "a nonlinearity stands between its two matrices"
    extra_latency = "two small layers beside one sub-layer per block"

    def __post_init__(self):
        super().__post_init__()
        whole_number(self.bottleneck, f"{type(self).__name__}: bottleneck")
        one_of(self.where, ("mlp", "attn"), f"{type(self).__name__}: where")

    def attach(self, model: Module, rng) -> Module:
        """Put a bottleneck beside every MLP, or every attention."""
        for i in range(len(model.blocks)):
            here = place(model, f"blocks.{i}.{self.where}")
            new = bottleneck(self.bottleneck, model.norm.weight, rng)
            model.set_submodule(here, ModifiedByBottleneck(model.get_submodule(here), DESIGNS[self.name], new,
                                                           self.initial_scale(model)))
        return model

    def initial_scale(self, model: Module):
        """s in h + s·Δh."""
        return 1.0

    def count(self, config) -> int:
        """One bottleneck with its biases per block."""
        d, r = config.d_model, self.bottleneck
        return config.n_layers * (2 * d * r + r + d)


@register
@dataclass(frozen=True)
class ScaledParallelAdapter(ParallelAdapter):
    """h ← f(x) + s · (W_up · relu(W_down · x + b_down) + b_up): the parallel adapter with LoRA's scale.

    scale: s at the start (the paper's 4) · learned: whether each layer's s is trained, one number per block.
    Count: L·(2dr + r + d), with learned scales L more. Starts at the base: yes. Mergeable: no.
    Paper: arXiv 2110.04366; with a prefix on attention it is the paper's "mix and match".

    >>> import minigrad as mg
    >>> ScaledParallelAdapter(16, learned=True).count(mg.models.GPTConfig(vocab_size=80))
    16964
    """

    scale: float = 4.0
    learned: bool = False

    name = "scaled_parallel"

    def __post_init__(self):
        super().__post_init__()
        positive(self.scale, "ScaledParallelAdapter: scale")

    def initial_scale(self, model: Module):
        """A number, or a trained one."""
        return parameter(host.np.full(1, self.scale), model.norm.weight) if self.learned else self.scale

    def count(self, config) -> int:
        """As without a scale, and the learned ones."""
        return super().count(config) + (config.n_layers if self.learned else 0)
