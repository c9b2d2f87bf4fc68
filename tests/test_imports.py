"""The house rules on imports: one way only, array libraries only in their room, nothing loud or heavy at import."""
from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
LAYERS = ["backend", "autograd", "ops", "nn", "models", "peft", "tasks", "pretrained", "training", "experiments",
          "commands", "cli"]
HEIGHT = {room: i for i, room in enumerate(LAYERS)} | {side: LAYERS.index("nn") for side in ("optim", "amp", "quant")}
HOST_SIDE = {"backend", "tasks", "pretrained", "training", "experiments", "commands", "cli"}    # may import NumPy
SIDES = {"optim", "amp", "quant"}


def violations(path: str, source: str) -> list[str]:
    """What a file of the package (path relative to the root) imports that it must not."""
    parts = pathlib.PurePath(path).with_suffix("").parts
    if len(parts) < 2 or parts[1] == "__init__":
        return []                                   # minigrad/__init__.py gathers all rooms
    room, package, found = parts[1], list(parts[:-1]), []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[:len(package) - node.level + 1]) if node.level else ""
            module = ".".join(x for x in (base, node.module or "") if x)
            names = [f"{module}.{alias.name}" for alias in node.names]
        for name in names:
            top = name.split(".")[0]
            if top in ("cupy", "cupyx", "cupy_backends") and room != "backend":
                found.append(f"{path}:{node.lineno}: {top} outside backend/")
            if top == "numpy" and room not in HOST_SIDE:
                found.append(f"{path}:{node.lineno}: numpy in an engine room; use minigrad.backend.host")
            if top == "minigrad" and name.count("."):
                other = name.split(".")[1]
                if other in HEIGHT and other != room and (HEIGHT[other] > HEIGHT.get(room, len(LAYERS))
                                                          or {room, other} <= SIDES and room < other):
                    found.append(f"{path}:{node.lineno}: {room} imports upwards: {name}")
    return found


def package_files():
    return sorted((ROOT / "minigrad").rglob("*.py"))


def test_imports_go_one_way():
    found = [v for f in package_files() for v in violations(str(f.relative_to(ROOT)), f.read_text())]
    assert not found, "\n".join(found)


def test_every_room_has_its_place():
    rooms = {p.name if p.is_dir() else p.stem for p in (ROOT / "minigrad").iterdir()
             if (p.is_dir() and any(p.glob("*.py"))) or p.suffix == ".py"}
    assert rooms - {"__init__", "__pycache__"} <= set(HEIGHT), "a new room needs a place in LAYERS"


@pytest.mark.parametrize("path, source", [
    ("minigrad/autograd/tensor.py", "from minigrad.ops import exp"),
    ("minigrad/ops/shape.py", "from minigrad import nn"),
    ("minigrad/nn/linear.py", "import numpy as np"),
    ("minigrad/optim/adam.py", "from numpy import sqrt"),
    ("minigrad/training/fit.py", "import cupy"),
    ("minigrad/peft/lora.py", "def late():\n    from minigrad.training import fit"),
    ("minigrad/tasks/tsv.py", "from ..experiments import table"),
])
def test_the_rule_catches(path, source):
    assert violations(path, source)


@pytest.mark.parametrize("path, source", [
    ("minigrad/nn/linear.py", "from minigrad.autograd import Tensor\nfrom minigrad.backend import host"),
    ("minigrad/backend/numpy_backend.py", "import numpy as np"),
    ("minigrad/experiments/compare.py", "from minigrad import peft\nimport numpy"),
])
def test_the_rule_allows(path, source):
    assert not violations(path, source)


def test_importing_is_quiet_and_light():
    code = ("import sys, time; t = time.perf_counter(); import minigrad; s = time.perf_counter() - t; "
            "heavy = [m for m in ('cupy', 'torch', 'matplotlib', 'tqdm', 'safetensors', 'scipy') if m in sys.modules]; "
            "assert not heavy, heavy; assert s < 5, s")
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "" and done.stderr == "", done.stdout + done.stderr
