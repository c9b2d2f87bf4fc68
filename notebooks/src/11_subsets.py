# %% [markdown]
# # Training a part: all, the top K blocks, the biases
#
# Fine-tuning does not have to move every weight. Here you freeze most of a model that reads words aloud, and look at what
# that saves (memory, work) and what it costs (words right).

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("11")

import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg

base, tokenizer = mg.pretrained.load()
task = mg.tasks.get("rhyme")
words = mg.tasks.encode_examples(tokenizer, task.examples("adapt")[:1000])
test = task.examples("test")[:100]
batch = next(iter(mg.tasks.Batches(words, batch_size=32, shuffle=False)))

# %% [markdown]
# ## Who is trained?
#
# Parameters have names, and a subset method is a rule on names. Two rules, written down:

# %%
names = [name for name, _ in base.named_parameters()]
sizes = {name: p.size for name, p in base.named_parameters()}
top_2 = [n for n in names if n.startswith(("blocks.2.", "blocks.3.", "norm.", "head."))]
biases = [n for n in names if n.endswith(".bias")]
for title, chosen in (("all", names), ("top 2 blocks", top_2), ("biases", biases)):
    count = sum(sizes[n] for n in chosen)
    print(f"{title:13} {len(chosen):3} of {len(names)} arrays, {count:8,d} numbers, {count / sum(sizes.values()):7.2%}")

# %%
parts = ["embeddings", "block 0", "block 1", "block 2", "block 3", "norm, head"]
def part(name):
    return int(name.split(".")[1]) + 1 if name.startswith("blocks") else 0 if "embedding" in name else 5

def picture(ax, chosen, title):
    for i in range(6):
        total = sum(s for n, s in sizes.items() if part(n) == i)
        share = sum(sizes[n] for n in chosen if part(n) == i) / total
        height = np.log10(total)
        ax.barh(i, height, color="#dddddd", edgecolor="#666666")
        ax.barh(i, height * share, color="#0072B2", hatch="//", edgecolor="white")
        ax.annotate(f"{share:.0%}" if share in (0, 1) else f"{share:.1%}", (height, i), xytext=(4, -4), textcoords="offset points")
    ax.set(title=title, xlim=(0, 7), yticks=range(6), yticklabels=parts, xticks=[])

figure, axes = plt.subplots(1, 3, figsize=(10, 2.8), sharey=True)
for ax, (title, chosen) in zip(axes, (("full fine-tuning", names), ("top-K, K = 2", top_2), ("BitFit", biases))):
    picture(ax, chosen, title)
lesson.show(figure, alt="Three columns of bars, one bar for each part of the model from the embeddings up to norm and head. Full fine-tuning "
                        "fills all of them, top-K with K = 2 only blocks 2 and 3 and the head, BitFit about one percent of every block.")

# %% [markdown]
# ## What a frozen weight saves, and what it does not
#
# A linear layer has three gradients. Watch the engine work: `mg.override` puts a counter into its linear operation. The
# counter sees which of the three were asked for.

# %%
from minigrad.autograd import Function
from minigrad.training import memory

def loss_of(model):
    logits = model(batch.ids)
    return mg.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), batch.targets.reshape(-1), ignore_index=-100)

def products(model):
    """Matrix products of all linear layers in one backward pass: for the weights, and for the layers below."""
    linear, counted = Function.registry["linear"], {"for W": 0, "for x": 0}
    backward = linear.backward
    def watched(self, gy):
        counted["for x"] += self.needs[0]
        counted["for W"] += self.needs[1]
        return backward(self, gy)
    linear.backward = watched
    try:
        loss_of(model).backward()
    finally:
        linear.backward = backward
    return counted

methods = {"full": mg.peft.FullFineTuning(), "top 3": mg.peft.TopK(3), "top 2": mg.peft.TopK(2), "top 1": mg.peft.TopK(1),
           "BitFit": mg.peft.BitFit()}
adapted = {name: mg.peft.apply(base, method) for name, method in methods.items()}
work = {name: products(model) for name, model in adapted.items()}
for name, counts in work.items():
    print(f"{name:7} products for weights: {counts['for W']:2}   products to pass the gradient down: {counts['for x']:2}")

# %% [markdown]
# The model has 25 linear layers. BitFit needs no product for a weight, but its lowest bias sits in the first block, so the
# gradient has to come all the way down. Top-K stops where the last trained block begins: *where* you train decides how far
# the backward pass goes, *how much* you train decides what it does on the way.
#
# The engine does not only skip work, it also keeps less. What each block keeps for its backward pass, measured (the
# embeddings keep nothing: they look rows up by their ids):

