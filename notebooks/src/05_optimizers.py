# %% [markdown]
# # Optimizers: SGD, momentum, Adam
#
# A gradient gives a direction. This notebook watches what different optimizers make of it: in a valley with two weights,
# where you can see every step, and then on a transformer that learns to read words.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("05")

import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg

# %% [markdown]
# ## A narrow valley
#
# The loss is ½(x² + 25y²): flat along x, steep across. A long step bounces between the walls, a short one crawls along the
# floor. Every optimizer below starts at the same place and takes forty steps.

# %%
curvature = np.array([1.0, 25.0])
loss = lambda p: 0.5 * (curvature * p ** 2).sum(axis=-1)
gradient = lambda p: curvature * p

def walk(step, state, start=(-9.0, 1.8), steps=40):
    p, path = np.array(start), [np.array(start)]
    for t in range(1, steps + 1):
        p, state = step(p, gradient(p), state, t)
        path.append(p)
    return np.array(path)

def sgd(lr):
    return lambda p, g, state, t: (p - lr * g, state)

def momentum(lr, mu):
    def step(p, g, b, t):
        b = mu * b + g
        return p - lr * b, b
    return step

def adam(lr, beta1=0.9, beta2=0.999, eps=1e-8, corrected=True):
    def step(p, g, state, t):
        m, v = beta1 * state[0] + (1 - beta1) * g, beta2 * state[1] + (1 - beta2) * g ** 2
        a, b = (1 - beta1 ** t, 1 - beta2 ** t) if corrected else (1, 1)
        return p - lr * (m / a) / (np.sqrt(v / b) + eps), (m, v)
    return step

paths = {"SGD, lr 0.075": walk(sgd(0.075), None), "momentum 0.8, lr 0.03": walk(momentum(0.03, 0.8), 0.0),
         "Adam, lr 0.5": walk(adam(0.5), (0.0, 0.0))}

x, y = np.meshgrid(np.linspace(-10, 3.5, 120), np.linspace(-2.2, 2.2, 80))
figure, axes = plt.subplots(3, 1, figsize=(8, 6.6), sharex=True)
for i, (ax, (name, path)) in enumerate(zip(axes, paths.items())):
    ax.contour(x, y, loss(np.stack([x, y], -1)), levels=[0.5, 2, 6, 14, 26, 42, 62], colors="#BBBBBB", linewidths=0.8)
    ax.plot(*path.T, color=f"C{i}", marker="o", markersize=3.5, linestyle="-", linewidth=1)
    ax.plot(0, 0, marker="*", markersize=11, color="black")
    ax.set(title=f"{name}: loss {loss(path[-1]):.2g} after 40 steps", ylabel="y")
axes[-1].set_xlabel("x")
figure.tight_layout()
rows = [{"optimizer": name, "step": t, "x": float(p[0]), "y": float(p[1]), "loss": float(loss(p))}
        for name, path in paths.items() for t, p in enumerate(path)]
lesson.show(figure, alt="Three paths through an elongated valley. SGD zigzags across the valley while it creeps toward the minimum. "
                        "Momentum swings a few times and arrives. Adam goes diagonally, because both weights get steps of the same "
                        "length, overshoots and comes back.", name="optimizer_paths", data=rows)
for name, path in paths.items():
    print(f"{name:22} loss {loss(path[0]):.2f} -> {loss(path[10]):.3f} after 10 steps -> {loss(path[-1]):.2g} after 40")

# %% [markdown]
# Look at Adam's first step: 0.5 in x and 0.5 in y, although the gradient in y is five times as long. Each weight is divided
# by the size of its own gradients.
#
# How long may an SGD step be? Across the valley one step multiplies y by 1 − 25·lr. Beyond lr = 2/25 that is below −1, and
# the path flies out.

# %%
for lr in (0.07, 0.079, 0.081):
    print(f"lr {lr}: factor across the valley {1 - 25 * lr:+.3f}, loss after 40 steps {loss(walk(sgd(lr), None)[-1]):.3g}")

# %% [markdown]
# ## What the bias correction corrects
#
# Give Adam a gradient that is always 1. Then m should be 1 and v should be 1, but both start at 0. v is the slower one, so
# without the correction the denominator is too small for a long time, and the steps are too long.

# %%
steps = np.arange(1, 3001)
m, v = 1 - 0.9 ** steps, 1 - 0.999 ** steps
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.5))
marks = [0, 9, 99, 999, 2999]
for curve, name, at, shift in ((m, "m", 4, (-14, 6)), (v, "v", 400, (8, -12))):
    left.plot(steps, curve, markevery=marks)
    left.annotate(name, (steps[at], curve[at]), xytext=shift, textcoords="offset points")
