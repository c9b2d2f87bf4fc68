"""AdapterDrop: adapters trained so that those of the lower layers can be left out."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.backend import host
from minigrad.nn import Module
from minigrad.peft.adapter import Adapter
from minigrad.peft.method import whole_number
from minigrad.peft.registry import register
from minigrad.peft.unified import ModifiedByBottleneck


@register
@dataclass(frozen=True)
class AdapterDrop(Adapter):
    """Houlsby's adapters; in each training step those of the first n blocks are skipped, n drawn from 0 … most.

    So the model learns to do without the lower ones, and `drop_adapters(model, n)` can leave them out where speed
    matters: nothing below the first adapter then differs from the base, so one pass serves several tasks there.
    most: None means all blocks but the last.
    Count: 2L·(2dr + r + d). Starts at the base: as Houlsby's. Mergeable: no. Paper: arXiv 2010.11918.

    >>> import minigrad as mg
    >>> gpt = mg.models.GPT(mg.models.GPTConfig(vocab_size=11, context=8, d_model=16, n_layers=3, n_heads=2))
    >>> adapted = mg.peft.apply(gpt, AdapterDrop(bottleneck=4))
    >>> drop_adapters(adapted.model, 2)                     # of 3 blocks
    >>> [block.mlp.down_proj.skip for block in adapted.model.blocks]
    [True, True, False]
    """

    most: int | None = None

    name = "adapterdrop"
    paper = "2010.11918"
    extra_latency = "as Houlsby's, in the blocks that keep theirs"

    def __post_init__(self):
        super().__post_init__()
        if self.most is not None:
            whole_number(self.most, "AdapterDrop: most", least=0)

    def attach(self, model: Module, rng) -> Module:
        """Houlsby's adapters."""
        if self.most is not None and self.most >= len(model.blocks):
            raise ValueError(f"AdapterDrop: most={self.most}, but the model has {len(model.blocks)} blocks, and one must "
                             "keep its adapters")
        return super().attach(model, rng)

    def before_step(self, model: Module, step: int, total: int) -> None:
        """Draw how many blocks do without in this step."""
        most = len(model.blocks) - 1 if self.most is None else self.most
        drop_adapters(model, int(host.rng().integers(0, most + 1)))

    def after_step(self, model: Module, step: int, total: int) -> None:
        """Between steps all adapters are there."""
        drop_adapters(model, 0)


def drop_adapters(model: Module, n: int) -> None:
    """Skip the adapters of the first n blocks from now on; 0 brings all back."""
    if not 0 <= n <= len(model.blocks):
        raise ValueError(f"drop_adapters: n must lie in 0 … {len(model.blocks)}; got {n!r}")
    for i, block in enumerate(model.blocks):
        for module in block.modules():
            if isinstance(module, ModifiedByBottleneck):
                module.skip = i < n
