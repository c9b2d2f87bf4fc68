"""What `minigrad bench` sets beside a time is counted and mapped rightly, and a missed target is explained from it."""
import importlib
from types import SimpleNamespace

import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd import Function
from minigrad.experiments import bench_memory, bench_products, bench_profile, bench_steps
from minigrad.experiments.bench_profile import ACCUMULATION, OPTIMIZER, PYTHON, WHOLE
from minigrad.experiments.bench_why import reasons

TINY = bench_steps.TINY[0]
TWO = bench_steps.Size("two", 2, 12, 3, 3, 5, 2, 1.0)


# ---- bytes, layer by layer ------------------------------------------------------------------------------------------------

def test_our_layers_add_up_to_what_the_graph_keeps():
    """And token ids and targets, which their operations hold by other names: 5 positions, targets twice with flags; and masks."""
    ids, targets = TWO.data()
    layers = bench_memory.ours_by_layer(TWO.model(), ids, targets)
    held = sum(layers.values()) - bench_steps.saved_bytes(TWO.model(), ids, targets)
    assert layers["embedding"] == 8 * (15 + 5) and layers["embedding"] < held <= layers["embedding"] + 17 * 15 + 2 * 25
    assert layers["block 0, mlp"] == layers["block 1, mlp"] > layers["block 0, norm1"] > 0


@pytest.mark.oracle
def test_pytorchs_layers_are_those_that_its_operations_are_known_to_save():
    """Float32 by hand, per token: an MLP keeps d, 4d, 4d; a norm its input and two numbers; attention d five times and one per head."""
    pytest.importorskip("torch")
    d, n = TWO.d_model, TWO.batch * TWO.tokens
    layers = bench_memory.torch_by_layer(TWO.model(), *TWO.data())
    for block in range(TWO.n_layers):
        assert layers[f"block {block}, mlp"] == 4 * n * 9 * d
        assert layers[f"block {block}, norm1"] == layers[f"block {block}, norm2"] == 4 * n * (d + 2)
        assert layers[f"block {block}, attention"] == pytest.approx(4 * n * (5 * d + TWO.n_heads), abs=4 * n * 2)
    assert layers["embedding"] == 8 * n and layers["final norm and head"] == 4 * n * (2 * d + 2)
    assert layers["loss"] == 4 * n * bench_steps.VOCAB + 8 * n + 4


@pytest.mark.oracle
def test_the_table_has_every_layer_once_and_their_sum():
    pytest.importorskip("torch")
    rows = bench_memory.memory_rows(TWO)
    assert [r["layer"] for r in rows] == ["embedding", *(f"block {i}, {p}" for i in (0, 1) for p in ("norm1", "attention", "norm2", "mlp")),
                                          "final norm and head", "loss", "together"]
    for column in ("minigrad_bytes", "torch_bytes"):
        assert sum(r[column] for r in rows[:-1]) == rows[-1][column] > 0
    assert "two: " in bench_memory.finding(rows) and " of 11 layers" in bench_memory.finding(rows)


# ---- products -------------------------------------------------------------------------------------------------------------

def test_the_products_are_those_of_the_model():
    """Their multiplications are 3 · rows · the entries of all matrices but the embeddings."""
    matrices = sum(p.size for n, p in TWO.model().named_parameters() if p.ndim == 2 and "embedding" not in n)
    assert sum(m * k * n * calls for (m, k, n), calls in bench_products.layers_of(TWO).items()) == 15 * matrices
    (m, k, n), rng = (7, 3, 5), np.random.default_rng(0)
    x, w = mg.tensor(rng.standard_normal((m, k), dtype=np.float32)), mg.tensor(rng.standard_normal((n, k), dtype=np.float32))
    shapes = {"forward": (x @ w.T).shape, "input gradient": x.shape, "weight gradient": w.shape}
    for kind, shape in shapes.items():
        a, b = bench_products.operands(kind, m, k, n)
        assert (a @ b).shape == shape


@pytest.mark.oracle
def test_products_are_timed_on_both_sides_and_blas_keeps_its_threads():
    pytest.importorskip("torch")
    import threadpoolctl

    before = threadpoolctl.threadpool_info()
    pieces, own = bench_products.totals(TWO, threads=2, rounds=1)
    assert threadpoolctl.threadpool_info() == before
    assert (pieces["against"], own["against"]) == ("PyTorch", "PyTorch") and pieces["against_ms"] == own["against_ms"]
    rows = bench_products.products(TWO, threads=1, rounds=1)
    assert len(rows) == 12
    for row in rows:
        assert row["ratio"] > 0 and row["numpy_gflops"] == pytest.approx(2e-6 * row["m"] * row["k"] * row["n"] / row["numpy_ms"])


# ---- operation by operation -----------------------------------------------------------------------------------------------

