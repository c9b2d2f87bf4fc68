"""The README keeps its word: its code runs, its commands and files exist, its numbers are those of the CSVs."""
from __future__ import annotations

import csv
import json
import pathlib
import re
import shlex

import pytest

from minigrad import cli
from minigrad.commands.studies import STUDIES
from minigrad.tasks import base

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.S)


def blocks(language):
    return [text for kind, text in BLOCKS if kind == language]


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.split("\n")[0])
def test_python_runs(code, capsys, monkeypatch):
    monkeypatch.setattr(base, "_REGISTRY", dict(base._REGISTRY))       # a task registered here is gone afterwards
    exec(compile(code, "README.md", "exec"), {})
    if "training.fit" in code:
        said = capsys.readouterr().out
        assert "trainable params: 16,384" in said and 0.0 < float(said.split()[-1]) < 1.0


def test_commands_exist():
    lines = [line for block in blocks("bash") for line in block.splitlines()] + re.findall(r"`(minigrad [^`]+)`", README)
    commands = [shlex.split(part) for line in lines for part in line.split("&&") if "minigrad " in part + " "]
    named = {words[1] for words in (c[next(i for i, w in enumerate(c) if w.endswith("minigrad")):] for c in commands
                                    if any(w.endswith("minigrad") for w in c)) if len(words) > 1}
    assert {"compare", "finetune", "generate"} <= named
    for name in named - {"--help"}:
        assert cli.main([name, "--help"]) == 0, name


def test_files_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_table_is_the_csvs():
    """Every row of the results table: parameters and mean accuracy as in figures/compare.csv."""
    rows = list(csv.DictReader((ROOT / "figures/compare.csv").read_text().splitlines()))
    found = re.findall(r"^\| `(\w+)` \|[^|]*\| ([\d,]+) \| ([\d.]+) ± ([\d.]+) \|", README, flags=re.M)
    assert {name for name, *_ in found} == {row["method"] for row in rows}
    for name, trained, mean, _ in found:
        mine = [row for row in rows if row["method"] == name]
        assert int(trained.replace(",", "")) == int(mine[0]["trainable"])
        assert float(mean) == pytest.approx(100 * sum(float(row["acc"]) for row in mine) / len(mine), abs=0.051)

def test_the_findings_are_what_the_experiments_found():
    """Every row of the table of findings stands in the JSON beside its figure, and none of those is left out."""
    rows = re.findall(r"^\| \[`([a-z-]+)`\]\(([^)]+)\.png\) \| (.+?) \| (yes|no) \| (.+) \|$", README, flags=re.M)
    found = set()
    for path in {f"{path}.json" for _, path, *_ in rows}:
        about = json.loads((ROOT / path).read_text())
        assert shlex.split(about["command"])[:2] == ["minigrad", "experiments"]
        found |= {(shlex.split(about["command"])[2], path.removesuffix(".json"), f["claim"], "yes" if f["shows"] else "no",
                   f["evidence"]) for f in about["findings"]}
    assert found == set(rows)
    there = {path.stem for path in (ROOT / "figures").rglob("*.json")}
    assert {name for name, *_ in rows} == {name for name in STUDIES if name.replace("-", "_") in there}


def test_the_speeds_are_those_of_the_bench():
    """Every ratio of the section on speed stands in bench.csv, and what it calls missed is missed there."""
    rows = {(r["part"], r["size"], r["what"]): r for r in csv.DictReader((ROOT / "figures/bench/bench.csv").read_text().splitlines())}
    columns = [("step", "minigrad"), ("peer", "autograd"), ("peer", "mygrad"), ("saved bytes", "minigrad"),
               ("checkpoint bytes", "checkpointed"), ("checkpoint", "checkpointed"), ("method", "LoRA, rank 8, all linear"),
               ("method", "top-1")]
    found = re.findall(r"^\| (small|middle|large) \([^|]*\) \| (.+) \|$", README, flags=re.M)
    assert [size for size, _ in found] == ["small", "middle", "large"]
    for size, cells in found:
        for (part, what), cell in zip(columns, cells.split("|"), strict=True):
            if cell.strip():
                assert float(cell) == pytest.approx(float(rows[part, size, what]["ratio"]), abs=0.0051), (size, part, what)
        assert rows["step", size, "minigrad"]["reached"] == "False"
    said = re.search(r"takes ([\d.]+) times PyTorch's time \(LoRA ([\d.]+), adapter ([\d.]+), prefix ([\d.]+)\)", README)
    for what, number in zip(("base", "LoRA", "adapter", "prefix"), said.groups(), strict=True):
        row = rows["generation", "64 tokens", what]
        assert float(number) == pytest.approx(float(row["ratio"]), abs=0.0051) and row["reached"] == "True"
    said = re.search(r"take NumPy's BLAS ([\d.]+) times as long as PyTorch's, those of a large step ([\d.]+) times", README)
    for size, number in zip(("middle", "large"), said.groups(), strict=True):
        ways = [float(r["ratio"]) for (part, of, _), r in rows.items() if (part, of) == ("products", size)]
        assert float(number) == pytest.approx(min(ways), abs=0.0051)
    twice = float(re.search(r"twice the tokens take ([\d.]+) times", README)[1])
    assert twice == pytest.approx(float(next(r for (_, _, what), r in rows.items() if what == "twice the tokens")["ratio"]), abs=0.0051)
