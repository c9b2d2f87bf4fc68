"""The walk: what it adds up, in which order, what it never touches, and what it refuses."""
from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad import backend as backends
from minigrad.autograd.backward import _reachable
from minigrad.nn import functional as F
from tests.helpers import close, host


def leaf(*values, dtype="float64"):
    return mg.tensor(list(values), dtype=dtype, requires_grad=True)


def shares_memory(a, b) -> bool:
    """Whether two raw arrays of any backend look at the same bytes."""
    return np.shares_memory(getattr(a, "_a", a), getattr(b, "_a", b))


class Probe(mg.Function):
    """y = x;  gx = gy, and whoever asked is told that the walk came by."""

    def __init__(self, seen, label=None):
        self.seen, self.label = seen, label

    def forward(self, x):
        return x.copy()

    def backward(self, gy):
        self.seen.append(self.label)
        return gy


# ---- what it adds up ------------------------------------------------------------------------------------------------


def test_a_diamond_is_entered_once(backend):
    seen = []
    x = leaf(2.0, 3.0)
    h = Probe(seen, "top")(x)
    y = Probe(seen, "left")(h * h) + Probe(seen, "right")(h * 3.0)
    y.sum().backward()
    close(x.grad, 2 * np.array([2.0, 3.0]) + 3)
    assert sorted(seen) == ["left", "right", "top"] and seen[-1] == "top"


def test_the_order_is_newest_first(backend):
    """A long and a short way to the same node: it waits for both."""
    seen = []
    x = leaf(1.0)
    first = Probe(seen, 0)(x)
    long = first
    for i in range(1, 5):
        long = Probe(seen, i)(long)
    (first * 2.0 + long).sum().backward()
    assert seen == [4, 3, 2, 1, 0]
    close(x.grad, np.array([3.0]))


@pytest.mark.parametrize("times", [2, 3, 7])
def test_one_tensor_used_often(backend, times):
    x = leaf(1.5, -2.0)
    y = x
    for _ in range(times - 1):
        y = y * x
    y.sum().backward()
    close(x.grad, times * np.array([1.5, -2.0]) ** (times - 1))


def test_the_same_tensor_as_both_operands(backend):
    x = leaf(1.5, -2.0)
    for y, g in ((x + x, [2.0, 2.0]), (x - x, [0.0, 0.0]), (x * x, [3.0, -4.0]), (x / x, [0.0, 0.0]),
                 (mg.maximum(x, x), [1.0, 1.0]), (mg.cat([x, x, x]), [3.0, 3.0]), (mg.stack([x, x]), [2.0, 2.0])):
        x.grad = None
        y.sum().backward()
        close(x.grad, np.array(g), atol=1e-15)


def test_a_chain_of_twenty_thousand_operations(backend):
    """No recursion: neither in the walk, nor in counting, nor when the graph is thrown away."""
    assert sys.getrecursionlimit() < 20_000
    x = leaf(1.0)
    y = x
    for _ in range(20_000):
        y = y + 0.5
    assert mg.graph_stats(y).nodes == 20_000
    y.backward()
    close(x.grad, np.array([1.0]))
    close(y, np.array([10_001.0]))
    del y                                           # nor does freeing it recurse until the stack is full


def test_doubling_a_thousand_times_is_a_thousand_steps(backend):
    """Without visiting each node once this would take 2¹⁰⁰⁰ steps."""
    x = leaf(1.0)
    y = x
    for _ in range(1000):
        y = (y + y) * 0.5
    y.backward()
    close(x.grad, np.array([1.0]))


# ---- twice ----------------------------------------------------------------------------------------------------------


def test_two_graphs_accumulate(backend):
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    held = x.grad
    (x * 3.0).sum().backward()
    close(x.grad, np.array([5.0, 7.0]))
    close(held, np.array([2.0, 4.0]))               # who holds the old array does not see it change
    assert x.grad is not held


def test_a_second_backward_raises_before_any_gradient_changes(backend):
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    h = x * x
    (h * 2.0).sum().backward()
    before = host(x.grad).tobytes()
    fresh = (w * w).sum() + h.sum()                 # a new graph on top of a used one
    with pytest.raises(RuntimeError, match="walked before, and mul has dropped .* retain_graph=True"):
        fresh.backward()
    assert w.grad is None and host(x.grad).tobytes() == before


def test_nodes_that_save_nothing_count_as_walked(backend):
    x = leaf(1.0)
    y = (x + x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="walked before"):
        y.backward()
    close(x.grad, np.array([2.0]))


