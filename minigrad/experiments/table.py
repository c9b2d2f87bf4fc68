"""Tables in files and on the screen: one writer turns an experiment's rows into NAME.csv, NAME.png and NAME.json."""
from __future__ import annotations

import csv
import io
import math
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from minigrad.pretrained import write_atomically, write_json

# One row per task × method × seed; DESIGN's columns, which lessons and notebooks read by name.
COLUMNS = ("task", "method", "rank", "alpha", "lr", "seed", "steps", "trainable", "percent", "acc_base", "acc", "per_base",
           "per", "step_ms", "activation_bytes", "gradient_bytes", "optimizer_bytes", "stored_bytes", "latency1_ms",
           "latency1_merged_ms", "latency32_ms", "latency32_merged_ms")


def to_csv(rows, columns=COLUMNS) -> str:
    """Rows (dicts) as CSV text; None and missing values are empty cells, floats have 6 digits.

    >>> print(to_csv([{"a": 1, "b": 0.123456789}, {"a": None}], ("a", "b")), end="")
    a,b
    1,0.123457
    ,
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    return text.getvalue()


def _cell(value):
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def read_csv(path) -> list[dict]:
    """The rows of a CSV file, numbers as numbers and empty cells as None. Raises ValueError naming a broken line."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows:
        raise ValueError(f"{path} is empty; needed a line of column names and one line per run")
    header = rows[0]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise ValueError(f"{path}:{number}: {len(row)} cells, but the first line names {len(header)} columns")
    return [{name: _value(cell) for name, cell in zip(header, row, strict=True)} for row in rows[1:]]


def _value(cell: str):
    if cell == "":
        return None
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def write(name: str, out, rows, *, columns=COLUMNS, figure=None, alt: str = "", about: dict | None = None) -> list[Path]:
    """Write NAME.csv, NAME.json (about, alt text, versions, machine, commit) and, with a figure, NAME.png; atomically.

    The CSV is written last: who finds it finds all three.
    """
    out = Path(out)
    written = []
    if figure is not None:
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=150, metadata={"Title": name, "Description": alt})
        written.append(write_atomically(out / f"{name}.png", image.getvalue()))
    written.append(write_json(out / f"{name}.json", {"alt": alt, **(about or {}), **surroundings()}))
    written.append(write_atomically(out / f"{name}.csv", to_csv(rows, columns)))
    return written


def surroundings() -> dict:
    """What a number depends on besides the code: commit, versions, machine, date."""
    import numpy

    import minigrad

    return {"commit": _commit(), "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), "minigrad": minigrad.__version__,
            "python": platform.python_version(), "numpy": numpy.__version__, "blas": blas(),
            "machine": f"{platform.system()} {platform.machine()}, {cpu_name()}, {cpu_count()} cores"}


def blas() -> str:
    """The linear-algebra library and its threads, in words."""
    import threadpoolctl

    found = [f"{lib['internal_api']} {lib['version']} ({lib['num_threads']} threads)"
             for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"]
    return ", ".join(found) or "unknown"


def cpu_count() -> int:
    """Cores that this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        for line in Path("/proc", "cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        return platform.processor() or "unknown processor"
    return platform.processor() or "unknown processor"


def _commit() -> str | None:
    """The checkout's commit, with "+" when files have changed since; None for an installed package."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], cwd=here, capture_output=True,
                                 text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


# ---- on the screen --------------------------------------------------------------------------------------------------------

def text_table(header, rows, *, left=1) -> str:
    """A table as text: the first `left` columns flush left, the others flush right.

    >>> print(text_table(["method", "acc"], [["lora", "12.5"], ["full", "9.1"]]))
    method   acc
    ------  ----
    lora    12.5
    full     9.1
    """
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["  ".join(row[i].ljust(w) if i < left else row[i].rjust(w) for i, w in enumerate(widths)) for row in cells]
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(line.rstrip() for line in lines)


def bytes_text(n) -> str:
    """A number of bytes with a unit that fits.

    >>> bytes_text(1234), bytes_text(3_294_336), bytes_text(None)
    ('1.2 KB', '3.3 MB', '')
    """
    if n is None:
        return ""
    for unit in ("B", "KB", "MB", "GB"):
        if n < 1000 or unit == "GB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return ""
