"""The checks of lesson 09. They import nothing of yours: `ex` is the file under test."""
import numpy as np

import minigrad as mg
from lessons import engine
from lessons.kit import calls, cases, check, exercise, rng, same, same_each, unchanged


def bf16(x):
    """x rounded to bf16, by arithmetic: to a multiple of the step, ties to even."""
    x = np.asarray(x, dtype=np.float64)
    step = 2.0 ** (np.frexp(x)[1] - 8)
    return (np.rint(x / step) * step).astype(np.float32)


def half(x):
    """x rounded to fp16."""
    return np.asarray(x, dtype=np.float16).astype(np.float32)


def gradients(seed, shape, low=-34, high=-10):
    """Gradients of many sizes, some of them 0."""
    r = rng(seed)
    g = (r.choice([-1.0, 1.0], shape) * 2.0 ** r.uniform(low, high, shape)).astype(np.float32)
    g[r.random(shape) < 0.2] = 0
    return g


@exercise("09.1")
@cases(shape=[(40, 30), (7,), (3, 5, 4)], scale=[1.0, 128.0, 65536.0])
def test_underflow_share(ex, shape, scale):
    g = gradients(9, shape)
    lost = sum(1 for v in g.ravel().tolist() if v != 0 and abs(v) * scale <= 2.0 ** -25)
    with unchanged(g):
        got = ex.underflow_share(g, scale)
    same(got, lost / np.count_nonzero(g), f"underflow_share of {g.size} gradients at scale {scale:g}")


@exercise("09.1")
def test_underflow_share_at_the_edges(ex):
    same(ex.underflow_share(np.zeros(5, np.float32), 4.0), 0.0, "underflow_share of zeros")
    g = np.array([2.0 ** -25, 1.1 * 2.0 ** -25, 2.0 ** -24, 0.0, -(2.0 ** -26), 3.0], np.float32)
    same(ex.underflow_share(g, 1.0), 2 / 5, "underflow_share of 2^-25, 1.1·2^-25, 2^-24, 0, −2^-26 and 3")
    same(ex.underflow_share(g, 1e6), 0.0, "underflow_share of the same at scale 10⁶, where one is infinite and none is 0")


@exercise("09.2")
@cases(scale=[65536.0, 3.0, 0.25])
def test_unscale(ex, scale):
    r = rng(2)
    grads = [r.normal(size=(3, 4)).astype(np.float32), r.normal(size=5).astype(np.float32), np.zeros((1, 2), np.float32)]
    with unchanged(*grads):
        out = ex.unscale(grads, scale)
    check(isinstance(out, tuple | list) and len(out) == 2, "unscale: return (gradients, found_inf)")
    check(isinstance(out[0], list) and len(out[0]) == 3, "unscale: return as many gradients as came, in a list")
    for i, (got, g) in enumerate(zip(out[0], grads, strict=True)):
        same(got, (g.astype(np.float64) / scale).astype(np.float32), f"unscale by {scale:g}: gradient {i}", rtol=1e-6, dtype=True)
    check(not out[1], "unscale: all numbers are finite, so found_inf should be False, yours is True")


@exercise("09.2")
def test_one_bad_number_is_found(ex):
    rows = []
    for bad, where in [*((bad, where) for bad in (np.inf, -np.inf, np.nan) for where in range(3)), (1e30, 1)]:
        grads = [np.ones((2, 3), np.float32), np.ones(4, np.float32), np.ones((3, 1), np.float32)]
        grads[where].ravel()[-1] = bad
        out = ex.unscale(grads, 8.0)
        check(isinstance(out, tuple | list) and len(out) == 2, "unscale: return (gradients, found_inf)")
        check(isinstance(out[1], bool | np.bool_), f"unscale: found_inf should be True or False, yours is {out[1]!r}")
        rows.append((bool(out[1]), not np.isfinite(bad), f"unscale: gradient {where} holds {bad:g}: found_inf"))
    same_each(rows)


@exercise("09.3")
@cases(lr=[0.1, 0.5, 0.3], max_norm=[1e9, 1.0, 0.2])
def test_guarded_step(ex, lr, max_norm):
    r = rng(3)
    weights = [r.normal(size=s).astype(np.float32) for s in ((3, 4), (5,), (1, 2))]
    grads = [r.normal(size=s).astype(np.float32) for s in ((3, 4), (5,), (1, 2))]
    joint = np.linalg.norm(np.concatenate([g.ravel() for g in grads]).astype(np.float64))
    with unchanged(*weights, *grads):
        new = ex.guarded_step(weights, grads, False, lr, max_norm)
    check(isinstance(new, list) and len(new) == 3, "guarded_step: return a list with as many weights as came")
    for i, (got, w, g) in enumerate(zip(new, weights, grads, strict=True)):
        same(got, (w - lr * min(1, max_norm / joint) * g).astype(np.float32),
             f"guarded_step, gradient of length {joint:.3g}, max_norm {max_norm:g}: weight {i}", rtol=1e-5, dtype=True)


