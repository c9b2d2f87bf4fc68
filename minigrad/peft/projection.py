"""Random maps P from few numbers to many, z (d,) -> Pz (D,), linear and with columns of length about 1.

    dense      P = N(0, 1) with columns divided by their length                       D·d numbers
    sparse     about √D entries ±1/√(their number) in each column                     d·√D numbers
    fastfood   P = c · [H G Π H B]: signs B, a Walsh-Hadamard transform H, a permutation Π, Gaussians G, H again; D
               numbers, and D·log D steps instead of D·d

Each has its adjoint written out: the gradient of z is Pᵀ times the gradient of Pz.
"""
from __future__ import annotations

import math

from minigrad import backend as _backend
from minigrad.autograd import Function, Tensor
from minigrad.backend import host

KINDS = ("dense", "sparse", "fastfood")


class Project(Function):
    """y = P z;  gz = Pᵀ gy"""

    options = ("projection",)

    def __init__(self, projection):
        self.projection = projection

    def forward(self, z):
        return self.projection.apply(z)

    def backward(self, gy):
        return self.projection.adjoint(gy)


class Projection:
    """A linear map from d to D numbers, drawn from a seed; on whichever backend and dtype its argument has.

    >>> import minigrad as mg
    >>> P = Projection("fastfood", small=3, large=10, seed=0)
    >>> P(mg.ones(3)).shape
    (10,)
    """

    def __init__(self, kind: str, small: int, large: int, seed: int = 0):
        if kind not in KINDS:
            raise ValueError(f"projection must be one of {', '.join(map(repr, KINDS))}; got {kind!r}")
        if small > large:
            raise ValueError(f"a projection goes from few numbers to many; got {small} to {large}")
        self.kind, self.small, self.large = kind, small, large
        self.parts = {"dense": self._draw_dense, "sparse": self._draw_sparse,
                      "fastfood": self._draw_fastfood}[kind](host.np.random.default_rng(seed))
        self.sent = {}                              # the parts on each backend and in each dtype that asked

    def __call__(self, z: Tensor) -> Tensor:
        """(d,) -> (D,), differentiable."""
        return Project(self)(z)

    def apply(self, z):
        """P z, raw arrays."""
        be = _backend.of(z)
        if self.kind == "dense":
            return self._on(z)[0] @ z
        if self.kind == "sparse":
            rows, signs = self._on(z)
            y = be.xp.zeros(self.large, dtype=z.dtype)
            be.index_add(y, rows.reshape(-1), (signs * z[:, None]).reshape(-1))
            return y
        signs, permutation, inverse, gauss = self._on(z)
        z = be.xp.concatenate([z, be.xp.zeros(self.padded - self.small, dtype=z.dtype)])
        return hadamard(be.xp, gauss * hadamard(be.xp, signs * z)[permutation])[:self.large]

    def adjoint(self, g):
        """Pᵀ g, raw arrays: every factor of `apply` transposed, in reverse order (H is its own transpose)."""
        be = _backend.of(g)
        if self.kind == "dense":
            return self._on(g)[0].T @ g
        if self.kind == "sparse":
            rows, signs = self._on(g)
            return (g[rows] * signs).sum(axis=1)
        signs, permutation, inverse, gauss = self._on(g)
        g = be.xp.concatenate([g, be.xp.zeros(self.padded - self.large, dtype=g.dtype)])
        return (signs * hadamard(be.xp, (gauss * hadamard(be.xp, g))[inverse]))[:self.small]

    # ---- drawing ----------------------------------------------------------------------------------------------------

    def _draw_dense(self, rng):
        matrix = rng.standard_normal((self.large, self.small))
        return [matrix / host.np.linalg.norm(matrix, axis=0)]

    def _draw_sparse(self, rng):
        """Of each column the rows that are not 0 (d, k), and their values (d, k)."""
        np, k = host.np, max(1, round(math.sqrt(self.large)))
        rows = np.stack([rng.choice(self.large, size=k, replace=False) for _ in range(self.small)])
        return [rows, rng.choice([-1.0, 1.0], size=rows.shape) / math.sqrt(k)]

    def _draw_fastfood(self, rng):
        np = host.np
        self.padded = n = 1 << (self.large - 1).bit_length()        # H needs a power of two
        signs, permutation, gauss = rng.choice([-1.0, 1.0], size=n), rng.permutation(n), rng.standard_normal(n)
        # E‖Pz‖² = ‖z‖²: G makes it Σg²/n times as large, and D of n numbers are kept.
        gauss *= n / math.sqrt((gauss ** 2).sum() * self.large)
        return [signs, permutation, np.argsort(permutation), gauss]

    def _on(self, a):
        be = _backend.of(a)
        key = be.name, str(a.dtype)
        if key not in self.sent:
            self.sent[key] = [be.send(p.astype(a.dtype) if p.dtype.kind == "f" else p) for p in self.parts]
        return self.sent[key]


def hadamard(xp, x):
    """H x for the Walsh-Hadamard matrix divided by √n, which is its own inverse; n = len(x) is a power of two.

    H is a Kronecker product of small ones, one for each 5 bits of the index: log₂ n / 5 products with a 32 × 32 matrix,
    n·log n steps in all. Each works on the leading bits and leaves them behind as the trailing ones.
    """
    n, done = x.shape[0], 1
    while done < n:
        H = _walsh(xp, min(32, n // done), x.dtype)
        x = (H @ x.reshape(H.shape[0], -1)).T.reshape(n)            # (b, n/b) -> (n/b, b)
        done *= H.shape[0]
    return x


def _walsh(xp, size: int, dtype):
    """The matrix of `size` (a power of two), divided by √size: small numbers at every pass, or float16 would overflow."""
    H = xp.ones((1, 1), dtype=dtype)
    while H.shape[0] < size:
        H = xp.concatenate([xp.concatenate([H, H], axis=1), xp.concatenate([H, -H], axis=1)]) * math.sqrt(0.5)
    return H
