# %% [markdown]
# # Graphs and why order matters
#
# A computation is a graph: each step knows what it was made of. To get the gradients, the engine walks this graph from the
# loss back to the inputs. Here you see why it must not walk in just any order, what happens if it does, and how much of the
# graph it can leave out.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("02")

import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg
from lessons import engine
from notebooks.graphs import draw

class Node:
    def __init__(self, name, parents=(), vjp=lambda gy: [], trainable=False):
        self.name, self.parents, self.vjp, self.trainable = name, list(parents), vjp, trainable

# %% [markdown]
# ## The same graph, walked in two orders
#
# y = u·w with u = x² and w = u + x, at x = 3. Each node is visited once and hands on what it has *at that moment*. On the
# left u waits for w; on the right it does not.

# %%
x = Node("x")
u = Node("u", [x], lambda gy: [gy * 6])             # u = x²: slope 2x = 6
w = Node("w", [u, x], lambda gy: [gy, gy])          # w = u + x
y = Node("y", [u, w], lambda gy: [gy * 12, gy * 9]) # y = u·w: slopes w = 12 and u = 9

def walk(nodes, gy):
    """Visit the nodes in this order; each hands on what has arrived so far."""
    grads, handed = {nodes[0]: gy}, {}
    for node in nodes:
        handed[node] = grads[node]
        for parent, g in zip(node.parents, node.vjp(grads[node])):
            grads[parent] = grads[parent] + g if parent in grads else g
    return grads, handed

figure, axes = plt.subplots(1, 2, figsize=(12, 3.6))
for ax, order, title in zip(axes, ([y, w, u, x], [y, u, w, x]), ("order y, w, u, x (all arrived)", "order y, u, w, x (u goes too early)")):
    grads, handed = walk(order, 1)
    def text(node, formula):
        late = "" if handed[node] == grads[node] else f"\n{grads[node] - handed[node]} came late"
        return f"{order.index(node) + 1}.  {formula}\nhands on {handed[node]}{late}"
    draw(ax, {"x": (0, 0, text(x, "x = 3"), "leaf"), "u": (1, 1, text(u, "u = x² = 9"), "op"),
              "w": (2, 0, text(w, "w = u + x = 12"), "op"), "y": (3, 1, text(y, "y = u·w = 108"), "result")},
         [("x", "u", "6"), ("x", "w", "1"), ("u", "w", "1"), ("u", "y", "12"), ("w", "y", "9")])
    ax.set_title(f"{title}: dy/dx = {grads[x]}")
lesson.show(figure, alt="One graph of x, u, w and y, twice. Left, walked in the order y, w, u, x: u hands on 21 and the gradient of x is "
                        "135. Right, walked y, u, w, x: u hands on 12 before the 9 from w arrive, and the gradient of x is 81.")
print("measured:", round((((3.001) ** 4 + 3.001 ** 3) - (2.999 ** 4 + 2.999 ** 3)) / 0.002, 3))

# %% [markdown]
# Nothing crashes on the right. The number is only wrong, by the 9·6 = 54 that came late. A node may hand on its gradient when
# all of it has arrived: after every node that uses it. Reversed topological orders have this property, and only they.
#
# ## A real graph
#
# The engine records a graph like this for every forward pass. This is the pretrained model that reads words aloud, on a batch
# of eight words.

# %%
def topological_order(root):
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent in node.parents)
    return order

base, tokenizer = mg.pretrained.load()
base.requires_grad_(True)
root, leaves = engine.graph(engine.loss_of(base), Node)
order = topological_order(root)
print(len(order), "nodes, of which", len(leaves), "are parameters;", sum(len(n.parents) for n in order), "arrows")

# %% [markdown]
# How many paths lead from each parameter to the loss? Counting them takes one walk.

# %%
paths = {node: 0 for node in order}
paths[root] = 1
for node in reversed(order):
    for parent in node.parents:
        paths[parent] += paths[node]

