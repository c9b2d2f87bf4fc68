"""What every fine-tuning method promises (U1 … U14), tested for every row of the registry on every backend."""
import copy
import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad import peft
from tests.peft.rows import ALTERNATING, ROWS, TINY, adapt, logits, loss_of, make_base, make_ids, randomize, train

CONFIGS = [dict(), dict(n_layers=3, d_ff=12), dict(d_model=12, n_heads=3, vocab_size=9, context=20, positions="rotary")]
TIED = dict(tie_head=True)


@pytest.fixture(params=ROWS, ids=str)
def row(request):
    return request.param


@pytest.fixture(params=[row for row in ROWS if row.method.mergeable], ids=str)
def mergeable_row(request):
    return request.param


def test_every_registered_method_has_a_row():
    tested = {row.method.name for row in ROWS}
    assert set(peft.methods()) - tested == set(), "add rows to tests/peft/rows.py"
    assert tested - set(peft.methods()) == set()


def test_u1_starts_where_it_says(row, backend):
    base = make_base()
    adapted = adapt(base, row.method).eval()
    change = np.abs(logits(adapted, make_ids()) - logits(base, make_ids())).max()
    if row.start == "exact":
        assert change == 0.0
    elif row.start == "close":
        assert 0.0 < change < 1e-3
    else:
        assert change > 1e-3


@pytest.mark.parametrize("changes", CONFIGS, ids=str)
def test_u2_the_count_is_the_closed_form(row, changes, backend):
    base = make_base(**changes)
    adapted = adapt(base, row.method)
    own = {n: p for n, p in adapted.own_parameters().items() if p.requires_grad}
    assert row.method.count(base.config) == sum(p.size for p in own.values())
    assert row.method.count(base.config) == adapted.counts()[0]
    assert len(adapted.trainable_parameters()) == len(own)


def test_u2_the_count_with_a_tied_head(row, backend):
    base = make_base(**TIED)
    if getattr(row.method, "head", False) or {"head", "token_embedding"} & set(getattr(row.method, "targets", ())):
        with pytest.raises(ValueError, match="tied"):
            adapt(base, row.method)
    else:
        assert row.method.count(base.config) == adapt(base, row.method).counts()[0]


def test_u3_a_step_moves_nothing_that_is_frozen(row, backend):
    base = make_base()
    before, flags = base.state_dict(), [p.requires_grad for p in base.parameters()]
    adapted = adapt(base, row.method)
    own = {id(p) for p in adapted.own_parameters().values()}
    frozen = {n: p for n, p in adapted.named_parameters() if id(p) not in own}
    arrays = {id(p.data): name for name, p in base.named_parameters()}
    for p in adapted.own_parameters().values():
        p.data[...] = p.data * 0.5                  # in place: an array that the base holds too would change
    train(adapted, 2, row.lr, make_ids())
    for name, p in frozen.items():
        assert p.grad is None and not p.requires_grad, name
        assert id(p.data) in arrays, f"{name} no longer shares the base's array"
    assert all(p.grad is None for p in base.parameters())
    assert [p.requires_grad for p in base.parameters()] == flags
    assert all(np.array_equal(before[n], a) for n, a in base.state_dict().items())


def test_u4_everything_trained_gets_a_gradient(row, backend):
    adapted = adapt(make_base(), row.method)
    before = {n: p.numpy().copy() for n, p in adapted.named_trainable_parameters()}
    gradients = {}
    train(adapted, 3, row.lr, make_ids(), gradients)
    for name, p in adapted.named_trainable_parameters():
        assert name in gradients and gradients[name].shape == p.shape and gradients[name].dtype == p.dtype, name
        if not name.endswith("k_proj.bias"):        # its true gradient is zero: softmax ignores a common shift
            assert not np.array_equal(before[name], p.numpy()), f"{name} did not move"


