"""The engine: Tensor, Function, and the backward walk.

Read in this order: function.py (what an operation is), tensor.py, backward.py (the walk), then gradcheck.py,
debug.py (seams into the live engine), checkpoint.py, stats.py and draw.py.
"""
from minigrad.autograd.checkpoint import checkpoint
from minigrad.autograd.debug import debug, override
from minigrad.autograd.draw import draw_graph
from minigrad.autograd.function import Function
from minigrad.autograd.gradcheck import GradcheckError, gradcheck
from minigrad.autograd.state import Version, is_grad_enabled, no_grad
from minigrad.autograd.stats import GraphStats, graph_stats, saved_arrays
from minigrad.autograd.tensor import Tensor, tensor, to_numpy

__all__ = ["Function", "GradcheckError", "GraphStats", "Tensor", "Version", "checkpoint", "debug",
           "draw_graph", "gradcheck", "graph_stats", "is_grad_enabled", "no_grad", "override", "saved_arrays", "tensor",
           "to_numpy"]
