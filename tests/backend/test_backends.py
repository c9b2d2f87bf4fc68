"""Choosing a backend, mixing two, and what CuPy's absence sounds like."""
import inspect
import threading
import types

import numpy as np
import pytest

import minigrad as mg
from minigrad import backend
from minigrad.backend import cupy_backend
from minigrad.backend.cupy_backend import CupyBackend
from minigrad.backend.numpy_backend import NumpyBackend
from tests.strict.array import StrictArray
from tests.strict.backend import StrictBackend


@pytest.fixture(autouse=True)
def _default_restored():
    before = backend.current().name
    yield
    mg.use_backend(before)


# ---- choosing -------------------------------------------------------------------------------------------------------


def test_new_tensors_are_made_on_the_current_backend(backend):
    for t in (mg.tensor([1.0]), mg.zeros(2), mg.ones(2), mg.full((2,), 3.0), mg.arange(3), mg.randn(2), mg.rand(2),
              mg.from_numpy(np.ones(2)), mg.zeros_like(mg.ones(2)), mg.ones_like(mg.ones(2))):
        assert t.backend.name == backend


def test_with_is_for_the_block_and_a_plain_call_is_for_the_process():
    assert backend.current().name == "numpy"
    with mg.use_backend("strict") as inside:
        assert inside.name == backend.current().name == "strict"
        with mg.use_backend("numpy"):
            assert backend.current().name == "numpy"
        assert backend.current().name == "strict"
    assert backend.current().name == "numpy"
    mg.use_backend("strict")
    assert backend.current().name == "strict"


def test_the_block_ends_after_an_error_too():
    with pytest.raises(KeyError), mg.use_backend("strict"):
        raise KeyError
    assert backend.current().name == "numpy"


def test_a_block_in_one_thread_is_not_seen_in_another():
    seen = []
    with mg.use_backend("strict"):
        thread = threading.Thread(target=lambda: seen.append(backend.current().name))
        thread.start()
        thread.join()
    assert seen == ["numpy"]


@pytest.mark.parametrize("choose", [backend.get, mg.use_backend])
def test_an_unknown_name_is_told_what_is_known(choose):
    with pytest.raises(ValueError, match=r"unknown backend 'nunpy': known are cupy, numpy.*did you mean 'numpy'\?"):
        choose("nunpy")
    assert backend.current().name == "numpy"


# ---- an operation runs where its arguments are ----------------------------------------------------------------------


def test_an_operation_runs_on_its_arguments_backend():
    with mg.use_backend("strict"):
        x = mg.tensor([1.0, 2.0], requires_grad=True)
    y = (2.0 * x.exp() + 1).sum()                   # the current backend is numpy again
    y.backward()
    assert isinstance(y.data, StrictArray) and isinstance(x.grad, StrictArray)
    assert isinstance(mg.zeros_like(x).data, StrictArray)


@pytest.mark.parametrize("mix", [lambda a, b: a + b, lambda a, b: a @ b, lambda a, b: mg.cat([a, b]), lambda a, b: a > b,
                                 lambda a, b: mg.nn.functional.linear(a.reshape(1, 2), b.reshape(1, 2)),
                                 lambda a, b: mg.where(a > 0, a, b), lambda a, b: a.sum().backward(b.sum().data)])
@pytest.mark.parametrize("order", [1, -1])
def test_mixing_two_backends_names_both(mix, order):
    a = mg.tensor([1.0, 2.0], requires_grad=True)
    with mg.use_backend("strict"):
        b = mg.tensor([3.0, 4.0], requires_grad=True)
    with pytest.raises(TypeError, match=r"numpy and strict|strict and numpy"):
        mix(*(a, b)[::order])


def test_moving_is_spelled_out():
    with mg.use_backend("strict"):
        device = mg.tensor(np.arange(3.0))
    host = mg.tensor(mg.to_numpy(device))
    assert host.backend.name == "numpy" and host.tolist() == [0.0, 1.0, 2.0]
    with mg.use_backend("strict"):
        assert (mg.tensor(host) + device).tolist() == [0.0, 2.0, 4.0]


def test_what_is_no_array_is_named():
    with pytest.raises(TypeError, match=r"dict is not an array of a known backend .*mg\.tensor"):
        backend.of({})


def test_host_copies_are_copies(backend):
    t = mg.tensor(np.arange(3.0))
    t.numpy()[0] = 7.0
    mg.to_numpy(t)[1] = 7.0
    assert t.tolist() == [0.0, 1.0, 2.0]
    source = np.arange(3.0)
    made = mg.tensor(source)
    source[0] = 7.0
    assert made.tolist() == [0.0, 1.0, 2.0]


# ---- CuPy's three states --------------------------------------------------------------------------------------------


def _cupy(monkeypatch, module):
    """Pretend that CuPy is `module`, or not installed."""
    import sys

    monkeypatch.delitem(backend._BACKENDS, "cupy", raising=False)
    if module is None:
        monkeypatch.setattr(cupy_backend.importlib.util, "find_spec", lambda name: None)
    else:
        monkeypatch.setattr(cupy_backend.importlib.util, "find_spec", lambda name: object())
        monkeypatch.setitem(sys.modules, "cupy", module)


def test_cupy_not_installed(monkeypatch):
    _cupy(monkeypatch, None)
    assert backend.available() == {**backend.available(), "numpy": "usable", "cupy": "not installed"}
    with pytest.raises(mg.backend.BackendUnavailable, match=r"not installed: pip install .*or use backend 'numpy'"):
        mg.use_backend("cupy")
    assert backend.current().name == "numpy"


def test_cupy_without_a_usable_gpu(monkeypatch):
    def arange(n):
        raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")

    _cupy(monkeypatch, types.SimpleNamespace(arange=arange))
    assert backend.available()["cupy"].startswith("no usable GPU: RuntimeError: cudaErrorInsufficientDriver")
    with pytest.raises(mg.backend.BackendUnavailable, match="no GPU is usable .*cudaErrorInsufficientDriver.*nvidia-smi"):
        mg.use_backend("cupy")


def test_cupy_that_computes_wrongly_is_not_usable(monkeypatch):
    _cupy(monkeypatch, types.SimpleNamespace(arange=lambda n: np.zeros(n)))
    assert backend.available()["cupy"] == "no usable GPU: a test kernel gave a wrong sum"


# ---- one interface --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [NumpyBackend, CupyBackend, StrictBackend])
def test_overrides_have_the_base_signature(cls):
    """Names, order, kinds and defaults of parameters; needs no GPU."""
    for name, base in inspect.getmembers(backend.Backend, inspect.isfunction):
        mine = [(p.name, p.kind, p.default) for p in inspect.signature(getattr(cls, name)).parameters.values()]
        theirs = [(p.name, p.kind, p.default) for p in inspect.signature(base).parameters.values()]
        assert name == "__init__" or mine == theirs, f"{cls.__name__}.{name}"


@pytest.mark.parametrize("cls", [NumpyBackend, CupyBackend])
def test_a_backend_adds_no_public_method_of_its_own(cls):
    public = {name for name, _ in inspect.getmembers(cls, inspect.isfunction) if not name.startswith("_")}
    assert public <= {name for name, _ in inspect.getmembers(backend.Backend, inspect.isfunction)}
