# %% [markdown]
# # Intrinsic dimension
#
# How many numbers does it take to learn a task? Not how many a model has: how many have to be *chosen*. This notebook moves
# all weights of a model at once, along random directions, and counts how many directions are needed.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("17")

import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg
from minigrad.nn import functional as F
from minigrad.peft.projection import Projection
ex = lesson.ex

# %% [markdown]
# ## A thousand weights, ten equations
#
# A toy with a known answer. There are 1,000 weights θ; the loss is zero when the weights of each hundred have the right
# mean. Ten equations in a thousand unknowns: solutions are everywhere. Now θ may move along d random directions only,
# θ = θ₀ + Pz. What is the best that can be done?

# %%
rng = np.random.default_rng(0)
equations = np.kron(np.eye(10), np.full(100, 0.1))              # (10, 1000): the scaled mean of each hundred
wanted = rng.normal(size=10)
directions = rng.normal(size=(1000, 24))
dims = [1, 2, 4, 6, 8, 9, 10, 12, 16, 24]
losses = []
for d in dims:
    P = directions[:, :d] / np.linalg.norm(directions[:, :d], axis=0)       # columns of length 1
    z = np.linalg.lstsq(equations @ P, wanted, rcond=None)[0]
    losses.append(float(((equations @ P @ z - wanted) ** 2).sum()))

figure, ax = plt.subplots(figsize=(7, 3.2))
ax.plot(dims, losses)
ax.axvline(10, color="#666666", marker="", linestyle="--")
ax.annotate("10 equations", (10, losses[0] * 0.8), xytext=(6, 0), textcoords="offset points")
ax.set(xlabel="directions d", ylabel="least loss within reach")
lesson.show(figure, alt="The least loss on a random plane against its dimension: it falls from 1 to 9 dimensions and is exactly zero from 10 on, "
                        "the number of equations.", name="intrinsic_toy", data={"d": dims, "loss": losses})
print("loss below 1e-20 from d =", next(d for d, loss in zip(dims, losses) if loss < 1e-20), "on")

# %% [markdown]
# A plane of d dimensions and a set of solutions of 1,000 − 10 dimensions meet as soon as d ≥ 10. The knee says how hard the
# task is, and says nothing about how large the model is.
#
# ## Drawing P
#
# For a real model P cannot be a dense matrix. Three kinds, as minigrad draws them, small enough to look at:

# %%
kinds = ("dense", "sparse", "fastfood")
matrices = {kind: np.stack([Projection(kind, 12, 60, seed=1).apply(e) for e in np.eye(12)], axis=1) for kind in kinds}
figure, axes = plt.subplots(1, 4, figsize=(10, 3.6), width_ratios=[1, 1, 1, 2.6])
for ax, kind in zip(axes, kinds):
    ax.imshow(matrices[kind], cmap="PuOr", vmin=-0.5, vmax=0.5, aspect="auto")
    ax.set(title=kind, xticks=[], yticks=[], xlabel="12 columns")
axes[0].set_ylabel("60 weights")
H = np.stack([ex.hadamard(e) for e in np.eye(32)], axis=1)
axes[3].imshow(H, cmap="PuOr", vmin=-0.4, vmax=0.4)
axes[3].set(title="H for n = 32, the heart of Fastfood", xticks=[], yticks=[])
lesson.show(figure, alt="Four heat maps. A dense projection is full of different values; a sparse one has a few entries of one size in each column; "
                        "Fastfood's is full as well, though no matrix is stored. The Walsh-Hadamard matrix of 32 by 32 has "
                        "entries of one size whose signs make nested squares.")
for kind in kinds:
    lengths = np.linalg.norm(matrices[kind], axis=0)
    print(f"{kind:9} columns are {lengths.min():.2f} to {lengths.max():.2f} long")
D, d = 822_016, 1024
print(f"numbers to store for D = {D:,} and d = {d:,}: dense {D * d:,}, sparse {d * 2 * round(D ** 0.5):,}, Fastfood {4 * 2 ** 20:,}")

# %% [markdown]
# ## A transform without a matrix
#
# H is a product of log₂ n very sparse matrices: each adds and subtracts pairs. For n = 16, four of them:

# %%
def one_pass(n, h):
    columns = []
    for e in np.eye(n):
        pairs = e.reshape(-1, 2, h)
        columns.append(np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(n) / np.sqrt(2))
    return np.array(columns).T

passes = [one_pass(16, h) for h in (1, 2, 4, 8)]
figure, axes = plt.subplots(1, 5, figsize=(10, 2.3))
for ax, M, title in zip(axes, [*passes, passes[3] @ passes[2] @ passes[1] @ passes[0]], ("h = 1", "h = 2", "h = 4", "h = 8", "their product: H")):
    ax.imshow(M, cmap="PuOr", vmin=-abs(M).max(), vmax=abs(M).max())
    ax.set(title=title, xticks=[], yticks=[])
