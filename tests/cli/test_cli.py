"""The command line: help that reads well, mistakes that explain themselves, exit codes that can be relied on."""
import json
import re
import subprocess
import sys

import pytest

from minigrad import cli, pretrained
from minigrad.cli import main
from tests.training.tiny import save_tiny_base

COMMANDS = ["compare", "rank-sweep", "experiments", "finetune", "generate", "merge", "pretrain", "methods", "memory", "info",
            "bench"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(save_tiny_base(tmp_path_factory.mktemp("base"), n_layers=2))


@pytest.fixture(scope="module")
def plurals(tmp_path_factory):
    path = tmp_path_factory.mktemp("task") / "plurals.tsv"
    path.write_text("".join(f"{word}\t{' '.join(word.upper())} ZZ\n" for word in
                            ("cat", "dog", "cow", "hen", "pig", "rat", "bat", "owl", "fox", "ant", "bee", "emu")).replace(
        "Z ZZ", "ZZ").translate(str.maketrans("ABCDEFGHIJKLMNOPQRTUVWXY", "KKKKKKKKKKKKKKKKKKKKKKKK")))
    return str(path)


def run(*argv):
    return main([str(arg) for arg in argv])


def test_no_arguments_show_where_to_start(capsys):
    assert run() == 0
    out = capsys.readouterr().out
    assert "start here" in out and all(f"\n    {command}" in out for command in COMMANDS)


@pytest.mark.parametrize("command", [[c] for c in COMMANDS] + [["experiments", "lr-grid"]], ids=" ".join)
def test_every_command_explains_itself(command, capsys):
    assert run(*command, "--help") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: minigrad {' '.join(command)}") and len(out.splitlines()) > 4
    assert max(map(len, out.splitlines())) <= 120


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("minigrad 0.")


@pytest.mark.parametrize(("argv", "needed"), [
    (["comapre"], ["unknown command 'comapre'", "Did you mean 'compare'?"]),
    (["compare", "--methods", "lora,typo"], ["unknown method 'typo'", "full, topk", "prefix", "lora"]),
    (["compare", "--methods", "lorra"], ["Did you mean 'lora'?"]),
    (["compare", "--methods", "lora,lora"], ["different values"]),
    (["compare", "--task", "ryhme"], ["unknown task 'ryhme'", "accent, pronounce, rhyme", "Did you mean 'rhyme'?"]),
    (["compare", "--task", "missing.tsv"], ["missing.tsv"]),
    (["compare", "--seeds", "0"], ["--seeds", "whole number of at least 1", "'0'"]),
    (["compare", "--lr", "nan"], ["--lr", "finite number above 0"]),
    (["compare", "--backend", "numppy"], ["unknown backend 'numppy'", "Did you mean 'numpy'?"]),
    (["compare", "--base", "raeder"], ["unknown base model 'raeder'"]),
    (["compare", "--base", "nowhere/x.safetensors"], ["no such file"]),
    (["compare", "--base", "BASE", "--examples", "99999"], ["adaptation words"]),
    (["compare", "--nonsense"], ["unrecognized arguments: --nonsense", "minigrad compare --help"]),
    (["finetune", "--base", "BASE"], ["--task"]),
    (["finetune", "--base", "BASE", "--task", "rhyme", "--set", "rank"], ["KEY=VALUE"]),
    (["finetune", "--base", "BASE", "--task", "rhyme", "--set", "rnak=2"], ["'rnak'", "Did you mean 'rank'?"]),
    (["finetune", "--base", "BASE", "--task", "rhyme", "--set", "rank=999"], ["rank 999 is too large"]),
    (["finetune", "--base", "BASE", "--task", "rhyme", "--set", "targets=nothing"], ["'nothing' matches no linear layer"]),
    (["finetune", "--base", "BASE", "--task", "rhyme", "--method", "topk", "--set", "k=7"], ["k=7", "2 blocks"]),
    (["generate", "--base", "BASE", "na1ve"], ["letters a-z"]),
    (["generate", "--base", "BASE", "a" * 70], ["72 tokens", "room for 64"]),
    (["generate", "--base", "BASE", "cat", "--adapter", "no/where"], ["no file", "adapter"]),
    (["merge", "--base", "BASE", "no/where", "--out", "m.safetensors"], ["no file"]),
    (["merge", "--base", "BASE", "no/where", "--out", "m.txt"], [".safetensors"]),
    (["pretrain", "--epochs", "x"], ["--epochs", "'x'"]),
    (["pretrain", "--d-model", "10", "--heads", "4", "--words", "10"], ["d_model=10 cannot be split"]),
    (["methods", "lorra"], ["Did you mean 'lora'?"]),
    (["experiments", "lr-gird"], ["lr-grid"]),
], ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else None)
def test_a_mistake_is_told_with_what_to_do(argv, needed, base, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*[base if arg == "BASE" else arg for arg in argv]) == 2
    err = capsys.readouterr().err
    for text in needed:
        assert text in err, err
    assert "Traceback" not in err and err.startswith("minigrad")
    assert not list(tmp_path.rglob("*.csv"))


def test_a_real_process_prints_no_traceback(tmp_path):
    done = subprocess.run([sys.executable, "-m", "minigrad.cli", "compare", "--methods", "lora,typo"], capture_output=True,
                          text=True)
    assert done.returncode == 2 and not done.stdout
    assert "Traceback" not in done.stderr and "unknown method 'typo'" in done.stderr and len(done.stderr.splitlines()) <= 3


def test_cupy_without_a_gpu_is_refused_with_the_reason(base, capsys):
    from minigrad import backend

    if backend.available()["cupy"] == "usable":
        pytest.skip("CuPy is usable here")
    assert run("generate", "--base", base, "cat", "--backend", "cupy") == 2
    err = capsys.readouterr().err
    assert "cupy" in err and "numpy" in err and "Traceback" not in err


def test_our_own_bugs_are_not_dressed_as_the_users(monkeypatch, base):
    from minigrad import training

    def broken(*args, **kwargs):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(training, "predict", broken)
    with pytest.raises(ZeroDivisionError):
        run("generate", "--base", base, "cat")


def test_ctrl_c_is_130(monkeypatch, base, capsys):
    from minigrad import training

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "predict", interrupted)
    assert run("generate", "--base", base, "cat") == 130
    assert "interrupted" in capsys.readouterr().err


