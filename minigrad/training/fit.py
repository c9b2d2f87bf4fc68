"""The training loop. Trainer.step is one step of it, and everything that a step consists of is visible there."""
from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from minigrad import optim
from minigrad.autograd import no_grad
from minigrad.backend import host
from minigrad.nn import functional as F
from minigrad.ops import stack
from minigrad.tasks import IGNORE


class TrainingDiverged(ArithmeticError):
    """The loss or the gradient is no longer a finite number; the weights are those of the last good step."""


def loss_on(model, batch, start=0):
    """The mean cross-entropy (nats per symbol) of a batch's answers; a 0-d tensor.

    start: the position of each sequence's first token, an int or host integers (B,).
    """
    logits = model(batch.ids, start=start) if np.any(start) else model(batch.ids)          # (B, T) -> (B, T, V)
    vocab = logits.shape[-1]
    return F.cross_entropy(logits.reshape(-1, vocab), batch.targets.reshape(-1), ignore_index=IGNORE)


class Trainer:
    """A run of `steps` steps of AdamW on a model, its learning rate warmed up and then lowered along a cosine.

    model: a GPT, of which all trainable parameters are trained, or what peft.apply made, trained as its method says.
    lr: the peak · warmup: steps to get there (None: a twentieth of all) · final_ratio: last lr ÷ peak · weight_decay:
    on matrices only, for a GPT · max_norm: a longer gradient is shortened to it.

    >>> import minigrad as mg
    >>> from minigrad.tasks import Batches, Tokenizer, encode_examples
    >>> tokenizer = Tokenizer()
    >>> gpt = mg.models.GPT(mg.models.GPTConfig(tokenizer.vocab_size, d_model=8, n_layers=1, n_heads=1))
    >>> trainer = Trainer(gpt, steps=2, lr=1e-3)
    >>> batches = Batches(encode_examples(tokenizer, [("cat", [["K", "AE", "T"]])]), batch_size=1)
    >>> loss, grad_norm = trainer.step(next(iter(batches)))
    >>> trainer.steps_done, 3 < loss < 6
    (1, True)
    """

    def __init__(self, model, *, steps: int, lr: float, weight_decay: float = 0.01, warmup: int | None = None,
                 final_ratio: float = 0.0, max_norm: float = 1.0, betas=(0.9, 0.999)):
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(f"steps must be a whole number of at least 1; got {steps!r}")
        if not isinstance(lr, int | float) or not 0 < lr < math.inf:
            raise ValueError(f"lr must be a finite number above 0; got {lr!r}")
        self.model, self.steps, self.lr, self.max_norm = model, steps, lr, max_norm
        self.adapted = hasattr(model, "method")     # made by peft.apply: its method has a say in every step
        self.optimizer = optim.AdamW(self._groups(lr, weight_decay), lr=lr, betas=betas, weight_decay=weight_decay)
        warmup = min(steps, max(1, steps // 20)) if warmup is None else min(warmup, steps)
        self.schedule = optim.CosineWithWarmup(self.optimizer, warmup=warmup, total=steps, final_ratio=final_ratio)
        self.steps_done = 0

    def _groups(self, lr: float, weight_decay: float) -> list[dict]:
        if self.adapted:
            return self.model.param_groups(lr)
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        matrices = {"params": [(n, p) for n, p in named if p.ndim >= 2], "weight_decay": weight_decay}
        vectors = {"params": [(n, p) for n, p in named if p.ndim < 2], "weight_decay": 0.0}     # biases and norms
        return [group for group in (matrices, vectors) if group["params"]] or [{"params": []}]

    def step(self, batch, start=0) -> tuple[float, float]:
        """One step; gives its loss and the length of its gradient before clipping.

        Raises TrainingDiverged, before any weight has changed, when one of the two is not finite.
        """
        if self.adapted:
            self.model.before_step(self.steps_done, self.steps)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):     # what overflows is told below, once
            loss = loss_on(self.model, batch, start)
            penalty = self.model.penalty() if self.adapted else None
            (loss if penalty is None else loss + penalty).backward()
            norm = optim.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]],
                                         self.max_norm)
            with no_grad():
                value, length = stack([loss.detach(), norm]).tolist()          # the step's one wait for the device
        if not (math.isfinite(value) and math.isfinite(length)):
            raise TrainingDiverged(
                f"step {self.steps_done + 1} of {self.steps}: the loss is {value} and the gradient's length {length}, both "
                f"must be finite. The learning rate was {self.optimizer.param_groups[0]['lr']:.3g} (peak {self.lr:.3g}): "
                "try a tenth of it, or a longer warm-up; if it fails in the first step, look for NaN in weights and data")
        self.optimizer.step()
        if self.adapted:
            self.model.after_step(self.steps_done, self.steps)
        self.optimizer.zero_grad()
        self.schedule.step()
        self.steps_done += 1
        return value, length

    def state_dict(self) -> dict:
        """Everything but the weights that the next step depends on: optimizer, schedule, random numbers, the count."""
        return {"steps_done": self.steps_done, "steps": self.steps, "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(), "generator": host.get_state()}

    def load_state_dict(self, state: dict) -> None:
        """Continue from what state_dict gave. Raises ValueError when it belongs to a run of another length or model."""
        if missing := [key for key in ("steps_done", "steps", "optimizer", "schedule", "generator") if key not in state]:
            raise ValueError(f"this is not the state of a training run: it lacks {', '.join(missing)}")
        if state["steps"] != self.steps:
            raise ValueError(f"cannot resume: that run has {state['steps']} steps, this one {self.steps}; "
                             "give it the same epochs, batch size and data")
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        host.set_state(state["generator"])
        self.steps_done = state["steps_done"]


@dataclass
class FitResult:
    """losses: of every step, nats per symbol · step_ms: the median step, in milliseconds · interrupted: by Ctrl-C."""

    losses: list = field(default_factory=list)
    step_ms: float = math.nan
    interrupted: bool = False


def fit(model, batches, *, steps: int, lr: float, progress: bool = False, on_step=None, **options) -> FitResult:
    """Train a model for `steps` steps on `batches` (a tasks.Batches: it is gone through as often as needed).

    progress: show a bar with an estimate · on_step(step, loss): called after each step · options: Trainer's. The model is
    left in evaluation mode. Raises TrainingDiverged when the loss is no longer finite.

    >>> import minigrad as mg
    >>> from minigrad.tasks import Batches, Tokenizer, encode_examples
    >>> mg.manual_seed(0)
    >>> tokenizer = Tokenizer()
    >>> gpt = mg.models.GPT(mg.models.GPTConfig(tokenizer.vocab_size, d_model=16, n_layers=1, n_heads=2))
    >>> words = [("cat", [["K", "AE", "T"]]), ("dog", [["D", "AO", "G"]])]
    >>> result = fit(gpt, Batches(encode_examples(tokenizer, words), batch_size=2), steps=60, lr=1e-2)
    >>> result.losses[-1] < 0.5
    True
    """
    trainer = Trainer(model, steps=steps, lr=lr, **options)
    result, times = FitResult(), []
    model.train()
    with _bar(steps, "training", progress) as bar, interruptible() as interrupt:
        for batch in islice(batches.forever(), steps):
            began = time.perf_counter()
            loss, _ = trainer.step(batch)
            times.append(time.perf_counter() - began)
            result.losses.append(loss)
            bar.update()
            if bar.n % 10 == 0:
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            if on_step is not None:
                on_step(trainer.steps_done, loss)
            if interrupt.requested:
                result.interrupted = True
                break
    model.eval()
    result.step_ms = 1e3 * sorted(times)[len(times) // 2]
    return result


def _bar(total: int, what: str, show: bool, **options):
    from tqdm import tqdm

    return tqdm(total=total, desc=what, disable=not show, dynamic_ncols=True, **options)


class Interrupt:
    """Whether somebody has asked to stop, and when."""

    requested, when = False, 0.0


@contextlib.contextmanager
def interruptible():
    """Inside, a first Ctrl-C (or kill) only sets `.requested`, so that a step is never cut in half; another one, more than
    a second later, stops at once (some tools send the signal twice). Outside the main thread, where signals do not
    arrive, nothing is changed."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number, frame):
        if not interrupt.requested:
            interrupt.requested, interrupt.when = True, time.monotonic()
        elif time.monotonic() - interrupt.when > 1.0:
            raise KeyboardInterrupt

    for number in before:
        signal.signal(number, ask)
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