def test_the_profile_covers_the_step_and_leaves_the_engine_as_it_was():
    assert bench_profile.SUM == "_sum"               # what the walk calls it; without it the sums would count as Python's
    walk = importlib.import_module("minigrad.autograd.backward")
    before = {name: (cls.forward, cls.backward) for name, cls in Function.registry.items()}, walk._sum, mg.optim.Optimizer.step
    rows = bench_profile.profile("tiny", bench_steps.our_step(TINY.model(), *TINY.data()), rounds=1)
    assert before == ({name: (cls.forward, cls.backward) for name, cls in Function.registry.items()}, walk._sum,
                      mg.optim.Optimizer.step)
    by_name = {r["operation"]: r for r in rows}
    assert by_name["linear"]["backward_ms"] > 0 and by_name["linear"]["floor_ms"] > 0
    assert by_name["layer_norm"]["calls"] == 3 and by_name["gelu"]["calls"] == 1
    assert by_name[OPTIMIZER]["ms"] > 0 and by_name[OPTIMIZER]["floor_ms"] > 0 and by_name[ACCUMULATION]["ms"] > 0
    assert [r["operation"] for r in rows[-3:]] == [OPTIMIZER, PYTHON, WHOLE] and by_name[WHOLE]["times_floor"] > 1
    assert sum(r["ms"] for r in rows[:-1]) == pytest.approx(by_name[WHOLE]["ms"])


def test_profiles_that_are_compared_share_their_floors():
    """Rates change from minute to minute: the same products must not get two floors in one sentence."""
    floors = bench_profile.Floors()
    first, second = ({r["operation"]: r["floor_ms"] for r in bench_profile.profile(
        "tiny", bench_steps.our_step(TINY.model(), *TINY.data()), 1, None, floors)} for _ in range(2))
    assert first["linear"] == second["linear"] > 0 and first["attention"] == second["attention"] > 0


def test_a_low_rank_product_has_the_floor_of_its_products():
    """With every product taking m·k·n: W + BA once in each direction, the large products, the thin ones; a frozen weight costs none."""
    floors = bench_profile.Floors()
    floors.product = lambda m, k, n: m * k * n
    shapes, needs = [(2, 5, 7), (11, 7), (3, 7), (11, 3), (11,)], (True, False, True, True, False)
    assert floors.of("low_rank_linear", "forward", shapes, needs, 0) == 11 * 3 * 7 + 10 * 7 * 11 + 10 * 7 * 3
    assert floors.of("low_rank_linear", "backward", shapes, needs, 0) == \
        11 * 3 * 7 + 10 * 11 * 7 + 10 * 11 * 3 + 3 * 10 * 7 + 11 * 10 * 3
    assert floors.of("linear", "backward", shapes[:2], (True, False), 0) == 10 * 11 * 7


@pytest.mark.oracle
def test_every_event_of_pytorchs_step_has_a_kind():
    """A wrong mapping leaves a kind of ours without time of PyTorch's, or much in "other"."""
    pytest.importorskip("torch")
    from minigrad.experiments.bench_torch import TorchProfile

    beside = TorchProfile(TWO)
    rows = bench_profile.profile("two", bench_steps.our_step(TWO.model(), *TWO.data()), 2, beside)
    kinds, whole = beside.result()
    for kind in ("linear", "attention", "layer_norm", "gelu", "add", "cross_entropy", "embedding"):
        assert kinds[kind]["forward"] > 0 and kinds[kind]["backward"] > 0, kind
    assert kinds[OPTIMIZER]["forward"] > 0 and kinds[ACCUMULATION]["backward"] > 0
    assert sum(kinds.get("other", {"none": 0}).values()) < 0.02 * whole and sum(sum(k.values()) for k in kinds.values()) < whole
    named = {r["operation"]: r for r in rows}
    alone = [r["operation"] for r in rows if r["torch_ms"] is None]
    assert not alone, f"bench_profile.KINDS does not say what PyTorch's counterpart of {alone} is"
    assert named[PYTHON]["torch_ms"] > 0
    assert sum(r["torch_ms"] for r in rows[:-1]) == pytest.approx(named[WHOLE]["torch_ms"])


def test_where_two_branches_meet_the_sum_is_not_the_operations():
    pytest.importorskip("torch")
    from minigrad.experiments.bench_torch import by_kind, kind_of

    def event(name, microseconds, children=(), parent=None):
        return SimpleNamespace(name=name, cpu_time_total=microseconds, cpu_children=children, cpu_parent=parent)
    engine = "autograd::engine::evaluate_function: "
    children = [event("NativeLayerNormBackward0", 6, parent=1), event("aten::add_", 3, parent=1)]
    forward = [event("aten::add", 5), event("aten::linear", 8, [event("aten::add", 2, parent=1)])]
    spent = by_kind([event(engine + "NativeLayerNormBackward0", 10, children), *children, *forward])
    assert +spent == {("layer_norm", "backward"): 7, (ACCUMULATION, "backward"): 3, ("add", "forward"): 5, ("linear", "forward"): 8}
    assert kind_of(engine + "torch::autograd::AccumulateGrad") == (ACCUMULATION, "backward")
    assert kind_of(engine + "AddBackward0")[0] == "add" and kind_of(engine + "AddmmBackward0")[0] == "linear"
    assert kind_of("aten::scaled_dot_product_attention")[0] == "attention" and kind_of("aten::sinc") == ("other", "forward")