def test_retain_graph(backend):
    x = leaf(1.0, 2.0)
    y = (x.exp() * x).sum()
    y.backward(retain_graph=True)
    once = host(x.grad)
    y.backward(retain_graph=True)
    y.backward()
    close(x.grad, 3 * once, rtol=1e-15)
    with pytest.raises(RuntimeError, match="walked before"):
        y.backward()


def test_retain_graph_keeps_what_a_fused_backward_may_write_into(backend):
    """GELU multiplies into gy where it may: a retained graph must give the same gradient again."""
    x = mg.randn(5, 4, dtype="float64", requires_grad=True)
    h = F.gelu(x * 2.0, approximate="tanh")
    h.retain_grad()
    y = (h * h).sum()
    y.backward(retain_graph=True)
    first, first_h = host(x.grad), host(h.grad)
    x.grad = h.grad = None
    y.backward()
    close(x.grad, first, rtol=0)
    close(h.grad, first_h, rtol=0)


# ---- the seed -------------------------------------------------------------------------------------------------------


def test_seeds(backend):
    x = leaf(1.0, 2.0)
    be = backends.current()
    y = x * x
    for seed in (mg.tensor([1.0, 10.0], dtype="float64"), be.send(np.array([1.0, 10.0])),
                 be.send(np.array([1.0, 10.0], np.float32)), mg.tensor([1, 10])):
        x.grad = None
        y.backward(seed, retain_graph=True)
        close(x.grad, np.array([2.0, 40.0]), dtype=True)
    x.grad = None
    y.backward(2.0)
    close(x.grad, np.array([4.0, 8.0]))


def test_one_element_needs_no_seed(backend):
    x = leaf(3.0)
    (x * x).reshape(1, 1).backward()
    close(x.grad, np.array([6.0]))


def test_wrong_seeds(backend):
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"tensor of shape \(2,\): only a scalar .* grad= of the same shape"):
        (x * x).backward()
    with pytest.raises(RuntimeError, match=r"grad has shape \(3,\), the tensor \(2,\)"):
        (x * x).backward(mg.ones(3))
    with pytest.raises(TypeError, match="list is not an array"):
        (x * x).backward([1.0, 2.0])
    assert x.grad is None


def test_nothing_to_walk(backend):
    for y in (mg.ones(()), mg.ones(()) * 2.0):
        with pytest.raises(RuntimeError, match="depends on nothing that requires a gradient"):
            y.backward()
    with mg.no_grad():
        y = leaf(1.0) * 2.0
    with pytest.raises(RuntimeError, match="no_grad\\(\\), or is every parameter frozen"):
        y.backward()


def test_backward_of_a_leaf(backend):
    x, seed = leaf(1.0, 2.0), mg.tensor([3.0, 4.0], dtype="float64")
    x.backward(seed)
    close(x.grad, np.array([3.0, 4.0]))
    assert not shares_memory(x.grad, seed.data)
    x.backward(seed)                                # a leaf has no graph to use up
    close(x.grad, np.array([6.0, 8.0]))


# ---- changes in place -----------------------------------------------------------------------------------------------


def test_a_late_backward_notices_an_in_place_step(backend):
    w = leaf(1.0, 2.0)
    y = (w * w).sum()
    w.data[...] = 5.0
    w.bump_version()
    with pytest.raises(RuntimeError, match=r"backward of mul: an input it saved was changed in place .*\(1 times\)"
                                           r".*backward\(\) before optimizer.step\(\)"):
        y.backward()


def test_a_change_through_a_view_or_a_detached_twin_is_noticed(backend):
    for change in (lambda w: w.detach().bump_version(), lambda w: w.reshape(2, 1).bump_version()):
        w = leaf(1.0, 2.0)
        y = (w * w).sum()
        change(w)
        with pytest.raises(RuntimeError, match="changed in place"):
            y.backward()
        y = (w.reshape(2, 1).exp() * w[::-1]).sum()     # saved: a view; changed: the tensor
        w.bump_version()
        with pytest.raises(RuntimeError, match="changed in place"):
            y.backward()


def test_an_optimizers_step_counts_as_a_change(backend):
    w = mg.nn.Parameter(mg.tensor([1.0, 2.0]))
    y = (w * w).sum()
    (w * 3.0).sum().backward()
    mg.optim.SGD([w], lr=0.1).step()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_what_was_not_saved_may_change(backend):
    w, x = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = (w + x).sum()                               # addition saves nothing
    w.data[...] = 7.0
    w.bump_version()
    y.backward()
    close(w.grad, np.array([1.0, 1.0]))


