"""P-tuning: trained vectors anywhere among real tokens, made by a small network that is dropped after training."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from minigrad.autograd import Tensor, no_grad
from minigrad.backend import host
from minigrad.nn import Module, Parameter
from minigrad.nn import functional as F
from minigrad.ops import cat
from minigrad.peft.layers import Affine
from minigrad.peft.method import Method, fill, one_of, parameter, whole_number
from minigrad.peft.registry import register
from minigrad.peft.slots import initial_rows, with_slots

FILE_KEY = "prompt_embeddings"                      # PEFT's one tensor (P, D)


class Template(Module):
    """The vectors of a template: trained rows (P, D), through an encoder if there is one, among fixed tokens' rows."""

    def __init__(self, prompt: Parameter, fixed: tuple[int, ...], order: list[int], encoder: list[Affine]):
        super().__init__()
        self.prompt, self.fixed, self.order = prompt, fixed, order
        for i, layer in enumerate(encoder):
            self.add_module(f"encoder{i}", layer)
        self.depth = len(encoder)

    def encoded(self) -> Tensor:
        """(P, D), through Linear-ReLU-Linear-ReLU-Linear."""
        x = self.prompt
        for i in range(self.depth):
            x = self.get_submodule(f"encoder{i}")(F.relu(x) if i else x)
        return x

    def forward(self, token_embedding: Module) -> Tensor:
        """(S, D), in the template's order."""
        if not self.fixed:
            return self.encoded()
        rows = cat([self.encoded(), token_embedding(host.np.array(self.fixed))], dim=0)
        return F.embedding(host.np.array(self.order), rows)


@register
@dataclass(frozen=True)
class PTuning(Method):
    """logits = GPT(template), with trained vectors ("p"), fixed tokens (ids) and the input's tokens ("x") in any order.

    template: ("p", "p", "x", 17, "p") reads two trained vectors, the first real token, token 17, a trained vector, and
    then the rest of the input. Prompt tuning is ("p",)·P; plain text before the input is a template of ids.
    hidden=m: the vectors come from an encoder E (P, D) → Linear → ReLU → Linear → ReLU → Linear, m wide (PEFT's; the
    paper puts a recurrent layer first); `bake()` replaces it by the vectors it gives.
    init: "vocab" or "random" (without an encoder), see slots.py. All slots use up context.
    Count: P·d, with hidden P·d + (d·m + m) + (m² + m) + (m·d + d). Starts at the base: no. Mergeable: no.
    Paper: arXiv 2103.10385.

    >>> import minigrad as mg
    >>> PTuning(("p", "p", 17, "x", "p")).count(mg.models.GPTConfig(vocab_size=80))         # 3 · 128
    384
    """

    template: tuple = ("p", "p", "p", "p", "x", "p", "p", "p", "p")
    hidden: int | None = None
    init: str = "vocab"

    name = "ptuning"
    paper = "2103.10385"
    formula = "P·d"
    starts_at_base = False
    why_not_mergeable = "it is more input, not a change of weights"
    extra_latency = "as many more tokens as the template has"

    def __post_init__(self):
        super().__post_init__()
        for entry in self.template:
            if entry not in ("p", "x") and (isinstance(entry, bool) or not isinstance(entry, int) or entry < 0):
                raise ValueError(f"PTuning: a template holds 'p' (trained), 'x' (one real token) and token ids; got "
                                 f"{entry!r}")
        if "p" not in self.template:
            raise ValueError(f"PTuning: the template {self.template!r} has no 'p', so nothing would be trained")
        if self.hidden is not None:
            whole_number(self.hidden, "PTuning: hidden")
        one_of(self.init, ("vocab", "random"), "PTuning: init")

    def attach(self, model: Module, rng) -> Module:
        """The same GPT with the template's vectors among its input."""
        np, like, P, d, m = host.np, model.norm.weight, self.template.count("p"), model.config.d_model, self.hidden
        before, order, fixed, reals, trained = [], [], [], 0, 0
        for entry in self.template:
            if entry == "x":
                reals += 1
                continue
            before.append(reals)
            if entry == "p":
                order.append(trained)
                trained += 1
            else:
                order.append(P + len(fixed))
                fixed.append(entry)
        host.ids(fixed or [0], model.config.vocab_size, "PTuning: the template's token id")
        rows, encoder = initial_rows(model, P, self.init, rng), []
        if m is not None:
            rows = rng.standard_normal((P, d))
            for n_out, n_in in ((m, d), (m, m), (d, m)):
                weight, bias = (rng.uniform(-1.0, 1.0, s) / np.sqrt(n_in) for s in ((n_out, n_in), n_out))
                encoder.append(Affine(parameter(weight, like), parameter(bias, like)))
        slots = Template(parameter(rows, like), tuple(fixed), order, encoder)
        return with_slots(model, slots, tuple(before), None, "PTuning")

    def count(self, config) -> int:
        """The trained vectors, and the encoder."""
        P, d, m = self.template.count("p"), config.d_model, self.hidden
        return P * d + (0 if m is None else (d * m + m) + (m * m + m) + (m * d + d))

    def bake(self, model: Module) -> PTuning:
        """Replace the encoder by the vectors it gives."""
        old = model.slots
        if old.depth:
            with no_grad():
                rows = old.encoded().numpy()
            flag = old.prompt.requires_grad
            model.slots = Template(parameter(rows, model.norm.weight), old.fixed, old.order, [])
            model.slots.requires_grad_(flag)
        return self.stored()

    def stored(self) -> PTuning:
        """Files hold the vectors, not the encoder."""
        return dataclasses.replace(self, hidden=None)

    def state(self, model: Module, own) -> dict:
        """PEFT's one tensor (P, D)."""
        with no_grad():
            return {FILE_KEY: model.slots.encoded().numpy()}

    def load_state(self, model: Module, own, state: dict) -> None:
        """Put it back."""
        if model.slots.depth:
            raise ValueError("a prompt file holds baked vectors, which an encoder (hidden=…) cannot take; call bake() "
                             "first")
        fill({FILE_KEY: model.slots.prompt}, state)
