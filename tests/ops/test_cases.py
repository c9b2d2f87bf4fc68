"""What every operation promises, generated from the table in cases.py."""
from __future__ import annotations

import ast
import contextlib
import pathlib

import numpy as np
import pytest

import minigrad as mg
from minigrad import backend as backends
from minigrad import ops
from minigrad.autograd.backward import _reachable
from tests.helpers import close, host
from tests.ops.cases import CASES, uncovered
from tests.strict.array import policy

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
with_empty = pytest.mark.parametrize("case", [c for c in CASES if c.empty], ids=lambda case: case.name)
with_awkward = pytest.mark.parametrize("case", [c for c in CASES if c.awkward], ids=lambda case: case.name)
several_inputs = pytest.mark.parametrize("case", [c for c in CASES if len(c.samplers) > 1], ids=lambda case: case.name)


def tensors(arrays, dtype="float64", requires_grad=True):
    """Leaves on the current backend."""
    return [mg.tensor(a, dtype=dtype, requires_grad=requires_grad) for a in arrays]


def cotangent(y, seed=1):
    """A random gradient for y, as a raw array of y's backend and dtype."""
    return y.backend.send(np.random.default_rng(seed).standard_normal(y.shape).astype(y.dtype))


def gradients(case, xs):
    """y and the gradients of xs under a random cotangent."""
    y = case.fn(*xs)
    y.backward(cotangent(y))
    return y, [x.grad for x in xs]


# ---- the rule that every operation has a case -----------------------------------------------------------------------


def test_every_operation_has_a_case():
    assert uncovered(ops.registry) == set()


def test_an_operation_without_a_case_is_noticed():
    """The rule above can fail: a planted operation, in a registry like the engine's, is reported."""
    planted = type("PlantedOp", (mg.Function,), {"__module__": "minigrad.ops.planted"})
    try:
        assert uncovered({**ops.registry, planted.name: planted}) == {"planted_op"}
    finally:
        del mg.Function.registry[planted.name]


def test_the_registry_knows_every_operation_in_the_room():
    """Read from the source, so that a file which ops/__init__ forgets to import is noticed."""
    room = pathlib.Path(ops.__file__).parent
    written = set()
    for path in room.glob("*.py"):
        classes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
        written |= {node.name for node in classes
                    if not node.name.startswith("_") and any(f.name == "backward" for f in _methods_and_bases(node))}
    assert written <= {cls.__name__ for cls in ops.registry.values()}
    assert len(written) > 40


def _methods_and_bases(node):
    yield from (f for f in node.body if isinstance(f, ast.FunctionDef))


@every_case
def test_a_case_exercises_the_operations_it_names(backend, case):
    y = case.fn(*tensors(case.sample()))
    assert set(case.ops) <= set(mg.graph_stats(y).by_op)


# ---- values ---------------------------------------------------------------------------------------------------------


@every_case
def test_forward_is_the_reference(backend, case):
    for seed in range(2):
        arrays = case.sample(seed)
        y = case.fn(*tensors(arrays))
        close(y, np.asarray(case.reference(*arrays)), rtol=case.rtol, atol=case.rtol, dtype=True)


@with_awkward
def test_forward_at_awkward_points(backend, case):
    for arrays in case.awkward:
        y = case.fn(*tensors(arrays))
        close(y, np.asarray(case.reference(*arrays)), rtol=case.rtol, atol=1e-300)


@with_awkward
def test_gradients_at_awkward_points_are_numbers(backend, case):
    for arrays in case.awkward:
        if case.name.startswith("sqrt"):
            arrays = [a[a > 0] for a in arrays]     # the slope of a root at 0 is infinite, in PyTorch too
        xs = tensors(arrays)
        y = case.fn(*xs)
        y.backward(y.backend.xp.ones(y.shape, dtype=y.dtype))
        for x in xs:
            assert not np.isnan(host(x.grad)).any()


@pytest.mark.parametrize("case", [c for c in CASES if c.smooth], ids=lambda case: case.name)
def test_gradients_are_finite_differences(backend, case):
    assert mg.gradcheck(case.fn, [mg.tensor(a) for a in case.sample()], seed=2)


@with_empty
def test_empty_inputs(backend, case):
    arrays = [np.random.default_rng(0).uniform(0.5, 1.0, shape) for shape in case.empty]
    xs = tensors(arrays)
    y = case.fn(*xs)
    close(y, np.asarray(case.reference(*arrays)), rtol=1e-11, atol=1e-12)
    y.backward(cotangent(y))
    for x in xs:
        assert x.grad.shape == x.shape and x.grad.dtype == x.dtype
        assert np.isfinite(host(x.grad)).all()


# ---- promises about memory and dtypes -------------------------------------------------------------------------------


@every_case
def test_float32_in_float32_out(backend, case):
    """On strict arrays, where it can be forbidden, not even an intermediate float64 array is made."""
    arrays = case.sample()
    xs = tensors(arrays, "float32")
    no_float64 = policy(no_float64=True) if backend == "strict" else contextlib.nullcontext()
    with no_float64:
        y, gxs = gradients(case, xs)
    assert y.dtype == np.float32
    close(host(y).astype(np.float64), np.asarray(case.reference(*[a.astype(np.float32).astype(np.float64)
                                                                  for a in arrays])), rtol=2e-4, atol=2e-5)
    expected = gradients(case, tensors([a.astype(np.float32) for a in arrays]))[1]
    for x, gx, e in zip(xs, gxs, expected, strict=True):
        assert gx.dtype == np.float32 and gx.shape == x.shape
        if case.ops != ("cast",):
            close(host(gx).astype(np.float64), e, rtol=1e-3, atol=1e-4)


