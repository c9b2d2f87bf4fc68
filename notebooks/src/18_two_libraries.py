# %% [markdown]
# # One code, two array libraries
#
# The same program should run on NumPy and on a GPU's arrays, and give the same numbers. This notebook has no GPU: it uses
# arrays that are as strict as CuPy's, in places stricter, and count what would cost time there. How fast a GPU is, they cannot
# say, and nothing here claims to.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("18")

import math
import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg
from lessons import device

RED, BLUE, GREEN = "#D55E00", "#0072B2", "#009E73"
x = np.linspace(-2, 2, 5, dtype=np.float32)
d = device.send(x)
print(type(x).__name__, "and", type(d).__name__)

# %% [markdown]
# ## What a device array refuses
#
# Each of these lines works on a NumPy array. On the device some are refused, because the data is somewhere else and
# getting it would be slow and silent.

# %%
attempts = [("xp.tanh(a)", lambda a, xp: xp.tanh(a)), ("2.0 * a", lambda a, xp: 2.0 * a), ("a.sum()", lambda a, xp: a.sum()),
            ("np.tanh(a)", lambda a, xp: np.tanh(a)), ("a + np.ones(5)", lambda a, xp: a + np.ones(5)),
            ("a[[0, 2]]", lambda a, xp: a[[0, 2]]), ("np.asarray(a)", lambda a, xp: np.asarray(a)),
            ("[v for v in a]", lambda a, xp: [v for v in a])]
for text, attempt in attempts:
    attempt(x, np)                                  # NumPy does all of them
    try:
        result = attempt(d, device.xp)
        told = f"{type(result).__name__} of shape {result.shape}"
    except TypeError as error:
        told = f"refused: {str(error)[:72]}"
    print(f"{text:16} {told}")

# %% [markdown]
# Even a sum is an array there, of shape `()`. Three of these CuPy itself lets pass: it hands `np.tanh(a)` on to its own `tanh`, it
# sends a list that is used as an index, each time, and it goes through an array entry by entry. The device of this lesson is
# stricter, because such a line hides a mix, a transfer or a launch for every entry.
#
# ## float64 leaks in
#
# A Python number adapts to the array's dtype; a NumPy float64 number does not (NEP 50). Follow GELU, step by step:

# %%
def steps(c, x):
    u = x + 0.044715 * x * x * x
    t = np.tanh(c * u)
    return {"x": x, "x + 0.0447x³": u, "c · (…)": c * u, "tanh": t, "1 + tanh": 1 + t, "½x(1 + tanh)": 0.5 * x * (1 + t)}

big = np.random.default_rng(0).normal(size=(32, 64, 512)).astype(np.float32)
sizes = {name: [a.nbytes / 1e6 for a in steps(c, big).values()] for name, c in
         (("c = math.sqrt(2 / math.pi)", math.sqrt(2 / math.pi)), ("c = np.sqrt(2 / np.pi)", np.sqrt(2 / np.pi)))}
names = list(steps(1.0, x))
figure, ax = plt.subplots(figsize=(8, 3.2))
for i, ((name, values), color, hatch) in enumerate(zip(sizes.items(), (BLUE, RED), ("", "///"))):
    ax.bar(np.arange(6) + 0.4 * i - 0.2, values, width=0.38, color=color, hatch=hatch, edgecolor="white", label=name)
ax.set_xticks(range(6), names, fontsize=10)
ax.set(ylabel="MB", ylim=(0, 11))
ax.legend(frameon=False, loc="upper left")
lesson.show(figure, alt="Bytes of each intermediate array of GELU, for a constant made by math.sqrt and one made by np.sqrt. With math.sqrt every "
                        "array has 4.2 megabytes. With np.sqrt all arrays from the multiplication by the constant on have twice that.",
            name="libraries_float64", data={"step": names, **{n.replace("c = ", ""): v for n, v in sizes.items()}})
keep, ones = np.array([True, False]), np.ones(2, np.float32)
for text, value in (("x * keep", ones * keep), ("x * keep / 0.9", ones * keep / 0.9), ("x * (keep / 0.9)", ones * (keep / 0.9)),
                    ("x * np.float64(2)", ones * np.float64(2)), ("x / math.sqrt(64)", ones / math.sqrt(64)), ("x / np.sqrt(64)", ones / np.sqrt(64))):
    print(f"{text:18} {value.dtype}")

# %% [markdown]
# The device can be told to refuse float64 altogether. Then a leak is an error at the line where it happens:

