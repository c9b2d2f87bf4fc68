"""The seams into the live engine: debug, override, graph_stats, draw_graph."""
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import minigrad as mg
from minigrad import backend as backends
from minigrad.nn import functional as F
from tests.helpers import close, host

NAN = float("nan")


def leaf(*values):
    return mg.tensor(list(values), dtype="float64", requires_grad=True)


def write(tensor):
    tensor.data[...] = 7.0


# ---- debug ----------------------------------------------------------------------------------------------------------


def test_debug_locks_saved_arrays_until_they_are_used(backend):
    x = leaf(1.0, 2.0)
    with mg.debug():
        y = x.exp()
        with pytest.raises(ValueError, match="read-only"):
            write(y)
        y.sum().backward()
        write(y)
    close(x.grad, np.exp([1.0, 2.0]), rtol=1e-14)


def test_debug_unlocks_when_it_ends(backend):
    x = leaf(1.0, 2.0)
    with mg.debug():
        y = x * x
    write(x)
    write(y)
    y = x.exp()                                     # and outside, nothing is locked
    write(y)


def test_debug_lets_an_optimizer_change_parameters(backend):
    w = mg.nn.Parameter(mg.tensor([1.0, 2.0]))
    step = mg.optim.SGD([w], lr=0.5)
    with mg.debug():
        (w * w).sum().backward()
        step.step()
        kept = (w * w).sum()
        step.zero_grad()
        (w * w).sum().backward()
        step.step()
        with pytest.raises(RuntimeError, match="changed in place"):
            kept.backward()
    assert w.tolist() == [0.0, 0.0]


def test_debug_names_where_nan_was_made(backend):
    x = leaf(1.0, 0.0)
    with mg.debug():
        bad = (x / mg.tensor([1.0, 0.5], dtype="float64")).sqrt() * 0.0     # a root at 0: slope ∞, times 0
        with pytest.raises(FloatingPointError) as caught, np.errstate(divide="ignore", invalid="ignore"):
            bad.sum().backward()
    message = str(caught.value)
    assert message.startswith("backward of sqrt made NaN, for input 0 (forward: test_seams.py:")
    assert ".sqrt() * 0.0" in message


def test_debug_tells_making_from_passing_on(backend):
    x = leaf(1.0)
    with mg.debug(), pytest.raises(FloatingPointError, match="backward of exp already had NaN in its output's gradient"):
        x.exp().backward(backends.current().send(np.array([NAN])))


def test_debug_poisons_used_up_gradients(backend):
    """Whoever keeps an array that the walk has handed over reads NaN, instead of numbers that change later."""
    kept = []

    def keeps(gy, y, x):
        kept.append(gy)
        return (gy * 2.0,)

    for suspicious in (False, True):
        x = leaf(1.0, 2.0)
        with mg.override("sin", vjp=keeps):
            if suspicious:
                with mg.debug():
                    x.sin().exp().sum().backward()
            else:
                x.sin().exp().sum().backward()
    assert np.isfinite(host(kept[0])).all() and np.isnan(host(kept[1])).all()


