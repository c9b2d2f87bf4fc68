# %% [markdown]
# # Broadcasting and vector-Jacobian products
#
# A network computes with whole arrays. So the slopes are arrays too, and there are far too many of them to write down. Here
# you see them once, as pictures, and then learn to do without: each operation turns the gradient of its output into that of
# its inputs directly.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("03")

import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg

# %% [markdown]
# ## Repeated forward, summed backward
#
# NumPy lets shapes differ: it repeats what is too small. A column (3, 1) times a row (4,) is a table (3, 4). Going back,
# every entry that was used several times has several gradients, and they add.

# %%
rng = np.random.default_rng(0)
a, b = np.array([[1.0], [2.0], [-1.0]]), np.array([2.0, 0.5, -1.0, 1.5])
gy = rng.normal(size=(3, 4)).round(1)
ga, gb = (gy * b).sum(1, keepdims=True), (gy * a).sum(0)

def table(ax, values, title):
    values = np.atleast_2d(values)
    ax.imshow(values, cmap="PuOr", vmin=-4, vmax=4, aspect="equal")
    for (i, j), v in np.ndenumerate(values):
        ax.text(j, i, f"{v + 0.0:.2g}", ha="center", va="center", color="white" if abs(v) > 2.6 else "black")
    ax.set_title(title, fontsize=11)
    ax.set_xticks([]), ax.set_yticks([])

figure, axes = plt.subplots(2, 4, figsize=(11, 4.6), width_ratios=[1, 4, 4, 4])
for ax, (values, title) in zip(axes.flat, [
        (a, "a (3, 1)"), (b, "b (4,)"), (a * b, "y = a·b (3, 4)"), (gy, "gy (3, 4)"),
        (ga, "ga (3, 1)"), (gy * b, "gy·b, summed along rows"), (gy * a, "gy·a, summed down"), (gb, "gb (4,)")]):
    table(ax, values, title)
figure.tight_layout()
lesson.show(figure, alt="Eight small tables with numbers. Top: a column a, a row b, their 3 by 4 product and its gradient gy. Bottom: gy times b "
                        "summed along each row gives the column ga; gy times a summed down each column gives the row gb.")

# %% [markdown]
# ## What a Jacobian looks like
#
# All slopes of y in x, one row for each entry of y and one column for each entry of x, are the **Jacobian**. Here it is for
# five operations on a 2 × 3 array, measured by moving one entry at a time.

# %%
def jacobian(f, x, h=1e-6):
    columns = []
    for at in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[at] += h
        below[at] -= h
        columns.append(((f(above) - f(below)) / (2 * h)).reshape(-1))
    return np.stack(columns, axis=1)                # (entries of y, entries of x)

x, W, c = rng.normal(size=(2, 3)), rng.normal(size=(3, 4)), rng.normal(size=(2, 3))
operations = {"x·c": lambda x: x * c, "x.sum(1)": lambda x: x.sum(1), "x.T": lambda x: x.T, "x[:, [0, 0, 2]]": lambda x: x[:, [0, 0, 2]],
              "x @ W": lambda x: x @ W}
figure, axes = plt.subplots(1, 5, figsize=(11.5, 3.4))
for ax, (name, f) in zip(axes, operations.items()):
    J = jacobian(f, x)
    ax.imshow(J, cmap="PuOr", vmin=-2, vmax=2)
    ax.set_title(f"{name}\n{J.shape[0]} × {J.shape[1]}, {100 * np.mean(abs(J) < 1e-6):.0f} % zeros")
    ax.set_xticks(np.arange(-0.5, 6), []), ax.set_yticks(np.arange(-0.5, len(J)), [])
    ax.tick_params(length=0)
    ax.grid(color="#999999", linewidth=0.5, linestyle="-")
axes[0].set(xlabel="entries of x", ylabel="entries of y")
lesson.show(figure, alt="Five Jacobians as tables of colored cells. The product has a diagonal, the sum two rows with three ones each, the transpose "
                        "a scattered permutation, the indexing some columns with two ones and some with none, the matrix product two "
                        "blocks with the same entries. Most cells are zero.")
print("the largest linear layer of the small model, 24 positions of 32 words:")
n = 32 * 24
print(f"  Jacobian in x: {n * 512:,} × {n * 128:,} = {n * 512 * n * 128:.1e} numbers;  the vjp needs {n * 128:,}")

# %% [markdown]
# The gradient of x is gy times this table: gx = gy·J. That is a *vector-Jacobian product*. Each operation has a way to get it
# without the table: multiply by c, repeat, transpose back, add at the index, multiply by Wᵀ.

# %%
def getitem_vjp(gy, shape, index):
    gx = np.zeros(shape)
    np.add.at(gx, index, gy)
    return gx

vjps = {"x·c": lambda gy: gy * c, "x.sum(1)": lambda gy: np.broadcast_to(gy[:, None], (2, 3)), "x.T": lambda gy: gy.T,
        "x[:, [0, 0, 2]]": lambda gy: getitem_vjp(gy, (2, 3), (slice(None), [0, 0, 2])), "x @ W": lambda gy: gy @ W.T}