def test_the_optimizers_groups_hold_everything_trained_exactly_once(row, backend):
    adapted = adapt(make_base(), row.method)
    grouped = [pair for group in adapted.param_groups(1e-3) for pair in group["params"]]
    assert sorted(n for n, _ in grouped) == sorted(n for n, _ in adapted.named_trainable_parameters())
    assert all(adapted.get_parameter(n) is p for n, p in grouped)


def test_u5_gradients_are_those_of_finite_differences(row, backend):
    adapted = randomize(adapt(make_base("float64"), row.method).eval())
    if row.hold is not None:
        row.hold(adapted)
    ids, rng, eps = make_ids(batch=2, tokens=5), np.random.default_rng(6), 1e-6
    loss_of(adapted, ids).backward()
    for name, p in adapted.named_trainable_parameters():
        assert p.dtype.name == "float64", name
        direction = rng.normal(size=p.shape)
        here, sides = p.data, []
        for sign in (1, -1):
            p.data = here + p.backend.send(sign * eps * direction)
            with mg.no_grad():
                sides.append(loss_of(adapted, ids).item())
        p.data = here
        slope = (sides[0] - sides[1]) / (2 * eps)
        expected = float((mg.to_numpy(p.grad) * direction).sum())
        assert slope == pytest.approx(expected, rel=1e-5, abs=1e-8), name


def test_u6_disabled_is_the_base_bit_by_bit(row, backend):
    base, ids = make_base(), make_ids()
    adapted = adapt(base, row.method)
    train(adapted, 2, row.lr, ids)
    adapted.eval()
    with adapted.disabled():
        assert np.array_equal(logits(adapted, ids), logits(base, ids))
        assert [list(a) for a in adapted.generate(ids, 3)] == [list(a) for a in base.generate(ids, 3)]
    assert not np.array_equal(logits(adapted, ids), logits(base, ids))


def test_u7_saved_and_loaded_it_is_the_same(row, backend, tmp_path):
    base, ids = make_base(), make_ids()
    adapted = randomize(adapt(base, row.method).eval())
    adapted.save(tmp_path / "adapter")
    again = peft.load(make_base(), tmp_path / "adapter").eval()
    np.testing.assert_allclose(logits(again, ids), logits(adapted, ids), rtol=0, atol=2e-6)
    if adapted.method.stored() == adapted.method:   # nothing was baked: the same numbers, so the same bits
        assert np.array_equal(logits(again, ids), logits(adapted, ids))
        assert again.method == adapted.method
    assert again.trainable_parameters() == []
    ready = peft.load(make_base(), tmp_path / "adapter", trainable=True)
    assert [n for n, p in ready.own_parameters().items() if not p.requires_grad] == []


def test_u8_it_learns(row, backend):
    adapted = adapt(make_base(), row.method)
    losses = train(adapted, 25, row.lr, ALTERNATING)
    assert min(losses[-3:]) < 0.95 * losses[0], losses


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-5), ("float64", 1e-12)])
def test_u9_merged_equals_unmerged_or_is_refused(row, dtype, atol, backend):
    base, ids = make_base(dtype), make_ids()
    adapted = randomize(adapt(base, row.method)).eval()
    before = logits(adapted, ids)
    if not row.method.mergeable:
        for merge in (adapted.merge, adapted.merge_and_unload):
            with pytest.raises(ValueError, match="cannot be merged: .{10,}"):
                merge()
        assert np.array_equal(logits(adapted, ids), before) and not adapted.merged
        return
    assert not np.allclose(before, logits(base, ids), atol=1e-3), "the adapter does nothing: the test proves nothing"
    plain = adapted.merge_and_unload()
    adapted.merge()
    np.testing.assert_allclose(logits(adapted, ids), before, rtol=0, atol=atol)
    assert type(plain) is type(base) and list(dict(plain.named_parameters())) == list(dict(base.named_parameters()))
    assert [type(m) for m in plain.modules()] == [type(m) for m in base.modules()]
    assert [vars(m).keys() for m in plain.modules()] == [vars(m).keys() for m in base.modules()], "a trace of the method"
    assert np.array_equal(logits(plain, ids), logits(adapted, ids))
    assert [p.requires_grad for p in plain.parameters()] == [p.requires_grad for p in base.parameters()]