@every_case
def test_the_host_never_waits(case):
    """On strict arrays, where waiting can be forbidden. Only a boolean mask as an index must: it decides the size."""
    with mg.use_backend("strict"):
        xs = tensors(case.sample(), "float32")
        seed = cotangent(case.fn(*xs))
        with policy(allow_sync="mask" in case.name and case.name.startswith("getitem")):
            case.fn(*xs).backward(seed)


def layouts(array, be):
    """The same values in other memory layouts, as raw arrays: transposed, every second one of a larger array."""
    yield be.send(array.T.copy()).T
    if array.ndim:
        wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan)
        wide[..., ::2] = array
        yield be.send(wide)[..., ::2]
        yield be.send(array[..., ::-1].copy())[..., ::-1]


@every_case
def test_memory_layout_makes_no_difference(backend, case):
    be, arrays = backends.current(), case.sample()
    y, gxs = gradients(case, tensors(arrays))
    for raws in zip(*[list(layouts(a, be)) * (1 if a.ndim else 3) for a in arrays], strict=True):
        xs = [mg.Tensor(raw, requires_grad=True) for raw in raws]
        y2 = case.fn(*xs)
        g = cotangent(y2)
        y2.backward(be.send(host(g).T.copy()).T)
        close(y2, y, rtol=1e-11, atol=1e-12)
        for x, gx in zip(xs, gxs, strict=True):
            close(x.grad, gx, rtol=1e-10, atol=1e-11)


@every_case
def test_inputs_are_not_modified(backend, case):
    """Neither the inputs nor the gradient that comes in: read-only during the call, and compared after it."""
    be, arrays = backends.current(), case.sample()
    xs = tensors(arrays)
    for x in xs:
        be.set_writeable(x.data, False)
    y = case.fn(*xs)
    result = host(y).tobytes()
    seed = cotangent(y)
    before = host(seed).tobytes()
    be.set_writeable(seed, False)
    y.backward(seed, retain_graph=True)
    assert host(seed).tobytes() == before
    assert host(y).tobytes() == result
    for x, a in zip(xs, arrays, strict=True):
        assert host(x).tobytes() == a.tobytes()


@every_case
def test_backward_twice_gives_the_same(backend, case):
    """With retain_graph: backward uses up neither what was saved nor the gradient it was given."""
    xs = tensors(case.sample())
    y = case.fn(*xs)
    seed = cotangent(y)
    y.backward(seed, retain_graph=True)
    first = [host(x.grad) for x in xs]
    for x in xs:
        x.grad = None
    y.backward(seed)
    for x, g in zip(xs, first, strict=True):
        close(x.grad, g, rtol=0)


@every_case
def test_nothing_is_recorded_when_nothing_is_trainable(backend, case):
    arrays = case.sample()
    frozen = case.fn(*tensors(arrays, requires_grad=False))
    assert not frozen.requires_grad and frozen.is_leaf
    with mg.no_grad():
        unrecorded = case.fn(*tensors(arrays))
    assert not unrecorded.requires_grad and unrecorded.is_leaf
    recorded = case.fn(*tensors(arrays))
    close(frozen, recorded, rtol=1e-13, atol=1e-14)     # what is computed may take another path, not another value
    close(unrecorded, frozen, rtol=0)


@several_inputs
def test_a_frozen_input_costs_no_gradient(backend, case):
    """Each input frozen in turn: the others' gradients stay, and backward returns for it None or gy itself."""
    be, arrays = backends.current(), case.sample()
    full = gradients(case, tensors(arrays))[1]
    for frozen in range(len(arrays)):
        xs = [mg.tensor(a, requires_grad=i != frozen) for i, a in enumerate(arrays)]
        y = case.fn(*xs)
        for fn in _reachable(y._fn)[0]:
            fn.backward = _spy(fn, fn.backward, be)
        y.backward(cotangent(y))
        assert xs[frozen].grad is None
        for i, x in enumerate(xs):
            if i != frozen:
                close(x.grad, full[i], rtol=1e-12, atol=1e-13)


def _spy(fn, backward, be):
    def watched(gy):
        gxs = backward(gy)
        for i, gx in enumerate(gxs if isinstance(gxs, tuple) else (gxs,)):
            free = gx is None or be.buffer(gx) is be.buffer(gy)
            assert fn.needs[i] or free, f"{fn.name} computed a gradient for input {i}, which is frozen"
        return gxs

    return watched


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_cast_gives_each_side_its_dtype(backend, dtype):
    x = mg.tensor([0.5, -2.0], dtype=dtype, requires_grad=True)
    y = x.to("float64" if dtype == "float32" else "float32")
    y.backward(y.backend.send(np.array([1.5, 0.25], dtype=y.dtype)))
    assert x.grad.dtype == np.dtype(dtype)
    close(x.grad, np.array([1.5, 0.25], dtype=dtype))
