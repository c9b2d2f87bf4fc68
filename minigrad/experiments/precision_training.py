"""`minigrad experiments precision-training`: the same small transformer trained in float32, float16 and bfloat16.

Two configurations. "plain" is training as usual. "tiny loss" multiplies the loss by 2⁻ᵏ, as the share of one among 2ᵏ
accumulated micro-batches is, and Adam's ε with it: in float32 that changes nothing at all, every step is the same to the
last bits, but all gradients are 2ᵏ times smaller. Weights and Adam's moments are float32 throughout; what differs is the
format of the matrix products, forward and backward, and whether a GradScaler lifts the loss.
"""
from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass

import numpy as np

from minigrad import amp, optim, tasks
from minigrad.backend import host
from minigrad.experiments import table
from minigrad.experiments.figure import groups, new_figure, spread_labels
from minigrad.experiments.precision_common import draw_series, look
from minigrad.experiments.precision_gradients import gradients, lost
from minigrad.experiments.statistics import summarize
from minigrad.models import GPT, GPTConfig
from minigrad.training import loss_on

NAME = "precision_training"
COLUMNS = ("configuration", "recipe", "seed", "step", "loss", "scale", "skipped")
RECIPES = {"fp32": ("fp32", False), "fp16": ("fp16", False), "fp16 scaled": ("fp16", True), "bf16": ("bf16", False)}


@dataclass(frozen=True)
class Setting:
    """A configuration: the model, the data and the loss's weight 2^power. growth_interval is short (PyTorch's is 2000), so
    that a run of a few hundred steps shows how the scaler works."""

    name: str
    power: int = 0
    d_model: int = 64
    n_layers: int = 2
    n_heads: int = 4
    batch_size: int = 32
    words: int = 2000
    steps: int = 200
    lr: float = 2e-3
    warmup: int = 20
    init_scale: float = 65536.0
    growth_interval: int = 10


PLAIN = Setting("plain")
TINY_LOSS = Setting("tiny loss", power=-12)         # chosen so that far more than a tenth of the gradients underflow
SETTINGS = (PLAIN, TINY_LOSS)


def make(setting: Setting, seed: int):
    """(model, batches) of a run: the seed draws the weights, the words and their order."""
    tokenizer = tasks.Tokenizer()
    host.manual_seed(seed)
    model = GPT(GPTConfig(tokenizer.vocab_size, d_model=setting.d_model, n_layers=setting.n_layers, n_heads=setting.n_heads))
    rng = np.random.default_rng([seed, 5])
    pool = tasks.get("pronounce").examples("adapt")
    chosen = [pool[i] for i in rng.permutation(len(pool))[:setting.words]]
    return model, tasks.Batches(tasks.encode_examples(tokenizer, chosen), setting.batch_size, rng, pad_id=tokenizer.pad_id)


def train(setting: Setting, recipe: str, seed: int) -> list[dict]:
    """One run: per step its loss (in nats, without the weight), the scale, and whether the step was skipped."""
    format, scaled = RECIPES[recipe]
    model, batches = make(setting, seed)
    weight = 2.0 ** setting.power
    optimizer = optim.AdamW(model.named_parameters(), lr=setting.lr, eps=1e-8 * weight)
    scaler = amp.GradScaler(init_scale=setting.init_scale, growth_interval=setting.growth_interval, enabled=scaled)
    rows: list[dict] = []
    while len(rows) < setting.steps:
        for batch in batches:
            for group in optimizer.param_groups:
                group["lr"] = setting.lr * min(1.0, (len(rows) + 1) / setting.warmup)
            with amp.autocast(format) if format != "fp32" else contextlib.nullcontext():
                loss = loss_on(model, batch)
            before = scaler.get_scale()
            with np.errstate(all="ignore"):
                scaler.scale(loss * weight).backward()
                scaler.step(optimizer)
                scaler.update()
            optimizer.zero_grad()
            rows.append({"configuration": setting.name, "recipe": recipe, "seed": seed, "step": len(rows) + 1,
                         "loss": loss.item(), "scale": before if scaled else None,
                         "skipped": int(scaler.get_scale() < before) if scaled else None})
            if len(rows) == setting.steps:
                break
    return rows


