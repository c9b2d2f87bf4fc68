# %% [markdown]
# # What fills the memory
#
# A training step holds weights, gradients, optimizer state and activations. This notebook predicts each of them, measures
# each of them on the model that reads aloud, and then trades activations for a second forward pass. Nothing is estimated:
# minigrad counts the arrays that a step really keeps.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("10")

import math
import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg

base, tokenizer = mg.pretrained.load()
config = base.config
words = mg.tasks.encode_examples(tokenizer, mg.tasks.get("pronounce").examples("validation")[:32])
batch = next(iter(mg.tasks.Batches(words, 32, shuffle=False)))
numbers = sum(p.size for p in base.parameters())
print(f"the model: {numbers:,} numbers; the batch: {batch.ids.shape[0]} × {batch.ids.shape[1]} tokens")

# One gray and hatching per part: told apart without color.
PARTS = {"weights": ("#444444", ""), "gradients": ("#999999", "///"), "optimizer": ("#FFFFFF", "..."), "activations": ("#56B4E9", "")}

def stacked(ax, rows, unit):
    """One horizontal bar per row {"name", part: number}, its parts side by side."""
    for place, row in enumerate(reversed(rows)):
        left = 0.0
        for part, (color, hatch) in PARTS.items():
            size = row.get(part, 0) / unit
            ax.barh(place, size, left=left, facecolor=color, hatch=hatch, edgecolor="black", linewidth=0.6, height=0.6,
                    label=part if place == 0 and part in row else None)
            left += size
        ax.annotate(f"{left:.3g}", (left, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=10)
    ax.set_yticks(range(len(rows)), [row["name"] for row in reversed(rows)])
    ax.legend(fontsize=9, frameon=False, loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=4)
    ax.margins(x=0.1)

# %% [markdown]
# ## Bytes per number
#
# Every recipe below trains with Adam. Mixed precision halves the copy that the forward pass reads and its gradient, and pays
# for it with a float32 master copy: 16 bytes again.

# %%
from minigrad.training.memory_model import SCHEMES
rows = [{"name": name, "weights": SCHEMES[s].weights, "gradients": SCHEMES[s].gradients, "optimizer": SCHEMES[s].optimizer}
        for name, s in (("float32", "fp32-adam"), ("mixed precision", "mixed"), ("bf16 alone", "bf16"), ("float32, 8-bit moments", "adam8bit"))]
figure, ax = plt.subplots(figsize=(8, 2.7))
stacked(ax, rows, 1)
ax.set(xlabel="bytes per trained number", xlim=(0, 18))
lesson.show(figure, alt="Four stacked bars of bytes per trained number. float32: 4 weights, 4 gradients, 8 optimizer, 16 in all. Mixed "
                        "precision: 2, 2 and 12, also 16. bf16 alone: 2, 2 and 4, 8 in all. float32 with 8-bit moments: 4, 4 and about 2, 10 "
                        "in all.", name="memory_recipes", data=rows)

# %% [markdown]
# ## Predict, then measure
#
# `mg.training.memory` runs one step at learning rate 0 and counts. Full fine-tuning first:

# %%
use = mg.training.memory(mg.peft.apply(base, mg.peft.FullFineTuning()), batch)
for part, predicted in (("weights", 4 * numbers), ("gradients", 4 * numbers), ("optimizer", 8 * numbers)):
    print(f"{part:12} predicted {predicted:>10,}   measured {getattr(use, part):>10,}")
print(f"{'activations':12}           {'':>10}   measured {use.activations:>10,}")

# %% [markdown]
# The activations are the largest part, for a batch of only 32 words. Here is what one block keeps, with the table from the
# lesson's README:

# %%
def block_keeps(batch, tokens, d_model, d_ff, trained):
    rows = batch * tokens
    kept = 2 * (rows * d_model + rows) + 3 * rows * d_model + rows * d_ff      # norms, attention, GELU
    if trained:
        kept = kept + 3 * rows * d_model + rows * d_ff                         # inputs of the linear layers
    return kept

layers = mg.training.activations_by_layer(base, batch)
by_block = {i: sum(n for name, n in layers.items() if name.startswith(f"blocks.{i}.")) for i in range(config.n_layers)}
print("predicted per block:", f"{4 * block_keeps(*batch.ids.shape, config.d_model, config.d_ff, True):,}")
print("measured, by block: ", ", ".join(f"{n:,}" for n in by_block.values()))

names = [name for name in layers if name.startswith("blocks.1.")]
figure, ax = plt.subplots(figsize=(7.5, 3.2))
ax.barh(range(len(names)), [layers[n] / 1e6 for n in reversed(names)], color="#56B4E9", edgecolor="black", linewidth=0.6)
ax.set_yticks(range(len(names)), [n.removeprefix("blocks.1.") for n in reversed(names)])
for place, n in enumerate(reversed(names)):
    ax.annotate(f"{layers[n] / 1e6:.2f}", (layers[n] / 1e6, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
ax.set(xlabel="activations that block 1 keeps, MB")
ax.margins(x=0.1)
lesson.show(figure, alt="Bars of what each part of one block keeps: the down projection's input and the GELU's slope, both four times as wide as the "
                        "model, are by far the largest; the norms, q_proj with the shared input, attention and the rest keep less.",
            name="memory_by_layer", data={"layer": names, "bytes": [layers[n] for n in names]})

# %% [markdown]
# ## What fine-tuning methods save
#
# LoRA of rank 8 trains 2 % of the numbers. Gradients and optimizer state nearly vanish. Weights do not, and activations
# not by much: gradients still pass through every frozen block.

# %%
methods = {"full": mg.peft.FullFineTuning(), "top 1 layer": mg.peft.TopK(1), "BitFit": mg.peft.BitFit(),
           "adapter 16": mg.peft.Adapter(16), "LoRA 8": mg.peft.LoRA(rank=8, alpha=16)}
rows = []
for name, method in methods.items():
    m = mg.training.memory(mg.peft.apply(base, method), batch)
    rows.append({"name": name, "trained": m.trainable, **{part: getattr(m, part) for part in PARTS}})
figure, ax = plt.subplots(figsize=(8.5, 3.4))
stacked(ax, rows, 1e6)
ax.set(xlabel=f"bytes of a training step on {batch.ids.shape[0]} × {batch.ids.shape[1]} tokens, MB")
total = {row["name"]: sum(row[part] for part in PARTS) for row in rows}
lesson.show(figure, alt="Stacked bars for five methods. Full fine-tuning holds " + f"{total['full'] / 1e6:.0f}" + " megabytes, most of them activations; "
                        "LoRA, BitFit and adapters have almost no gradients and optimizer state, but keep their weights and more than half "
                        "of the activations. Training the top layer alone keeps far fewer activations.",
            name="memory_methods", data=rows)
for row in rows:
    print(f"{row['name']:12} trains {100 * row['trained'] / numbers:5.1f} %   total {total[row['name']] / 1e6:5.1f} MB, "
          f"{total['full'] / total[row['name']]:.2f} times less than full; without activations "
          f"{(total['full'] - rows[0]['activations']) / (total[row['name']] - row['activations']):.2f} times less")

# %% [markdown]
# So for a small model on a large batch the factor is below 2, not 50. The larger the model, the less activations weigh
# beside the 16 bytes. That is where LoRA earns its name:

# %%
sizes = [10 ** e for e in np.arange(8, 11.6, 0.25)]
lines = {"trained, mixed precision: 16 B": 16.0, "frozen in fp16: 2 B": 2.0, "frozen in 4 bits: 0.52 B": 4.127 / 8}
figure, ax = plt.subplots(figsize=(7, 4))
for (name, each), color, line in zip(lines.items(), ("#D55E00", "#0072B2", "#009E73"), ("-", "--", "-.")):
    ax.loglog(sizes, [each * n / 1e9 for n in sizes], color=color, linestyle=line, marker="", linewidth=2)
    ax.annotate(name, (sizes[-1], each * sizes[-1] / 1e9), xytext=(6, -4), textcoords="offset points", color=color, fontsize=10,
                annotation_clip=False)
for card in (24, 80):
    ax.axhline(card, color="#666666", linestyle=":", marker="", linewidth=1)
    ax.text(1.05e8, card * 1.1, f"a card of {card} GB", fontsize=9, color="#444444")
for n, name in ((1.5e9, "GPT-2 XL"), (7e9, "7B"), (65e9, "65B")):
    ax.axvline(n, color="#CCCCCC", marker="", linestyle="-", linewidth=1, zorder=0)
    ax.text(n * 1.05, 0.06, name, fontsize=9)
ax.set(xlabel="numbers in the model", ylabel="GB, without activations", xlim=(1e8, sizes[-1]), ylim=(0.05, 6000))
lesson.show(figure, alt="Gigabytes against the size of a model, both logarithmic, as three parallel lines: 16 bytes per number when trained in mixed "
                        "precision, 2 when frozen in fp16, about half a byte when frozen in 4 bits. Full training of 7 billion numbers "
                        "takes 112 GB, above a card of 80; frozen in fp16 it takes 14, below one of 24; 65 billion in 4 bits take 34.",
            name="memory_large_models", data={"numbers": sizes, **{name.split(":")[0].replace(",", ""): [each * n / 1e9 for n in sizes]
                                                                   for name, each in lines.items()}})
print("7 billion:", {name: round(each * 7, 1) for name, each in lines.items()}, "GB")

# %% [markdown]
# ## Activations grow with the batch
#
# The formula is linear in batch · tokens. Points are measured.

# %%
def measured(rows, tokens):
    ids = np.random.default_rng(0).integers(0, config.vocab_size, (rows, tokens))
    return mg.graph_stats(mg.nn.functional.cross_entropy(base(ids).reshape(-1, config.vocab_size), ids.reshape(-1))).saved_bytes

def predicted(rows, tokens):
    r, d = rows * tokens, config.d_model
    return 4 * (config.n_layers * block_keeps(rows, tokens, d, config.d_ff, True) + (r * d + r) + r * d + r * config.vocab_size)

batches = [1, 8, 16, 32, 48]
figure, ax = plt.subplots(figsize=(7, 3.4))
rows = []
for tokens, color, line, marker in ((16, "#0072B2", "-", "o"), (32, "#D55E00", "--", "s")):
    got = [measured(b, tokens) for b in batches]
    ax.plot(batches, [predicted(b, tokens) / 1e6 for b in batches], color=color, linestyle=line, marker="")
    ax.plot(batches, [g / 1e6 for g in got], color=color, linestyle="none", marker=marker)
    ax.annotate(f"{tokens} tokens", (48, got[-1] / 1e6), xytext=(8, -4), textcoords="offset points", color=color, annotation_clip=False)
    rows += [{"tokens": tokens, "batch": b, "predicted": predicted(b, tokens), "measured": g} for b, g in zip(batches, got)]
ax.axhline(16 * numbers / 1e6, color="#666666", linestyle=":", marker="")
ax.text(50, 16 * numbers / 1e6 - 3, "weights, gradients and state", fontsize=9, color="#444444", ha="right")
ax.set(xlabel="sequences in the batch", ylabel="activations, MB")
lesson.show(figure, alt="Activations against the batch size, for 16 and for 32 tokens: two straight lines through the measured points. They cross the "
                        "dotted line of weights, gradients and optimizer state at about 24 sequences of 16 tokens and 12 of 32.",
            name="memory_growth", data=rows)
print("predictions that are wrong:", sum(r["predicted"] != r["measured"] for r in rows), "of", len(rows))

# %% [markdown]
# ## Checkpointing
#
# Keep each segment's input; run the segment again when its gradients are due. The peak is all inputs plus one segment. Two
# stacks of 16 layers, cut into segments of k: transformer blocks, and plain tanh, which keeps as much as its input has.

# %%
mg.manual_seed(0)
deep = mg.models.GPT(mg.models.GPTConfig(config.vocab_size, d_model=32, n_layers=16, n_heads=4))
x = mg.tensor(np.random.default_rng(1).normal(size=(8, 24, 32)).astype(np.float32)).requires_grad_()
stacks = {"transformer blocks": ([lambda a, b=b: b(a, None, None) for b in deep.blocks], 4 * block_keeps(8, 24, 32, 128, True)),
          "tanh": ([mg.Tensor.tanh] * 16, x.data.nbytes)}
between = x.data.nbytes

def run(a, layers):
    for layer in layers:
        a = layer(a)
    return a

def peak(layers, k):
    """Bytes at the height of a step with segments of k layers, measured: what is kept, and one segment recorded again."""
    y, segments = x, [layers[i:i + k] for i in range(0, 16, k)]
    for segment in segments:
        y = mg.checkpoint(lambda a, segment=segment: run(a, segment), y)
    kept = mg.graph_stats(y.sum()).saved_bytes
    return kept + mg.graph_stats(run(mg.tensor(x.data).requires_grad_(), segments[0]).sum()).saved_bytes

lengths, rows = [1, 2, 3, 4, 5, 6, 8, 11, 16], []
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4))
for ax, (name, (layers, inside)) in zip(axes, stacks.items()):
    formula = [between * math.ceil(16 / k) + inside * k for k in range(1, 17)]
    got = [peak(layers, k) for k in lengths]
    ax.plot(range(1, 17), [f / 1e6 for f in formula], marker="", color="#0072B2")
    ax.plot(lengths, [g / 1e6 for g in got], linestyle="none", marker="o", color="#D55E00")
    ax.axhline(16 * inside / 1e6, color="#666666", linestyle=":", marker="")
    ax.text(7, 16 * inside / 1e6, "nothing checkpointed", va="bottom", ha="center", fontsize=9, color="#444444")
    ax.set(xlabel="layers per segment", ylabel="peak of activations, MB", ylim=(0, 1.15 * max(formula) / 1e6), title=name,
           xticks=[1, 4, 8, 12, 16])
    rows += [{"stack": name, "segment": k, "measured": g, "formula": formula[k - 1]} for k, g in zip(lengths, got)]
    print(f"{name}: each keeps {inside:,} bytes, {inside / between:.0f} times its input; best segment: {1 + int(np.argmin(formula))}, "
          f"peak {min(formula):,} instead of {16 * inside:,}")
figure.tight_layout()
lesson.show(figure, alt="The peak of activations against the length of a segment, formula and measured points. For transformer blocks it is lowest "
                        "for segments of one block, an eighth of the peak without checkpointing, and rises nearly in a straight line. For "
                        "tanh layers it has its lowest point at four and is high at both ends.",
            name="memory_checkpointing", data=rows)

# %% [markdown]
# √n layers per segment, the rule that is often quoted, is the answer for layers that keep as much as their input. A
# transformer's block keeps 16 times as much, so its best segment is a single block: set `model.checkpoint_blocks`. The
# gradients are the same, bit by bit:

# %%
def gradients(checkpointed):
    base.checkpoint_blocks = checkpointed
    loss = mg.training.loss_on(base, batch)
    kept = mg.graph_stats(loss).saved_bytes
    loss.backward()
    out = {name: mg.to_numpy(p.grad) for name, p in base.named_parameters()}
    for p in base.parameters():
        p.grad = None
    base.checkpoint_blocks = False
    return out, kept

(plain, kept_plain), (again, kept_again) = gradients(False), gradients(True)
print(f"kept by the reader's forward pass: {kept_plain:,} bytes; with checkpointed blocks {kept_again:,}")
print("gradients that differ:", sum(int((plain[n] != again[n]).sum()) for n in plain))

# %% [markdown]
# ## Now you
#
# Six functions wait in `lessons/10_memory/exercises.py`; `pytest lessons/10_memory` checks them. The last two checks hold
# *your* predictions against the engine's measurements, and train a transformer with *your* checkpointing.
