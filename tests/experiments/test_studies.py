"""The experiments on the course's findings: each end to end on a tiny base, and each finding in both directions."""
import json
from pathlib import Path

import numpy as np
import pytest

from minigrad.cli import main
from minigrad.commands.studies import STUDIES
from minigrad.experiments import costs, intrinsic, latency, low_data, rank_targets, stability, subspace, table
from minigrad.experiments import methods as all_methods
from minigrad.experiments import targets as choice
from minigrad.experiments.study import Finding, above, difference
from tests.training.tiny import save_tiny_base

FIGURES = Path(__file__).parents[2] / "figures"
QUIET = {"progress": False, "say": lambda text: None}
TINY = {"examples": 8, "epochs": 1, "batch_size": 4, "words": 4, "seeds": (0, 1)}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(save_tiny_base(tmp_path_factory.mktemp("base"), n_layers=2))


def rows_of(key, scores, column="acc", **more):
    """Rows of a table from {value of the key column: scores of the seeds}."""
    return [{key: name, "seed": seed, column: value, **more} for name, values in scores.items()
            for seed, value in enumerate(values)]


# ---- every experiment runs, and its files say the same -------------------------------------------------------------------

SMALL = {
    "targets": (choice.targets, {"choices": (("q_proj",), ("k_proj",), ("v_proj",), ("o_proj",), ("q_proj", "v_proj"))}, 10),
    "rank_targets": (rank_targets.rank_targets, {"ranks": (1, 4), "choices": (("q_proj",), ("q_proj", "v_proj"))}, 8),
    "low_data": (low_data.low_data, {"amounts": (4, 8), "steps": 2}, 16),
    "stability": (stability.stability, {"lengths": (1, 2), "ranks": (1, 2)}, 8),
    "subspace": (subspace.subspace, {"ranks": (2, 4)}, None),
    "methods": (all_methods.methods, {"names": ["full", "prompt", "lora"], "budgets": (60, 140)}, 8),
    "latency": (latency.latency, {"rounds": 1}, 2 * 4 * 4),
    "costs": (costs.costs, {"names": ["full", "lora", "adapter"], "parameters": 200, "rounds": 1}, 6),
    "intrinsic": (intrinsic.intrinsic, {"steps": 2, "dimensions": {"reader": (10, 20), "classifier": (4, 8)}}, None),
}


@pytest.mark.parametrize("name", SMALL)
def test_an_experiment_writes_what_it_found(name, base, tmp_path, monkeypatch):
    monkeypatch.setattr(intrinsic, "SCORED", 4)
    for constant, value in (("TRAINED", 40), ("TESTED", 40), ("PRETRAINED", 40), ("STEPS", 2), ("PRETRAINING", 2)):
        monkeypatch.setattr(intrinsic.small, constant, value)
    intrinsic.small.data.cache_clear()
    intrinsic.small.start.cache_clear()
    function, options, count = SMALL[name]
    said = []
    function(**options, **TINY, base=base, out=tmp_path, progress=False, say=said.append)
    intrinsic.small.data.cache_clear()
    intrinsic.small.start.cache_clear()
    rows = table.read_csv(tmp_path / f"{name}.csv")
    about = json.loads((tmp_path / f"{name}.json").read_text())
    assert len(rows) == count if count else rows
    module = __import__(f"minigrad.experiments.{name}", fromlist=["findings"])
    assert [str(found) for found in module.findings(rows)] == [found["sentence"] for found in about["findings"]], \
        "the sentences follow from the table that is written"
    assert about["findings"] and all(f"\n{found['sentence']}" in said for found in about["findings"])
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG") and len(about["alt"]) > 80
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.{kind}" for kind in ("csv", "json", "png")}
    assert about["settings"]["seeds"] == [0, 1] and {row["seed"] for row in rows if row["seed"] is not None} == {0, 1}


