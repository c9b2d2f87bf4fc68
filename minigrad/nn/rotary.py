"""Rotary positions: turn queries and keys by an angle that grows with the position, so scores see distances only."""
from __future__ import annotations

from minigrad.autograd import Tensor
from minigrad.backend import host
from minigrad.ops import cat

BASE = 10000.0                                      # the slowest pair turns once in about 2π·BASE positions


def rotation(positions, size: int, like: Tensor, interpolation: float = 1.0) -> tuple[Tensor, Tensor]:
    """cos and sin of the angles p·BASE^(−2i/size) for pairs i = 0 … size/2 − 1, on the backend of `like` (2104.09864).

    positions: host integers (T,) or (B, T) · size: numbers per head, even. interpolation: positions are divided by it, so
    that a context that many times longer stays within the angles that the model knows (2306.15595).
    Gives (T, size/2) or (B, 1, T, size/2).

    >>> import minigrad as mg
    >>> cos, sin = rotation(mg.backend.host.np.arange(3), 4, mg.ones(1))
    >>> cos.shape, sin[0].numpy()
    ((3, 2), array([0., 0.], dtype=float32))
    """
    np = host.np
    speeds = BASE ** (-np.arange(0, size, 2) / size)                        # (size/2,)
    angles = np.asarray(positions)[..., None] / interpolation * speeds      # (…, T) -> (…, T, size/2)
    if angles.ndim == 3:
        angles = angles[:, None]                                            # (B, T, size/2) -> (B, 1, T, size/2)
    return tuple(Tensor(like.backend.send(np.ascontiguousarray(a.astype(like.dtype)))) for a in (np.cos(angles),
                                                                                                np.sin(angles)))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x_i, x_{i + size/2}) by their angles: (B, H, T, size) -> the same shape."""
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]             # (B, H, T, size/2)
    return cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