# ---- why ------------------------------------------------------------------------------------------------------------------

ROW = {"part": "step", "size": "s", "what": "minigrad", "against": "PyTorch", "ms": 5.0, "against_ms": 4.0, "ratio": 1.25,
       "target": 1.1, "reached": False}


def profiled(**ms) -> list[dict]:
    """Rows of a profile: {kind: (ours, floor, PyTorch's)}."""
    rows = [{"size": "s", "operation": kind, "ms": a, "floor_ms": b, "torch_ms": c} for kind, (a, b, c) in ms.items()]
    return [*rows, {"size": "s", "operation": PYTHON, "ms": 0.5, "floor_ms": None, "torch_ms": 0.4},
            {"size": "s", "operation": WHOLE, "ms": 5.0, "floor_ms": 2.5, "torch_ms": 4.0}]


def test_only_what_was_missed_is_explained():
    profile = profiled(linear=(3.0, 2.0, 2.2), gelu=(0.5, 0.1, 1.0), layer_norm=(1.0, 0.4, 0.4))
    products = ROW | {"part": "products", "what": "NumPy's BLAS, in pieces", "ms": 2.0, "against_ms": 1.6, "reached": None}
    (text,) = reasons([ROW, ROW | {"reached": True}, products], profile=profile)
    assert text.startswith("step, s, minigrad: 1.250 × PyTorch (at most 1.1), 5.00 ms against 4.00: the sum of our floors is 2.50 ms")
    assert "alone are +0.40 of the +1.00 ms between the two steps: PyTorch 1.60 ms, NumPy's BLAS, in pieces 1.25 × that" in text
    assert "linear +0.80 ms (× 1.4), layer_norm +0.60 ms (× 2.5)" in text and "faster it is -0.50 ms" in text


def test_a_missed_method_is_explained_by_its_products():
    row = ROW | {"part": "method", "what": "LoRA", "against": "full"}
    sides = {("s", "LoRA"): profiled(linear=(3.0, 2.0, None), attention=(0.5, 0.4, None)),
             ("s", "full"): profiled(linear=(4.0, 2.6, None), attention=(0.5, 0.4, None))}
    (text,) = reasons([row], methods=sides)
    assert "take 2.40 ms and those of the full step 3.00, a ratio of 0.80; in the steps they take 3.50 and 4.50 ms" in text
    assert text.endswith("spares little, 1.50 and 0.50")


def test_a_missed_generation_is_explained_by_bare_numpy():
    row = ROW | {"part": "generation", "size": "10 tokens", "what": "LoRA, merged", "ms": 20.0, "against_ms": 10.0}
    floor = row | {"part": "generation floor", "what": "raw NumPy, base", "ms": 5.0, "reached": None}
    (text,) = reasons([row, floor], tokens={"LoRA, merged": (50, 0.5, 2.0)})
    assert "2.00 ms a token, PyTorch 1.00, the same arithmetic in bare NumPy 0.50 (0.50 × PyTorch); the 1.50 ms between" in text
    late = row | {"what": "twice the tokens", "against": "tokens", "size": "100 tokens", "ms": 300.0, "against_ms": 100.0}
    assert "first half takes 2.00 ms, one of the second, whose attention looks further back, 4.00" in reasons([late])[0]
    assert "2.00 ms a token are 50 calls of kernels, 0.50 ms inside of them and 1.50 around them" in text


def test_missed_bytes_are_explained_by_layers_and_what_has_no_floor_says_so():
    layers = [{"size": "s", "layer": "a", "minigrad_bytes": 2100, "torch_bytes": 100},
              *({"size": "s", "layer": f"block {i}, mlp", "minigrad_bytes": 8, "torch_bytes": 1} for i in (0, 1)),
              {"size": "s", "layer": "b", "minigrad_bytes": 1, "torch_bytes": 1}, {"size": "s", "layer": "together"}]
    texts = reasons([ROW | {"part": "saved bytes", "ms": None}, ROW | {"part": "rounding"}, ROW], memory=layers)
    assert texts[0].endswith("more than PyTorch's layers keep a (by 2.0 KB), mlp of block 0, block 1 (by 7 B each)")
    assert all("no floor of it is measured" in text for text in texts[1:])