lesson.show(figure, alt="Five matrices of 16 by 16: four passes with two entries in every row, at distances 1, 2, 4 and 8 from each other, and their "
                        "product, the full Walsh-Hadamard matrix.")
x = rng.normal(size=1 << 12)
print("twice H gives x back:", np.allclose(ex.hadamard(ex.hadamard(x)), x), "   length kept:", np.isclose(np.linalg.norm(ex.hadamard(x)), np.linalg.norm(x)))
print(f"operations for n = 2^20: {20 * 2 ** 20:,} instead of {2 ** 40:,}")

# %% [markdown]
# ## Does the gradient fit the map?
#
# dz = Pᵀdθ. Two functions that are written separately can be tested against each other: ⟨Pz, g⟩ = ⟨z, Pᵀg⟩. A published
# Fastfood divides by √n in the transforms of the backward pass and not in those of the forward pass. Here is that mistake:

# %%
n, d, D = 256, 7, 200
signs, order, gauss = rng.choice([-1.0, 1.0], n), rng.permutation(n), rng.normal(size=n)
z, g = rng.normal(size=d), rng.normal(size=D)
raw = lambda x: ex.hadamard(x) * np.sqrt(len(x))                # without the division
Pz = ex.fastfood(z, signs, order, gauss, D, raw)
for name, transform in (("the same transform in both", raw), ("divided in the backward only", ex.hadamard)):
    there, back = Pz @ g, z @ ex.fastfood_adjoint(g, signs, order, gauss, d, transform)
    print(f"{name:29} ⟨Pz, g⟩ ÷ ⟨z, Pᵀg⟩ = {there / back:.4f}")

# %% [markdown]
# The second is off by n = 256. Does training show it? That is tried below.
#
# ## A small classifier
#
# Real data: the last four letters of a word in, its last sound out (39 sounds). A network of 4,775 weights, trained from
# random weights, fully or along a plane:

# %%
LETTERS = "abcdefghijklmnopqrstuvwxyz"
def encode(pairs):
    X = np.zeros((len(pairs), 4, 27), dtype=np.float32)
    for i, (word, _) in enumerate(pairs):
        for j in range(4):
            X[i, j, LETTERS.index(word[-1 - j]) if j < len(word) else 26] = 1
    return X.reshape(len(pairs), -1)                            # (n, 4, 27) -> (n, 108)

read = mg.tasks.get("pronounce")
train_words, test_words = read.examples("adapt")[:3000], read.examples("test")[:1000]
sounds = sorted({answers[0][-1] for _, answers in train_words + test_words})
X, Y = encode(train_words), np.array([sounds.index(answers[0][-1]) for _, answers in train_words])
X_test, Y_test = encode(test_words), np.array([sounds.index(answers[0][-1]) for _, answers in test_words])

def network(seed):
    mg.manual_seed(seed)
    return mg.nn.Sequential(mg.nn.Linear(108, 32), mg.nn.ReLU(), mg.nn.Linear(32, len(sounds)))

def train(model, lr, seed, steps=70):
    optimizer = mg.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
    draw = np.random.default_rng(seed)
    for _ in range(steps):
        i = draw.integers(0, len(X), 200)
        optimizer.zero_grad()
        F.cross_entropy(model(mg.tensor(X[i])), Y[i]).backward()
        optimizer.step()
    with mg.no_grad():
        return float((model(mg.tensor(X_test)).numpy().argmax(axis=1) == Y_test).mean())

full = np.mean([train(network(seed), 1e-2, seed) for seed in (0, 1, 2)])
dims, rows = [16, 64, 256, 1024], []
for kind in kinds:
    for d in dims:
        for seed in (0,) if kind == "sparse" and d > 256 else (0, 1):
            model = mg.peft.apply(network(seed), mg.peft.IntrinsicDimension(d, projection=kind, seed=seed))
            rows.append({"projection": kind, "d": d, "seed": seed, "accuracy": train(model, 0.15, seed)})

# %%
figure, ax = plt.subplots(figsize=(7, 3.8))
for number, kind in enumerate(kinds):
    of_kind = [r for r in rows if r["projection"] == kind]
    means = [100 * np.mean([r["accuracy"] for r in of_kind if r["d"] == d]) for d in dims]
    line = ax.plot(dims, means, label=kind)[0]
    ax.plot([r["d"] for r in of_kind], [100 * r["accuracy"] for r in of_kind], linestyle="none", color=line.get_color(),
            marker=line.get_marker(), markersize=3, alpha=0.6)
