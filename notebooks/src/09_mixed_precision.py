# %% [markdown]
# # Mixed precision: loss scaling and master weights
#
# What does fp16 do to the gradients of a real model, and what does it take to train in spite of it? This notebook measures
# the gradients of the model that reads words aloud, lifts them with a loss scale, lets the scale find its own height, and
# then looks at the other leak: updates that a 16-bit weight swallows.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("09")

import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg
from minigrad.experiments.precision_gradients import gradients

RED, BLUE, GREEN = "#D55E00", "#0072B2", "#009E73"
base, tokenizer = mg.pretrained.load()
words = mg.tasks.encode_examples(tokenizer, mg.tasks.get("pronounce").examples("validation")[:16])
batch = next(iter(mg.tasks.Batches(words, 16, shuffle=False)))
g = gradients(base, batch)["activations"]           # of every layer's output, in float32, one step on 16 words
print(f"{g.size:,} gradients, {np.count_nonzero(g):,} of them not 0; sizes from {abs(g[g != 0]).min():.0e} to {abs(g).max():.2f}")

# %% [markdown]
# ## Where the gradients lie, and where fp16 ends
#
# A histogram in powers of two. fp16 has full precision from $2^{-14}$ on, some of it down to $2^{-24}$, and turns what is at
# most $2^{-25}$ into 0. Multiplying the loss by S moves the whole histogram to the right.

# %%
def histogram(values):
    powers = np.arange(-50, 17)
    exponents = np.frexp(values[values != 0])[1] - 1
    return powers, np.array([(exponents == p).mean() for p in powers])

def underflow_share(g, scale):
    real = g[g != 0]
    return float((mg.amp.round_to(real * np.float32(scale), "fp16") == 0).mean())

figure, axes = plt.subplots(2, 1, figsize=(8, 4.8), sharex=True, sharey=True)
rows = []
for ax, power in zip(axes, (0, 14)):
    powers, share = histogram(g * np.float32(2.0 ** power))
    ax.bar(powers[powers < -25], share[powers < -25], width=1.0, align="edge", color=RED, hatch="///", edgecolor="white")
    ax.bar(powers[powers >= -25], share[powers >= -25], width=1.0, align="edge", color=BLUE)
    ax.axvspan(-14, 16, color="#BBBBBB", alpha=0.25)
    ax.axvspan(-25, -14, color="#BBBBBB", alpha=0.5)
    ax.set(ylabel="share", title=f"S = 2$^{{{power}}}$: {underflow_share(g, 2.0 ** power):.1%} become 0")
    rows += [{"log2_scale": power, "log2_size": int(p), "share": float(s)} for p, s in zip(powers, share)]
axes[0].text(-13.5, 0.085, "fp16: full precision", fontsize=9)
axes[0].text(-19.5, 0.085, "subnormal", fontsize=9, ha="center")
axes[0].text(-30, 0.085, "becomes 0", fontsize=9, ha="right", color=RED)
axes[1].set(xlabel="log₂ of the gradient's size", xlim=(-50, 16), ylim=(0, 0.1))
figure.tight_layout()
lesson.show(figure, alt="Two histograms of gradient sizes in powers of two over the range of fp16, which is gray. Without a scale a long tail "
                        "on the left, hatched, lies below fp16 and becomes 0, and most of the rest is in the subnormal zone. With a "
                        "scale of 2 to the 14 the same histogram is moved right and nearly all of it is inside.",
            name="mixed_gradients", data=rows)

# %% [markdown]
# ## The loss scale: what it saves, and where it ends
#
# Left of the usable zone gradients underflow; right of it the largest ones overflow. The line is the formula applied to the
# float32 gradients, the crosses are the engine: a real backward pass under `autocast("fp16")` with the loss multiplied by S.

# %%
scales = list(range(-8, 25, 2))
predicted = [underflow_share(g, 2.0 ** s) for s in scales]
measured, infinite = [], []
for s in scales[::2]:
    found = gradients(base, batch, format="fp16", scale=2.0 ** s)["activations"]
    with np.errstate(all="ignore"):
        infinite.append(float((~np.isfinite(found)).mean()))
        measured.append(float((found[g != 0] == 0).mean()) if infinite[-1] == 0 else float("nan"))