names = {p: name for name, p in base.named_parameters()}
rows = [{"parameter": name, "paths": paths[leaves[p]]} for p, name in names.items()]
figure, ax = plt.subplots(figsize=(9, 3.6))
ax.semilogy([r["paths"] for r in rows], linestyle="none")
for b in range(4):
    inside = [i for i, r in enumerate(rows) if r["parameter"].startswith(f"blocks.{b}.")]
    ax.axvspan(inside[0] - 0.5, inside[-1] + 0.5, color="#56B4E9", alpha=0.25 if b % 2 == 0 else 0.1, linewidth=0)
    ax.text((inside[0] + inside[-1]) / 2, 0.42, f"block {b}", ha="center")
ax.annotate("embeddings", (0.5, rows[0]["paths"]), xytext=(8, 4), textcoords="offset points")
ax.annotate("head", (len(rows) - 1, rows[-1]["paths"]), xytext=(0, 8), textcoords="offset points", ha="center")
ax.set(xlabel="parameter, from the input to the output", ylabel="paths to the loss", ylim=(0.3, 1e4))
lesson.show(figure, alt="Paths to the loss for each parameter of a model of four blocks, on a logarithmic axis: 4,096 from the embeddings, "
                        "fewer by a factor of eight with each block, and one from the head.",
            name="paths_in_a_model", data=rows)
print("from the token embedding:", paths[leaves[base.token_embedding.weight]], "paths; from the head:", paths[leaves[base.head.weight]])
print(f"with 32 such blocks: {8.0 ** 32:.0e} paths, and about {8 * len(order):,} nodes")

# %% [markdown]
# Each block multiplies the number of paths by eight. Attention can be passed by, or entered by the query, the key or the
# value; the MLP can be passed by or entered: 4·2 ways. A walk along every path would be hopeless; a walk over the nodes is not.
#
# ## Training with a wrong order
#
# What if an engine visits the nodes ring by ring: first the loss, then what it was made of, then what that was made of? Every
# node is visited once and the result looks like a gradient.

# %%
def by_rings(root):
    order, seen = [root], {root}
    for node in order:
        for parent in node.parents:
            if parent not in seen:
                seen.add(parent)
                order.append(parent)
    return order

def gradients(model, order_of):
    loss = engine.loss_of(model)
    root, leaves = engine.graph(loss, Node)
    grads, _ = walk(order_of(root), np.ones((), dtype=np.float32))
    return loss.item(), {p: grads[node] for p, node in leaves.items()}

def train(order_of, steps=30):
    model, losses = engine.small_gpt(), []
    optimizer = mg.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss, grads = gradients(model, order_of)
        for p, g in grads.items():
            p.grad = g
        optimizer.step()
        losses.append(loss)
    return losses

model = engine.small_gpt()
right, wrong = gradients(model, lambda root: topological_order(root)[::-1])[1], gradients(model, by_rings)[1]
part = {name: float(np.linalg.norm(wrong[p] - right[p]) / np.linalg.norm(right[p])) for name, p in model.named_parameters()
        if "k_proj.bias" not in name}               # whose true gradient is zero
curves = {"all arrived": train(lambda root: topological_order(root)[::-1]), "ring by ring": train(by_rings)}

figure, (left, right_) = plt.subplots(1, 2, figsize=(11, 3.8), width_ratios=[3, 2])
left.bar(range(len(part)), list(part.values()), color="#D55E00")
ticks = [i for i, name in enumerate(part) if name in ("blocks.0.norm1.weight", "blocks.0.norm2.weight",
                                                      "blocks.1.norm1.weight", "blocks.1.norm2.weight", "head.weight")]
left.set_xticks(ticks, [list(part)[i].replace("blocks.", "").replace(".weight", "") for i in ticks], rotation=30,
                ha="right")
