"""`minigrad experiments intrinsic`: how few numbers are enough? d₉₀ of the base model and of a small classifier.

d₉₀ is the smallest number of trained directions that reaches nine tenths of full fine-tuning's score, each start measured
by its own full fine-tuning. Scored is the share of answer symbols that are right after the true ones before them: on whole
words a model that starts at random would have no score to take nine tenths of.
"""
from __future__ import annotations

from dataclasses import dataclass, replace

import minigrad as mg
from minigrad import peft, tasks, training
from minigrad.backend import host
from minigrad.experiments import intrinsic_classifier as small
from minigrad.experiments.adaptation import adaptation_batches, base_model, examples_of, task_called
from minigrad.experiments.figure import draw_points, new_figure, percent, reference_line
from minigrad.experiments.study import Finding, Study, matching, mean
from minigrad.peft.projection import KINDS
from minigrad.tasks import IGNORE

DIMENSIONS = {"reader": (64, 256, 1024, 4096), "classifier": (64, 256, 1024, 2048)}
STEPS, SCORED = 80, 300                             # of the reader; the classifier has its own
STARTS = ("pretrained", "random")
# Learning rates tried for each start and method, in the middle of the dimensions with another seed; the best is used.
RATES = {"reader": {"full": (5e-4, 2e-3), "did": (0.1, 0.3), "said": (0.1, 0.3)},
         "classifier": {"full": (3e-3, 1e-2), "did": (0.03, 0.1, 0.3)}}
COLUMNS = ("model", "start", "method", "projection", "dimension", "of", "seed", "steps", "lr", "score")


@dataclass(frozen=True)
class Cell:
    """One training run on a plane of `dimension` directions (0: all weights, full fine-tuning)."""

    model: str
    start: str
    method: str
    seed: int = 0
    lr: float = 0.0
    dimension: int = 0
    projection: str = "fastfood"
    base: str = "reader"
    task: str = "rhyme"
    examples: int = 1280
    steps: int = STEPS
    split: str = "test"

    @property
    def name(self) -> str:
        """What tells this run from the others."""
        plane = f" d={self.dimension} {self.projection}" if self.dimension else ""
        return f"{self.model} {self.start} {self.method}{plane} lr={self.lr:g} seed={self.seed} {self.split}"

    @property
    def work(self) -> float:
        """In steps of the reader."""
        return self.steps * (0.1 if self.model == "classifier" else 3.0 if self.dimension else 1.0)

    def create(self):
        """The method."""
        options = {"dimension": self.dimension, "projection": self.projection, "seed": self.seed}
        return peft.create(self.method, **(options if self.dimension else {}))


