# %% [markdown]
# # Side by side
#
# Four lessons, four ways to fine-tune. Which is best? This notebook compares them so that the answer means something: what
# is scored, how sure one can be, who chose the learning rate, and how much each method trains. Then it makes the comparison
# and the rank curve again while you watch, and holds the new numbers against the recorded ones.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("16")

import csv
import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg
from notebooks.setup import COLORS, FIGURES, MARKERS, ROOT
ex = lesson.ex

def table(path):
    """A CSV as a list of dicts, numbers as numbers."""
    with open(path, encoding="utf-8") as file:
        return [{k: v if k in ("task", "method") else float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)]

METHODS = ("full", "topk", "adapter", "prefix", "lora")
STYLE = {name: {"color": COLORS[i], "marker": MARKERS[i]} for i, name in enumerate(METHODS)}

# %% [markdown]
# ## What is scored
#
# The base model reads words aloud; the new task is `rhyme`, the sounds from the last stressed vowel on. A word is right if
# every sound is; for the rest, count how many edits it is away. The table below is how that is counted: each cell is the
# distance of two beginnings, and comes from its neighbour above (delete), to the left (insert) or both (keep or replace).

# %%
base, tokenizer = mg.pretrained.load()
said, right = "R AE T L IH NG".split(), "AE T AH L IH NG".split()
D = np.array([[ex.edit_distance(said[:i], right[:j]) for j in range(len(right) + 1)] for i in range(len(said) + 1)])
i, j, path = len(said), len(right), [(len(said), len(right))]
while i or j:                                                   # back along a cheapest way
    steps = [(a, b) for a, b in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if a >= 0 and b >= 0]
    i, j = min((s for s in steps if D[s] + (s != (i - 1, j - 1) or said[i - 1] != right[j - 1]) == D[i, j]), key=lambda s: D[s])
    path.append((i, j))
figure, ax = plt.subplots(figsize=(5.2, 4))
ax.imshow(D, cmap="cividis", alpha=0.55)
for i in range(D.shape[0]):
    for j in range(D.shape[1]):
        ax.annotate(str(D[i, j]), (j, i), ha="center", va="center", fontweight="bold" if (i, j) in path else "normal")
ax.plot([b for _, b in path], [a for a, _ in path], color="#D55E00", marker="", linewidth=12, alpha=0.35, solid_capstyle="round")
ax.set_xticks(range(len(right) + 1), ["", *right])
ax.set_yticks(range(len(said) + 1), ["", *said])
ax.xaxis.tick_top()
ax.set(ylabel="what the model said", title="what is right")
lesson.show(figure, alt="A table of edit distances between R AE T L IH NG and AE T AH L IH NG. A marked way leads from the upper left to the lower right over one "
                        "deletion and one insertion, to the distance 2.")

# %% [markdown]
# ## How sure is a mean of three?
#
# Each run has another seed, so other words, another order, other starting weights. With few runs, the spread itself is hardly
# known, and Student's t makes up for it: 4.3 instead of 1.96 for three runs. Let chance play: runs drawn around a true value
# of 45 %, in samples of three, and an interval around each mean.

# %%
rng = np.random.default_rng(2)
samples = 45 + 2 * rng.normal(size=(5000, 3))
t_caught = normal_caught = 0
for sample in samples:
    mean, half, _ = ex.interval(list(sample))
    t_caught += abs(mean - 45) <= half
    normal_caught += abs(mean - 45) <= 1.96 * sample.std(ddof=1) / np.sqrt(3)
figure, ax = plt.subplots(figsize=(8, 3.2))
for k, sample in enumerate(samples[:40]):
    mean, half, _ = ex.interval(list(sample))
    missed = abs(mean - 45) > half
    ax.plot([k, k], [mean - half, mean + half], color="#D55E00" if missed else "#0072B2", marker="", linestyle="-", linewidth=3 if missed else 1.2)
    ax.plot([k] * 3, sample, linestyle="none", marker="o", color="#666666", markersize=2.5)
ax.axhline(45, color="black", marker="", linestyle="--", linewidth=1)
ax.set(xlabel="40 experiments of three runs", ylabel="words right, %", xticks=[])
lesson.show(figure, alt="Forty vertical intervals around the means of three runs each, of very different lengths, against a dashed line at the true value of 45 percent. "
                        "Nearly all cross the line; one or two, drawn thick, miss it.")
print(f"of 5,000 such intervals {t_caught / 5000:.0%} contain the truth; with 1.96 in place of t only {normal_caught / 5000:.0%} do")