@exercise("09.3")
def test_a_step_is_skipped(ex):
    weights = [np.array([1.0, 2.0], np.float32), np.array([[3.0]], np.float32)]
    grads = [np.array([np.nan, 1.0], np.float32), np.array([[0.5]], np.float32)]
    with unchanged(*weights):
        new = ex.guarded_step(weights, grads, True, 0.1, 1.0)
    for i in range(2):
        same(new[i], weights[i], f"guarded_step after an overflow: weight {i} must stay", rtol=0, atol=0)
    check(new is weights, "guarded_step after an overflow: return the list weights itself")
    zero = [np.zeros(2, np.float32), np.zeros((1, 1), np.float32)]
    same(ex.guarded_step(weights, zero, False, 0.1, 1.0)[0], weights[0], "guarded_step with gradients of zero")


@exercise("09.4")
@cases(growth=[2.0, 3.0], backoff=[0.5, 0.25], interval=[3, 5], seed=[1, 2])
def test_next_scale(ex, growth, backoff, interval, seed):
    chance, scale, good, told = rng(seed), 1024.0, 0, []
    history = chance.random(60) < 0.15
    rows, streak, want = [], 0, 1024.0              # said in another way: a streak of good steps, cut where the scale changes
    for step, found in enumerate(history):
        got = ex.next_scale(scale, good, bool(found), growth, backoff, interval)
        check(isinstance(got, tuple | list) and len(got) == 2, "next_scale: return (scale, good_steps)")
        streak = 0 if found else streak + 1
        want *= backoff if found else growth if streak == interval else 1.0
        streak %= interval
        told.append("overflow" if found else "good")
        where = f"next_scale, interval {interval}, step {step} (the last: {', '.join(told[-interval - 1:])})"
        rows += [(got[0], want, f"{where}: scale"), (got[1], streak, f"{where}: good_steps")]
        scale, good = got
    same_each(rows, rtol=1e-9)


@exercise("09.4")
def test_next_scale_by_default(ex):
    same(ex.next_scale(65536.0, 1998, False), (65536.0, 1999), "next_scale(65536, 1998, False)")
    same(ex.next_scale(65536.0, 1999, False), (131072.0, 0), "next_scale(65536, 1999, False)")
    same(ex.next_scale(65536.0, 1999, True), (32768.0, 0), "next_scale(65536, 1999, True)")
    same(ex.next_scale(1.0, 7, True), (0.5, 0), "next_scale(1, 7, True)")


@exercise("09.5")
@cases(name=["fp16", "bf16"], shape=[(30, 20), (50,)])
def test_swallowed(ex, name, shape):
    r, rounded, m = rng(5), {"fp16": half, "bf16": bf16}[name], {"fp16": 10, "bf16": 7}[name]
    w = rounded(r.normal(size=shape))
    update = (r.choice([-1.0, 1.0], shape) * np.abs(w) * 2.0 ** r.uniform(-m - 5, -m + 1, shape)).astype(np.float32)
    update[r.random(shape) < 0.3] = 0
    real = update != 0
    lost = np.count_nonzero((rounded(w.astype(np.float64) + update) == w) & real)
    with unchanged(w, update):
        got = ex.swallowed(w, update, rounded)
    same(got, lost / np.count_nonzero(real), f"swallowed by {name}")


@exercise("09.5")
def test_swallowed_by_hand(ex):
    w = np.array([1.0, 1.0, 1.0, 2.0, -1.0], np.float32)
    update = np.array([2.0 ** -12, 2.0 ** -10, 0.0, 2.0 ** -10, 2.0 ** -13], np.float32)
    same(ex.swallowed(w, update, half), 3 / 4, "swallowed by fp16: 1 + 2^-12, 1 + 2^-10, 1 + 0, 2 + 2^-10, −1 + 2^-13")


@exercise("09.5")
def test_swallowed_or_rounded_away(ex):
    w, big, small = np.ones(1, np.float32), np.array([2048.0], np.float32), np.array([1e-6], np.float32)
    same(ex.swallowed(big, small, half), 1.0, "swallowed by fp16: 2048 + 1e-6, an update that fp16 itself knows")
    same(ex.swallowed(w, small, lambda x: x), 0.0, "swallowed by float32: 1 + 1e-6")


