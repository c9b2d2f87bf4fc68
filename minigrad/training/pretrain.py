"""Pretraining: from random weights to "reader", the model that reads English words aloud.

`pretrain` is the loop of fit.py with three things added: each epoch draws which pronunciation of a word it teaches, each
sequence starts at a random position, and the run can be stopped and taken up again at any step, bit for bit.
"""
from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import numpy as np

from minigrad import backend, pretrained, tasks
from minigrad.backend import host
from minigrad.models import GPT, GPTConfig
from minigrad.training.checkpoint import load_checkpoint, save_checkpoint
from minigrad.training.evaluate import evaluate
from minigrad.training.fit import Trainer, _bar, interruptible

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.csv"
COLUMNS = ("epoch", "step", "train_loss", "exact_match", "phoneme_error_rate", "minutes")


class EpochBatches:
    """tasks.Batches whose every epoch draws anew which accepted answer of a word is taught.

    Epoch e is drawn from the pair (seed, e) alone, so an epoch can be made again without the ones before it.

    >>> batches = EpochBatches(tasks.Tokenizer(), [("either", [["IY"], ["AY"]])], batch_size=1, seed=0)
    >>> stream = batches.forever()
    >>> [batches.tokenizer.decode(next(stream).targets[0, -2:]) for _ in range(6)]
    [['AY'], ['AY'], ['AY'], ['AY'], ['IY'], ['AY']]
    """

    def __init__(self, tokenizer, examples, batch_size: int, seed: int):
        self.tokenizer, self.examples, self.batch_size, self.seed = tokenizer, examples, batch_size, seed
        self._start(0)

    def _start(self, epoch: int) -> None:
        rng = np.random.default_rng([self.seed, epoch])
        sequences = tasks.encode_examples(self.tokenizer, self.examples, rng, pick="random")
        self.epoch = epoch
        self.current = tasks.Batches(sequences, self.batch_size, rng, pad_id=self.tokenizer.pad_id)

    def __len__(self) -> int:
        return len(self.current)

    def forever(self):
        """Batch after batch, epoch after epoch."""
        while True:
            if self.current.position == len(self.current):
                self._start(self.epoch + 1)
            yield from self.current

    def state_dict(self) -> dict:
        """The place in the data, fit for JSON."""
        return {"seed": self.seed, "epoch": self.epoch, "batches": self.current.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Go on where state_dict was taken; ValueError when seed, words or batch size differ."""
        if state.get("seed") != self.seed:
            raise ValueError(f"cannot resume: that run had seed {state.get('seed')}, here it is {self.seed}")
        self._start(state["epoch"])
        self.current.load_state_dict(state["batches"])


def random_starts(rng, batch, context: int) -> np.ndarray:
    """Where each sequence of a batch begins, host integers (B,): half of them at 0, the others anywhere in the context.

    Prefixes and prompts shift every position; a model that had only seen words at position 0 would not know the shifted
    ones. Half stay at 0 because that is where words without a prefix stand.

    >>> from minigrad.tasks import Batch
    >>> ids = np.zeros((1000, 14), dtype=int)
    >>> starts = random_starts(np.random.default_rng(0), Batch(ids, ids, ids[:, 0]), context=64)
    >>> starts.min(), starts.max(), bool(0.45 < (starts == 0).mean() < 0.57)
    (np.int64(0), np.int64(50), True)
    """
    rows, tokens = batch.ids.shape
    anywhere = rng.integers(0, context - tokens + 1, size=rows)
    return np.where(rng.random(rows) < 0.5, 0, anywhere)


def pretrain(out, *, epochs: int = 10, batch_size: int = 256, lr: float = 1e-3, weight_decay: float = 0.01, seed: int = 0,
             config: dict | None = None, words: int | None = None, save_minutes: float = 2.0, save_steps: int | None = None,
             resume: bool = False, progress: bool = True, say=None, command: str = "") -> Path | None:
    """Train the base model and write `reader.safetensors` and `reader.json` to the folder `out`.

    config: GPTConfig fields that differ from the shipped model's · words: learn from only so many (for a quick try) ·
    a checkpoint is written every `save_minutes` minutes (and, if given, every `save_steps` steps) and at the end of each
    epoch; `resume` goes on from it. say(text) is told what happens. Gives the path of the weights, or None when it was
    interrupted, a checkpoint having been left.
    Raises ValueError for a folder that already holds a run when not told to resume, TrainingDiverged for a NaN loss.
    """
    out, say = Path(out), say or (lambda text: None)
    for value, what in ((epochs, "epochs"), (batch_size, "batch size")):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{what} must be a whole number of at least 1; got {value!r}")
    checkpoint = out / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise ValueError(f"{out} already holds a run: go on with it (--resume), or choose another folder (--out)")
    task, tokenizer = tasks.get("pronounce"), tasks.Tokenizer()
    host.manual_seed(seed)
    model = GPT(GPTConfig(**{"vocab_size": tokenizer.vocab_size, **(config or {})}))
    examples, validation = task.examples("pretrain")[:words], task.examples("validation")[:words]
    batches = EpochBatches(tokenizer, examples, batch_size, seed)
    trainer = Trainer(model, steps=epochs * len(batches), lr=lr, weight_decay=weight_decay)
    settings = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "weight_decay": weight_decay, "seed": seed,
                "words": len(examples), "config": model.config.to_dict()}
    losses, rows, minutes = [], [], 0.0
    if resume and checkpoint.exists():
        notes = load_checkpoint(checkpoint, model, trainer, batches)
        before = notes.get("settings", settings)
        if changed := [f"{key} was {before.get(key)!r}, now {settings[key]!r}" for key in settings
                       if before.get(key) != settings[key]]:
            raise ValueError(f"cannot resume the run in {out} with other settings: {'; '.join(changed)}")
        losses, rows, minutes = notes["losses"], notes["rows"], notes["minutes"]
        say(f"going on from {checkpoint} at step {trainer.steps_done} of {trainer.steps}")
    elif resume:
        say(f"no checkpoint in {out}: starting from the beginning")
    began, saved = time.monotonic() - 60 * minutes, time.monotonic()

    def save():
        save_checkpoint(checkpoint, model, trainer, batches, settings=settings, losses=losses, rows=rows,
                        minutes=(time.monotonic() - began) / 60)

    model.train()
    stream = batches.forever()
    with interruptible() as interrupt, _bar(trainer.steps, "pretraining", progress, initial=trainer.steps_done,
                                            unit="step", mininterval=1.0) as bar:
        while trainer.steps_done < trainer.steps:
            batch = next(stream)
            loss, _ = trainer.step(batch, random_starts(host.rng(), batch, model.config.context))
            losses.append(loss)
            bar.update()
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}", refresh=False)
            if trainer.steps_done % len(batches) == 0:
                score = evaluate(model, tokenizer, validation)
                rows.append([trainer.steps_done // len(batches), trainer.steps_done, float(np.mean(losses)),
                             score.exact_match, score.phoneme_error_rate, (time.monotonic() - began) / 60])
                losses.clear()
                pretrained.write_atomically(out / LOG, _csv(rows))
                say("epoch {}: step {}, training loss {:.4f}; validation: {:.1%} of words right, phoneme error rate {:.1%} "
                    "({:.1f} minutes)".format(*rows[-1]))
            due = save_steps is not None and trainer.steps_done % save_steps == 0
            if not losses or due or interrupt.requested or time.monotonic() - saved > 60 * save_minutes:
                save()
                saved = time.monotonic()
            if interrupt.requested:
                say(f"stopped at step {trainer.steps_done} of {trainer.steps}; {checkpoint} is complete")
                return None
    return _finish(model, tokenizer, task, out, words, say, {
        "command": command, **{key: value for key, value in settings.items() if key != "config"},
        "steps": trainer.steps, "minutes": round((time.monotonic() - began) / 60, 1),
        "validation": dict(zip(COLUMNS, rows[-1], strict=True))})


def _finish(model, tokenizer, task, out: Path, words, say, notes: dict) -> Path:
    """Write the model, read it back, and put into its manifest what the file that was read scores on the test words."""
    notes = {"name": "reader", "made_by": "minigrad pretrain", **notes, "task": task.name,
             "data_version": tasks.data_version(), "backend": backend.current().name, "numpy": np.__version__}
    path = pretrained.save(model, tokenizer, out / "reader.safetensors", **notes)
    test = task.examples("test")[:words]
    score = evaluate(pretrained.load(path)[0], tokenizer, test)
    notes["test"] = {"words": len(test), "exact_match": score.exact_match, "phoneme_error_rate": score.phoneme_error_rate}
    pretrained.save(model, tokenizer, path, **notes)
    say(f"test, {len(test)} words never trained on: {score.exact_match:.1%} right, phoneme error rate "
        f"{score.phoneme_error_rate:.1%}")
    say(f"wrote {path} and {path.with_suffix('.json').name}")
    return path


def _csv(rows) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue()
