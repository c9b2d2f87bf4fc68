"""`minigrad memory` as a calculator: the numbers people look for come out as typed here."""
import pytest

from minigrad.cli import main


def output(capsys, *argv):
    assert main(["memory", *argv]) == 0
    return capsys.readouterr().out


def last_column(text):
    return [line.split("  ")[-1].strip() for line in text.splitlines() if line.startswith(("full", "lora", "qlora"))]


def test_the_course_s_four_numbers(capsys):
    out = output(capsys, "--params", "7.5e9", "--method", "full", "--zero", "0..3", "--gpus", "64")
    assert last_column(out) == ["120 GB", "31.41 GB", "16.64 GB", "1.875 GB"]
    assert last_column(output(capsys, "--params", "7.5B", "--zero", "1,3", "--gpus", "64,1024")) == [
        "31.41 GB", "1.875 GB", "30.09 GB", "117.2 MB"]


def test_lora_and_qlora(capsys):
    out = output(capsys, "--model", "gpt3-175b", "--method", "full,lora", "--rank", "8")
    assert "37,748,736" in out and last_column(out) == ["2800 GB", "350.6 GB"] and "3.36e+18" in out
    assert "4,194,304" in output(capsys, "--params", "6.738e9", "--layers", "32", "--d-model", "4096", "--methods", "lora")
    assert last_column(output(capsys, "--model", "llama-65b", "--method", "qlora", "--trained", "0.001"))[0] == "33.53 GB"
    assert last_column(output(capsys, "--params", "65B", "--scheme", "16bit"))[0] == "780 GB"


def test_tables(capsys):
    assert "16 bytes per parameter" in output(capsys, "--table", "zero")
    out = output(capsys, "--table", "gpt3")
    assert "3.36e+18" in out and "174.604B" in out and "5,140" in out
    assert "524,288" in output(capsys, "--table", "kv") and "bf16-kahan" in output(capsys, "--table", "schemes")
    assert "smollm2-135m" in output(capsys, "--model", "?")


@pytest.mark.parametrize(("argv", "needed"), [
    (["--params", "7B", "--method", "lora"], ["--layers", "--d-model", "--trained"]),
    (["--params", "seven"], ["--params", "finite number above 0"]),
    (["--params", "7B", "--zero", "4"], ["0, 1, 2 and 3"]),
    (["--params", "7B", "--zero", "3..1"], ["0, 1, 2 and 3"]),
    (["--params", "7B", "--scheme", "mixd"], ["unknown scheme", "mixed"]),
    (["--params", "7B", "--method", "full", "--trained", "5"], ["full trains all"]),
    (["--model", "gpt5"], ["unknown model", "gpt3-175b"]),
    (["--zero", "1"], ["--params or --model"]),
    (["--methods", "qlora"], ["not measured"]),
    (["--params", "7B", "--method", "lorra"], ["Did you mean 'lora'?"]),
], ids=lambda v: " ".join(v)[:40])
def test_mistakes_are_told(argv, needed, capsys):
    assert main(["memory", *argv]) == 2
    err = capsys.readouterr().err
    assert all(text in err for text in needed) and "Traceback" not in err
