"""`minigrad experiments precision-memory`: what each method's training step holds, measured and in closed form."""
from __future__ import annotations

from minigrad import peft, pretrained, tasks, training
from minigrad.experiments import table
from minigrad.experiments.adaptation import make_method, reference_batch
from minigrad.experiments.figure import new_figure
from minigrad.training.activation_model import activation_bytes
from minigrad.training.memory_model import IN_PLACE, model_states

NAME = "precision_memory"
METHODS = ("full", "topk", "bitfit", "layernorm", "adapter", "prefix", "prompt", "lora")   # all have formulas
PARTS = ("weights", "activations", "gradients", "optimizer")
COLUMNS = ("method", "trainable", "percent", *(f"{part}_{kind}" for part in PARTS for kind in ("measured", "theory")))
# gray and hatching per part: told apart without color
FILL = {"weights": ("#444444", ""), "activations": ("#BBBBBB", ""), "gradients": ("#777777", "///"),
        "optimizer": ("#FFFFFF", "...")}


def precision_memory(*, out="runs/precision", base: str = "reader", task: str = "rhyme", batch_size: int = 32, say=print,
                     command: str = "") -> list[dict]:
    """Measure a step of each method on one batch, set it beside the formulas, write precision_memory.{csv,png,json}."""
    model, tokenizer = pretrained.load(base)
    words = tasks.get(task)
    words.add_symbols(tokenizer)
    batch = reference_batch(tokenizer, words, batch_size)
    rows = measure(model, batch, METHODS)
    figure, alt = draw(rows, batch.ids.shape)
    table.write(NAME, out, rows, columns=COLUMNS, figure=figure, alt=alt, about={
        "command": command, "settings": {"base": base, "task": task, "batch": list(batch.ids.shape), "format": "float32"},
        "note": "counts of bytes, the same in every run: no seeds. Theory: training/memory_model.py (16 bytes per trained "
                "parameter, 4 per frozen one) and training/activation_model.py; empty where no formula is known."})
    say(f"wrote {NAME}.csv, .png and .json to {out}")
    return rows


def measure(model, batch, names=None) -> list[dict]:
    """One row per method: bytes that a step of `model` on `batch` holds, measured and by the formulas (None: none known)."""
    base, rows = sum(p.size for p in model.parameters()), []
    for name in names or peft.methods():
        method = make_method(name)
        use = training.memory(peft.apply(model, method), batch)
        states = model_states(base, method.count(model.config), scheme="fp32-adam", added=name not in IN_PLACE)
        theory = {"weights": int(states.weights), "gradients": int(states.gradients), "optimizer": int(states.optimizer),
                  "activations": activation_bytes(method, model.config, *batch.ids.shape)}
        row = {"method": name, "trainable": use.trainable, "percent": 100 * use.trainable / base}
        for part in PARTS:
            row |= {f"{part}_measured": getattr(use, part), f"{part}_theory": theory[part]}
        rows.append(row)
    return rows


def draw(rows, shape):
    """(figure, alt text): two bars per method, measured above theory, each of four parts."""
    figure, ax = new_figure(size=(8.6, 1.4 + 0.62 * len(rows)))
    said = []
    for place, row in enumerate(reversed(rows)):
        for kind, shift in (("measured", 0.17), ("theory", -0.17)):
            start = 0.0
            for part in PARTS:
                size = row[f"{part}_{kind}"]
                if size is None:
                    continue
                gray, hatch = FILL[part]
                ax.barh(place + shift, size / 1e6, left=start, height=0.3, facecolor=gray, hatch=hatch, edgecolor="black",
                        linewidth=0.6, label=part if place == 0 and kind == "measured" else None)
                start += size / 1e6
            note = "" if kind == "measured" or row["activations_theory"] is not None else "  (no formula for activations)"
            ax.annotate(f"{kind} {start:.2f} MB{note}", (start, place + shift), xytext=(4, 0), textcoords="offset points",
                        fontsize=7.5, va="center")
        said.append(f"{row['method']} trains {row['percent']:.1f} percent of the parameters and holds "
                    f"{sum(row[f'{p}_measured'] for p in PARTS) / 1e6:.2f} MB, of them activations "
                    f"{row['activations_measured'] / 1e6:.2f}")
    ax.set_yticks(range(len(rows)), [f"{row['method']}\n{row['trainable']:,}" for row in reversed(rows)], fontsize=9)
    ax.margins(x=0.2)
    ax.set_xlabel(f"bytes of a training step on {shape[0]} × {shape[1]} tokens, float32, MB")
    ax.set_ylabel("method, trained parameters", fontsize=9)
    ax.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=4)
    alt = (f"Bytes held by one training step on {shape[0]} times {shape[1]} tokens, per method, as two stacked bars (measured "
           "on the engine, and closed form) of weights, activations, gradients and optimizer state. "
           + "; ".join(reversed(said)) + ".")
    return figure, alt
