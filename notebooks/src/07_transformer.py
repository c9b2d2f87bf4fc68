# %% [markdown]
# # A transformer that reads words aloud
#
# From letters to sounds with a decoder-only transformer: first its parts, then the whole model in one cell, trained in
# front of your eyes on real words until it reads some that it has never seen.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("07")

import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

# %% [markdown]
# ## A word as a text
#
# Spelling and sounds are one sequence. Row t of the model's output predicts token t + 1. The letters bear no loss (−100 in
# the targets): the model is not asked to guess which word comes.

# %%
tokenizer = mg.tasks.Tokenizer()
[sequence] = mg.tasks.encode_examples(tokenizer, [("cat", [["K", "AE", "T"]])])
one = next(iter(mg.tasks.Batches([sequence], 1)))
name = lambda i: "·" if i < 0 else tokenizer.symbols[i].strip("<>")
print("input  ", "".join(f"{name(i):>6}" for i in one.ids[0]))
print("target ", "".join(f"{name(i):>6}" for i in one.targets[0]))

# %% [markdown]
# ## The parts: layer norm and GELU
#
# Layer norm gives each token's numbers mean 0 and variance 1, whatever their size. GELU is a ReLU with a soft corner; its
# slope is nowhere quite constant.

# %%
x = np.linspace(-4, 4, 161)
gelu = lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.3))
for curve, label, at, shift in ((gelu(x), "GELU", 55, (-6, -16)), (np.maximum(x, 0), "ReLU", 55, (-6, 8))):
    left.plot(x, curve, markevery=20)
    left.annotate(label, (x[at], curve[at]), xytext=shift, textcoords="offset points")
left.set(xlabel="x", title="the function")
slope = np.gradient(gelu(x), x)
right.plot(x, slope, markevery=20)
right.plot(x, (x > 0) * 1.0, markevery=20)
right.annotate("GELU", (1.4, 1.12), xytext=(0, 4), textcoords="offset points", ha="center")
right.annotate("ReLU", (-0.2, 0.62), ha="right")
right.set(xlabel="x", title="its slope")
lesson.show(figure, alt="Left: GELU follows zero for negative x and x for positive x like ReLU, but dips a little below zero around minus 0.75. "
                        "Right: its slope goes smoothly from 0 to 1, a little below 0 and above 1 on the way; ReLU's jumps.")
token = np.array([1.0, 3.0])
print("layer norm of (1, 3):", (token - token.mean()) / token.std(), "  of (100, 300):", (100 * token - 200) / (100 * token).std())

# %% [markdown]
# ## The stream
#
# Each block adds to the stream of numbers that runs through the model. Look at it in the model that ships with minigrad: how
# long is a token's vector after each addition? The norms in front of attention and MLP let both work on numbers of size one,
# however long the stream has become.

# %%
reader, _ = mg.pretrained.load()
ids = np.array([tokenizer.encode_source("nation")])
lengths, labels = [], []

def note(x, label):
    lengths.append(np.linalg.norm(x.numpy()[0], axis=-1))   # one length per token
    labels.append(label)

with mg.no_grad():
    x = reader.token_embedding(ids) + reader.position_embedding(np.arange(ids.shape[1]))
    note(x, "start")
    for i, block in enumerate(reader.blocks):
        x = x + block.attn(block.norm1(x))
        note(x, f"attn {i}")
        x = x + block.mlp(block.norm2(x))
        note(x, f"mlp {i}")
lengths = np.array(lengths)                                 # (9, T)
figure, ax = plt.subplots(figsize=(7.5, 3.4))
for t in range(ids.shape[1]):
    ax.plot(lengths[:, t], color="#999999", linewidth=0.8, marker="", linestyle="-")
ax.plot(lengths.mean(axis=1), color="C0")
ax.annotate("mean of the tokens", (2, lengths.mean(axis=1)[2]), xytext=(30, -40), textcoords="offset points",
            arrowprops={"arrowstyle": "-", "color": "#666666"})
ax.set_xticks(range(9), labels, rotation=30)
ax.set(ylabel="length of the token's vector", ylim=(0, None), title="every part adds to the stream")
lesson.show(figure, alt="The length of eight tokens' vectors after each addition of a four-block model: it starts near 1, jumps in the first MLP, and "
                        "grows more slowly after that, for all tokens.", name="transformer_stream",
            data=[{"after": label, "token": t, "length": float(lengths[i, t])} for i, label in enumerate(labels) for t in range(ids.shape[1])])
print("mean length at the start", f"{lengths[0].mean():.1f}", "  at the end", f"{lengths[-1].mean():.1f}")

# %% [markdown]
# ## The whole model in one cell
#
# Everything from the parts above and lesson 6. minigrad's own `models/gpt.py` is the same with a cache, dropout and checks.