@exercise("09.6")
@cases(name=["fp16", "bf16"], lr=[0.1, 1e-4])
def test_master_step(ex, name, lr):
    r, rounded = rng(6), {"fp16": half, "bf16": bf16}[name]
    master, g = r.normal(size=(4, 3)).astype(np.float32), r.normal(size=(4, 3)).astype(np.float32)
    with unchanged(master, g):
        got = ex.master_step(master, g, lr, rounded)
    check(isinstance(got, tuple | list) and len(got) == 2, "master_step: return (master, weights)")
    want = (master - np.float32(lr) * g).astype(np.float32)
    same(got[0], want, f"master_step, lr {lr:g}: the new master, in full precision", rtol=1e-6, atol=1e-7, dtype=True)
    same(got[1], rounded(got[0]), f"master_step, lr {lr:g}: the weights, {name}", rtol=0, atol=0)


@exercise("09.6")
def test_a_thousand_small_steps_arrive(ex):
    master = np.ones(3, np.float32)
    for _ in range(1000):
        master, w = ex.master_step(master, np.ones(3, np.float32), 1e-4, bf16)
    same(w, bf16(np.full(3, 0.9)), "master_step: a weight of 1 after a thousand steps of −0.0001, in bf16", rtol=2 ** -8)


@exercise("09.2", "09.3", "09.4", plug_in=True)
def test_your_loss_scaling_trains_the_engine(ex):
    """Twelve steps in fp16, beginning with a scale that overflows: your functions against the engine's GradScaler."""
    unscale, guarded_step, next_scale = calls(ex.unscale), calls(ex.guarded_step), calls(ex.next_scale)
    lr, max_norm, steps = 0.5, 1.0, 12

    def loss_in_fp16(model):
        with mg.amp.autocast("fp16"):
            return engine.loss_of(model)

    yours, scales, scale, good = [], [], 2.0 ** 22, 0
    model = engine.small_gpt()
    parameters = list(model.parameters())
    for _ in range(steps):
        loss = loss_in_fp16(model)
        with np.errstate(all="ignore"):
            (loss * scale).backward()
        grads, found_inf = unscale([mg.to_numpy(p.grad) for p in parameters], scale)
        new = guarded_step([mg.to_numpy(p) for p in parameters], grads, found_inf, lr, max_norm)
        for p, w in zip(parameters, new, strict=True):
            p.data, p.grad = w, None
        scales.append(scale)
        yours.append(loss.item())
        scale, good = next_scale(scale, good, found_inf, 2.0, 0.5, 4)

    engines, theirs = [], []
    model = engine.small_gpt()
    optimizer = mg.optim.SGD(model.parameters(), lr=lr)
    scaler = mg.amp.GradScaler(init_scale=2.0 ** 22, growth_interval=4)
    for _ in range(steps):
        loss = loss_in_fp16(model)
        with np.errstate(all="ignore"):
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            mg.optim.clip_grad_norm_(model.parameters(), max_norm)
            scaler.step(optimizer)
        theirs.append(scaler.get_scale())
        engines.append(loss.item())
        scaler.update()
        optimizer.zero_grad()
    same(scales, theirs, "the loss scale, step by step, against GradScaler's")
    check(scales[0] > min(scales) < scales[-1], "this run should have met an overflow and have grown again")
    engine.same_curve(yours, engines, "fp16 training with loss scaling")
    engine.was_called(unscale, guarded_step, next_scale)


@exercise("09.6", plug_in=True)
def test_your_master_weights_train_the_engine(ex):
    """A transformer whose weights are bf16: your master_step against LowPrecisionWeights(…, keep="master")."""
    step = calls(ex.master_step)

    def rounded(a):
        return mg.to_numpy(mg.amp.round_to(a, "bf16"))

    model = engine.small_gpt()
    masters = {name: mg.to_numpy(p).copy() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.data = rounded(p.data)
    yours = []
    for _ in range(8):
        loss = engine.loss_of(model)
        loss.backward()
        for name, p in model.named_parameters():
            masters[name], p.data = step(masters[name], mg.to_numpy(p.grad), 0.1, rounded)
            p.grad = None
        yours.append(loss.item())

    model = engine.small_gpt()
    optimizer = mg.amp.LowPrecisionWeights(mg.optim.SGD(model.parameters(), lr=0.1), "bf16", keep="master")
    engines = []
    for _ in range(8):
        loss = engine.loss_of(model)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        engines.append(loss.item())
    engine.same_curve(yours, engines, "training with bf16 weights and a float32 master")
    engine.was_called(step)
