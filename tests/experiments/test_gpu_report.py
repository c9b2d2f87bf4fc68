"""The GPU report and the two-backend demo, tried on what there is: NumPy, and the GPU's kernels run by the CPU."""
import functools
import json

import numpy as np
import pytest

import minigrad as mg
from minigrad import backend
from minigrad.experiments import gpu_checks as checks
from minigrad.experiments import gpu_report
from minigrad.experiments.both_backends import both_backends
from minigrad.experiments.gpu_checks import TINY
from minigrad.experiments.table import read_csv
from tests.backend.cpu_kernels import COMPILER, NO_COMPILER, CpuKernelBackend, CpuKernels, compile_kernels
from tests.strict.backend import StrictBackend

NO_GPU = pytest.mark.skipif(backend.available()["cupy"] == "usable", reason="there is a GPU here")


@pytest.fixture
def on_kernels():
    """The name of a backend that is all a GPU's but the GPU."""
    if COMPILER is None:
        pytest.skip(NO_COMPILER)
    backend.register("strict", CpuKernelBackend(CpuKernels(compile_kernels())))
    yield "strict"
    backend.register("strict", StrictBackend())


def test_a_report_is_a_table_a_record_and_a_text(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "facts", functools.partial(checks.facts, rows=2, rounds=1))
    said = []
    record = gpu_report.report(out=tmp_path, name="numpy", sizes=[TINY], rounds=1, tests=False, steps=4, say=said.append)
    assert set(record) == {"versions", "facts", "parity", "synchronization", "memory", "repeatable", "step_times"}
    assert not [r for r in record.values() if isinstance(r, dict) and r["passed"] is False]
    (csv,) = tmp_path.glob("20??-??-??_the-cpu.csv")
    rows = read_csv(csv)
    assert [(row["size"], row["dtype"]) for row in rows] == [("tiny", "float32"), ("tiny", "float16")]
    assert all(row["minigrad_ms"] > 0 and np.isfinite(row["loss"]) for row in rows)
    kept = json.loads(csv.with_suffix(".json").read_text())
    assert kept["parity"]["passed"] and kept["date"] and "commit" in kept
    text = csv.with_suffix(".md").read_text()
    assert "| parity | passed |" in text and "where it goes" in text
    assert any("wrote" in line for line in said)


def test_checks_on_the_kernels(on_kernels):
    """Parity within the band that a GPU is held to, and bits that repeat."""
    found = checks.parity(on_kernels, 50, TINY)
    assert found["passed"] and found["first_difference"] < 1e-5 and found["largest_share_of_band"] > 0, found
    assert checks.repeatable(on_kernels, TINY)["passed"]
    assert checks.synchronization(on_kernels, TINY)["passed"]
    row = checks.step_time(on_kernels, TINY, "float16", 1)
    assert row["dtype"] == "float16" and np.isfinite(row["loss"])
    facts = checks.facts(on_kernels, rows=2, rounds=1)
    assert facts["embedding gradient gives the same bits twice"] is True
    assert not [answer for answer in facts.values() if isinstance(answer, str) and "Error" in answer], facts


def test_a_kernel_that_is_slightly_wrong_leaves_the_band(on_kernels):
    be = backend.get(on_kernels)
    right = be.layer_norm
    be.layer_norm = lambda x, w, b, eps: right(x, w, b, eps * 100)
    assert not checks.parity(on_kernels, 10, TINY)["passed"]


def test_hidden_waiting_is_found(on_kernels, monkeypatch):
    monkeypatch.setattr(checks.Step, "clip", lambda self: self.loss.item())
    found = checks.synchronization(on_kernels, TINY)
    assert not found["passed"] and list(found["waited"]) == ["clip"] and "SyncError" in found["waited"]["clip"]


def test_a_check_that_breaks_does_not_stop_the_others(tmp_path, monkeypatch):
    def broken(*args):
        raise RuntimeError("out of memory\nand more")

    monkeypatch.setattr(checks, "parity", broken)
    monkeypatch.setattr(checks, "facts", lambda name: {"passed": None})
    monkeypatch.setattr(checks, "step_time", broken)
    record = gpu_report.report(out=tmp_path, name="numpy", sizes=[TINY], tests=False, steps=4, say=lambda text: None)
    assert record["parity"] == {"passed": False, "error": "RuntimeError: out of memory"}
    assert record["memory"]["passed"] and record["step_times"][0]["error"] == "RuntimeError: out of memory"
    (text,) = (path.read_text() for path in tmp_path.glob("*.md"))
    assert "| parity | FAILED (RuntimeError: out of memory) |" in text


def test_memory_that_grows_is_seen(monkeypatch):
    grown = iter(range(1000, 2000))
    monkeypatch.setattr(backend.get("numpy"), "memory_used", lambda: next(grown), raising=False)
    assert not checks.memory("numpy", 5, TINY)["passed"]


@NO_GPU
def test_without_a_gpu_the_command_says_what_is_missing(capsys):
    assert gpu_report.main([]) == 2
    assert "backend 'cupy'" in capsys.readouterr().err


def test_an_unknown_size_is_refused(capsys):
    assert gpu_report.main(["--sizes", "huge"]) == 2
    assert "unknown size huge: known are lesson, 25M, 124M" in capsys.readouterr().err


@NO_GPU
def test_the_same_from_the_minigrad_command(capsys):
    from minigrad import cli

    assert cli.main(["experiments", "gpu-report", "--sizes", "lesson"]) == 2
    assert "backend 'cupy'" in capsys.readouterr().err
    assert cli.main(["experiments", "both-backends", "--steps", "0"]) == 2
    assert cli.main(["experiments", "both-backends", "--steps", "1"]) == 0
    assert "that is fine" in capsys.readouterr().out


def test_exit_codes(monkeypatch):
    for passed, code in ((True, 0), (None, 0), (False, 1)):
        record = {"parity": {"passed": passed}, "step_times": []}
        monkeypatch.setattr(gpu_report, "report", lambda record=record, **options: record)
        assert gpu_report.run() == code
    monkeypatch.setattr(gpu_report, "report", lambda **options: {"step_times": [{"passed": False, "error": "x"}]})
    assert gpu_report.run() == 1


@NO_GPU
def test_the_demo_without_a_gpu_is_friendly():
    said = []
    result = both_backends(steps=3, size=TINY, say=said.append)
    assert list(result) == ["numpy"] and len(result["numpy"][0]) == 3
    assert "No cupy column this time, and that is fine" in said[-1] and "one step" in said[0]


def test_the_demo_side_by_side(on_kernels):
    said = []
    result = both_backends(steps=3, size=TINY, backends=("numpy", on_kernels), say=said.append)
    np.testing.assert_allclose(*(losses for losses, _ in result.values()), rtol=1e-5)
    assert "numpy" in said[0] and on_kernels in said[0] and len(said) == 1


def test_the_sizes_are_what_they_are_called():
    counted = {}
    for name, size in checks.SIZES.items():
        c = size.config
        block = 12 * c.d_model ** 2 + 13 * c.d_model
        counted[name] = (c.vocab_size + c.context) * c.d_model + c.n_layers * block + 2 * c.d_model + (
            0 if c.tie_head else c.vocab_size * c.d_model)
    assert 25e6 < counted["25M"] < 26e6 and 123.5e6 < counted["124M"] < 125e6
    lesson = mg.models.GPT(checks.SIZES["lesson"].config)
    assert sum(p.size for p in lesson.parameters()) == counted["lesson"]
