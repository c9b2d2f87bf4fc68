"""Modules and layers. Start with module.py, then linear.py; attention.py is the heart of a transformer."""
from minigrad.nn import functional, init
from minigrad.nn.activation import GELU, Identity, ReLU, Sigmoid, SiLU, Tanh
from minigrad.nn.attention import MultiHeadAttention
from minigrad.nn.containers import ModuleList, Sequential
from minigrad.nn.dropout import Dropout
from minigrad.nn.embedding import Embedding
from minigrad.nn.linear import Linear
from minigrad.nn.module import Module
from minigrad.nn.norm import LayerNorm, RMSNorm
from minigrad.nn.parameter import Parameter

__all__ = ["GELU", "Dropout", "Embedding", "Identity", "LayerNorm", "Linear", "Module", "ModuleList",
           "MultiHeadAttention", "Parameter", "RMSNorm", "ReLU", "Sequential", "SiLU", "Sigmoid", "Tanh", "functional",
           "init"]
