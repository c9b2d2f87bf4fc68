"""The benchmark runs, compares like with like, and counts what it says it counts."""
import json
import time

import numpy as np
import pytest

import minigrad as mg
from minigrad.experiments import bench_growth, bench_peers, bench_steps, table
from minigrad.experiments.bench_floor import numpy_generate
from minigrad.experiments.bench_generation import generation, kernels_per_token, torch_generate
from minigrad.experiments.bench_suite import PARTS, SECONDS, Clock, bench_suite, finding
from minigrad.experiments.bench_turns import median_interval, ratio_row, turns

TINY = bench_steps.TINY[0]


def test_what_takes_turns_is_timed_as_often():
    done = []
    times = turns({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, rounds=2, warm_up=0, settle=False)
    assert {name: len(t) for name, t in times.items()} == {"a": 2, "b": 2} and done[:2] in (["b", "a"], ["a", "b"]) and done[:2] != done[2:]


def test_each_runs_uncounted_before_it_is_timed(monkeypatch):
    done = []
    actions = {name: (lambda n=name: (done.append(n), time.sleep(0.002))) for name in "ab"}
    monkeypatch.setattr("minigrad.experiments.bench_turns.SETTLE", 0.001)
    turns(actions, rounds=2, warm_up=0)
    assert len(done) == 8 and set(zip(done[::2], done[1::2], strict=True)) == {("a", "a"), ("b", "b")}
    done.clear()
    monkeypatch.setattr("minigrad.experiments.bench_turns.SETTLE", 1e-5)       # what takes 200 times as long need not settle
    turns(actions, rounds=2, warm_up=1, at_least=0)
    assert len(done) == 6


def test_the_interval_holds_the_median_as_often_as_it_says():
    """2,000 samples of a skew distribution whose median is known; and the textbook's ranks for 15 values: the 4th and the 12th."""
    rng = np.random.default_rng(0)
    inside = [low <= np.log(2) <= high for low, _, high in (median_interval(rng.exponential(size=15)) for _ in range(2000))]
    assert 0.95 <= np.mean(inside) <= 0.98
    assert median_interval(range(1, 16)) == (4, 8, 12) and median_interval([3.0, 1.0]) == (1, 2, 3)


def test_a_ratio_is_that_of_one_round():
    """Both twice as slow in one round: the ratio does not notice, that of the sums would not either, but its spread is nil."""
    row = ratio_row("step", "s", {"a": [1.0, 2.0, 1.0], "b": [2.0, 4.0, 2.0]}, "a", "b", threads=1, target=0.6)
    assert (row["low"], row["ratio"], row["high"], row["reached"]) == (0.5, 0.5, 0.5, True)
    assert "1 of 1 targets reached" == finding([row])
    assert "not reached: step, s, a" in finding([row | {"reached": False}])


def without_engines(monkeypatch):
    """As if PyTorch and the other engines were not installed."""
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec",
                        lambda name, *a: None if name in ("torch", "autograd", "mygrad") else find(name, *a))


def test_the_quick_suite_writes_everything(tmp_path, monkeypatch):
    without_engines(monkeypatch)
    monkeypatch.setattr("os.getloadavg", lambda: (3.0, 1.0, 1.0))
    said = []
    rows = bench_suite(out=tmp_path, quick=True, parts=("steps", "products", "memory", "generation", "profile", "growth"), say=said.append)
    assert "PyTorch is not installed" in said[0] and "busy (load 3.0 " in said[1]
    for name in ("bench", "bench_profile", "bench_growth"):
        assert all((tmp_path / f"{name}.{kind}").exists() for kind in ("csv", "png", "json"))
    assert not (tmp_path / "bench_products.csv").exists() and not (tmp_path / "bench_memory.csv").exists()
    assert {r["part"] for r in rows} == {"step", "checkpoint", "checkpoint bytes", "method", "method bytes", "generation"}
    assert len(table.read_csv(tmp_path / "bench.csv")) == len(rows)


@pytest.mark.oracle
def test_with_pytorch_every_table_is_there_and_each_miss_has_its_reason(tmp_path):
    pytest.importorskip("torch")
    rows = bench_suite(out=tmp_path, quick=True, parts=("steps", "products", "memory", "generation", "profile"), say=lambda *_: None)
    missed = [r for r in rows if r["reached"] is False]
    about = json.loads((tmp_path / "bench.json").read_text())
    assert len(about["why"]) == len(missed) and "not_finished" not in about
    for row, text in zip(missed, about["why"], strict=True):
        assert text.startswith(f"{row['part']}, {row['size']}, {row['what']}: ") and len(text) > 100
    assert {r["what"] for r in rows if r["part"] == "generation floor"} == {f"raw NumPy, {m}" for m in ("base", "LoRA", "adapter", "prefix")}
    assert [r["what"] for r in rows if r["part"] == "products"] == ["NumPy's BLAS, in pieces", "NumPy's BLAS, its own threads"]
    for name, count in (("bench_products", 12), ("bench_memory", 8), ("bench_profile", 12)):
        assert len(table.read_csv(tmp_path / f"{name}.csv")) == count, name
        assert len(json.loads((tmp_path / f"{name}.json").read_text())["alt"]) > 100 and (tmp_path / f"{name}.png").exists()