def test_u10_merging_twice_raises(mergeable_row, backend):
    adapted = adapt(make_base(), mergeable_row.method)
    with pytest.raises(RuntimeError, match="not merged"):
        adapted.unmerge()
    adapted.merge()
    with pytest.raises(RuntimeError, match="merged already"):
        adapted.merge()
    with pytest.raises(RuntimeError, match="unmerge"):
        loss_of(adapted.train(), make_ids())
    with pytest.raises(RuntimeError, match="unmerge"):
        adapted.load_state(adapted.state())
    adapted.unmerge()
    with pytest.raises(RuntimeError, match="not merged"):
        adapted.unmerge()


def test_u11_unmerge_restores_every_bit(mergeable_row, backend):
    row = mergeable_row
    adapted, ids = randomize(adapt(make_base(), row.method)).eval(), make_ids()
    before, arrays = logits(adapted, ids), [p.data for p in adapted.parameters()]
    adapted.merge().unmerge()
    assert all(p.data is a for p, a in zip(adapted.parameters(), arrays, strict=True))
    assert np.array_equal(logits(adapted, ids), before)
    assert min(train(adapted.train(), 3, row.lr, ids)) > 0      # and it can be trained on


def test_u12_half_precision_runs(row, backend):
    adapted = randomize(adapt(make_base(), row.method), scale=0.05).to(dtype="float16").eval()
    loss = loss_of(adapted, make_ids())
    loss.backward()
    assert np.isfinite(loss.item())
    assert {p.grad.dtype.name for p in adapted.trainable_parameters()} == {"float16"}
    base = adapted.base
    assert {p.dtype.name for p in base.parameters()} == {"float16"}
    with adapted.disabled():
        assert np.array_equal(logits(adapted, make_ids()), logits(base.eval(), make_ids()))


def test_u13_a_hundred_swaps_leave_everything_as_it_was(row, backend):
    base, ids = make_base(), make_ids()
    before, objects = base.state_dict(), [(n, id(p), id(p.data)) for n, p in base.named_parameters()]
    adapted = randomize(adapt(base, row.method, name="a").eval(), seed=7)
    a = logits(adapted, ids)
    randomize(adapted.add("b", row.method, rng=np.random.default_rng(8)), seed=9)
    b = logits(adapted, ids)
    for _ in range(50):
        adapted.set_active("a")
        adapted.set_active("b")
    assert np.array_equal(logits(adapted, ids), b)
    adapted.set_active("a")
    assert np.array_equal(logits(adapted, ids), a) and not np.array_equal(a, b)
    assert [(n, id(p), id(p.data)) for n, p in base.named_parameters()] == objects
    assert all(np.array_equal(before[n], x) for n, x in base.state_dict().items())


def test_u14_adding_and_deleting_leaves_no_residue(row, backend):
    base = make_base()
    names = [(n, type(m)) for n, m in base.named_modules()], [n for n, _ in base.named_parameters()], dict(vars(base))
    adapted = adapt(base, row.method, name="a")
    adapted.add("b", row.method)
    alone = [n for n, _ in adapt(base, row.method).named_parameters()]
    adapted.delete("a")
    assert adapted.names == ["b"] and [n for n, _ in adapted.named_parameters()] == alone
    del adapted
    assert names == ([(n, type(m)) for n, m in base.named_modules()], [n for n, _ in base.named_parameters()],
                     dict(vars(base)))


# ---- beyond the list -------------------------------------------------------------------------------------------------

