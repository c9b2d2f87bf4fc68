"""How many threads compute, and how work is spread over them.

NumPy's functions use one thread each, but let other Python threads run meanwhile: a kernel that goes block by block may give
its blocks to a few threads. BLAS has threads of its own, but they wait for more work by spinning, on the cores that all need:
so large products are spread like everything else, and BLAS computes in the thread that calls it.
"""
from __future__ import annotations

import contextvars
import functools
import os
from concurrent.futures import ThreadPoolExecutor

_threads = 1


def set_num_threads(n: int) -> None:
    """Let large kernels on the CPU, matrix products among them, use `n` threads from now on, in the whole process.

    BLAS itself is told to use one. Unless this is called nothing is set: products use BLAS's threads, the rest uses one.
    """
    global _threads
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"set_num_threads needs a whole number of threads, at least 1; got {n!r}")
    import threadpoolctl

    threadpoolctl.threadpool_limits(limits=1, user_api="blas")
    _threads = n


def num_threads() -> int:
    """How many threads the kernels use."""
    return _threads


def spread(work, jobs: list) -> None:
    """work(*job) for every job, by as many threads as there are; each takes the next job as soon as it is free."""
    helpers = min(_threads, len(jobs)) - 1
    if helpers < 1:
        for job in jobs:
            work(*job)
        return
    todo = iter(jobs)                               # shared by all: next() on a list's iterator is atomic

    def run():
        for job in todo:
            work(*job)

    # a copy of the context: np.errstate and the like hold in the other threads too
    futures = [_pool(helpers).submit(contextvars.copy_context().run, run) for _ in range(helpers)]
    try:
        run()
    finally:
        for future in futures:
            if not future.cancel():                 # one that has not started yet would find nothing to do
                future.result()


def pieces(n: int, parts: int | None = None, size: int | None = None) -> list:
    """0 … n cut into `parts` ranges (start, stop) of nearly equal length (one per thread, if None), or into ranges of `size`.

    >>> pieces(10, parts=3), pieces(10, size=4)
    ([(0, 4), (4, 8), (8, 10)], [(0, 4), (4, 8), (8, 10)])
    """
    if size is None:
        parts = _threads if parts is None else parts
        size = max(1, -(-n // parts))
    return [(i, min(i + size, n)) for i in range(0, n, size)]


@functools.cache
def _pool(helpers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(helpers, "minigrad")


if hasattr(os, "register_at_fork"):                 # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
