"""The three experiments, end to end on a tiny base model with two steps a run, as a user would call them."""
import json

import pytest

from minigrad.cli import main
from minigrad.experiments import compare as comparing
from minigrad.experiments import rank_sweep, rates, table, tradeoff
from tests.experiments.test_table import DESIGNED
from tests.training.tiny import save_tiny_base

# `minigrad.experiments.compare` names the function; its module is wanted as well.
module = __import__("sys").modules["minigrad.experiments.compare"]
METHODS = ("full", "topk", "adapter", "prefix", "lora")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(save_tiny_base(tmp_path_factory.mktemp("base"), n_layers=2))


def arguments(base, out, *more):
    return ["--base", base, "--examples", "8", "--epochs", "1", "--batch-size", "4", "--words", "12", "--seeds", "2",
            "--processes", "1", "--out", str(out), *more]


@pytest.fixture(scope="module")
def compared(base, tmp_path_factory):
    out = tmp_path_factory.mktemp("compare")
    assert main(["compare", *arguments(base, out, "--rounds", "2", "--adapters", str(out.parent / "kept"))]) == 0
    return out


def test_compare_writes_every_column(compared):
    assert (compared / "compare.csv").read_text().splitlines()[0].split(",") == DESIGNED
    rows = table.read_csv(compared / "compare.csv")
    assert [(row["method"], row["seed"]) for row in rows] == [(name, seed) for name in METHODS for seed in (0, 1)]
    empty = {"full": {"rank", "alpha"}, "topk": {"rank", "alpha"}, "lora": set(),
             "adapter": {"rank", "alpha", "latency1_merged_ms", "latency32_merged_ms"},
             "prefix": {"rank", "alpha", "latency1_merged_ms", "latency32_merged_ms"}}
    for row in rows:
        assert {column for column, value in row.items() if value is None} == empty[row["method"]], row["method"]
        assert row["steps"] == 2 and row["gradient_bytes"] == 4 * row["trainable"] == row["optimizer_bytes"] / 2
    assert {row["lr"] for row in rows if row["method"] == "lora"} == {rates.learning_rate("lora")}


def test_compare_says_what_it_did(compared):
    about = json.loads((compared / "compare.json").read_text())
    assert len(about["words_read"]) == module.SHOWN_WORDS and set(METHODS) <= set(about["words_read"][0])
    assert 0.05 < about["floor"]["share"] < 0.08 and "plain pronunciation" in about["floor"]["note"]
    for name in METHODS:
        assert name in about["alt"] and name in about["learning_rates"]
    assert about["settings"]["seeds"] == [0, 1] and about["base_model"]["seed"] == 0


@pytest.mark.parametrize("name", ["compare", "accuracy_vs_parameters"])
def test_pictures_have_csv_and_description_beside_them(compared, name):
    png = (compared / f"{name}.png").read_bytes()
    assert png.startswith(b"\x89PNG") and b"Description" in png
    assert json.loads((compared / f"{name}.json").read_text())["alt"]
    assert table.read_csv(compared / f"{name}.csv")


def test_nothing_unfinished_is_left(compared):
    assert {path.name for path in compared.iterdir()} == {
        f"{name}.{kind}" for name in ("compare", "accuracy_vs_parameters") for kind in ("csv", "json", "png")}
    assert sorted(path.name for path in (compared.parent / "kept").iterdir()) == sorted(METHODS)


def test_report_reads_well(compared, base, capsys):
    about = json.loads((compared / "compare.json").read_text())
    text = module.report(table.read_csv(compared / "compare.csv"), about)
    for needed in ("(base model)", "% of base", "Mind the floor", "activations", "merged", "right answer", "2 seeds"):
        assert needed in text


def test_an_interrupted_comparison_goes_on(base, tmp_path, monkeypatch, capsys):
    done, original = [], module.perform

    def stops_after_three(run, tick):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(run.name)
        return original(run, tick)

    command = ["compare", *arguments(base, tmp_path, "--methods", "lora,topk", "--rounds", "1")]
    monkeypatch.setattr(module, "perform", stops_after_three)
    assert main(command) == 130
    assert "after 3 of 5 runs" in capsys.readouterr().out
    assert not (tmp_path / "compare.csv").exists()
    assert main([*command, "--lr", "0.5"]) == 2     # other settings do not mix
    assert "--fresh" in capsys.readouterr().err
    monkeypatch.setattr(module, "perform", lambda run, tick: done.append(run.name) or original(run, tick))
    assert main(command) == 0
    assert "3 of 5 runs were done before" in capsys.readouterr().out
    assert len(done) == len(set(done)) == 5, "nothing is done twice"
    assert len(table.read_csv(tmp_path / "compare.csv")) == 4