for name, f in operations.items():
    gy = rng.normal(size=f(x).shape)
    difference = np.abs((gy.reshape(-1) @ jacobian(f, x)).reshape(2, 3) - vjps[name](gy)).max()
    print(f"{name:17} vjp and gy·J agree:", bool(difference < 1e-7))

# %% [markdown]
# ## How to check a vjp
#
# Many tests call backward on y.sum(), so that gy is all ones. Then a vjp that forgets gy looks right. Here are nine wrong
# vjps, checked in two ways: with ones on square arrays of ones, and with random gy on arrays of distinct sizes.

# %%
swap = lambda m: np.swapaxes(m, -1, -2)
wrong = {
    "mul: gy forgotten": (np.multiply, lambda gy, a, b: (np.ones_like(gy) * b, np.ones_like(gy) * a)),
    "mul: a and b exchanged": (np.multiply, lambda gy, a, b: (gy * a, gy * b)),
    "div: minus lost": (np.divide, lambda gy, a, b: (gy / b, gy * a / b ** 2)),
    "div: square lost": (np.divide, lambda gy, a, b: (gy / b, -gy * a / b)),
    "matmul: gy forgotten": (np.matmul, lambda gy, a, b: (np.ones_like(gy) @ swap(b), swap(a) @ np.ones_like(gy))),
    "matmul: not transposed": (np.matmul, lambda gy, a, b: (gy @ b, a @ gy)),
    "matmul: wrong way round": (np.matmul, lambda gy, a, b: (swap(b) @ gy, gy @ swap(a))),
    "a − b: both plus": (np.subtract, lambda gy, a, b: (gy, gy)),
    "maximum: gy to both": (np.maximum, lambda gy, a, b: (gy, gy)),
}

def caught(f, vjp, a, b, gy):
    """Whether a check with these arrays notices that the vjp is wrong."""
    try:
        gots = vjp(gy, a, b)
        for i, got in enumerate(gots):
            J = jacobian(lambda x: f(x, b) if i == 0 else f(a, x), (a, b)[i])
            want = (gy.reshape(-1) @ J).reshape((a, b)[i].shape)
            if got.shape != want.shape or np.abs(got - want).max() > 1e-5:
                return True
        return False
    except ValueError:                              # shapes that do not fit
        return True

rows = []
for name, (f, vjp) in wrong.items():
    lazy = caught(f, vjp, np.ones((2, 2)), np.ones((2, 2)) * 1.0, np.ones((2, 2)))
    shape_b = (3, 4) if f is np.matmul else (2, 3)
    a, b = rng.normal(size=(2, 3)), rng.normal(size=shape_b) + 3
    rows.append((name, lazy, caught(f, vjp, a, b, rng.normal(size=f(a, b).shape))))
figure, ax = plt.subplots(figsize=(6, 3.8))
ax.imshow([[r[1], r[2]] for r in rows], cmap="PuOr", vmin=-0.4, vmax=1.4, aspect="auto")
for i, r in enumerate(rows):
    for j in (0, 1):
        ax.text(j, i, "caught" if r[1 + j] else "passes", ha="center", va="center", color="black")
ax.set_xticks([0, 1], ["ones, square", "random, distinct sizes"])
ax.set_yticks(range(len(rows)), [r[0] for r in rows])
lesson.show(figure, alt="A table of nine wrong vjps and two checks. With square arrays of ones most wrong answers pass; with random gy and distinct "
                        "sizes every one is caught.",
            name="checks_compared", data=[{"wrong_vjp": n, "caught_with_ones": int(a), "caught_with_random": int(b)} for n, a, b in rows])
print("caught with ones:", sum(r[1] for r in rows), "of 9;  with random numbers:", sum(r[2] for r in rows), "of 9")

# %% [markdown]
# ## Letters that come again
#
# An embedding is a table with one row for each letter, and a word picks rows. `e` is picked often: its row gets the sum of
# many gradients. `gx[ids] += gy` looks like this sum and is not: it adds once per letter.

# %%
words = [word for word, _ in mg.tasks.get("pronounce").examples("adapt")[:200]]
ids = np.array([ord(letter) - 97 for word in words for letter in word])
gy = np.ones(len(ids))
added = np.zeros(26)
np.add.at(added, ids, gy)
once = np.zeros(26)
once[ids] += gy
figure, ax = plt.subplots(figsize=(9, 3))
ax.bar(np.arange(26) - 0.2, added, 0.4, color="#0072B2", label="np.add.at(gx, ids, gy)")
ax.bar(np.arange(26) + 0.2, once, 0.4, color="#D55E00", hatch="//", edgecolor="white", label="gx[ids] += gy")
ax.set_xticks(range(26), [chr(97 + i) for i in range(26)])
ax.set(ylabel="gradients added", xlabel="letter", yscale="log", ylim=(0.6, 400))
ax.legend(frameon=False, ncols=2, loc="upper right")
lesson.show(figure, alt="For each letter the gradients that were added to its row, on a logarithmic axis: with add.at as many as the letter occurs in two hundred words, "
                        "up to over 150 for e; with plus-equals exactly one for each.",
            name="letters_added", data={"letter": [chr(97 + i) for i in range(26)], "add_at": added.tolist(), "plus_equals": once.tolist()})

