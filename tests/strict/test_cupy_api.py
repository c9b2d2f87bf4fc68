"""The strict backend allows nothing that CuPy does not have, and calls nothing in a way that CuPy does not understand."""
import inspect
import types

import numpy as np
import pytest

from minigrad import backend
from minigrad.backend import cupy_backend
from tests.strict import array, library
from tests.strict.cupy_api import API, signature


def test_recorded_from_the_version_that_the_extras_ask_for():
    assert API["cupy"].startswith("14.")


def test_every_allowed_name_exists_in_cupy():
    assert set(library.UFUNCS) <= set(API["ufuncs"])
    assert {n for n in library.FUNCTIONS if hasattr(np, n)} <= set(API["functions"]) | set(API["ufuncs"])
    assert set(library.PLAIN) <= set(API["constants"]) | set(API["functions"])
    assert array.METHODS <= set(API["methods"]) and array.PROPERTIES <= set(API["properties"])
    assert set(library.MISSING) <= set(API["only_in_numpy"])


@pytest.fixture
def d():
    return backend.get("strict").send(np.arange(12, dtype=np.float32).reshape(3, 4))


NUMPY_ONLY = {
    "sum where=": lambda xp, d: d.sum(where=d > 0),
    "sum initial=": lambda xp, d: xp.sum(d, initial=0.0),
    "max initial=": lambda xp, d: d.max(axis=0, initial=0.0),
    "mean where=": lambda xp, d: xp.mean(d, where=d > 0),
    "argsort stable=": lambda xp, d: xp.argsort(d, stable=True),
    "zeros like=": lambda xp, d: xp.zeros(3, like=d),
    "clip min=": lambda xp, d: xp.clip(d, min=0.0),
}


@pytest.mark.parametrize("call", NUMPY_ONLY)
def test_arguments_that_only_numpy_takes_are_refused(call, d):
    with pytest.raises(TypeError, match="CuPy"):
        NUMPY_ONLY[call](backend.get("strict").xp, d)


def test_loops_that_cupy_lacks_are_refused(d):
    xp = backend.get("strict").xp
    with pytest.raises(TypeError, match="no loop for float32"):
        xp.bitwise_and(d, d)
    xp.exp(d.astype("int64")), xp.logical_not(d), xp.maximum(d, 0.0), xp.add(d, d > 0)


def test_allowed_calls_still_work(d):
    xp = backend.get("strict").xp
    assert xp.sum(d, axis=0, keepdims=True).shape == (1, 4) and d.sum(axis=(0, 1)).shape == ()
    assert d.reshape(2, 6).shape == d.reshape((2, 6)).shape == d.reshape(-1, 6).shape
    assert xp.concatenate([d, d], axis=1, out=xp.empty((3, 8), dtype="float32")).shape == (3, 8)
    assert xp.matmul(d, d.T).shape == (3, 3)


def test_cublas_is_called_as_it_is_declared(monkeypatch):
    """The private function behind attention: every argument in its place."""
    import sys

    calls = []
    declared = signature("private", "cublas.gemmStridedBatchedEx")
    fakes = {"cupy": types.ModuleType("cupy"), "cupy.cuda": types.ModuleType("cupy.cuda"),
             "cupy.cuda.device": types.SimpleNamespace(get_cublas_handle=lambda: "handle"),
             "cupy_backends": types.ModuleType("cupy_backends"), "cupy_backends.cuda": types.ModuleType("cuda"),
             "cupy_backends.cuda.libs": types.ModuleType("libs"),
             "cupy_backends.cuda.libs.cublas": types.SimpleNamespace(
                 gemmStridedBatchedEx=lambda *args: calls.append(declared.bind(*args).arguments))}
    for name, module in fakes.items():
        monkeypatch.setitem(sys.modules, name, module)

    def fake(address):
        return types.SimpleNamespace(dtype=np.dtype("float16"), data=types.SimpleNamespace(ptr=address))

    cupy_backend._find_gemm()(True, False, 2, 3, 4, 0.5, fake(10), 5, 6, fake(20), 7, 8, fake(30), 9, 11, 12)
    (call,) = calls
    assert call.pop("beta") - call.pop("alpha") == 4
    assert call == {"handle": "handle", "transa": 1, "transb": 0, "m": 2, "n": 3, "k": 4, "A": 10, "Atype": 2, "lda": 5,
                    "strideA": 6, "B": 20, "Btype": 2, "ldb": 7, "strideB": 8, "C": 30, "Ctype": 2, "ldc": 9,
                    "strideC": 11, "batchCount": 12, "computeType": 68, "algo": -1}
    assert list(inspect.signature(cupy_backend._find_gemm()).parameters)[-1] == "count"