def test_decoding_with_a_cache_equals_the_full_forward(row, backend):
    adapted, ids = randomize(adapt(make_base(), row.method)).eval(), make_ids(tokens=7)
    full = logits(adapted, ids)
    cache = adapted.new_cache(len(ids), 7)
    parts = [logits(adapted, ids[:, a:b], cache=cache) for a, b in ((0, 3), (3, 4), (4, 7))]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), full, rtol=0, atol=1e-5)
    with_cache, without = (adapted.generate([[1, 2, 3], [4]], 6, use_cache=u) for u in (True, False))
    assert [list(x) for x in with_cache] == [list(x) for x in without]


def test_checkpointed_blocks_give_the_same_gradients_or_are_refused(row, backend):
    found = []
    for flag in (False, True):
        adapted = randomize(adapt(make_base(), row.method)).eval()          # no dropout, no dropped adapters
        adapted.model.checkpoint_blocks = flag
        if flag and isinstance(row.method, peft.IntrinsicDimension):
            with pytest.raises(ValueError, match="checkpoint_blocks = False"):
                loss_of(adapted, make_ids())
            return
        loss = loss_of(adapted, make_ids())
        with mg.no_grad():
            loss_of(adapted, make_ids(batch=2, tokens=4))                   # whatever runs in between does not matter
        loss.backward()
        found.append({n: mg.to_numpy(p.grad) for n, p in adapted.named_trainable_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys() and found[0]
    for name, grad in found[0].items():
        np.testing.assert_allclose(found[1][name], grad, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_a_copy_is_the_same_and_lives_by_itself(row, copied, backend):
    adapted, ids = randomize(adapt(make_base(), row.method)).eval(), make_ids()
    before, other = logits(adapted, ids), copied(adapted)
    assert np.array_equal(logits(other, ids), before)
    train(other.train(), 2, row.lr, ids)
    assert not np.array_equal(logits(other.eval(), ids), before)
    with other.disabled():
        assert np.array_equal(logits(other, ids), logits(adapted.base, ids))
    assert np.array_equal(logits(adapted, ids), before)


def test_initial_values_do_not_depend_on_the_backend(row, backend):
    here = adapt(make_base(), row.method).state()
    with mg.use_backend("numpy"):
        there = adapt(make_base(), row.method).state()
    assert here.keys() == there.keys()
    for name in here:
        np.testing.assert_allclose(here[name], there[name], rtol=1e-4, atol=1e-6)


def test_two_seeds_give_two_starts(row, backend):
    base = make_base()
    one, two = (adapt(base, row.method, seed=s).state() for s in (1, 2))
    assert any(not np.array_equal(one[n], two[n]) for n in one) == row.drawn


def test_the_summary_is_pefts_line(row, backend, capsys):
    adapted = adapt(make_base(), row.method)
    adapted.summary()
    trainable, total = adapted.counts()
    line = capsys.readouterr().out.splitlines()[0]
    percent = f"{100 * trainable / total:.4f}"
    assert line == f"trainable params: {trainable:,d} || all params: {total:,d} || trainable%: {percent}"
    base = {n for n, _ in make_base().named_parameters()}
    new = sum(p.size for n, p in adapted.own_parameters().items() if n.replace(".base_layer", "") not in base)
    assert total == make_base().num_parameters() + new


def test_the_feature_table_says_what_the_tests_find():
    by_name = {}
    for row in ROWS:
        by_name.setdefault(row.method.name, row)    # the first row has the default settings
    for line in peft.table():
        row = by_name[line["method"]]
        assert (line["starts at base"] == "yes") == (row.start == "exact")
        assert all(line.values()), line


def test_positions_use_up_context(row, backend):
    adapted = adapt(make_base(), row.method)
    room = TINY["context"] - adapted.position_shift
    assert logits(adapted, make_ids(tokens=room)).shape[1] == room
    with pytest.raises(ValueError, match="context"):
        logits(adapted, make_ids(tokens=room + 1))
