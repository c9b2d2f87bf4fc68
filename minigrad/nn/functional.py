"""The stateless form of every layer: PyTorch's torch.nn.functional, on minigrad's operations."""
# ruff: noqa: I001
from minigrad.ops import (attention_naive, cross_entropy, cross_entropy_naive, dropout, embedding, embedding_naive, gelu,
                          gelu_naive, layer_norm, layer_norm_naive, linear, linear_naive, log_softmax, log_softmax_naive,
                          low_rank_linear, low_rank_linear_naive, merge_heads,
                          mse_loss, nll_loss, normalize, pad, relu, rms_norm, rms_norm_naive,
                          scaled_dot_product_attention, sigmoid, silu, softmax, softmax_naive, softplus, split_heads, tanh)

__all__ = ["attention_naive", "cross_entropy", "cross_entropy_naive", "dropout", "embedding", "embedding_naive", "gelu",
           "gelu_naive", "layer_norm", "layer_norm_naive", "linear", "linear_naive", "log_softmax", "log_softmax_naive",
           "low_rank_linear", "low_rank_linear_naive", "merge_heads", "mse_loss", "nll_loss", "normalize", "pad", "relu",
           "rms_norm", "rms_norm_naive", "scaled_dot_product_attention", "sigmoid", "silu", "softmax", "softmax_naive",
           "softplus", "split_heads", "tanh"]