left.set(xscale="log", xlabel="step", ylabel="running mean of 1", title="both means start too small")
right.plot(steps, m / np.sqrt(v), markevery=marks)
right.annotate("without correction", (60, (m / np.sqrt(v))[59]), xytext=(8, 4), textcoords="offset points")
right.plot(steps, np.ones(3000), markevery=marks)
right.annotate("with", (1.3, 1), xytext=(0, 5), textcoords="offset points")
right.set(xscale="log", xlabel="step", ylabel="length of the step ÷ lr", ylim=(0, None), title="so the steps start too long")
lesson.show(figure, alt="Left: the running mean m reaches 1 after some twenty steps, v only after thousands. Right: without correction "
                        "the steps begin at 3.2 times the learning rate, grow to 6.6 times around step 12 and are still too long after "
                        "a thousand steps; with correction they are exactly one learning rate long.",
            name="optimizer_bias", data={"step": [int(steps[i]) for i in range(0, 3000, 10)],
                                         "uncorrected": [float((m / np.sqrt(v))[i]) for i in range(0, 3000, 10)]})
ratio = m / np.sqrt(v)
print(f"uncorrected: first step {ratio[0]:.2f}, longest {ratio.max():.2f} at step {ratio.argmax() + 1}, step 1000 {ratio[999]:.2f}")

# %% [markdown]
# ## Where ε belongs
#
# A slide of the course writes √(v̂ + ε). Adam adds ε after the root. The two differ for small gradients:

# %%
sizes = 10.0 ** np.arange(-8, 1)
after, inside = sizes / (sizes + 1e-8), sizes / np.sqrt(sizes ** 2 + 1e-8)
for g, a, b in zip(sizes, after, inside):
    print(f"gradients of size {g:7.0e}: step ÷ lr   after the root {a:.3f}   inside it {b:.4f}")

# %% [markdown]
# ## Decay through Adam, decay beside it
#
# Two weights start at 1. Their gradients are noise around zero, of size 100 for one and of size 0.01 for the other, so
# nothing but the decay pulls them anywhere. An L2 penalty adds λp to the gradient; AdamW shrinks p itself.

# %%
def decay(decoupled, noise, lr=0.01, weight_decay=0.5, steps=400, runs=200):
    rng = np.random.default_rng(1)
    p, m, v, mean = np.ones(runs), 0.0, 0.0, []
    for t in range(1, steps + 1):
        g = noise * rng.choice([-1.0, 1.0], runs)
        if decoupled:
            p = p * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * p
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g ** 2
        p = p - lr * (m / (1 - 0.9 ** t)) / (np.sqrt(v / (1 - 0.999 ** t)) + 1e-8)
        mean.append(p.mean())
    return np.array(mean)

figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), sharey=True)
rows = []
for ax, decoupled, title in zip(axes, (False, True), ("Adam with an L2 penalty", "AdamW")):
    for i, noise in enumerate((100.0, 0.01)):
        curve = decay(decoupled, noise)
        ax.plot(curve, markevery=80)
        if not decoupled:
            ax.annotate(f"gradients ± {noise:g}", (150, curve[150]), textcoords="offset points", xytext=(8, (-18, 10)[i]))
        elif i == 0:
            ax.annotate("both, one on the other", (150, curve[150]), textcoords="offset points", xytext=(10, 6))
        rows += [{"optimizer": title, "gradient_size": noise, "step": t, "weight": float(curve[t])} for t in range(0, 400, 10)]
    ax.set(title=title, xlabel="step")
axes[0].set_ylabel("weight, mean of 200 runs")
lesson.show(figure, alt="Left, Adam with an L2 penalty: the weight with large gradients hardly shrinks, the one with small gradients goes "
                        "quickly to zero. Right, AdamW: both shrink along nearly the same curve.", name="optimizer_decay", data=rows)

# %%
# about: means of noisy runs
for decoupled, title in ((False, "Adam with an L2 penalty"), (True, "AdamW")):
    print(f"{title:24} after 400 steps: large gradients {decay(decoupled, 100.0)[-1]:.2f}, small ones {decay(decoupled, 0.01)[-1]:.2f}")

# %% [markdown]
# ## On a transformer
#
# A small model learns to read 300 words, with three seeds. Each optimizer gets the best of three learning rates, chosen on
# a run with another seed. The engine's classes are the formulas above, run on all weights at once.

