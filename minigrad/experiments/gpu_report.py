"""One command for a machine with a GPU: everything that can only be known there, in a dated record.

    python -m minigrad.experiments.gpu_report --out figures/gpu

It writes DATE_GPU.csv (step times), .json (everything) and .md (to read). It runs the test suite on the GPU, compares a
training run with NumPy's, looks for hidden waiting and for memory that grows, and times steps beside PyTorch eager.
"""
from __future__ import annotations

import argparse
import importlib.metadata
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from minigrad import backend
from minigrad.experiments import gpu_checks as checks
from minigrad.experiments import table

PARTS = ("forward", "backward", "clip", "update")
COLUMNS = ("size", "parameters", "batch", "tokens", "dtype", "minigrad_ms", "torch_ms", "ratio", "loss",
           *(f"{who}_{part}_ms" for who in ("minigrad", "torch") for part in PARTS))
ROOT = Path(__file__).resolve().parents[2]


def versions(name: str) -> dict:
    """Of everything a GPU number depends on besides what `table.surroundings` tells."""
    found = {"passed": None, **backend.get(name).device()}
    for package in ("cupy-cuda12x", "cupy-cuda13x", "torch", "ml_dtypes"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def conformance(name: str, timeout_s: int = 1800) -> dict:
    """The whole test suite on the backend: pytest -m gpu. Skipped where the tests are not installed."""
    if not (ROOT / "tests").is_dir():
        return {"passed": None, "summary": "not run: this is an installed package, without the tests"}
    selection = ["-m", "gpu"] if name == "cupy" else ["--backend", name, "tests/backend/test_backends.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", *selection]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return {"passed": False, "summary": f"not finished after {timeout_s} s"}
    lines = done.stdout.strip().splitlines()
    return {"passed": done.returncode == 0, "summary": lines[-1] if lines else done.stderr[-500:],
            "failed": [line for line in lines if line.startswith(("FAILED", "ERROR"))][:50]}


def report(*, out="figures/gpu", name: str = "cupy", sizes=None, dtypes=("float32", "float16"),
           steps: int = 50, rounds: int = 20, tests: bool = True, say=print) -> dict:
    """Run all checks and write the record; gives {check: result}, the step times under "step_times".

    sizes: of models to time (default: all of gpu_checks.SIZES); the other checks run on the smallest of them.
    A check that fails or breaks is recorded and the others go on. Raises BackendUnavailable where there is no GPU.
    """
    backend.get(name)                               # before anything else: is there one?
    sizes = list(checks.SIZES.values()) if sizes is None else sizes
    small = min(sizes, key=lambda size: size.config.d_model)
    sections = {"versions": lambda: versions(name), "facts": lambda: checks.facts(name),
                "parity": lambda: checks.parity(name, steps, small),
                "synchronization": lambda: checks.synchronization(name, small),
                "memory": lambda: checks.memory(name, max(4, steps // 2), small),
                "repeatable": lambda: checks.repeatable(name, small)}
    if tests:
        sections["conformance"] = lambda: conformance(name)
    record = {}
    for title, check in sections.items():
        record[title] = _kept(check)
        say(f"{title}: {verdict(record[title])}")
    rows = []
    for size in sizes:
        for dtype in dtypes:
            row = _kept(lambda size=size, dtype=dtype: checks.step_time(name, size, dtype, rounds))
            rows.append({"size": size.name, "dtype": dtype, **row})
            say(f"step {size.name} {dtype}: " + (row.get("error") or f"{row['minigrad_ms']:.2f} ms, PyTorch "
                                                                     f"{_ms(row['torch_ms'])}"))
    record["step_times"] = rows
    device = re.sub(r"[^a-z0-9]+", "-", str(record["versions"].get("device", name)).lower()).strip("-")
    title = f"{datetime.now(UTC):%Y-%m-%d}_{device}"
    table.write(title, out, rows, columns=COLUMNS, about={"command": f"python -m minigrad.experiments.gpu_report --out {out}",
                                                          **record})
    (Path(out) / f"{title}.md").write_text(as_text(title, record), encoding="utf-8")
    say(f"wrote {Path(out) / title}.csv, .json and .md")
    return record


def _kept(check) -> dict:
    try:
        return check()
    except Exception as error:                      # recorded, not raised: time on a GPU is dear
        return {"passed": False, "error": f"{type(error).__name__}: {error}".splitlines()[0]}


def verdict(result: dict) -> str:
    """A check's outcome in a word or two."""
    said = {True: "passed", False: "FAILED", None: "recorded"}[result["passed"]]
    detail = result.get("error") or result.get("summary") or ""
    return f"{said} ({detail})" if detail else said


def _ms(value) -> str:
    return "–" if value is None else f"{value:.2f} ms"


def as_text(title: str, record: dict) -> str:
    """The record as Markdown."""
    lines = [f"# {title.replace('_', ' · ')}", "", "| check | outcome |", "|---|---|"]
    lines += [f"| {name} | {verdict(result)} |" for name, result in record.items() if name != "step_times"]
    parity = record.get("parity", {})
    if "first_difference" in parity:
        lines += ["", f"Parity with NumPy over {parity['steps']} steps: first step {parity['first_difference']:.1e} apart; at "
                      f"most {100 * parity['largest_share_of_band']:.0f}% of the band ({parity['band']})."]
    lines += ["", "## A training step (median)", "", "| size | dtype | minigrad | PyTorch eager | ratio | where it goes |",
              "|---|---|---|---|---|---|"]
    for row in record["step_times"]:
        parts = " · ".join(f"{part} {row[f'minigrad_{part}_ms']:.1f}" for part in PARTS if f"minigrad_{part}_ms" in row)
        ratio = "–" if row.get("ratio") is None else f"{row['ratio']:.2f}"
        lines.append(f"| {row['size']} | {row['dtype']} | {row.get('error') or _ms(row.get('minigrad_ms'))} | "
                     f"{_ms(row.get('torch_ms'))} | {ratio} | {parts} |")
    for name in ("versions", "facts"):
        lines += ["", f"## {name.capitalize()}", ""]
        lines += [f"- {what}: {value}" for what, value in record.get(name, {}).items() if what != "passed"]
    return "\n".join(lines) + "\n"


def run(out="figures/gpu", sizes=tuple(checks.SIZES), rounds: int = 20, tests: bool = True, say=print) -> int:
    """The report on the models named in `sizes`: 0 when every check passed, 1 when one failed.

    Raises ValueError for an unknown size, BackendUnavailable where there is no GPU.
    """
    if unknown := [name for name in sizes if name not in checks.SIZES]:
        raise ValueError(f"unknown size {', '.join(unknown)}: known are {', '.join(checks.SIZES)}")
    record = report(out=out, sizes=[checks.SIZES[name] for name in sizes], rounds=rounds, tests=tests, say=say)
    results = [result for result in record.values() if isinstance(result, dict)] + record["step_times"]
    return 1 if any(result.get("passed") is False for result in results) else 0


def main(argv=None) -> int:
    """The command, with `run`'s exit codes; 2 for a mistake or where there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m minigrad.experiments.gpu_report", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="figures/gpu", metavar="DIR", help="default figures/gpu")
    parser.add_argument("--sizes", default=",".join(checks.SIZES), metavar="LIST", help="default %(default)s")
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="timed steps for each median; default 20")
    parser.add_argument("--no-tests", action="store_true", help="leave the test suite out")
    args = parser.parse_args(argv)
    try:
        return run(args.out, args.sizes.split(","), max(1, args.rounds), not args.no_tests)
    except (ValueError, backend.BackendUnavailable) as mistake:
        print(f"gpu_report: {mistake}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
