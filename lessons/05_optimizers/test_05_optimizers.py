"""The checks of lesson 05. They import nothing of yours: `ex` is the file under test."""
import numpy as np

import minigrad as mg
from lessons import engine
from lessons.kit import calls, cases, check, exercise, rng, same, same_each, unchanged

SHAPES = [(3, 4), (5,), (1, 2)]


def arrays(shape, n, seed=5):
    """n random arrays of this shape."""
    r = rng(seed + len(shape))
    return [r.normal(size=shape) for _ in range(n)]


def several(values, n, what):
    """The tuple that a function returned, or a word about what it should have returned."""
    check(isinstance(values, tuple | list) and len(values) == n, what)
    return values


@exercise("05.1")
@cases(shape=SHAPES, lr=[0.1, 0.3, 2.0], weight_decay=[0.0, 0.5, 0.01])
def test_sgd(ex, shape, lr, weight_decay):
    p, g = arrays(shape, 2)
    want = np.array([a - lr * b - lr * weight_decay * a for a, b in zip(p.flat, g.flat, strict=True)]).reshape(shape)
    with unchanged(p, g):
        got = ex.sgd(p, g, lr, weight_decay)
    same(got, want, f"sgd, lr = {lr:g}, weight_decay = {weight_decay:g}")


@exercise("05.2")
@cases(shape=SHAPES, lr=[0.1, 0.3, 2.0], mu=[0.9, 0.5, 0.0])
def test_momentum(ex, shape, lr, mu):
    """Five steps: the buffer is the sum of all gradients so far, each weighted with mu to the power of its age."""
    p, *grads = arrays(shape, 6)
    b, start = np.zeros(shape), p
    for step, g in enumerate(grads):
        with unchanged(p, g, b):
            p, b = (np.asarray(a) for a in several(ex.momentum(p, g, b, lr, mu), 2, "momentum: return the pair (p, b)"))
        buffers = [sum(mu ** (s - i) * grads[i] for i in range(s + 1)) for s in range(step + 1)]
        same(b, buffers[-1], f"momentum: b after step {step + 1}")
        same(p, start - lr * sum(buffers), f"momentum: p after step {step + 1}")


@exercise("05.3")
@cases(shape=SHAPES, lr=[0.1, 0.3, 2.0], beta1=[0.9, 0.5, 0.0], beta2=[0.999, 0.9, 0.5])
def test_adam(ex, shape, lr, beta1, beta2):
    """Four steps against the means written out: weights beta^age, divided by the sum of the weights."""
    p, *grads = arrays(shape, 5)
    m = v = np.zeros(shape)
    want = p
    for t in range(1, 5):
        with unchanged(p, grads[t - 1], m, v):
            values = ex.adam(p, grads[t - 1], m, v, t, lr, beta1, beta2, 1e-3)
        p, m, v = (np.asarray(a) for a in several(values, 3, "adam: return the three arrays (p, m, v)"))
        age = np.arange(t)[::-1]
        first, second = (sum(b ** k * x for k, x in zip(age, xs, strict=True)) for b, xs in
                         ((beta1, grads[:t]), (beta2, [g * g for g in grads[:t]])))
        want = want - lr * (first / (beta1 ** age).sum()) / (np.sqrt(second / (beta2 ** age).sum()) + 1e-3)
        same(m, (1 - beta1) * first, f"adam: m after step {t}")
        same(v, (1 - beta2) * second, f"adam: v after step {t}")
        same(p, want, f"adam: p after step {t}")


@exercise("05.3")
def test_adam_in_the_middle(ex):
    """Step 3 from any m and v: what comes back are the plain means."""
    p, g, m, v = arrays((3, 4), 4, 6)
    v = v * v
    values = several(ex.adam(p, g, m, v, 3, 0.1), 3, "adam: return the three arrays (p, m, v)")
    for name, got, want in zip("mvp", (*values[1:], values[0]), (0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g,
                               p - 0.1 * (0.9 * m + 0.1 * g) / 0.271 / np.sqrt((0.999 * v + 0.001 * g * g) / 0.002997001)), strict=True):
        same(got, want, f"adam: {name} after step 3")


@exercise("05.3")
@cases(size=[4.0, 1e-3, 1e-6, 0.0])
def test_adams_first_step(ex, size):
    """The first step has length lr, whatever the size of the gradient, as long as it is large against eps."""
    g = size * np.array([1.0, -1.0])
    p, _, _ = several(ex.adam(np.zeros(2), g, np.zeros(2), np.zeros(2), 1, 0.1), 3, "adam: return the three arrays (p, m, v)")
    want = -0.1 * g / (np.abs(g) + 1e-8)
    same(p, want, f"adam: the first step with gradients of size {size:g} and lr = 0.1", rtol=1e-3)


@exercise("05.4")
@cases(shape=SHAPES, lr=[0.1, 0.3, 0.02], weight_decay=[0.5, 0.01, 3.0])
def test_adamw(ex, shape, lr, weight_decay):
    p, g, m, v, step = arrays(shape, 5)
    seen = []

    def adam(p, g, m, v, t, lr):
        seen.append((p, g, m, v, t, lr))
        return p - lr * step, m + 1, v + 2
    with unchanged(p, g, m, v):
        values = ex.adamw(adam, p, g, m, v, 3, lr, weight_decay)
    values = several(values, 3, "adamw: return the three arrays (p, m, v)")
    check(len(seen) == 1, f"adamw: call adam once; you called it {len(seen)} times")
    same(seen[0][1], g, "adamw: the gradient that adam was given")
    for name, got, want in zip("mv", seen[0][2:4], (m, v), strict=True):
        same(got, want, f"adamw: the {name} that adam was given")
    same(seen[0][4:], (3, lr), "adamw: the t and lr that adam was given")
    same(values[0], p - lr * weight_decay * p - lr * step, f"adamw: p, lr = {lr:g}, weight_decay = {weight_decay:g}")
    for name, got, want in zip("mv", values[1:], (m + 1, v + 2), strict=True):
        same(got, want, f"adamw: {name}, which only adam may change")


