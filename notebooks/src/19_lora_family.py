# %% [markdown]
# # The LoRA family
#
# LoRA is W + s·BA. Each of its relatives changes one thing: the scale, the learning rates, the start, what is shared, what is
# trained. Here each of them is written in a few lines, looked at, and then met in minigrad on the model that reads aloud.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("19")

import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg
ex = lesson.ex

# %% [markdown]
# ## The scale: rsLoRA
#
# Take one step of gradient descent from LoRA's start and see how far the layer's output moves, for every rank. A is random, B
# is zero, and the gradient that comes from above is the same each time.

# %%
rng = np.random.default_rng(0)
out, inn, alpha, lr = 256, 256, 16.0, 1e-3
x = rng.normal(size=inn)
gy = rng.normal(size=out) / np.sqrt(out)

def moved(kind, r):
    """How far one step moves the output, averaged over draws of A."""
    s, total = ex.scaling(kind, alpha, r), 0.0
    for draw in range(40):
        A = np.random.default_rng(draw).uniform(-1, 1, (r, inn)) / np.sqrt(inn)
        B = -lr * s * np.outer(gy, A @ x)                       # after one step
        total += np.linalg.norm(s * B @ (A @ x))
    return total / 40

ranks = [1, 2, 4, 8, 16, 32, 64, 128]
rows = [{"scaling": kind, "rank": r, "moved": moved(kind, r)} for kind in ("alpha/r", "alpha/sqrt(r)") for r in ranks]
figure, ax = plt.subplots(figsize=(7, 3.4))
for kind, name in (("alpha/r", "LoRA: α/r"), ("alpha/sqrt(r)", "rsLoRA: α/√r")):
    values = [r["moved"] for r in rows if r["scaling"] == kind]
    ax.plot(ranks, values)
    ax.annotate(name, (ranks[5], values[5]), xytext=(0, 8), textcoords="offset points")
ax.set_xscale("log", base=2)
ax.set_xticks(ranks, ranks)
ax.set(yscale="log", xlabel="rank", ylabel="the output moves by")
lesson.show(figure, alt="How far one step moves the output against the rank, both on logarithmic axes: with alpha over r it falls in proportion to the rank, "
                        "with alpha over the root of r it is the same at all ranks.", name="family_scale", data=rows)

# %% [markdown]
# With α/r, rank 128 moves more than a hundred times less than rank 1 at the same learning rate. So a sweep over ranks with a fixed α
# compares learning rates as well. (The sweep of lesson 16 keeps α/r fixed for that reason.)
#
# ## Direction and length apart: DoRA
#
# Rows of a weight as arrows. LoRA turns and stretches them in one go; DoRA divides the result by its length, and gives each row a
# length m of its own, which is trained.

# %%
W = np.array([[2.0, 0.6], [-0.8, 1.6], [-1.2, -0.5]])
A, B, s = np.array([[0.5, 1.0]]), np.array([[-0.8], [-0.7], [1.4]]), 1.0
lengths = np.linalg.norm(W, axis=1)
figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharex=True, sharey=True)
for ax, new, title in zip(axes, (W + s * B @ A, ex.dora_weight(W, A, B, s, lengths)), ("LoRA: W + s·BA", "DoRA with m at its start")):
    for row, row_new, color, length in zip(W, new, ("#0072B2", "#D55E00", "#009E73"), lengths):
        ax.add_patch(plt.Circle((0, 0), length, fill=False, color=color, alpha=0.35))
        ax.annotate("", row, (0, 0), arrowprops=dict(arrowstyle="->", color=color, alpha=0.4, linestyle="--"))
        ax.annotate("", row_new, (0, 0), arrowprops=dict(arrowstyle="->", color=color, linewidth=2.5))
    ax.set(title=title, xlim=(-2.4, 2.4), ylim=(-2.4, 2.4), aspect="equal")
lesson.show(figure, alt="Three rows of a weight as dashed arrows, each with a circle of its length, and as thick arrows after a change of rank 1. With LoRA the arrows "
                        "turn and leave their circles; with DoRA they turn to the same directions and end on their circles.")

# %% [markdown]
# ## Almost nothing trained: VeRA and (IA)³
#
# VeRA draws A and B once, for all layers, and trains two vectors per layer. (IA)³ has no matrices at all: it stretches features.
# What they train, on W_q and W_v of the base model (IA)³ on keys, values and the MLP:

