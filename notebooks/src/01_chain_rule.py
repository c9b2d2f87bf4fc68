# %% [markdown]
# # Values and the chain rule
#
# How does a network know which way to turn each of its numbers? It asks for every number: if you move a little, how far does
# the result move? In this notebook you measure such slopes, then compute all of them in one walk, and let them learn from
# real words.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("01")

import math
import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg
from notebooks.graphs import draw

# %% [markdown]
# ## A slope, measured
#
# Move `x` a little to both sides and see how far `f` moves: (f(x + h) − f(x − h)) / 2h. As h shrinks, the line through the
# two points turns into the tangent.

# %%
def slope(f, x, h=1e-4):
    return (f(x + h) - f(x - h)) / (2 * h)

f = lambda x: x ** 3 / 6 - x + 2
x = np.linspace(-1, 4.2, 200)
figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), sharex=True, sharey=True)
for ax, h in zip(axes, (1.5, 0.75, 0.05)):
    ax.plot(x, f(x), marker="", color="#0072B2")
    s, middle = slope(f, 2.0, h), (f(2 + h) + f(2 - h)) / 2
    ax.plot(x, middle + s * (x - 2), marker="", linestyle="--", color="#D55E00")
    ax.plot([2 - h, 2 + h], [f(2 - h), f(2 + h)], linestyle="none", marker="s", color="#D55E00")
    ax.set(title=f"h = {h:g}: slope {s:.3f}", xlabel="x", ylim=(-0.5, 7))
axes[0].set_ylabel("f(x)")
lesson.show(figure, alt="Three panels with the same curve and a line through two of its points around x = 2. As the points move together, "
                        "from 1.5 to 0.05 on either side, the line becomes the tangent and its slope goes from 1.375 to 1.")

# %% [markdown]
# ## How small should h be?
#
# Smaller is better, until rounding takes over: the two values of `f` then agree in nearly all of their sixteen digits, and
# the difference is made of what is left. One step ahead only, (f(x + h) − f(x)) / h, is far worse at the same h.

# %%
hs = 10.0 ** np.arange(-13, 0)
f, true = math.exp, math.exp(1)
both = [abs(slope(f, 1.0, h) - true) / true for h in hs]
ahead = [abs((f(1 + h) - f(1)) / h - true) / true for h in hs]
figure, ax = plt.subplots(figsize=(7, 3.6))
ax.loglog(hs, both)
ax.loglog(hs, ahead)
ax.annotate("both sides: error ~ h²", (1e-2, both[11]), xytext=(8, -12), textcoords="offset points")
ax.annotate("one step ahead: error ~ h", (1e-4, ahead[9]), xytext=(-12, 12), textcoords="offset points", ha="right")
ax.annotate("rounding: error ~ 1/h", (1e-10, both[3]), xytext=(-10, -14), textcoords="offset points", ha="center")
ax.set(xlabel="h", ylabel="relative error of the slope", title="eˣ at x = 1", xlim=(4e-14, 40))
lesson.show(figure, alt="Relative error of two measured slopes against h, both axes logarithmic: two V shapes. One step ahead is best near "
                        "h = 1e-8 with an error of 1e-8; both sides are best near 1e-5 with an error around 1e-11. Left of the best h, "
                        "rounding makes both worse as h shrinks.",
            name="slope_error", data={"h": hs.tolist(), "both_sides": both, "one_step_ahead": ahead})
print(f"at h = 0.001: both sides {both[10]:.1e}, one step ahead {ahead[10]:.1e}")

# %% [markdown]
# ## Slopes multiply along a path and add where paths meet
#
# Measuring costs two runs for each number. A network has millions. The chain rule gets all slopes out of one walk back.
# Here is y = (a + b)·b at a = 2, b = 3, with the local slope on each arrow.

# %%
class Value:
    def __init__(self, data, parents=()):
        self.data, self.parents, self.grad = data, parents, 0.0

    def __add__(self, other):
        return Value(self.data + other.data, [(self, 1.0), (other, 1.0)])

    def __mul__(self, other):
        return Value(self.data * other.data, [(self, other.data), (other, self.data)])

    def backward(self, gy=1.0):
        self.grad += gy
        for parent, local in self.parents:
            parent.backward(gy * local)

a, b = Value(2.0), Value(3.0)
u = a + b
y = u * b
y.backward()

box = lambda name, v: f"{name} = {v.data:g}\ngrad {v.grad:g}"
figure, ax = plt.subplots(figsize=(8, 3.2))
draw(ax, {"a": (0, 1, box("a", a), "leaf"), "b": (0, 0, box("b", b), "leaf"), "u": (1.2, 1, box("u = a + b", u), "op"),
          "y": (2.4, 0.5, box("y = u·b", y), "result")},
     [("a", "u", "1"), ("b", "u", "1"), ("u", "y", f"b = {b.data:g}"), ("b", "y", f"u = {u.data:g}")])
lesson.show(figure, alt="A graph: a = 2 and b = 3 lead to u = a + b = 5 with local slopes of 1; u leads to y = 15 with the local slope 3, "
                        "and b leads to y directly with the local slope 5. Gradients: u 3, a 3, b 8.")
print("from b to y: the direct path gives", u.data, "and the path over u gives", 1.0 * b.data, "together", b.grad)
print("measured:", round(slope(lambda b: (2.0 + b) * b, 3.0), 6))