def test_an_interrupted_study_goes_on(base, tmp_path, monkeypatch, capsys):
    done, original = [], choice.Study.run.__defaults__[0]

    def stops_after_two(run, tick):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(run.name)
        return original(run, tick)

    command = ["experiments", "targets", "--base", base, "--examples", "4", "--epochs", "1", "--seeds", "1", "--out",
               str(tmp_path)]
    monkeypatch.setattr(choice.Study.run, "__defaults__", (stops_after_two,))
    assert main([*command, "--words", "12"]) == 130
    assert "after 2 of 8 runs" in capsys.readouterr().out and not (tmp_path / "targets.csv").exists()
    assert main([*command, "--words", "13"]) == 2
    assert "words was 12, now 13" in capsys.readouterr().err
    monkeypatch.setattr(choice.Study.run, "__defaults__", (lambda run, tick: done.append(run.name) or original(run, tick),))
    assert main([*command, "--words", "12"]) == 0
    assert len(done) == len(set(done)) == 8, "nothing is done twice"
    assert "2 of 8 runs were done before" in capsys.readouterr().out


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_help(name, capsys):
    assert main(["experiments", name, "--help"]) == 0
    assert f"{name.replace('-', '_')}.csv" in capsys.readouterr().out


@pytest.mark.parametrize(("command", "message"), [
    (["targets", "--seeds", "0"], "at least 1"), (["low-data", "--task", "rime"], "Did you mean 'rhyme'"),
    (["stability", "--base", "nothing"], "unknown base model"), (["costs", "--words", "3"], "unrecognized")])
def test_mistakes_are_told(command, message, tmp_path, capsys):
    assert main(["experiments", *command, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_what_cannot_work_is_told_before_anything_runs(base, tmp_path):
    with pytest.raises(ValueError, match="rank 24 is too large"):
        stability.stability(lengths=(1,), ranks=(1, 24), base=base, out=tmp_path, **QUIET)
    assert not list(tmp_path.iterdir())


def test_a_budget_that_cannot_be_shared(base, tmp_path):
    with pytest.raises(ValueError, match="3 matrices q_proj, k_proj, v_proj"):
        choice.targets(choices=(("q_proj", "k_proj", "v_proj"),), base=base, out=tmp_path, **QUIET)


# ---- findings follow the numbers -----------------------------------------------------------------------------------------

def shows(found: list[Finding], part: str) -> bool:
    """What the finding whose claim has this part says."""
    [one] = [f for f in found if part in f.claim]
    return one.shows


def test_differences_are_paired_by_seed():
    a = [{"seed": s, "acc": 10 * s + 1} for s in range(3)]
    b = [{"seed": s, "acc": 10 * s} for s in reversed(range(3))]
    d = difference(a, b)
    assert (d.mean, d.half) == (1, 0) and above(d)
    assert not above(difference(a[:1], b)), "one seed shows nothing"
    assert not above(difference(b, a))


def test_targets():
    spread = {"q": [.2, .21, .22], "k": [.2, .2, .21], "v": [.3, .31, .32], "o": [.33, .33, .34], "q+v": [.4, .41, .42]}
    found = choice.findings(rows_of("targets", spread))
    assert shows(found, "several matrices") and shows(found, "W_v and W_o")
    found = choice.findings(rows_of("targets", {**spread, "q": [.5, .5, .51]}))
    assert not shows(found, "several matrices") and not shows(found, "W_v and W_o")
    noisy = choice.findings(rows_of("targets", {**spread, "q+v": [.2, .8, .4]}))
    assert not shows(noisy, "several matrices"), "a larger mean within the spread of the seeds shows nothing"


def test_rank_targets():
    def table_of(low):
        return [row | {"targets": "q+v"} for row in rows_of("rank", {1: low, 8: [.40, .41, .42]})]
    assert shows(rank_targets.findings(table_of([.39, .40, .41])), "rank 1 is already enough")
    assert not shows(rank_targets.findings(table_of([.30, .31, .32])), "rank 1 is already enough")


def test_low_data():
    def table_of(prefix_few, lora_few):
        scores = {("full", 100): .3, ("full", 10000): .5, ("lora", 100): lora_few, ("lora", 10000): .5,
                  ("prefix", 100): prefix_few, ("prefix", 10000): .4}
        return [{"method": m, "examples": n, "seed": s, "acc": value + .001 * s} for (m, n), value in scores.items()
                for s in range(3)]
    found = low_data.findings(table_of(.1, .3))
    assert shows(found, "prefix tuning falls behind") and shows(found, "LoRA is no worse")
    found = low_data.findings(table_of(.29, .2))
    assert not shows(found, "prefix tuning falls behind") and not shows(found, "LoRA is no worse")


def test_stability():
    def table_of(prefix, lora):
        return [row | {"method": m, "trainable": row["size"]} for m, scores in (("prefix", prefix), ("lora", lora))
                for row in rows_of("size", scores)]
    up, down = {1: [.1, .1, .11], 2: [.2, .2, .21], 4: [.3, .3, .31]}, {1: [.1, .1, .11], 2: [.3, .3, .31], 4: [.2, .2, .21]}
    found = stability.findings(table_of(down, up))
    assert shows(found, "longer prefix can do worse") and shows(found, "LoRA does not lose")
    assert "from 2 to 4 it goes from 30.3 % to 20.3 %" in found[0].evidence
    found = stability.findings(table_of(up, down))
    assert not shows(found, "longer prefix can do worse") and not shows(found, "LoRA does not lose")


def test_overlap_is_that_of_the_paper():
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.normal(size=(30, 30)))[0] for _ in range(2))
    i, j = 4, 7
    longhand = sum((U[:, a] @ V[:, b]) ** 2 for a in range(i) for b in range(j)) / 4
    assert subspace.overlap(U, V, i, j) == pytest.approx(longhand)
    many = [subspace.overlap(np.linalg.qr(rng.normal(size=(30, 30)))[0], V, 5, 5) for _ in range(300)]
    assert np.mean(many) == pytest.approx(5 / 30, abs=0.01), "what chance gives"