def test_two_processes_give_the_same_numbers_as_one(base, tmp_path):
    options = {"methods": ("lora",), "seeds": (0, 1), "examples": 8, "epochs": 1, "batch_size": 4, "words": 12, "base": base,
               "rounds": 1, "progress": False, "say": lambda text: None}
    one = comparing(out=tmp_path / "one", processes=1, **options)
    two = comparing(out=tmp_path / "two", processes=2, **options)
    timed = ("step_ms", "latency1_ms", "latency32_ms", "latency1_merged_ms", "latency32_merged_ms")
    for a, b in zip(one, two, strict=True):
        assert {k: v for k, v in a.items() if k not in timed} == {k: v for k, v in b.items() if k not in timed}


def test_rank_sweep(base, compared, tmp_path):
    (tmp_path / "compare.csv").write_bytes((compared / "compare.csv").read_bytes())
    assert main(["rank-sweep", *arguments(base, tmp_path, "--ranks", "1,4,16")]) == 0
    rows = table.read_csv(tmp_path / "rank_vs_accuracy.csv")
    assert list(rows[0]) == DESIGNED
    assert [(row["method"], row["rank"]) for row in rows] == [("full", None)] * 2 + [("lora", r) for r in (1, 1, 4, 4, 16, 16)]
    assert all(row["alpha"] == 2 * row["rank"] for row in rows if row["rank"]) and len({r["lr"] for r in rows[2:]}) == 1
    both = table.read_csv(tmp_path / "accuracy_vs_parameters.csv")
    assert {row["method"] for row in both} == set(METHODS) and {row["rank"] for row in both} == {None, 1, 4, 8, 16}
    assert len([row for row in both if row["method"] == "full"]) == 2, "the same run is not shown twice"
    about = json.loads((tmp_path / "rank_vs_accuracy.json").read_text())
    assert "rank 16" in about["alt"] and about["settings"]["alpha/rank"] == 2


@pytest.mark.parametrize(("options", "message"), [
    (["--ranks", "32"], "16"), (["--targets", "q_projj"], "Did you mean 'q_proj'"), (["--ranks", "0"], "at least 1"),
    (["--ranks", "2,2"], "different values"), (["--ranks", "1", "--examples", "100000"], "adaptation words")])
def test_rank_sweep_refuses_what_cannot_work(base, tmp_path, options, message, capsys):
    assert main(["rank-sweep", *arguments(base, tmp_path), *options]) == 2
    assert message in capsys.readouterr().err


def test_lr_grid_chooses_on_validation_words(base, tmp_path, monkeypatch, capsys):
    file = tmp_path / "learning_rates.json"
    file.write_text('{"grids": [{"how": "by hand", "rates": {"lora": 1, "full": 2, "topk": 3}}]}')
    monkeypatch.setattr(rates, "FILE", file)
    splits, grid = set(), __import__("sys").modules["minigrad.experiments.lr_grid"]
    original = grid.perform
    monkeypatch.setattr(grid, "perform", lambda run, tick: splits.add(run.split) or original(run, tick))
    assert main(["experiments", "lr-grid", *arguments(base, tmp_path, "--methods", "lora,full", "--rates", "1e-3,2e-3",
                                                      "--adopt")]) == 0
    assert splits == {"validation"}
    rows = table.read_csv(tmp_path / "lr_grid.csv")
    assert len(rows) == 8 and set(rows[0]) == set(grid.COLUMNS)
    older, newest = json.loads(file.read_text())["grids"]
    assert older == {"how": "by hand", "rates": {"topk": 3}}, "what an older grid says of other methods stays"
    assert newest["rates"] == {row["method"]: row["lr"] for row in rows if row["chosen"]}
    assert "12 validation words of rhyme" in newest["how"] and f"({tmp_path}/lr_grid.csv)" in newest["how"]
    assert "end of the range" in capsys.readouterr().out


def test_best_rate_is_the_highest_mean_and_of_equals_the_fewest_errors():
    grid = __import__("sys").modules["minigrad.experiments.lr_grid"]
    rows = [{"method": "m", "lr": lr, "acc_validation": acc, "per_validation": per}
            for lr, acc, per in ((1, .1, .9), (1, .5, .9), (2, .3, .8), (2, .3, .7), (4, .3, .7), (4, .2, .1))]
    assert grid.choose(rows) == {"m": 2}


def test_one_seed_is_drawn_and_reported_without_an_interval(compared):
    rows = [row for row in table.read_csv(compared / "compare.csv") if row["seed"] == 0]
    about = json.loads((compared / "compare.json").read_text())
    gains = module.report(rows, about).partition("Mind the floor")[0]
    assert " ± " not in gains.partition("\n\n")[2]
    figure, alt = module.draw(rows, about["base_latency"])
    assert "nan" not in alt and figure.axes
    assert tradeoff.draw(rows)[0].axes


def test_unknown_names_from_python(base):
    with pytest.raises(ValueError, match="unknown method 'typo'"):
        comparing(methods=("typo",), lr=1e-3, base=base)
    with pytest.raises(ValueError, match="unknown task 'rime'.*Did you mean 'rhyme'"):
        rank_sweep(task="rime", base=base)
    with pytest.raises(ValueError, match="unknown base model"):
        rank_sweep(base="raeder")
