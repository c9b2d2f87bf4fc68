import json
import os
import signal
import time
from dataclasses import dataclass

import pytest

from minigrad.experiments.runner import Interrupted, Results, run_all


@dataclass(frozen=True)
class Job:
    name: str
    work: float = 1.0


def double(job, tick):
    """What a run does here: note in which process it was."""
    tick(1)
    return {"row": {"acc": len(job.name) / 100, "per": 0.5}, "process": os.getpid(),
            "threads": os.environ.get("OPENBLAS_NUM_THREADS")}


def fail_on_c(job, tick):
    """A run with a mistake in it."""
    if job.name == "ccc":
        raise ValueError("rank 999 is larger than the matrix")
    return double(job, tick)


def die(job, tick):
    """A run whose process is killed."""
    os._exit(9)


def interrupt_on_c(job, tick):
    """A run during which somebody presses Ctrl-C."""
    if job.name == "ccc":
        raise KeyboardInterrupt
    return double(job, tick)


def slow(job, tick):
    """A run that takes long after the first one; the first one interrupts the parent."""
    if job.name != "a":
        time.sleep(60)
    else:
        os.kill(os.getppid(), signal.SIGINT)
    return double(job, tick)


JOBS = [Job("a"), Job("bb"), Job("ccc")]
QUIET = {"progress": False, "say": lambda text: None}


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_runs(processes, tmp_path):
    results = run_all(JOBS, double, Results(tmp_path, "x", {}), processes=processes, **QUIET)
    assert [result["row"]["acc"] for result in results] == [0.01, 0.02, 0.03]
    elsewhere = {result["process"] for result in results} - {os.getpid()}
    assert len(elsewhere) in ((0,) if processes == 1 else (1, 2))
    if processes == 2:
        assert {result["threads"] for result in results} == {"1"}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_mistake_in_a_run_is_told_and_what_was_done_is_kept(processes, tmp_path):
    with pytest.raises(ValueError, match="rank 999"):
        run_all(JOBS, fail_on_c, Results(tmp_path, "x", {}), processes=processes, **QUIET)
    if processes == 1:
        again = Results(tmp_path, "x", {})
        assert list(again.done) == ["a", "bb"]
        before = dict(again.done)
        results = run_all(JOBS, double, again, processes=1, **QUIET)
        assert len(results) == 3 and again.done["a"] == before["a"]


def test_a_dead_worker_is_an_error_not_a_wait(tmp_path):
    with pytest.raises(RuntimeError, match="worker process died"):
        run_all(JOBS, die, Results(tmp_path, "x", {}), processes=2, **QUIET)


def test_ctrl_c_in_this_process(tmp_path):
    with pytest.raises(Interrupted, match="after 2 of 3 runs"):
        run_all(JOBS, interrupt_on_c, Results(tmp_path, "x", {}), processes=1, **QUIET)
    assert list(Results(tmp_path, "x", {}).done) == ["a", "bb"]


def test_ctrl_c_stops_the_workers_at_once(tmp_path):
    began = time.monotonic()
    with pytest.raises(Interrupted):
        run_all(JOBS, slow, Results(tmp_path, "x", {}), processes=2, **QUIET)
    assert time.monotonic() - began < 30


def test_other_settings_are_refused_unless_fresh(tmp_path):
    Results(tmp_path, "x", {"words": 10, "lr": (1, 2)}).add("a", {"acc": 1})
    assert Results(tmp_path, "x", {"words": 10, "lr": (1, 2)}).done == {"a": {"acc": 1}}
    with pytest.raises(ValueError, match="words was 10, now 20.*--fresh"):
        Results(tmp_path, "x", {"words": 20, "lr": (1, 2)})
    assert Results(tmp_path, "x", {"words": 20}, fresh=True).done == {}


def test_a_line_cut_off_by_a_crash_is_done_again(tmp_path):
    results = Results(tmp_path, "x", {})
    results.add("a", {"acc": 1})
    results.add("bb", {"acc": 2})
    results.path.write_bytes(results.path.read_bytes()[:-5])
    again = Results(tmp_path, "x", {})
    assert again.done == {"a": {"acc": 1}}
    again.add("bb", {"acc": 3})
    assert [json.loads(line) for line in results.path.read_text().splitlines()][2]["result"] == {"acc": 3}
    assert Results(tmp_path, "x", {}).done == {"a": {"acc": 1}, "bb": {"acc": 3}}


def test_a_damaged_file_is_named(tmp_path):
    results = Results(tmp_path, "x", {})
    results.path.write_text(results.path.read_text() + "garbage\n" + json.dumps({"run": "a", "result": 1}) + "\n")
    with pytest.raises(ValueError, match=r"x\.partial\.jsonl:2 is not readable"):
        Results(tmp_path, "x", {})