def test_debug_does_not_poison_what_is_still_in_use(backend):
    def run():
        x = mg.tensor(np.linspace(-1, 1, 12).reshape(3, 4), requires_grad=True)
        y = x.reshape(4, 3).T.exp()
        y.retain_grad()
        z = mg.cat([y, y * 2.0]) + F.gelu(x.sum(), approximate="tanh")
        (z * z[:, :1]).mean().backward()
        return host(x.grad), host(y.grad)

    plain = run()
    with mg.debug():
        suspicious = run()
    for a, b in zip(plain, suspicious, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_whole_model_passes_the_debugger(backend):
    model = mg.models.GPT(mg.models.GPTConfig(vocab_size=7, context=8, d_model=8, n_layers=2, n_heads=2, dropout=0.1,
                                              tie_head=True))
    ids = np.arange(12).reshape(2, 6) % 7

    def gradients():
        mg.manual_seed(1)
        model.zero_grad()
        F.cross_entropy(model(ids).reshape(-1, 7), ids.reshape(-1)).backward()
        return [host(p.grad) for p in model.parameters()]

    plain = gradients()
    with mg.debug():
        for a, b in zip(plain, gradients(), strict=True):
            np.testing.assert_array_equal(a, b)


# ---- override -------------------------------------------------------------------------------------------------------


def test_override_swaps_counts_and_restores(backend):
    x = leaf(1.0, 2.0)
    with mg.override("exp", forward=lambda a: a * 10.0, vjp=lambda gy, y, a: (gy * 10.0,)) as mine:
        y = x.exp()
        assert y.tolist() == [10.0, 20.0]
        y.sum().backward()
    assert (mine.calls, mine.vjp_calls) == (1, 1) and host(x.grad).tolist() == [10.0, 10.0]
    assert mg.Function.registry["exp"].override is None
    close(x.exp(), np.exp([1.0, 2.0]), rtol=1e-15)


def test_override_of_one_half_keeps_the_engines_other_half(backend):
    x = leaf(1.0, 2.0)
    with mg.override("square", forward=lambda a: a * 0.0) as mine:
        y = x.square()
        y.sum().backward()
    assert y.tolist() == [0.0, 0.0] and host(x.grad).tolist() == [2.0, 4.0] and (mine.calls, mine.vjp_calls) == (1, 0)


def test_override_reaches_the_model_and_sees_options(backend):
    seen = []

    def softmax(x, dim):
        seen.append(dim)
        e = mg.Tensor(x).exp().data
        return e / e.sum(axis=dim, keepdims=True)

    x = mg.randn(2, 3)
    expected = F.softmax(x, -1).tolist()
    with mg.override("softmax", forward=softmax):
        close(F.softmax(x, -1), np.array(expected, dtype=np.float32), rtol=1e-6)
    assert seen == [1]


def test_override_nests_and_survives_errors(backend):
    x = leaf(1.0)
    with mg.override("exp", forward=lambda a: a * 2.0) as outer:
        with pytest.raises(KeyError), mg.override("exp", forward=lambda a: a * 3.0) as inner:
            assert x.exp().tolist() == [3.0]
            raise KeyError
        assert x.exp().tolist() == [2.0]
    assert (outer.calls, inner.calls) == (1, 1)


def test_a_graph_made_inside_keeps_its_override(backend):
    x = leaf(1.0)
    with mg.override("exp", vjp=lambda gy, y, a: (gy * 100.0,)) as mine:
        y = x.exp()
    y.backward()
    assert host(x.grad).tolist() == [100.0] and mine.vjp_calls == 1


@pytest.mark.parametrize("make, error, message", [
    (lambda: mg.override("sofmax", vjp=print), ValueError, r"no operation 'sofmax'; did you mean 'softmax'\?.*Known are"),
    (lambda: mg.override("exp"), ValueError, "give forward=, vjp= or both"),
])
def test_override_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_override_that_returns_nothing(backend):
    with mg.override("exp", forward=lambda a: None), pytest.raises(RuntimeError, match="forward returned None"):
        leaf(1.0).exp()


# ---- graph_stats ----------------------------------------------------------------------------------------------------


STATS = {
    "exp keeps its result": (lambda x, w: x.exp(), 1, 800),
    "a sum keeps nothing": (lambda x, w: x.sum(), 1, 0),
    "x·x keeps x once": (lambda x, w: x * x, 1, 800),
    "two operations keep x once": (lambda x, w: x.log() + x.sin(), 3, 800),
    "views keep the buffer once": (lambda x, w: x.reshape(20, 5).log().sum() + x[:5].T.sin().sum(), 8, 800),
    "a shared result once": (lambda x, w: (lambda y: y.log() + y)(x.exp()), 3, 800),
    "dropout keeps one byte each": (lambda x, w: F.dropout(x, 0.5), 1, 100),
    "parameters do not count": (lambda x, w: w.exp().log() + w * w, 4, 800),
    "a product with a parameter": (lambda x, w: x * w, 1, 800),
    "softmax keeps its result": (lambda x, w: F.softmax(x, -1), 1, 800),
}


@pytest.mark.parametrize("name", STATS)
def test_saved_bytes_and_nodes(backend, name):
    fn, nodes, saved = STATS[name]
    x = mg.rand(10, 10, dtype="float64", requires_grad=True)
    w = mg.nn.Parameter(mg.rand(10, 10, dtype="float64"))
    stats = mg.graph_stats(fn(x, w))
    assert (stats.nodes, stats.saved_bytes) == (nodes, saved)
    assert sum(n for n, _ in stats.by_op.values()) == nodes and sum(b for _, b in stats.by_op.values()) == saved


def test_stats_of_what_has_no_graph(backend):
    for t in (mg.ones(3), mg.ones(3, requires_grad=True), leaf(1.0).exp().detach()):
        assert (mg.graph_stats(t).nodes, mg.graph_stats(t).saved_bytes) == (0, 0)


def test_stats_after_the_walk_are_refused(backend):
    y = leaf(1.0).exp()
    y.backward()
    with pytest.raises(RuntimeError, match="walked before"):
        mg.graph_stats(y)


# ---- draw_graph -----------------------------------------------------------------------------------------------------


SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_is_svg_with_every_node_and_arrow(backend, tmp_path):
    x, w = mg.ones(2, 3, requires_grad=True), mg.ones(3, 4, requires_grad=True)
    y = (x @ w).tanh()
    loss = (y * y).sum()
    path = tmp_path / "deep" / "graph.svg"
    text = mg.draw_graph(loss, path, names={x: "x < & \"é\"", w: "w"})
    assert path.read_text(encoding="utf-8") == text and list(path.parent.iterdir()) == [path]
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg"
    labels = [t.text for t in root.iter(f"{SVG}text")]
    assert labels.count("x < & \"é\"") == 1 and {"w", "matmul", "tanh", "mul", "sum", "2 × 3", "scalar"} <= set(labels)
    boxes = [r for r in root.iter(f"{SVG}rect")][1:]
    arrows = [p for p in root.iter(f"{SVG}path") if "marker-end" in p.attrib]
    assert (len(boxes), len(arrows)) == (6, 6)      # matmul 2, tanh 1, mul 2 (from one tensor), sum 1
    corners = {(r.get("x"), r.get("y")) for r in boxes}
    assert len(corners) == 6                        # none hides another
    width, height = float(root.get("width")), float(root.get("height"))
    for r in boxes:
        assert 0 <= float(r.get("x")) <= width - float(r.get("width"))
        assert 0 <= float(r.get("y")) <= height - float(r.get("height"))


def test_the_picture_of_a_leaf_and_of_a_long_chain(backend):
    x = leaf(1.0)
    assert len(list(ET.fromstring(mg.draw_graph(x)).iter(f"{SVG}rect"))) == 2
    y = x
    for _ in range(2_000):
        y = y + 1.0
    assert len(list(ET.fromstring(mg.draw_graph(y)).iter(f"{SVG}rect"))) == 2_002


def test_the_picture_leaves_frozen_parts_out(backend):
    x = leaf(1.0)
    assert "exp" not in mg.draw_graph(x * mg.tensor([2.0], dtype="float64").exp())
