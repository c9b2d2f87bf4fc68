"""Threads change how long a kernel takes, not what it computes."""
import itertools
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import threadpoolctl

import minigrad as mg
from minigrad.backend import memory, numpy_attention, numpy_backend, numpy_products, threads
from minigrad.backend.base import Backend
from minigrad.backend.numpy_backend import BLOCK, NumpyBackend


@pytest.fixture
def set_threads():
    """mg.set_num_threads, taken back at the end."""
    before = threads.num_threads()
    with threadpoolctl.threadpool_limits():
        yield mg.set_num_threads
        mg.set_num_threads(before)


def blas_threads():
    return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}


def test_set_num_threads_leaves_blas_one_thread_of_its_own(set_threads):
    for n in (2, 1):
        set_threads(n)
        assert blas_threads() == {1} and threads.num_threads() == n
    for wrong in (0, -1, 1.5, "2", True):
        with pytest.raises(ValueError, match="at least 1"):
            set_threads(wrong)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("jobs", [0, 1, 2, 20])
def test_every_job_is_done_once(n, jobs, set_threads):
    set_threads(n)
    done = np.zeros((jobs, 2), int)

    def work(i, j):
        done[i] += (1, j)

    threads.spread(work, [(i, 10 * i) for i in range(jobs)])
    assert done.tolist() == [[1, 10 * i] for i in range(jobs)]


def test_several_work_at_a_time(set_threads):
    set_threads(2)
    meet = threading.Barrier(2, timeout=20)         # passes only when two jobs run at once
    threads.spread(meet.wait, [(), ()])


def test_a_mistake_in_a_job_is_raised(set_threads):
    set_threads(2)
    meet = threading.Barrier(2, timeout=20)

    def work(i):
        meet.wait()
        if i == 1:
            raise ArithmeticError("job 1")

    before = threading.active_count()
    for _ in range(5):
        with pytest.raises(ArithmeticError, match="job 1"):
            threads.spread(work, [(0,), (1,)])
    threads.spread(threading.Barrier(2, timeout=20).wait, [(), ()])         # others help as before
    time.sleep(0.1)
    assert threading.active_count() <= before + 1                           # and nobody is left over


def test_an_interrupt_leaves_no_helper_behind_that_is_waited_for(set_threads):
    set_threads(2)
    meet, caller = threading.Barrier(2, timeout=20), threading.current_thread()

    def work():
        meet.wait()
        if threading.current_thread() is caller:
            raise KeyboardInterrupt
        time.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        threads.spread(work, [(), ()])
    threads.spread(threading.Barrier(2, timeout=20).wait, [(), ()])


def test_work_within_work_and_beside_it_is_done_alone(set_threads):
    set_threads(2)
    done, other = [], threading.Thread(target=lambda: threads.spread(lambda: done.append("beside"), [(), ()]))

    def work(i):
        threads.spread(lambda: done.append("within"), [(), ()])
        if i == 0:
            other.start()
            other.join(20)

    threads.spread(work, [(0,), (1,)])
    assert sorted(done) == ["beside"] * 2 + ["within"] * 4


def test_helpers_share_the_callers_errstate(set_threads):
    set_threads(2)
    meet, seen = threading.Barrier(2, timeout=20), []

    def work():
        meet.wait()
        seen.append(np.geterr()["over"])

    with np.errstate(over="raise"):
        threads.spread(work, [(), ()])
    assert seen == ["raise"] * 2


