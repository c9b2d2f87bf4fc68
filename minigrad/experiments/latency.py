"""`minigrad experiments latency`: what adapters add to a forward pass, and merged LoRA does not, by batch size and length."""
from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

import minigrad as mg
from minigrad import peft, pretrained
from minigrad.experiments.adaptation import make_method
from minigrad.experiments.figure import new_figure, style
from minigrad.experiments.statistics import summarize
from minigrad.experiments.study import Finding, Study, above, difference, matching

SHAPES = ((1, 16), (1, 64), (4, 64), (16, 64))      # batch × length; the course's go from (1, 128) to (32, 512)
VARIANTS = {"adapter": ("adapter", False), "adapter_lin": ("adapter_lin", False), "lora": ("lora", False),
            "lora, merged": ("lora", True)}
LOOKS = {"adapter": "adapter", "adapter_lin": "topk", "lora": "prefix", "lora, merged": "lora"}
COLUMNS = ("variant", "batch", "length", "seed", "rounds", "base_ms", "ms", "overhead")
NOTHING = 0.02                                      # an overhead below this is none: clocks and caches differ by as much


@dataclass(frozen=True)
class Timing:
    """One repetition: every variant and every shape, in turn, `rounds` times; medians count."""

    base: str
    seed: int
    rounds: int

    @property
    def name(self) -> str:
        """What tells repetitions apart."""
        return f"repetition {self.seed}"

    @property
    def work(self) -> float:
        """In rounds."""
        return self.rounds


def latency(rounds: int = 40, **options) -> list[dict]:
    """Time the forward pass of base, adapters, LoRA and merged LoRA; writes latency.{csv,png,json}.

    options: Study's; `seeds` are repetitions, each with other tokens. Run it on a machine that does nothing else.
    """
    study = Study("latency", **options)
    jobs = [Timing(study.shared["base"], seed, rounds) for seed in study.seeds]
    rows = [row for found in study.run(jobs, perform=time_all, rounds=rounds) for row in found["timings"]]
    return study.write(rows, COLUMNS, draw(rows), findings(rows))


def time_all(job: Timing, tick=lambda work: None) -> dict:
    """Do a repetition."""
    model, _ = pretrained.load(job.base)
    models = {"base": model.eval()}
    for name, (method, merged) in VARIANTS.items():
        adapted = _moved(peft.apply(model, make_method(method)), job.seed)
        # merge() keeps its wrappers, and calling those takes a few percent of so small a model's time.
        models[name] = adapted.merge_and_unload().eval() if merged else adapted.eval()
    names, rng = list(models), np.random.default_rng(job.seed)
    inputs = {shape: rng.integers(4, 60, shape) for shape in SHAPES}
    times: dict = {}
    with mg.no_grad():
        for number in range(job.rounds + 1):
            for shape, ids in inputs.items():
                turn = number % len(names)          # nobody is always the one that comes after another shape
                for name in names[turn:] + names[:turn]:
                    models[name](ids)               # its weights are in the cache now, whatever ran before
                    began = time.perf_counter()
                    models[name](ids)
                    if number:                      # the first round warms caches up
                        times.setdefault((name, *shape), []).append(1e3 * (time.perf_counter() - began))
            tick(1)
    rows = []
    for (name, *shape), taken in times.items():
        if name != "base":                          # compared round by round: a slow moment is one for both
            base = times["base", *shape]
            rows.append({"variant": name, "batch": shape[0], "length": shape[1], "seed": job.seed, "rounds": job.rounds,
                         "base_ms": float(np.median(base)), "ms": float(np.median(taken)),
                         "overhead": float(np.median(np.divide(taken, base))) - 1})
    return {"row": {"timings": rows}}


def _moved(adapted, seed: int):
    """The adapter with random values: zeros could be faster than what training gives."""
    rng = np.random.default_rng(seed)
    for p in adapted.trainable_parameters():
        p.data = p.backend.send((0.01 * rng.standard_normal(p.shape)).astype(p.dtype))
    return adapted


def findings(rows) -> list[Finding]:
    """Whether adapters cost relatively more where there is little to compute, and merged LoRA nothing anywhere."""
    shapes = sorted({(row["batch"], row["length"]) for row in rows}, key=lambda s: s[0] * s[1])
    (b0, t0), (b1, t1) = shapes[0], shapes[-1]
    found = []
    for name in ("adapter", "adapter_lin"):
        few, many = matching(rows, variant=name, batch=b0, length=t0), matching(rows, variant=name, batch=b1, length=t1)
        if few and many:
            found.append(Finding(f"{name} costs relatively more the fewer tokens are computed at once",
                                 above(difference(few, many, "overhead")),
                                 f"{_percent(few)} at {b0} × {t0} tokens, {_percent(many)} at {b1} × {t1}"))
    merged = {s: matching(rows, variant="lora, merged", batch=s[0], length=s[1]) for s in shapes}
    if all(merged.values()):
        worst = max(shapes, key=lambda s: summarize(r["overhead"] for r in merged[s]).mean)
        s = summarize(r["overhead"] for r in merged[worst])
        found.append(Finding("merged LoRA adds no time", s.mean < NOTHING,
                             f"at most {_percent(merged[worst])}, at {worst[0]} × {worst[1]} tokens"))
    return found


def _percent(rows) -> str:
    s = summarize(row["overhead"] for row in rows)
    return f"{100 * s.mean:+.1f}" + (f" ± {100 * s.half:.1f}" if s.n > 1 else "") + " %"


def draw(rows):
    """(figure, alt text): the overhead of each variant by shape."""
    shapes = sorted({(row["batch"], row["length"]) for row in rows}, key=lambda s: s[0] * s[1])
    figure, ax = new_figure(size=(7.6, 4.4))
    said = []
    for i, (name, look) in enumerate(LOOKS.items()):
        color, marker, dashes, _ = style(look)
        samples = [[100 * row["overhead"] for row in matching(rows, variant=name, batch=b, length=t)] for b, t in shapes]
        summaries = [summarize(values) for values in samples]
        places = [k + 0.08 * (i - 1.5) for k in range(len(shapes))]         # side by side, not over one another
        half = [0.0 if s.n == 1 else s.half for s in summaries]
        ax.errorbar(places, [s.mean for s in summaries], yerr=half, color=color, marker=marker, linestyle=dashes, capsize=3,
                    label=name)
        said.append(f"{name} " + ", ".join(f"{s.mean:+.1f} % at {b} × {t}" for s, (b, t) in
                                           zip(summaries, shapes, strict=True)))
    ax.axhline(0, color=style("base")[0], linewidth=1.2)
    base = [summarize(row["base_ms"] for row in rows if (row["batch"], row["length"]) == shape).mean for shape in shapes]
    ax.set_xticks(range(len(shapes)), [f"{b} × {t}\n({ms:.1f} ms)" for (b, t), ms in zip(shapes, base, strict=True)])
    ax.set_xlabel("batch × length (the base model's time)")
    ax.set_ylabel("more time than the base, %")
    ax.set_title("What a method adds to a forward pass", loc="left", fontsize=11)
    ax.legend(fontsize=8, frameon=False, loc="upper right")
    alt = ("Time of a forward pass beyond the base model's, in percent, by batch and length, means and 95 percent intervals "
           f"over {len({row['seed'] for row in rows})} repetitions: {'; '.join(said)}.")
    return figure, alt
