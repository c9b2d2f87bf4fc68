"""Importing minigrad never imports CuPy, and installing it never installs CuPy."""
import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_importing_minigrad_leaves_an_installed_cupy_alone(tmp_path):
    """A CuPy that cannot even be imported is noticed only by who asks for it, and then explained."""
    (tmp_path / "cupy.py").write_text("raise ImportError('libcuda.so.1: cannot open shared object file')")
    code = ("import sys, minigrad as mg\n"
            "assert 'cupy' not in sys.modules\n"
            "print(mg.backend.available()['cupy'])\n"
            "try: mg.use_backend('cupy')\n"
            "except mg.backend.BackendUnavailable as unavailable: print(unavailable)\n"
            "print(mg.ones(2).sum().item())")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    state, message, total = done.stdout.splitlines()
    assert state == "no usable GPU: ImportError: libcuda.so.1: cannot open shared object file"
    assert "installed but no GPU is usable" in message and "or use backend 'numpy'" in message and total == "2.0"


def test_only_the_extras_ask_for_cupy():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {name: [d for d in needs if "cupy" in d] for name, needs in project["optional-dependencies"].items()}
    assert not [d for d in project["dependencies"] if "cupy" in d]
    assert {name for name, found in asked.items() if found} == {"cuda12", "cuda13"}
    assert all("<15" in found[0] for found in asked.values() if found)      # attention calls a private function of CuPy 14