top = np.log2(65520 / abs(g).max())
figure, ax = plt.subplots(figsize=(7.5, 3.8))
ax.plot(scales, [100 * p for p in predicted], marker="", color=BLUE, linewidth=2)
ax.plot(scales[::2], [100 * m for m in measured], linestyle="none", marker="X", color=RED, markersize=8)
ax.axvline(top, color="#666666", marker="", linestyle="--")
ax.text(top + 0.4, 60, "the largest\ngradient\noverflows", fontsize=9, va="center")
ax.annotate("formula", (scales[1], 100 * predicted[1]), xytext=(8, 4), textcoords="offset points", color=BLUE)
ax.annotate("measured in the engine", (scales[4], 100 * measured[2]), xytext=(12, 6), textcoords="offset points", color=RED)
ax.set(xlabel="log₂ of the loss scale S", ylabel="gradients that become 0, %")
lesson.show(figure, alt="The share of gradients that become 0 against the loss scale: high for small scales, a fifth at scale 1, near "
                        "nothing above 2 to the 12. Crosses measured in the engine lie on the line until a dashed line, where the "
                        "largest gradient overflows.",
            name="mixed_scale", data=[{"log2_scale": s, "formula": p, "engine": m, "infinite": i}
                                      for s, p, m, i in zip(scales[::2], predicted[::2], measured, infinite)])
for s, p, m, i in zip(scales[::2], predicted[::2], measured, infinite):
    print(f"S = 2^{s:3}: formula {p:6.1%}   " + (f"engine {m:6.1%}" if i == 0 else "engine: infinities"))

# %% [markdown]
# ## Let the scale find its height
#
# Any infinity: skip the step and halve S. Enough good steps in a row: double it. Here the interval is 6 instead of 2,000,
# so that 100 steps show the rule at work.

# %%
def next_scale(scale, good, found_inf, growth=2.0, backoff=0.5, interval=2000):
    if found_inf:
        return scale * backoff, 0
    if good + 1 == interval:
        return scale * growth, 0
    return scale, good + 1

def fresh_model():
    mg.manual_seed(1)
    return mg.models.GPT(mg.models.GPTConfig(tokenizer.vocab_size, d_model=32, n_layers=2, n_heads=4))

def train(format, scaled, steps=100, weight=1.0, lr=4e-3, interval=6):
    """Adam on a small model with the loss times `weight`; (losses, scales, which steps were skipped)."""
    model = fresh_model()
    optimizer = mg.optim.Adam(model.parameters(), lr=lr, eps=1e-8 * weight)
    scale, good = (2.0 ** 24 if scaled else 1.0), 0
    losses, history, skipped = [], [], []
    batches = mg.tasks.Batches(train_words, batch_size=16).forever()
    for _, one in zip(range(steps), batches):
        with mg.amp.autocast("fp16", enabled=format == "fp16"):
            loss = mg.training.loss_on(model, one)
        with np.errstate(all="ignore"):
            (loss * (weight * scale)).backward()
        found_inf = not all(bool(np.isfinite(p.grad).all()) for p in model.parameters())
        if not found_inf:
            for p in model.parameters():
                p.grad = p.grad / np.float32(scale)
            optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item()), history.append(scale), skipped.append(found_inf)
        if scaled:
            scale, good = next_scale(scale, good, found_inf, interval=interval)
    return losses, history, skipped

train_words = mg.tasks.encode_examples(tokenizer, mg.tasks.get("pronounce").examples("adapt")[:600])
losses, history, skipped = train("fp16", True)
at = [i for i, s in enumerate(skipped) if s]
figure, ax = plt.subplots(figsize=(7.5, 3.4))
ax.step(range(100), np.log2(history), where="post", marker="", color=BLUE, linewidth=2)
ax.plot(at, np.log2(history)[at], linestyle="none", marker="X", color=RED, markersize=8)
ax.annotate("overflow: step skipped, S halved", (at[2], np.log2(history[at[2]])), xytext=(14, 0), textcoords="offset points",
            color=RED, va="center")
ax.set(xlabel="step", ylabel="log₂ of the loss scale S")
lesson.show(figure, alt="The loss scale over 100 steps, as powers of two: it falls from 24 step by step while the first steps overflow, then "
                        "climbs one power every six steps until a cross, an overflow, halves it again, and keeps going up and down "
                        "near the limit.", name="mixed_dynamic", data={"step": list(range(100)), "log2_scale": [float(x) for x in np.log2(history)],
                                                                      "skipped": [int(s) for s in skipped]})

