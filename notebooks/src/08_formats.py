# %% [markdown]
# # Floating-point formats and rounding
#
# A computer's number is a row of bits. This notebook takes such rows apart, shows where the numbers of a format lie, and
# rounds to them by hand. The formats are those in which models are trained: float32, bf16, fp16, and one small enough to
# see whole.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("08")

import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg

ORANGE, BLUE, GREEN = "#E69F00", "#0072B2", "#009E73"
FORMATS = {"fp32": (8, 23), "tf32": (8, 10), "bf16": (8, 7), "fp16": (5, 10), "fp8_e5m2": (5, 2)}

# %% [markdown]
# ## The same number in five formats
#
# 0.1 has no finite binary expansion, so every format keeps a different neighbor of it.

# %%
def fields(bits, e, m):
    return bits >> (e + m), (bits >> m) & (2 ** e - 1), bits & (2 ** m - 1)

def decode(sign, exponent, mantissa, e, m):
    bias = 2 ** (e - 1) - 1
    if exponent == 2 ** e - 1:
        size = np.inf if mantissa == 0 else np.nan
    elif exponent == 0:
        size = mantissa * 2.0 ** (1 - bias - m)
    else:
        size = (1 + mantissa / 2 ** m) * 2.0 ** (exponent - bias)
    return -size if sign else size

figure, ax = plt.subplots(figsize=(11, 3.1))
for row, (name, (e, m)) in enumerate(FORMATS.items()):
    bits = mg.amp.bits(0.1, name).replace(" ", "")
    value = decode(*fields(int(bits, 2), e, m), e, m)
    for i, bit in enumerate(bits):
        color = ORANGE if i == 0 else BLUE if i <= e else GREEN
        ax.add_patch(plt.Rectangle((i, -row), 0.92, 0.8, facecolor=color, alpha=0.3, edgecolor=color))
        ax.text(i + 0.46, 0.38 - row, bit, ha="center", va="center", fontsize=9)
    ax.text(-0.4, 0.38 - row, name, ha="right", va="center")
    ax.text(len(bits) + 0.3, 0.38 - row, f"{value:.10g}", va="center")
for x, text, color in ((0, "sign", ORANGE), (4.5, "exponent", BLUE), (18, "mantissa", GREEN)):
    ax.text(x + 0.46, 1.15, text, ha="center", color="black", bbox={"facecolor": color, "alpha": 0.3, "edgecolor": color, "pad": 2})
ax.set(xlim=(-5, 38), ylim=(-4.3, 1.7))
ax.axis("off")
lesson.show(figure, alt="Five rows of boxes, one per format, with the bits of 0.1 in them: one sign bit, then 8 or 5 exponent bits, then "
                        "23, 10, 7, 10 and 2 mantissa bits. Behind each row the number that these bits stand for: 0.1000000015 in "
                        "fp32, 0.09997558594 in tf32 and fp16, 0.1000976562 in bf16, 0.09375 in fp8_e5m2.")
for name, (e, m) in FORMATS.items():
    print(f"{name:9} {mg.amp.bits(0.1, name):36} = {decode(*fields(int(mg.amp.bits(0.1, name).replace(' ', ''), 2), e, m), e, m):.10g}")

# %% [markdown]
# ## All numbers of a small format
#
# With 3 exponent and 2 mantissa bits there are only 28 non-negative finite numbers. Decode them all.

# %%
e, m = 3, 2
numbers = [(decode(*fields(bits, e, m), e, m), fields(bits, e, m)[1]) for bits in range(2 ** (e + m))]
finite = [(v, power) for v, power in numbers if np.isfinite(v)]

figure, axes = plt.subplots(2, 1, figsize=(9, 3.2), height_ratios=[1, 1])
for ax, top in zip(axes, (14.5, 1.05)):
    for v, power in finite:
        if v <= top:
            ax.plot([v, v], [0, 1], marker="", linestyle="-", color=ORANGE if power == 0 else (BLUE, GREEN)[power % 2],
                    linewidth=3 if power == 0 else 1.5)
    ax.set(xlim=(-0.01 * top, top), yticks=[], ylim=(0, 1.5))
    ax.spines["left"].set_visible(False)
    for power in range(e * 2 + 1):
        group = [v for v, p in finite if p == power and v <= top]
        if len(group) == 4 and (group[-1] - group[0]) / top > 0.07:
            ax.text(sum(group) / 4, 1.1, "subnormal" if power == 0 else f"step {group[1] - group[0]:g}", ha="center", fontsize=9)
axes[0].set_title("from 0 to 14: the step doubles at every power of two", loc="left", fontsize=11)
axes[1].set_title("the same, close to 0: the thick ones are subnormal, in equal steps", loc="left", fontsize=11)
figure.tight_layout()
lesson.show(figure, alt="Two number lines with a stroke for each number of a six-bit format. From 0 to 14 the strokes thin out: four per "
                        "power of two, with steps 0.25, 0.5, 1 and 2. Near 0 the four subnormal ones go down to zero in equal "
                        "steps of 0.0625, with no gap before the first normal number, 0.25.")
