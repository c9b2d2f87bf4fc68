"""Lesson 19: the LoRA family, each a few lines on top of LoRA. `pytest lessons/19_lora_family` checks it.

W (out, in) is frozen; A (r, in) and B (out, r) as in lesson 15; s is the scale in front of BA. A weight that a method
gives is the one that it merges into: one matrix that does the work of all its parts.
"""
import numpy as np


def scaling(kind, alpha, rank):
    """The factor s in front of BA: "alpha" for α, "alpha/r" for α/r (LoRA's), "alpha/sqrt(r)" for α/√r (rsLoRA's).

    Any other kind raises ValueError.
    """
    # <solution hint="Three cases and an error. A default for what is misspelled would train with the wrong scale in silence.">
    if kind == "alpha":
        return alpha
    if kind == "alpha/r":
        return alpha / rank
    if kind == "alpha/sqrt(r)":
        return alpha / np.sqrt(rank)
    raise ValueError(f"unknown scaling {kind!r}")
    # </solution>


def dora_weight(W, A, B, s, m):
    """DoRA's weight: the rows of W + s·BA, each stretched to its trained length.   m (out,): the lengths"""
    # <solution hint="Divide each row by its own length (a norm over the in-features), then multiply by m.">
    V = W + s * B @ A                               # (out, in)
    lengths = np.linalg.norm(V, axis=1)             # (out,)
    return (m / lengths)[:, None] * V
    # </solution>


def vera_weight(W, A, B, d, b):
    """VeRA's weight: W + Λ_b B Λ_d A, with the trained vectors d (r,) and b (out,).

    A and B are frozen and shared by layers of all shapes, so they may be too large: this layer uses A's first `in` columns
    and B's first `out` rows.
    """
    # <solution hint="Λ_d A multiplies row i of A by d[i]. Which axis of B does b belong to?">
    out_features, in_features = W.shape
    A, B = A[:, :in_features], B[:out_features]
    return W + (b[:, None] * B) @ (d[:, None] * A)
    # </solution>


def pissa(W, r, s):
    """PiSSA's start (A, B, W_res): s·BA is the best rank-r matrix to W, W_res = W − s·BA is frozen, A and B are trained.

    A and B share each singular value S evenly: √(S/s) to A's row, √(S/s) to B's column.
    """
    # <solution hint="Lesson 14's factors, with S/s in the place of S: the scale s will be multiplied in again.">
    U, S, Vt = np.linalg.svd(W, full_matrices=False)
    root = np.sqrt(S[:r] / s)
    A, B = root[:, None] * Vt[:r], U[:, :r] * root
    return A, B, W - s * B @ A
    # </solution>


def ia3_merge(W, b, l, of_input):
    """(weight, bias) of a layer merged with (IA)³'s trained vector l.

    of_input=False: y = l ⊙ (Wx + b), l (out,), as for keys and values. of_input=True: y = W(l ⊙ x) + b, l (in,), as for the
    inner features of the MLP.
    """
    # <solution hint="Multiply out. One of the two cases reaches the bias.">
    if of_input:
        return W * l, b
    return l[:, None] * W, l * b
    # </solution>


def counts(shapes, r):
    """How many numbers LoRA, LoRA-FA, DoRA and VeRA train on layers of these shapes, a list of (out, in).

    A dict with the keys "lora", "lora_fa", "dora" and "vera". LoRA-FA freezes A; DoRA adds a length per row; VeRA trains d
    and b alone.
    """
    # <solution hint="Four sums over the layers.">
    lora = sum(r * (o + i) for o, i in shapes)
    rows = sum(o for o, i in shapes)
    return {"lora": lora, "lora_fa": r * rows, "dora": lora + rows, "vera": r * len(shapes) + rows}
    # </solution>
