# %% [markdown]
# # Rank, SVD and low-rank updates
#
# How much of a matrix do you need? This notebook cuts matrices to a few singular values and looks at what is left: first
# on a picture, then on the change that fine-tuning makes to a real model.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("14")

import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg

# %% [markdown]
# ## A sum of outer products
#
# One outer product $uv^T$ is a matrix in which every row is a multiple of every other. Two of them make rank 2, and so on.

# %%
y, x = np.mgrid[-1:1:60j, -1:1:90j]
picture = np.exp(-6 * ((x - 0.4) ** 2 + (y + 0.1) ** 2)) + 0.7 * (np.hypot(x + 0.4, y) < 0.45) + 0.3 * np.sin(9 * x) * np.cos(5 * y)
U, S, Vt = np.linalg.svd(picture, full_matrices=False)
best = lambda r: U[:, :r] * S[:r] @ Vt[:r]

figure, axes = plt.subplots(1, 5, figsize=(11, 2.2))
for ax, r in zip(axes, (1, 2, 4, 8, 60)):
    ax.imshow(best(r))
    share = (S[:r] ** 2).sum() / (S ** 2).sum()
    ax.set_title(f"rank {r}: {share:.1%}" if r < 60 else "all 60")
    ax.axis("off")
lesson.show(figure, alt="A 60 by 90 picture of a disc, a soft bump and waves, cut to rank 1, 2, 4 and 8 and whole. Rank 1 is a blurred "
                        "cross, rank 4 shows the shapes, rank 8 is hard to tell from the whole.")
for r in (1, 2, 4, 8):
    print(f"rank {r}: error {np.linalg.norm(picture - best(r)):7.3f}, by the values cut off {np.sqrt((S[r:] ** 2).sum()):7.3f}, "
          f"numbers {r * (60 + 90)} instead of {60 * 90}")

# %% [markdown]
# The error is exactly what the cut-off singular values say (Eckart and Young): no matrix of that rank is nearer.
#
# ## Rank needs a tolerance
#
# In floating point nothing is exactly zero. A product of two thin matrices has rank 3 on paper:

# %%
rng = np.random.default_rng(1)
product = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 25))
values = np.linalg.svd(product, compute_uv=False)
figure, ax = plt.subplots(figsize=(7, 3.2))
ax.semilogy(range(1, 26), np.maximum(values, 1e-17), linestyle="none")
ax.axhline(1e-6 * values[0], color="#666666", marker="", linestyle="--")
ax.annotate("a millionth of the largest", (25, 1e-6 * values[0]), xytext=(0, 5), textcoords="offset points", ha="right")
ax.set(xlabel="index", ylabel="singular value", title="three that count, and 22 that are rounding")
lesson.show(figure, alt="25 singular values on a log axis: three near 30, the other 22 below ten to the minus 14, far under a dashed "
                        "line at a millionth of the largest.")
print("rank:", np.linalg.matrix_rank(product))

# %% [markdown]
# ## When do two thin matrices save anything?
#
# A product of rank r has r·(m + n) numbers, the matrix m·n. They are even at r = mn / (m + n).

# %%
ranks = np.arange(1, 129)
figure, ax = plt.subplots(figsize=(7, 3.2))
for m, n in ((128, 128), (128, 512), (100, 500)):
    ax.plot(ranks, ranks * (m + n) / (m * n), markevery=16)
    ax.annotate(f"{m} × {n}", (128, 128 * (m + n) / (m * n)), xytext=(6, -4), textcoords="offset points")
ax.axhline(1, color="#666666", marker="", linestyle="-")
ax.set(xlabel="rank", ylabel="numbers ÷ numbers of the matrix", xscale="log")
ax.set_xscale("log", base=2)
lesson.show(figure, alt="The share of numbers that factors need against the rank, for three shapes. A square 128 by 128 matrix is even "
                        "at rank 64, the longer ones at 83 and above 100.")

# %% [markdown]
# ## What does fine-tuning change?
#
# Take the model that reads aloud, fine-tune all of it on `rhyme` for a moment, and look at the difference of one weight.

# %%
base, tokenizer = mg.pretrained.load()
tuned = mg.peft.apply(base, mg.peft.FullFineTuning())
words = mg.tasks.encode_examples(tokenizer, mg.tasks.get("rhyme").examples("adapt")[:1000])
mg.training.fit(tuned, mg.tasks.Batches(words, batch_size=32), steps=60, lr=5e-4)
after, before = dict(tuned.model.named_parameters()), dict(base.named_parameters())

