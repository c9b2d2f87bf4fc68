"""The checks of lesson 18. They import nothing of yours: `ex` is the file under test."""
import contextlib
import math

import numpy as np

import minigrad as mg
from lessons import device, engine
from lessons.kit import calls, cases, check, exercise, fail, rng, same, unchanged

LIBRARIES = [(np.ndarray, np), (device.Array, device.xp)]
ON = ["NumPy", "the device"]


def on(name):
    """(xp, send, get) of a library."""
    return (np, np.asarray, np.asarray) if name == "NumPy" else (device.xp, device.send, device.get)


def is_its(array, name, what):
    """Wrong unless the array belongs to the library on which it should have been made."""
    kind = np.ndarray | np.generic if name == "NumPy" else device.Array
    check(isinstance(array, kind), f"{what}: the result should be an array of {name}'s, yours is a {type(array).__name__}")
    return array


@exercise("18.1")
@cases(which=[0, 1])
def test_library(ex, which):
    _, xp = LIBRARIES[which]
    a, b = (on(ON[which])[1](np.ones(n, np.float32)) for n in (2, 3))
    for what, arrays in (("one array", [a]), ("two arrays", [a, b]), ("an array after numbers", [2, 0.5, a]),
                         ("a number after an array", [b, 3])):
        check(ex.library(arrays, LIBRARIES) is xp, f"library of {what} on {ON[which]}: not the library they belong to")
        check(ex.library(arrays, LIBRARIES[::-1]) is xp, f"library of {what} on {ON[which]}, libraries listed the other way round")


@exercise("18.1")
@cases(what=["device after host", "host after device", "with a number between", "a list", "a string among arrays"])
def test_library_refuses(ex, what):
    host, dev = np.ones(2), device.send(np.ones(2))
    arrays = {"device after host": [host, host, dev], "host after device": [dev, host], "with a number between": [dev, 1.0, host],
              "a list": [[1.0, 2.0]], "a string among arrays": [host, "ones"]}[what]
    try:
        got = ex.library(arrays, LIBRARIES)
    except TypeError:
        return
    fail(f"library, {what}: should raise TypeError, yours returns {getattr(got, '__name__', type(got).__name__)}")


@exercise("18.2")
@cases(name=ON, shape=[(4, 3), (7,)])
def test_gelu(ex, name, shape):
    xp, send, get = on(name)
    x = rng(18).normal(size=shape).astype(np.float32) * 2
    given = send(x)
    with device.watch(waiting=False, float64=False), unchanged(x):
        y = is_its(ex.gelu(given, xp), name, f"gelu on {name}")
    wide = x.astype(np.float64)
    want = 0.5 * wide * (1 + np.vectorize(math.tanh)(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide ** 3)))
    same(get(y), want.astype(np.float32), f"gelu on {name}", dtype=True)


@exercise("18.2")
def test_gelu_keeps_float64_and_does_not_overflow(ex):
    same(ex.gelu(np.array([1.0, 1000.0, -1000.0]), np), np.array([0.841192, 1000.0, 0.0]), "gelu of 1, 1000 and −1000 in float64", dtype=True)


@exercise("18.3")
@cases(name=ON, shape=[(2, 3), (5,)])
def test_embed(ex, name, shape):
    _, send, get = on(name)
    table, ids = rng(3).normal(size=(6, 4)).astype(np.float32), rng(4).integers(0, 6, shape)
    ids.ravel()[:2] = 0, 5
    sent, given = calls(send), send(table)
    with device.watch(waiting=False, float64=False), unchanged(table, ids):
        rows = is_its(ex.embed(given, ids, sent), name, f"embed on {name}")
    check(sent.count == 1, f"embed on {name}: one array should be sent, you called send {sent.count} times")
    same(get(rows), [table[i] for i in ids.ravel()] if len(shape) == 1 else [[table[i] for i in row] for row in ids],
         f"embed on {name}", rtol=0, atol=0, dtype=False)
    same(get(ex.embed(given, ids.tolist(), send)), table[ids], f"embed on {name}, ids as a list")
    same(get(ex.embed(given, ids[:0], send)), table[ids[:0]], f"embed on {name}, no ids")


@exercise("18.3")
@cases(name=ON, bad=[6, -1])
def test_embed_refuses(ex, name, bad):
    _, send, _ = on(name)
    table, sent = send(np.ones((6, 4), np.float32)), calls(send)
    try:
        with device.watch(waiting=False):
            ex.embed(table, np.array([[1, 2], [bad, 3]]), sent)
    except IndexError:
        check(sent.count == 0, f"embed on {name}: check the ids before you send them")
        return
    fail(f"embed on {name}: id {bad} in a table of 6 rows should raise IndexError")


@exercise("18.4")
@cases(name=ON * 2, max_norm=[1.0, 0.25, 100.0, 100.0])
def test_clip(ex, name, max_norm):
    xp, send, get = on(name)
    grads = [rng(5 + i).normal(size=s).astype(np.float32) for i, s in enumerate(((3, 4), (5,), (1, 2)))]
    joint = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in grads))
    given = [send(g) for g in grads]
    with device.watch(waiting=False, float64=False) as seen, unchanged(*grads):
        out = ex.clip(given, max_norm, xp)
    check(isinstance(out, list) and len(out) == 3, f"clip on {name}: return a list with as many gradients as came")
    check(seen.sends == 0, f"clip on {name}: nothing has to be sent; you sent {seen.sends} arrays")
    for i, (got, g) in enumerate(zip(out, grads, strict=True)):
        same(get(is_its(got, name, f"clip on {name}")), (g * min(1, max_norm / joint)).astype(np.float32),
             f"clip on {name}, length {joint:.3g}, max_norm {max_norm:g}: gradient {i}", rtol=1e-5, dtype=True)


