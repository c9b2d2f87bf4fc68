# %% [markdown]
# # Linear layers, softmax and cross-entropy
#
# With which sound does a word begin, judging by its first letters? A linear layer gives each sound a score, softmax makes
# probabilities of the scores, cross-entropy says how wrong they are. This is the end of nearly every network, and you need
# its three gradients.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("04")

import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg
from minigrad.nn import functional as F

# %% [markdown]
# ## From scores to probabilities
#
# Softmax takes shares of $e^x$. Adding one number to all scores changes nothing; multiplying them all makes the largest stand
# out more.

# %%
def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)

x = np.log([1.0, 2.0, 5.0])
figure, axes = plt.subplots(1, 4, figsize=(10.5, 2.7), sharey=True)
for ax, (scores, title) in zip(axes, ((x, "x"), (x + 3, "x + 3"), (3 * x, "3·x"), (x / 3, "x / 3"))):
    y = softmax(scores)
    ax.bar(range(3), y, color=["#0072B2", "#D55E00", "#009E73"])
    for i in range(3):
        ax.text(i, y[i] + 0.02, f"{y[i]:.3f}", ha="center")
    ax.set_xticks(range(3), [f"{s:.2f}" for s in scores])
    ax.set(title=title, ylim=(0, 1.05), xlabel="score")
axes[0].set_ylabel("probability")
lesson.show(figure, alt="Four bar charts of three probabilities. Scores x give 0.125, 0.25 and 0.625; x + 3 gives the same; 3 times x gives 0.007, "
                        "0.060 and 0.933; x divided by 3 gives nearly equal bars.")

# %% [markdown]
# ## Too large to be written
#
# In float32 $e^{89}$ is infinite and $e^{-104}$ is zero. Written as it stands, softmax breaks down far from zero, though the
# probabilities of the scores (t, t + 1) are the same for every t. Just above −104, where only the last bits are left, it is
# wrong without saying so.

# %%
ts = np.arange(-160, 161, 4).astype(np.float32)
pairs = np.stack([ts, ts + 1], axis=1)
with np.errstate(all="ignore"):
    e = np.exp(pairs)
    as_it_stands = (e / e.sum(axis=1, keepdims=True))[:, 1]
shifted = softmax(pairs)[:, 1]
figure, ax = plt.subplots(figsize=(8, 3))
ax.plot(ts, shifted, markevery=5)
ax.plot(ts, as_it_stands - 0.06, markevery=5)
ax.text(0, 0.745, "each row's largest score taken away first", ha="center", color="#0072B2")
ax.text(0, 0.62, "as it stands (drawn a little lower)", ha="center", color="#D55E00")
for left, right, why in ((-160, -104, "0/0\nnot a number"), (88, 160, "∞/∞\nnot a number")):
    ax.axvspan(left, right, color="#999999", alpha=0.25, linewidth=0)
    ax.text((left + right) / 2, 0.53, why, ha="center", size=9)
ax.set(xlabel="t", ylabel="probability of the second", ylim=(0.5, 0.8))
lesson.show(figure, alt="The probability of the second of two scores t and t + 1 in float32, for t from -160 to 160. With the largest score taken "
                        "away it is 0.731 everywhere; as it stands the line jumps up near -104 and ends there and at 88, beyond which the result is not a number.",
            name="softmax_range", data={"t": ts.tolist(), "shifted": shifted.tolist(), "as_it_stands": as_it_stands.tolist()})
print("not a number:", int(np.isnan(as_it_stands).sum()), "of", len(ts), "as it stands,", int(np.isnan(shifted).sum()), "shifted")

# %% [markdown]
# ## The gradient is the error
#
# The loss of a row is $-\ln p_t = \ln\sum e^x - x_t$ for the right class t. Its slope in each score is astonishingly simple:
# the probability, minus one at the right class. Here the right class is the second.

