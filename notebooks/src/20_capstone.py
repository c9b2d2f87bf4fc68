# %% [markdown]
# # Capstone: your model, your task, your adapter
#
# Everything at once. First a transformer in which every operation is a function of the lessons, yours where it is finished.
# Then a task of your own: the plural of nouns, spoken. A trained model gets an adapter for it, and at the end a question
# that children were asked in 1958.

# %%
import sys; sys.path[:0] = [".", ".."]
from notebooks.setup import start
lesson = start("20")

import pathlib
import tempfile
import matplotlib.pyplot as plt
import numpy as np
import minigrad as mg
from lessons import mine

# %% [markdown]
# ## A transformer made of the lessons
#
# `gather` takes each function from your `exercises.py` if it passes its checks, and from the solution if not. In the copy
# that you see on GitHub all are solutions; run the cell to see yours. `minigrad lessons train --mine` does the same in a
# terminal.

# %%
parts = mine.gather()
model, losses = mine.train(parts, steps=60)
plain, engines = mine.train(None, steps=60)
print(f"yours: {sum(p.yours for p in parts.values())} of {len(parts)}")
print("largest difference from the engine's own loss, in percent:", f"{100 * max(abs(a / b - 1) for a, b in zip(losses, engines)):.1f}")
print("it reads:", ", ".join(f"{w} = {' '.join(mine.read(model, parts, w))}" for w in ("bed", "clock", "flag", "red")))
print("loss on 20 words that it has not seen:", f"{mine.loss_on(model, parts, mine.examples(mine.OTHERS)):.2f}")

# %%
order = sorted(parts.values(), key=lambda p: p.exercise.id)
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 5), width_ratios=[1, 1.25])
left.plot(engines, color="C1", linewidth=5, alpha=0.4, marker="", linestyle="-")
left.plot(losses, color="C0", markevery=6, linestyle="none")
left.annotate("line: the engine's own operations", (6, 3.9))
left.annotate("dots: the lessons' functions", (6, 3.6))
left.set(xlabel="step", ylabel="loss, nats per symbol", ylim=(0, None))
places = np.arange(len(order))[::-1]
right.barh(places, [p.count for p in order], color=["C2" if p.yours else "C0" for p in order],
           hatch=["//" if p.yours else "" for p in order])