# %% [markdown]
# ## Learning from words
#
# How many sounds does a word have? Guess it from its letters: sounds ≈ w·letters + c. Two numbers, w and c, and the mean
# squared error of forty words from the dictionary. Every operation below is a `Value`.

# %%
words = mg.tasks.get("pronounce").examples("adapt")[:40]
letters = [len(word) / 10 for word, _ in words]
sounds = [len(answers[0]) / 10 for _, answers in words]
print(", ".join(f"{word} ({len(answers[0])})" for word, answers in words[:6]), "…")

def loss_of(w, c):
    total = Value(0.0)
    for x, t in zip(letters, sounds):
        off = w * Value(x) + c + Value(-t)
        total = total + off * off
    return total * Value(1 / len(words))

w, c, path = 0.0, 0.0, []
for step in range(60):
    W, C = Value(w), Value(c)
    loss = loss_of(W, C)
    loss.backward()
    path.append((w, c, loss.data))
    w, c = w - 0.5 * W.grad, c - 0.5 * C.grad
print(f"step 0: loss {path[0][2]:.4f}, gradient of w and c at the end {W.grad:.4f} {C.grad:.4f}")
print(f"step 59: loss {path[-1][2]:.4f}, sounds = {w:.2f}·letters + {10 * c:.2f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
left.scatter([10 * x for x in letters], [10 * t for t in sounds], color="#0072B2", alpha=0.6)
line = np.array([2, 13])
left.plot(line, w * line + 10 * c, marker="", color="#D55E00")
left.set(xlabel="letters", ylabel="sounds", title="forty words and the learned line")
ws, cs = np.meshgrid(np.linspace(-0.2, 1.3, 80), np.linspace(-0.2, 0.7, 80))
bowl = sum((ws * x + cs - t) ** 2 for x, t in zip(letters, sounds)) / len(words)
right.contour(ws, cs, bowl, levels=[0.012, 0.02, 0.05, 0.1, 0.2, 0.4], colors="#888888", linewidths=0.8)
right.plot([p[0] for p in path], [p[1] for p in path], markersize=4, color="#D55E00")
right.annotate("start", path[0][:2], xytext=(-4, -14), textcoords="offset points")
right.annotate("after 60 steps", path[-1][:2], xytext=(8, 4), textcoords="offset points")
right.set(xlabel="w", ylabel="c", title="each step goes down the slopes")
lesson.show(figure, alt="Left: sounds against letters of forty words with the learned line through them. Right: contour lines of the loss "
                        "over w and c, a long narrow valley; the path of 60 steps jumps from side to side of the valley at first and then creeps along it.",
            name="first_descent", data=[{"step": i, "w": p[0], "c": p[1], "loss": p[2]} for i, p in enumerate(path)])

# %% [markdown]
# The first steps jump over the valley, the later ones creep along its floor. Better ways to walk are the subject of lesson 05.
#
# ## The same in minigrad
#
# A `Tensor` is a `Value` whose data is a whole array. The gradients agree.

# %%
wt, ct = mg.tensor(0.0, dtype="float64", requires_grad=True), mg.tensor(0.0, dtype="float64", requires_grad=True)
off = wt * mg.tensor(np.array(letters)) + ct - mg.tensor(np.array(sounds))
(off * off).mean().backward()
W, C = Value(0.0), Value(0.0)
loss_of(W, C).backward()
print("minigrad:", f"{wt.grad.item():.6f} {ct.grad.item():.6f}", "  yours:", f"{W.grad:.6f} {C.grad:.6f}")

# %% [markdown]
# ## One thing is not right yet
#
# `backward` follows every path. Let a value be added to itself, and the sum to itself, and so on: n additions, but 2ⁿ
# paths. How often is `backward` called?

# %%
def calls_of_backward(doublings):
    count = 0
    class Counting(Value):
        def backward(self, gy=1.0):
            nonlocal count
            count += 1
            Value.backward(self, gy)
    y = Counting(1.0)
    for _ in range(doublings):
        y = Counting(2 * y.data, [(y, 1.0), (y, 1.0)])
    y.backward()
    return count

depths = list(range(0, 15, 2))
counts = [calls_of_backward(n) for n in depths]
figure, ax = plt.subplots(figsize=(7, 3.2))
ax.semilogy(depths, counts, base=2)
ax.semilogy(depths, [n + 1 for n in depths], base=2)
ax.annotate("calls of backward", (depths[4], counts[4]), xytext=(-8, 6), textcoords="offset points", ha="right")
ax.annotate("values", (14, 15), xytext=(-8, -16), textcoords="offset points", ha="right")
ax.set(xlabel="doublings", ylabel="count")
lesson.show(figure, alt="Calls of backward against the number of doublings on a logarithmic axis: a straight line up to 32,767 calls for 14 "
                        "doublings, while there are only 15 values.",
            name="paths_explode", data={"doublings": depths, "calls": counts, "values": [n + 1 for n in depths]})
for n, count in zip(depths, counts):
    print(f"{n:2} doublings: {n + 1:2} values, {count:5} calls")

# %% [markdown]
# Lesson 02 walks each value once.
#
# ## Now you
#
# Six functions wait in `lessons/01_chain_rule/exercises.py`; `pytest lessons/01_chain_rule` checks them. The last check runs
# every product, quotient and tanh of a small network through your `Value` while the engine trains it.