# %%
p = softmax(x)
onehot = np.array([0.0, 1.0, 0.0])
figure, axes = plt.subplots(1, 3, figsize=(10, 2.8), sharey=True)
for ax, values, title in zip(axes, (p, onehot, p - onehot), ("what the network says: p", "what is right", "gradient: p − right")):
    ax.bar(range(3), values, color=["#0072B2", "#D55E00", "#009E73"])
    for i in range(3):
        ax.text(i, values[i] + (0.04 if values[i] >= 0 else -0.16), f"{values[i]:.3f}", ha="center")
    ax.axhline(0, color="black", linewidth=0.8, marker="", linestyle="-")
    ax.set(title=title, ylim=(-1, 1.2))
    ax.set_xticks(range(3), ["first", "second", "third"])
lesson.show(figure, alt="Three bar charts: the probabilities 0.125, 0.25, 0.625; the right answer 0, 1, 0; and their difference, the gradient: 0.125, "
                        "minus 0.75, 0.625. The gradient sums to zero.")
measured = [(-np.log(softmax(x + h)[1]) + np.log(softmax(x - h)[1])) / 2e-5 for h in 1e-5 * np.eye(3)]
print("measured:", np.array(measured), "  loss:", round(-np.log(p[1]), 4), "nats")

# %% [markdown]
# ## Why not squared errors?
#
# One could ask for small $(1 - p_t)^2$ instead. The trouble is at the start: where the network is sure and wrong, that loss is
# flat. Cross-entropy pulls hardest there.

# %%
gap = np.linspace(-8, 8, 65)                        # score of the right class minus that of the other
p = 1 / (1 + np.exp(-gap))
cross, square = p - 1, -2 * (1 - p) * p * (1 - p)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2))
for curve, name, at, shift in ((-np.log(p), "cross-entropy", 12, (6, 4)), ((1 - p) ** 2, "squared error", 2, (0, 8))):
    left.plot(gap, curve, markevery=8)
    left.annotate(name, (gap[at], curve[at]), xytext=shift, textcoords="offset points")
for curve, name, at, shift in ((cross, "cross-entropy", 32, (10, -4)), (square, "squared error", 10, (0, 8))):
    right.plot(gap, curve, markevery=8)
    right.annotate(name, (gap[at], curve[at]), xytext=shift, textcoords="offset points")
left.set(xlabel="score of the right class − score of the other", ylabel="loss")
right.set(xlabel="score of the right class − score of the other", ylabel="slope", ylim=(-1.1, 0.1))
lesson.show(figure, alt="Left: loss against the lead of the right class. Cross-entropy rises in a straight line to the left, squared error levels off "
                        "at 1. Right: their slopes. Cross-entropy's goes to minus 1 where the network is wrong, squared error's goes to zero.",
            name="loss_slopes", data={"lead": gap.tolist(), "cross_entropy": (-np.log(p)).tolist(), "squared_error": ((1 - p) ** 2).tolist(),
                                      "slope_cross_entropy": cross.tolist(), "slope_squared_error": square.tolist()})
print(f"eight behind: slope {cross[0]:.4f} of the cross-entropy, {square[0]:.4f} of the squared error")

# %% [markdown]
# ## A classifier for first sounds
#
# The input is three letters, each as 27 numbers of which one is 1. W has a row for each sound. Forward, loss and gradients
# are ten lines of NumPy.

# %%
def one_step(x, targets, W, b, lr):
    logits = x @ W.T + b                            # (n, 81) -> (n, sounds)
    rows, m = np.arange(len(targets)), logits.max(axis=1)
    loss = (m + np.log(np.exp(logits - m[:, None]).sum(axis=1)) - logits[rows, targets]).mean()
    g = softmax(logits)
    g[rows, targets] -= 1                           # the gradient of the sum of losses
    g /= len(targets)                               # of their mean
    return loss, W - lr * g.T @ x, b - lr * g.sum(axis=0)

def data(split, n):
    found = mg.tasks.get("pronounce").examples(split)[:n]
    ids = np.array([[ord(letter) - 96 for letter in (word + "``")[:3]] for word, _ in found])     # ` stands for no letter: 0
    return np.eye(27)[ids].reshape(len(found), 81), [answers[0][0] for _, answers in found]