rows = []
figure, ax = plt.subplots(figsize=(7, 3.6))
for number, name in enumerate(("blocks.2.attn.q_proj.weight", "blocks.2.attn.v_proj.weight", "blocks.2.mlp.up_proj.weight")):
    change = mg.to_numpy(after[name]) - mg.to_numpy(before[name])
    energy = np.cumsum(np.linalg.svd(change, compute_uv=False) ** 2)
    energy /= energy[-1]
    ax.plot(range(1, 129), energy, markevery=16)
    at = (6, 3, 24)[number]
    ax.annotate(name.split(".")[-2], (at, energy[at - 1]), xytext=((4, -14), (-30, 10), (4, -14))[number],
                textcoords="offset points")
    rows += [{"weight": name, "rank": r, "energy": float(energy[r - 1])} for r in range(1, 129)]
ax.set_xscale("log", base=2)
ax.set_xticks([1, 2, 4, 8, 16, 32, 64, 128], [1, 2, 4, 8, 16, 32, 64, 128])
ax.set(xlabel="rank", ylabel="share of the change's energy", ylim=(0, 1.02))
lesson.show(figure, alt="Three rising curves: the share of a trained change's energy that its largest singular values hold. Rank 8 of "
                        "128 already holds most of the change of the attention weights.", name="low_rank_of_a_change", data=rows)

# %%
# about: after a short training
for name in ("blocks.2.attn.q_proj.weight", "blocks.2.attn.v_proj.weight", "blocks.2.mlp.up_proj.weight"):
    shares = {r["rank"]: r["energy"] for r in rows if r["weight"] == name}
    print(f"{name:30} rank 1: {shares[1]:.2f}   rank 8: {shares[8]:.2f}   rank 32: {shares[32]:.2f}")

# %% [markdown]
# That is the bet behind LoRA: not that weights have low rank (they do not), but that *changes* nearly do.

# %%
whole = np.linalg.svd(mg.to_numpy(before["blocks.2.attn.q_proj.weight"]), compute_uv=False)
print(f"of the weight itself, rank 8 holds {(whole[:8] ** 2).sum() / (whole ** 2).sum():.2f}")

# %% [markdown]
# ## Cut the change and try
#
# Replace every trained change of a matrix by its best rank-r matrix, and read words.

# %%
test = mg.tasks.get("rhyme").examples("test")[:60]
def cut(r):
    model = mg.models.GPT(base.config)
    state = {}
    for name, old in before.items():
        change = mg.to_numpy(after[name]) - mg.to_numpy(old)
        if change.ndim == 2 and r < 128:
            U, S, Vt = np.linalg.svd(change, full_matrices=False)
            change = U[:, :r] * S[:r] @ Vt[:r]
        state[name] = mg.to_numpy(old) + change
    model.load_state_dict(state)
    model.eval()
    return mg.training.evaluate(model, tokenizer, test).exact_match

ranks = [1, 4, 16, 128]
scores = [cut(r) for r in ranks]
figure, ax = plt.subplots(figsize=(7, 3.2))
ax.plot(ranks, [100 * s for s in scores])
ax.set_xscale("log", base=2)
ax.set_xticks(ranks, [1, 4, 16, "all"])
ax.set(xlabel="rank to which every change is cut", ylabel="words right, %", ylim=(0, None))
lesson.show(figure, alt="Words right against the rank to which all changes are cut: nearly flat. Even with every change cut to rank 1 the "
                        "model reads about as many of the sixty words as with the whole changes.", name="low_rank_cut", data={"rank": ranks, "words_right": scores})

# %%
# about: sixty words
for r, score in zip(ranks, scores):
    print(f"rank {r:3}: {score:.2f}")

# %% [markdown]
# Flat, within what sixty words can tell (one word is 1.7 points): the few largest directions of each change do the work,
# although at rank 1 they hold less than half of its energy. Energy counts every direction alike; the task does not.
#
# ## Now you
#
# Six functions wait in `lessons/14_low_rank/exercises.py`; `pytest lessons/14_low_rank` checks them. The last check cuts a
# change with *your* factors and runs it as an adapter. Next: lesson 15 learns the factors directly.
