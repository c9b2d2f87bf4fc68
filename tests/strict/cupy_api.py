"""What CuPy has and how it is called, from cupy_api.json, which record_cupy.py wrote from a real installation."""
from __future__ import annotations

import functools
import inspect
import json
from pathlib import Path

import numpy as np

API = json.loads(Path(__file__).with_name("cupy_api.json").read_text(encoding="utf-8"))


@functools.cache
def signature(kind: str, name: str) -> inspect.Signature:
    """The recorded signature of a function or method; AttributeError for one that CuPy does not have."""
    if name not in API[kind]:
        raise AttributeError(f"{name}: CuPy {API['cupy']} does not have it among its {kind}")
    namespace: dict = {}
    exec(f"def f{API[kind][name]}: ...", namespace)
    return inspect.signature(namespace["f"])


def _check(kind: str, name: str, args, kwargs) -> None:
    try:
        signature(kind, name).bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}{API[kind][name]} is what CuPy {API['cupy']} takes: {error}") from None


def check_function(name: str, args, kwargs) -> None:
    """Raise TypeError for an argument that CuPy's function does not take."""
    if name in API["functions"]:
        _check("functions", name, args, kwargs)
    else:
        check_ufunc(name, args, kwargs)


def check_method(name: str, args, kwargs) -> None:
    """Raise TypeError for an argument that the method of CuPy's arrays does not take."""
    _check("methods", name, args, kwargs)


def check_ufunc(name: str, args, kwargs) -> None:
    """Raise TypeError for a keyword that CuPy's ufunc does not take, or for types that it has no loop for."""
    if name not in API["ufuncs"]:
        raise AttributeError(f"{name}: CuPy {API['cupy']} does not have it among its ufuncs")
    if unknown := set(kwargs) - set(API["ufunc_keywords"]):
        raise TypeError(f"{name}: CuPy's ufuncs take {', '.join(API['ufunc_keywords'])}; got {', '.join(unknown)}")
    types = API["ufuncs"][name]["types"]
    arrays = [a.dtype for a in args if isinstance(a, np.ndarray | np.generic)]
    if types and arrays and not any(_fits(arrays, t.partition("->")[0]) for t in types):
        raise TypeError(f"{name}: CuPy has no loop for {', '.join(map(str, arrays))} (it has {' '.join(types)})")


def _fits(dtypes, inputs: str) -> bool:
    wanted = inputs if len(inputs) == len(dtypes) else inputs[:1] * len(dtypes)      # a Python number fits anything
    return all(np.can_cast(d, np.dtype(c)) for d, c in zip(dtypes, wanted, strict=True))
