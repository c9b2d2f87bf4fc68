"""The benchmark runs, compares like with like, and counts what it says it counts."""
import numpy as np
import pytest

import minigrad as mg
from minigrad.experiments import bench_growth, bench_peers, bench_profile, bench_steps, table
from minigrad.experiments.bench_generation import generation, reason, torch_generate
from minigrad.experiments.bench_suite import bench_suite, finding, reasons
from minigrad.experiments.bench_turns import ratio_row, turns

TINY = bench_steps.TINY[0]


def test_what_takes_turns_is_timed_as_often():
    done = []
    times = turns({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, rounds=2, warm_up=0)
    assert {name: len(t) for name, t in times.items()} == {"a": 2, "b": 2} and done[:2] in (["b", "a"], ["a", "b"])


def test_a_ratio_is_that_of_one_round():
    """Both twice as slow in one round: the ratio does not notice, that of the sums would not either, but its spread is nil."""
    row = ratio_row("step", "s", {"a": [1.0, 2.0, 1.0], "b": [2.0, 4.0, 2.0]}, "a", "b", threads=1, target=0.6)
    assert (row["low"], row["ratio"], row["high"], row["reached"]) == (0.5, 0.5, 0.5, True)
    assert "1 of 1 targets reached" == finding([row])
    assert "not reached: step, s, a" in finding([row | {"reached": False}])


def test_the_quick_suite_writes_everything(tmp_path, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in ("torch", "autograd", "mygrad") else find(name, *a))
    said = []
    rows = bench_suite(out=tmp_path, quick=True, parts=("steps", "generation", "profile", "growth"), say=said.append)
    assert "PyTorch is not installed" in said[0]
    for name in ("bench", "bench_profile", "bench_growth"):
        assert all((tmp_path / f"{name}.{kind}").exists() for kind in ("csv", "png", "json"))
    assert {r["part"] for r in rows} == {"step", "checkpoint", "checkpoint bytes", "method", "method bytes", "generation"}
    assert len(table.read_csv(tmp_path / "bench.csv")) == len(rows)


def test_a_missed_step_is_explained_and_a_reached_one_is_not():
    row = {"part": "step", "size": "tiny", "ms": 2.0, "against_ms": 1.0, "reached": False}
    profiled = bench_profile.profile(TINY, rounds=1)
    (text,) = reasons([row, row | {"reached": True}, row | {"part": "peer"}], profiled)
    assert "2.00 ms, PyTorch 1.00" in text and f"floors {profiled[-1]['floor_ms']:.2f}" in text and "outside of operations" in text


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
def test_the_pytorch_loop_generates_the_same_tokens(method):
    pytest.importorskip("torch")
    mg.manual_seed(3)
    base = mg.models.GPT(mg.models.GPTConfig(30, context=24, d_model=16, n_layers=2, n_heads=2)).eval()
    for p in base.parameters():
        p.data = p.data * 6
    made = {"LoRA": mg.peft.LoRA(rank=2, init="random"), "Adapter": mg.peft.Adapter(3, init="houlsby"), "PrefixTuning": mg.peft.PrefixTuning(3, positions="keep")}
    model = mg.peft.apply(base, made[method]) if method else base
    if method == "Adapter":
        for name, p in model.named_parameters():
            if "adapter" in name:
                p.data = p.data * 300
    prompt = np.array([[3, 1, 4, 1, 5]])
    mine = model.generate(prompt, 12)[0].tolist()
    assert torch_generate(base, model.model if method else None, prompt, 12)() == mine
    assert method is None or base.generate(prompt, 12)[0].tolist() != mine


def test_generation_reports_growth_without_pytorch(monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None)
    rows = generation(1, context=32, new_tokens=2, rounds=1)
    assert [r["what"] for r in rows] == ["twice the tokens"]


def test_the_reason_counts_operations_per_token():
    """Four layers of 20 operations, two embeddings, their sum, the last norm and the head; the prompt's pass is one of two."""
    import re

    whole, kernels, count = (float(n) for n in re.findall(r"[\d.]+", reason(2))[:3])
    assert 80 <= count <= 95 and 0 < kernels < whole


def test_the_profile_covers_the_step_and_leaves_the_engine_as_it_was():
    from minigrad.autograd import Function

    before = {name: (cls.forward, cls.backward) for name, cls in Function.registry.items()}
    rows = bench_profile.profile(TINY, rounds=1)
    assert {name: (cls.forward, cls.backward) for name, cls in Function.registry.items()} == before
    by_name = {r["operation"]: r for r in rows}
    assert by_name["linear"]["calls"] == 7 and by_name["linear"]["backward_ms"] > 0 and by_name["linear"]["floor_ms"] > 0
    assert by_name["permute"]["floor_ms"] == 0 and by_name["whole step"]["times_floor"] > 1


def test_multiplications_are_those_of_the_matrices():
    """12 d² per layer and token, forward once and backward twice; without attention's share when there is one token."""
    gpt = mg.models.GPT(mg.models.GPTConfig(bench_steps.VOCAB, context=8, d_model=16, n_layers=3, n_heads=2))
    matrices = sum(p.size for n, p in gpt.named_parameters() if p.ndim == 2 and "embedding" not in n)
    assert bench_growth.multiplications(3, 16, 5, 1) == 3 * 5 * (matrices + 3 * 16)


def test_a_slope_is_the_exponent():
    rows = [{"value": v, "ms": 3 * v ** 2} for v in (1, 2, 4, 8)]
    assert bench_growth.slope(rows, "ms") == pytest.approx(2)
