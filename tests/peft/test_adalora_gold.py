"""AdaLoRA: the penalty, the scores, the budget and where it goes, and that none of it can be forgotten."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import peft, training
from minigrad.peft import AdaLoRA, Combined
from tests.peft.rows import adapt, logits, loss_of, make_base, make_ids, randomize
from tests.peft.test_files import header
from tests.training.tiny import tiny_batches, tiny_model

METHOD = AdaLoRA(rank=2, initial_rank=4, tinit=3, tfinal=5, interval=2)
TOTAL = 20


def run(adapted, total=TOTAL, steps=None, after=None, lr=1e-2):
    """Train; after(step) is called behind each step."""
    optimizer = mg.optim.AdamW(adapted.param_groups(lr), lr=lr, weight_decay=0.0)
    for step in range(total if steps is None else steps):
        adapted.before_step(step, total)
        (loss_of(adapted, make_ids(seed=step)) + adapted.penalty()).backward()
        optimizer.step()
        adapted.after_step(step, total)
        optimizer.zero_grad()
        if after is not None:
            after(step)
    return adapted


def ranks(adapted):
    return adapted.method.allocation(adapted.model)


def test_the_penalty_is_the_papers(backend):
    adapted = randomize(adapt(make_base("float64"), METHOD))
    expected = 0.0
    for m in adapted.method.layers(adapted.model):
        P, Q = m.lora_B.numpy(), m.lora_A.numpy()
        expected += ((P.T @ P - np.eye(4)) ** 2).sum() + ((Q @ Q.T - np.eye(4)) ** 2).sum()
    assert adapted.penalty().item() == pytest.approx(0.1 * expected, rel=1e-12)
    m = adapted.method.layers(adapted.model)[0]
    m.lora_B.data = m.lora_B.backend.send(np.linalg.qr(np.random.default_rng(0).normal(size=(8, 4)))[0])
    m.lora_A.data = m.lora_A.backend.send(np.linalg.qr(np.random.default_rng(1).normal(size=(8, 4)))[0].T)
    assert abs(m.penalty().item()) < 1e-25
    assert adapt(make_base(), AdaLoRA(rank=2, initial_rank=3, orthogonality=0)).penalty() is None


def test_the_budget_falls_from_the_first_to_the_last_rank():
    budget = [METHOD.budget(t, 100, targets=6) for t in range(101)]
    assert budget[:4] == [24] * 4 and budget[95:] == [12] * 6
    assert all(a >= b for a, b in zip(budget, budget[1:], strict=False))
    assert budget[3 + 46] == int(12 + 12 * (1 / 2) ** 3)            # half of the way from 3 to 95
    shares = AdaLoRA(rank=2, initial_rank=4, tinit=0.1, tfinal=0.5)
    assert shares.phases(40) == (4, 20) and shares.phases(1000) == (100, 500)


def test_every_allocation_spends_exactly_the_budget(backend):
    seen = []

    def after(step):
        t, now = step + 1, ranks(adapted)
        if t <= 3:
            assert sum(now.values()) == 16
        elif t == 15 or t < 15 and t % 2 == 0:
            assert sum(now.values()) == METHOD.budget(t, TOTAL, targets=4)
        for m in adapted.method.layers(adapted.model):
            silent = m.kept_triplets.numpy()[:, 0] == 0
            if t >= 15 or t > 3 and t % 2 == 0:
                assert (m.lora_E.numpy()[silent] == 0).all() and (m.lora_E.numpy()[~silent] != 0).all()
        seen.append(sum(now.values()))

    adapted = adapt(make_base(), METHOD)
    run(adapted, after=after)
    assert len(seen) == TOTAL and seen == sorted(seen, reverse=True) and seen[-1] == 2 * 4
    assert len(set(ranks(adapted).values())) > 1, "all targets got the same: choose another seed for this test"


def test_the_best_triplets_stay(backend):
    from minigrad.peft.adalora_layer import allocate

    adapted, rng = randomize(adapt(make_base("float64"), METHOD)), np.random.default_rng(0)
    layers, expected = adapted.method.layers(adapted.model), []
    means = [{n: (np.zeros(getattr(m, n).shape), np.zeros(getattr(m, n).shape)) for n in ("lora_A", "lora_E", "lora_B")}
             for m in layers]
    for _ in range(3):                              # random gradients: three updates of the running means
        for m, mine in zip(layers, means, strict=True):
            for n, (I, U) in mine.items():
                p = getattr(m, n)
                g = rng.normal(size=p.shape)
                p.grad = p.backend.send(g)
                now = np.abs(p.numpy() * g)
                I = 0.85 * I + 0.15 * now
                mine[n] = (I, 0.85 * U + 0.15 * np.abs(now - I))
            m.update_importance(0.85, 0.85)
    for m, mine in zip(layers, means, strict=True):
        Q, E, P = (mine[n][0] * mine[n][1] for n in ("lora_A", "lora_E", "lora_B"))
        expected.append(E[:, 0] + Q.mean(axis=1) + P.mean(axis=0))
        np.testing.assert_allclose(mg.to_numpy(m.scores()), expected[-1], rtol=1e-12)
    allocate(layers, 7)
    threshold = np.sort(np.concatenate(expected))[-7]
    for m, scores in zip(layers, expected, strict=True):
        assert np.array_equal(m.kept_triplets.numpy()[:, 0] > 0, scores >= threshold)


def test_a_budget_that_does_not_shrink_keeps_everything(backend):
    adapted = run(adapt(make_base(), AdaLoRA(rank=3, initial_rank=3)), total=6)
    assert set(ranks(adapted).values()) == {3}


# ---- it cannot be forgotten ------------------------------------------------------------------------------------------


def test_training_without_after_step_raises(backend):
    adapted, ids = adapt(make_base(), METHOD), make_ids()
    optimizer = mg.optim.AdamW(adapted.param_groups(1e-2), lr=1e-2)
    for _ in range(2):                              # gradients may be accumulated over several passes
        loss_of(adapted, ids).backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"budget was not allocated.*adapted.after_step\(step, total\)"):
        loss_of(adapted, ids)
    assert np.isfinite(logits(adapted, ids)).all()          # without gradients, or in eval mode, it is only used
    loss_of(adapted.eval(), ids)
    adapted.train().after_step(0, TOTAL)
    loss_of(adapted, ids).backward()


def test_after_step_behind_zero_grad_raises(backend):
    adapted = adapt(make_base(), METHOD)
    optimizer = mg.optim.AdamW(adapted.param_groups(1e-2), lr=1e-2)
    loss_of(adapted, make_ids()).backward()
    optimizer.step()
    optimizer.zero_grad()
    with pytest.raises(RuntimeError, match=r"has no gradient any more.*before zero_grad\(\)"):
        adapted.after_step(0, TOTAL)


def test_a_step_that_was_skipped_for_its_infinite_gradients_leaves_no_trace(backend):
    adapted, ids = adapt(make_base(), METHOD), make_ids()
    optimizer = mg.optim.AdamW(adapted.param_groups(1e-2), lr=1e-2)
    scaler = mg.amp.GradScaler()
    for step in range(4):
        loss = loss_of(adapted, ids) + adapted.penalty()
        with np.errstate(all="ignore"):
            scaler.scale(loss * np.inf if step == 2 else loss).backward()
            scaler.step(optimizer)
        scaler.update()
        before = [mg.to_numpy(m.scores()) for m in adapted.method.layers(adapted.model)]
        adapted.after_step(step, TOTAL)
        optimizer.zero_grad()
        after = [mg.to_numpy(m.scores()) for m in adapted.method.layers(adapted.model)]
        assert all(np.isfinite(s).all() for s in after)
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True)) == (step == 2)


def test_the_training_loop_allocates_and_would_fail_without(monkeypatch):
    method = AdaLoRA(rank=2, initial_rank=4)
    adapted = peft.apply(tiny_model(n_layers=2), method)
    training.fit(adapted, tiny_batches(), steps=10, lr=1e-2)
    assert sum(ranks(adapted).values()) == 2 * 4
    monkeypatch.setattr(peft.AdaptedModel, "after_step", lambda *args: None)
    with pytest.raises(RuntimeError, match="budget was not allocated"):
        training.fit(peft.apply(tiny_model(n_layers=2), method), tiny_batches(), steps=10, lr=1e-2)


def test_a_run_without_room_for_the_budget_is_refused_before_it_begins():
    adapted = peft.apply(tiny_model(), AdaLoRA(rank=2, initial_rank=4, tinit=5, tfinal=5))
    with pytest.raises(ValueError, match="of 10 steps, tinit=5 and tfinal=5 leave none"):
        training.fit(adapted, tiny_batches(), steps=10, lr=1e-2)


def test_settings_are_checked():
    for wrong, words in ((dict(rank=5, initial_rank=4), "initial_rank must be a whole number of at least 5"),
                         (dict(tinit=-0.1), "tinit must be"), (dict(tfinal=1.5), "tfinal"), (dict(beta1=1.0), "beta1"),
                         (dict(orthogonality=-1), "orthogonality"), (dict(ranks=(1, 2)), "0 ranks|ranks needs a number")):
        with pytest.raises(ValueError, match=words):
            AdaLoRA(**{"targets": ("q_proj",), **wrong})
    with pytest.raises(ValueError, match="must be whole paths"):
        adapt(make_base(), AdaLoRA(rank=2, initial_rank=4, targets=("q_proj",), ranks=(2,)))


# ---- what is left ----------------------------------------------------------------------------------------------------


def test_bake_drops_what_is_silenced(backend, tmp_path):
    base, ids = make_base(), make_ids()
    adapted = run(adapt(base, METHOD)).eval()
    before, left = logits(adapted, ids), {path: r for path, r in ranks(adapted).items() if r}
    adapted.bake()
    np.testing.assert_allclose(logits(adapted, ids), before, rtol=0, atol=1e-6)
    method = adapted.method
    assert dict(zip(method.targets, method.ranks, strict=True)) == left and ranks(adapted) == left
    assert adapted.counts()[0] == method.count(base.config) == 8 * 17
    assert adapted.bake().method == method
    adapted.save(tmp_path)
    names = header(tmp_path / "adapter_model.safetensors")
    for path, r in left.items():
        assert names[f"base_model.model.{path}.lora_E"] == ("F32", (r, 1))
        assert names[f"base_model.model.{path}.lora_A"] == ("F32", (r, 8))
        assert names[f"base_model.model.{path}.lora_B"] == ("F32", (8, r))
    assert len(names) == 3 * len(left)
    again = peft.load(base, tmp_path, trainable=True)
    assert again.method == method and np.array_equal(logits(again.eval(), ids), logits(adapted, ids))
    run(again.train(), total=3)                     # it can be trained on; the ranks stay
    assert ranks(again) == left


def test_a_target_with_no_triplet_left_is_the_plain_layer_again(backend):
    base, ids = make_base(), make_ids()
    adapted = randomize(adapt(base, METHOD)).eval()
    gone, stays = adapted.method.layers(adapted.model)[:2]
    gone.keep(np.zeros(4, dtype=bool))
    stays.keep(np.array([True, False, False, True]))
    for m in (gone, stays):
        m.silence()
    before = logits(adapted, ids)
    adapted.bake()
    assert type(adapted.model.blocks[0].attn.q_proj) is mg.nn.Linear
    assert adapted.method.targets == ("blocks.0.attn.v_proj", "blocks.1.attn.q_proj", "blocks.1.attn.v_proj")
    assert adapted.method.ranks == (2, 4, 4)
    np.testing.assert_allclose(logits(adapted, ids), before, rtol=0, atol=1e-6)


def test_silenced_triplets_are_silent_after_loading(backend, tmp_path):
    adapted = run(adapt(make_base(), METHOD))
    adapted.save(tmp_path)
    again = peft.load(make_base(), tmp_path)
    assert ranks(again) == ranks(adapted)
    fresh = adapt(make_base(), METHOD)
    fresh.save(tmp_path)
    assert set(ranks(peft.load(make_base(), tmp_path)).values()) == {4}


def test_a_run_that_is_interrupted_allocates_as_one_that_is_not(backend):
    whole = run(adapt(make_base(), METHOD))
    first = run(adapt(make_base(), METHOD), steps=9)
    second = adapt(make_base(), METHOD, seed=99)
    second.load_state_dict(first.state_dict())
    for a, b in zip(first.method.layers(first.model), second.method.layers(second.model), strict=True):
        assert np.array_equal(mg.to_numpy(a.scores()), mg.to_numpy(b.scores()))
        assert np.array_equal(a.kept_triplets.numpy(), b.kept_triplets.numpy())
    assert sum(ranks(whole).values()) == 8 and ranks(second) == ranks(first)


def test_combined_with_another_method_the_hooks_arrive(backend):
    adapted = adapt(make_base(), Combined((METHOD, peft.IA3())))
    run(adapted)
    left = METHOD.allocation(adapted.model)
    assert sum(left.values()) == 8
    adapted.bake()
    assert sum(adapted.method.parts[0].ranks) == 8