# %%
from minigrad.training.memory import activations_by_layer
order = ["block 0", "block 1", "block 2", "block 3", "norm, head"]
def place(name):
    return f"block {name.split('.')[1]}" if name.startswith("blocks") else "norm, head"

rows = []
for name, model in adapted.items():
    kept = dict.fromkeys(order, 0)
    for layer, n in activations_by_layer(model, batch).items():
        kept[place(layer.replace("model.", ""))] += n
    rows += [{"method": name, "part": p, "kept_MB": n / 1e6} for p, n in kept.items()]
grid = np.array([[next(r["kept_MB"] for r in rows if (r["method"], r["part"]) == (m, p)) for m in methods] for p in order])
figure, ax = plt.subplots(figsize=(7, 3.6))
ax.imshow(grid, aspect="auto", origin="lower", cmap="cividis", vmax=grid.max() * 1.2)
for i in range(len(order)):
    for j in range(len(methods)):
        ax.annotate(f"{grid[i, j]:.1f}" if grid[i, j] else "no graph", (j, i), ha="center", va="center",
                    color="white" if grid[i, j] < grid.max() * 0.7 else "black")
ax.set_xticks(range(len(methods)), methods)
ax.set_yticks(range(len(order)), order)
ax.set_title("activations kept for the backward pass, MB (batch of 32 words)")
lesson.show(figure, alt="A grid of the activations kept, in megabytes: the four blocks, and norm and head, against full, top 3, top 2, top 1 and "
                        "BitFit. Below the trained blocks top-K keeps nothing at all; BitFit keeps about half of what full "
                        "fine-tuning keeps in every block.", name="subset_graph", data=rows)

# %% [markdown]
# ## The whole bill
#
# Weights have to be there in any case. Gradients and Adam's two moments are there only for what is trained.

# %%
bills = {name: memory(model, batch) for name, model in adapted.items()}
figure, ax = plt.subplots(figsize=(7, 3.4))
bottom = np.zeros(len(bills))
for key, color, hatch in (("weights", "#999999", ""), ("activations", "#0072B2", "//"), ("gradients", "#D55E00", ".."), ("optimizer", "#009E73", "xx")):
    values = np.array([getattr(b, key) / 1e6 for b in bills.values()])
    ax.bar(range(len(bills)), values, bottom=bottom, color=color, hatch=hatch, edgecolor="white", label=key)
    bottom += values
ax.set_xticks(range(len(bills)), [f"{name}\n{b.trainable:,}" for name, b in bills.items()])
ax.set(ylabel="MB in a training step", xlabel="method, and numbers trained")
handles, labels = ax.get_legend_handles_labels()
ax.legend(handles[::-1], labels[::-1], frameon=False)
lesson.show(figure, alt="Stacked bars of the memory of a training step for full fine-tuning, top 3, 2 and 1 blocks and BitFit: weights, activations, "
                        "gradients, optimizer. Full is the highest; every block less takes away activations, gradients and "
                        "optimizer state together; BitFit has no visible gradients but keeps more activations than top 1.",
            name="subset_memory", data=[{"method": n, "trained": b.trainable, "weights_MB": b.weights / 1e6, "activations_MB": b.activations / 1e6,
                                         "gradients_MB": b.gradients / 1e6, "optimizer_MB": b.optimizer / 1e6} for n, b in bills.items()])

# %% [markdown]
# ## And what it costs
#
# The same words, the same 30 steps, a learning rate for each that did well on validation words. Beside the three methods,
# two blocks alone: the top one and the bottom one, with the same number of weights.

# %%
def train(chosen, lr):
    """Words right after 30 steps in which only the parameters with these names move."""
    mg.manual_seed(0)
    model = mg.peft.apply(base, mg.peft.FullFineTuning())
    for name, p in model.model.named_parameters():
        p.requires_grad = name in chosen
    mg.training.fit(model, mg.tasks.Batches(words, batch_size=32, rng=np.random.default_rng(0)), steps=30, lr=lr)
    return mg.training.evaluate(model, tokenizer, test).exact_match

block = lambda i: [n for n in names if n.startswith(f"blocks.{i}.")]
runs = [("full", names, 5e-4), ("top 2", top_2, 4e-3), ("BitFit", biases, 3e-2), ("block 0 alone", block(0), 2e-3), ("block 3 alone", block(3), 4e-3)]
results = [{"trained": name, "numbers": sum(sizes[n] for n in chosen), "words_right": train(chosen, lr)} for name, chosen, lr in runs]
before = mg.training.evaluate(base, tokenizer, test).exact_match

