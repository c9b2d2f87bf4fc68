"""Lesson 17: how many numbers does a task need? Training along a random plane. `pytest lessons/17_intrinsic_dimension` checks it.

θ = θ₀ + Pz: all D weights of a model move, but only along the d columns of a fixed random P; z (d,) is what is trained.
"""
import numpy as np


def move(arrays, change):
    """θ₀ + Pz: new arrays like those of the list, with the flat `change` (D,) added, cut into their shapes in order."""
    # <solution hint="Keep track of where you are in `change`; each array takes its size.">
    moved, at = [], 0
    for a in arrays:
        moved.append(a + change[at:at + a.size].reshape(a.shape))
        at += a.size
    return moved
    # </solution>


def sparse_project(z, rows, values, D):
    """Pz (D,) for a sparse P: column j has values[j] (k,) in the rows rows[j] (k,), and zeros.   z (d,)  rows, values (d, k)"""
    # <solution hint="Different columns share rows, and y[rows] += … keeps only one of several. Look up np.add.at.">
    y = np.zeros(D)
    np.add.at(y, rows, values * z[:, None])
    return y
    # </solution>


def hadamard(x):
    """Hx for the Walsh-Hadamard matrix divided by √n, in n·log n steps; n = len(x) is a power of two. x stays as it is.

    H₁ = [1] and H₂ₙ = [[Hₙ, Hₙ], [Hₙ, −Hₙ]]: sums and differences of numbers h apart, for h = 1, 2, 4, … n/2.
    """
    # <solution hint="x.reshape(-1, 2, h) puts the partners side by side. Divide by √2 at each pass.">
    n, h = len(x), 1
    while h < n:
        pairs = x.reshape(n // (2 * h), 2, h)
        a, b = pairs[:, 0], pairs[:, 1]
        x = np.stack([a + b, a - b], axis=1) / np.sqrt(2)
        h *= 2
    return x.reshape(n)
    # </solution>


def fastfood(z, B, order, G, D, H):
    """Pz (D,) for Fastfood: c times the first D numbers of  H·diag(G)·Π·H·diag(B)·z, with z (d,) filled up with zeros.

    B signs (n,), order a permutation: (Πx)[i] = x[order[i]], G Gaussians (n,), n a power of two. H(x) is the transform of
    17.3, given. c = n / √(ΣG²·D) keeps lengths: E‖Pz‖² = ‖z‖².
    """
    # <solution hint="From right to left: fill up, signs, H, permute, Gaussians, H, cut, scale.">
    n = len(B)
    x = np.zeros(n)
    x[:len(z)] = z
    c = n / np.sqrt((G ** 2).sum() * D)
    return c * H(G * H(B * x)[order])[:D]
    # </solution>


def fastfood_adjoint(g, B, order, G, d, H):
    """Pᵀg (d,) for the same P: how the gradient g (D,) of the weights becomes the gradient of z."""
    # <solution hint="Transpose each factor and turn their order round. H is its own transpose; whose transpose is a permutation?">
    n, D = len(B), len(g)
    x = np.zeros(n)
    x[:D] = g
    c = n / np.sqrt((G ** 2).sum() * D)
    return c * (B * H((G * H(x))[np.argsort(order)]))[:d]
    # </solution>


def d90(scores, full):
    """The smallest d whose mean score reaches 90 % of full training's, or None.   scores: {d: [score of each seed]}"""
    # <solution hint="A dict keeps the order of insertion, which need not be that of size.">
    reached = [d for d in scores if np.mean(scores[d]) >= 0.9 * full]
    return min(reached) if reached else None
    # </solution>
