"""An array that is as strict as CuPy's, and in places stricter, so that a CPU can find what would fail on a GPU.

It wraps a NumPy array (a subclass would leak: np.asarray, slicing and buffers see through it) and refuses what a device
array refuses: implicit conversion to NumPy, NumPy operands, lists and host arrays as indices, iteration. A reduction
gives a 0-d array, never a scalar. Whatever makes the host wait is counted, and can be forbidden.
"""
from __future__ import annotations

import contextlib
import operator

import numpy as np

from tests.strict.cupy_api import check_method


class SyncError(RuntimeError):
    """The host waited for the device where that was forbidden."""


class _State:
    """What is allowed now, and what has been counted."""

    allow_sync = True
    no_float64 = False
    syncs = 0
    sends = 0


STATE = _State()


@contextlib.contextmanager
def policy(*, allow_sync: bool | None = None, no_float64: bool | None = None):
    """Inside, forbid waiting for the device and/or making float64 arrays; yields the state with its counters."""
    before = STATE.allow_sync, STATE.no_float64
    STATE.allow_sync = STATE.allow_sync if allow_sync is None else allow_sync
    STATE.no_float64 = STATE.no_float64 if no_float64 is None else no_float64
    try:
        yield STATE
    finally:
        STATE.allow_sync, STATE.no_float64 = before


def sync(what: str) -> None:
    """Note that the host waits here."""
    STATE.syncs += 1
    if not STATE.allow_sync:
        raise SyncError(f"{what} makes the host wait for the device")


def wrap(result):
    """NumPy's result as the device would give it: arrays, 0-d ones too, wrapped; tuples and lists piecewise."""
    if isinstance(result, np.ndarray | np.generic):
        result = np.asarray(result)
        if STATE.no_float64 and result.dtype == np.float64:
            raise TypeError("a float64 array was made where only float32 is allowed")
        return StrictArray(result)
    if isinstance(result, tuple | list):
        return type(result)(wrap(r) for r in result)
    return result


def unwrap(x, where: str):
    """The NumPy array behind an operand; host arrays and lists are refused."""
    if isinstance(x, StrictArray):
        return x._a
    if isinstance(x, np.ndarray):
        raise TypeError(f"{where}: unsupported type {type(x)}: a host array among device arrays")
    if isinstance(x, tuple | list):
        return type(x)(unwrap(i, where) for i in x)
    return x


def operand(x, where: str):
    """An operand of an elementwise operation: a device array, a Python number or a NumPy scalar."""
    if isinstance(x, StrictArray):
        return x._a
    if isinstance(x, bool | int | float | np.generic):
        return x
    raise TypeError(f"{where}: unsupported type {type(x)}")


def index(key):
    """An index without host arrays and lists, which CuPy would silently send to the device, at every use."""
    if isinstance(key, tuple):
        return tuple(index(k) for k in key)
    if isinstance(key, StrictArray):
        return key._a
    if key is None or key is Ellipsis or isinstance(key, int | slice | np.integer):
        return key
    raise TypeError(f"a {type(key).__name__} as index of a device array")


METHODS = {"sum", "mean", "max", "min", "prod", "argmax", "argmin", "any", "all", "astype", "reshape", "transpose",
           "swapaxes", "copy", "ravel", "squeeze", "cumsum", "cumprod", "dot", "fill", "view", "nonzero", "argsort"}
PROPERTIES = {"shape", "dtype", "ndim", "size", "nbytes", "itemsize", "strides", "flags"}


class StrictArray:
    """A device array in appearance; see the top of this file."""

    __slots__ = ("_a",)
    __array_ufunc__ = None                          # np.exp(a) raises; ndarray + a reaches __radd__, which raises
    __hash__ = None

    def __init__(self, a: np.ndarray):
        self._a = a

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Use backend.to_numpy")

    def __array_function__(self, func, types, args, kwargs):
        raise TypeError(f"np.{func.__name__} on a device array: use the backend's xp")

    def __getattr__(self, name):
        if name in PROPERTIES:
            return getattr(self._a, name)
        if name in METHODS:
            method = getattr(self._a, name)

            def call(*args, **kwargs):
                check_method(name, args, kwargs)
                return wrap(method(*unwrap(args, name), **{k: unwrap(v, name) for k, v in kwargs.items()}))

            return call
        raise AttributeError(f"a device array has no {name!r}")     # NumPy's probes (__array_interface__, …) included

    T = property(lambda self: wrap(self._a.T))
    base = property(lambda self: None if self._a.base is None else StrictArray(self._a.base))

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        raise TypeError("iterating over a device array costs a launch for each row")

    def __index__(self):
        raise TypeError("a device array is not an index of host objects")

    def __getitem__(self, key):
        key = index(key)
        if any(isinstance(k, np.ndarray) and k.dtype == bool for k in (key if isinstance(key, tuple) else (key,))):
            sync("a boolean mask as index")         # the result's size is known only on the device
        return wrap(self._a[key])

    def __setitem__(self, key, value):
        self._a[index(key)] = operand(value, "setitem")

    def __repr__(self):
        return f"StrictArray({self._a!r})"

    # ---- where the host waits ----------------------------------------------------------------------------------------

    def get(self):
        """A host copy."""
        sync("get")
        return self._a.copy()

    def item(self):
        """The value of a one-element array."""
        sync("item")
        return self._a.item()

    def tolist(self):
        """Nested lists."""
        sync("tolist")
        return self._a.tolist()

    def __float__(self):
        sync("float()")
        return float(self._a)

    def __int__(self):
        sync("int()")
        return int(self._a)

    def __bool__(self):
        sync("bool()")
        return bool(self._a)


def _define(name: str, inplace: bool = True) -> None:
    plain = getattr(operator, name)

    def forward(self, other):
        return wrap(plain(self._a, operand(other, name)))

    def backward(self, other):
        return wrap(plain(operand(other, name), self._a))

    def in_place(self, other):
        before = self._a
        result = getattr(operator, "i" + name.strip("_"))(before, operand(other, name))
        if result is not before:                    # NumPy may hand back a new scalar for a 0-d array
            before[...] = result
        return self

    short = name.strip("_")
    setattr(StrictArray, f"__{short}__", forward)
    setattr(StrictArray, f"__r{short}__", backward)
    if inplace:
        setattr(StrictArray, f"__i{short}__", in_place)


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor"):
    _define(_name)
def _define_comparison(name: str) -> None:
    compare = getattr(operator, name)
    setattr(StrictArray, f"__{name}__", lambda self, other: wrap(compare(self._a, operand(other, name))))


def _define_unary(name: str) -> None:
    plain = getattr(operator, name)
    setattr(StrictArray, f"__{name}__", lambda self: wrap(plain(self._a)))


for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    _define_comparison(_name)
for _name in ("neg", "pos", "abs", "invert"):
    _define_unary(_name)