figure, ax = plt.subplots(figsize=(7, 3.4))
for r, marker in zip(results, "osD^v"):
    ax.plot(r["numbers"], 100 * r["words_right"], linestyle="none", marker=marker, markersize=8)
    ax.annotate(r["trained"], (r["numbers"], 100 * r["words_right"]), xytext=(-8, 6), textcoords="offset points", ha="right")
ax.axhline(100 * before, color="#666666", marker="", linestyle="--")
ax.annotate("base model", (4e3, 100 * before), xytext=(0, 4), textcoords="offset points")
ax.set(xscale="log", xlabel="numbers trained", ylabel="words right, %", xlim=(3e3, 1.5e6), ylim=(0, 33))
lesson.show(figure, alt="Words right against the numbers trained, on a logarithmic axis. Block 0 alone and full fine-tuning are the highest, then BitFit "
                        "with less than a hundredth of the numbers; the top two blocks, and block 3 alone with as many numbers as "
                        "block 0, stay far below.", name="subset_words_right", data=results)

# %%
# about: short trainings, a hundred words
print(f"{'base':14} {before:.2f}")
for r in results:
    print(f"{r['trained']:14} {r['words_right']:.2f}")

# %% [markdown]
# *Where* the trained weights lie matters more than how many there are. In so short a training the bottom block alone keeps
# up with the whole model, and as many numbers at the top do little: blocks at the top can only work with what the frozen
# ones hand them. For another task it may be the other way round, so one tries. (What long trainings give is lesson 16.)
#
# But block 0 is the dearest of the four: to reach it, the gradient has to come down through all the others.
#
# ## A bias that learns nothing
#
# Of all biases one kind has no say: k_proj's. It adds the same to all scores of a query, and softmax does not see what all
# scores share.

# %%
model = mg.peft.apply(base, mg.peft.BitFit())
loss_of(model).backward()
lengths = {}
for name, p in model.model.named_parameters():
    if p.grad is not None:
        kind = name.split(".")[-2] if name.startswith("blocks") else "final norm"
        lengths.setdefault(kind, []).append(float(np.linalg.norm(mg.to_numpy(p.grad))))
figure, ax = plt.subplots(figsize=(7, 3.2))
kinds = sorted(lengths, key=lambda k: -max(lengths[k]))
for i, kind in enumerate(kinds):
    ax.plot([i] * len(lengths[kind]), lengths[kind], linestyle="none", color="#0072B2", marker="o")
ax.set_xticks(range(len(kinds)), kinds, rotation=30, ha="right")
ax.set(yscale="log", ylabel="length of the gradient", title="one dot for each block")
lesson.show(figure, alt="Gradient lengths of nine kinds of biases on a log axis, one dot per block. All lie between a hundredth and one, but k_proj's "
                        "lie below ten to the minus seven: they are rounding errors.",
            name="subset_bias_gradients", data=[{"bias": k, "block": i, "gradient": v} for k in kinds for i, v in enumerate(lengths[k])])
print("k_proj below a millionth of the largest:", max(lengths["k_proj"]) < 1e-6 * max(map(max, lengths.values())))

# %% [markdown]
# ## The trap: a head that is tied
#
# In many models head and token embedding are one array. Then "the top" has a root at the bottom. minigrad refuses, and says
# what to do:

# %%
tied = mg.models.GPT(mg.models.GPTConfig(vocab_size=tokenizer.vocab_size, d_model=32, n_layers=3, n_heads=2, tie_head=True))
print("one array:", tied.head.weight is tied.token_embedding.weight)
try:
    mg.peft.apply(tied, mg.peft.TopK(1))
except ValueError as error:
    print(error)
honest = memory(mg.peft.apply(tied, mg.peft.TopK(1, head=False)), batch).activations
tied.requires_grad_(False)
for p in [*tied.blocks[2].parameters(), *tied.norm.parameters(), tied.head.weight]:
    p.requires_grad = True
leaked = memory(tied, batch).activations
print(f"activations kept if you train it anyway: {leaked / honest:.1f} times as many; the graph goes down to the bottom")

# %% [markdown]
# ## Now you
#
# Six functions in `lessons/11_subsets/exercises.py`; `pytest lessons/11_subsets` checks them. The last check trains the top
# block of a transformer with your gradients, and makes sure that the base has not moved. Next: lesson 12 adds something to
# the model instead.
