"""Tensor by itself: dtypes, NumPy beside it, comparisons, indexing, and what it refuses."""
from __future__ import annotations

import copy

import numpy as np
import pytest

import minigrad as mg
from minigrad import backend as backends
from tests.helpers import close, host

# ---- making one -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "dtype"), [
    (1.5, "float32"), ([1.0, 2.0], "float32"), ([1, 2.5], "float32"), (3, "int64"), ([[1, 2], [3, 4]], "int64"),
    (True, "bool"), ([True, False], "bool"), ([], "float32"), ((1.0, 2.0), "float32"),
    (np.float64(2.0), "float64"), (np.arange(3, dtype=np.int32), "int32"), (np.ones(2), "float64"),
    (np.ones(2, np.float16), "float16"), (np.uint8(3), "uint8"),
])
def test_dtypes(backend, data, dtype):
    t = mg.tensor(data)
    assert t.dtype == np.dtype(dtype) and t.backend.name == backend
    close(t, np.asarray(data).astype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "int32", "bool", np.float64, np.dtype("int8")])
def test_a_dtype_can_be_asked_for(backend, dtype):
    assert mg.tensor([0, 1, 2], dtype=dtype).dtype == np.dtype(dtype)


def test_it_is_a_copy(backend):
    a = np.ones(3)
    t = mg.tensor(a)
    a[:] = 7.0
    close(t, np.ones(3))
    again = mg.tensor(t)
    assert again.data is not t.data and again.dtype == t.dtype and not again.requires_grad
    from_raw = mg.tensor(t.data)
    close(from_raw, np.ones(3), dtype=True)
    values = t.numpy()
    values[:] = 5.0
    close(t, np.ones(3))


@pytest.mark.parametrize(("data", "message"), [
    ([[1, 2], [3]], "equal lengths"), ("abc", "needs numbers; got str"), (None, "needs numbers; got NoneType"),
    ([1 + 2j], "dtype complex128"), (np.array(["a"]), "needs numbers"), ({1: 2}, "needs numbers; got dict"),
])
def test_what_is_no_array(backend, data, message):
    with pytest.raises(TypeError, match=message):
        mg.tensor(data)


def test_only_floats_have_gradients(backend):
    for data in (1, [True], np.ones(2, np.int32)):
        with pytest.raises(TypeError, match="only floating-point tensors can require gradients; this one is .*dtype='float32'"):
            mg.tensor(data, requires_grad=True)
    with pytest.raises(TypeError, match="this one is int64"):
        mg.arange(3).requires_grad_()
    with pytest.raises(TypeError, match="unknown dtype 'float31'"):
        mg.tensor([1.0], dtype="float31")


def test_creation(backend):
    for t, shape, dtype in ((mg.zeros(2, 3), (2, 3), "float32"), (mg.ones((2, 3), dtype="float64"), (2, 3), "float64"),
                            (mg.zeros(()), (), "float32"), (mg.full((2,), 7, dtype="int64"), (2,), "int64"),
                            (mg.full(3, 0.5), (3,), "float32"), (mg.randn(2, 3), (2, 3), "float32"),
                            (mg.rand((4,), dtype="float64"), (4,), "float64"),
                            (mg.zeros_like(mg.ones(2, dtype="float64")), (2,), "float64"),
                            (mg.ones_like(mg.arange(2), dtype="float32"), (2,), "float32"),
                            (mg.from_numpy(np.ones((1, 2), np.int32)), (1, 2), "int32")):
        assert (t.shape, t.dtype.name, t.backend.name) == (shape, dtype, backend)
    assert mg.zeros(2, requires_grad=True).requires_grad
    assert mg.rand(1000).tolist() != mg.rand(1000).tolist()
    values = host(mg.rand(1000))
    assert (values >= 0).all() and (values < 1).all()


def test_random_tensors_are_the_same_on_every_backend():
    drawn = []
    for name in ("numpy", "strict"):
        mg.manual_seed(11)
        with mg.use_backend(name):
            drawn.append((mg.randn(3).tolist(), mg.rand(2).tolist(), mg.dropout(mg.ones(20), 0.5).tolist()))
    assert drawn[0] == drawn[1]


# ---- looking at it --------------------------------------------------------------------------------------------------


def test_attributes(backend):
    t = mg.zeros(2, 3, requires_grad=True)
    assert (t.shape, t.ndim, t.size, t.numel(), len(t), t.format, t.is_leaf) == ((2, 3), 2, 6, 6, 2, "fp32", True)
    assert mg.zeros(1, dtype="float64").format == "fp64" and mg.arange(2).format == "int64"
    y = t * 2.0
    assert not y.is_leaf and y.requires_grad and y.backend is backends.get(backend)
    assert t.T.shape == (3, 2) and mg.zeros(2, 3, 4).mT.shape == (2, 4, 3)


