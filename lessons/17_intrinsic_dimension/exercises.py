"""Lesson 17: how many numbers does a task need? Training along a random plane. `pytest lessons/17_intrinsic_dimension` checks it.

θ = θ₀ + Pz: all D weights of a model move, but only along the d columns of a fixed random P; z (d,) is what is trained.
"""
import numpy as np


def move(arrays, change):
    """θ₀ + Pz: new arrays like those of the list, with the flat `change` (D,) added, cut into their shapes in order."""
    # TODO 17.1: delete the next line and write move (about 5 lines).
    raise NotImplementedError("17.1 move")


def sparse_project(z, rows, values, D):
    """Pz (D,) for a sparse P: column j has values[j] (k,) in the rows rows[j] (k,), and zeros.   z (d,)  rows, values (d, k)"""
    # TODO 17.2: delete the next line and write sparse_project (about 3 lines).
    raise NotImplementedError("17.2 sparse_project")


def hadamard(x):
    """Hx for the Walsh-Hadamard matrix divided by √n, in n·log n steps; n = len(x) is a power of two. x stays as it is.

    H₁ = [1] and H₂ₙ = [[Hₙ, Hₙ], [Hₙ, −Hₙ]]: sums and differences of numbers h apart, for h = 1, 2, 4, … n/2.
    """
    # TODO 17.3: delete the next line and write hadamard (about 7 lines).
    raise NotImplementedError("17.3 hadamard")


def fastfood(z, B, order, G, D, H):
    """Pz (D,) for Fastfood: c times the first D numbers of  H·diag(G)·Π·H·diag(B)·z, with z (d,) filled up with zeros.

    B signs (n,), order a permutation: (Πx)[i] = x[order[i]], G Gaussians (n,), n a power of two. H(x) is the transform of
    17.3, given. c = n / √(ΣG²·D) keeps lengths: E‖Pz‖² = ‖z‖².
    """
    # TODO 17.4: delete the next line and write fastfood (about 5 lines).
    raise NotImplementedError("17.4 fastfood")


def fastfood_adjoint(g, B, order, G, d, H):
    """Pᵀg (d,) for the same P: how the gradient g (D,) of the weights becomes the gradient of z."""
    # TODO 17.5: delete the next line and write fastfood_adjoint (about 5 lines).
    raise NotImplementedError("17.5 fastfood_adjoint")


def d90(scores, full):
    """The smallest d whose mean score reaches 90 % of full training's, or None.   scores: {d: [score of each seed]}"""
    # TODO 17.6: delete the next line and write d90 (about 2 lines).
    raise NotImplementedError("17.6 d90")
