"""The differentiable operations, one family per file, and the one place where Tensor gets its operators and methods."""
from minigrad import backend as _backend
from minigrad.autograd import Function, Tensor
from minigrad.ops import promote
from minigrad.ops.activation import dropout, gelu, gelu_naive, relu, sigmoid, silu, softplus, softplus_naive, tanh
from minigrad.ops.create import arange, from_numpy, full, ones, ones_like, rand, randn, zeros, zeros_like
from minigrad.ops.elementwise import (abs, add, clamp, cos, div, erf, exp, expm1, log, log1p, masked_fill, maximum,
                                      minimum, mul, neg, pow, reciprocal, rsqrt, sin, sqrt, square, sub, where)
from minigrad.ops.fused import (attention_naive, layer_norm, layer_norm_naive, log_softmax, log_softmax_naive,
                                rms_norm, rms_norm_naive, scaled_dot_product_attention, softmax, softmax_naive)
from minigrad.ops.index import embedding, embedding_naive, gather, getitem, index_select
from minigrad.ops.linalg import linear, linear_naive, low_rank_linear, low_rank_linear_naive, matmul
from minigrad.ops.loss import cross_entropy, cross_entropy_naive, mse_loss, nll_loss
from minigrad.ops.reduce import (amax, amin, argmax, cumsum, logsumexp, logsumexp_naive, max, mean, min, norm,
                                 normalize, prod, std, sum, var, var_naive)
from minigrad.ops.shape import (cat, chunk, concatenate, expand, flatten, flip, merge_heads, pad, permute, reshape, split,
                                split_heads, squeeze, stack, swapaxes, transpose, tril, triu, unsqueeze, view)

clip = clamp

#: every built-in operation's class, by name
registry = {name: cls for name, cls in Function.registry.items() if cls.__module__.startswith("minigrad.ops.")
            and not cls.__name__.startswith("_")}

_NAMED = (abs, add, amax, amin, argmax, chunk, clamp, cos, cumsum, div, erf, exp, expand, expm1, flatten, flip,
          gather, index_select, log, log1p, log_softmax, logsumexp, masked_fill, matmul, max, maximum, mean, min,
          minimum, mul, neg, norm, permute, pow, prod, reciprocal, relu, reshape, rsqrt, sigmoid, sin, softmax,
          split, sqrt, square, squeeze, std, sub, sum, tanh, transpose, tril, triu, unsqueeze, var)
_METHODS = {op.__name__: op for op in _NAMED} | dict(
    clip=clamp, view=view, swapaxes=swapaxes, to=promote.x_to,
    __neg__=neg, __abs__=abs, __getitem__=getitem, __matmul__=matmul,
    __add__=add, __sub__=sub, __mul__=mul, __truediv__=div, __pow__=pow,
    __radd__=lambda a, b: add(b, a), __rsub__=lambda a, b: sub(b, a), __rmul__=lambda a, b: mul(b, a),
    __rtruediv__=lambda a, b: div(b, a), __rpow__=lambda a, b: pow(b, a), __rmatmul__=lambda a, b: matmul(b, a),
)


def _comparison(name):
    def compare(self, other):
        if not isinstance(other, bool | int | float) and not self.backend.owns(other):
            other = promote.as_tensor(other).data
            _backend.of(self.data, other)           # of another backend: the error names both
        return Tensor(self.backend.asarray(getattr(self.data, name)(other)))

    compare.__name__, compare.__doc__ = name, "Elementwise comparison: a boolean tensor, no gradient."
    return compare


for _name, _op in _METHODS.items():
    setattr(Tensor, _name, _op)
for _name in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__and__", "__or__", "__xor__"):
    setattr(Tensor, _name, _comparison(_name))
Tensor.__invert__ = lambda self: Tensor(self.backend.asarray(~self.data))
Tensor.__iter__ = lambda self: (self[i] for i in range(len(self)))
Tensor.T = property(lambda self: permute(self, tuple(range(self.ndim))[::-1]), doc="All dimensions reversed.")
Tensor.mT = property(lambda self: transpose(self, -1, -2), doc="The last two dimensions exchanged.")
