"""`python -m notebooks.build [NN …] [--check]`: run the text sources and write the notebooks, or compare with them.

A notebook is made in one direction only: notebooks/src/NN_topic.py -> notebooks/NN_topic.ipynb. Two builds on one machine
are the same byte for byte: cells have fixed ids, nothing is timed, the metadata is fixed. --check builds again and
compares: sources exactly, printed numbers within 5 % (20 % in a cell marked `# about`, where training amplifies the last
bit; only the number of lines in one marked `# may differ`, where a model's words are printed), pictures by their pixels.
"""
from __future__ import annotations

import argparse
import base64
import io
import math
import os
import pathlib
import re
import sys
import time
from concurrent.futures import ProcessPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = HERE / "src"
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"}}
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE)


def build(source: pathlib.Path, write_figures: bool) -> tuple[str, str, float]:
    """(name, notebook as text, seconds) of one source, executed."""
    import jupytext
    import nbformat
    from nbclient import NotebookClient

    os.environ.update(MINIGRAD_LESSONS_IMPL="solution", PYDEVD_DISABLE_FILE_VALIDATION="1", PYTHONHASHSEED="0",
                      OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    if write_figures:
        os.environ["MINIGRAD_WRITE_FIGURES"] = "1"
    else:
        os.environ.pop("MINIGRAD_WRITE_FIGURES", None)
    start = time.perf_counter()
    notebook = jupytext.read(source)
    notebook.metadata = METADATA
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{i:02d}"
    NotebookClient(notebook, timeout=120, record_timing=False, coalesce_streams=True, kernel_name="python3",
                   resources={"metadata": {"path": str(HERE)}}).execute()
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    nbformat.validate(notebook)
    return source.stem, nbformat.writes(notebook) + "\n", time.perf_counter() - start


def difference(old: str, new: str) -> str | None:
    """What makes two notebooks different beyond the last digits, or None."""
    import json

    old_cells, new_cells = json.loads(old)["cells"], json.loads(new)["cells"]
    if [c["source"] for c in old_cells] != [c["source"] for c in new_cells]:
        return "the text source has changed"
    for number, (a, b) in enumerate(zip(old_cells, new_cells, strict=True)):
        mine, theirs = a.get("outputs", []), b.get("outputs", [])
        if len(mine) != len(theirs):
            return f"cell {number}: {len(mine)} outputs were committed, {len(theirs)} came"
        source = "".join(b["source"])
        rtol = math.inf if "# may differ" in source else 0.2 if "# about" in source else 0.05
        for x, y in zip(mine, theirs, strict=True):
            if problem := _output_difference(x, y, rtol):
                return f"cell {number}: {problem}"
    return None


def _output_difference(x: dict, y: dict, rtol: float) -> str | None:
    if x["output_type"] != y["output_type"]:
        return f"a {x['output_type']} was committed, a {y['output_type']} came"
    if x["output_type"] == "stream":
        return _text_difference("".join(x["text"]), "".join(y["text"]), rtol)
    data, other = x.get("data", {}), y.get("data", {})
    if set(data) != set(other):
        return f"kinds of output differ: {sorted(data)} and {sorted(other)}"
    for kind in data:
        if kind == "image/png":
            if x["metadata"].get(kind, {}).get("alt") != y["metadata"].get(kind, {}).get("alt"):
                return "the picture's alternative text has changed"
            if problem := _picture_difference(data[kind], other[kind]):
                return problem
        elif problem := _text_difference("".join(data[kind]), "".join(other[kind]), rtol):
            return problem
    return None


def _text_difference(a: str, b: str, rtol: float) -> str | None:
    if a == b or re.sub(r"0x[0-9a-f]+", "0x", a) == re.sub(r"0x[0-9a-f]+", "0x", b):
        return None
    if rtol == math.inf:
        lines = len(a.splitlines()), len(b.splitlines())
        return None if lines[0] == lines[1] else f"printed {lines[1]} lines where {lines[0]} were committed"
    if re.sub(r"\s+", " ", NUMBER.sub("#", a)) != re.sub(r"\s+", " ", NUMBER.sub("#", b)):
        return f"printed {b[:200]!r} where {a[:200]!r} was committed"
    for s, t in zip(NUMBER.findall(a), NUMBER.findall(b), strict=True):
        u, v = float(s.replace(",", "")), float(t.replace(",", ""))
        last_digit = 10.0 ** -max(_decimals(s), _decimals(t))
        if abs(u - v) > max(1e-5, rtol * max(abs(u), abs(v)) + 1.01 * last_digit):
            return f"printed {t} where {s} was committed (they may differ by {rtol:.0%})"
    return None


def _decimals(text: str) -> int:
    mantissa = text.lower().split("e")[0]
    return len(mantissa.split(".")[1]) if "." in mantissa else 0


def _picture_difference(a: str, b: str) -> str | None:
    if a == b:
        return None
    import matplotlib.image
    import numpy as np

    x, y = (matplotlib.image.imread(io.BytesIO(base64.b64decode(p))) for p in (a, b))
    if abs(x.shape[0] - y.shape[0]) > 8 or abs(x.shape[1] - y.shape[1]) > 8:
        return f"the picture is {y.shape[1]} × {y.shape[0]} pixels, the committed one {x.shape[1]} × {x.shape[0]}"
    h, w = min(x.shape[0], y.shape[0]), min(x.shape[1], y.shape[1])
    differing = float(np.mean(np.abs(x[:h, :w, :3] - y[:h, :w, :3]).max(axis=-1) > 0.25))
    return f"{differing:.1%} of the picture's pixels have changed" if differing > 0.05 else None


def main(argv=None) -> int:
    """Build or check; exit code 1 if a notebook is out of date or does not run."""
    parser = argparse.ArgumentParser(prog="python -m notebooks.build", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", metavar="NN", help="which (all)")
    parser.add_argument("--check", action="store_true", help="change nothing; compare with what is committed")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (2)")
    args = parser.parse_args(argv)
    sources = [s for s in sorted(SOURCES.glob("[0-9][0-9]_*.py")) if not args.numbers or s.stem[:2] in
               [n.zfill(2)[:2] for n in args.numbers]]
    if not sources:
        parser.error(f"no source in notebooks/src begins with {' or '.join(args.numbers)}")
    bad, begin = 0, time.perf_counter()
    with ProcessPoolExecutor(min(args.jobs, len(sources))) as pool:
        futures = [pool.submit(build, s, not args.check) for s in sources]
        for source, future in zip(sources, futures, strict=True):
            try:
                name, text, seconds = future.result()
            except Exception as error:
                bad += 1
                print(f"{source.stem}: does not run\n{error}", flush=True)
                continue
            path = HERE / f"{name}.ipynb"
            if args.check:
                problem = difference(path.read_text(encoding="utf-8"), text) if path.exists() else "is not committed"
                bad += problem is not None
                print(f"{name}: {problem or 'as committed'} ({seconds:.0f} s)", flush=True)
            else:
                temporary = path.with_suffix(".tmp")
                temporary.write_text(text, encoding="utf-8")
                temporary.replace(path)
                print(f"{name}: written ({seconds:.0f} s, {len(text) // 1024} kB)", flush=True)
    print(f"{len(sources)} notebooks, {bad} with problems, {time.perf_counter() - begin:.0f} s")
    if args.check and bad:
        print("write them again with: python -m notebooks.build")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