# %% [markdown]
# ## Choosing a learning rate honestly
#
# Every method needs its own. They were chosen on *validation* words, from a grid (`figures/lr_grid.csv`, two seeds):

# %%
grid = table(ROOT / "figures" / "lr_grid.csv")
figure, ax = plt.subplots(figsize=(8, 3.8))
for name in METHODS:
    rates = sorted({r["lr"] for r in grid if r["method"] == name})
    means = [100 * np.mean([r["acc_validation"] for r in grid if r["method"] == name and r["lr"] == rate]) for rate in rates]
    ax.plot(rates, means, **STYLE[name])
    ax.annotate(name, (rates[-1], means[-1]), xytext=(6, -4), textcoords="offset points")
ax.set(xscale="log", xlabel="learning rate", ylabel="validation words right, %", ylim=(0, None), xlim=(1.8e-4, 0.7))
lesson.show(figure, alt="Validation words right against the learning rate on a logarithmic axis, a line for each of five methods. Full fine-tuning is best near 0.0005, "
                        "adapters and LoRA near 0.008, prefixes near 0.16; each line falls off at both sides, but top-K's ends at its "
                        "highest point.")
for name in METHODS:
    scores = {}
    for r in grid:
        if r["method"] == name:
            scores.setdefault(r["lr"], []).append(r["acc_validation"])
    try:
        print(f"{name:8} {ex.choose_rate(scores):g}")
    except ValueError as error:
        print(f"{name:8} {error}")

# %% [markdown]
# One learning rate for all would have crowned whoever it suits. And the strict rule finds a weak spot of the recorded
# evidence: top-K's grid ends at its best rate. (Its curve is flat there: 0.002 scores the same to within a point.)
#
# Why not choose on the test words? Because the best of several noisy scores is too good. Five rates that are all equally good
# (45 %), scored on 500 words each:

# %%
best_of_five = rng.binomial(500, 0.45, size=(5000, 5)).max(axis=1) / 500
print(f"the best of the five reports {best_of_five.mean():.1%} on average, although each is worth 45 %")

# %% [markdown]
# ## The comparison, recorded and live
#
# The recorded comparison: five seeds, 375 steps, all 1,998 test words (`figures/compare.csv`). A
# notebook has less time, so there is a second record of the same runs at a tenth of the size, with eight seeds
# (`figures/lessons/reduced.csv`, made by `python -m notebooks.reduced`). Here the notebook makes the runs of a ninth seed, which
# no table contains: 40 steps, 250 words. In the picture: the mean with its interval, below it the single seeds, as a pale
# bar the interval of one more run, and as a star the run made just now.

# %%
from minigrad.experiments.adaptation import perform
from notebooks import reduced

live = [perform(run)["row"] for run in reduced.methods(seed=8)]

# %%
recorded = {"full size": table(ROOT / "figures" / "compare.csv"), "reduced": [r for r in table(FIGURES / "reduced.csv") if r["lr"] in {x["lr"] for x in live}
                                                                              and r["rank"] in (None, 8)]}
def points(rows, method):
    return [100 * r["acc"] for r in sorted(rows, key=lambda r: r["seed"]) if r["method"] == method]

figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)
for ax, (size, rows) in zip(axes, recorded.items()):
    for y, name in enumerate(METHODS[::-1]):
        values = points(rows, name)
        mean, half, one_more = ex.interval(values)
        ax.plot([mean - one_more, mean + one_more], [y, y], color=STYLE[name]["color"], marker="", linestyle="-", linewidth=9, alpha=0.2)
        ax.errorbar(mean, y, xerr=half, **STYLE[name], capsize=4, linestyle="none")
        ax.plot(values, [y - 0.25] * len(values), linestyle="none", color=STYLE[name]["color"], marker="|")
        if size == "reduced":
            ax.plot(100 * next(r["acc"] for r in live if r["method"] == name), y, linestyle="none", marker="*", color="black", markersize=11, zorder=5)
    ax.set(title=f"{size}, {len(values)} seeds" + ("; ★ live" if size == "reduced" else ""), xlabel="words right, %", xlim=(0, None),
           ylim=(-0.5, 4.5))
