"""Lesson 11: fine-tuning a part of the weights: all, the top K blocks, the biases. `pytest lessons/11_subsets` checks it.

A model's parameters have names from the bottom to the top: "token_embedding.weight", "position_embedding.weight",
"blocks.0.norm1.weight", …, "blocks.3.mlp.down_proj.bias", "norm.weight", "norm.bias", "head.weight".
"""


def top_k(names, n_layers, k):
    """The names that top-K trains: those of the last k of n_layers blocks, of the final norm and of the head.

    In the order of `names`; k = 0 trains norm and head alone.
    """
    # <solution hint="str.startswith takes a tuple. Is 'blocks.1' the beginning of one block's names only?">
    top = tuple(f"blocks.{i}." for i in range(n_layers - k, n_layers))
    return [name for name in names if name.startswith((*top, "norm.", "head."))]
    # </solution>


def bitfit(names):
    """The names of the biases, in order. A model without any raises ValueError: there would be nothing to train."""
    # <solution hint="A bias is a parameter whose last part, after the last dot, is 'bias'.">
    chosen = [name for name in names if name.endswith(".bias")]
    if not chosen:
        raise ValueError("this model has no biases: BitFit would train nothing")
    return chosen
    # </solution>


def linear_vjp(gy, x, W, needs):
    """The gradients (gx, gW, gb) of y = xWᵀ + b, each None where it is not needed.   gy (n, out)  x (n, in)  W (out, in)

    needs: three bools, for x, W and b. What nobody needs was not kept: without need of gW, x is None; without need of
    gx, W is None.
    """
    # <solution hint="Three lines, one per gradient: the formula if needs says so, else None.">
    need_x, need_W, need_b = needs
    gx = gy @ W if need_x else None                 # (n, out) · (out, in) -> (n, in)
    gW = gy.T @ x if need_W else None               # (out, n) · (n, in) -> (out, in)
    gb = gy.sum(axis=0) if need_b else None
    return gx, gW, gb
    # </solution>


def backward_work(trained):
    """What a chain of linear layers costs in the backward pass: (matrix products, layers that must keep their input).

    trained: a pair of bools (weight, bias) for each layer, from the input up. The model's own input needs no gradient.
    A layer sends a gradient down (gy·W, one product) only if something below it is trained; gyᵀ·x is another.
    """
    # <solution hint="Walk up from the input and remember whether anything was trained so far.">
    products, kept, below = 0, 0, False
    for weight, bias in trained:
        products += weight + below
        kept += weight
        below = below or weight or bias
    return products, kept
    # </solution>


def adapt(base, chosen):
    """A model to train: the chosen arrays are copies, all others are base's very arrays.   base: {name: array}

    Tied weights are one array under two names. Chosen together they stay tied, as one copy. If one is chosen and the
    other is not, ValueError names the other: training the one would train it as well.
    """
    # <solution hint="`a is b` tells whether two names have one array. Make one copy per array, not one per name.">
    for name in chosen:
        for other, array in base.items():
            if array is base[name] and other not in chosen:
                raise ValueError(f"{name} is tied to {other}, which is to stay frozen: choose both or neither")
    copies = {id(base[name]): base[name].copy() for name in chosen}
    return {name: copies.get(id(array), array) for name, array in base.items()}
    # </solution>


def count_top_k(d, d_ff, vocab, k):
    """How many numbers top-K trains: k blocks, the final norm (weight and bias) and an untied head (vocab, d), no bias.

    A block has q, k, v and o projections (d, d), an MLP (d_ff, d) and (d, d_ff), a bias each, and two norms.
    """
    # <solution hint="Write a block down first; with d_ff = 4d it comes to 12d² + 13d.">
    block = 4 * (d * d + d) + (d_ff * d + d_ff) + (d * d_ff + d) + 4 * d
    return k * block + 2 * d + vocab * d
    # </solution>
