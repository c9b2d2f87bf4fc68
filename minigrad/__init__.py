"""minigrad: an autograd engine to read, a tiny transformer on it, and the ways to fine-tune it cheaply, side by side.

>>> import minigrad as mg
>>> x = mg.tensor([3.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad.tolist()
[6.0]
"""
import importlib

from minigrad.autograd import (Function, GradcheckError, Tensor, checkpoint, debug, draw_graph, gradcheck, graph_stats,
                               is_grad_enabled, no_grad, override, tensor, to_numpy)
from minigrad.backend import set_num_threads, use_backend
from minigrad.backend.host import manual_seed
from minigrad.ops import (abs, add, amax, amin, arange, argmax, cat, chunk, clamp, clip, concatenate, cos, cross_entropy,
                          cumsum, div, dropout, embedding, erf, exp, expand, expm1, flatten, flip, from_numpy, full,
                          gather, gelu, gelu_naive, index_select, layer_norm, layer_norm_naive, linear, linear_naive, log,
                          log1p, log_softmax, log_softmax_naive, logsumexp, logsumexp_naive, masked_fill, matmul, max,
                          maximum, mean, min, minimum, mse_loss, mul, neg, nll_loss, norm, normalize, ones, ones_like,
                          pad, permute, pow, prod, rand, randn, reciprocal, relu, reshape, rms_norm, rms_norm_naive,
                          rsqrt, scaled_dot_product_attention, sigmoid, silu, sin, softmax, softmax_naive, softplus,
                          split, sqrt, square, squeeze, stack, std, sub, sum, swapaxes, tanh, transpose, tril, triu,
                          unsqueeze, var, view, where, zeros, zeros_like)

__version__ = "0.1.0"

_ROOMS = ("backend", "autograd", "ops", "nn", "optim", "amp", "models", "peft", "tasks", "pretrained", "training",
          "experiments")


def __getattr__(name):
    """Rooms are imported when they are first used: `mg.peft`, `mg.training`, …"""
    if name in _ROOMS:
        return importlib.import_module(f"minigrad.{name}")
    raise AttributeError(f"module 'minigrad' has no attribute {name!r}; its rooms are {', '.join(_ROOMS)}")


def __dir__():
    return sorted({*globals(), *_ROOMS})