# %%
tokenizer = mg.tasks.Tokenizer()
words = [(w, a) for w, a in mg.tasks.get("pronounce").examples("adapt") if len(w) <= 6][:300]
sequences = mg.tasks.encode_examples(tokenizer, words)

def train(make, seed, steps=50):
    mg.manual_seed(seed)
    model = mg.models.GPT(mg.models.GPTConfig(tokenizer.vocab_size, context=16, d_model=32, n_layers=1, n_heads=2))
    optimizer, losses = make(model.parameters()), []
    batches = mg.tasks.Batches(sequences, 32, rng=seed, bucket=False).forever()
    for _ in range(steps):
        optimizer.zero_grad()
        value = mg.training.loss_on(model, next(batches))
        value.backward()
        mg.optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(value.item())
    return losses

kinds = {"SGD": lambda lr: lambda ps: mg.optim.SGD(ps, lr=lr), "momentum 0.9": lambda lr: lambda ps: mg.optim.SGD(ps, lr=lr, momentum=0.9),
         "AdamW": lambda lr: lambda ps: mg.optim.AdamW(ps, lr=lr)}
rates = {"SGD": (0.1, 0.3, 1.0), "momentum 0.9": (0.1, 0.3, 1.0), "AdamW": (3e-3, 1e-2, 3e-2)}
end = lambda losses: float(np.mean(losses[-10:]))
best = {name: min(rates[name], key=lambda lr: end(train(make(lr), 10))) for name, make in kinds.items()}
curves = {name: np.array([train(make(best[name]), seed) for seed in range(3)]) for name, make in kinds.items()}

figure, ax = plt.subplots(figsize=(7.5, 3.8))
rows = []
for i, (name, runs) in enumerate(curves.items()):
    for run in runs:
        ax.plot(run, color=f"C{i}", alpha=0.35, linewidth=0.8, marker="", linestyle="-")
    ax.plot(runs.mean(axis=0), markevery=10, color=f"C{i}")
    ax.annotate(f"{name}, lr {best[name]:g}", (49, runs.mean(axis=0)[-5:].mean()), xytext=(6, (3, -9, -3)[i]), textcoords="offset points",
                annotation_clip=False)
    rows += [{"optimizer": name, "lr": best[name], "seed": s, "step": t, "loss": float(run[t])} for s, run in enumerate(runs)
             for t in range(50)]
ax.set(xlabel="step", ylabel="loss, nats per symbol", xlim=(0, 70), xticks=range(0, 51, 10))
lesson.show(figure, alt="Loss against steps for three optimizers, mean of three seeds with the single runs behind it. AdamW falls fastest; "
                        "momentum and plain SGD come after it.", name="optimizer_training", data=rows)

# %%
# about: short trainings
for name, runs in curves.items():
    print(f"{name:13} lr {best[name]:<5g} loss over the last ten steps: {np.mean([end(r) for r in runs]):.2f}")

# %% [markdown]
# ## The learning rate of a step, and clipping
#
# The usual schedule goes up along a line and down along half a cosine. Beside it, from the same training: how long the
# gradient was in each step. Where it is longer than 1, it is shortened to 1 before the optimizer sees it.

# %%
mg.manual_seed(0)
model = mg.models.GPT(mg.models.GPTConfig(tokenizer.vocab_size, context=16, d_model=32, n_layers=1, n_heads=2))
trainer = mg.training.Trainer(model, steps=60, lr=1e-2, warmup=12)
rates, norms = [], []
batches = mg.tasks.Batches(sequences, 32, rng=0, bucket=False).forever()
for _ in range(60):
    rates.append(trainer.optimizer.param_groups[0]["lr"])
    norms.append(trainer.step(next(batches))[1])
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.3))
left.plot(rates, markevery=6)
left.set(xlabel="step", ylabel="learning rate", title="12 steps up, 48 down")
right.plot(norms, markevery=6)
right.axhline(1.0, color="#666666", marker="", linestyle="--")
right.annotate("shortened where above the dashed line", (59, 0.25), ha="right")
right.set(xlabel="step", ylabel="length of the gradient", title="and is shortened where it is long", ylim=(0, None))
lesson.show(figure, alt="Left: the learning rate rises along a line over 12 steps and falls along half a cosine to zero. Right: the "
                        "length of the gradient over the same steps, with a dashed line at 1.")
print("steps in which the gradient was shortened:", sum(n > 1 for n in norms), "of 60")

# %% [markdown]
# ## Now you
#
# Write the six functions in `lessons/05_optimizers/exercises.py` and run `pytest lessons/05_optimizers`. The last checks put
# your optimizer, your clipping and your schedule in the place of the engine's.