x, heard = data("adapt", 3000)
x_test, heard_test = data("test", 1000)
sounds = sorted(set(heard) | set(heard_test))
targets, targets_test = (np.array([sounds.index(s) for s in h]) for h in (heard, heard_test))
W, b, losses = np.zeros((len(sounds), 81)), np.zeros(len(sounds)), []
for step in range(150):
    loss, W, b = one_step(x, targets, W, b, lr=4.0)
    losses.append(float(loss))
right = (x_test @ W.T + b).argmax(1) == targets_test
print(f"{len(sounds)} sounds; loss {losses[0]:.3f} (ln {len(sounds)} = {np.log(len(sounds)):.3f}) -> {losses[-1]:.3f}")
print(f"right on words it has not seen: {right.mean():.1%}")

# %% [markdown]
# W can be read. Each column is a letter in first place, each row a sound: where it is dark, the letter speaks for the sound.

# %%
shown = [s for s in sounds if heard.count(s) >= 25]
table = W[[sounds.index(s) for s in shown], 1:27]
figure, ax = plt.subplots(figsize=(9, 7))
image = ax.imshow(table, cmap="PuOr", vmin=-6, vmax=6)
ax.set_xticks(range(26), [chr(97 + i) for i in range(26)])
ax.set_yticks(range(len(shown)), shown)
ax.set(xlabel="first letter", ylabel="first sound")
figure.colorbar(image, shrink=0.6, label="weight")
lesson.show(figure, alt="A heat map of the learned weights of each first letter for each first sound. Most letters have one dark cell, such as b for B "
                        "and m for M; c speaks for both K and S or CH, g for G and JH; the vowels spread over several sounds.",
            name="first_sound_weights", data=[{"sound": s, "letter": chr(97 + j), "weight": float(table[i, j])} for i, s in enumerate(shown)
                                              for j in range(26)])
for word in ("cello", "knife", "phone", "shoe", "gentle"):
    letters = np.eye(27)[[ord(letter) - 96 for letter in word[:3]]].reshape(81)
    p = softmax(W @ letters + b)
    best = p.argsort()[::-1][:3]
    print(f"{word:7}", ", ".join(f"{sounds[i]} {p[i]:.2f}" for i in best))

# %% [markdown]
# `shoe` and `gentle` come out right because the second letter votes as well. In `cello`, `knife` and `phone` the first letter
# outvotes the second. A linear layer adds votes up; it cannot say "k, but not before n". For that one needs layers in between.
#
# ## What a linear layer costs
#
# Forward it is one matrix product, backward two: one for x and one for W. When W is frozen, its product falls away. This is
# what fine-tuning methods live on.

# %%
n, inn, out = 768, 128, 512
forward, for_x, for_W = n * inn * out, n * out * inn, out * n * inn
print(f"forward {forward:,} multiplications; for x {for_x:,}; for W {for_W:,}")
print("a training step, compared with a forward pass:", (forward + for_x + for_W) / forward, "  with W frozen:", (forward + for_x) / forward)

# %% [markdown]
# ## The same in minigrad

# %%
layer = mg.nn.Linear(81, len(sounds))
layer.load_state_dict({"weight": np.zeros((len(sounds), 81), dtype=np.float32), "bias": np.zeros(len(sounds), dtype=np.float32)})
optimizer = mg.optim.SGD(layer.parameters(), lr=4.0)
features, engines = mg.tensor(x.astype(np.float32)), []
for step in range(20):
    optimizer.zero_grad()
    loss = F.cross_entropy(layer(features), targets)
    loss.backward()
    optimizer.step()
    engines.append(loss.item())
print("largest difference in the first twenty losses is below 0.0001:", bool(max(abs(a - b) for a, b in zip(losses, engines)) < 1e-4))

# %% [markdown]
# ## Now you
#
# Six functions wait in `lessons/04_linear_softmax/exercises.py`; `pytest lessons/04_linear_softmax` checks them. The last
# checks put your softmax, loss and linear layer into the engine, and your step beside it.
