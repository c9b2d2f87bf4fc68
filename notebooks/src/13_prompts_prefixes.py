# %% [markdown]
# # Prompts and prefixes
#
# No weight of the model changes here. What changes is what it has "read" before your words: embeddings that belong to no
# word, or keys and values in every layer.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("13")

import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg

# %% [markdown]
# ## Who sees whom
#
# A prefix has keys and values but asks nothing: rows are the T tokens, columns the P slots and the T tokens.

# %%
T, P = 6, 3
mask = np.concatenate([np.ones((T, P)), np.tril(np.ones((T, T)))], axis=1)
figure, ax = plt.subplots(figsize=(5.6, 3.2))
ax.imshow(mask, cmap="Blues", vmin=0, vmax=1.6)
for i in range(T):
    for j in range(P + T):
        ax.text(j, i, "sees" if mask[i, j] else "", ha="center", va="center", fontsize=8)
ax.axvline(P - 0.5, color="#D55E00", linewidth=2)
ax.set_xticks(range(P + T), [f"p{i}" for i in range(P)] + [f"t{i}" for i in range(T)])
ax.set_yticks(range(T), [f"t{i}" for i in range(T)])
ax.set(xlabel="key", ylabel="query")
lesson.show(figure, alt="A mask of 6 queries by 9 keys. All queries see the three prefix keys on the left; among the six tokens the visible "
                        "part is the lower triangle.")

# %% [markdown]
# ## A prefix is never free
#
# One softmax over prefix and tokens: what the prefix gets, the tokens lose. Let λ be the prefix's share. Even keys of zeros
# take some, because exp(0) = 1.

# %%
rng = np.random.default_rng(2)
def softmax(s):
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)

d, T = 16, 20
q, k, v = (rng.normal(size=(T, d)) for _ in range(3))
def attend(keys, values):
    return softmax(q @ keys.T / np.sqrt(d)) @ values

base = attend(k, v)
lengths = [0, 1, 2, 4, 8, 16, 32]
share, change = [], []
for P in lengths:
    pk, pv = np.zeros((P, d)), np.zeros((P, d))
    weights = softmax(q @ np.concatenate([pk, k]).T / np.sqrt(d))
    share.append(float(weights[:, :P].sum(1).mean()))
    change.append(float(np.linalg.norm(attend(np.concatenate([pk, k]), np.concatenate([pv, v])) - base) / np.linalg.norm(base)))
figure, ax = plt.subplots(figsize=(7, 3.2))
ax.plot(lengths, share)
ax.annotate("λ, the zero prefix's share", (32, share[-1]), xytext=(-6, -16), textcoords="offset points", ha="right")
ax.set(xlabel="length of a prefix of zeros", ylabel="share of attention", ylim=(0, 1))
lesson.show(figure, alt="The share of attention that a prefix of zeros takes grows with its length, from 0 to about a half at 32 slots.",
            name="prefix_of_zeros", data={"length": lengths, "share": share, "relative_change": change})
for P, s, c in zip(lengths, share, change):
    print(f"P = {P:2}: the prefix takes {s:.2f}, the output changes by {c:.2f} of its length")

# %% [markdown]
# The identity behind it: attention over both is $(1-\lambda)\,\mathrm{Attn}(q, K, V) + \lambda\,\mathrm{Attn}(q, P_k, P_v)$.

# %%
pk, pv = rng.normal(size=(4, d)), rng.normal(size=(4, d))
weights = softmax(q @ np.concatenate([pk, k]).T / np.sqrt(d))
lam = weights[:, :4].sum(1, keepdims=True)
both = attend(np.concatenate([pk, k]), np.concatenate([pv, v]))
print("largest difference of the two sides is below 1e-12:", bool(abs(both - ((1 - lam) * base + lam * attend(pk, pv))).max() < 1e-12))

# %% [markdown]
# ## Gold: a prefix that is real text
#
# If the prefix holds the keys and values of real tokens, the model must answer as if it had read them. minigrad's model and
# its cache of keys and values make the test:

