"""`minigrad experiments precision-gradients`: how small gradients are, and how many of them float16 turns into 0.

Float16 knows nothing below 2⁻²⁴, and half of that rounds to 0. A histogram of all gradients of one step, in powers of two,
says how many are lost; multiplying the loss by S moves the whole histogram to the right. The curve beside it is measured
in the engine: a step under autocast at each S, counting gradients that are 0 there and not in float32.
"""
from __future__ import annotations

import contextlib

import numpy as np

from minigrad import amp, pretrained, tasks
from minigrad.backend import host
from minigrad.experiments import table
from minigrad.experiments.figure import groups, new_figure
from minigrad.experiments.precision_common import Look, draw_series
from minigrad.experiments.statistics import summarize
from minigrad.models import GPT
from minigrad.nn import Embedding, LayerNorm, Linear, MultiHeadAttention
from minigrad.tasks import Batches, encode_examples
from minigrad.training import loss_on

NAME = "precision_gradients"
COLUMNS = ("what", "model", "gradients_of", "seed", "log2", "share", "not_finite")
SCALES = tuple(range(-16, 25, 2))                   # loss scale S, as powers of two
BINS = np.arange(-60, 9)
KINDS = ("activations", "weights")
LOOKS = {("trained", "activations"): Look("#D55E00", "o", "--"), ("trained", "weights"): Look("#0072B2", "D", "-."),
         ("fresh", "activations"): Look("#CC79A7", "v", ":"), ("fresh", "weights"): Look("#000000", "s", "-")}


def gradients(model, batch, *, format: str = "fp32", scale: float = 1.0) -> dict[str, np.ndarray]:
    """{"weights", "activations"}: every gradient of one step on scale·loss, flat, always in the same order.

    Activations: the outputs of all embeddings, linear layers, norms and attentions. With a format other than "fp32" the
    forward pass runs under autocast, and gradients are left as the backward pass gives them: times `scale`.
    """
    kept = []
    with watched(model, kept), amp.autocast(format) if format != "fp32" else contextlib.nullcontext():
        loss = loss_on(model, batch)
    with np.errstate(all="ignore"):
        (loss * scale).backward()
    found = {"activations": np.concatenate([y.backend.to_numpy(y.grad).ravel() for y in kept]),
             "weights": np.concatenate([p.backend.to_numpy(p.grad).ravel() for p in model.parameters()])}
    for p in model.parameters():
        p.grad = None
    return found