def test_item_and_lists(backend):
    assert mg.tensor([[2.5]]).item() == 2.5 and type(mg.tensor(2).item()) is int
    assert type(mg.tensor(True).item()) is bool
    assert float(mg.tensor(2.5)) == 2.5 and int(mg.tensor([3])) == 3
    assert bool(mg.tensor(0.0)) is False
    assert mg.tensor([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    with pytest.raises(ValueError, match=r"one element; this one has shape \(2,\)"):
        mg.ones(2).item()
    with pytest.raises(ValueError, match="one element"):
        bool(mg.ones(2) == mg.ones(2))
    with pytest.raises(TypeError, match="0-d tensor has no length"):
        len(mg.tensor(1.0))


def test_repr(backend):
    assert repr(mg.tensor([1.0, 2.0])) == "tensor([1., 2.])"
    assert repr(mg.tensor([1.0], requires_grad=True)) == "tensor([1.], requires_grad=True)"
    assert repr(mg.tensor([1, 2])) == "tensor([1, 2])"
    assert repr(mg.tensor([1.0], dtype="float64")) == "tensor([1.], dtype=float64)"
    assert repr(mg.tensor([1.0], requires_grad=True) * 2) == "tensor([2.], grad_fn=mul)"
    assert repr(mg.tensor(1.5)) == "tensor(1.5)"
    assert "\n        [3., 4.]" in repr(mg.tensor([[1.0, 2.0], [3.0, 4.0]]))


def test_iteration(backend):
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    rows = list(x)
    assert [r.tolist() for r in rows] == [[1.0, 2.0], [3.0, 4.0]]
    (rows[0] * rows[1]).sum().backward()
    close(x.grad, np.array([[3, 4], [1, 2]], np.float32))
    a, b = mg.tensor([1.0, 2.0])
    assert (a.item(), b.item()) == (1.0, 2.0)
    with pytest.raises(TypeError, match="0-d"):
        list(mg.tensor(1.0))


def test_hash_is_identity(backend):
    a, b = mg.ones(2), mg.ones(2)
    assert len({a, b, a}) == 2 and {a: 1}[a] == 1


# ---- NumPy beside it ------------------------------------------------------------------------------------------------


def test_numpy_arrays_as_operands(backend):
    """On both sides, without NumPy taking the tensor apart element by element."""
    t, a = mg.tensor([1.0, 2.0], dtype="float64", requires_grad=True), np.array([3.0, 5.0])
    for y, e in ((t + a, [4, 7]), (a + t, [4, 7]), (a - t, [2, 3]), (t - a, [-2, -3]), (a * t, [3, 10]), (a / t, [3, 2.5]),
                 (t / a, [1 / 3, 0.4]), (a**t, [3, 25]), (t**a, [1, 32]), (a @ t, 13), (t @ a, 13)):
        assert isinstance(y, mg.Tensor) and y.requires_grad
        close(y, np.array(e, dtype=np.float64))
    for y, e in ((t < a, [True, True]), (a > t, [True, True]), (a == t, [False, False]), (t != a, [True, True]),
                 (a <= t, [False, False])):
        assert isinstance(y, mg.Tensor)
        close(y, np.array(e))
    (a * t).sum().backward()
    close(t.grad, a)


@pytest.mark.parametrize("number", [np.float64(2.0), np.float32(2.0), np.int64(2), np.bool_(True)])
def test_numpy_scalars_are_numbers(backend, number):
    """A mean or a learning rate computed by NumPy does not turn float32 into float64."""
    t = mg.tensor([1.0, 2.0], requires_grad=True)
    for y in (t * number, number * t, t + number, number - t, t / number, number / t, t**number, mg.maximum(t, number)):
        assert isinstance(y, mg.Tensor) and y.dtype == np.float32, y
    close(t * number, np.array([1.0, 2.0], np.float32) * np.float32(number))
    close(t < number, np.array([1.0, 2.0]) < number)


def test_numpy_cannot_lose_the_graph(backend):
    t = mg.tensor([1.0, 2.0])
    close(np.asarray(t), np.array([1.0, 2.0], np.float32))
    assert np.asarray(t, dtype=np.float64).dtype == np.float64
    t.requires_grad = True
    with pytest.raises(RuntimeError, match=r"t\.detach\(\)\.numpy\(\)"):
        np.asarray(t)
    assert isinstance(t.detach().numpy(), np.ndarray) and isinstance(t.numpy(), np.ndarray)
    with pytest.raises(TypeError):
        np.exp(t)


def test_to_numpy(backend):
    t = mg.tensor([1.0, 2.0], requires_grad=True)
    for x in (t, t.data, t * 1.0):
        close(mg.to_numpy(x), np.array([1.0, 2.0], np.float32), dtype=True)
    assert type(mg.to_numpy(t)) is np.ndarray
    with pytest.raises(TypeError, match="list is not an array of a known backend"):
        mg.to_numpy([1.0])


# ---- operators ------------------------------------------------------------------------------------------------------


def test_operators(backend):
    x, y = mg.tensor([4.0, 9.0]), mg.tensor([2.0, 3.0])
    for result, expected in ((x + y, [6, 12]), (x - y, [2, 6]), (x * y, [8, 27]), (x / y, [2, 3]), (y**2, [4, 9]),
                             (-x, [-4, -9]), (abs(-x), [4, 9]), (1 + x, [5, 10]), (1 - x, [-3, -8]), (2 * x, [8, 18]),
                             (36 / x, [9, 4]), (2**y, [4, 8]), (x @ y, 35)):
        close(result, np.array(expected, np.float32), rtol=1e-6, dtype=True)
    x += 1.0                                        # a new tensor under the old name, as for numbers
    close(x, np.array([5.0, 10.0], np.float32))


def test_comparisons(backend):
    x = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    for y, e in ((x > 2, [0, 0, 1]), (x >= 2, [0, 1, 1]), (x < 2.0, [1, 0, 0]), (x <= 2, [1, 1, 0]), (x == 2, [0, 1, 0]),
                 (x != 2, [1, 0, 1]), (2 > x, [1, 0, 0]), (x == x, [1, 1, 1]), ((x > 1) & (x < 3), [0, 1, 0]),
                 ((x < 2) | (x > 2), [1, 0, 1]), (~(x > 2), [1, 1, 0]), ((x > 1) ^ (x > 2), [0, 1, 0]),
                 (x == mg.tensor(2), [0, 1, 0]), (x > mg.tensor([[2], [0]]), [[0, 0, 1], [1, 1, 1]])):
        assert y.dtype == np.bool_ and not y.requires_grad
        close(y, np.array(e, dtype=bool))


def test_methods_that_pytorch_has(backend):
    for name in ("abs add amax amin argmax chunk clamp clip cos cumsum detach div erf exp expand expm1 flatten flip gather "
                 "index_select item log log1p log_softmax logsumexp masked_fill matmul max maximum mean min minimum mul neg norm "
                 "numel numpy permute pow prod reciprocal relu reshape retain_grad rsqrt sigmoid sin softmax split sqrt square "
                 "squeeze std sub sum swapaxes tanh tolist transpose tril triu unsqueeze var view").split():
        assert callable(getattr(mg.Tensor, name)), name


def test_indexing(backend):
    a = np.arange(24.0).reshape(2, 3, 4)
    t = mg.tensor(a)
    for key in (0, -1, (1, 2), (1, 2, 3), slice(1, 2), (..., 0), None, (None, 1, ..., None), (slice(None), slice(None, None, -1)),
                [1, 0, 1], ([0, 1], [2, 2]), np.array([1, 1]), a > 3, (slice(None), np.array([True, False, True])),
                np.int64(1), (1, np.int32(2)), [], [True, False]):
        close(t[key], a[key])
    close(t[mg.tensor([1, 0])], a[[1, 0]])
    close(t[t > 3], a[a > 3])
    close(t[mg.tensor(1)], a[1])
    with pytest.raises(TypeError):
        t[0] = 1.0                                  # tensors do not change in place
    with pytest.raises(IndexError, match=r"shape \(2, 3, 4\).*index 2"):
        t[2]
    with pytest.raises(IndexError):
        t[0, 0, 0, 0]


def test_a_slice_is_a_view_and_a_list_is_a_copy(backend):
    t = mg.zeros(4)
    view, picked = t[1:3], t[[1, 2]]
    t.data[...] = 1.0
    assert view.tolist() == [1.0, 1.0] and picked.tolist() == [0.0, 0.0]


# ---- requires_grad --------------------------------------------------------------------------------------------------


def test_requires_grad(backend):
    x = mg.ones(2)
    assert x.requires_grad_() is x and x.requires_grad and x.grad is None
    y = x * 2.0
    with pytest.raises(RuntimeError, match=r"can only be switched off on a leaf; this tensor is the result of mul. Use detach\(\)"):
        y.requires_grad = False
    assert not y.detach().requires_grad
    x.requires_grad_(False)
    assert not (x * 2.0).requires_grad


def test_grad_is_a_raw_array_of_the_backend(backend):
    x = mg.ones(2, requires_grad=True)
    (x * 3.0).sum().backward()
    assert x.backend.owns(x.grad) and not isinstance(x.grad, mg.Tensor)
    assert x.grad.shape == x.shape and x.grad.dtype == x.dtype


def test_results_of_reductions_are_arrays(backend):
    """NumPy's own reductions return scalars, which are no arrays: `.data` is one all the same."""
    be = backends.current()
    for y in (mg.ones(3).sum(), mg.ones(3)[0], mg.ones(3).amax(), mg.ones(3) @ mg.ones(3), mg.ones(()) * 2.0, mg.ones(3).norm(),
              mg.ones(3).max(0)[0], mg.argmax(mg.ones(3)), mg.ones(()) == 1.0):
        assert type(y.data) is be.array_types[0] and y.shape == ()


def test_deepcopy_of_a_leaf(backend):
    if backend == "strict":
        pytest.skip("strict arrays do not copy themselves")
    x = mg.ones(2, requires_grad=True)
    (x * 3.0).sum().backward()
    y = copy.deepcopy(x)
    assert y.requires_grad and y.tolist() == [1.0, 1.0]
    y.data[...] = 9.0
    assert x.tolist() == [1.0, 1.0]
