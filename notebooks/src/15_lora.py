# %% [markdown]
# # LoRA: scale, init, merge, swap
#
# A fine-tuned weight is the old one plus a change. LoRA learns that change as a product of two thin matrices. In this
# notebook you build it from nothing, watch its first steps, fold it away, and then meet the same thing in minigrad on a
# model that reads English words aloud.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("15")

import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg

# %% [markdown]
# ## A change of low rank
#
# Take a layer of 24 outputs and 32 inputs. Its change has 768 entries; a change of rank 2 is made of 2·(24 + 32) = 112.

# %%
rng = np.random.default_rng(0)
out, inn, rank, alpha = 24, 32, 2, 4.0
A, B = rng.normal(size=(rank, inn)), rng.normal(size=(out, rank))
change = alpha / rank * B @ A

figure, axes = plt.subplots(1, 3, figsize=(9, 3.4), width_ratios=[0.35, 3, 3])
for ax, M, title in zip(axes, (B, A, change), ("B (24 × 2)", "A (2 × 32)", "s·BA (24 × 32)")):
    ax.imshow(M, cmap="PuOr", vmin=-abs(M).max(), vmax=abs(M).max())
    ax.set_title(title)
    ax.set_xticks([]), ax.set_yticks([])
lesson.show(figure, alt="Three heat maps: B is a thin column of 24 by 2, A a thin row of 2 by 32, and their scaled product fills "
                        "24 by 32, but every row of it is a mixture of the same two rows.")
print("rank of the product:", np.linalg.matrix_rank(change), "   numbers:", A.size + B.size, "instead of", change.size)

# %% [markdown]
# ## A layer with a branch
#
# The frozen layer computes $xW^T + b$, the branch adds $s\,(xA^T)B^T$ with $s = \alpha/r$. The order of the brackets
# matters: $xA^T$ is only `rank` numbers wide.

# %%
def forward(x, W, b, A, B, alpha):
    s = alpha / len(A)
    z = x @ A.T                                     # (n, in) -> (n, rank)
    return x @ W.T + b + s * z @ B.T                # (n, rank) -> (n, out)

def vjp(gy, x, W, A, B, alpha):
    s = alpha / len(A)
    gz = s * gy @ B                                 # (n, out) -> (n, rank)
    return gy @ W + gz @ A, gz.T @ x, s * gy.T @ (x @ A.T)

W, b = rng.normal(size=(out, inn)) / np.sqrt(inn), np.zeros(out)
x = rng.normal(size=(200, inn))
target = x @ (W + 0.3 * np.outer(rng.normal(size=out), rng.normal(size=inn)) / np.sqrt(inn)).T   # a change of rank 1 to find

# %% [markdown]
# ## Who moves first?
#
# A is random, B is zero. So the model starts exactly at the base, and in the first step only B has a gradient: A's is
# multiplied by B. Two steps later both move.

# %%
A = rng.uniform(-1, 1, (rank, inn)) / np.sqrt(inn)
B = np.zeros((out, rank))
losses, norms = [], []
for step in range(60):
    y = forward(x, W, b, A, B, alpha)
    losses.append(float(((y - target) ** 2).mean()))
    gy = 2 * (y - target) / y.size
    _, gA, gB = vjp(gy, x, W, A, B, alpha)
    norms.append((np.linalg.norm(gA), np.linalg.norm(gB)))
    A, B = A - 2.0 * gA, B - 2.0 * gB