def underflow(setting: Setting, seed: int = 0) -> dict[str, float]:
    """The share of gradients, of "weights", "activations" and "all", that float16 without scaling turns into 0 at step 1."""
    model, batches = make(setting, seed)
    batch = next(iter(batches))
    exact = gradients(model, batch)
    found = gradients(model, batch, format="fp16", scale=2.0 ** setting.power)
    shares = {kind: lost(exact[kind], found[kind])[0] for kind in exact}
    return shares | {"all": lost(*(np.concatenate([g["weights"], g["activations"]]) for g in (exact, found)))[0]}


def precision_training(*, out="runs/precision", seeds=range(3), settings=SETTINGS, say=print, command: str = "") -> list[dict]:
    """Train in all four recipes under both configurations; write precision_training.{csv,png,json} to `out`."""
    rows, shares = [], {}
    for setting in settings:
        shares[setting.name] = [underflow(setting, seed) for seed in seeds]
        for recipe in RECIPES:
            for seed in seeds:
                rows += train(setting, recipe, seed)
    ends = final_losses(rows)
    behind = {name: {recipe: np.subtract(values, of_name["fp32"]) for recipe, values in of_name.items()}
              for name, of_name in ends.items()}
    mean_share = {name: {kind: float(np.mean([s[kind] for s in of_seeds])) for kind in of_seeds[0]}
                  for name, of_seeds in shares.items()}
    figure, alt = draw(rows, mean_share, settings)
    table.write(NAME, out, rows, columns=COLUMNS, figure=figure, alt=alt, about={
        "command": command, "settings": [asdict(s) for s in settings], "seeds": list(seeds),
        "underflow_at_step_1": mean_share,
        "final_loss": _summaries(ends), "final_loss_minus_fp32": _summaries(behind),
        "note": "loss: of the step's own batch, nats per symbol, without the weight; final loss: mean of the last 20 steps, "
                "mean and 95 % t-interval over seeds; minus_fp32: the same, of the differences seed by seed"})
    say(report(rows, mean_share))
    say(f"wrote {NAME}.csv, .png and .json to {out}")
    return rows


def _summaries(values: dict) -> dict:
    return {name: {recipe: str(summarize(v)) for recipe, v in of_name.items()} for name, of_name in values.items()}


def final_losses(rows, last: int = 20) -> dict[str, dict[str, list[float]]]:
    """{configuration: {recipe: the mean loss over the last steps, per seed}}."""
    ends: dict = {}
    for (name, recipe, _), run in groups(rows, "configuration", "recipe", "seed").items():
        ends.setdefault(name, {}).setdefault(recipe, []).append(float(np.mean([r["loss"] for r in run[-last:]])))
    return ends


def report(rows, shares) -> str:
    """The final losses as text."""
    lines = []
    for name, of_name in final_losses(rows).items():
        for recipe, values in of_name.items():
            behind = summarize(np.subtract(values, of_name["fp32"]))    # seed by seed: seeds differ more than formats
            mine = [r for r in rows if r["configuration"] == name and r["recipe"] == recipe]
            skipped = sum(r["skipped"] or 0 for r in mine) / len(values) if mine[0]["skipped"] is not None else None
            lines.append([name, recipe, str(summarize(values)), "" if recipe == "fp32" else str(behind),
                          "" if skipped is None else f"{skipped:.1f}",
                          "" if mine[-1]["scale"] is None else f"2^{np.log2(mine[-1]['scale']):.0f}"])
    text = table.text_table(["configuration", "recipe", "final loss", "minus fp32's", "skipped steps", "last scale"], lines,
                            left=2)
    return text + "\n\nflushed to 0 by float16 at step 1, without scaling: " + "; ".join(
        f"{name}: {100 * s['all']:.1f} % of all ({100 * s['weights']:.1f} % of weights', {100 * s['activations']:.1f} % of "
        "activations')" for name, s in shares.items())


