"""Lesson 12: adapters, small networks between frozen layers. `pytest lessons/12_adapters` checks it.

Shapes:   h (n, d)   W_down (r, d)   b_down (r,)   W_up (d, r)   b_up (d,)   with a bottleneck r much smaller than d
"""
import numpy as np


def adapter_init(d, r, rng):
    """The starting values (W_down, b_down, W_up, b_up): W_down normal with standard deviation 1/√d, everything else zero.

    rng: a NumPy Generator; draw W_down with one call of rng.normal.
    """
    # <solution hint="With which zeros does the adapter add exactly nothing, and still learn?">
    return rng.normal(0, 1 / np.sqrt(d), (r, d)), np.zeros(r), np.zeros((d, r)), np.zeros(d)
    # </solution>


def adapter_forward(h, W_down, b_down, W_up, b_up):
    """h + W_up·relu(W_down·h + b_down) + b_up for every row of h: through the bottleneck, and past it."""
    # <solution hint="Down to r numbers, ReLU, up to d numbers, and add the input itself.">
    z = np.maximum(h @ W_down.T + b_down, 0)        # (n, d) -> (n, r)
    return h + z @ W_up.T + b_up                    # (n, r) -> (n, d)
    # </solution>


def adapter_vjp(gy, h, W_down, b_down, W_up):
    """From the gradient gy (n, d) of the output: (gh, gW_down, gb_down, gW_up, gb_up)."""
    # <solution hint="Two paths lead from h to y. Through the bottleneck, ReLU lets a gradient pass where it let the value pass.">
    a = h @ W_down.T + b_down
    ga = gy @ W_up * (a > 0)                        # (n, d) -> (n, r)
    gh = gy + ga @ W_down
    return gh, ga.T @ h, ga.sum(axis=0), gy.T @ np.maximum(a, 0), gy.sum(axis=0)
    # </solution>


def insert(block, adapt_attention, adapt_mlp):
    """A transformer block with two adapters, as Houlsby et al. place them: a function of x.

    block: a dict of four functions, "norm1", "attention", "norm2", "mlp". The block computes x + attention(norm1(x)), and
    of that result x + mlp(norm2(x)). Each adapter is applied to what its sub-layer gives, before it is added to x.
    """
    # <solution hint="adapt_attention sees attention(norm1(x)) and nothing else; the sum with x comes after it.">
    def adapted(x):
        x = x + adapt_attention(block["attention"](block["norm1"](x)))
        return x + adapt_mlp(block["mlp"](block["norm2"](x)))
    return adapted
    # </solution>


def trained(layers, d, r):
    """How many numbers two adapters in each of `layers` blocks train."""
    # <solution hint="Two matrices and two biases per adapter; the biases have different lengths.">
    return 2 * layers * (d * r + r * d + r + d)
    # </solution>