ax.axhline(100 * full, color="#666666", marker="", linestyle="-")
ax.annotate("full training, 4,775 numbers", (16, 100 * full), xytext=(0, 4), textcoords="offset points")
ax.axhline(90 * full, color="#666666", marker="", linestyle="--")
ax.annotate("90 % of it", (16, 90 * full), xytext=(0, -13), textcoords="offset points")
ax.set_xscale("log", base=2)
ax.set_xticks(dims, dims)
ax.legend(frameon=False, loc="lower right")
ax.set(xlabel="numbers trained, d", ylabel="last sounds right, %", ylim=(0, 102))
lesson.show(figure, alt="Accuracy against the number of trained coordinates on a base-2 logarithmic axis, for dense, sparse and Fastfood projections. The three "
                        "curves lie on top of each other, rise from almost nothing at 16 and cross the line of 90 percent of full "
                        "training between 256 and 1,024.", name="intrinsic_classifier", data=rows)

# %%
# about: short trainings
print(f"full training: {full:.2f}")
for kind in kinds:
    scores = {d: [r["accuracy"] for r in rows if r["projection"] == kind and r["d"] == d] for d in dims}
    print(f"{kind:9} " + "  ".join(f"d={d}: {np.mean(v):.2f}" for d, v in scores.items()) + f"   d90 = {ex.d90(scores, full)}")

# %% [markdown]
# The kind of projection hardly matters; the number of dimensions does. From random weights, of the sizes tried,
# it takes 1,024 to get to 90 %: about a fifth of the network's numbers.
#
# And the wrong gradient from above? Here it trains the same classifier along a Fastfood plane of 256 dimensions, n = 8,192.

# %%
def losses_with(optimizer, lr, factor, steps=70):
    """The loss of each step when the gradient of z is Pᵀg times a factor."""
    model = mg.peft.apply(network(0), mg.peft.IntrinsicDimension(256, projection="fastfood"))
    right = model.model.projection.adjoint
    model.model.projection.adjoint = lambda g: right(g) * np.float32(factor)
    stepper, draw, losses = optimizer([p for p in model.parameters() if p.requires_grad], lr=lr), np.random.default_rng(0), []
    for _ in range(steps):
        i = draw.integers(0, len(X), 200)
        stepper.zero_grad()
        loss = F.cross_entropy(model(mg.tensor(X[i])), Y[i])
        loss.backward()
        stepper.step()
        losses.append(loss.item())
    return losses

n = 2 ** 13
curves = {(name, factor): losses_with(optimizer, lr, factor) for name, optimizer, lr in (("SGD", mg.optim.SGD, 25.0), ("Adam", mg.optim.Adam, 0.15))
          for factor in (1.0, 1 / n)}
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.2), sharey=True)
for ax, name in zip(axes, ("SGD", "Adam")):
    ax.plot(curves[name, 1.0], markevery=10, linewidth=4, alpha=0.5)
    ax.plot(curves[name, 1 / n], markevery=10)
    ax.set(xlabel="step", title=name, ylim=(0, 4))
axes[0].set_ylabel("loss")
axes[0].annotate("gradient ÷ n", (35, curves["SGD", 1 / n][35]), xytext=(0, -20), textcoords="offset points", ha="center")
axes[0].annotate("right gradient", (35, curves["SGD", 1.0][35]), xytext=(0, -46), textcoords="offset points", ha="center")
axes[1].annotate("both", (35, curves["Adam", 1.0][35]), xytext=(0, 14), textcoords="offset points", ha="center")
lesson.show(figure, alt="Loss over 70 steps with the right gradient and with one divided by n. Under SGD the right one falls and the wrong one stays "
                        "where it began; under Adam the two curves lie on top of each other.",
            name="intrinsic_adjoint", data={"step": list(range(70)), **{f"{name}, {'right' if f == 1 else 'divided by n'}": v for (name, f), v in curves.items()}})

# %%
# about: short trainings
for (name, factor), losses in curves.items():
    print(f"{name:4} {'right gradient' if factor == 1 else 'gradient ÷ n':15} loss {losses[0]:.2f} -> {np.mean(losses[-5:]):.2f}")

# %% [markdown]
# Adam divides by the size of its gradients, so a constant factor cancels: the training looks well, and the mistake stays. A
# test of the function itself finds it in a moment.
#
# ## A pretrained model has good planes around it
#
# Now all 822,016 weights of the model that reads aloud, on its new task `rhyme`, along sparse planes. And beside it the same
# architecture with random weights, which knows nothing yet.

# %%
base, tokenizer = mg.pretrained.load()
mg.manual_seed(3)
untrained = mg.models.GPT(base.config)
rhyme = mg.tasks.get("rhyme")
words = mg.tasks.encode_examples(tokenizer, rhyme.examples("adapt")[:400])
held_out = next(iter(mg.tasks.Batches(mg.tasks.encode_examples(tokenizer, rhyme.examples("validation")[:64]), batch_size=64, shuffle=False)))

