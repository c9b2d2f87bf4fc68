# %% [markdown]
# # Attention
#
# How does a token get to know about the others? This notebook builds attention for one query, shows what scale, mask and
# heads are for, and then looks over the shoulder of a model that reads words aloud: which letters does it look at?

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("06")

import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg

# %% [markdown]
# ## One query
#
# Scores say how well each key answers the query, the softmax turns them into weights, the output is the weighted mean of the
# values. The numbers of the README's example:

# %%
def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)

q = np.array([[2.0, 0, 0, 0]])                              # (1, d): one query, d = 4
k = np.array([[0.0, 0, 0, 0], [np.log(3), 0, 0, 0]])        # (2, d): two keys
v = np.array([[8.0], [4.0]])                                # (2, 1): their values
scores = q @ k.T / np.sqrt(4)                               # (1, d) · (d, 2) -> (1, 2)
P = softmax(scores)
print("scores", scores[0], "  weights", P[0], "  output", (P @ v)[0])

# %% [markdown]
# ## Why divide by √d?
#
# The score of two random vectors is a sum of d products. Its spread grows like √d, and a softmax of widely spread scores
# gives nearly everything to one key. Below: the largest of 16 weights, for 2,000 random queries.

# %%
rng = np.random.default_rng(0)
sizes = [1, 4, 16, 64, 256]
rows = []
for d in sizes:
    s = np.einsum("nd,nkd->nk", rng.normal(size=(2000, d)), rng.normal(size=(2000, 16, d)))
    for name, scaled in (("divided by √d", s / np.sqrt(d)), ("not divided", s)):
        P = softmax(scaled)
        # how much of a gradient gets through a softmax: the mean size of its Jacobian's diagonal, p(1 − p)
        rows.append({"scores": name, "d": d, "spread": float(scaled.std()), "largest_weight": float(P.max(axis=1).mean()),
                     "slope": float((P * (1 - P)).mean())})
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4))
for ax, key, label in zip(axes, ("largest_weight", "slope"), ("largest of 16 weights, mean", "mean slope p(1 − p) of the softmax")):
    for i, name in enumerate(("divided by √d", "not divided")):
        line = [r[key] for r in rows if r["scores"] == name]
        ax.plot(sizes, line)
        ax.annotate(name, (sizes[2], line[2]), xytext=(0, 10 if (key == "largest_weight") == (i == 1) else -18), textcoords="offset points",
                    ha="center")
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, sizes)
    ax.set(xlabel="size of a head, d", ylabel=label, ylim=(0, None))
lesson.show(figure, alt="Two panels against the head's size from 1 to 256. Divided by the root of d, the largest weight stays near a quarter and "
                        "the softmax's slope stays level. Not divided, the largest weight climbs towards 1 and the slope falls "
                        "towards zero.", name="attention_scale", data=rows)
for r in rows:
    if r["d"] in (1, 256):
        print(f"d = {r['d']:3}, {r['scores']:13}: spread of the scores {r['spread']:5.2f}, largest weight {r['largest_weight']:.2f}, "
              f"slope {r['slope']:.4f}")

# %% [markdown]
# ## The mask, and its offset
#
# Query i may look at key j if j ≤ i + offset. The offset says how many keys lie before query 0. Three cases: a whole text; two
# new tokens behind a cache of four; and the same two with the offset forgotten.

# %%
def visible(Tq, Tk, offset):
    return np.arange(Tk) <= np.arange(Tq)[:, None] + offset

cases = [("whole text, offset 0", visible(6, 6, 0)), ("two new tokens, offset 4", visible(2, 6, 4)),
         ("offset forgotten", visible(2, 6, 0))]
figure, axes = plt.subplots(1, 3, figsize=(9.5, 2.9), height_ratios=[1])
for ax, (title, mask) in zip(axes, cases):
    ax.imshow(mask, cmap="cividis", vmin=-0.3, vmax=1.2)
    ax.set_xticks(range(6)), ax.set_yticks(range(len(mask)), range(6 - len(mask), 6))
    ax.set_xticks(np.arange(-0.5, 6), minor=True), ax.set_yticks(np.arange(-0.5, len(mask)), minor=True)
    ax.grid(which="minor", color="white"), ax.tick_params(which="minor", length=0)
    ax.set(title=title, xlabel="key", ylabel="query")
