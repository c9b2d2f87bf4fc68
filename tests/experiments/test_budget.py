"""Matched budgets for every method of the registry, and for one that enters it tomorrow; the rate that it then gets."""
import json
from dataclasses import dataclass

import pytest

from minigrad import peft, tasks
from minigrad.cli import main
from minigrad.experiments import budget, families, rates, table
from minigrad.experiments.adaptation import make_method
from tests.training.tiny import save_tiny_base, tiny_model

MODEL = tiny_model(n_layers=2)                      # d = 16, context 64


@pytest.mark.parametrize("name", budget.trainable_alone())
@pytest.mark.parametrize("wanted", [300, 2000])
def test_no_other_size_is_nearer(name, wanted):
    f = budget.fit(name, MODEL, wanted, room=40)
    method = make_method(name, **f.hyper)
    adapted = peft.apply(MODEL, method)
    assert sum(p.size for p in adapted.trainable_parameters()) == f.count == method.count(MODEL.config)
    assert adapted.position_shift == 0 or MODEL.config.context - adapted.position_shift >= 40
    word, hyper = budget._size(name, MODEL.config)
    if word is None:
        assert f.size == "as it is"
        return
    n = int(f.size.split()[-1])
    for other in (n - 1, n + 1):
        try:
            neighbor = peft.create(name, **hyper(other))
            count = neighbor.count(MODEL.config)
            shift = peft.apply(MODEL, neighbor).position_shift
        except ValueError:                          # not a size of this method on this model
            continue
        if (shift and MODEL.config.context - shift < 40) or (word == "rank" and other > MODEL.config.d_model):
            continue
        assert abs(count - wanted) >= abs(f.count - wanted), f"{word} {other} would be nearer"


def test_lora_keeps_its_factor():
    f = budget.fit("lora", MODEL, 256)
    assert f.hyper["alpha"] / f.hyper["rank"] == 2 and f.count == 256


def test_what_the_longest_word_needs_is_left_free():
    fitted = budget.fit_all(["prompt", "lora"], MODEL, 16 * 60, tasks.get("rhyme"))
    assert fitted["prompt"].count == 16 * 24, "64 places, of which the longest word takes 40"
    said = budget.explain(fitted | budget.fit_all(["bitfit"], MODEL, 960, tasks.get("rhyme")), 960)
    assert "prompt length 24 (384)" in said and "cannot be chosen: bitfit" in said


@pytest.fixture
def newcomer(monkeypatch):
    """A method that was registered after all grids had been run."""
    known = dict(peft.methods())

    @dataclass(frozen=True)
    class Tomorrow(peft.LoRA):
        name = "tomorrow"

    @dataclass(frozen=True)
    class Stranger(peft.BitFit):
        name = "stranger"

    monkeypatch.setattr("minigrad.peft.registry._METHODS", {**known, "tomorrow": Tomorrow, "stranger": Stranger})


def test_a_new_method_joins_by_itself(newcomer):
    assert {"tomorrow", "stranger"} <= set(budget.trainable_alone())
    assert budget.fit("tomorrow", MODEL, 256) == budget.Fitted("tomorrow", {"rank": 2, "alpha": 4}, 256, "rank 2")
    rate, how = rates.chosen("tomorrow")
    assert rate == rates.learning_rate("lora") and "nearest relative, lora" in how
    assert rates.learning_rate("stranger") > 0
    assert families.family("tomorrow") == "LoRA" and families.family("stranger").startswith("subsets")


def test_every_method_has_a_rate():
    for name in peft.methods():
        assert 0 < rates.learning_rate(name) < 10, name


def test_all_methods_are_compared_at_matched_sizes(newcomer, tmp_path, monkeypatch, capsys):
    base = str(save_tiny_base(tmp_path, n_layers=2))
    monkeypatch.setattr(budget, "trainable_alone", lambda: ["prompt", "lora", "tomorrow"])
    assert main(["compare", "--methods", "all", "--budget", "128", "--base", base, "--examples", "8", "--epochs", "1",
                 "--batch-size", "4", "--words", "4", "--seeds", "1", "--rounds", "1", "--processes", "1", "--out",
                 str(tmp_path / "out")]) == 0
    rows = table.read_csv(tmp_path / "out/compare.csv")
    assert [(row["method"], row["trainable"]) for row in rows] == [("prompt", 128), ("lora", 128), ("tomorrow", 128)]
    about = json.loads((tmp_path / "out/compare.json").read_text())
    assert about["budget"] == 128 and about["sizes"]["lora"] == {"size": "rank 1", "trainable": 128}
    assert any("nearest relative, lora" in how for how in about["learning_rates"]["from"])
    out = capsys.readouterr().out
    assert "sizes nearest to 128 trained parameters: prompt length 8 (128), lora rank 1 (128)" in out


def test_many_methods_are_drawn_in_panels():
    names = ["full", "bitfit", "layernorm", "adapter", "adapter_lin", "adapter_pfeiffer", "parallel", "prefix", "prompt", "lora", "vera"]
    rows = [{"task": "rhyme", "method": name, "seed": s, "trainable": 10 * (i + 1), "acc_base": .1, "acc": .2 + .01 * s}
            for i, name in enumerate(names) for s in range(2)]
    figure, alt = families.draw(rows)
    assert [ax.get_title(loc="left") for ax in figure.axes if ax.get_visible()] == list(families.FAMILIES)
    assert all(name in alt for name in names)


def test_in_a_panel_no_two_methods_look_alike():
    members = {}
    for name in peft.methods():
        members.setdefault(families.family(name), []).append(name)
    assert len(set(families.LOOKS)) == len(families.LOOKS) >= max(map(len, members.values())), members
