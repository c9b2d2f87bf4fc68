"""A learner's path, as the README tells it: from the stub over a wrong answer to a right one, in a process of its own."""
from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

from lessons import source

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
STORY = README.split("## The lessons")[1].split("\n## ")[0]
STUB = re.compile(r"    # TODO 15\.4.*\n    raise NotImplementedError.*\n")


def pytest_says(file: pathlib.Path, *options: str):
    """(exit code, output) of pytest on exercise 15.4 of this file."""
    command = [sys.executable, "-m", "pytest", "lessons/15_lora", "-k", "15.4", "--impl", str(file), "-p", "no:cacheprovider",
               "-p", "no:xdist", *options]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"})
    assert not result.stderr
    return result.returncode, result.stdout.replace(os.path.relpath(file, ROOT), "lessons/15_lora/exercises.py")


def test_the_readmes_path_from_stub_to_done(tmp_path):
    stubs = source.find("15").stubs
    answers = [None, *re.findall(r"`(return .*?)`", STORY)]
    told = re.findall(r"```text\n(.*?)```", STORY, flags=re.S)
    assert len(answers) == len(told) == 3
    codes = []
    for answer, text in zip(answers, told, strict=True):
        file = tmp_path / "mine.py"
        file.write_text(stubs if answer is None else STUB.sub(f"    {answer}\n", stubs), encoding="utf-8")
        code, said = pytest_says(file)
        codes.append(code)
        for line in text.splitlines():
            assert line in said.splitlines(), f"{line}\n--- is not in ---\n{said}"
    assert codes == [1, 1, 0]


def test_a_hint_a_syntax_error_and_code_below_the_raise(tmp_path):
    stubs, file = source.find("15").stubs, tmp_path / "mine.py"
    file.write_text(STUB.sub("    return W + B @ A\n", stubs), encoding="utf-8")
    assert "hint: Which matrix M has" in pytest_says(file, "--hints")[1]
    file.write_text(STUB.sub("    return W +\n", stubs), encoding="utf-8")
    code, said = pytest_says(file)
    assert code == 1 and re.search(r"exercises\.py:\d+: invalid syntax: return W \+", said)
    file.write_text(STUB.sub(lambda m: m[0] + "    return W\n", stubs), encoding="utf-8")
    assert "delete that line so that yours runs" in pytest_says(file)[1]