def smooth(values, window: int = 20) -> np.ndarray:
    """Each value averaged with up to window − 1 before it."""
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, np.float64))])
    ends = np.arange(1, len(sums))
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)


def draw(rows, shares, settings):
    """(figure, alt text): per configuration the losses, and below them the loss scale with its skipped steps."""
    figure, panels = new_figure(len(settings), 2, (11.2, 7.0), height_ratios=(3, 2), sharex=True, squeeze=False)
    said = []
    for column, setting in enumerate(settings):
        top, bottom = panels[0][column], panels[1][column]
        mine, points = [r for r in rows if r["configuration"] == setting.name], []
        for (recipe,), runs in groups(mine, "recipe").items():
            curves = [smooth([r["loss"] for r in run]) for run in groups(runs, "seed").values()]
            for curve in curves:
                top.plot(np.arange(1, len(curve) + 1), curve, color=look(recipe).color, linewidth=0.5, alpha=0.4)
            mean = np.mean(curves, axis=0)
            draw_series(top, np.arange(1, len(mean) + 1), mean, look(recipe), every=max(1, len(mean) // 8))
            if np.isfinite(mean[-1]):
                points.append((len(mean), float(mean[-1]), f"{recipe} {mean[-1]:.2f}", look(recipe).color))
            said.append(f"{setting.name}, {recipe}: ends at {mean[-1]:.2f}")
            if runs[0]["scale"] is not None:
                said.append(_scales(bottom, runs, look(recipe)))
        share = 100 * shares[setting.name]["all"]
        power = str(setting.power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        title = "plain" if setting.power == 0 else f"loss × 2{power}, Adam's ε too"
        top.set_title(f"{title}: {share:.1f} % of gradients underflow at step 1", loc="left", fontsize=10)
        top.set_xlim(0, setting.steps * 1.32)
        top.margins(y=0.1)
        bottom.set_xlabel("training step")
        bottom.yaxis.get_major_locator().set_params(integer=True)
        spread_labels(top, points)
    panels[0][0].set_ylabel("loss, nats per symbol\n(mean of 20 steps)")
    panels[1][0].set_ylabel(f"log₂ of fp16's loss scale\n(doubled after {settings[0].growth_interval} good steps)")
    alt = ("Training loss of a small transformer in float32, float16 without scaling, float16 with dynamic loss scaling and "
           "bfloat16, mean and single seeds, smoothed over 20 steps; below, the loss scale with crosses where a step was "
           "skipped. Left the plain configuration, right one whose loss is multiplied by a small power of two. "
           + "; ".join(said) + ".")
    return figure, alt


def _scales(ax, runs, style) -> str:
    """The scale of every seed, crosses where a step was skipped; returns a clause for the alt text."""
    skipped = []
    for (seed,), run in groups(runs, "seed").items():
        x, y = [r["step"] for r in run], [np.log2(r["scale"]) for r in run]
        width, alpha = (1.4, 1.0) if seed == 0 else (0.6, 0.5)
        ax.plot(x, y, color=style.color, linewidth=width, alpha=alpha, drawstyle="steps-post")
        hit = [(a, b) for a, b, r in zip(x, y, run, strict=True) if r["skipped"]]
        skipped.append(len(hit))
        if seed == 0 and hit:
            ax.plot(*zip(*hit, strict=True), linestyle="none", marker="x", color="#D55E00", markersize=6)
            ax.annotate("✕ skipped", hit[-1], xytext=(6, 5), textcoords="offset points", fontsize=8, color="#D55E00")
    return f"its scale ends at 2 to the {np.log2(runs[-1]['scale']):.0f} after {np.mean(skipped):.1f} skipped steps"