# %% [markdown]
# ## Six vjps train a network
#
# A network looks at three letters and guesses the next. It knows each letter by two numbers only, its row in the table E. The
# engine runs it, with vjps like those above in the place of its own.

# %%
def unbroadcast(g, shape):
    lead = g.ndim - len(shape)
    axes = [*range(lead), *(lead + i for i, n in enumerate(shape) if n == 1)]
    return g.sum(axis=tuple(axes)).reshape(shape)

words = [word for word, _ in mg.tasks.get("pronounce").examples("adapt")[:3000]]
rows = []
for word in words:
    w = [0, 0, 0, *(ord(letter) - 96 for letter in word), 0]        # 0: before and after the word
    rows += [w[i:i + 4] for i in range(len(w) - 3)]
rows = np.array(rows)
shapes = dict(E=((27, 2), 0.5), W=((6, 64), 0.4), b=((64,), 0.0), V=((27, 64), 0.1))
p = {k: mg.tensor((s * rng.normal(size=shape)).astype(np.float32), requires_grad=True) for k, (shape, s) in shapes.items()}
optimizer = mg.optim.AdamW(list(p.values()), lr=1e-2, weight_decay=0.0)

losses = []
with mg.override("add", vjp=lambda gy, y, a, b: (unbroadcast(gy, a.shape), unbroadcast(gy, b.shape))) as add, \
        mg.override("matmul", vjp=lambda gy, y, a, b: (gy @ swap(b), swap(a) @ gy)) as matmul, \
        mg.override("permute", vjp=lambda gy, y, x, dims: (gy.transpose(np.argsort(dims)),)) as permute, \
        mg.override("getitem", vjp=lambda gy, y, x, key: (getitem_vjp(gy, x.shape, key),)) as getitem:
    for step in range(800):
        batch = rows[rng.integers(len(rows), size=256)]
        e = p["E"][batch[:, :3]]                                    # (27, 2) -> (256, 3, 2)
        h = (e.reshape(256, 6) @ p["W"] + p["b"]).tanh()            # (256, 6) -> (256, 64)
        logits = h @ p["V"].transpose(0, 1)                         # (256, 64) -> (256, 27)
        loss = mg.nn.functional.cross_entropy(logits, batch[:, 3])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
print("calls of these vjps:", {o.op.name: o.vjp_calls for o in (add, matmul, permute, getitem)})

# %%
# about: a short training
print(f"loss {losses[0]:.2f} -> {np.mean(losses[-100:]):.2f} nats; guessing at random would be {np.log(27):.2f}")

# %% [markdown]
# Two numbers for each letter, learned only by guessing the next one:

# %%
E = p["E"].numpy()
E = (E - E.mean(0)) @ np.linalg.svd(E - E.mean(0))[2].T
E[:, 0] *= -np.sign(E[1, 0])                        # a to the left
places = E.copy()
for _ in range(50):                                 # letters that would cover each other are moved apart a little
    apart = places[:, None] - places[None]
    near = np.hypot(apart[..., 0] / 1.4, apart[..., 1]) < 0.15
    places += 0.1 * (apart * near[..., None]).sum(1)
figure, ax = plt.subplots(figsize=(8, 5))
for i in range(1, 27):
    vowel = chr(96 + i) in "aeiou"
    ax.text(*places[i], chr(96 + i), ha="center", va="center", size=13, color="#D55E00" if vowel else "#0072B2",
            weight="bold" if vowel else "normal",
            bbox={"boxstyle": "circle,pad=0.15", "facecolor": "none", "edgecolor": "#D55E00"} if vowel else None)
ax.set(xlim=(E[:, 0].min() - 0.2, E[:, 0].max() + 0.2), ylim=(E[:, 1].min() - 0.2, E[:, 1].max() + 0.2), xlabel="first number",
       ylabel="second number", title="vowels (circled) have found each other")
lesson.show(figure, alt="The 26 letters in a plane, at the two numbers that the network learned for each. The vowels a, e, i, o and u lie together "
                        "on the left, the consonants on the right.",
            name="letters_learned", data=[{"letter": chr(96 + i), "first": float(E[i, 0]), "second": float(E[i, 1])} for i in range(1, 27)])

# %% [markdown]
# Nobody told it what a vowel is.
#
# ## Now you
#
# Six functions wait in `lessons/03_broadcasting/exercises.py`; `pytest lessons/03_broadcasting` checks them. The last check
# puts all six into the engine and trains such a network.