# %%
shapes = [(128, 128)] * 8
ranks = [1, 2, 4, 8, 16, 32, 64, 128]
figure, ax = plt.subplots(figsize=(7, 3.8))
names = {"dora": "DoRA", "lora": "LoRA, PiSSA", "lora_fa": "LoRA-FA", "vera": "VeRA"}
for name, title in names.items():
    values = [ex.counts(shapes, r)[name] for r in ranks]
    ax.plot(ranks, values)
    ax.annotate(title, (ranks[-1], values[-1]), xytext=(8, {"dora": 4, "lora": -10}.get(name, -4)), textcoords="offset points", annotation_clip=False)
ia3 = mg.peft.IA3().count(mg.models.GPTConfig(vocab_size=80))
ax.axhline(ia3, color="#666666", marker="", linestyle="--")
ax.annotate("(IA)³ (no rank)", (20, ia3), xytext=(0, 4), textcoords="offset points")
ax.set_xscale("log", base=2)
ax.set_xticks(ranks, ranks)
ax.set(yscale="log", xlabel="rank", ylabel="numbers trained")
lesson.show(figure, alt="Numbers trained against the rank on logarithmic axes. DoRA lies just above LoRA, LoRA-FA at half of it; VeRA's line is almost flat, near a "
                        "thousand numbers, because its matrices are not trained. (IA)³ is a dashed line at 3,072.", name="family_counts",
            data=[{"method": title, "rank": r, "trained": ex.counts(shapes, r)[name]} for name, title in names.items() for r in ranks])

# %% [markdown]
# ## Starting from what is there: PiSSA
#
# LoRA's start adds nothing, in a random direction. PiSSA takes the largest singular values out of W, trains those and freezes
# the rest.

# %%
base, tokenizer = mg.pretrained.load()
W = mg.to_numpy(base.blocks[1].attn.q_proj.weight).astype(np.float64)
A, B, rest = ex.pissa(W, 8, 2.0)
spectrum = lambda M: np.linalg.svd(M, compute_uv=False)[:32]
figure, ax = plt.subplots(figsize=(7, 3.4))
for M, name, at in ((W, "W", 12), (2.0 * B @ A, "trained: s·BA", 4), (rest, "frozen: W_res", 20)):
    values = np.where(spectrum(M) > 1e-9, spectrum(M), np.nan)
    ax.plot(range(1, 33), values, linestyle="none", markersize=8 if name == "W" else 4, alpha=0.45 if name == "W" else 1, label=name)
ax.legend(frameon=False)
ax.set(xlabel="index of the singular value", ylabel="singular value", ylim=(0, None))
lesson.show(figure, alt="Singular values of a query projection: the trained part has the eight largest, the frozen rest begins with the ninth, so that it looks like the "
                        "whole spectrum moved to the left by eight places.")
x = rng.normal(size=(64, 128))
gy = rng.normal(size=(64, 128)) / 64
A0 = rng.uniform(-1, 1, (8, 128)) / np.sqrt(128)
for name, a, b in (("LoRA", A0, np.zeros((128, 8))), ("PiSSA", A, B)):
    gA, gB = 2.0 * (gy @ b).T @ x, 2.0 * gy.T @ (x @ a.T)
    print(f"{name:5} at the first step: |gA| = {np.linalg.norm(gA):.3f}   |gB| = {np.linalg.norm(gB):.3f}")
print("W_res + s·BA is W again:", np.allclose(rest + 2.0 * B @ A, W))

# %% [markdown]
# ## Two learning rates: LoRA+
#
# A is drawn and B is zero; should both move at the same rate? Adam's first step changes every entry by about the learning rate,
# with the sign of its gradient. In A's row all `in` changes pull Ax the same way; in B's row there are only r of them. So look at
# layers of growing width, and take one such step in each:

# %%
widths, r, lr = [32, 64, 128, 256, 512, 1024, 2048, 4096], 8, 1e-3
rows = []
for width in widths:
    draw = np.random.default_rng(width)
    x = draw.normal(size=width)
    A = draw.uniform(-1, 1, (r, width)) / np.sqrt(width)
    gz, gy = draw.normal(size=r), draw.normal(size=width)       # gradients of z = Ax and of y = Bz
    z = A @ x
    by_A = -lr * np.sign(np.outer(gz, x)) @ x                   # how z moves
    by_B = -lr * np.sign(np.outer(gy, z)) @ z                   # how y moves
    rows.append({"width": width, "z_moves": float(abs(by_A).mean()), "y_moves": float(abs(by_B).mean())})