def test_replacing_data_is_no_change_in_place(backend):
    """`t.data = new` leaves the saved array as it was: the gradient belongs to the old values."""
    w = leaf(3.0)
    y = (w * w).sum()
    w.data = backends.current().send(np.array([100.0]))
    y.backward()
    close(w.grad, np.array([6.0]))


# ---- frozen ---------------------------------------------------------------------------------------------------------


def test_frozen_branches_are_not_recorded(backend):
    x, frozen = leaf(1.0, 2.0), mg.tensor([3.0, 4.0], dtype="float64")
    seen = []
    dead = Probe(seen)(frozen * frozen)
    y = (x * dead).sum()
    assert not dead.requires_grad and dead.is_leaf
    assert mg.graph_stats(y).by_op.keys() == {"mul", "sum"}
    y.backward()
    assert seen == [] and frozen.grad is None
    close(x.grad, np.array([9.0, 16.0]))


def test_detach_cuts(backend):
    x = leaf(2.0)
    y = x * x
    (y.detach() * x).sum().backward()
    close(x.grad, np.array([4.0]))
    assert shares_memory(y.detach().data, y.data)


def test_gradient_passes_through_a_frozen_layer(backend):
    rng = np.random.default_rng(0)
    x, w = mg.tensor(rng.standard_normal((3, 4)), requires_grad=True), mg.tensor(rng.standard_normal((5, 4)))
    F.linear(x, w).sum().backward()
    close(x.grad, np.broadcast_to(host(w).sum(0), (3, 4)), rtol=1e-12)
    assert w.grad is None


@pytest.mark.parametrize(("x_trains", "w_trains", "b_trains", "kept"), [
    (True, True, True, {"x", "w"}), (True, False, False, {"w"}), (False, True, False, {"x"}), (False, False, True, set())])
def test_linear_saves_only_what_it_needs(backend, x_trains, w_trains, b_trains, kept):
    x, w, b = (mg.tensor(np.ones(s), requires_grad=r) for s, r in
               (((2, 3), x_trains), ((4, 3), w_trains), ((4,), b_trains)))
    saved = F.linear(x, w, b)._fn._saved
    assert {name for name, t in (("x", x), ("w", w)) if any(a is t.data for a in saved)} == kept
    assert sum(a is not None for a in saved) == len(kept)


@pytest.mark.parametrize("trains", [(True, False, False), (False, True, False), (False, False, True), (False, True, True)])
def test_layer_norm_with_some_of_it_frozen(backend, trains):
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal((3, 4)), rng.standard_normal(4), rng.standard_normal(4)
    full = [mg.tensor(a, requires_grad=True) for a in arrays]
    (F.layer_norm(full[0], 4, *full[1:]) ** 2).sum().backward()
    some = [mg.tensor(a, requires_grad=t) for a, t in zip(arrays, trains, strict=True)]
    (F.layer_norm(some[0], 4, *some[1:]) ** 2).sum().backward()
    for a, b, t in zip(full, some, trains, strict=True):
        close(b.grad, a.grad, rtol=1e-12) if t else None
        assert t or b.grad is None


def test_a_trainable_tensor_frozen_after_the_forward_pass(backend):
    """What counts is what was recorded, as in PyTorch; a later freeze concerns the next forward pass."""
    w = leaf(2.0)
    y = (w * w).sum()
    w.requires_grad = False
    assert not (w * w).requires_grad
    y.backward()


# ---- aliasing -------------------------------------------------------------------------------------------------------


def test_leaf_gradients_alias_nobody(backend):
    """Operations that hand gy on (add, reshape, getitem, cat, expand, …): still every leaf gets its own array."""
    be = backends.current()
    for build in (lambda a, b: a + b, lambda a, b: a + b.reshape(3, 2).reshape(2, 3), lambda a, b: (a - 0.0) + b.T.T,
                  lambda a, b: mg.cat([a, b])[2:] + a, lambda a, b: mg.stack([a, b])[0] + b, lambda a, b: a.flip(0) + b.flip(1),
                  lambda a, b: mg.where(be_true(be), a, b) + a + b, lambda a, b: (a + b).to("float64")):
        a, b = (mg.tensor(np.ones((2, 3)), requires_grad=True) for _ in range(2))
        y = build(a, b)
        y.retain_grad()
        seed = be.send(np.full(y.shape, 2.0))
        y.backward(seed)
        held = [seed, y.data, y.grad, a.data, b.data]
        assert not shares_memory(a.grad, b.grad)
        for g in (a.grad, b.grad):
            assert not any(shares_memory(g, h) for h in held)
            assert getattr(g, "_a", g).flags.writeable
        assert (host(seed) == 2.0).all()