def test_importing_and_computing_sets_nothing():
    """Only who asks for threads gets them: a fresh process keeps the environment's number for BLAS, and starts none."""
    program = """if True:
        import threading, threadpoolctl, minigrad as mg
        w = mg.ones(400, 400, requires_grad=True)
        (mg.nn.functional.gelu(w @ w) @ w).sum().backward()
        print([b["num_threads"] for b in threadpoolctl.threadpool_info() if b["user_api"] == "blas"],
              [t.name for t in threading.enumerate() if t.name.startswith("minigrad")])"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                         env=os.environ | {"OPENBLAS_NUM_THREADS": "2"})
    assert run.stdout.strip() == f"[{min(2, os.cpu_count())}] []"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_makes_its_own_helpers(set_threads):
    set_threads(2)
    threads.spread(lambda: None, [(), ()])
    child = os.fork()
    if child == 0:
        threads.spread(threading.Barrier(2, timeout=20).wait, [(), ()])
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


class Plain(Backend):
    """The kernels as they are written down, on NumPy."""

    name, xp, array_types = "plain", np, (np.ndarray, np.generic)


def normal(*shape):
    return np.random.default_rng(shape).standard_normal(shape, dtype=np.float32)


HEADS = [normal(3, 70, 4, 8).transpose(0, 2, 1, 3) for _ in range(4)]
CAUSAL = np.tril(np.ones((70, 70), bool))
KERNELS = {
    "attention": (*HEADS[:3], CAUSAL, None, 0.3, None),
    "attention_backward": (*HEADS, CAUSAL, None, 0.3, None, (True, True, True)),
    "gelu_tanh": (normal(3 * BLOCK + 5), True),
    "layer_norm": (normal(5 * BLOCK // 64, 64), normal(64), normal(64), 1e-5),
    "layer_norm_backward": (normal(5 * BLOCK // 64, 64), normal(5 * BLOCK // 64, 64), abs(normal(5 * BLOCK // 64, 1)),
                            normal(64), (True, True, True)),
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_compute_the_same_bits_with_any_number_of_threads(kernel, set_threads, monkeypatch):
    monkeypatch.setattr(numpy_attention, "BLOCK", 4096)     # several blocks of a small array
    be, results = NumpyBackend(), []
    for n in (1, 2, 3):
        set_threads(n)
        result = getattr(be, kernel)(*KERNELS[kernel])
        results.append([a.tobytes() for a in (result if isinstance(result, tuple) else (result,))])
    assert results[0] == results[1] == results[2]


PRODUCTS = {
    "matmul": [(normal(37, 19), normal(19, 23)), (normal(7, 3, 5, 4), normal(7, 3, 4, 6)), (normal(3, 2), normal(2, 5)),
               (normal(1, 2), normal(2, 5)), (normal(0, 2), normal(2, 5)), (normal(19, 37).T, normal(23, 19).T)],
    "linear": [(normal(37, 19), normal(23, 19), normal(23)), (normal(37, 19), normal(23, 19), None),
               (normal(1, 19), normal(23, 19), normal(23))],
    "linear_backward": [(normal(37, 23), normal(37, 19) if needs[1] else None, normal(23, 19) if needs[0] else None, needs)
                        for needs in itertools.product((True, False), repeat=3)],
    "low_rank_linear": [(normal(37, 19), normal(23, 19), bias, normal(2, 19), normal(23, 2), 0.3, thin)
                        for bias in (normal(23), None) for thin in (True, False)],
    "low_rank_backward": [(normal(37, 23), normal(37, 19), normal(37, 2), normal(23, 19), normal(2, 19), normal(23, 2), 0.3, needs)
                          for needs in itertools.product((True, False), repeat=3)],
}


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", PRODUCTS)
def test_products_in_pieces_are_whole(kernel, n, set_threads, monkeypatch):
    monkeypatch.setattr(numpy_backend, "LARGE", 0)
    set_threads(n)
    for args in PRODUCTS[kernel]:
        result, expected = (getattr(make(), kernel)(*args) for make in (NumpyBackend, Plain))
        for ours, plain in zip(*((r if isinstance(r, tuple) else (r,)) for r in (result, expected)), strict=True):
            assert (ours is None) == (plain is None)
            if plain is not None:
                np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)
                assert ours.dtype == plain.dtype


TALL = {
    "linear": [(normal(301, 64), normal(128, 64), normal(128)), (normal(192, 33), normal(64, 33), None),
               (normal(2, 300, 64)[:, ::2][1], normal(64, 64), normal(64)), (normal(130, 7), normal(64, 7), normal(64))],
    "linear_backward": [(normal(301, 128), normal(301, 64), normal(128, 64), needs)
                        for needs in [(True, True, True), (True, False, False), (True, False, True)]],
    "low_rank_linear": [(normal(301, 64), normal(128, 64), bias, normal(2, 64), normal(128, 2), 0.3, thin)
                        for bias in (normal(128), None) for thin in (True, False)]
    + [(normal(301, 64), normal(128, 64), None, normal(20, 64), normal(128, 20), 0.3, True)],
    "low_rank_backward": [(normal(301, 128), normal(301, 64), normal(301, 2), normal(128, 64), normal(2, 64), normal(128, 2), 0.3,
                           needs) for needs in [(True, True, True), (True, False, False)]]
    + [(normal(301, 128), normal(301, 64), normal(301, 20), normal(128, 64), normal(20, 64), normal(128, 20), 0.3, (True,) * 3)],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("kernel", TALL)
def test_products_in_panels_are_whole(kernel, n, dtype, set_threads, monkeypatch):
    """Weights of whole panels, rows that do not fill the last tile, less than one tile per piece, gaps between rows."""
    used, multiply = [], numpy_products.multiply
    monkeypatch.setattr(numpy_products, "small_kernels", lambda: True)
    monkeypatch.setattr(numpy_products, "multiply", lambda *args: (used.append(1), multiply(*args)))
    monkeypatch.setattr(numpy_backend, "LARGE", 0)
    set_threads(n)
    for args in TALL[kernel]:
        args = [a.astype(dtype, copy=False) if isinstance(a, np.ndarray) else a for a in args]
        used.clear()
        result, expected = (getattr(make(), kernel)(*args) for make in (NumpyBackend, Plain))
        assert bool(used) == (dtype == np.float32)
        for ours, plain in zip(*((r if isinstance(r, tuple) else (r,)) for r in (result, expected)), strict=True):
            assert (ours is None) == (plain is None)
            if plain is not None:
                np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=3e-5)
                assert ours.dtype == plain.dtype


def test_freed_memory_is_kept_where_the_library_can_be_asked(monkeypatch):
    asked = []

    class Library:
        def mallopt(self, option, value):
            asked.append((option, value))
            return value != memory.LARGEST[0]       # an older glibc, which refuses the larger one

    monkeypatch.setattr(memory, "_asked", False)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: Library())
    assert memory.keep_freed_memory() and memory.keep_freed_memory()
    assert asked == [(-3, 1 << 30), (-3, 1 << 25), (-1, memory.KEPT)]
    monkeypatch.setattr(memory, "_asked", False)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not memory.keep_freed_memory()


@pytest.mark.parametrize("shape", [(300, 200), (40_001,), (3, 2, 0), (5,), ()])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_arrays_begin_at_a_cache_line_and_count_as_what_they_hold(shape, dtype):
    kept = [memory.aligned(shape, dtype) for _ in range(9)]
    for a in kept:
        assert a.shape == shape and a.dtype == dtype and type(a) is np.ndarray and a.flags.c_contiguous and a.flags.writeable
        assert a.ctypes.data % 64 == 0 or a.size < memory.SMALL
        view = a[None][:, ...].reshape(-1)
        assert NumpyBackend().buffer(view).nbytes == a.nbytes
        assert NumpyBackend().owns_memory(a) and not NumpyBackend().owns_memory(view)       # a gradient is not copied again
        a[...] = 1