def test_generate_reads_arguments_and_lines(base, capsys, monkeypatch):
    assert run("generate", "--base", base, "Cat", "shoe") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["cat", "shoe"]
    monkeypatch.setattr("sys.stdin", iter(["cat\n", "\n", "shoe\n"]))
    assert run("generate", "--base", base) == 0
    assert capsys.readouterr().out.splitlines() == lines
    monkeypatch.setattr("sys.stdin", iter([]))
    assert run("generate", "--base", base) == 2


def test_generate_draws_by_its_seed(base, capsys):
    outputs = []
    for seed in (0, 0, 1):
        assert run("generate", "--base", base, "cat", "shoe", "--temperature", "1.5", "--seed", seed) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]


def test_own_task_to_adapter_to_model(base, plurals, tmp_path, capsys):
    adapter, model = tmp_path / "adapter", tmp_path / "model.safetensors"
    assert run("finetune", "--base", base, "--task", plurals, "--set", "rank=4", "--set", "targets=all-linear", "--epochs", 2,
               "--batch-size", 4, "--lr", "1e-2", "--out", adapter) == 0
    out = capsys.readouterr().out
    assert "never written: ZZ" in out and "rank=4" in out and "test word" in out
    notes = json.loads((adapter / "finetune.json").read_text())
    assert notes["steps"] == notes["steps done"] == 6 and 0 <= notes["exact_match after"] <= 1
    assert run("generate", "--base", base, "--adapter", adapter, "cat", "owl") == 0
    read = capsys.readouterr().out
    assert run("merge", "--base", base, adapter, "--out", model) == 0
    assert pretrained.load(model)[1].to_dict() == json.loads((adapter / "tokenizer.json").read_text())
    capsys.readouterr()
    assert run("generate", "--base", model, "cat", "owl") == 0
    assert capsys.readouterr().out == read


def test_what_cannot_be_merged_says_why(base, plurals, tmp_path, capsys):
    assert run("finetune", "--base", base, "--task", plurals, "--method", "adapter", "--epochs", 1, "--out", tmp_path) == 0
    assert run("merge", "--base", base, tmp_path, "--out", tmp_path / "m.safetensors") == 2
    assert "cannot be merged: a nonlinearity" in capsys.readouterr().err