# %%
# about: near the limit an overflow depends on the last bits
print("steps skipped:", len(at), " among the first ten:", sum(skipped[:10]))

# %% [markdown]
# ## Does it matter?
#
# This small model trains in fp16 without any scale: few of its *weight* gradients underflow. So make them smaller, as they
# are when one loss is shared out over many micro-batches: multiply the loss by $2^{-12}$, and Adam's ε too. In float32 that
# changes nothing at all.

# %%
weight = 2.0 ** -12
curves = {"fp32": train("fp32", False, weight=weight)[0], "fp16": train("fp16", False, weight=weight)[0],
          "fp16, scaled": train("fp16", True, weight=weight, interval=20)[0]}
smooth = lambda y: np.convolve(y, np.ones(8) / 8, mode="valid")
figure, ax = plt.subplots(figsize=(7.5, 3.6))
for (name, curve), line, color, dy in zip(curves.items(), ("-", "--", "-."), ("#000000", RED, BLUE), (-7, 0, 7)):
    y = smooth(curve)
    ax.plot(range(8, 101), y, linestyle=line, color=color, marker="", linewidth=2)
    ax.annotate(name, (100, y[-1]), xytext=(5, dy - 4), textcoords="offset points", color=color, annotation_clip=False)
ax.set(xlabel="step", ylabel="loss (mean of 8 steps)", title="loss times 2$^{-12}$")
lesson.show(figure, alt="Three loss curves with the loss weighted by 2 to the minus 12: fp32 falls, fp16 without a scale falls far less, and fp16 "
                        "with the dynamic scale follows fp32 after a few skipped steps.",
            name="mixed_training", data={"step": list(range(1, 101)), **curves})

# %%
# about: short trainings
for name, curve in curves.items():
    print(f"{name:13} mean loss of the last 8 steps: {np.mean(curve[-8:]):.2f}")

# %% [markdown]
# That was one seed and a small model. The committed experiment has more of both (`minigrad experiments precision-training`):

# %%
import csv
from notebooks.setup import ROOT
table = list(csv.DictReader(open(ROOT / "figures" / "precision_training.csv", encoding="utf-8")))
for recipe in ("fp32", "fp16", "fp16 scaled", "bf16"):
    ends = [np.mean([float(r["loss"]) for r in table if r["configuration"] == "tiny loss" and r["recipe"] == recipe
                     and r["seed"] == seed and int(r["step"]) > 180]) for seed in sorted({r["seed"] for r in table})]
    print(f"{recipe:12} loss of the last 20 of 200 steps, {len(ends)} seeds: {np.mean(ends):.2f}  ({min(ends):.2f} to {max(ends):.2f})")

# %% [markdown]
# ## The other leak: updates that are swallowed
#
# A weight between $2^E$ and $2^{E+1}$ in bf16 has neighbors $2^{E-7}$ apart; an update below half of that is lost. Adam's
# first step moves every weight by about the learning rate. Which share of the reader's weights would not notice?

# %%
def swallowed(w, update, rounded):
    real = update != 0
    return float((rounded(w + update) == w)[real].mean())

weights = np.concatenate([mg.to_numpy(p).ravel() for p in base.parameters()])
sign = np.random.default_rng(2).choice(np.float32([-1, 1]), weights.size)
rates = [10.0 ** e for e in np.arange(-6, -1.9, 0.25)]
rows, figure = [], None
figure, ax = plt.subplots(figsize=(7.5, 3.8))
for name, line, color in (("bf16", "--", BLUE), ("fp16", "-.", RED), ("fp32", "-", "#000000")):
    rounded = (lambda x: x) if name == "fp32" else (lambda x: mg.amp.round_to(x, name))
    w = rounded(weights)
    lost = [swallowed(w, sign * np.float32(lr), rounded) for lr in rates]
    ax.semilogx(rates, [100 * x for x in lost], linestyle=line, color=color, marker="", linewidth=2)
    at = {"bf16": 9, "fp16": 6, "fp32": 3}[name]
    ax.annotate(name, (rates[at], 100 * lost[at]), xytext=(6, 4), textcoords="offset points", color=color)
    rows += [{"format": name, "learning_rate": lr, "swallowed": x} for lr, x in zip(rates, lost)]