def test_subspace_of_known_changes():
    """Two ranks that share one direction and nothing else; a full change with one direction."""
    eye = np.eye(12)
    shared = {("rank 2", 0): eye[:, [0, 1]], ("rank 4", 0): eye[:, [0, 2, 3, 4]], ("full", 0): eye,
              ("rank 2", 1): eye[:, [5, 6]], ("rank 4", 1): eye[:, [5, 7, 8, 9]], ("full", 1): eye}
    changes = {key: {(m, 0): (np.array([9., 1, .1, .1])[:V.shape[1]] if key[0] != "full" else np.r_[9., np.zeros(11)], V)
                     for m in subspace.TARGETS} for key, V in shared.items()}
    rows = list(subspace.compare_changes(changes, (0, 1), 2, 4))
    found = subspace.findings(rows)
    assert shows(found, "rank 2 and rank 4 share their first direction") and shows(found, "has low rank")
    assert not shows(found, "two seeds of rank 4")
    [one] = [row for row in rows if row["kind"] == "overlap" and row["matrix"] == "q_proj" and row["seed"] == 0
             and row["of"] == "rank 2" and row["with"] == "rank 4" and row["index"] == 2]
    assert one["value"] == 0.5 and one["chance"] == pytest.approx(2 / 12)


def test_methods():
    def table_of(lora, prompt):
        counts = {"full": 1000, "lora": 10, "prompt": 5}
        return [row | {"trainable": counts[row["method"]]} for row in
                rows_of("method", {"full": [.5, .51, .52], "lora": lora, "prompt": prompt})]
    found = all_methods.findings(table_of([.5, .51, .52], [.1, .1, .1]))
    assert shows(found, "LoRA reaches") and shows(found, "best method with at most 5 %") and shows(found, "at the input")
    found = all_methods.findings(table_of([.4, .41, .42], [.45, .46, .47]))
    assert not shows(found, "LoRA reaches") and not shows(found, "at most 5 %") and not shows(found, "at the input")


def test_latency():
    def table_of(small, large, merged):
        cells = {("adapter", 1, 16): small, ("adapter", 16, 64): large, ("lora, merged", 1, 16): merged,
                 ("lora, merged", 16, 64): 0.0}
        return [{"variant": v, "batch": b, "length": t, "seed": s, "overhead": value + .001 * s}
                for (v, b, t), value in cells.items() for s in range(3)]
    found = latency.findings(table_of(.5, .1, .005))
    assert shows(found, "adapter costs relatively more") and shows(found, "merged LoRA adds no time")
    found = latency.findings(table_of(.1, .1, .1))
    assert not shows(found, "adapter costs relatively more") and not shows(found, "merged LoRA adds no time")