axes[0].set_yticks(range(5), METHODS[::-1])
lesson.show(figure, alt="Two panels of words right for full, top-K, adapter, prefix and LoRA: mean with its interval, a broad pale bar for one more run, and single seeds. "
                        "Left the recorded comparison at full size, right the reduced one, with a star for the run just made: the stars lie on "
                        "their pale bars, top-K's at the very end. Full fine-tuning leads at full size, the adapter in the reduced runs; the others keep their order.",
            name="side_by_side", data=[{"method": r["method"], "seed": 8, "trained": r["trainable"], "words_right": r["acc"]} for r in live])

# %%
# about: a live run
distances = []                                                  # from the mean, in half widths of the interval of one more run
for r in live:
    mean, half, one_more = ex.interval(points(recorded["reduced"], r["method"]))
    distances.append(abs(100 * r["acc"] - mean) / one_more)
    print(f"{r['method']:8} recorded {mean:4.1f} ± {half:3.1f} (one more run ± {one_more:3.1f})   live {100 * r['acc']:4.1f}")

# %% [markdown]
# ## The differences, seed by seed
#
# All methods saw the same words with the same seed. What a seed does to both alike cancels in the difference.

# %%
by_seed = lambda rows, name: {int(r["seed"]): 100 * r["acc"] for r in rows if r["method"] == name}
print("full size, five seeds, in points:")
for a, b in (("full", "adapter"), ("adapter", "lora"), ("lora", "topk"), ("topk", "prefix")):
    A, B = by_seed(recorded["full size"], a), by_seed(recorded["full size"], b)
    mean, half = ex.paired(A, B)
    apart = np.hypot(ex.interval(list(A.values()))[1], ex.interval(list(B.values()))[1])
    print(f"{a:8} − {b:8} {mean:5.1f} ± {half:.1f}   (unpaired ± {apart:.1f})")

# %% [markdown]
# All four differences are real: none of the intervals contains zero. Pairing narrows the interval only if the seeds' luck is
# shared: for adapter and LoRA it does, for full and adapter it does not.
#
# ## At equal budget
#
# These were the methods at their usual sizes, from 8,192 trained numbers to 822,016. With the same budget for each:

# %%
rank, bottleneck, length = ex.equal_budget(16_384, d=128, n_layers=4)
for method, size in ((mg.peft.LoRA(rank=rank), f"rank {rank}"), (mg.peft.Adapter(bottleneck=bottleneck), f"bottleneck {bottleneck}"),
                     (mg.peft.PrefixTuning(length=length), f"length {length}")):
    print(f"{method.count(base.config):7,d} numbers: {method.name}, {size}")

curve = table(ROOT / "figures" / "accuracy_vs_parameters.csv")
figure, ax = plt.subplots(figsize=(8, 3.8))
for name in METHODS:
    sizes = sorted({r["trainable"] for r in curve if r["method"] == name})
    means = [100 * np.mean([r["acc"] for r in curve if r["method"] == name and r["trainable"] == n]) for n in sizes]
    ax.plot(sizes, means, **STYLE[name])
    ax.annotate(name, (sizes[-1], means[-1]), xytext=(0, 9), textcoords="offset points", ha="center")
ax.axvline(16_384, color="#666666", marker="", linestyle="--", linewidth=1)
ax.annotate("16,384", (16_384, 31), xytext=(4, 0), textcoords="offset points")
ax.set(xscale="log", xlabel="numbers trained", ylabel="words right, %", ylim=(25, 57), xlim=(1.5e3, 1.6e6))
lesson.show(figure, alt="Words right against the numbers trained, on a logarithmic axis. LoRA's line rises with its rank and falls back at the last; the adapter's point lies above it, "
                        "the prefix's below, top-K far to the right and lower, full fine-tuning highest and farthest to the right.")

# %% [markdown]
# ## The rank curve, recorded and live
#
# How much does LoRA's rank matter? At full size little from rank 8 on; after 40 steps a great deal, because small ranks have
# not got far by then. A rank curve belongs to a number of steps.

# %%
live_ranks = [perform(run)["row"] for run in reduced.ranks(seed=8)]

