"""How many threads compute, and how blocks of work are spread over them.

BLAS has threads of its own; NumPy's elementwise functions use one, but let other Python threads run meanwhile. So a kernel
that goes block by block may give its blocks to a few threads. Every block does the same arithmetic whoever takes it: the
numbers do not depend on how many threads there are.
"""
from __future__ import annotations

import contextlib
import contextvars
import functools
import os
from concurrent.futures import ThreadPoolExecutor

import threadpoolctl


def set_num_threads(n: int) -> None:
    """Let linear algebra (BLAS) and large elementwise kernels on the CPU use `n` threads from now on, in this process.

    Small matrices are often faster with one thread. Unless this is called, nothing is set, and the kernels use as many
    threads as BLAS does (all cores, or what OPENBLAS_NUM_THREADS and its like say).
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"set_num_threads needs a whole number of threads, at least 1; got {n!r}")
    _blas.cache_clear()                             # another library may have been loaded since
    for library in _blas():
        library.set_num_threads(n)


def num_threads() -> int:
    """How many threads BLAS, and with it the elementwise kernels, may use."""
    return max((library.num_threads for library in _blas()), default=1)


def spread(work, jobs: list, one_blas_thread: bool = False) -> None:
    """work(*job) for every job, by as many threads as there are; each takes the next job as soon as it is free.

    one_blas_thread: while this runs, a matrix product uses the one thread it was called from.
    """
    helpers = min(num_threads(), len(jobs)) - 1
    if helpers < 1:
        for job in jobs:
            work(*job)
        return
    todo = iter(jobs)                               # shared by all: next() on a list's iterator is atomic

    def run():
        for job in todo:
            work(*job)

    with _one_blas_thread() if one_blas_thread else contextlib.nullcontext():
        # a copy of the context: np.errstate and the like hold in the other threads too
        futures = [_pool(helpers).submit(contextvars.copy_context().run, run) for _ in range(helpers)]
        try:
            run()
        finally:
            for future in futures:
                if not future.cancel():             # one that has not started yet would find nothing to do
                    future.result()


@contextlib.contextmanager
def _one_blas_thread():
    before = [(library, library.num_threads) for library in _blas()]
    for library, _ in before:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, n in before:
            library.set_num_threads(n)


@functools.cache
def _blas() -> list:
    """The BLAS libraries in this process, as threadpoolctl sees them."""
    return threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers


@functools.cache
def _pool(helpers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(helpers, "minigrad")


if hasattr(os, "register_at_fork"):                 # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