# %%
class Block(nn.Module):
    def __init__(self, D, H):
        super().__init__()
        self.norm1, self.norm2, self.H = nn.LayerNorm(D), nn.LayerNorm(D), H
        self.qkv, self.out = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.up, self.down = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)

    def attention(self, x):
        B, T, D = x.shape
        heads = self.qkv(x).reshape(B, T, 3, self.H, D // self.H)       # (B, T, 3D) -> (B, T, 3, H, D/H)
        q, k, v = (heads[:, :, i].transpose(1, 2) for i in range(3))    # each (B, H, T, D/H)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(B, T, D))             # (B, H, T, D/H) -> (B, T, D)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))

class Transformer(nn.Module):
    def __init__(self, V, context=24, D=48, H=4, layers=2):
        super().__init__()
        self.symbols, self.positions = nn.Embedding(V, D), nn.Embedding(context, D)
        self.blocks, self.norm, self.head = nn.ModuleList(Block(D, H) for _ in range(layers)), nn.LayerNorm(D), nn.Linear(D, V, bias=False)
        for p in (self.symbols.weight, self.positions.weight):
            nn.init.normal_(p, std=0.1)

    def forward(self, ids):
        x = self.symbols(ids) + self.positions(np.arange(np.shape(ids)[1]))     # (B, T) -> (B, T, D)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))                                          # (B, T, D) -> (B, T, V)

mg.manual_seed(0)
model = Transformer(tokenizer.vocab_size)
with mg.no_grad():
    print("parameters:", sum(p.size for p in model.parameters()), "  loss before training:",
          f"{mg.training.loss_on(model, one).item():.2f}", "  ln 80 =", f"{np.log(80):.2f}")

# %% [markdown]
# ## Which vectors does a word move?
#
# One backward pass for `noon`. The rows of the embedding table that the word uses get a gradient, all others none. A letter
# that stands twice gets the sum of two.

# %%
[noon] = mg.tasks.encode_examples(tokenizer, [("noon", [["N", "UW", "N"]])])
model.zero_grad()
mg.training.loss_on(model, next(iter(mg.tasks.Batches([noon], 1)))).backward()
moved = np.linalg.norm(model.symbols.weight.grad, axis=1)
model.zero_grad()
figure, ax = plt.subplots(figsize=(9.5, 2.8))
ax.bar(range(70), moved[:70], color="C0")
for i in np.flatnonzero(moved):
    ax.annotate(name(i), (i, moved[i]), xytext=(-4 if name(i) == "bos" else 4 if name(i) == "sep" else 0, 3), textcoords="offset points",
                ha="right" if name(i) == "bos" else "left" if name(i) == "sep" else "center", fontsize=10)
ax.set_xticks([1.5, 16.5, 49.5], ["marks", "letters", "sounds"])
ax.set(ylabel="length of the gradient", ylim=(0, 1.2 * moved.max()))
lesson.show(figure, alt="A bar for each of 70 symbols. Only bos, sep, the letters n and o, and the sounds N and UW have a gradient; the letters that "
                        "the word does not use have none.")
print("symbols with a gradient:", " ".join(name(i) for i in np.flatnonzero(moved)))

# %% [markdown]
# ## Training, and reading
#
# 1,500 words of at most five letters. `greedy` asks the model for the likeliest next symbol, appends it and asks again. The
# words below are not among the 1,500.

# %%
def greedy(model, word, longest=8):
    ids = tokenizer.encode_source(word)
    start = len(ids)
    with mg.no_grad():
        while len(ids) < start + longest:
            best = int(model([ids]).numpy()[0, -1].argmax())
            if best == tokenizer.end_id:
                break
            ids.append(best)
    return tokenizer.decode(ids[start:])

task = mg.tasks.get("pronounce")
short = lambda split: [(w, a) for w, a in task.examples(split) if len(w) <= 5]
batches = mg.tasks.Batches(mg.tasks.encode_examples(tokenizer, short("adapt")[:1500]), 64, rng=0, bucket=False)
test = short("test")[:50]
steps, watched, losses, readings = 220, ["begin", "dream", "man"], [], {}
trainer = mg.training.Trainer(model, steps=steps, lr=6e-3)
for step, batch in zip(range(steps), batches.forever()):
    if step in (0, 20, 60, 120):
        readings[step] = [" ".join(greedy(model, w)) for w in watched]
    losses.append(trainer.step(batch)[0])
readings[steps] = [" ".join(greedy(model, w)) for w in watched]

smooth = np.convolve(losses, np.ones(11) / 11, mode="valid")
figure, ax = plt.subplots(figsize=(7.5, 3.4))
ax.plot(losses, color="#999999", linewidth=0.8, marker="", linestyle="-")
ax.plot(np.arange(5, steps - 5), smooth, markevery=20)
ax.axhline(np.log(80), color="#666666", marker="", linestyle="--")
ax.annotate("ln 80: knows nothing", (steps - 1, np.log(80)), xytext=(0, 5), textcoords="offset points", ha="right")
ax.set(xlabel="step", ylabel="loss, nats per symbol", ylim=(0, 5))
lesson.show(figure, alt="The training loss, single steps in gray and their running mean: it begins near a dashed line at ln 80, falls quickly "
                        "to about 3, and then steadily below 1.",
            name="transformer_training", data={"step": list(range(steps)), "loss": losses})

# %%
# may differ: on another machine a short training ends a little elsewhere
for step, texts in readings.items():
    print(f"after {step:3} steps:  ", "   ".join(f"{w}: {t or '(nothing)'}" for w, t in zip(watched, texts)))
answers = [greedy(model, w) for w, _ in test]
print(f"of {len(test)} words that it has never seen it reads {mg.tasks.exact_match(answers, [a for _, a in test]):.0%} without a mistake; "
      f"of 100 symbols {100 * mg.tasks.phoneme_error_rate(answers, [a for _, a in test]):.0f} are wrong")

# %% [markdown]
# Seconds of training on 1,500 words. The shipped model has four blocks of width 128 and has seen 93 thousand words.
#
# ## How sure is it?
#
# At every step the model gives a probability to each symbol. For most sounds the shipped model is certain. `read` has two
# pronunciations in the dictionary, and it knows both. `though` it gets wrong, and it hesitates where the spelling misleads.

# %%
def choices(word, top=4):
    """For each symbol that the reader writes: the likeliest candidates and their probabilities."""
    ids, table = tokenizer.encode_source(word), []
    with mg.no_grad():
        while True:
            p = F.softmax(reader([ids])[0, -1], dim=-1).numpy()
            best = p.argsort()[::-1][:top]
            table.append([(name(i), float(p[i])) for i in best])
            if best[0] == tokenizer.end_id or len(table) > 12:
                return table
            ids.append(int(best[0]))

figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.6))
rows = []
for ax, word in zip(axes, ("read", "nation", "though")):
    table = choices(word)
    for t, candidates in enumerate(table):
        bottom = 0.0
        for i, (symbol, p) in enumerate(candidates):
            rows.append({"word": word, "step": t, "symbol": symbol, "probability": p})
            if p < 0.03:
                continue
            ax.bar(t, p, bottom=bottom, color=("C0", "C4", "C2", "C3")[i], width=0.85)
            ax.text(t, bottom + p / 2, symbol, ha="center", va="center", color="white" if i == 0 else "black", fontsize=9)
            bottom += p
    ax.set(title=word, xlabel="step", ylim=(0, 1))
    ax.set_xticks(range(len(table)))
