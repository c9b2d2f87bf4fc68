"""`minigrad experiments costs`: what a training step of each method takes, in bytes and in time.

Three effects pull in different directions: a method computes more than the model alone (its own layers), it computes and
keeps fewer gradients, and what it does not keep makes room for a larger batch.
"""
from __future__ import annotations

import time
from dataclasses import dataclass

import minigrad as mg
from minigrad import peft, pretrained, tasks
from minigrad.experiments import budget, table
from minigrad.experiments.adaptation import make_method, reference_batch
from minigrad.experiments.families import FAMILIES, family
from minigrad.experiments.figure import new_figure
from minigrad.experiments.statistics import summarize
from minigrad.experiments.study import Finding, Study, above, difference, matching, mean
from minigrad.training import MemoryUse, memory
from minigrad.training.fit import Trainer, loss_on

COLUMNS = ("method", "size", "seed", "trainable", "batch", "weight_bytes", "activation_bytes", "gradient_bytes",
           "optimizer_bytes", "largest_batch", "forward_ms", "backward_ms", "step_ms")


COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#999999")     # of the families, in their order


@dataclass(frozen=True)
class Timing:
    """One repetition: the methods take turns, round after round, and the medians count."""

    base: str
    task: str
    names: tuple
    hyper: tuple
    batch_size: int
    seed: int
    rounds: int

    @property
    def name(self) -> str:
        """What tells repetitions apart."""
        return f"repetition {self.seed}"

    @property
    def work(self) -> float:
        """In rounds."""
        return self.rounds + 1


def costs(names="all", parameters: int = 8192, rounds: int = 7, **options) -> list[dict]:
    """Bytes and milliseconds of a step of every method at matched budgets; writes costs.{csv,png,json}.

    parameters: the budget · rounds: of timing per repetition · options: Study's; `seeds` are repetitions. The byte budget
    for `largest_batch` is what full fine-tuning needs with the given batch size. Run it on a machine that does nothing else.
    """
    study = Study("costs", **options)
    names = budget.trainable_alone() if names == "all" else list(names)
    fitted = budget.fit_all(names, study.model, parameters, study.task)
    batch_size = study.shared["batch_size"]
    used = bytes_used(study.model, study.tokenizer, study.task, {n: f.hyper for n, f in fitted.items()}, batch_size)
    jobs = [Timing(study.shared["base"], study.shared["task"], tuple(names), tuple(fitted[n].hyper for n in names), batch_size,
                   seed, rounds) for seed in study.seeds]
    done = study.run(jobs, perform=time_all, names=names, parameters=parameters, rounds=rounds)
    rows = [{"method": name, "size": fitted[name].size, "seed": job.seed, "trainable": fitted[name].count, "batch": batch_size,
             **used[name], **row["times"][name]} for name in names for job, row in zip(jobs, done, strict=True)]
    return study.write(rows, COLUMNS, draw(rows), findings(rows), budget.record(fitted, parameters))


def bytes_used(model, tokenizer, task, hypers: dict, batch_size: int) -> dict:
    """{method: its bytes, and the largest batch that fits into the bytes of full fine-tuning with `batch_size`}.

    Activations grow with the batch along a straight line, which two batches of the same words, one twice the other, give.
    """
    batches = [reference_batch(tokenizer, task, batch_size)]
    once = batches[0]
    batches.append(tasks.batching.Batch(*(mg.backend.host.np.concatenate([a, a]) for a in
                                          (once.ids, once.targets, once.indices))))
    measured: dict[str, tuple[MemoryUse, MemoryUse]] = {}
    for name, hyper in {"full": {}, **hypers}.items():
        adapted = peft.apply(model, make_method(name, **hyper), rng=mg.backend.host.np.random.default_rng(0))
        measured[name] = tuple(memory(adapted, batch) for batch in batches)
    room = measured["full"][0].total
    found = {}
    for name, (one, two) in measured.items():
        per_word = (two.activations - one.activations) / batch_size
        fixed = one.total - batch_size * per_word
        found[name] = {"weight_bytes": one.weights, "activation_bytes": one.activations, "gradient_bytes": one.gradients,
                       "optimizer_bytes": one.optimizer, "largest_batch": int((room - fixed) / per_word + 1e-9)}
    return found