def test_an_interrupt_leaves_what_was_measured(tmp_path, monkeypatch):
    without_engines(monkeypatch)

    def stopped(*_, **__):
        raise KeyboardInterrupt
        yield
    monkeypatch.setattr("minigrad.experiments.bench_suite.generation", stopped)
    with pytest.raises(KeyboardInterrupt):
        bench_suite(out=tmp_path, quick=True, parts=("steps", "generation", "growth"), say=lambda *_: None)
    assert {r["part"] for r in table.read_csv(tmp_path / "bench.csv")} >= {"step", "checkpoint"}
    assert json.loads((tmp_path / "bench.json").read_text())["not_finished"] == ["generation", "growth"]
    assert not (tmp_path / "bench_growth.csv").exists()


def test_the_clock_knows_how_long_every_unit_takes():
    """Half of the work done in 100 s: as much again is to go; and what a run consists of all has a time."""
    assert {name.partition(",")[0] for name in SECONDS} == set(PARTS)
    clock = Clock(["steps, large", "steps, large"])
    assert clock.begin("steps, large").endswith(f"0 s passed, about {2 * SECONDS['steps, large']} to go")
    clock.began -= 100
    assert clock.begin("steps, large").endswith("100 s passed, about 100 to go") and clock.left == ["steps, large"]


def test_checkpointed_blocks_keep_less():
    time, size = bench_steps.checkpoint_rows(bench_steps.Size("s", 3, 16, 2, 2, 8, 2, 1.0), 1)
    assert time["part"] == "checkpoint" and size["ratio"] < 0.6 and size["reached"]


def test_an_unknown_part_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no part .*flops.*it has steps"):
        bench_suite(out=tmp_path, parts=("flops",))


@pytest.mark.oracle
def test_both_engines_take_the_same_steps():
    pytest.importorskip("torch")
    ids, targets = TINY.data()
    ours, theirs = bench_steps.our_step(TINY.model(), ids, targets), bench_steps.torch_step(TINY.model(), ids, targets)
    np.testing.assert_allclose([ours() for _ in range(4)], [theirs() for _ in range(4)], rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["autograd", "mygrad"])
def test_peers_take_the_same_steps_where_they_are_installed(name):
    if name not in bench_peers.available():
        pytest.skip(f"{name} is not installed")
    ids, targets = TINY.data()
    ours, theirs = bench_steps.our_step(TINY.model(), ids, targets), bench_peers.available()[name](TINY.model(), ids, targets)
    np.testing.assert_allclose([ours() for _ in range(3)], [theirs() for _ in range(3)], rtol=1e-4, atol=0)


def test_the_peers_model_is_ours():
    """Without a peer at hand, their words are spoken by NumPy itself."""
    model = TINY.model()
    ids, targets = TINY.data()
    loss = bench_peers.gpt_loss(np, model.state_dict(), model.config, ids, targets)
    assert float(loss) == pytest.approx(bench_steps.our_step(model, ids, targets)(), rel=1e-5)


@pytest.mark.oracle
@pytest.mark.parametrize("method", [None, "LoRA", "Adapter", "PrefixTuning"])
def test_the_other_loops_generate_the_same_tokens(method):
    pytest.importorskip("torch")
    mg.manual_seed(3)
    base = mg.models.GPT(mg.models.GPTConfig(30, context=24, d_model=16, n_layers=2, n_heads=2)).eval()
    for p in base.parameters():
        p.data = p.data * 6
    made = {"LoRA": mg.peft.LoRA(rank=2, init="random"), "Adapter": mg.peft.Adapter(3, init="houlsby"), "PrefixTuning": mg.peft.PrefixTuning(3, positions="shift")}
    model = mg.peft.apply(base, made[method]) if method else base
    if method == "Adapter":
        for name, p in model.named_parameters():
            if "adapter" in name:
                p.data = p.data * 300
    prompt = np.array([[3, 1, 4, 1, 5]])
    mine = model.generate(prompt, 12)[0].tolist()
    for loop in (torch_generate, numpy_generate):
        assert loop(base, model.model if method else None, prompt, 12)() == mine, loop.__name__
    assert method is None or base.generate(prompt, 12)[0].tolist() != mine


def test_generation_reports_growth_without_pytorch(monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None)
    rows = list(generation(1, context=32, new_tokens=2, rounds=1))
    assert [r["what"] for r in rows] == ["twice the tokens"]


def test_kernels_of_a_token_are_counted_and_the_backend_is_as_it_was():
    """Two norms, six linear layers, attention and GELU in each of four layers, a norm and the head; or a little more."""
    cls = type(mg.backend.get("numpy"))
    before = dict(vars(cls))
    count, inside, whole = kernels_per_token("base", new_tokens=2)
    assert 42 <= count <= 60 and 0 < inside < whole and dict(vars(cls)) == before


def test_multiplications_are_those_of_the_matrices():
    """12 d² per layer and token, forward once and backward twice; without attention's share when there is one token."""
    gpt = mg.models.GPT(mg.models.GPTConfig(bench_steps.VOCAB, context=8, d_model=16, n_layers=3, n_heads=2))
    matrices = sum(p.size for n, p in gpt.named_parameters() if p.ndim == 2 and "embedding" not in n)
    assert bench_growth.multiplications(3, 16, 5, 1) == 3 * 5 * (matrices + 3 * 16)


def test_a_slope_is_the_exponent():
    rows = [{"value": v, "ms": 3 * v ** 2} for v in (1, 2, 4, 8)]
    assert bench_growth.slope(rows, "ms") == pytest.approx(2)