@contextlib.contextmanager
def watched(model, kept: list):
    """Inside, the outputs of the model's layers keep their gradients and are appended to `kept`."""
    layers = [m for m in model.modules() if isinstance(m, Embedding | Linear | LayerNorm | MultiHeadAttention)]

    def watching(layer):
        def forward(*args, **kwargs):
            y = type(layer).forward(layer, *args, **kwargs)
            y.retain_grad()
            kept.append(y)
            return y
        return forward

    for layer in layers:
        layer.forward = watching(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def lost(exact: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """(share of the non-zero gradients that became 0, share that became inf or NaN)."""
    real = exact != 0
    with np.errstate(all="ignore"):
        return float(np.mean(found[real] == 0)), float(np.mean(~np.isfinite(found[real])))


def histogram(values: np.ndarray) -> np.ndarray:
    """The share of non-zero values per power of two: entry i counts 2^BINS[i] ≤ |x| < 2^(BINS[i] + 1)."""
    exponents = np.frexp(values[values != 0])[1] - 1                # |x| = m · 2^e with ½ ≤ m < 1
    counts = np.bincount(np.clip(exponents, BINS[0], BINS[-1]) - BINS[0], minlength=len(BINS))
    return counts / max(1, counts.sum())


def precision_gradients(*, out="runs/precision", base: str = "reader", seeds=range(3), batch_size: int = 32, scales=SCALES,
                        say=print, command: str = "") -> list[dict]:
    """Measure the gradients of the base model and of the same model before training; write precision_gradients.*.

    A seed draws the batch of words, and the weights of the untrained model.
    """
    trained, tokenizer = pretrained.load(base)
    words, rows = tasks.get("pronounce").examples("validation"), []
    for seed in seeds:
        rng = np.random.default_rng([seed, 4])
        chosen = [words[i] for i in rng.permutation(len(words))[:batch_size]]
        batch = next(iter(Batches(encode_examples(tokenizer, chosen), batch_size, shuffle=False, pad_id=tokenizer.pad_id)))
        host.manual_seed(seed)
        for name, model in (("trained", trained), ("fresh", GPT(trained.config))):
            exact = gradients(model, batch)
            for kind in KINDS:
                about = {"model": name, "gradients_of": kind, "seed": seed}
                rows += [{"what": "histogram", **about, "log2": int(b), "share": float(s)}
                         for b, s in zip(BINS, histogram(exact[kind]), strict=True) if s]
            for power in scales:
                found = gradients(model, batch, format="fp16", scale=2.0 ** power)
                for kind in KINDS:
                    share, broken = lost(exact[kind], found[kind])
                    rows.append({"what": "flushed", "model": name, "gradients_of": kind, "seed": seed, "log2": power,
                                 "share": share, "not_finite": broken})
    figure, alt = draw(rows)
    table.write(NAME, out, rows, columns=COLUMNS, figure=figure, alt=alt, about={
        "command": command, "settings": {"base": base, "batch_size": batch_size, "seeds": list(seeds)},
        "note": "histogram: share of non-zero float32 gradients with 2^log2 <= |g| < 2^(log2+1); flushed: share of them that "
                "are 0 (or not finite) under fp16 autocast with loss scale 2^log2"})
    say(report(rows))
    say(f"wrote {NAME}.csv, .png and .json to {out}")
    return rows


def flushed(rows, model: str, kind: str) -> dict[int, float]:
    """{log2 S: mean share flushed to 0} of one series; where anything overflowed, nothing was flushed for good."""
    mine = [r for r in rows if r["what"] == "flushed" and r["model"] == model and r["gradients_of"] == kind]
    return {power: summarize(r["share"] for r in of_power).mean for (power,), of_power in groups(mine, "log2").items()
            if max(r["not_finite"] for r in of_power) == 0}


def report(rows) -> str:
    """The shares as text."""
    powers = sorted({r["log2"] for r in rows if r["what"] == "flushed"})[::2]
    lines = []
    for model, kind in LOOKS:
        shares = flushed(rows, model, kind)
        lines.append([model, kind, *(f"{100 * shares[p]:.1f}" if p in shares else "inf" for p in powers)])
    return "gradients flushed to 0 by float16, percent, against the loss scale\n\n" + table.text_table(
        ["model", "gradients of", *(f"2^{p}" for p in powers)], lines, left=2)


def draw(rows):
    """(figure, alt text): left the histograms, right the share lost over the loss scale."""
    figure, (left, right) = new_figure(2, 1, (11.2, 4.6))
    first, said = 0, []
    for (model, kind), style in LOOKS.items():
        mine = [r for r in rows if r["what"] == "histogram" and r["model"] == model and r["gradients_of"] == kind]
        by_bin = {power: sum(r["share"] for r in of_bin) / len({r["seed"] for r in mine})
                  for (power,), of_bin in groups(mine, "log2").items()}
        x = np.arange(-48, 5)
        draw_series(left, x, [100 * by_bin.get(int(b), 0.0) for b in x], style, every=4)
        shares = flushed(rows, model, kind)
        powers = sorted(shares)
        for power in powers:
            singles = [100 * r["share"] for r in rows if r["what"] == "flushed" and r["model"] == model
                       and r["gradients_of"] == kind and r["log2"] == power]
            right.plot([power] * len(singles), singles, linestyle="none", marker=style.marker, markersize=3,
                       markerfacecolor="none", color=style.color, alpha=0.4)
        draw_series(right, powers, [100 * shares[p] for p in powers], style, label=f"{model} model, gradients of {kind}")
        first = min(first, powers[0])
        at = min(powers, key=abs)
        said.append(f"{model} model, gradients of {kind}: {100 * shares[at]:.2g} percent at scale {2.0 ** at:g}, "
                    f"{100 * shares[powers[0]]:.2g} at 2 to the {powers[0]}, overflow above 2 to the {powers[-1]}")
    for power, text in ((-24, "2⁻²⁴ smallest\nof float16"), (-14, "2⁻¹⁴ small-\nest normal")):
        left.axvline(power, color="#666666", linewidth=1.0, linestyle=(0, (1, 2)))
        left.annotate(text, (power, 1.0), xycoords=("data", "axes fraction"), xytext=(-3, -2), textcoords="offset points",
                      fontsize=8, color="#666666", ha="right", va="top")
    left.set_ylim(bottom=0)
    left.set_xlabel("log₂ of the gradient's size, float32")
    left.set_ylabel("percent of the non-zero gradients")
    left.set_title("one step's gradients", loc="left", fontsize=11)
    right.set_xlabel("log₂ of the loss scale S (a curve ends where gradients overflow)")
    right.set_ylabel("percent flushed to 0 by float16")
    right.set_title("what scaling saves", loc="left", fontsize=11)
    right.set_ylim(-3, 103)
    right.set_xlim(first - 1, max(r["log2"] for r in rows if r["what"] == "flushed") + 1)
    right.axvline(0, color="#666666", linewidth=1.0, linestyle=(0, (1, 2)))
    right.annotate("no scaling", (0, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -2), textcoords="offset points",
                   fontsize=8, color="#666666", va="top")
    right.legend(fontsize=9, frameon=False, loc="upper right", bbox_to_anchor=(1.0, 0.93), title="in both panels",
                 title_fontsize=8)
    alt = ("Left: histogram of all gradients of one step in powers of two, for the trained base model and for the same model "
           "before training. Right: share of the gradients that float16 flushes to zero against the loss scale, mean and "
           "single seeds. " + "; ".join(said) + ".")
    return figure, alt