@exercise("18.4")
@cases(name=ON)
def test_clip_of_zeros(ex, name):
    xp, send, get = on(name)
    (got,) = ex.clip([send(np.zeros((2, 3), np.float32))], 1.0, xp)
    same(get(got), np.zeros((2, 3)), f"clip on {name} of gradients of length 0")


@exercise("18.5")
@cases(name=ON, n=[5, 9])
def test_mean_loss(ex, name, n):
    xp, send, _ = on(name)
    values = rng(6).normal(size=n).astype(np.float32) + 3
    losses = [send(v) for v in values]
    with device.watch() as seen:
        got = ex.mean_loss(losses, xp)
    check(isinstance(got, float), f"mean_loss on {name}: return a Python float, yours is a {type(got).__name__}")
    same(got, float(values.astype(np.float64).mean()), f"mean_loss on {name} of {n} losses", rtol=1e-5)
    if name != "NumPy":
        check(seen.waits == 1, f"mean_loss of {n} losses: the host should wait once, yours waits {seen.waits} times")


@exercise("18.6")
@cases(name=ON, p=[0.3, 0.75])
def test_dropout(ex, name, p):
    _, send, get = on(name)
    x, sent = rng(7).normal(size=(6, 9)).astype(np.float32) + 5, calls(send)
    given = send(x)
    with device.watch(waiting=False, float64=False), unchanged(x):
        y = is_its(ex.dropout(given, p, rng(8), sent), name, f"dropout on {name}")
    check(sent.count == 1, f"dropout on {name}: one array should be sent, the mask; you called send {sent.count} times")
    kept = [[draw >= p for draw in row] for row in rng(8).random((6, 9)).tolist()]
    want = np.array([[v / (1 - p) if k else 0 for v, k in zip(*rows, strict=True)] for rows in zip(x.tolist(), kept, strict=True)])
    same(get(y), want.astype(np.float32), f"dropout on {name}, p = {p}", dtype=True)


@exercise("18.6")
@cases(name=ON)
def test_dropout_at_the_border(ex, name):
    _, send, get = on(name)

    class Drawn:
        """A generator whose draws are known: exactly p among them."""

        def random(self, shape):
            return np.resize([0.25, 0.2, 0.3], shape)
    x = np.arange(1.0, 7.0, dtype=np.float32).reshape(2, 3)
    same(get(ex.dropout(send(x), 0.25, Drawn(), send)), [[4 / 3, 0, 4], [16 / 3, 0, 8]],
         f"dropout on {name}, p = 0.25, draws of 0.25, 0.2, 0.3", rtol=1e-5)


@exercise("18.6")
@cases(name=ON)
def test_dropout_draws_anew(ex, name):
    _, send, get = on(name)
    x, generator = send(np.ones((8, 5), np.float32)), rng(9)
    first, second = (get(ex.dropout(x, 0.5, generator, send)) for _ in range(2))
    check(not np.array_equal(first, second), f"dropout on {name}: two calls with one generator should drop different entries")


@exercise("18.1", "18.2", "18.3", "18.4", "18.5", plug_in=True)
def test_one_transformer_on_two_libraries(ex):
    """Your functions inside a transformer, trained on NumPy and on the device: the same losses, and no hidden wait."""
    device.register()
    mine = {name: calls(getattr(ex, name)) for name in ("library", "gelu", "embed", "clip", "mean_loss")}

    def trained(backend, yours):
        send = mg.backend.get(backend).send
        swaps = [mg.override("gelu", forward=lambda x: mine["gelu"](x, mine["library"]([x, 1.0], LIBRARIES))),
                 mg.override("embedding", forward=lambda table, ids: mine["embed"](table, ids, send))] if yours else []
        with contextlib.ExitStack() as stack:
            stack.enter_context(mg.use_backend(backend))
            for swap in swaps:
                stack.enter_context(swap)
            model = engine.small_gpt()
            optimizer = mg.optim.AdamW(model.parameters(), lr=1e-2)
            losses = []
            with device.watch(waiting=False, float64=False):
                for _ in range(8):
                    optimizer.zero_grad()
                    loss = engine.loss_of(model)
                    loss.backward()
                    if yours:
                        parameters = [p for p in model.parameters() if p.grad is not None]
                        xp = mine["library"]([p.grad for p in parameters], LIBRARIES)
                        for p, g in zip(parameters, mine["clip"]([p.grad for p in parameters], 1.0, xp), strict=True):
                            p.grad = g
                    else:
                        mg.optim.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.step()
                    losses.append(loss.data)
            curve = [float(mg.to_numpy(v)) for v in losses]
            if yours:
                same(mine["mean_loss"](losses, xp), float(np.mean(curve)), f"mean_loss of a training on {backend}", rtol=1e-5)
        return curve
    engines = trained("numpy", False)
    engine.same_curve(trained("numpy", True), engines, "a transformer on NumPy")
    engine.same_curve(trained("strict", True), engines, "the same transformer on the device")
    engine.was_called(*mine.values())