right.set_yticks(places, [f"{p.exercise.id} {p.exercise.name}" for p in order], fontsize=9)
for y, p in zip(places, order):
    right.annotate(f"{p.count:,}" + (" yours" if p.yours else ""), (p.count, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
right.set(xscale="log", xlabel="calls inside the engine", xlim=(1, 6000))
figure.tight_layout()
lesson.show(figure, alt="Left: the loss of a transformer made of the lessons' functions lies on the loss of the engine's own, from 4.4 down to 0.3. "
                        "Right: how often each of 21 functions was called, from a few times for greedy to several hundred times for "
                        "linear layers, heads and norms.",
            name="capstone_training", data={"step": list(range(60)), "lessons": losses, "engine": engines})

# %% [markdown]
# ## A task of your own
#
# The rule has three cases, and only the last sound matters. The file has a row per word.

# %%
ex = lesson.ex
for word, sounds in (("cat", "K AE T"), ("dog", "D AO G"), ("horse", "HH AO R S"), ("tree", "T R IY")):
    print(f"{word:6} {sounds:10} -> {' '.join(ex.plural(sounds.split()))}")

folder = pathlib.Path(tempfile.mkdtemp())
pronounce = mg.tasks.get("pronounce")
nouns = [(w, [ex.plural(a) for a in answers]) for w, answers in pronounce.examples("adapt") if len(w) <= 5]
(folder / "plural.tsv").write_text(ex.task_file(nouns))
task = mg.tasks.get(folder / "plural.tsv")
print({split: len(task.examples(split)) for split in task.splits}, "for example", task.examples("adapt")[0])

# %% [markdown]
# ## Floor and ceiling
#
# Before training anything: what would be easy, and what is possible? The floor is the base's reading with a Z behind it. The
# ceiling is the right ending behind the base's reading: what it misreads, no ending can put right. (An adapter that also
# reads better than the base could pass it.)

# %%
base, tokenizer = mg.pretrained.load()
validation, test = task.examples("validation")[:90], task.examples("test")[:90]
read_by_base = {w: p for split in (validation, test) for (w, _), p in zip(split, mg.training.predict(base, tokenizer, [w for w, _ in split]))}

def share(answer, examples):
    return ex.words_right([answer(read_by_base[w]) for w, _ in examples], [a for _, a in examples])

floor, ceiling = share(lambda sounds: [*sounds, "Z"], validation), share(ex.plural, validation)
print(f"validation: the base says no plural at all, {share(lambda sounds: sounds, validation):.2f}; always Z {floor:.2f}; the rule on what it reads {ceiling:.2f}")

# %% [markdown]
# ## Adapters
#
# LoRA on W_q and W_v with three ranks and two seeds each, 25 steps of 24 words. The step is yours, the scores are yours, the
# choice is yours: on validation, with the test set closed.

# %%
def teach(rank, seed, steps=25, watch=()):
    adapted = mg.peft.apply(base, mg.peft.LoRA(rank=rank, alpha=2 * rank), rng=np.random.default_rng(seed))
    weights, seen = list(adapted.trainable_parameters()), {}
    optimizer = mg.optim.AdamW(weights, lr=6e-3)
    schedule = mg.optim.CosineWithWarmup(optimizer, warmup=3, total=steps)
    batches = mg.tasks.Batches(mg.tasks.encode_examples(tokenizer, task.examples("adapt")), 24, rng=seed).forever()
    for step in range(steps + 1):
        if step in watch:
            seen[step] = mg.training.predict(adapted, tokenizer, [w for w, _ in validation])
        if step < steps:
            batch = next(batches)
            ex.training_step(lambda: mg.training.loss_on(adapted, batch), weights, optimizer,
                             lambda weights: mg.optim.clip_grad_norm_(weights, 1.0))
            schedule.step()
    return adapted, seen

def score(adapted, examples):
    return ex.words_right(mg.training.predict(adapted, tokenizer, [w for w, _ in examples]), [a for _, a in examples])

trials = []
for rank in (1, 2, 8):
    for seed in (0, 1):
        adapted, _ = teach(rank, seed)
        trials.append({"rank": rank, "seed": seed, "trained": sum(w.size for w in adapted.trainable_parameters()),
                       "validation": score(adapted, validation), "test": None})

figure, ax = plt.subplots(figsize=(7, 3.5))
ranks = sorted({t["rank"] for t in trials})
ax.plot(ranks, [np.mean([t["validation"] for t in trials if t["rank"] == r]) for r in ranks])
ax.plot([t["rank"] for t in trials], [t["validation"] for t in trials], color="C0", marker="_", linestyle="none", markersize=12)
for y, name in ((floor, "floor: what the base reads, plus Z"), (ceiling, "ceiling: what the base reads, plus the rule")):
    ax.axhline(y, color="#666666", marker="", linestyle="--")
    ax.annotate(name, (0.95, y), xytext=(0, 4), textcoords="offset points")
ax.set_xscale("log", base=2)
ax.set_xticks(ranks, ranks)
ax.set(xlabel="rank", ylabel="share of 90 validation words right", ylim=(0, 1), xlim=(0.9, 8.6))
lesson.show(figure, alt="The share of validation words whose plural is right for LoRA of rank 1, 2 and 8, the mean of two seeds with the single runs as "
                        "dashes, between two dashed lines: the floor of always adding Z and the ceiling of the rule.",
            name="capstone_ranks", data=[{k: t[k] for k in ("rank", "seed", "trained", "validation")} for t in trials])

# %%
# may differ: short trainings, few words
chosen = ex.best(trials)
print(f"chosen: rank {chosen['rank']}, seed {chosen['seed']}, {chosen['trained']:,} numbers, validation {chosen['validation']:.2f}")

# %% [markdown]
# ## In which order is the rule learned?
#
# The chosen setting, trained three times as long, and looked at on the way. For each validation word: is the answer the base's
# own reading with the right ending? Split by the ending that is needed.

# %%
watch = (0, 5, 10, 15, 20, 30, 45, 75)
adapter, story = teach(chosen["rank"], chosen["seed"], steps=75, watch=watch)

def ending(word):
    return " ".join(ex.plural(read_by_base[word])[len(read_by_base[word]):])

rows = []
figure, ax = plt.subplots(figsize=(7.5, 3.6))
for i, kind in enumerate(("Z", "S", "IH Z")):
    members = [n for n, (w, _) in enumerate(validation) if ending(w) == kind]
    line = [float(np.mean([story[s][n] == ex.plural(read_by_base[validation[n][0]]) for n in members])) for s in watch]
    ax.plot(watch, line)
    ax.annotate(f"{kind} ({len(members)} words)", (75, line[-1]), xytext=(8, (-4, -4, -4)[i]), textcoords="offset points", annotation_clip=False)
    rows += [{"ending": kind, "words": len(members), "step": s, "share": v} for s, v in zip(watch, line)]
ax.set(xlabel="steps of 24 words", ylabel="rule applied to what it reads", ylim=(0, 1), xlim=(0, 94), xticks=range(0, 76, 15))
lesson.show(figure, alt="Three rising curves over 75 steps, for words that need Z, S and IH Z. All are at zero for the first five steps. Z and S rise "
                        "steeply together; IH Z, which takes two symbols, follows more slowly.", name="capstone_order", data=rows)

# %%
# may differ: few words
print(f"validation {score(adapter, validation):.2f}, and the test set, asked once: {score(adapter, test):.2f}   "
      f"(there the floor is {share(lambda s: [*s, 'Z'], test):.2f}, the ceiling {share(ex.plural, test):.2f})")

# %% [markdown]
# ## The wug test
#
# In 1958 Jean Berko showed children a drawing of an invented animal. "This is a wug. Now there are two of them. There are two
# …?" Whoever answers has no list to look the word up in. None of these words is in the dictionary that the model was trained on.

# %%
# may differ: what the adapter says
invented = ["wug", "gutch", "kazh", "niz", "heaf", "blicket", "spow", "zib", "fep", "lorp", "smeek", "tarsh"]
known = set(mg.tasks.dictionary.words())
invented = [w for w in invented if w not in known]
singular = mg.training.predict(base, tokenizer, invented)
last = [answers[0][-1] for w, answers in ((w, pronounce.accepted(w)) for w, _ in task.examples("adapt"))]
print("the last column: how many of the examples end in the same sound")
for word, one, two in zip(invented, singular, mg.training.predict(adapter, tokenizer, invented)):
    print(f"one {word:8} {' '.join(one):18} two {' '.join(two):22} {'by the rule' if two == ex.plural(one) else 'not by the rule':16}"
          f"{one[-1]:>3} {last.count(one[-1]):4}")

# %% [markdown]
# ## Keep it
#
# An adapter is a small file beside a large one. Loaded again it gives the same answers.

# %%
adapter.save(folder / "adapter")
again, words = mg.peft.load(base, folder / "adapter"), [w for w, _ in test[:20]]
print("the same answers from the file:", mg.training.predict(again, tokenizer, words) == mg.training.predict(adapter, tokenizer, words))

# %%
# may differ: with the rank that was chosen
size = sum(f.stat().st_size for f in (folder / "adapter").glob("*.safetensors"))
print(f"the adapter takes {size / 1024:.0f} kB, the model {4 * sum(p.size for p in base.parameters()) / 1024:,.0f} kB")

# %% [markdown]
# ## Now you
#
# Five functions wait in `lessons/20_capstone/exercises.py`. Then put a rule of your own in the place of `plural`: the README
# says how to make it a task file and which five commands do the rest.