lesson.show(figure, alt="Three grids of keys against queries, bright where a query may look. For a whole text the lower triangle is bright. "
                        "Two new tokens behind a cache see five and six keys. With the offset forgotten they see only one and two, the "
                        "oldest ones.")

# %% [markdown]
# Without the offset nothing fails: every row has a key, every shape fits. The new tokens just see the wrong ones.
#
# ## Heads
#
# The numbers of a token are cut into heads, each with attention of its own. Cutting takes two moves: split the last axis,
# then bring the heads in front of the tokens. `reshape` alone gives the same shape and mixes tokens. Watch where each
# number of three tokens goes; a token is a color.

# %%
tokens, H, d = 3, 2, 4
x = np.repeat(np.arange(tokens), H * d).reshape(1, tokens, H * d)
right = x.reshape(1, tokens, H, d).swapaxes(1, 2)           # (B, T, D) -> (B, T, H, d) -> (B, H, T, d)
wrong = x.reshape(1, H, tokens, d)                          # the same shape
figure, axes = plt.subplots(1, 5, figsize=(10, 1.9), width_ratios=[2, 1, 1, 1, 1])
for ax, M, title in zip(axes, (x[0], right[0, 0], right[0, 1], wrong[0, 0], wrong[0, 1]),
                        ("tokens (3 × 8)", "head 0", "head 1", "reshape only: 0", "reshape only: 1")):
    ax.imshow(M, cmap="cividis", vmin=-0.5, vmax=2.5)
    for (i, j), value in np.ndenumerate(M):
        ax.text(j, i, value, ha="center", va="center", color="white" if value < 2 else "black")
    ax.set_title(title)
    ax.set_xticks([]), ax.set_yticks([])
lesson.show(figure, alt="A grid of three tokens with eight numbers each. Split rightly, each of two heads has a row per token. With reshape "
                        "alone, head 0 holds token 0 twice and half of token 1: rows are no longer tokens.")

# %% [markdown]
# ## What a trained model looks at
#
# The model that ships with minigrad reads words aloud. It sees `BOS n a t i o n SEP` and writes the sounds, one after the
# other. To see its weights, put a function of your own in the place of the engine's attention: `mg.override` does that.

# %%
model, tokenizer = mg.pretrained.load()
seen = []

def look(q, k, v, scale, dropout_p):
    mask = visible(q.shape[2], k.shape[2], k.shape[2] - q.shape[2])
    P = softmax(np.where(mask, q @ k.swapaxes(-1, -2) * scale, -1e30))     # (B, H, T, T)
    seen.append(P[0])
    return (P @ v).astype(q.dtype)

def read(word):
    """The sounds that the model writes, as ids."""
    return list(model.generate([tokenizer.encode_source(word)], 16, stop=tokenizer.end_id)[0])

def maps(word, answer):
    """The weights of all layers while the model writes this answer, (layers, heads, T, T), and the symbols."""
    seen.clear()
    ids = [*tokenizer.encode_source(word), *answer]
    with mg.override("scaled_dot_product_attention", forward=look), mg.no_grad():
        model([ids])
    return np.array(seen), [tokenizer.symbols[i].strip("<>") for i in ids]

P, symbols = maps("nation", read("nation"))
print("it reads:", " ".join(symbols[symbols.index("sep") + 1:]), "   weights:", P.shape)

# %%
figure, axes = plt.subplots(4, 4, figsize=(8, 8.2))
for (layer, head), ax in np.ndenumerate(axes):
    ax.imshow(P[layer, head], vmin=0, vmax=1)
    ax.set_xticks([]), ax.set_yticks([])
    if layer == 0:
        ax.set_title(f"head {head}")
    if head == 0:
        ax.set_ylabel(f"layer {layer}")
figure.supxlabel("key: what is looked at", y=0.06)
figure.supylabel("query: who looks", x=0.06)
lesson.show(figure, alt="Sixteen attention maps, four layers by four heads, while the model reads nation. All are empty above the diagonal. Some "
                        "heads look at the token before, some at one fixed token, some from each sound back to the letters.")

