"""Threads change how long a kernel takes, not what it computes."""
import os
import threading

import numpy as np
import pytest
import threadpoolctl

import minigrad as mg
from minigrad.backend import memory, numpy_attention, threads
from minigrad.backend.numpy_backend import BLOCK, NumpyBackend


@pytest.fixture
def set_threads():
    """mg.set_num_threads, taken back at the end."""
    before = threads.num_threads()
    yield mg.set_num_threads
    mg.set_num_threads(before)


def blas_threads():
    return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}


def test_set_num_threads(set_threads):
    for n in (2, 1):
        set_threads(n)
        assert blas_threads() == {n} and threads.num_threads() == n
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

    with pytest.raises(ArithmeticError, match="job 1"):
        threads.spread(work, [(0,), (1,)])


def test_helpers_share_the_callers_errstate_and_blas_goes_back(set_threads):
    set_threads(2)
    meet, seen = threading.Barrier(2, timeout=20), []

    def work():
        meet.wait()
        seen.append((np.geterr()["over"], blas_threads()))
        meet.wait()

    with np.errstate(over="raise"):
        threads.spread(work, [(), ()], one_blas_thread=True)
    assert seen == [("raise", {1})] * 2 and blas_threads() == {2}


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
                            normal(64)),
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