def test_an_adapter_of_another_base_is_refused(base, plurals, tmp_path, capsys):
    assert run("finetune", "--base", base, "--task", plurals, "--epochs", 1, "--out", tmp_path / "a") == 0
    other = str(save_tiny_base(tmp_path, n_layers=1))
    capsys.readouterr()
    assert run("generate", "--base", other, "--adapter", tmp_path / "a", "cat") == 2
    assert "another base model" in capsys.readouterr().err


def test_an_interrupted_finetune_leaves_an_adapter(base, plurals, tmp_path, monkeypatch, capsys):
    from minigrad.training import Trainer

    step, calls = Trainer.step, []

    def interrupted(self, batch):
        import os
        import signal

        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch)

    monkeypatch.setattr(Trainer, "step", interrupted)
    assert run("finetune", "--base", base, "--task", plurals, "--batch-size", 2, "--out", tmp_path) == 130
    assert "interrupted at step 2" in capsys.readouterr().out
    assert run("generate", "--base", base, "--adapter", tmp_path, "cat") == 0


def test_a_loss_that_is_not_finite_is_told(base, plurals, tmp_path, capsys):
    assert run("finetune", "--base", base, "--task", plurals, "--method", "full", "--lr", "1e30", "--epochs", 5,
               "--batch-size", 2, "--out", tmp_path) == 2
    assert "must be finite" in capsys.readouterr().err


def test_damaged_files_are_named(base, tmp_path, capsys):
    path = save_tiny_base(tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    assert run("generate", "--base", path, "cat") == 2
    assert "is not the file that tiny.json" in capsys.readouterr().err
    path.with_suffix(".json").write_text("{")
    assert run("generate", "--base", path, "cat") == 2
    assert "not a readable JSON file" in capsys.readouterr().err
    path.with_suffix(".json").write_text("{}")
    assert run("generate", "--base", path, "cat") == 2
    assert "lacks config, tokenizer, sha256" in capsys.readouterr().err


def test_methods_are_the_registrys(capsys):
    from minigrad import peft

    assert run("methods") == 0
    out = capsys.readouterr().out
    assert all(name in out and cls.formula in out for name, cls in peft.methods().items())
    assert run("methods", "lora") == 0
    assert "W₀x" in capsys.readouterr().out


def test_the_page_of_methods_is_the_registrys(capsys):
    from pathlib import Path

    room = Path(__file__).parents[2] / "minigrad/peft"
    assert run("methods", "--markdown") == 0
    page = (room / "README.md").read_text(encoding="utf-8")
    assert page == capsys.readouterr().out, "run `minigrad methods --markdown > minigrad/peft/README.md`"
    for link in re.findall(r"\]\((\w+\.py)\)", page):
        assert (room / link).is_file(), link


def test_memory_tells_every_part(base, capsys):
    assert run("memory", "--base", base, "--methods", "full,lora", "--batch-size", 4) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("weights", "activations", "gradients", "optimizer", "full", "lora"))


def test_info_tells_versions_and_backends(capsys):
    assert run("info") == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("Python", "NumPy", "linear algebra", "backend numpy", "usable", "backend cupy"))


def test_bench_without_pytorch_says_so(monkeypatch, capsys):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "torch" else find(name, *a))
    assert run("bench", "--batch-size", 2, "--tokens", 4, "--rounds", 1) == 0
    assert "PyTorch is not installed" in capsys.readouterr().out


@pytest.mark.oracle
def test_bench_compares_like_with_like(tmp_path, capsys):
    pytest.importorskip("torch")
    assert run("bench", "--batch-size", 4, "--tokens", 8, "--rounds", 3, "--out", tmp_path) == 0
    result = json.loads((tmp_path / "bench.json").read_text())
    assert result["loss_difference"] < 1e-4 and result["ratio"] > 0


def test_importing_the_command_line_is_light():
    code = ("import sys; import minigrad.cli; minigrad.cli.build_parser(); "
            "print([m for m in ('matplotlib', 'torch', 'tqdm', 'safetensors') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_file_of_commands_is_used():
    """Each adds commands of its own; common and studies are used by the others."""
    import pathlib

    files = {path.stem for path in pathlib.Path(cli.__file__).parent.joinpath("commands").glob("*.py")}
    assert files - {"__init__", "common", "studies"} == {module.__name__.rpartition(".")[2] for module in cli.FILES}
