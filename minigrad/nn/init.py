"""Filling weights: each function overwrites a tensor with random numbers or a constant and returns it.

Random numbers come from the seeded host generator and are sent to the tensor's backend, so the same seed gives the
same weights everywhere. Formulas and defaults are PyTorch's (its random stream is not).
"""
from __future__ import annotations

import math

from minigrad.autograd import Tensor
from minigrad.backend import host


def uniform_(t: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Uniform on [a, b)."""
    return _fill(t, host.rng().uniform(a, b, t.shape))


def normal_(t: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal with the given mean and standard deviation.

    >>> import minigrad as mg
    >>> w = mg.nn.init.normal_(mg.zeros(1000), std=0.02)
    >>> 0.018 < w.std().item() < 0.022
    True
    """
    return _fill(t, host.rng().normal(mean, std, t.shape))


def constant_(t: Tensor, value: float) -> Tensor:
    """Every element equal to `value`."""
    return _fill(t, host.np.full(t.shape, value))


def zeros_(t: Tensor) -> Tensor:
    """All zeros."""
    return constant_(t, 0.0)


def ones_(t: Tensor) -> Tensor:
    """All ones."""
    return constant_(t, 1.0)


def kaiming_uniform_(t: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """U(−√3·σ, √3·σ) with σ = gain/√fan: keeps the size of activations through ReLU-like layers (1502.01852).

    `a` is the negative slope of the leaky ReLU; a = √5 gives U(−1/√fan, 1/√fan), PyTorch's choice for Linear.
    """
    bound = math.sqrt(3.0) * calculate_gain(nonlinearity, a) / math.sqrt(_fan(t, mode))
    return uniform_(t, -bound, bound)


def kaiming_normal_(t: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """N(0, σ²) with σ = gain/√fan (1502.01852)."""
    return normal_(t, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(t, mode)))


def xavier_uniform_(t: Tensor, gain: float = 1.0) -> Tensor:
    """U(−√3·σ, √3·σ) with σ = gain·√(2/(fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    fan_in, fan_out = fans(t)
    bound = math.sqrt(3.0) * gain * math.sqrt(2.0 / (fan_in + fan_out))
    return uniform_(t, -bound, bound)


def xavier_normal_(t: Tensor, gain: float = 1.0) -> Tensor:
    """N(0, σ²) with σ = gain·√(2/(fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    fan_in, fan_out = fans(t)
    return normal_(t, 0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By how much a nonlinearity's input should be larger so that its output keeps unit size; PyTorch's table."""
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0),
             "leaky_relu": math.sqrt(2.0 / (1.0 + (0.01 if param is None else param) ** 2))}
    if nonlinearity not in gains:
        raise ValueError(f"no gain is known for {nonlinearity!r}: known are {', '.join(gains)}")
    return gains[nonlinearity]


def fans(t: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out): how many inputs feed an output, and the reverse, of a weight (out, in, *kernel)."""
    if t.ndim < 2:
        raise ValueError(f"fan in and fan out need a weight with at least 2 dimensions; got shape {tuple(t.shape)}")
    field = math.prod(t.shape[2:])
    return t.shape[1] * field, t.shape[0] * field


def _fan(t: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out'; got {mode!r}")
    return max(1, fans(t)[mode == "fan_out"])


def _fill(t: Tensor, values) -> Tensor:
    """Overwrite t's memory; whoever shares it (a view, a tied layer) sees the new values."""
    t.data[...] = t.backend.send(values.astype(t.dtype))
    t.bump_version()
    return t