# %%
def gelu(x, xp, c):
    return 0.5 * x * (1 + xp.tanh(c * (x + 0.044715 * x * x * x)))

with device.watch(float64=False):
    print(gelu(d, device.xp, math.sqrt(2 / math.pi)).dtype)
    try:
        gelu(d, device.xp, np.sqrt(2 / np.pi))
    except TypeError as error:
        print("refused:", error)

# %% [markdown]
# ## Waiting
#
# A GPU works through a queue that Python fills. As long as nobody asks for a number, Python runs ahead. This is a drawing,
# computed from two made-up durations (1 to put an operation into the queue, 1.6 to do it), not a measurement:

# %%
def timeline(operations, wait_after, launch=1.0, work=1.6):
    """[(start, length)] of the host and of the device; after the operations in wait_after the host waits."""
    host, dev, now, free = [], [], 0.0, 0.0
    for i in range(operations):
        host.append((now, launch))
        now += launch
        begin = max(now, free)
        dev.append((begin, work))
        free = begin + work
        if i in wait_after:
            now = max(now, free)
    return host, dev, max(now, free)

figure, axes = plt.subplots(2, 1, figsize=(9, 3.2), sharex=True)
for ax, wait_after, title in ((axes[0], set(range(12)), "a float(…) after every operation"), (axes[1], {11}, "one at the end")):
    host, dev, end = timeline(12, wait_after)
    for y, blocks, color in ((1, host, BLUE), (0, dev, RED)):
        ax.broken_barh(blocks, (y - 0.35, 0.7), facecolor=color, edgecolor="white")
    ax.set(yticks=[0, 1], yticklabels=["device", "host"], ylim=(-0.5, 1.6), title=f"{title}: {end:.1f}")
    ax.axvline(end, color="#666666", linestyle=":", marker="")
axes[1].set(xlabel="time, in units of one launch (made up)", xlim=(0, 34))
figure.tight_layout()
lesson.show(figure, alt="A drawing of two timelines, host above device. If the host waits after every operation the blocks of the two alternate and "
                        "both idle half of the time, 31.2 units in all. If it waits once at the end the device works without a gap, 20.2 "
                        "units.", name="libraries_waiting", data=[{"waits": n, "total": timeline(12, w)[2]} for n, w in ((12, set(range(12))), (1, {11}))])

# %% [markdown]
# ## Count it
#
# Two ways to write the end of a training step, on 12 gradients. Nothing is timed; transfers and waits are counted.

# %%
rng = np.random.default_rng(1)
grads = [device.send(rng.normal(size=(16, 8)).astype(np.float32)) for _ in range(12)]
loss = device.send(np.float32(2.5))
xp = device.xp

def careless(grads, loss):
    total = 0.0
    for g in grads:
        if not bool(xp.isfinite(g).all()):          # a question per tensor
            return None
        total += float((g * g).sum())               # a number per tensor
    norm = math.sqrt(total)
    scale = device.send(np.float32(min(1.0, 1.0 / norm)))
    return [g * scale for g in grads], float(loss)

def careful(grads, loss):
    norm = xp.sqrt(sum((g * g).sum() for g in grads))
    clipped = [g * (1.0 / xp.maximum(norm, 1.0)) for g in grads]
    loss, norm = xp.stack([loss, norm]).get()       # inf or NaN in any gradient shows in the norm: one look for all
    return clipped, float(loss)

counts = {}
for function in (careless, careful):
    with device.watch() as seen:
        result = function(grads, loss)
    counts[function.__name__] = (seen.sends, seen.waits)
    print(f"{function.__name__:9} sends {seen.sends}, waits {seen.waits}, length of the clipped gradient "
          f"{math.sqrt(sum(float((g * g).sum()) for g in result[0])):.4f}")
figure, ax = plt.subplots(figsize=(6.5, 2.2))
for place, (name, (sends, waits)) in enumerate(counts.items()):
    for shift, value, color, hatch, what in ((0.2, waits, RED, "", "waits"), (-0.2, sends, BLUE, "///", "sends")):
        ax.barh(place + shift, value, height=0.36, color=color, hatch=hatch, edgecolor="white")
        ax.annotate(f"{value} {what[:-1] if value == 1 else what}", (value, place + shift), xytext=(4, 0), textcoords="offset points", va="center", fontsize=10)
ax.set_yticks(range(2), counts)
ax.set(xlim=(0, 30), xlabel="per step")
lesson.show(figure, alt="Bars for one step: the careless version waits 25 times and sends one array, the careful one waits once and sends nothing.",
            name="libraries_counts", data=[{"version": n, "sends": s, "waits": w} for n, (s, w) in counts.items()])