print("around 1:", [v for v, _ in finite if 0.75 <= v <= 2])
print("largest:", max(v for v, _ in finite), "  smallest normal:", min(v for v, p in finite if p), "  smallest:", sorted(v for v, _ in finite)[1])

# %% [markdown]
# ## The step, over the whole range
#
# The step at $x$ is $2^{E-m}$, where $E$ is the exponent of $x$, and it does not shrink below the smallest exponent. Range
# (how far a line reaches) and precision (how low it lies) are two things.

# %%
def spacing(x, e, m):
    emin = 2 - 2 ** (e - 1)
    E = np.where(x == 0, emin, np.maximum(np.frexp(x)[1] - 1, emin))
    return 2.0 ** (E - m)

powers = np.arange(-40, 41)
rows = []
figure, ax = plt.subplots(figsize=(8, 4))
for name, color, line in (("fp32", "#000000", "-"), ("bf16", BLUE, "--"), ("fp16", "#D55E00", "-.")):
    e, m = FORMATS[name]
    emax = 2 ** (e - 1) - 1
    xs = powers[powers <= emax]
    steps = np.log2(spacing(2.0 ** xs, e, m))
    ax.step(xs, steps, where="post", marker="", color=color, linestyle=line, linewidth=2)
    ax.text(xs[-1] + 1, steps[-1] - 0.5, name if emax > 40 else "∞", color=color, fontsize=11 if emax > 40 else 15, va="center")
    rows += [{"format": name, "log2_x": int(x), "log2_step": float(s)} for x, s in zip(xs, steps)]
ax.text(-39, -22, "subnormals", color="#D55E00", fontsize=10)
ax.text(0, -14.5, "fp16", color="#D55E00")
ax.set(xlabel="log₂ of x", ylabel="log₂ of the step at x", xlim=(-41, 46))
lesson.show(figure, alt="The step against x, both as powers of two. fp32 and bf16 are straight staircases over the whole picture, bf16 sixteen "
                        "powers above fp32. fp16 lies three powers below bf16 between 2 to the minus 14 and 2 to the 15; below it is "
                        "flat at 2 to the minus 24, above it ends in infinity.", name="formats_step", data=rows)

# %% [markdown]
# ## Round to nearest even
#
# Count in steps, round to a whole number, count back. `np.rint` sends the middle to the even one. Between 2048 and 2056
# fp16 has steps of 2.

# %%
def round_even(x, step, largest):
    y = np.rint(x / step) * step
    return np.where(np.abs(y) > largest, np.copysign(np.inf, y), y)

def to_fp16(x):
    x = np.asarray(x, dtype=np.float64)
    return round_even(x, spacing(x, 5, 10), 65504.0)

x = np.linspace(2048, 2056, 801)
ties = np.arange(2049.0, 2056, 2)
figure, ax = plt.subplots(figsize=(6.5, 3.8))
ax.plot(x, x, color="#999999", marker="", linestyle=":", linewidth=1)
ax.step(x, to_fp16(x), where="mid", marker="", color=BLUE, linewidth=2)
ax.plot(ties, to_fp16(ties), linestyle="none", marker="o", color="#D55E00", markersize=8)
for t in ties:
    ax.annotate(f"{t:.0f} → {to_fp16(t):.0f}", (t, to_fp16(t)), xytext=(8, -14), textcoords="offset points", fontsize=9)
ax.set(xlabel="x", ylabel="x in fp16", yticks=range(2048, 2057, 2), xlim=(2048, 2057.2), ylim=(2047, 2056.6))
lesson.show(figure, alt="A staircase: x from 2048 to 2056 against its rounding to fp16. Four dots mark the exact middles: 2049 goes down to "
                        "2048, 2051 up to 2052, 2053 down to 2052, 2055 up to 2056, always to a multiple of four.")
for number in (2049, 2051, 65519, 65520, 2.0 ** -24, 2.0 ** -25, 1.0001):
    print(f"{number:<12.8g} → {float(to_fp16(number)):.8g}")

# %% [markdown]
# ## Relative error: where each format is good
#
# The largest error of rounding, relative to $x$, for random numbers in each power of two. For normal numbers it is at most
# $2^{-m-1}$. fp16 loses its precision bit by bit below $2^{-14}$, and everything below $2^{-25}$.

# %%
rng = np.random.default_rng(0)
rows = []
figure, ax = plt.subplots(figsize=(8, 3.8))
for name, color, line in (("bf16", BLUE, "--"), ("fp16", "#D55E00", "-.")):
    errors = []
    for power in range(-30, 16):
        x = (2.0 ** power * rng.uniform(1, 2, 2000)).astype(np.float32)
        x = x[x <= 65504]
        errors.append(float((abs(mg.amp.round_to(x, name) - x) / x).max()))
        rows.append({"format": name, "log2_x": power, "largest_relative_error": errors[-1]})
    ax.semilogy(range(-30, 16), errors, color=color, linestyle=line, base=2, markevery=4)
    ax.annotate(name, (5, errors[35]), xytext=(0, 6), textcoords="offset points", color=color)