# %% [markdown]
# Two of these heads are worth a closer look. Layer 0's head 1 looks at the token before. Layer 1's head 1 points at the letter
# to read next: rows are the moments at which the model decides, at `sep` the first sound, at `N` the second, and so on.

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), width_ratios=[13, 13, 18])
for ax, word, (layer, head), title in ((axes[0], "nation", (0, 1), "layer 0, head 1"),
                                       (axes[1], "nation", (1, 1), "layer 1, head 1"),
                                       (axes[2], "telephone", (1, 1), "layer 1, head 1, another word")):
    P, symbols = maps(word, read(word))
    first = symbols.index("sep")
    ax.imshow(P[layer, head, first:], vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(symbols)), symbols, fontsize=9, rotation=90)
    ax.set_yticks(range(len(symbols) - first), symbols[first:], fontsize=9)
    ax.set_title(title, fontsize=11)
axes[0].set_ylabel("query")
figure.supxlabel("key", y=-0.07)
P, symbols = maps("nation", read("nation"))
rows = [{"head": name, "query": symbols[i], "position": i, "key": symbols[j], "key_position": j, "weight": float(P[at][i, j])}
        for name, at in (("layer 0 head 1", (0, 1)), ("layer 1 head 1", (1, 1))) for i in range(symbols.index("sep"), len(symbols))
        for j in range(i + 1)]
lesson.show(figure, alt="Three attention maps while sounds are chosen. Layer 0 head 1 looks mostly at the token just before. Layer 1 head 1 "
                        "moves along the spelling: for nation it looks at n, a, t, o, n and then at the end mark; for telephone it "
                        "walks through t, e, l, e, h, o, n, e.", name="attention_reading", data=rows)

# %% [markdown]
# Nobody told the model that letters and sounds run in parallel. Is it only these two words? For each head, over 200 words
# from the test set and their sounds: in how many steps is the favorite letter further right than in the step before?

# %%
# about: 200 words
advance, count = np.zeros((4, 4)), 0
for word, sounds in mg.tasks.get("pronounce").examples("test")[:200]:
    P, symbols = maps(word, tokenizer.encode_target(sounds[0])[:-1])
    first = symbols.index("sep")
    favorite = P[:, :, first:, 1:first + 1].argmax(axis=-1)             # among the letters and sep
    advance += (np.diff(favorite, axis=-1) > 0).sum(axis=-1)
    count += favorite.shape[-1] - 1
print("share of steps in which the favorite letter moves on, layers down, heads across:")
print(np.round(advance / count, 2))

# %% [markdown]
# ## The cache
#
# While it writes, the model meets the same tokens again and again. Their keys and values do not change, because no token
# sees a later one. With a cache each is computed once. Count the rows that go through attention:

# %%
def rows_computed(word, use_cache):
    rows = []
    def count(q, k, v, scale, dropout_p):
        rows.append(q.shape[2])
        return look(q, k, v, scale, dropout_p)
    with mg.override("scaled_dot_product_attention", forward=count):
        [answer] = model.generate([tokenizer.encode_source(word)], 32, stop=tokenizer.end_id, use_cache=use_cache)
    return rows[::4], [int(i) for i in answer]              # one entry per step: the first of the four layers

word = "characteristically"
with_cache, answer = rows_computed(word, True)
without, same_answer = rows_computed(word, False)
figure, ax = plt.subplots(figsize=(7.5, 3.3))
for i, (line, name) in enumerate(((without, "without a cache"), (with_cache, "with a cache"))):
    ax.plot(line, markevery=2, color=f"C{i + 1}")
    ax.annotate(name, (8, line[8]), xytext=(0, (-18, 8)[i]), textcoords="offset points")
ax.set(xlabel="step (one new symbol each)", ylabel="tokens computed", ylim=(-1, None), title=f"reading {word}")
lesson.show(figure, alt="Tokens computed per step while a long word is read. Without a cache the number rises from 20 by one in each step; with "
                        "a cache it is 20 once, for the prompt, and then one per step.",
            name="attention_cache", data={"step": list(range(len(without))), "without_cache": without, "with_cache": with_cache})
print("it reads:", " ".join(tokenizer.decode(answer)), "  the same without a cache:", answer == same_answer)
print("tokens computed: without a cache", sum(without), "  with it", sum(with_cache))

# %% [markdown]
# ## Now you
#
# Six functions wait in `lessons/06_attention/exercises.py`; `pytest lessons/06_attention` checks them. The last checks train
# a transformer with your attention and let it read words with your cache. Lesson 13 continues here: a prefix is a set of
# trained keys and values in front of the real ones.