def test_costs():
    def table_of(forward, step, batch):
        both = {"full": (10, 30, 32), "lora": (forward, step, batch)}
        return [{"method": m, "seed": s, "batch": 32, "forward_ms": f, "step_ms": t + .01 * s, "largest_batch": b,
                 "gradient_bytes": 10, "optimizer_bytes": 20} for m, (f, t, b) in both.items() for s in range(3)]
    assert all(f.shows for f in costs.findings(table_of(12, 20, 60)))
    assert not any(f.shows for f in costs.findings(table_of(9, 40, 30)))


def test_costs_largest_batch_is_the_largest(base):
    """With the batch that is said to fit the bytes fit, with one word more they do not."""
    from minigrad import peft, pretrained, tasks, training
    from minigrad.experiments.adaptation import make_method, reference_batch

    model, tokenizer = pretrained.load(base)
    task = tasks.get("rhyme")
    task.add_symbols(tokenizer)
    used = costs.bytes_used(model, tokenizer, task, {"full": {}, "lora": {"rank": 2}}, 8)
    once = reference_batch(tokenizer, task, 8)
    room = training.memory(peft.apply(model, make_method("full")), once).total
    assert used["full"]["largest_batch"] == 8
    n = used["lora"]["largest_batch"]
    assert n > 8
    for words, fits in ((8 * (n // 8), True), (8 * (n // 8 + 1), False)):
        batch = tasks.batching.Batch(*(np.concatenate([a] * (words // 8)) for a in (once.ids, once.targets, once.indices)))
        assert (training.memory(peft.apply(model, make_method("lora", rank=2)), batch).total <= room) is fits


def test_intrinsic():
    def table_of(pretrained):
        rows = []
        for start, at in (("pretrained", pretrained), ("random", 64)):
            rows += [{"model": "reader", "start": start, "method": "full", "projection": None, "dimension": None, "seed": s,
                      "score": .8} for s in range(3)]
            rows += [{"model": "reader", "start": start, "method": "did", "projection": "fastfood", "dimension": d, "seed": s,
                      "score": .75 if d >= at else .4} for d in (16, 64, 256) for s in range(3)]
        return rows
    assert intrinsic.d90(table_of(16), "reader", "pretrained", "did", "fastfood") == 16
    assert intrinsic.d90(table_of(999), "reader", "pretrained", "did", "fastfood") is None
    assert shows(intrinsic.findings(table_of(16)), "a pretrained reader needs fewer")
    assert not shows(intrinsic.findings(table_of(64)), "a pretrained reader needs fewer")
    assert "above 256 against 64" in intrinsic.findings(table_of(999))[0].evidence

    def projections(*reached):
        rows = [{"model": "classifier", "start": "pretrained", "method": "full", "projection": None, "dimension": None,
                 "seed": 0, "score": .8}]
        return rows + [{"model": "classifier", "start": "pretrained", "method": "did", "projection": p, "dimension": d,
                        "seed": 0, "score": .75 if d >= at else .4}
                       for p, at in zip(("dense", "sparse", "fastfood"), reached, strict=True) for d in (16, 64)]
    assert shows(intrinsic.findings(projections(64, 64, 64)), "find the same")
    assert not shows(intrinsic.findings(projections(64, 16, 64)), "find the same")
    assert not shows(intrinsic.findings(projections(999, 999, 999)), "find the same"), "none was reached: none was found"


# ---- the committed figures ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("path", [p for name in STUDIES for p in sorted(FIGURES.rglob(f"{name.replace('-', '_')}.json"))],
                         ids=lambda path: path.stem)
def test_committed_sentences_follow_from_committed_tables(path):
    rows = table.read_csv(path.with_suffix(".csv"))
    module = __import__(f"minigrad.experiments.{path.stem}", fromlist=["findings"])
    assert [str(f) for f in module.findings(rows)] == [f["sentence"] for f in json.loads(path.read_text())["findings"]]