def time_all(job: Timing, tick=lambda work: None) -> dict:
    """Do a repetition: {method: median milliseconds of forward, of backward, and of a whole step}."""
    model, tokenizer = pretrained.load(job.base)
    task = tasks.get(job.task)
    task.add_symbols(tokenizer)
    batch = reference_batch(tokenizer, task, job.batch_size)
    trainers = {}
    for name, hyper in zip(job.names, job.hyper, strict=True):
        adapted = peft.apply(model, make_method(name, **hyper), rng=mg.backend.host.np.random.default_rng(job.seed))
        trainers[name] = Trainer(adapted.train(), steps=10 ** 6, lr=1e-9)       # these copies are thrown away
    times: dict = {name: [] for name in job.names}
    for number in range(job.rounds + 1):
        for name, trainer in trainers.items():
            marks = [time.perf_counter()]
            loss = loss_on(trainer.model, batch)
            marks.append(time.perf_counter())
            loss.backward()
            marks.append(time.perf_counter())
            trainer.optimizer.zero_grad()
            began = time.perf_counter()
            trainer.step(batch)
            if number:                              # the first round warms caches up
                times[name].append((marks[1] - marks[0], marks[2] - marks[1], time.perf_counter() - began))
        tick(1)
    middle = {name: [1e3 * sorted(column)[len(column) // 2] for column in zip(*values, strict=True)]
              for name, values in times.items()}
    return {"row": {"times": {name: dict(zip(("forward_ms", "backward_ms", "step_ms"), values, strict=True))
                              for name, values in middle.items()}}}


def findings(rows) -> list[Finding]:
    """The three effects, each against full fine-tuning."""
    full = matching(rows, method="full")
    others = [name for name in dict.fromkeys(row["method"] for row in rows) if name != "full"]
    if not full or not others:
        return []
    of = {name: matching(rows, method=name) for name in others}
    more = [n for n in others if mean(of[n], "forward_ms") > mean(full, "forward_ms")]
    found = [Finding("methods compute more in the forward pass", len(more) == len(others),
                     f"{len(more)} of {len(others)} take longer than the plain model's {mean(full, 'forward_ms'):.1f} ms")]
    if "lora" in of:
        saved = difference(full, of["lora"], "step_ms")
        found.append(Finding("fewer gradients make a step of LoRA faster than one of full fine-tuning", above(saved),
                             f"{mean(of['lora'], 'step_ms'):.1f} ms against {mean(full, 'step_ms'):.1f}; gradients and "
                             f"optimizer {table.bytes_text(_kept(of['lora'][0]))} against {table.bytes_text(_kept(full[0]))}"))
    larger = [n for n in others if of[n][0]["largest_batch"] > full[0]["largest_batch"]]
    most = max(others, key=lambda n: of[n][0]["largest_batch"])
    found.append(Finding("the same bytes hold a larger batch", len(larger) == len(others),
                         f"in the bytes of full fine-tuning with {full[0]['batch']} words, {len(larger)} of {len(others)} "
                         f"methods take more: " + (f"LoRA {of['lora'][0]['largest_batch']}, " if "lora" in of else "")
                         + f"at most {most} {of[most][0]['largest_batch']}"))
    return found


def _kept(row: dict) -> int:
    return row["gradient_bytes"] + row["optimizer_bytes"]


def draw(rows):
    """(figure, alt text): forward and backward time, memory, and the largest batch, a row for each method."""
    names = list(dict.fromkeys(row["method"] for row in rows))
    figure, (left, middle, right) = new_figure(3, 1, (11.5, 1.8 + 0.32 * len(names)), sharey=True)
    said, families = [], list(FAMILIES)
    for place, name in enumerate(reversed(names)):
        mine = matching(rows, method=name)
        color = COLORS[families.index(family(name))]
        forward, backward = mean(mine, "forward_ms"), mean(mine, "backward_ms")
        left.barh(place, forward, height=0.6, color=color, edgecolor="black", linewidth=0.5)
        left.barh(place, backward, left=forward, height=0.6, facecolor="white", edgecolor=color, hatch="///", linewidth=0.8)
        steps = summarize(row["step_ms"] for row in mine)
        left.errorbar(steps.mean, place, xerr=0 if steps.n == 1 else steps.half, color="black", marker="|", capsize=2)
        one, start = mine[0], 0.0
        for what, gray, hatch in (("activation", "#BBBBBB", ""), ("gradient", "#777777", "///"),
                                  ("optimizer", "#FFFFFF", "...")):
            size = one[f"{what}_bytes"] / 1e6
            middle.barh(place, size, left=start, height=0.6, facecolor=gray, hatch=hatch, edgecolor="black", linewidth=0.5,
                        label=what if place == 0 else None)
            start += size
        right.plot(one["largest_batch"], place, marker="o", color=color)
        right.annotate(f"{one['largest_batch']:,}", (one["largest_batch"], place), xytext=(6, 0), textcoords="offset points",
                       fontsize=8, va="center")
        said.append(f"{name} {steps.mean:.0f} ms, {start:.1f} MB, batch {one['largest_batch']}")
    left.set_yticks(range(len(names)), [f"{n}, {matching(rows, method=n)[0]['trainable']:,}" for n in reversed(names)],
                    fontsize=8)
    left.set_ylim(-0.6, len(names) - 0.4)
    left.set_xlabel("ms: forward (filled), backward (hatched), step (line)")
    middle.set_xlabel(f"MB beside the weights, {rows[0]['batch']} words")
    middle.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.0)
    right.set_xlabel("largest batch in full fine-tuning's bytes")
    right.set_xscale("log", base=2)
    right.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    right.set_xlim(rows[0]["batch"] / 4, 2 * max(row["largest_batch"] for row in rows))
    alt = ("A training step of every method in three panels: time of forward and backward pass, memory beside the weights, and "
           f"the largest batch that fits into the bytes of full fine-tuning with {rows[0]['batch']} words. "
           + "; ".join(reversed(said)) + ".")
    return figure, alt