# %% [markdown]
# ## Chance belongs to the host
#
# Every library has random streams of its own; the same seed gives other numbers. Drawn on the host and sent, a dropout mask
# is the same everywhere, and a run on a GPU can be compared with one on a CPU.

# %%
def dropout(x, p, rng, send):
    keep = rng.random(x.shape) >= p
    return x * send(keep) * (1 / (1 - p))

image = np.hypot(*np.mgrid[-1:1:24j, -1:1:36j]).astype(np.float32)
on_host = dropout(image, 0.4, np.random.default_rng(3), np.asarray)
on_device = device.get(dropout(device.send(image), 0.4, np.random.default_rng(3), device.send))
figure, axes = plt.subplots(1, 3, figsize=(9, 2.3))
for ax, a, title in zip(axes, (image, on_host, on_device), ("x", "dropout on NumPy", "dropout on the device")):
    ax.imshow(a, vmin=0, vmax=2.4)
    ax.set_title(title)
    ax.axis("off")
lesson.show(figure, alt="Three heat maps: a smooth bowl, and the same with two fifths of its entries dropped, once on NumPy and once on the device: the "
                        "dropped entries are the same.")
print("entries that differ:", int((on_host != on_device).sum()), "  mean before and after:", f"{image.mean():.3f}", f"{on_host.mean():.3f}")

# %% [markdown]
# ## A whole transformer on both
#
# minigrad does all of this in one room, `minigrad/backend/`. The same model, seeds and data on both libraries; on the device
# any float64 array and any wait inside a step would raise.

# %%
from lessons import engine
device.register()

def train(backend, steps=40):
    with mg.use_backend(backend):
        model = engine.small_gpt()
        optimizer = mg.optim.AdamW(model.parameters(), lr=1e-2)
        losses = []
        with device.watch(waiting=False, float64=False) as seen:
            for _ in range(steps):
                optimizer.zero_grad()
                loss = engine.loss_of(model)
                loss.backward()
                mg.optim.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                losses.append(loss.detach())
        return [v.item() for v in losses], seen

on_numpy, _ = train("numpy")
on_device, seen = train("strict")
difference = np.abs(np.array(on_numpy) - on_device) / on_numpy
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.2))
left.plot(on_numpy, color=BLUE, marker="", linewidth=4, alpha=0.5, label="NumPy")
left.plot(on_device, color=RED, marker="", linestyle="--", label="the device")
left.set(xlabel="step", ylabel="loss", title="one line over the other")
left.legend(frameon=False)
right.semilogy(np.maximum(difference, 1e-9), color="#000000", marker="o", linestyle="none", markersize=3)
right.axhline(2.0 ** -24, color="#666666", linestyle=":", marker="")
right.text(0, 2.0 ** -24, "half a step of float32", fontsize=9, color="#444444", va="top")
right.text(0, 1.4e-9, "the same, bit by bit", fontsize=9, color="#444444", va="bottom")
right.set(xlabel="step", ylabel="relative difference", ylim=(1e-9, 1e-3), title="apart in the last bits")
figure.tight_layout()
lesson.show(figure, alt="Left: the loss over 40 steps on NumPy and on the device, two lines that cannot be told apart. Right: their relative difference "
                        "on a log axis, zero in most early steps, then around the rounding of float32 and growing slowly.",
            name="libraries_training", data={"step": list(range(40)), "numpy": on_numpy, "device": on_device})
print(f"in {len(on_device)} steps: {seen.sends} arrays sent, {seen.waits} waits")

# %%
# about: which kernels round where
print(f"first loss {on_numpy[0]:.4f} and {on_device[0]:.4f}, last {on_numpy[-1]:.4f} and {on_device[-1]:.4f}")

# %% [markdown]
# With an NVIDIA GPU and CuPy the same program runs there: `with mg.use_backend("cupy"): …`, and `minigrad info` says whether
# it can. This notebook was built without one.
#
# Mixing the two is an error that names both:

# %%
a = mg.tensor([1.0, 2.0])
with mg.use_backend("strict"):
    b = mg.tensor([1.0, 2.0])
try:
    a + b
except TypeError as error:
    print(error)

# %% [markdown]
# ## Now you
#
# Six functions wait in `lessons/18_two_libraries/exercises.py`; `pytest lessons/18_two_libraries` checks each on both
# libraries. The last check trains one transformer on both with *your* functions inside.