ax.annotate("all of it lost", (-26, 1), xytext=(0, 6), textcoords="offset points", ha="center", color="#D55E00")
ax.set(xlabel="log₂ of x", ylabel="largest relative error", ylim=(2 ** -13, 4))
lesson.show(figure, alt="Largest relative rounding error against x. bf16 is flat at 2 to the minus 8. fp16 is flat at 2 to the minus 11 for "
                        "normal numbers, rises by one bit per power of two below 2 to the minus 14, and reaches 1, everything "
                        "lost, below 2 to the minus 25.", name="formats_error", data=rows)

# %% [markdown]
# ## bf16 with one addition
#
# bf16 is the upper half of float32. Add just under half a step, plus one if the last kept bit is 1, and cut: a carry runs
# into the exponent, exactly where it belongs.

# %%
def bf16_by_carry(x):
    u = x.view(np.uint32)
    y = (u + 0x7fff + ((u >> 16) & 1)) & 0xffff0000
    return np.where(np.isnan(x), x, y.view(np.float32))

def show_bits(x):
    text = f"{int(np.float32(x).view(np.uint32)):032b}"
    return f"{text[0]} {text[1:9]} {text[9:16]}|{text[16:]}"

for x in (1.00390625, 1.01171875, 1.9999, 0.1):
    x = np.float32(x)
    print(f"{x:<12.8g} {show_bits(x)}\n  →{float(bf16_by_carry(x[None])[0]):<9.8g} {show_bits(bf16_by_carry(x[None])[0])}")

# %% [markdown]
# The first two lines are ties: one stays, the other goes up, both to a pattern that ends in 0. In the third the carry
# changes the exponent.
#
# ## A sum that stops growing
#
# Add 1 again and again, rounding after each addition. When the step at the total is 2, adding 1 is a tie, and it goes back.

# %%
def running_sum(values, rounded):
    totals, total = [], 0.0
    for value in values:
        total = rounded(total + value)
        totals.append(total)
    return totals

one = lambda x, name: float(mg.amp.round_to(float(x), name))
sums = {name: running_sum([1.0] * 3000, lambda x: one(x, name)) for name in ("bf16", "fp16", "fp32")}
figure, ax = plt.subplots(figsize=(7, 3.6))
for name, line, color in (("fp32", "-", "#000000"), ("fp16", "-.", "#D55E00"), ("bf16", "--", BLUE)):
    ax.plot(sums[name], linestyle=line, color=color, marker="", linewidth=2)
    ax.annotate(f"{name}: {sums[name][-1]:.0f}", (3000, sums[name][-1]), xytext=(6, -4), textcoords="offset points", color=color,
                annotation_clip=False)
ax.set(xlabel="ones added", ylabel="total")
lesson.show(figure, alt="The total against the number of ones added. fp32 goes straight up to 3000, fp16 follows it and stays at 2048 for "
                        "ever, bf16 stays at 256.", name="formats_sum",
            data={"added": list(range(100, 3001, 100)), **{name: s[99::100] for name, s in sums.items()}})

# %% [markdown]
# That is why matrix products of narrow numbers are added up in float32, and why a mean over a large batch is too.
#
# ## The same in minigrad
#
# `mg.amp.round_to` rounds, `mg.amp.bits` shows, `mg.amp.finfo` knows the limits. Your formulas and the engine's tricks
# agree on every number tried:

# %%
x = (rng.normal(size=200_000) * 2.0 ** rng.integers(-30, 18, 200_000)).astype(np.float32)
with np.errstate(all="ignore"):
    print("fp16 numbers that differ:", int((to_fp16(x) != mg.amp.round_to(x, "fp16")).sum()), "of", x.size)
    print("bf16 numbers that differ:", int((bf16_by_carry(x) != mg.amp.round_to(x, "bf16")).sum()), "of", x.size)
for name in ("fp16", "bf16", "fp8_e4m3"):
    f = mg.amp.finfo(name)
    print(f"{name:9} largest {f.max:<12.6g} smallest normal {f.smallest_normal:<12.4g} smallest {f.smallest_subnormal:<12.4g} step at 1 {f.eps:g}")

# %% [markdown]
# A tensor can carry a format. The engine then rounds what every operation writes, forward and backward:

# %%
x = mg.tensor([2049.0, 0.1, 1e-8, 70000.0]).requires_grad_()
with np.errstate(over="ignore"):
    y = mg.amp.round_to(x, "fp16")
print(y.format, y.dtype, y.tolist())

# %% [markdown]
# ## Now you
#
# Six functions wait in `lessons/08_formats/exercises.py`; `pytest lessons/08_formats` checks them. The last check trains a
# transformer in fp16 and bf16 with *your* rounding. Next: lesson 09 keeps gradients out of the zone where fp16 loses them.