def intrinsic(dimensions=DIMENSIONS, steps: int = STEPS, **options) -> list[dict]:
    """DID and SAID on the reader (Fastfood) and on the classifier (dense, sparse, Fastfood), each from a pretrained and a
    random start; writes intrinsic.{csv,png,json}. options: Study's; its epochs and words are not used.
    """
    study = Study("intrinsic", **options)
    reader = {"model": "reader", "steps": steps, **{key: study.shared[key] for key in ("base", "task", "examples")}}
    classifier = {"model": "classifier", "steps": small.STEPS}
    kinds = [Cell(method="full", start=start, **which) for which in (reader, classifier) for start in STARTS]
    kinds += [Cell(method=method, start=start, **reader) for start in STARTS for method in ("did", "said")]
    kinds += [Cell(method="did", start=start, projection=p, **classifier) for start in STARTS for p in KINDS]

    def sizes(kind):
        return (0,) if kind.method == "full" else dimensions[kind.model]

    settings, other = {"dimensions": dimensions, "steps": steps}, max(study.seeds) + 1
    tried = {kind: [replace(kind, lr=lr, seed=other, dimension=sizes(kind)[len(sizes(kind)) // 2], split="validation")
                    for lr in RATES[kind.model][kind.method]] for kind in kinds}
    scores = study.run([cell for cells in tried.values() for cell in cells], perform=measure, **settings)
    scores = iter(row["score"] for row in scores)
    rates = {kind: max((next(scores), cell.lr) for cell in cells)[1] for kind, cells in tried.items()}
    cells = [replace(kind, lr=rates[kind], seed=seed, dimension=d)
             for kind in kinds for d in sizes(kind) for seed in study.seeds]
    rows = [{**{key: getattr(c, key) for key in COLUMNS[:8] if key != "of"}, "lr": c.lr, **row}
            for c, row in zip(cells, study.run(cells, perform=measure, **settings), strict=True)]
    for row in rows:
        row["projection"], row["dimension"] = (row["projection"], row["dimension"]) if row["dimension"] else (None, None)
    return study.write(rows, COLUMNS, draw(rows), findings(rows), {
        "d90": {" ".join(key): d90(rows, *key) for key in kinds_of(rows)},
        "rates": {"tried": RATES, "chosen": {kind.name: lr for kind, lr in rates.items()},
                  "how": f"on validation words at seed {other}, in the middle of the dimensions"}})


def measure(cell: Cell, tick=lambda work: None) -> dict:
    """Train and score one cell."""
    if cell.model == "classifier":
        found = small.data()
        model = small.start(cell.start, cell.seed)
        adapted = peft.apply(model, cell.create())
        small.train(adapted, found["train"], cell.lr, cell.steps, cell.seed, tick=lambda _: tick(0.1))
        return {"row": {"of": model.num_parameters(), "score": small.score(adapted, found[cell.split])}}
    base, tokenizer = base_model(cell.base)
    task = task_called(cell.task)
    task.add_symbols(tokenizer)
    host.manual_seed(cell.seed)
    model = base if cell.start == "pretrained" else type(base)(base.config)
    adapted = peft.apply(model, cell.create())
    batches = adaptation_batches(tokenizer, task, cell.examples, 32, cell.seed, model.config.context)
    result = training.fit(adapted, batches, steps=cell.steps, lr=cell.lr,
                          on_step=lambda *_: tick(3.0 if cell.dimension else 1.0))
    if result.interrupted:
        raise KeyboardInterrupt
    adapted.merge()
    words = tasks.encode_examples(tokenizer, examples_of(task, cell.split)[:SCORED])
    return {"row": {"of": model.num_parameters(), "score": symbols_right(adapted, words, tokenizer.pad_id)}}


def symbols_right(model, sequences, pad_id: int) -> float:
    """The share of answer symbols (END among them) that are most likely after the true ones before them."""
    right = total = 0
    with mg.no_grad():
        for batch in tasks.Batches(sequences, 64, shuffle=False, pad_id=pad_id):
            said, counts = mg.to_numpy(model(batch.ids)).argmax(axis=2), batch.targets != IGNORE        # (B, T, V) -> (B, T)
            right, total = right + int((said == batch.targets)[counts].sum()), total + int(counts.sum())
    return right / total


def kinds_of(rows) -> list[tuple]:
    """(model, start, method, projection) of everything that was trained on planes."""
    return list(dict.fromkeys((r["model"], r["start"], r["method"], r["projection"]) for r in rows if r["method"] != "full"))


def d90(rows, model: str, start: str, method: str, projection: str) -> int | None:
    """The smallest dimension with nine tenths of the mean score of full fine-tuning from the same start, or None."""
    mine = matching(rows, model=model, start=start, method=method, projection=projection)
    full = mean(rows, "score", model=model, start=start, method="full")
    return peft.d90(lambda d: mean(mine, "score", dimension=d), full, sorted({row["dimension"] for row in mine}))


def findings(rows) -> list[Finding]:
    """Whether a pretrained start needs fewer directions, and whether the three projections agree."""
    found = []
    of = {key: d90(rows, *key) for key in kinds_of(rows)}
    largest = {model: max(r["dimension"] or 0 for r in matching(rows, model=model)) for model in {r["model"] for r in rows}}

    def said(key):
        return f"{of[key]:,}" if of[key] else f"above {largest[key[0]]:,}"

    for model, method in (("reader", "did"), ("reader", "said"), ("classifier", "did")):
        two = [(model, start, method, "fastfood") for start in STARTS]
        if all(key in of for key in two):
            a, b = (of[key] or float("inf") for key in two)
            found.append(Finding(f"a pretrained {model} needs fewer directions than a random one ({method.upper()})", a < b,
                                 f"d₉₀ {said(two[0])} against {said(two[1])}; full fine-tuning reaches "
                                 f"{percent(mean(rows, 'score', model=model, start=STARTS[0], method='full'))} and "
                                 f"{percent(mean(rows, 'score', model=model, start=STARTS[1], method='full'))}"))
    kinds = [key for key in of if key[0] == "classifier" and key[1] == "pretrained"]
    if len(kinds) > 1:                              # where one is not reached nothing has been found
        same = len({of[k] for k in kinds}) == 1 and of[kinds[0]] is not None
        found.append(Finding("dense, sparse and Fastfood projections find the same d₉₀", same,
                             ", ".join(f"{k[3]} {said(k)}" for k in kinds)))
    return found


def draw(rows):
    """(figure, alt text): score over dimension for both models, a panel for each start."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, axes = new_figure(2, len(models), (10.4, 3.9 * len(models)), squeeze=False)
    looks = {("did", "fastfood"): "lora", ("said", "fastfood"): "adapter", ("did", "dense"): "topk",
             ("did", "sparse"): "prefix"}
    said = []
    for line, model in zip(axes, models, strict=True):
        for ax, start in zip(line, STARTS, strict=True):
            for (m, s, method, projection) in kinds_of(rows):
                if (m, s) != (model, start):
                    continue
                mine = matching(rows, model=model, start=start, method=method, projection=projection)
                places = sorted({row["dimension"] for row in mine})
                draw_points(ax, places, [[r["score"] for r in matching(mine, dimension=d)] for d in places],
                            looks[method, projection], line=True, label=f"{method.upper()}, {projection}")
                said.append(f"{model}, {start} start, {method} {projection}: "
                            f"{d90(rows, model, start, method, projection)}")
            full = mean(rows, "score", model=model, start=start, method="full")
            reference_line(ax, full, f"full {percent(full)}", "full")
            reference_line(ax, 0.9 * full, "nine tenths", left=True)
            ax.set_xscale("log", base=2)
            ax.set_xticks(places, [f"{d:,}" for d in places])
            ax.minorticks_off()
            ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
            ax.set_ylim(0, 1)
            ax.set_title(f"{model}, {start} start", loc="left", fontsize=10)
            ax.legend(fontsize=8, frameon=False, loc="lower right" if start == "pretrained" else "upper left")
        line[0].set_ylabel("symbols right" if model == "reader" else "vowels right")
    for ax in axes[-1]:
        ax.set_xlabel("trained directions d")
    alt = ("Score against the number of trained directions on a base-2 logarithmic axis, for the base model and a small "
           "classifier, from a pretrained and from a random start, with full fine-tuning and nine tenths of it as lines; d90 "
           f"(None: not reached): {'; '.join(said)}.")
    return figure, alt