figure, ax = plt.subplots(figsize=(7, 3.4))
for key, name in (("z_moves", "A's step moves each number of Ax by"), ("y_moves", "B's step moves each number of y by")):
    ax.plot(widths, [row[key] for row in rows])
    at = 6 if key == "z_moves" else 3
    ax.annotate(name, (widths[at], rows[at][key]), xytext=(-8, 10), textcoords="offset points", ha="right" if key == "z_moves" else "left")
ax.set_xscale("log", base=2)
ax.set_xticks(widths, widths)
ax.set(yscale="log", xlabel="width of the layer", ylabel="movement in one step")
lesson.show(figure, alt="How far one step of Adam moves the numbers behind A and behind B, against the width of the layer, on logarithmic axes: A's effect grows in proportion to the "
                        "width, B's stays about the same.", name="family_two_rates", data=rows)

# %% [markdown]
# In a wide layer a rate that is gentle for A hardly moves B, and one that suits B is far too much for A. LoRA+ gives B a rate λ times
# A's; the paper suggests about 16.
#
# ## The family on a real model
#
# The same words in the same order, 25 steps each, with a rate for each that was tried by hand. One seed: this shows that they
# work and how they start, not which is best. (What a comparison takes is lesson 16.)

# %%
P = mg.peft
family = {"LoRA": (P.LoRA(rank=8), 8e-3), "rsLoRA": (P.LoRA(rank=8, scaling="alpha/sqrt(r)"), 8e-3), "LoRA+": (P.LoRAPlus(rank=8, ratio=4), 4e-3),
          "LoRA-FA": (P.LoRAFA(rank=8), 1.6e-2), "DoRA": (P.DoRA(rank=8), 8e-3), "VeRA": (P.VeRA(rank=256), 1e-1), "PiSSA": (P.PiSSA(rank=8), 4e-3),
          "(IA)³": (P.IA3(), 1e-1)}
words = mg.tasks.encode_examples(tokenizer, mg.tasks.get("rhyme").examples("adapt")[:800])
prompts = [tokenizer.encode_source("nation")]
before = base(prompts).numpy()
curves, facts = {}, []
for name, (method, lr) in family.items():
    mg.manual_seed(0)
    model = P.apply(base, method)
    start_at = abs(model(prompts).numpy() - before).max()
    curves[name] = mg.training.fit(model, mg.tasks.Batches(words, batch_size=32, rng=np.random.default_rng(0)), steps=25, lr=lr).losses
    apart = model(prompts).numpy()
    model.merge()
    trained = sum(p.size for p in model.trainable_parameters())
    facts.append((name, trained, method.count(base.config), start_at, abs(model(prompts).numpy() - apart).max()))
print(f"{'':8} {'trained':>8} {'formula':>8}  starts at the base  merged is the same")
for name, trained, formula, start_at, apart in facts:
    print(f"{name:8} {trained:8,d} {formula:8,d}  {'yes' if start_at < 1e-4 else 'no':18}  {'yes' if apart < 1e-2 else 'no'}")

# %%
figure, axes = plt.subplots(2, 4, figsize=(11, 4.4), sharex=True, sharey=True)
for ax, (name, curve) in zip(axes.flat, curves.items()):
    for other in curves.values():
        ax.plot(other, color="#cccccc", marker="", linestyle="-", linewidth=0.8)
    ax.plot(curve, color="#0072B2", marker="", linestyle="-", linewidth=2)
    ax.set_title(name)
for ax in axes[1]:
    ax.set_xlabel("step")
for ax in axes[:, 0]:
    ax.set_ylabel("loss")
lesson.show(figure, alt="Eight small panels of training loss, one per method, with the others in gray. All begin at the same loss, that of the base model, and all fall within 25 "
                        "steps to between one and two.", name="family_curves",
            data=[{"method": name, "step": t, "loss": loss} for name, curve in curves.items() for t, loss in enumerate(curve)])

# %% [markdown]
# All begin at the same loss, because all start at the base model: with B = 0, with b = 0, with l = 1, or by putting back what was
# taken out. And each of them is gone after merging. The smallest trains a fifth of LoRA's numbers.
#
# ## Now you
#
# `lessons/19_lora_family/exercises.py` and `pytest lessons/19_lora_family`: six functions, and at the end the engine trains what
# you start and you merge what it trains. `minigrad methods` lists the rest of the family.
