"""Products without copies: the numbers given to cuBLAS, checked against cuBLAS's own definition on the CPU."""
import numpy as np
import pytest

from minigrad.backend.base import Backend
from minigrad.backend.batched import as_batch, batched_matmul
from minigrad.backend.cupy_backend import CupyBackend


def cublas(trans_a, trans_b, m, n, k, scale, a, lda, stride_a, b, ldb, stride_b, out, ldc, stride_c, count):
    """cublasGemmStridedBatchedEx as its manual defines it: C = α·op(A)·op(B), every matrix stored by columns."""
    def matrix(array, i, stride, lead, rows, columns):
        assert lead >= max(1, rows), f"a leading dimension of {lead} for {rows} rows"
        size = array.itemsize
        reach = (i * stride + (columns - 1) * lead + rows - 1) * size     # the last element that cuBLAS touches
        low, high = np.lib.array_utils.byte_bounds(array)
        start = array.__array_interface__["data"][0]
        assert low <= start and start + reach < high, "outside the array"
        flat = np.lib.stride_tricks.as_strided(array, (1,), (size,), writeable=True)
        return np.lib.stride_tricks.as_strided(flat, (columns, rows, i * stride + 1), (lead * size, size, size))[..., -1].T

    for i in range(count):
        A = matrix(a, i, stride_a, lda, *((k, m) if trans_a else (m, k)))
        B = matrix(b, i, stride_b, ldb, *((n, k) if trans_b else (k, n)))
        matrix(out, i, stride_c, ldc, m, n)[...] = scale * (A.T if trans_a else A) @ (B.T if trans_b else B)


class NumpyStandIn(CupyBackend):
    """CupyBackend's attention, with NumPy where CuPy would be and the definition above where cuBLAS would be."""

    def __init__(self):
        self.xp, self.array_types, self._gemm = np, (np.ndarray,), cublas

    def _launch(self, kernel, grid, threads, *args):
        raise AssertionError("float64 has no kernel")

    def _product(self, a, b, scale=1.0):
        assert a.dtype == b.dtype == np.float64
        out = np.empty((*a.shape[:-1], b.shape[-1]))
        batched_matmul(a, b, scale, out, cublas, np.ascontiguousarray)
        return out


def array(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


LAYOUTS = {
    "C order": lambda *s: array(*s),
    "transposed": lambda *s: array(*s[:-2], s[-1], s[-2]).swapaxes(-1, -2),
    "heads of (B, T, H, D)": lambda b, h, t, d: array(b, t, h, d).transpose(0, 2, 1, 3),
    "one of three packed": lambda b, h, t, d: array(b, h, t, 3 * d)[..., d:2 * d],
    "every second row": lambda b, h, t, d: array(b, h, 2 * t, d)[:, :, ::2],
    "backwards": lambda *s: array(*s)[..., ::-1],
    "broadcast batch": lambda b, h, t, d: np.broadcast_to(array(t, d), (b, h, t, d)),
    "broadcast row": lambda b, h, t, d: np.broadcast_to(array(b, h, 1, d), (b, h, t, d)),
    "Fortran order": lambda *s: np.asfortranarray(array(*s)),
}


@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("sizes", [(2, 3, 4, 5, 6), (1, 3, 4, 5, 6), (2, 1, 1, 5, 6), (2, 3, 4, 1, 6), (2, 3, 4, 5, 1),
                                   (1, 1, 1, 1, 1), (3, 2, 1, 1, 4)])
def test_products(left, right, sizes):
    b, h, m, k, n = sizes
    x, y = LAYOUTS[left](b, h, m, k), LAYOUTS[right](b, h, k, n)
    out = np.full((b, h, m, n), np.nan)
    batched_matmul(x, y, 0.5, out, cublas, np.ascontiguousarray)
    np.testing.assert_allclose(out, 0.5 * x @ y, rtol=1e-12)


def test_what_needs_no_copy():
    def copied(a):
        copies = []
        as_batch(a, lambda x: copies.append(x) or np.ascontiguousarray(x))
        return bool(copies)

    for name in ("C order", "transposed", "one of three packed", "every second row", "broadcast batch"):
        assert not copied(LAYOUTS[name](2, 3, 4, 5)), name
    assert not copied(LAYOUTS["heads of (B, T, H, D)"](1, 3, 4, 5))     # one sequence: its heads are evenly spaced
    assert copied(LAYOUTS["heads of (B, T, H, D)"](2, 3, 4, 5)) and copied(LAYOUTS["backwards"](2, 3, 4, 5))


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_the_specification(masked, drop):
    class Spec(Backend):
        xp, array_types = np, (np.ndarray,)

    ours, spec = NumpyStandIn(), Spec()
    q, k, v = (LAYOUTS["heads of (B, T, H, D)"](2, 3, t, d) for t, d in ((4, 8), (6, 8), (6, 5)))
    visible = np.tril(np.ones((4, 6), bool), 2) if masked else None
    dropped = (np.random.default_rng(0).random((2, 3, 4, 6)) > 0.3) / 0.7 if drop else None
    go = array(2, 3, 4, 5)
    o, o2 = (be.attention(q, k, v, visible, None, 0.3, dropped) for be in (ours, spec))
    np.testing.assert_allclose(o, o2, rtol=1e-10)
    for needs in ((True, True, True), (True, False, False), (False, False, True), (False, True, False)):
        for a, b in zip(*(be.attention_backward(go, q, k, v, visible, None, 0.3, dropped, needs) for be in (ours, spec)),
                        strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_falls_back_to_matmul():
    """Without cuBLAS's function, with broadcast batches or with empty arrays, the answer is matmul's."""
    be = CupyBackend.__new__(CupyBackend)
    be.xp, be._gemm = np, cublas
    a, b = array(2, 3, 4).astype(np.float32), array(2, 4, 5).astype(np.float32)
    np.testing.assert_allclose(be._product(a, b, 0.5), 0.5 * a @ b, rtol=1e-5)
    np.testing.assert_allclose(be._product(a, b[:1], 0.5), 0.5 * a @ b[:1], rtol=1e-5)
    assert be._product(a[:0], b[:0]).shape == (0, 3, 5)
    be._gemm = None
    np.testing.assert_allclose(be._product(a, b), a @ b, rtol=1e-5)
