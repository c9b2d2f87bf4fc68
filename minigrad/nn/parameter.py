"""Parameter: a tensor that a module owns and an optimizer may change."""
from __future__ import annotations

from minigrad import backend as _backend
from minigrad.autograd import Tensor, tensor


class Parameter(Tensor):
    """A trainable leaf: assigned to a Module's attribute, it is found by `parameters()` and `state_dict()`.

    data: a Tensor or a raw array (the memory is shared, not copied), or host numbers (copied to the current backend).
    Parameters are not counted as activations: they are in memory anyway.

    >>> import minigrad as mg
    >>> mg.nn.Parameter(mg.zeros(2)).requires_grad
    True
    """

    __slots__ = ()

    def __init__(self, data, requires_grad: bool = True):
        if isinstance(data, Tensor):
            raw = data.data
        elif isinstance(data, int | float | list | tuple):
            raw = tensor(data).data
        else:
            _backend.of(data)                       # a foreign array: the error says what to do
            raw = data
        super().__init__(raw, requires_grad)
        self._version.parameter = True

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"