axes[0].set_ylabel("probability")
lesson.show(figure, alt="Stacked bars of the likeliest symbols at each step for three words. For read the vowel is shared between "
                        "EH and IY. For nation the model is certain of all sounds but the vowel EY. For though three of the four steps are shared, "
                        "and TH wins over DH.",
            name="transformer_choices", data=rows)
for word in ("read", "nation", "though"):
    print(word, "->", " ".join(c[0][0] for c in choices(word)))

# %% [markdown]
# ## What the letters' vectors know
#
# The 26 letters of the shipped model, in the two directions in which their vectors differ most. Nobody told it what a vowel
# is.

# %%
vectors = mg.to_numpy(reader.token_embedding.weight)[4:30]
vectors = vectors - vectors.mean(axis=0)
U, S, Vt = np.linalg.svd(vectors, full_matrices=False)
plane = U[:, :2] * S[:2]
plane *= np.sign(plane[0])                                  # `a` on the positive side of both, so that the picture is the same each time
figure, ax = plt.subplots(figsize=(6.5, 4.4))
for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz"):
    vowel = letter in "aeiouy"
    ax.plot(*plane[i], marker="s" if vowel else "o", color="C1" if vowel else "C0", markersize=13, alpha=0.35, linestyle="none")
    ax.text(*plane[i], letter, ha="center", va="center", fontsize=12)
ax.set(xlabel="first direction", ylabel="second direction", title="squares: a e i o u y")
lesson.show(figure, alt="The 26 letters as points in a plane. The vowels a, e, i, o, u and y lie together on one side, the consonants on the other.",
            name="transformer_letters", data={"letter": list("abcdefghijklmnopqrstuvwxyz"), "first": [float(v) for v in plane[:, 0]],
                                              "second": [float(v) for v in plane[:, 1]]})
print(f"the two directions hold {(S[:2] ** 2).sum() / (S ** 2).sum():.0%} of the differences")

# %% [markdown]
# ## Now you
#
# Seven functions wait in `lessons/07_transformer/exercises.py`; `pytest lessons/07_transformer` checks them. The last check
# builds a transformer from your parts, trains it on eight words and lets it read them.
