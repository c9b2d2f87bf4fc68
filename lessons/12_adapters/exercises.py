"""Lesson 12: adapters, small networks between frozen layers. `pytest lessons/12_adapters` checks it.

Shapes:   h (n, d)   W_down (r, d)   b_down (r,)   W_up (d, r)   b_up (d,)   with a bottleneck r much smaller than d
"""
import numpy as np


def adapter_init(d, r, rng):
    """The starting values (W_down, b_down, W_up, b_up): W_down normal with standard deviation 1/√d, everything else zero.

    rng: a NumPy Generator; draw W_down with one call of rng.normal.
    """
    # TODO 12.1: delete the next line and write adapter_init (about 1 line).
    raise NotImplementedError("12.1 adapter_init")


def adapter_forward(h, W_down, b_down, W_up, b_up):
    """h + W_up·relu(W_down·h + b_down) + b_up for every row of h: through the bottleneck, and past it."""
    # TODO 12.2: delete the next line and write adapter_forward (about 2 lines).
    raise NotImplementedError("12.2 adapter_forward")


def adapter_vjp(gy, h, W_down, b_down, W_up):
    """From the gradient gy (n, d) of the output: (gh, gW_down, gb_down, gW_up, gb_up)."""
    # TODO 12.3: delete the next line and write adapter_vjp (about 4 lines).
    raise NotImplementedError("12.3 adapter_vjp")


def insert(block, adapt_attention, adapt_mlp):
    """A transformer block with two adapters, as Houlsby et al. place them: a function of x.

    block: a dict of four functions, "norm1", "attention", "norm2", "mlp". The block computes x + attention(norm1(x)), and
    of that result x + mlp(norm2(x)). Each adapter is applied to what its sub-layer gives, before it is added to x.
    """
    # TODO 12.4: delete the next line and write insert (about 4 lines).
    raise NotImplementedError("12.4 insert")


def trained(layers, d, r):
    """How many numbers two adapters in each of `layers` blocks train."""
    # TODO 12.5: delete the next line and write trained (about 1 line).
    raise NotImplementedError("12.5 trained")