# %%
sweep = {"full size": [r for r in table(ROOT / "figures" / "rank_vs_accuracy.csv") if r["method"] == "lora"],
         "reduced": [r for r in table(FIGURES / "reduced.csv") if r["method"] == "lora" and r["lr"] == live_ranks[0]["lr"]]}
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)
for ax, (size, rows) in zip(axes, sweep.items()):
    ranks = sorted({int(r["rank"]) for r in rows})
    groups = [[100 * r["acc"] for r in rows if r["rank"] == rank] for rank in ranks]
    ax.errorbar(ranks, [np.mean(g) for g in groups], yerr=[ex.interval(g)[1] for g in groups], capsize=4, color="#0072B2", marker="o", linestyle="-")
    for rank, g in zip(ranks, groups):
        ax.plot([rank * 0.88] * len(g), g, linestyle="none", marker="o", markersize=3, markerfacecolor="none", color="#0072B2")
    if size == "reduced":
        ax.plot([r["rank"] * 1.15 for r in live_ranks], [100 * r["acc"] for r in live_ranks], linestyle="none", marker="*", color="black", markersize=10)
    ax.set_xscale("log", base=2)
    ax.set_xticks(ranks, ranks)
    ax.set(title=f"{size}, {len(groups[0])} seeds" + ("; ★ live" if size == "reduced" else ""), xlabel="LoRA's rank", ylim=(0, 55))
axes[0].set_ylabel("words right, %")
lesson.show(figure, alt="Two panels of words right against LoRA's rank on base-2 logarithmic axes, mean with interval and single seeds. At full size the curve rises steeply from "
                        "rank 1 to 2, then slowly to 64, and falls at 128. In the reduced runs it is low for ranks 1 and 4 and rises at "
                        "16. Stars mark the live runs, among the recorded seeds.",
            name="side_by_side_ranks", data=[{"rank": r["rank"], "seed": 8, "words_right": r["acc"]} for r in live_ranks])

# %%
# about: a live run
for r in live_ranks:
    mean, half, one_more = ex.interval([100 * row["acc"] for row in sweep["reduced"] if row["rank"] == r["rank"]])
    distances.append(abs(100 * r["acc"] - mean) / one_more)
    print(f"rank {r['rank']:2}  recorded {mean:4.1f} ± {half:3.1f} (one more run ± {one_more:3.1f})   live {100 * r['acc']:4.1f}")

# %% [markdown]
# ## Eight looks at once
#
# Does the record hold? Each live run lies in its interval with 95 %. But eight were made, and the chance that at least one falls
# out by luck is 1 − 0.95⁸ = 34 %. Who wants all eight inside with 95 % has to ask each with a level of 1 − 0.05/8, that is, with
# a larger t.

# %%
# about: live runs
from minigrad.experiments.statistics import t_quantile
wider = t_quantile(1 - 0.025 / 8, 7) / t_quantile(0.975, 7)
print(f"each for itself:    {sum(d <= 1 for d in distances)} of 8 inside")
print(f"all eight at once:  {sum(d <= wider for d in distances)} of 8 inside intervals {wider:.2f} times as wide")

# %% [markdown]
# ## One run at full size
#
# So the reduced record holds. To see whether the large one does, here is one of its runs at full length: LoRA of
# rank 8, 375 steps, with the seed 0 of `figures/compare.csv`, scored on the first 400 of the 1,998 test words. Fewer words add an
# uncertainty of their own, √(p(1 − p)/n).

# %%
from minigrad.experiments.adaptation import Run
row = next(r for r in recorded["full size"] if r["method"] == "lora" and r["seed"] == 0)
again = perform(Run(task="rhyme", method="lora", seed=0, lr=row["lr"], examples=4000, epochs=3, words=400))["row"]

# %%
# about: a live run
mean, half, one_more = ex.interval(points(recorded["full size"], "lora"))
words = 1.96 * 100 * np.sqrt(mean / 100 * (1 - mean / 100) / 400)
print(f"recorded, five seeds: {mean:.1f} ± {half:.1f}; this seed, 1,998 words: {100 * row['acc']:.1f}")
print(f"live, this seed, 400 words: {100 * again['acc']:.1f}; expected within ± {np.hypot(one_more, words):.1f} of {mean:.1f}:",
      bool(abs(100 * again["acc"] - mean) <= np.hypot(one_more, words)))

# %% [markdown]
# ## What to conclude
#
# On this task, with this model and 375 steps: full fine-tuning is best; adapters come within three points of it with 4 % of the
# numbers; LoRA is four points behind adapters with half as many. Adapters cost time for ever, merged LoRA costs none. Training
# the top half of the model is worse than either. After 40 steps the adapter leads. On another task the order may differ again
# (`figures/accent/compare.csv`: there adapters are level with full fine-tuning). A comparison says what was compared.
#
# ## Now you
#
# `lessons/16_side_by_side/exercises.py` and `pytest lessons/16_side_by_side`: six functions, and at the end they judge models that
# you trained at equal budget. For comparisons of your own: `minigrad compare --help`.
