"""Many independent runs: side by side in processes of their own, each result kept as soon as it is there.

Results are appended to NAME.partial.jsonl in the output folder. When an experiment is stopped and started again with the
same settings, the runs that are in that file are not done again; when all are done the caller removes it.
"""
from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from minigrad.training import interruptible


class Interrupted(Exception):
    """The experiment was stopped by Ctrl-C; what was finished is kept, and the message says how to go on."""


class Results:
    """The finished runs of an experiment, in a file that survives it.

    settings: what all runs have in common. A file with other settings is refused rather than mixed in.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> Results(folder, "demo", {"words": 10}).add("lora seed=0", {"acc": 0.5})
    >>> Results(folder, "demo", {"words": 10}).done
    {'lora seed=0': {'acc': 0.5}}
    """

    def __init__(self, out, name: str, settings: dict, fresh: bool = False):
        self.path = Path(out) / f"{name}.partial.jsonl"
        self.done: dict[str, dict] = {}
        settings = json.loads(json.dumps(settings))                     # as it will come back from the file
        if fresh:
            self.remove()
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        if not lines:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append({"settings": settings})
            return
        before = self._parse(lines[0], 1).get("settings", {})
        if before != settings:
            changed = [f"{key} was {before.get(key)!r}, now {settings.get(key)!r}" for key in {**before, **settings}
                       if before.get(key) != settings.get(key)]
            raise ValueError(f"{self.path} holds runs with other settings ({'; '.join(changed)}). Say --fresh to start over, "
                             "or choose another --out")
        for number, line in enumerate(lines[1:], start=2):
            if number == len(lines) and not self._complete():
                break                                                   # the last line was cut off by a crash: do it again
            entry = self._parse(line, number)
            self.done[entry["run"]] = entry["result"]
        if lines and not self._complete():
            self._drop_last_line()

    def add(self, run: str, result: dict) -> None:
        """Keep a run's result: on the disk when this returns."""
        self._append({"run": run, "result": result})
        self.done[run] = result

    def remove(self) -> None:
        """Delete the file: the experiment is finished and its table written."""
        self.path.unlink(missing_ok=True)

    def _append(self, entry: dict) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _complete(self) -> bool:
        return self.path.read_bytes().endswith(b"\n")

    def _drop_last_line(self) -> None:
        kept = self.path.read_bytes().rpartition(b"\n")[0] + b"\n"
        with open(self.path, "r+b") as file:
            file.truncate(len(kept))

    def _parse(self, line: str, number: int) -> dict:
        try:
            return json.loads(line)
        except ValueError:
            raise ValueError(f"{self.path}:{number} is not readable; delete the file (or say --fresh) and start over") from None


def run_all(runs: list, perform: Callable, results: Results, *, processes: int = 2, threads: int = 1, backend: str = "numpy",
            progress: bool = True, say: Callable = print) -> list[dict]:
    """The result of every run, in order; runs that `results` already has are not done again.

    runs: objects with `.name` and `.work` · perform(run, tick) does one, in a process of its own with `threads` BLAS
    threads, unless processes is 1. Raises Interrupted on Ctrl-C; an error in a run stops the experiment.
    """
    from tqdm import tqdm

    waiting = [run for run in runs if run.name not in results.done]
    if len(waiting) < len(runs):
        say(f"{len(runs) - len(waiting)} of {len(runs)} runs were done before ({results.path})")
    with tqdm(total=round(sum(run.work for run in waiting)), desc=f"{len(waiting)} runs", unit="step", smoothing=0.05,
              disable=not progress or not waiting, dynamic_ncols=True,
              bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed} passed, {remaining} to go") as bar:
        def finished(run, result):
            results.add(run.name, result)
            row = result["row"]
            say(f"{run.name}: " + (f"{100 * row['acc']:.1f}% right, phoneme error rate {100 * row['per']:.1f}%" if "per" in row
                                   else "done"))

        if processes == 1:
            with _set_up(backend, threads):
                _in_this_process(waiting, perform, finished, bar)
        elif waiting:
            _in_processes(waiting, perform, finished, bar, min(processes, len(waiting)), threads, backend)
    return [results.done[run.name] for run in runs]


def _in_this_process(waiting, perform, finished, bar) -> None:
    for number, run in enumerate(waiting):
        try:
            result = perform(run, lambda work: bar.update(min(work, bar.total - bar.n)))
        except KeyboardInterrupt:
            raise Interrupted(_farewell(number, len(waiting))) from None
        finished(run, result)


def _in_processes(waiting, perform, finished, bar, processes: int, threads: int, backend: str) -> None:
    context = multiprocessing.get_context("spawn")          # a forked copy of a threaded BLAS may hang
    work = context.Value("d", 0.0)
    before = {name: os.environ.get(name) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update({name: str(threads) for name in before})         # inherited; BLAS reads it when it is loaded
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_start_worker, initargs=(work, threads, backend))
    try:
        with interruptible() as interrupt:
            pending = {pool.submit(_work, perform, run): run for run in waiting}
            while pending:
                for future in [future for future in pending if future.done()]:
                    finished(pending.pop(future), future.result())
                if interrupt.requested:
                    raise Interrupted(_farewell(len(waiting) - len(pending), len(waiting)))
                bar.update(max(0, min(round(work.value), bar.total) - bar.n))
                time.sleep(0.1)
        pool.shutdown()
    except BrokenProcessPool:
        raise RuntimeError("a worker process died (out of memory, or killed); what was finished is kept, and the same "
                           "command goes on from there. Try --processes 1") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():     # after an error or Ctrl-C: nothing they do is wanted any more
            if child.is_alive():
                child.kill()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _farewell(done: int, total: int) -> str:
    return f"interrupted after {done} of {total} runs; they are kept, and the same command goes on from there"


_work_done = None                                           # in a worker: the counter that the progress bar reads


def _start_worker(work, threads: int, backend: str) -> None:
    global _work_done
    signal.signal(signal.SIGINT, signal.SIG_IGN)            # Ctrl-C reaches the whole group; the parent decides
    _work_done = work
    _set_up(backend, threads)


def _set_up(backend: str, threads: int):
    import minigrad as mg

    mg.set_num_threads(threads)
    return mg.use_backend(backend)                          # for the process, or as `with` for a block


def _work(perform: Callable, run) -> dict:
    def tick(work: float) -> None:
        with _work_done.get_lock():
            _work_done.value += work

    return perform(run, tick)
