"""The lessons: one folder each, with the exercises, their checks, and the wrong answers on which the checks are tested."""

import os

# Small products: a second thread costs more than it gives. Before NumPy is imported, because that is when it looks.
for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")
