"""Two small pieces that methods are built from: a matrix, and a module wrapped around a layer."""
from __future__ import annotations

from minigrad.autograd import Tensor
from minigrad.models.decode import array_form, linear_form
from minigrad.nn import Linear, Module, Parameter
from minigrad.nn import functional as F


class Affine(Module):
    """y = x Wᵀ + b from parameters that are already drawn; no bias if b is None."""

    def __init__(self, weight: Parameter, bias: Parameter | None = None):
        super().__init__()
        self.weight = weight                        # (out, in)
        self.bias = bias                            # (out,)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"{self.weight.shape[1]} -> {self.weight.shape[0]}"


array_form(Affine)(linear_form)


class Wrapped(Module):
    """A module in the place of a layer, with that layer inside as `base_layer`.

    What sees the whole (attention calling `self.q_proj(x)`) need not know. Wrappers may be nested.
    """

    def __init__(self, base_layer: Module):
        super().__init__()
        self.base_layer = base_layer

    @property
    def linear(self) -> Linear:
        """The layer inside all wrappers."""
        inner = self.base_layer
        return inner.linear if isinstance(inner, Wrapped) else inner


class Mergeable(Wrapped):
    """A wrapper around a Linear whose effect is a change of that Linear's weight, and perhaps of its bias.

    A subclass gives `delta_weight()` where W₀ becomes W₀ + ΔW, or all of `changed()`, and skips its own branch in
    forward while `merged`.
    """

    def __init__(self, base_layer: Module):
        super().__init__(base_layer)
        self.kept = {}                              # while merged: {"weight": W₀'s Parameter}; a dict is not registered

    @property
    def merged(self) -> bool:
        """Whether the linear layer holds the change."""
        return bool(self.kept)

    def delta_weight(self):
        """ΔW, a raw array (out, in)."""
        raise NotImplementedError(f"{type(self).__name__} must define delta_weight(self)")

    def changed(self) -> dict:
        """{"weight": raw array (out, in)} that takes W₀'s place, and "bias" where that changes too."""
        return {"weight": self.linear.weight.data + self.delta_weight()}

    def merge(self) -> None:
        """Put what changes in its place. What was there is kept: it is the base's, so that costs nothing."""
        if self.merged:                             # two methods combined on one model may share this class
            return
        linear, changed = self.linear, self.changed()
        self.kept = {name: getattr(linear, name) for name in changed}
        for name, array in changed.items():
            setattr(linear, name, Parameter(array, requires_grad=False))

    def unmerge(self) -> None:
        """Put W₀ itself back, the very array; W − ΔW would differ from it in the last bits."""
        for name, p in self.kept.items():
            setattr(self.linear, name, p)
        self.kept = {}