# %%
base_model, tokenizer = mg.pretrained.load()
ids = np.array([tokenizer.encode_source("nation")])
with mg.no_grad():
    whole = base_model(ids).numpy()
    cache = base_model.new_cache(1)
    base_model(ids[:, :4], cache=cache)             # read the beginning: its keys and values are the prefix
    rest = base_model(ids[:, 4:], cache=cache).numpy()
print("largest difference to reading the whole word is below 1e-4:", bool(abs(rest - whole[:, 4:]).max() < 1e-4))

# %% [markdown]
# ## Train them
#
# A soft prompt of 8, and a prefix of 8 keys and values in each of four layers, on `rhyme`.

# %%
task = mg.tasks.get("rhyme")
words = mg.tasks.encode_examples(tokenizer, task.examples("adapt")[:800])
test = task.examples("test")[:100]
methods = {"soft prompt": (mg.peft.PromptTuning(length=8), 3e-2), "prefix": (mg.peft.PrefixTuning(length=8), 2e-2),
           "LLaMA-Adapter": (mg.peft.LlamaAdapter(length=8), 2e-2)}
results = {}
for name, (method, lr) in methods.items():
    mg.manual_seed(0)
    model = mg.peft.apply(base_model, method)
    with mg.no_grad():
        distance = float(abs(model(ids).numpy() - whole).max())
    mg.training.fit(model, mg.tasks.Batches(words, batch_size=32), steps=50, lr=lr)
    model.eval()
    results[name] = (model.counts()[0], distance, mg.training.evaluate(model, tokenizer, test).exact_match)
for name, (count, distance, _) in results.items():
    start_at = "exactly the base" if distance == 0 else "not the base"
    print(f"{name:14} trains {count:6,d} numbers and starts at {start_at}")

# %%
# about: fifty steps, a hundred words
for name, (_, _, score) in results.items():
    print(f"{name:14} words right: {score:.2f}")

# %% [markdown]
# Only LLaMA-Adapter starts at the base: a softmax of its own, behind a gate that is zero.
#
# ## Where do the tokens look?
#
# The share λ of attention that each layer of the trained model gives to a prefix, for each letter of *nation*.

# %%
mg.manual_seed(0)
model = mg.peft.apply(base_model, mg.peft.PrefixTuning(length=8))
mg.training.fit(model, mg.tasks.Batches(words, batch_size=32), steps=50, lr=2e-2)
model.eval()
shares = []
def watch(q, k, v, *mask, scale=None, **options):
    P, T = k.shape[2] - q.shape[2], q.shape[2]
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    scores = np.where(np.arange(P + T) > P + np.arange(T)[:, None], -np.inf, scores)
    weights = softmax(scores)
    shares.append(weights[..., :P].sum(-1).mean((0, 1)))
    return (weights @ v).astype(q.dtype)
with mg.no_grad(), mg.override("scaled_dot_product_attention", forward=watch):
    model(ids)
figure, ax = plt.subplots(figsize=(7, 2.8))
image = ax.imshow(np.array(shares), vmin=0, vmax=1)
figure.colorbar(image, ax=ax, label="λ")
ax.set_xticks(range(ids.shape[1]), ["BOS", *"nation", "SEP"])
ax.set(ylabel="layer", xlabel="query")
ax.set_yticks(range(4))
lesson.show(figure, alt="A heat map of four layers by eight tokens: the share of attention that goes to the trained prefix. It differs "
                        "between layers, and is largest at the first token, which has little else to look at.",
            name="prefix_share", data=[{"layer": i, "token": j, "share": float(s)} for i, row in enumerate(shares) for j, s in enumerate(row)])

# %% [markdown]
# ## Now you
#
# `lessons/13_prompts_prefixes/exercises.py`, then `pytest lessons/13_prompts_prefixes`. In the last check your attention
# reads with a prefix that the engine has trained.
