"""Lesson 19: the LoRA family, each a few lines on top of LoRA. `pytest lessons/19_lora_family` checks it.

W (out, in) is frozen; A (r, in) and B (out, r) as in lesson 15; s is the scale in front of BA. A weight that a method
gives is the one that it merges into: one matrix that does the work of all its parts.
"""
import numpy as np


def scaling(kind, alpha, rank):
    """The factor s in front of BA: "alpha" for α, "alpha/r" for α/r (LoRA's), "alpha/sqrt(r)" for α/√r (rsLoRA's).

    Any other kind raises ValueError.
    """
    # TODO 19.1: delete the next line and write scaling (about 7 lines).
    raise NotImplementedError("19.1 scaling")


def dora_weight(W, A, B, s, m):
    """DoRA's weight: the rows of W + s·BA, each stretched to its trained length.   m (out,): the lengths"""
    # TODO 19.2: delete the next line and write dora_weight (about 3 lines).
    raise NotImplementedError("19.2 dora_weight")


def vera_weight(W, A, B, d, b):
    """VeRA's weight: W + Λ_b B Λ_d A, with the trained vectors d (r,) and b (out,).

    A and B are frozen and shared by layers of all shapes, so they may be too large: this layer uses A's first `in` columns
    and B's first `out` rows.
    """
    # TODO 19.3: delete the next line and write vera_weight (about 3 lines).
    raise NotImplementedError("19.3 vera_weight")


def pissa(W, r, s):
    """PiSSA's start (A, B, W_res): s·BA is the best rank-r matrix to W, W_res = W − s·BA is frozen, A and B are trained.

    A and B share each singular value S evenly: √(S/s) to A's row, √(S/s) to B's column.
    """
    # TODO 19.4: delete the next line and write pissa (about 4 lines).
    raise NotImplementedError("19.4 pissa")


def ia3_merge(W, b, l, of_input):
    """(weight, bias) of a layer merged with (IA)³'s trained vector l.

    of_input=False: y = l ⊙ (Wx + b), l (out,), as for keys and values. of_input=True: y = W(l ⊙ x) + b, l (in,), as for the
    inner features of the MLP.
    """
    # TODO 19.5: delete the next line and write ia3_merge (about 3 lines).
    raise NotImplementedError("19.5 ia3_merge")


def counts(shapes, r):
    """How many numbers LoRA, LoRA-FA, DoRA and VeRA train on layers of these shapes, a list of (out, in).

    A dict with the keys "lora", "lora_fa", "dora" and "vera". LoRA-FA freezes A; DoRA adds a length per row; VeRA trains d
    and b alone.
    """
    # TODO 19.6: delete the next line and write counts (about 3 lines).
    raise NotImplementedError("19.6 counts")