def be_true(be):
    return mg.Tensor(be.send(np.array([True, False, True])))


def test_watched_gradients_alias_nobody(backend):
    x = leaf(1.0, 2.0)
    a = x + 0.0
    b = a + 0.0
    a.retain_grad(), b.retain_grad()
    b.backward(mg.ones(2, dtype="float64"))
    arrays = [a.grad, b.grad, x.grad]
    for i, g in enumerate(arrays):
        close(g, np.ones(2))
        assert not any(shares_memory(g, h) for h in arrays[:i])


@pytest.mark.parametrize("kept_first", [True, False])
@pytest.mark.parametrize("inputs", [1, 2])
def test_a_gradient_that_a_backward_keeps_is_not_written_into(backend, inputs, kept_first):
    """A Function whose gradient is an array it also saved, for one input or for two: adding up must not change it."""
    class Kept(mg.Function):
        """y = Σ of the inputs;  each gradient is one saved array."""

        def forward(self, *xs):
            self.save(self.xp.ones(xs[0].shape, dtype=xs[0].dtype))
            return xs[0] * float(len(xs))

        def backward(self, gy):
            return self.saved * len(self.needs)

    try:
        a = leaf(1.0, 2.0)
        if kept_first:                              # the walk reaches the newer one first
            other = a * 2.0
            y = Kept()(*[a] * inputs) + other
        else:
            kept = Kept()(*[a] * inputs)
            y = a * 2.0 + kept
        for _ in range(3):
            a.grad = None
            y.sum().backward(retain_graph=True)
            close(a.grad, np.array([2.0 + inputs, 2.0 + inputs]))
        a.grad = None
        alone = Kept()(a)
        alone.sum().backward(retain_graph=True)
        assert not shares_memory(a.grad, alone._fn._saved[0])
    finally:
        del mg.Function.registry["kept"]


# ---- watching -------------------------------------------------------------------------------------------------------


def test_retain_grad(backend):
    x = leaf(1.0, 2.0)
    h = x * x
    h.retain_grad()
    h.retain_grad()                                 # asking twice is asking once
    x.retain_grad()                                 # a leaf keeps its own anyway
    (h * 3.0).sum().backward()
    close(h.grad, np.array([3.0, 3.0]))
    close(x.grad, np.array([6.0, 12.0]))
    assert (x * x).grad is None


def test_on_grad_ready_fires_once_in_the_walks_order_with_the_complete_gradient(backend):
    """Tied: used at the start and at the end. The last layer is ready first; the tied weight only at the very end."""
    told = []
    tied, middle, last = leaf(2.0), leaf(3.0), leaf(5.0)
    for name, t in (("tied", tied), ("middle", middle), ("last", last)):
        t.on_grad_ready(lambda t, name=name: told.append((name, t, host(t.grad).tolist())))
    h = (mg.tensor([1.0], dtype="float64") * tied) * middle
    h.on_grad_ready(lambda t: told.append(("h", t, host(t.grad).tolist())))
    y = (h * tied * last).sum()
    y.backward()
    assert [t[0] for t in told] == ["last", "h", "middle", "tied"]
    assert [t[1] for t in told] == [last, h, middle, tied]
    assert told[-1][2] == [2 * 2.0 * 3.0 * 5.0]
    (tied * 1.0).sum().backward()
    assert [t[0] for t in told[4:]] == ["tied"] and told[-1][2] == [61.0]


def test_on_grad_ready_needs_a_gradient_to_come(backend):
    with pytest.raises(RuntimeError, match="none will ever be ready"):
        mg.ones(2).on_grad_ready(print)


def test_a_hook_may_change_grad(backend):
    """What data-parallel training does: average, in place of the local gradient, while the walk goes on."""
    x, w = leaf(1.0), leaf(4.0)
    w.on_grad_ready(lambda t: setattr(t, "grad", t.grad * 0.5))
    (x * w).sum().backward()
    close(w.grad, np.array([0.5]))
    close(x.grad, np.array([4.0]))


def test_a_watcher_that_is_gone_is_not_told(backend):
    x, told = leaf(1.0), []
    h = x * x
    h.on_grad_ready(told.append)
    y = (h * 2.0).sum()
    del h
    y.backward()
    assert told == []
    close(x.grad, np.array([4.0]))


