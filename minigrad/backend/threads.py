"""How many threads compute, and how work is spread over them.

NumPy's functions use one thread each, but let other Python threads run meanwhile: a kernel that goes block by block may give
its blocks to a few threads. BLAS has threads of its own, but they wait for more work by spinning, on the cores that all need:
so large products are spread like everything else, and BLAS computes in the thread that calls it.
"""
from __future__ import annotations

import contextvars
import os
import threading

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
    """work(*job) for every job, by as many threads as there are; each takes the next job as soon as it is free.

    While one thread spreads its work, others do theirs alone. An exception in a job is raised here.
    """
    helpers = min(_threads, len(jobs)) - 1
    if helpers < 1 or not _free.acquire(blocking=False):
        for job in jobs:
            work(*job)
        return
    todo = iter(jobs)                               # shared by all: next() on a list's iterator is atomic

    def run():
        for job in todo:
            work(*job)

    try:
        while len(_helpers) < helpers:
            _helpers.append(_Helper())
        active = _helpers[:helpers]
        for helper in active:                       # a copy of the context: np.errstate and the like hold there too
            helper.begin(contextvars.copy_context().run, run)
        run()
        for helper in active:
            helper.wait()
    except BaseException:                           # an interrupt may have come anywhere: start with new ones next time
        for helper in _helpers:
            helper.leave()
        _helpers.clear()
        raise
    finally:
        _free.release()


class _Helper(threading.Thread):
    """A thread that waits for a function to call. Two locks wake it and wait for it in 20 μs; a pool of futures takes 100."""

    def __init__(self):
        super().__init__(name="minigrad", daemon=True)
        self.wake, self.done = threading.Lock(), threading.Lock()
        self.job = self.error = None
        self.left = False
        self.wake.acquire()
        self.done.acquire()
        self.start()

    def run(self) -> None:
        """Call what `begin` gave until `leave`."""
        while not self.left:
            self.wake.acquire()
            job, self.job = self.job, None
            if job is None:
                return
            try:
                job[0](job[1])
            except BaseException as error:          # raised in the thread that waits
                self.error = error
            del job                                 # and with it the arrays
            self.done.release()

    def begin(self, call, argument) -> None:
        """call(argument) over there."""
        self.job = call, argument
        self.wake.release()

    def wait(self) -> None:
        """Until it is done; raises what it raised."""
        self.done.acquire()
        if self.error is not None:
            raise self.error

    def leave(self) -> None:
        """End after the job at hand."""
        self.left = True
        if self.wake.locked():                      # it waits, or is at work and will see that it should go
            self.wake.release()


def pieces(n: int, parts: int | None = None, size: int | None = None) -> list:
    """0 … n cut into `parts` ranges (start, stop) of nearly equal length (one per thread, if None), or into ranges of `size`.

    >>> pieces(10, parts=3), pieces(10, size=4)
    ([(0, 4), (4, 8), (8, 10)], [(0, 4), (4, 8), (8, 10)])
    """
    if size is None:
        parts = _threads if parts is None else parts
        size = max(1, -(-n // parts))
    return [(i, min(i + size, n)) for i in range(0, n, size)]


def in_blocks(work, n: int, size: int) -> None:
    """work(start, stop) for blocks of 0 … n of at most `size` (at least 1), spread over the threads."""
    if n <= size or n == 0:
        work(0, n)
    else:
        spread(work, pieces(n, size=max(1, size)))


_free, _helpers = threading.Lock(), []


def _forget() -> None:
    global _free
    _free = threading.Lock()
    _helpers.clear()


if hasattr(os, "register_at_fork"):                 # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=_forget)