for step in range(4):
    print(f"step {step}: |gA| = {norms[step][0]:.4f}   |gB| = {norms[step][1]:.4f}   loss = {losses[step]:.4f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
left.plot(losses, markevery=10)
left.set(xlabel="step", ylabel="mean squared error", yscale="log", title="the loss falls from the base's")
for i, name in enumerate(("A", "B")):
    right.plot(range(12), [n[i] for n in norms[:12]])
    right.annotate(f"gradient of {name}", (7, norms[7][i]), xytext=(-8, (4, -22)[i]), textcoords="offset points",
                   ha=("right", "center")[i])
right.set(xlabel="step", ylabel="length of the gradient", title="at step 0 only B has one")
lesson.show(figure, alt="Left: the loss on a log axis falls step by step. Right: the gradient of A begins at exactly zero and then "
                        "grows, the gradient of B is positive from the first step.",
            name="lora_first_steps", data={"step": list(range(60)), "loss": losses, "gradient_A": [float(n[0]) for n in norms],
                                           "gradient_B": [float(n[1]) for n in norms]})

# %% [markdown]
# ## What if both start at zero, or both random?

# %%
def run(A, B, steps=60):
    losses = []
    for _ in range(steps):
        y = forward(x, W, b, A, B, alpha)
        losses.append(float(((y - target) ** 2).mean()))
        _, gA, gB = vjp(2 * (y - target) / y.size, x, W, A, B, alpha)
        A, B = A - 2.0 * gA, B - 2.0 * gB
    return losses

draw = lambda *shape: rng.uniform(-1, 1, shape) / np.sqrt(inn)
curves = {"A random, B = 0": run(draw(rank, inn), np.zeros((out, rank))),
          "both zero": run(np.zeros((rank, inn)), np.zeros((out, rank))),
          "both random": run(draw(rank, inn), 3 * draw(out, rank))}
figure, ax = plt.subplots(figsize=(7, 3.4))
for name, curve in curves.items():
    ax.plot(curve, markevery=10)
    ax.annotate(name, (58, curve[58]), xytext=(4, 4), textcoords="offset points", annotation_clip=False)
ax.set(xlabel="step", ylabel="mean squared error", yscale="log", xlim=(-2, 78))
lesson.show(figure, alt="Three loss curves: with A random and B zero the loss starts at the base's value and falls; with both zero it "
                        "never moves; with both random it starts higher, because the model is no longer the base.")
for name, curve in curves.items():
    print(f"{name:16} starts at {curve[0]:.4f}, ends at {curve[-1]:.4f}")

# %% [markdown]
# ## Merge and swap
#
# After training, W + s·BA does the work of both branches. To swap adapters, always start from W: adding and subtracting
# float32 matrices does not come back to where it began.

# %%
W32, A32, B32 = (M.astype(np.float32) for M in (W, A, B))
merged = W32 + np.float32(alpha / rank) * B32 @ A32
y_branch, y_merged = forward(x.astype(np.float32), W32, 0, A32, B32, np.float32(alpha)), x.astype(np.float32) @ merged.T
print("largest difference between branch and merged:", f"{abs(y_branch - y_merged).max():.0e}")
# about: which entries depends on the last bit
drifting = W32.copy()
for _ in range(100):
    drifting += np.float32(alpha / rank) * B32 @ A32
    drifting -= np.float32(alpha / rank) * B32 @ A32
print("entries that are no longer the base's after 100 times adding and subtracting:", (drifting != W32).sum(), "of", W32.size)

# %% [markdown]
# ## The same in minigrad
#
# `peft.apply` puts the branch beside W_q and W_v of all four blocks of a model that was trained to read words aloud. The
# new task is `rhyme`: the end of a word, from its last stressed vowel on.

# %%
base, tokenizer = mg.pretrained.load()
model = mg.peft.apply(base, mg.peft.LoRA(rank=8, alpha=16))
model.summary()
task = mg.tasks.get("rhyme")
test = task.examples("test")[:100]
before = mg.training.evaluate(model, tokenizer, test).exact_match
words = mg.tasks.encode_examples(tokenizer, task.examples("adapt")[:1000])
mg.training.fit(model, mg.tasks.Batches(words, batch_size=32), steps=90, lr=8e-3)
model.eval()
after = mg.training.evaluate(model, tokenizer, test)
print(f"words right before: {before:.0%}")

# %%
# about: a short training
print(f"words right after 90 steps: {after.exact_match:.0%}")

# %% [markdown]
# Merged, the model gives the same answers and has no branch left to compute.

# %%
prompt = [tokenizer.encode_source("nation")]
unmerged_logits = model(prompt).numpy()
model.merge()
print("largest difference of a logit after merging is below 0.001:", bool(abs(model(prompt).numpy() - unmerged_logits).max() < 1e-3))
model.unmerge()
with model.disabled():
    print("with the adapter disabled, the base bit by bit:", bool((model(prompt).numpy() == base(prompt).numpy()).all()))

# %% [markdown]
# ## Where the change went
#
# The singular values of one trained ΔW: eight are not zero, and the first ones carry most of it.

# %%
from minigrad.peft.lora import LoRALinear
layers = [(name, m) for name, m in model.model.named_modules() if isinstance(m, LoRALinear)]
figure, ax = plt.subplots(figsize=(7, 3.4))
rows = []
for i, (name, m) in enumerate(layers[-2:]):
    values = np.linalg.svd(mg.to_numpy(m.delta_weight()), compute_uv=False)[:12]
    ax.plot(range(1, 13), values / values[0])
    ax.annotate(name.split(".")[-1], (6, values[5] / values[0]), xytext=((6, 6), (-40, -16))[i], textcoords="offset points")
    rows += [{"layer": name, "index": i + 1, "singular_value": float(v)} for i, v in enumerate(values)]
ax.set(xlabel="index", ylabel="singular value ÷ the largest", title="rank 8: from the ninth on they are zero")
lesson.show(figure, alt="Singular values of two trained changes, divided by the largest: they fall steadily over the first eight and "
                        "are zero from the ninth on.", name="lora_singular_values", data=rows)

# %% [markdown]
# ## Now you
#
# Write the six functions in `lessons/15_lora/exercises.py` and run `pytest lessons/15_lora`. The last check puts your
# forward and your gradients into a transformer and fine-tunes it.