# ---- memory ---------------------------------------------------------------------------------------------------------


def test_saved_arrays_are_dropped_as_the_walk_passes(backend):
    """When the walk reaches the first layer, the last layer's saved output is already gone."""
    class Look(mg.Function):
        """y = x; backward notes which of the given weak references are still alive."""

        def __init__(self, refs, alive):
            self.refs, self.alive = refs, alive

        def forward(self, x):
            return x.copy()

        def backward(self, gy):
            self.alive.append([ref() is not None for ref in self.refs])
            return gy

    try:
        x = leaf(0.1, 0.2)
        refs, alive = [], []
        h = Look(refs, alive)(x)
        for _ in range(3):
            h = h.exp()                             # each saves its output
            refs.append(weakref.ref(h))
            h = Look(refs, alive)(h)
        y = h.sum()
        saved = [fn._saved[0] for fn in _reachable(y._fn)[0] if fn.name == "exp"][::-1]
        if backend == "numpy":
            refs[:] = [weakref.ref(a) for a in saved]
        del h, saved
        y.backward()
        if backend == "numpy":                      # strict arrays cannot be referred to weakly
            assert alive == [[True] * 3, [True, True, False], [True, False, False], [False] * 3]
        assert y._fn.released
    finally:
        del mg.Function.registry["look"]


def test_a_graph_dies_with_its_result(backend):
    """No reference cycles: without the collector, dropping the result frees every node."""
    x = leaf(1.0, 2.0)
    gc.disable()
    try:
        y = F.softmax(x * x + 1.0, -1).sum()
        nodes = [weakref.ref(fn) for fn in _reachable(y._fn)[0]]
        assert len(nodes) == 4
        del y
        assert all(ref() is None for ref in nodes)
    finally:
        gc.enable()


# ---- the base class of every operation ------------------------------------------------------------------------------


def planted(backward):
    """An operation on two inputs with the given backward, not in the registry."""
    cls = type("PlantedFunction", (mg.Function,), {"forward": lambda self, a, b: a + b,
                                                   "backward": lambda self, gy: backward(gy)})
    del mg.Function.registry["planted_function"]
    return cls()


def test_the_base_class_un_broadcasts_and_keeps_dtypes(backend):
    be = backends.current()
    a = mg.tensor(np.ones((2, 3), np.float32), requires_grad=True)
    b = mg.tensor(np.ones((3, 1, 1), np.float32), requires_grad=True)
    planted(lambda gy: (gy, gy.astype("float64")))(a, b).backward(be.send(np.ones((3, 2, 3))))
    close(a.grad, np.full((2, 3), 3.0, np.float32), dtype=True)
    close(b.grad, np.full((3, 1, 1), 6.0, np.float32), dtype=True)


def test_a_wrong_backward_is_named(backend):
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    for backward, message in ((lambda gy: gy, "returned 1 gradients for 2 inputs"),
                              (lambda gy: (gy, None), "gave no gradient for input 1"),
                              (lambda gy: (gy, gy.reshape(2, 1)), r"input 1 has shape \(2, 1\).*shape \(2,\)"),
                              (lambda gy: (gy.sum(), gy), r"input 0 has shape \(\)")):
        with pytest.raises(RuntimeError, match=f"backward of planted_function.*{message}"):
            planted(backward)(a, b).sum().backward()


def test_no_grad_is_a_context_and_a_decorator(backend):
    x = leaf(1.0)

    @mg.no_grad()
    def inference(depth):
        assert not mg.is_grad_enabled()
        return x * 2.0 if depth == 0 else inference(depth - 1)

    assert not inference(3).requires_grad and mg.is_grad_enabled()
    with pytest.raises(ZeroDivisionError), mg.no_grad():
        raise ZeroDivisionError
    assert mg.is_grad_enabled() and (x * 2.0).requires_grad
    again = mg.no_grad()
    with again, again:
        assert not mg.is_grad_enabled()
    assert mg.is_grad_enabled()


def test_no_grad_on_a_generator(backend):
    """Nothing is recorded while it runs; what its user does between two items is."""
    w = mg.ones(2).requires_grad_()

    @mg.no_grad()
    def doubled(n):
        got = None
        for _ in range(n):
            got = yield (w * 2).requires_grad, got
        return "end"

    it = doubled(2)
    assert next(it) == (False, None) and (w * 2).requires_grad and it.send(5) == (False, 5)
    with pytest.raises(StopIteration) as end:
        next(it)
    assert end.value.value == "end" and mg.is_grad_enabled() and list(doubled(0)) == []
