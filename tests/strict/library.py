"""The strict array's library: the part of CuPy's top level that the engine may use, and nothing that CuPy lacks."""
from __future__ import annotations

import numpy as np

from tests.strict.array import STATE, StrictArray, index, operand, sync, unwrap, wrap
from tests.strict.cupy_api import check_function, check_ufunc

UFUNCS = """add subtract multiply divide true_divide negative positive power exp expm1 log log1p sqrt square reciprocal
sin cos tanh abs absolute sign maximum minimum logaddexp isfinite isnan isinf logical_and logical_or logical_not equal
floor ceil rint bitwise_and bitwise_or bitwise_xor left_shift right_shift invert ldexp frexp copysign signbit""".split()

FUNCTIONS = """arange zeros ones empty full zeros_like ones_like empty_like full_like eye concatenate stack take
broadcast_to expand_dims reshape transpose swapaxes moveaxis flip roll squeeze pad tril triu sum mean prod max min amax amin
any all argmax argmin argsort sort cumsum cumprod dot matmul tensordot einsum clip copyto take_along_axis repeat tile
ascontiguousarray nonzero count_nonzero""".split()

PLAIN = """float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool_ finfo iinfo newaxis pi inf
nan""".split()

#: what NumPy has and CuPy 14 has not: a name from here in the engine would fail on the GPU only
MISSING = """block einsum_path errstate geomspace matvec vecmat vecdot unstack nditer ndenumerate frompyfunc longdouble
spacing""".split()


class Ufunc:
    """An elementwise function: device arrays and numbers only, no lists."""

    def __init__(self, ufunc):
        self.ufunc = ufunc

    def __call__(self, *args, out=None, dtype=None):
        args = [operand(a, self.ufunc.__name__) for a in args]
        kwargs = {} if dtype is None else {"dtype": dtype}
        check_ufunc(self.ufunc.__name__, args, kwargs)
        if out is None:
            return wrap(self.ufunc(*args, **kwargs))
        self.ufunc(*args, out=operand(out, "out"), **kwargs)
        return out

    def at(self, a, key, b) -> None:
        """a[key] ∘= b, repeated indices one after the other."""
        self.ufunc.at(operand(a, "at"), index(key), operand(b, "at"))


class Library:
    """xp."""

    ndarray = StrictArray

    def __init__(self):
        for name in UFUNCS:
            setattr(self, name, Ufunc(getattr(np, name)))
        for name in FUNCTIONS:
            if hasattr(np, name):
                setattr(self, name, self._function(name))
        for name in PLAIN:
            setattr(self, name, getattr(np, name))
        self.where = self._where

    def __getattr__(self, name):
        why = "CuPy does not have it" if name in MISSING else "it is not on the list of what the engine may use"
        raise AttributeError(f"xp.{name}: {why}")

    @staticmethod
    def _function(name):
        function = getattr(np, name)

        def call(*args, out=None, **kwargs):
            check_function(name, args, kwargs if out is None else {**kwargs, "out": out})
            args = unwrap(args, name)
            kwargs = {k: unwrap(v, name) for k, v in kwargs.items()}
            if name in ("nonzero", "count_nonzero"):
                sync(name)
            if out is None:
                return wrap(function(*args, **kwargs))
            function(*args, out=operand(out, "out"), **kwargs)
            return out

        return call

    @staticmethod
    def _where(condition, *branches):
        if not isinstance(condition, StrictArray):
            raise TypeError(f"where: the condition is a {type(condition).__name__}, not a device array")
        if not branches:
            sync("where with one argument")
        return wrap(np.where(condition._a, *[operand(b, "where") for b in branches]))

    @staticmethod
    def asarray(x, dtype=None):
        """A device array; host data is sent."""
        if isinstance(x, StrictArray):
            return x if dtype is None or x.dtype == dtype else wrap(x._a.astype(dtype))
        STATE.sends += 1
        return wrap(np.array(x, dtype=dtype))

    @staticmethod
    def array(x, dtype=None):
        """A new device array."""
        if isinstance(x, StrictArray):
            return wrap(np.array(x._a, dtype=dtype))
        STATE.sends += 1
        return wrap(np.array(x, dtype=dtype))