left.set(ylabel="relative error of the gradient", title="each parameter, ring by ring")
for (name, losses), (dx, dy, ha) in zip(curves.items(), ((-8, -16, "right"), (8, 6, "left"))):
    right_.plot(losses, markevery=5)
    right_.annotate(name, (15, losses[15]), xytext=(dx, dy), textcoords="offset points", ha=ha)
right_.set(xlabel="step", ylabel="loss", ylim=(0, None), title="training on eight words")
lesson.show(figure, alt="Left: the relative error of the gradient of each parameter when nodes are visited ring by ring: zero near the "
                        "head, large below. Right: the loss on eight words over 30 steps; with the wrong order it falls nearly as fast.",
            name="wrong_order", data=[{"parameter": n, "relative_error": v} for n, v in part.items()])

# %%
# about: a short training
print("parameters with a wrong gradient:", sum(v > 1e-3 for v in part.values()), "of", len(part))
print({name: f"{losses[-1]:.2f}" for name, losses in curves.items()}, "after 30 steps")

# %% [markdown]
# This is what makes such a mistake dangerous: the loss falls nearly as well, and nobody looks. Only a comparison with measured slopes finds it.
#
# ## What the walk can leave out
#
# A node is entered only if something trainable lies under it. Freeze a model, and most of the walk disappears, depending on
# where the trained numbers sit.

# %%
methods = {"everything": mg.peft.FullFineTuning(), "LoRA, rank 8": mg.peft.LoRA(rank=8), "a prompt of 8": mg.peft.PromptTuning(length=8),
           "the last block and head": mg.peft.TopK(1), "final norm and head": mg.peft.TopK(0)}
rows = []
for name, method in methods.items():
    adapted = mg.peft.apply(base, method)
    root, leaves = engine.graph(engine.loss_of(adapted), Node)
    nodes = topological_order(root)
    rows.append({"trained": name, "operations": len(nodes) - len(leaves), "leaves": len(leaves)})
figure, ax = plt.subplots(figsize=(8, 3.2))
ax.barh(range(len(rows)), [r["operations"] for r in rows], color="#0072B2")
ax.set_yticks(range(len(rows)), [r["trained"] for r in rows])
ax.invert_yaxis()
for i, r in enumerate(rows):
    ax.text(r["operations"] + 1, i, f"{r['operations']} operations, {r['leaves']} leaves", va="center")
ax.set(xlabel="operations in the recorded graph", xlim=(0, 115))
everything, lora, prompt, top, last = (r["operations"] for r in rows)
lesson.show(figure, alt=f"Bars: the number of operations in the recorded graph. Training everything needs {everything}, LoRA {lora} and "
                        f"a prompt {prompt}; the last block with the head needs {top}, the final norm and the head {last}.",
            name="nodes_entered", data=rows)

# %% [markdown]
# A prompt sits at the very bottom, so the walk has to go all the way down, though only 1,024 numbers are trained. LoRA has
# a part in every block, so it saves little more than the leaves. Few trained parameters do not always mean a short walk.
#
# ## Deep graphs
#
# A function that calls itself for every parent stops at Python's recursion limit. A stack does not.

# %%
def recursive(node, seen):
    if node not in seen:
        seen.add(node)
        for parent in node.parents:
            recursive(parent, seen)

chain = [Node("0")]
for i in range(20_000):
    chain.append(Node(str(i + 1), [chain[-1]]))
try:
    recursive(chain[-1], set())
except RecursionError:
    print("recursive: too deep")
print("with a stack:", f"{len(topological_order(chain[-1])):,} nodes")
t = x = mg.tensor(1.0, requires_grad=True)
for _ in range(20_000):
    t = t + 1.0
t.backward()
print("the engine on 20,000 additions: gradient", x.grad.item())

# %% [markdown]
# ## Now you
#
# Six functions wait in `lessons/02_graphs/exercises.py`; `pytest lessons/02_graphs` checks them. The last check lets your walk
# train a transformer on the graphs that the engine records.