def loss_on(model, batch):
    with mg.no_grad():
        logits = model(batch.ids)
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), batch.targets.reshape(-1), ignore_index=-100).item()

rows = []
for start_from, model in (("random weights", untrained), ("pretrained", base)):
    rows.append({"start": start_from, "d": 0, "loss": loss_on(model, held_out)})
    for d in (16, 128, 512) if model is base else (128, 512):
        moved = mg.peft.apply(model, mg.peft.IntrinsicDimension(d, projection="sparse"))
        mg.training.fit(moved, mg.tasks.Batches(words, batch_size=16, rng=np.random.default_rng(0)), steps=20, lr=8 / d ** 0.5)
        rows.append({"start": start_from, "d": d, "loss": loss_on(moved, held_out)})

figure, ax = plt.subplots(figsize=(7, 3.6))
at = {0: 0, 16: 1, 128: 2, 512: 3}
for start_from in ("random weights", "pretrained"):
    mine = [r for r in rows if r["start"] == start_from]
    ax.plot([at[r["d"]] for r in mine], [r["loss"] for r in mine])
    ax.annotate(start_from, (2, next(r["loss"] for r in mine if r["d"] == 128)), xytext=(0, 8), textcoords="offset points")
ax.set_xticks(list(at.values()), ["none", 16, 128, 512])
ax.set(xlabel="numbers trained, d, of 822,016", ylabel="loss on new words, nats per sound", ylim=(0, None))
lesson.show(figure, alt="Loss on new words after 20 steps against the number of trained coordinates. The pretrained model starts high, since it knows another "
                        "task, and falls steeply with the dimension; the randomly initialized one falls slowly and stays far above "
                        "it.", name="intrinsic_pretrained", data=rows)

# %%
# about: 20 steps
for r in rows:
    print(f"{r['start']:15} d = {r['d']:4}: loss {r['loss']:.2f}")

# %% [markdown]
# Pretraining is what makes the dimension small: it has put θ₀ where many directions lead somewhere. With 16 numbers the
# pretrained model gains more than the other one with 512. That is the ground on which LoRA stands.
#
# What has to be passed on is z and a seed. `mg.peft` saves just that, and merging gives an ordinary model:

# %%
along = moved(held_out.ids[:4]).numpy()
moved.merge()
print("largest difference of a logit after merging is below 0.001:", bool(abs(moved(held_out.ids[:4]).numpy() - along).max() < 1e-3))

# %% [markdown]
# ## Few directions, full rank
#
# A low intrinsic dimension is sometimes explained as weights of low rank. Look at the change of one weight matrix after a move
# along a *single* direction: one number was chosen, and all the singular values are there.

# %%
line = mg.peft.apply(base, mg.peft.IntrinsicDimension(1, projection="dense"))
line.model.z.data[:] = 1.0
name = "blocks.0.attn.q_proj.weight"
change = (line.merge_and_unload().get_parameter(name).numpy() - base.get_parameter(name).numpy()).astype(np.float64)
spectra = {"one direction of a plane, 1 number": np.linalg.svd(change, compute_uv=False),
           "LoRA of rank 1, 256 numbers": np.linalg.svd(np.outer(rng.normal(size=128), rng.normal(size=128)), compute_uv=False)}
figure, ax = plt.subplots(figsize=(7, 3.2))
for (what, values), (x_at, dx, dy) in zip(spectra.items(), ((56, 10, 8), (44, 0, 8))):
    ax.plot(range(1, 129), values / values[0], markevery=16)
    ax.annotate(what, (x_at, values[x_at - 1] / values[0]), xytext=(dx, dy), textcoords="offset points")
ax.set(xlabel="index", ylabel="singular value ÷ the largest", title="the change of W_q (128 × 128) in block 0")
lesson.show(figure, alt="Singular values of two changes of a 128 by 128 matrix, divided by the largest. Along one random direction they fall slowly over "
                        "all 128; for LoRA of rank 1 only the first is not zero.", name="intrinsic_rank",
            data={"index": list(range(1, 129)), **{what: (v / v[0]).tolist() for what, v in spectra.items()}})
print({what: int((v > 1e-6 * v[0]).sum()) for what, v in spectra.items()})

# %% [markdown]
# Few directions are one thing, low rank is another. That the change of each matrix has low rank is LoRA's own bet.
#
# ## Now you
#
# `lessons/17_intrinsic_dimension/exercises.py` and `pytest lessons/17_intrinsic_dimension`: six functions, and at the end all
# weights of a transformer move along a plane of *yours*.
