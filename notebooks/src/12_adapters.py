# %% [markdown]
# # Adapters
#
# Freeze the model, and put a small network behind each of its sub-layers. Here you build one, see what it can do that a
# low-rank update cannot, and what it costs.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("12")

import csv
import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg
from notebooks.setup import ROOT

# %% [markdown]
# ## Through the bottleneck, and past it

# %%
def adapter(h, W_down, b_down, W_up, b_up):
    z = np.maximum(h @ W_down.T + b_down, 0)        # (n, d) -> (n, r)
    return h + z @ W_up.T + b_up                    # (n, r) -> (n, d)

print(adapter(np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[1.0, 1.0]]), np.array([-1.0]), np.array([[2.0], [0.0]]), np.zeros(2)))

# %% [markdown]
# The first row is moved, the second is left alone: an adapter can decide by what it sees. On a plane of inputs, one hidden
# unit bends space along a line. A matrix could only stretch all of it.

# %%
grid = np.stack(np.meshgrid(np.linspace(-2, 2, 13), np.linspace(-2, 2, 13)), -1).reshape(-1, 2)
W_down, b_down = np.array([[0.8, 0.6]]), np.array([-0.2])
W_up = np.array([[0.5], [-0.9]])
bent, stretched = adapter(grid, W_down, b_down, W_up, np.zeros(2)), grid + grid @ W_down.T @ W_up.T
figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), sharex=True, sharey=True)
for ax, points, title in zip(axes, (grid, stretched, bent), ("input", "low-rank update", "adapter")):
    ax.plot(*points.T, ".", linestyle="none", markersize=3)
    ax.set_title(title)
    ax.set_aspect("equal")
lesson.show(figure, alt="Three clouds of grid points. The input is a square grid; a low-rank update shears the whole square; the adapter "
                        "shears only the half on one side of a line and leaves the other half where it was.")

# %% [markdown]
# ## The start: nothing is added, and something is learned
#
# `W_up = 0` makes the adapter the identity. Its own gradient is not zero, because the bottleneck is not.

# %%
rng = np.random.default_rng(0)
d, r = 16, 4
h = rng.normal(size=(300, d))
def gradients(values, gy):
    tensors = [mg.tensor(v, requires_grad=True) for v in values]
    W_down, b_down, W_up, b_up = tensors
    y = mg.tensor(h) + (mg.tensor(h) @ W_down.T + b_down).relu() @ W_up.T + b_up
    y.backward(gy)
    return {n: float(np.linalg.norm(t.grad)) for n, t in zip(("W_down", "b_down", "W_up", "b_up"), tensors)}

starts = {"W_up zero": (rng.normal(0, 1 / np.sqrt(d), (r, d)), np.zeros(r), np.zeros((d, r)), np.zeros(d)),
          "all zero": (np.zeros((r, d)), np.zeros(r), np.zeros((d, r)), np.zeros(d)),
          "all random": (rng.normal(0, 1 / np.sqrt(d), (r, d)), np.zeros(r), rng.normal(0, 0.5, (d, r)), np.zeros(d))}
gy = rng.normal(size=h.shape) / len(h)
for name, values in starts.items():
    g = gradients(values, gy)
    moved = np.abs(adapter(h, *values) - h).max()
    print(f"{name:11} output moved by {moved:5.2f}   gradients: " + "  ".join(f"{n} {v:.3f}" for n, v in g.items()))

# %% [markdown]
# With everything zero only `b_up` would ever move; with everything random the model is disturbed before it has learned
# anything.
#
# ## The same in minigrad
#
# `mg.peft.Adapter` puts one behind attention and one behind the MLP in each of the four blocks of the model that reads
# aloud.

# %%
base, tokenizer = mg.pretrained.load()
model = mg.peft.apply(base, mg.peft.Adapter(bottleneck=16))
model.summary()
print("by the formula: ", 2 * 4 * (2 * 128 * 16 + 16 + 128))
words = mg.tasks.encode_examples(tokenizer, mg.tasks.get("rhyme").examples("adapt")[:800])
test = mg.tasks.get("rhyme").examples("test")[:100]
mg.training.fit(model, mg.tasks.Batches(words, batch_size=32), steps=75, lr=4e-3)
model.eval()
score = mg.training.evaluate(model, tokenizer, test).exact_match
score_base = mg.training.evaluate(base, tokenizer, test).exact_match

# %%
# about: a short training
print(f"words right before: {score_base:.2f}, after 75 steps: {score:.2f}")

# %% [markdown]
# What do the adapters add? The length of W_up in each place: where training put its work.

# %%
lengths = [(name.split(".adapter")[0].replace("blocks.", "").replace("attn.o_proj", "attention").replace("mlp.down_proj", "MLP"),
            float(np.linalg.norm(mg.to_numpy(m.up.weight)))) for name, m in model.model.named_modules() if name.endswith(".adapter")]
figure, ax = plt.subplots(figsize=(7, 3.2))
ax.bar(range(8), [v for _, v in lengths], color=["#0072B2", "#D55E00"] * 4, hatch=["", "//"] * 4, edgecolor="white")
ax.set_xticks(range(8), [n.replace(".", "\n", 1) for n, _ in lengths])
ax.set(xlabel="block and sub-layer", ylabel="length of W_up")
lesson.show(figure, alt="Eight bars: the length of W_up in the adapters of blocks 0 to 3, behind attention and behind the MLP. All began "
                        "at zero; after training none is zero.", name="adapter_sizes",
            data={"place": [n for n, _ in lengths], "length": [v for _, v in lengths]})

# %% [markdown]
# ## What it costs
#
# An adapter stays in the model for ever; merged LoRA is gone. From the comparison that ships with the repository
# (`figures/compare.csv`, five seeds), read one word at a time:

# %%
with open(ROOT / "figures" / "compare.csv", encoding="utf-8") as file:
    table = [row for row in csv.DictReader(file) if row["task"] == "rhyme" and row["method"] in ("adapter", "lora", "full")]
for method in ("full", "adapter", "lora"):
    rows = [row for row in table if row["method"] == method]
    mean = lambda column: np.mean([float(row[column]) for row in rows if row[column]])
    print(f"{method:8} {int(float(rows[0]['trainable'])):8,d} numbers   {100 * mean('acc'):5.1f} % of words right")

# %% [markdown]
# Why can it not be merged? A merged adapter would have to be one matrix that does the same for *every* input. Ask for the
# best one on half the inputs, and see what it does on the other half:

# %%
h = rng.normal(size=(4000, d))
values = rng.normal(0, 0.5, (r, d)), rng.normal(size=r), rng.normal(0, 0.5, (d, r)), np.zeros(d)
y = adapter(h, *values)
with_one = np.c_[h, np.ones(len(h))]
M = np.linalg.lstsq(with_one[:2000], y[:2000], rcond=None)[0]
error = np.linalg.norm(with_one[2000:] @ M - y[2000:]) / np.linalg.norm(y[2000:] - h[2000:])
print(f"the best single matrix misses {error:.0%} of what the adapter adds")

# %% [markdown]
# ## Now you
#
# `lessons/12_adapters/exercises.py` and `pytest lessons/12_adapters`: five functions, and at the end your adapter trains
# inside a transformer.
