"""Lesson 11: fine-tuning a part of the weights: all, the top K blocks, the biases. `pytest lessons/11_subsets` checks it.

A model's parameters have names from the bottom to the top: "token_embedding.weight", "position_embedding.weight",
"blocks.0.norm1.weight", …, "blocks.3.mlp.down_proj.bias", "norm.weight", "norm.bias", "head.weight".
"""


def top_k(names, n_layers, k):
    """The names that top-K trains: those of the last k of n_layers blocks, of the final norm and of the head.

    In the order of `names`; k = 0 trains norm and head alone.
    """
    # TODO 11.1: delete the next line and write top_k (about 2 lines).
    raise NotImplementedError("11.1 top_k")


def bitfit(names):
    """The names of the biases, in order. A model without any raises ValueError: there would be nothing to train."""
    # TODO 11.2: delete the next line and write bitfit (about 4 lines).
    raise NotImplementedError("11.2 bitfit")


def linear_vjp(gy, x, W, needs):
    """The gradients (gx, gW, gb) of y = xWᵀ + b, each None where it is not needed.   gy (n, out)  x (n, in)  W (out, in)

    needs: three bools, for x, W and b. What nobody needs was not kept: without need of gW, x is None; without need of
    gx, W is None.
    """
    # TODO 11.3: delete the next line and write linear_vjp (about 5 lines).
    raise NotImplementedError("11.3 linear_vjp")


def backward_work(trained):
    """What a chain of linear layers costs in the backward pass: (matrix products, layers that must keep their input).

    trained: a pair of bools (weight, bias) for each layer, from the input up. The model's own input needs no gradient.
    A layer sends a gradient down (gy·W, one product) only if something below it is trained; gyᵀ·x is another.
    """
    # TODO 11.4: delete the next line and write backward_work (about 6 lines).
    raise NotImplementedError("11.4 backward_work")


def adapt(base, chosen):
    """A model to train: the chosen arrays are copies, all others are base's very arrays.   base: {name: array}

    Tied weights are one array under two names. Chosen together they stay tied, as one copy. If one is chosen and the
    other is not, ValueError names the other: training the one would train it as well.
    """
    # TODO 11.5: delete the next line and write adapt (about 6 lines).
    raise NotImplementedError("11.5 adapt")


def count_top_k(d, d_ff, vocab, k):
    """How many numbers top-K trains: k blocks, the final norm (weight and bias) and an untied head (vocab, d), no bias.

    A block has q, k, v and o projections (d, d), an MLP (d_ff, d) and (d, d_ff), a bias each, and two norms.
    """
    # TODO 11.6: delete the next line and write count_top_k (about 2 lines).
    raise NotImplementedError("11.6 count_top_k")
