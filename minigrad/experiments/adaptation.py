"""One run of an experiment: the base model, one method, one task, one seed; train, then read words it never saw.

What a seed changes: which of the adaptation words are learned from, which of a word's answers is taught, their order, and
the method's initial weights. What it does not change: the steps, the batch size, the words of the evaluation. Two methods
with the same seed see exactly the same batches.
"""
from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from minigrad import peft, pretrained, tasks, training
from minigrad.backend import host

# The methods at their usual sizes; what is not given here is the method's own default.
SIZES = {"topk": {"k": 2}, "adapter": {"bottleneck": 16}, "prefix": {"length": 8}, "prompt": {"length": 8},
         "lora": {"rank": 8, "alpha": 16}}
EVALUATED_PER_STEP = 50                             # words read in about the time of one training step, for the estimate


@dataclass(frozen=True)
class Run:
    """Everything one run depends on. method "base" trains nothing and only evaluates.

    epochs over `examples` adaptation words in batches of `batch_size`, or as many epochs as `updates` steps need; then the
    first `words` words of `split` are read.
    """

    task: str
    method: str
    seed: int
    lr: float = 0.0
    hyper: dict = field(default_factory=dict)
    base: str = "reader"
    examples: int = 2000
    epochs: int = 3
    batch_size: int = 32
    words: int = 1000
    split: str = "test"
    keep: str | None = None                         # folder in which to keep the adapter
    may_diverge: bool = False                       # a loss that is no number then counts as nothing right
    updates: int | None = None                      # steps, where their number is what runs have in common
    start: str = "pretrained"                       # or "random": the base model's own initial weights, untrained

    @property
    def name(self) -> str:
        """What tells this run from the others of an experiment, readable."""
        hyper = "".join(f" {key}={value}" for key, value in self.hyper.items())
        if self.method == "base":
            return f"{self.task} base"
        more = f" examples={self.examples}" if self.updates else ""
        more += f" from {self.start} weights" if self.start != "pretrained" else ""
        return f"{self.task} {self.method}{hyper} lr={self.lr:g} seed={self.seed}{more}"

    @property
    def steps(self) -> int:
        """Training steps."""
        if self.method == "base":
            return 0
        return self.updates or self.epochs * math.ceil(self.examples / self.batch_size)

    @property
    def work(self) -> float:
        """How long it takes, in training steps (for the progress bar)."""
        return self.steps + self.words / EVALUATED_PER_STEP

    def to_dict(self) -> dict:
        """The fields, as plain values."""
        return asdict(self)


def make_method(name: str, **hyper):
    """The method at the size that the comparisons use, unless `hyper` says otherwise.

    >>> make_method("topk")
    TopK(k=2, head=True)
    """
    return peft.create(name, **{**SIZES.get(name, {}), **hyper})


def adaptation_batches(tokenizer, task, examples: int, batch_size: int, seed: int, context: int):
    """The batches of a run: `examples` words drawn from the task's adaptation words, in an order drawn anew each epoch."""
    pool = examples_of(task, "adapt")
    if examples > len(pool):
        raise ValueError(f"{examples} examples were asked for, but the task {task.name!r} has {len(pool)} adaptation words")
    rng = np.random.default_rng([seed, 1])
    chosen = [pool[i] for i in rng.permutation(len(pool))[:examples]]
    sequences = tasks.encode_examples(tokenizer, chosen, rng, pick="random", max_length=context)
    return tasks.Batches(sequences, batch_size, rng, pad_id=tokenizer.pad_id)


def reference_batch(tokenizer, task, batch_size: int):
    """A batch that is the same for every method and seed: what memory and the time of a step are measured on."""
    examples = examples_of(task, "adapt")[:batch_size]
    return next(iter(tasks.Batches(tasks.encode_examples(tokenizer, examples), batch_size, shuffle=False,
                                   pad_id=tokenizer.pad_id)))


@lru_cache(maxsize=2)
def base_model(name: str):
    """(model, tokenizer), loaded once; nobody writes into it."""
    return pretrained.load(name)


@lru_cache(maxsize=4)
def task_called(name: str):
    """The task, made once."""
    return tasks.get(name)


@lru_cache(maxsize=8)
def examples_of(task, split: str) -> list:
    """A split's examples, made once: that takes a second for twenty thousand words."""
    return task.examples(split)


def perform(run: Run, tick=lambda work: None) -> dict:
    """Do a run: its row of the table (what can be known from it alone) and how it read a few words.

    tick(work) is told of progress, in units of a training step. Raises KeyboardInterrupt when interrupted.
    """
    model, tokenizer = base_model(run.base)
    if run.start != "pretrained":
        host.manual_seed(run.seed)
        model = type(model)(model.config)
    task = task_called(run.task)
    task.add_symbols(tokenizer)
    examples = examples_of(task, run.split)[:run.words]
    row = {"task": task.name, "method": run.method, "seed": run.seed, "steps": run.steps}
    if run.method != "base":
        host.manual_seed(run.seed)
        method = make_method(run.method, **run.hyper)
        adapted = peft.apply(model, method)
        trainable = sum(p.size for p in adapted.trainable_parameters())
        if trainable != method.count(model.config):
            raise AssertionError(f"{method!r} trains {trainable} parameters, its closed form says {method.count(model.config)}")
        use = training.memory(adapted, reference_batch(tokenizer, task, run.batch_size))
        batches = adaptation_batches(tokenizer, task, run.examples, run.batch_size, run.seed, _room(adapted))
        try:
            result = training.fit(adapted, batches, steps=run.steps, lr=run.lr, on_step=lambda *_: tick(1))
        except training.TrainingDiverged as error:
            if not run.may_diverge:
                raise training.TrainingDiverged(f"{run.name}: {error}") from None
            return {"row": row | {"lr": run.lr, "trainable": trainable, "acc": 0.0, "per": 1.0, "loss": None}, "read": {}}
        if result.interrupted:
            raise KeyboardInterrupt
        baked = adapted.bake()
        row |= {"rank": getattr(method, "rank", None), "alpha": getattr(method, "alpha", None), "lr": run.lr,
                "trainable": trainable, "percent": 100 * trainable / adapted.base.num_parameters(),
                "step_ms": result.step_ms, "activation_bytes": use.activations, "gradient_bytes": use.gradients,
                "optimizer_bytes": use.optimizer, "stored_bytes": _stored(adapted, run.keep),
                "loss": float(np.mean(result.losses[-20:]))}
        if run.keep:
            tokenizer.save(Path(run.keep) / "tokenizer.json")           # with the task's own symbols, for `generate`
        model = baked.merge() if baked.method.mergeable else baked      # reads the same, and faster
    score = training.evaluate(model, tokenizer, examples, on_batch=lambda n: tick(n / EVALUATED_PER_STEP))
    row |= {"acc": score.exact_match, "per": score.phoneme_error_rate}
    return {"row": row, "read": {word: " ".join(answer) for (word, _), answer in
                                 zip(examples[:40], score.predictions, strict=False)}}


def _room(adapted) -> int:
    return adapted.config.context - adapted.position_shift


def _stored(adapted, folder) -> int:
    """Bytes on disk of the saved adapter; it is kept if a folder is given."""
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(folder or temporary)
        adapted.save(folder)
        return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