ax.set(xlabel="size of the update (Adam's: the learning rate)", ylabel="weights that do not move, %", ylim=(-4, 104))
lesson.show(figure, alt="The share of the reader's weights that an update leaves where they are, against the update's size. In bf16 nearly all at "
                        "one millionth, most at 1e-4 and none from 1e-3 on; in fp16 the curve lies nearly a factor of ten further left; in "
                        "fp32 it is zero.", name="mixed_swallowed", data=rows)
for name in ("bf16", "fp16", "fp32"):
    print(name, "  ".join(f"lr {r['learning_rate']:.0e}: {r['swallowed']:.0%}" for r in rows if r["format"] == name and
                          round(np.log10(r["learning_rate"]), 2) in (-5, -4, -3)))

# %% [markdown]
# ## A master copy
#
# A weight of 1 gets −0.0001 a thousand times. With a float32 master that takes the updates, the rounded weight arrives.

# %%
def master_step(master, g, lr, rounded):
    master = master - lr * g
    return master, rounded(master)

paths = {}
for name in ("bf16", "fp16"):
    rounded = lambda x: mg.amp.round_to(x, name)
    w, master, alone, copy = np.ones(1, np.float32), np.ones(1, np.float32), [], []
    for _ in range(1000):
        w = rounded(w - np.float32(1e-4))
        master, kept = master_step(master, np.ones(1, np.float32), np.float32(1e-4), rounded)
        alone.append(float(w[0])), copy.append(float(kept[0]))
    paths[f"{name} alone"], paths[f"{name}, master"] = alone, copy
figure, ax = plt.subplots(figsize=(7.5, 3.6))
for (name, path), line, color in zip(paths.items(), ("--", "-", ":", "-"), (BLUE, BLUE, RED, RED)):
    ax.plot(path[:250], linestyle=line, color=color, marker="", linewidth=2)
ax.annotate("bf16 and fp16 alone: never move", (125, 1.0), xytext=(0, 6), textcoords="offset points", ha="center")
ax.annotate("bf16 with a master", (190, paths["bf16, master"][190]), xytext=(10, 10), textcoords="offset points", color=BLUE)
ax.annotate("fp16 with a master", (110, paths["fp16, master"][110]), xytext=(-8, -16), textcoords="offset points", ha="right", color=RED)
ax.set(xlabel="updates (the first 250)", ylabel="the weight", ylim=(0.973, 1.004))
lesson.show(figure, alt="A weight that starts at 1, over 250 updates of minus 0.0001. In bf16 and in fp16 alone it stays at 1. With a float32 master "
                        "it falls: in fp16 almost in a straight line, in bf16 in wide stairs of one 256th.",
            name="mixed_master", data={"update": list(range(0, 1000, 10)), **{k: v[::10] for k, v in paths.items()}})
print("after 1000 updates:", {name: round(path[-1], 4) for name, path in paths.items()}, "  exact: 0.9")

# %% [markdown]
# ## The same in minigrad
#
# `GradScaler` is the rule above with PyTorch's states and names; `LowPrecisionWeights` keeps a master (or repairs the loss in
# two other ways).

# %%
model = fresh_model()
optimizer, scaler = mg.optim.SGD(model.parameters(), lr=0.1), mg.amp.GradScaler(init_scale=2.0 ** 20)
for one in mg.tasks.Batches(train_words[:64], batch_size=16):
    with mg.amp.autocast("fp16"):
        loss = mg.training.loss_on(model, one)
    with np.errstate(all="ignore"):
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        mg.optim.clip_grad_norm_(model.parameters(), 1.0)   # after unscaling, before the step
        scaler.step(optimizer)
    print(f"loss {loss.item():.3f}   S = 2^{np.log2(scaler.get_scale()):.0f}", "  skipped" if scaler.skipped(optimizer) else "")
    scaler.update()
    optimizer.zero_grad()

# %% [markdown]
# Emulation shows what a format does to the numbers. It makes nothing faster and no array smaller: for that, numbers have to
# be *stored* in 16 bits, as a GPU does. Lesson 10 counts those bytes.
#
# ## Now you
#
# Six functions wait in `lessons/09_mixed_precision/exercises.py`; `pytest lessons/09_mixed_precision` checks them. The last
# two checks train a transformer with *your* loss scaling and *your* master weights.
