"""Mean and interval: what a handful of seeds can and cannot say."""
from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class Summary:
    """mean of n values and the half width of its 95 % t-interval (NaN for n = 1: one run says nothing of the spread)."""

    mean: float
    half: float
    n: int

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.mean + self.half

    def __str__(self) -> str:
        return f"{self.mean:.3g}" if math.isnan(self.half) else f"{self.mean:.3g} ± {self.half:.2g}"

    def percent(self) -> str:
        """A share as percent, without the sign: "12.3 ± 0.4".

        >>> summarize([0.1, 0.2]).percent(), summarize([0.1]).percent()
        ('15.0 ± 63.5', '10.0')
        """
        return f"{100 * self.mean:.1f}" + ("" if math.isnan(self.half) else f" ± {100 * self.half:.1f}")


def summarize(values) -> Summary:
    """Mean and 95 % t-interval: x̄ ± t₀.₉₇₅(n−1) · s/√n, s the sample's standard deviation (correction 1).

    >>> str(summarize([1.0, 2.0, 3.0]))
    '2 ± 2.5'
    """
    values = np.asarray(list(values), dtype=np.float64)
    if not values.size:
        raise ValueError("summarize needs at least one value; got none")
    n = len(values)
    half = t_quantile(0.975, n - 1) * float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Summary(float(values.mean()), half, n)


@lru_cache(maxsize=64)
def t_quantile(p: float, df: int) -> float:
    """The p-quantile of Student's t distribution with df degrees of freedom, to about 6 digits.

    With t = √df·tan θ the distribution function is ½ + ∫₀^θ cosᵈᶠ⁻¹ / (its integral from −π/2 to π/2), which is summed
    and inverted here: three lines in place of a dependency.

    >>> round(t_quantile(0.975, 2), 4), round(t_quantile(0.975, 4), 4)
    (4.3027, 2.7764)
    """
    if not 0.5 <= p < 1 or df < 1:
        raise ValueError(f"t_quantile needs 0.5 ≤ p < 1 and at least 1 degree of freedom; got p={p}, df={df}")
    theta = np.linspace(0.0, math.pi / 2, 200_001)
    density = np.cos(theta) ** (df - 1)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])     # trapezoids, from 0 to each θ
    return math.sqrt(df) * math.tan(float(np.interp(2 * p - 1, area / area[-1], theta)))
