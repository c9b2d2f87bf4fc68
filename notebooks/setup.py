"""What every notebook begins with: `lesson = start("03")` sets seeds, threads and the figures' style, and prints nothing."""
from __future__ import annotations

import csv
import io
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIGURES = ROOT / "figures" / "lessons"
# Okabe and Ito's palette: told apart by every kind of color vision. With a marker and a dash each, also in gray.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
LINES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1))]


class Notebook:
    """One lesson inside a notebook: `ex`, the functions of its exercises, and `show`, the way to a figure."""

    def __init__(self, number: str):
        self.number = number

    @property
    def ex(self):
        """Your functions where they are finished, the solution's for the rest."""
        from lessons.mine import finished
        from lessons.source import find, from_source, load

        lesson = find(self.number)
        mine = lesson.path("exercises.py")
        if os.environ.get("MINIGRAD_LESSONS_IMPL") == "solution" or not mine.exists():
            return load(lesson.path("solution.py"))
        solution = from_source(lesson.solution, str(lesson.path("solution.py")))
        yours, done = finished(lesson)
        for e in lesson.exercises:
            if e.id in done:
                name = e.name.split(".")[0]
                setattr(solution, name, getattr(yours, name))
        return solution

    def show(self, figure, alt: str, name: str | None = None, data=None) -> None:
        """Show a figure with its alternative text; with a name, figures/lessons/ keeps it and the data it was drawn from.

        data: {column: values} or a list of {column: value}. Files are written when notebooks are built, not when read.
        """
        from IPython.display import Image, display

        if not alt or len(alt) < 20:
            raise ValueError(f"show(figure, alt=…) needs a sentence that says what the picture shows; got {alt!r}")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
        import matplotlib.pyplot as plt

        plt.close(figure)
        png = buffer.getvalue()
        if name and os.environ.get("MINIGRAD_WRITE_FIGURES"):
            FIGURES.mkdir(parents=True, exist_ok=True)
            (FIGURES / f"{name}.png").write_bytes(png)
            if data is None:
                raise ValueError(f"show(…, name={name!r}) needs data=, the numbers that the figure was drawn from")
            _write_csv(FIGURES / f"{name}.csv", data)
        display(Image(data=png, alt=alt))


def start(number: str) -> Notebook:
    """Make a notebook ready: one BLAS thread, seeds, the figures' style, the repository on the path."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    from cycler import cycler

    import minigrad as mg

    mg.set_num_threads(1)
    mg.manual_seed(0)
    np.random.seed(0)
    np.set_printoptions(precision=4, suppress=True, linewidth=100)
    plt.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "figure.figsize": (7, 4),
                         "axes.prop_cycle": cycler(color=COLORS) + cycler(marker=MARKERS) + cycler(linestyle=LINES),
                         "lines.markersize": 5, "image.cmap": "cividis", "axes.titlesize": 12})
    return Notebook(number)


def _write_csv(path: pathlib.Path, data) -> None:
    if isinstance(data, dict):
        data = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(data[0]))
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in data)
