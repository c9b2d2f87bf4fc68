"""Comparing arrays of any kind, strictly."""
from __future__ import annotations

import numpy as np

import minigrad as mg

FLOAT64 = {"rtol": 1e-10, "atol": 1e-12}            # the same formula, another order of additions
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}


def host(x) -> np.ndarray:
    """The NumPy array of a tensor, a raw array of any backend, a PyTorch tensor, a NumPy array or a number."""
    if isinstance(x, mg.Tensor):
        return x.detach().numpy()
    if hasattr(x, "detach") and hasattr(x, "cpu"):  # PyTorch
        return x.detach().cpu().numpy()
    if isinstance(x, np.ndarray | np.generic | int | float | bool | list | tuple):
        return np.asarray(x)
    return mg.to_numpy(x)


def close(actual, expected, *, rtol: float = 1e-7, atol: float = 0.0, dtype: bool = False) -> None:
    """Assert that shapes are equal, then (if `dtype`) dtypes, then values; NaN equals NaN."""
    a, e = host(actual), host(expected)
    assert a.shape == e.shape, f"shape {a.shape}, expected {e.shape}"
    assert a.dtype.kind == e.dtype.kind or {a.dtype.kind, e.dtype.kind} <= {"i", "u"}, f"{a.dtype}, expected {e.dtype}"
    if dtype:
        assert a.dtype == e.dtype, f"dtype {a.dtype}, expected {e.dtype}"
    np.testing.assert_allclose(a, e, rtol=rtol, atol=atol)