@exercise("05.5")
@cases(max_norm=[1.0, 2.5, 100.0], size=[1.0, 3.0, 1.0])
def test_clip(ex, max_norm, size):
    grads = [size * g for g in (*arrays((3, 4), 1), *arrays((5,), 1), *arrays((1, 2), 1))]
    norm = np.linalg.norm(np.concatenate([g.ravel() for g in grads]))
    with unchanged(*grads):
        new, got = several(ex.clip(grads, max_norm), 2, "clip: return the pair (new gradients, their length before)")
    same(got, norm, "clip: the length before")
    check(len(new) == 3, f"clip: 3 gradients went in, {len(new)} came out")
    for i, (a, g) in enumerate(zip(new, grads, strict=True)):
        same(a, g * (max_norm / norm if norm > max_norm else 1.0), f"clip to {max_norm:g}: gradient {i}, length before {norm:.3g}")
        check(not np.shares_memory(a, g), f"clip to {max_norm:g}: gradient {i} is the very array that went in; return new arrays, also where "
              "nothing has to be shortened")


@exercise("05.5")
def test_clip_tiny_and_none(ex):
    new, norm = several(ex.clip([np.zeros(3)], 1.0), 2, "clip: return the pair (new gradients, their length before)")
    same(new[0], np.zeros(3), "clip: a gradient of zeros")
    same(norm, 0.0, "clip: the length of zeros")
    new, _ = ex.clip([np.array([3e-6, 4e-6])], 1e-6)
    same(new[0], np.array([0.5e-6, 4e-6 / 6]), "clip: a length of 5e-6 to 1e-6, with 1e-6 added to the length", atol=1e-12)


@exercise("05.6")
@cases(total=[8, 10, 100, 5], warmup=[2, 1, 30, 0], peak=[1.0, 3e-3, 0.5, 2.0])
def test_schedule(ex, total, warmup, peak):
    """Up along a line; then sin² of the angle that is left, another way to write half a cosine."""
    rows = []
    for step in (0, 1, max(0, warmup - 1), warmup, warmup + 1, (warmup + total) // 2, total - 1, total, total + 1, total + 7):
        want = peak * (step + 1) / warmup if step < warmup else \
            peak * np.sin(np.pi / 2 * max(0, total - step) / (total - warmup)) ** 2
        rows.append((ex.schedule(step, total, warmup, peak), want, f"schedule: step {step} of {total}, warmup {warmup}, peak {peak:g}"))
    same_each(rows, atol=1e-9)


@exercise("05.3", "05.4", "05.5", "05.6", plug_in=True)
def test_your_adamw_trains_the_engine(ex):
    """Your four functions in the place of the engine's optimizer, schedule and clipping; a transformer learns eight words."""
    adam, adamw, clip, schedule = (calls(f) for f in (ex.adam, ex.adamw, ex.clip, ex.schedule))

    class Yours(mg.optim.Optimizer):
        def state_names(self, group):
            return "m", "v"

        def update(self, group, backend, p, g, state, step):
            p[...], state["m"][...], state["v"][...] = adamw(adam, p, g, state["m"], state["v"], step, group["lr"], 0.01)

    def train(yours, steps=12, lr=1e-2, warmup=3):
        model = engine.small_gpt()
        parameters = list(model.parameters())
        optimizer = Yours(parameters, {"lr": lr, "weight_decay": 0.01}) if yours else mg.optim.AdamW(parameters, lr=lr)
        engines = None if yours else mg.optim.CosineWithWarmup(optimizer, warmup, steps, final_ratio=0.0)
        losses = []
        for step in range(steps):
            optimizer.zero_grad()
            loss = engine.loss_of(model)
            loss.backward()
            if yours:
                optimizer.param_groups[0]["lr"] = schedule(step, steps, warmup, lr)
                for p, g in zip(parameters, clip([p.grad for p in parameters], 1.0)[0], strict=True):
                    p.grad = np.asarray(g, dtype=np.float32)
            else:
                mg.optim.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            if engines is not None:
                engines.step()
            losses.append(loss.item())
        return losses

    engine.same_curve(train(True), train(False), "AdamW on 8 words")
    engine.was_called(adam, adamw, clip, schedule)


@exercise("05.1", "05.2", plug_in=True)
def test_your_sgd_trains_the_engine(ex):
    """The engine's SGD steps, with and without momentum, replaced by yours."""
    sgd, momentum = calls(ex.sgd), calls(ex.momentum)

    class Plain(mg.optim.SGD):
        def update(self, group, backend, p, g, state, step):
            p[...] = sgd(p, g, group["lr"], group["weight_decay"])

    class WithMomentum(mg.optim.SGD):
        def update(self, group, backend, p, g, state, step):
            p[...], state["momentum_buffer"][...] = momentum(p, g, state["momentum_buffer"], group["lr"], group["momentum"])

    def train(kind, **options):
        model = engine.small_gpt()
        optimizer, losses = kind(model.parameters(), lr=0.2, **options), []
        for _ in range(12):
            optimizer.zero_grad()
            loss = engine.loss_of(model)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    engine.same_curve(train(Plain, weight_decay=0.01), train(mg.optim.SGD, weight_decay=0.01), "SGD on 8 words")
    engine.same_curve(train(WithMomentum, momentum=0.8), train(mg.optim.SGD, momentum=0.8), "SGD with momentum on 8 words")
    engine.was_called(sgd, momentum)
