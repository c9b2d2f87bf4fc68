"""`minigrad memory`: what a training step holds, measured on the base model or calculated for a model of any size."""
from __future__ import annotations

import argparse

from minigrad.commands import common

TABLES = ("schemes", "zero", "gpt3", "kv")
QLORA = "qlora"                                     # LoRA on a base of 4 bits: the calculator knows it, the engine not yet


def add(commands) -> None:
    """Register the command."""
    p = commands.add_parser(
        "memory", help="bytes of a training step, for each method: measured, or calculated for any model",
        description="Without --params, --model or --table: take one training step of the base model with each method (learning "
                    "rate 0), count what it holds (weights, activations kept for the backward pass, gradients, optimizer "
                    "state) and set it beside the closed form. With --params or --model: calculate, for models that fit on "
                    "no desk. GB is 10⁹ bytes.",
        epilog="Examples:  minigrad memory --methods full,lora\n"
               "           minigrad memory --params 7.5e9 --zero 0..3 --gpus 64\n"
               "           minigrad memory --model gpt3-175b --method full,lora --rank 8\n"
               "           minigrad memory --model llama-65b --method qlora --scheme 16bit --zero 0 --gpus 1\n"
               "           minigrad memory --table gpt3")
    p.add_argument("--methods", "--method", type=common.several(_method), metavar="LIST",
                   help="default: all that are measured, or full when calculating (which also knows qlora)")
    g = p.add_argument_group("measuring")
    g.add_argument("--task", default="rhyme", metavar="NAME|FILE", help="whose words the batch holds; default rhyme")
    g.add_argument("--batch-size", type=common.whole(1), default=32, metavar="N", help="default 32")
    g.add_argument("--by-layer", action="store_true", help="where the activations are, module by module, with and without "
                                                           "checkpointing of blocks (the first of --methods; default full)")
    common.add_base(g)
    g = p.add_argument_group("calculating")
    g.add_argument("--params", type=_quantity, metavar="N", help="parameters of the base model: 7.5e9, 7.5B, 350M")
    g.add_argument("--model", metavar="NAME", help="a known model: gpt3-175b, llama-7b, … (--model ? lists them)")
    g.add_argument("--scheme", default="mixed", metavar="NAME",
                   help="bytes per trained parameter: mixed (2 + 2 + 12), fp32-adam, 16bit, …; see --table schemes")
    g.add_argument("--zero", type=_stages, default=None, metavar="STAGES", help="0, 1, 2, 3, 0..3 or 0,2; default 0")
    g.add_argument("--gpus", type=common.several(common.whole(1)), default=[1], metavar="LIST", help="devices; default 1")
    g.add_argument("--rank", type=common.whole(1), default=8, metavar="R", help="of lora and qlora; default 8")
    g.add_argument("--layers", type=common.whole(1), metavar="L", help="with --params, for what a method trains")
    g.add_argument("--d-model", type=common.whole(1), metavar="D", help="with --params, for what a method trains")
    g.add_argument("--trained", type=_quantity, metavar="N", help="trained parameters, instead of the method's own count")
    g.add_argument("--table", choices=TABLES, metavar="NAME",
                   help="one of the tables: schemes, zero, gpt3 (sizes and FLOPs per step), kv (cache per token)")
    common.add_machine(p)
    p.set_defaults(run=memory)


def _method(text: str) -> str:
    return text if text == QLORA else common.method(text)


def _quantity(text: str) -> float:
    """7.5e9, 7.5B, 350M, 20k."""
    factor = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}.get(text[-1:].lower(), 0)
    return common.above_zero(text[:-1]) * factor if factor else common.above_zero(text)


def _stages(text: str) -> list[int]:
    """"2", "0,3" or "0..3"."""
    first, dots, last = text.partition("..")
    parts = [str(i) for i in range(int(first), int(last) + 1)] if dots and first.isdigit() and last.isdigit() else \
        text.split(",")
    if not parts or any(part not in ("0", "1", "2", "3") for part in parts):
        raise argparse.ArgumentTypeError(f"stages of ZeRO are 0, 1, 2 and 3, as in 2, 0,3 or 0..3; got {text!r}")
    return [int(part) for part in parts]


def memory(args) -> int:
    """Measure, or calculate where a size is given."""
    if args.table:
        print({"schemes": _schemes, "zero": _zero_table, "gpt3": _gpt3, "kv": _kv}[args.table]())
        return 0
    if args.model == "?":
        return _list_models()
    if args.params is not None or args.model is not None:
        with common.users_mistakes():
            print(_calculate(args))
        return 0
    for option, given in (("--zero", args.zero), ("--trained", args.trained), ("--layers", args.layers),
                          ("--d-model", args.d_model)):
        if given is not None:
            raise common.UserMistake(f"{option} belongs to a calculation: give --params or --model as well")
    return _measure(args)


# ---- measuring ------------------------------------------------------------------------------------------------------------

def _measure(args) -> int:
    from minigrad import tasks
    from minigrad.experiments.adaptation import reference_batch
    from minigrad.experiments.precision_memory import measure
    from minigrad.experiments.table import bytes_text, text_table

    if args.methods and QLORA in args.methods:
        raise common.UserMistake("qlora can be calculated (--model or --params), not measured")
    common.set_up_machine(args)
    model, tokenizer = common.load_base(args)
    with common.users_mistakes():
        task = tasks.get(args.task)
        task.add_symbols(tokenizer)
        batch = reference_batch(tokenizer, task, args.batch_size)
        if args.by_layer:
            print(_by_layer(model, batch, (args.methods or ["full"])[0]))
            return 0
        rows = measure(model, batch, args.methods)
    parts = ("weights", "activations", "gradients", "optimizer")
    lines = []
    for row in rows:
        measured, theory = ([row[f"{what}_{kind}"] for what in parts] for kind in ("measured", "theory"))
        known = None not in theory
        lines.append([row["method"], f"{row['trainable']:,}", *map(bytes_text, (*measured, sum(measured))),
                      bytes_text(sum(theory)) if known else "—",
                      f"{100 * (sum(measured) / sum(theory) - 1):+.2f} %" if known else "—"])
    print(f"one training step on {len(batch.ids)} words of {task.name} ({batch.ids.shape[1]} tokens each), float32\n")
    print(text_table(["method", "trained", *parts, "together", "formula", "off by"], lines))
    return 0


def _by_layer(model, batch, name: str) -> str:
    """A table of the activations of each module, and what checkpointing leaves of their sum."""
    from minigrad import peft, training
    from minigrad.experiments.adaptation import SIZES
    from minigrad.experiments.table import bytes_text, text_table

    adapted = peft.apply(model, peft.create(name, **SIZES.get(name, {})))
    layers = training.activations_by_layer(adapted.model, batch)
    total = sum(layers.values())
    adapted.model.checkpoint_blocks = True
    try:
        kept = training.memory(adapted, batch).activations
        checkpointed = f"{bytes_text(kept)} ({100 * kept / total:.0f} %); every block runs forward twice"
    except ValueError as error:                     # not every method can be trained so
        checkpointed = str(error)
    lines = [[module or "(loss)", bytes_text(n), f"{100 * n / total:.1f} %"] for module, n in layers.items()]
    return (text_table(["module", "kept", "share"], [*lines, ["together", bytes_text(total), ""]])
            + f"\n\nwith checkpoint_blocks: {checkpointed}")


# ---- calculating ----------------------------------------------------------------------------------------------------------

def _calculate(args) -> str:
    from minigrad.experiments.table import text_table
    from minigrad.training import memory_model as mm

    shape = _shape(args)
    params = args.params if args.params is not None else shape.params
    scheme = mm.scheme_named(args.scheme)
    if args.trained is not None and args.methods and set(args.methods) & {"full"}:
        raise common.UserMistake("--trained says how many parameters a method trains; full trains all of them")
    lines = []
    for name in args.methods or (["full"] if args.trained is None else ["lora"]):
        trained = _trained(name, args, shape)
        states = mm.model_states(params, trained, scheme=scheme, added=name not in mm.IN_PLACE,
                                 base_bits=mm.nf4_bits() if name == QLORA else None)
        for gpus in args.gpus:
            for stage in args.zero or [0]:
                share = mm.zero(states, stage, gpus)
                lines.append([name, stage, gpus, f"{params if trained is None else trained:,.0f}",
                              *(_gb(part) for part in (share.weights, share.gradients, share.optimizer, share.total))])
    what = shape.name if args.params is None else "a model"
    text = (f"{what} of {params:,.0f} parameters, {scheme.name}: {scheme.weights:g} + {scheme.gradients:g} + "
            f"{scheme.optimizer:g} = {scheme.total:g} bytes per trained parameter ({scheme.about})\n"
            "bytes on each device, GB = 10⁹; activations come on top and depend on the batch\n\n")
    text += text_table(["method", "ZeRO", "GPUs", "trained", "weights", "gradients", "optimizer", "together"], lines)
    if shape is not None and shape.batch_tokens:
        text += f"\n\n{mm.flops_per_step(shape):.2e} floating-point operations per step of {shape.batch_tokens:,.0f} tokens"
    return text


def _shape(args):
    from minigrad.training import memory_model as mm

    if args.model is None:
        return None
    if args.model not in mm.SHAPES:
        raise common.UserMistake(f"unknown model {args.model!r}: known are {', '.join(mm.SHAPES)}")
    return mm.SHAPES[args.model]


def _trained(name: str, args, shape) -> float | None:
    """How many parameters the method trains; None for all."""
    from minigrad.experiments.adaptation import make_method
    from minigrad.models import GPTConfig

    if name == "full":
        return None
    if args.trained is not None:
        return args.trained
    layers, width = (args.layers or getattr(shape, "layers", None)), (args.d_model or getattr(shape, "width", None))
    if layers is None or width is None:
        raise common.UserMistake(f"what {name} trains depends on the model's shape: give --layers and --d-model, or --model, "
                                 "or the number itself with --trained")
    method = make_method("lora" if name == QLORA else name, **({"rank": args.rank} if name in ("lora", QLORA) else {}))
    return method.count(GPTConfig(getattr(shape, "vocabulary", 50257), getattr(shape, "context", 2048), width, layers, 1))


def _list_models() -> int:
    from minigrad.experiments.table import text_table
    from minigrad.training import memory_model as mm

    print(text_table(["model", "parameters", "layers", "width", "heads"],
                     [[s.name, f"{s.params:,.0f}", s.layers, s.width, s.heads] for s in mm.SHAPES.values()]))
    return 0


# ---- tables ---------------------------------------------------------------------------------------------------------------

def _gb(n: float) -> str:
    """Gigabytes with 4 digits that count; smaller amounts in MB."""
    return f"{n / 1e9:.4g} GB" if n >= 1e9 or n == 0 else f"{n / 1e6:.4g} MB"


def _schemes() -> str:
    from minigrad.experiments.table import text_table
    from minigrad.training import memory_model as mm

    return text_table(["scheme", "weights", "gradients", "optimizer", "bytes each", ""], [
        [s.name, *(f"{part:.4g}" for part in (s.weights, s.gradients, s.optimizer, s.total)), s.about]
        for s in mm.SCHEMES.values()])


def _zero_table() -> str:
    from minigrad.experiments.table import text_table
    from minigrad.training import memory_model as mm

    sizes, lines = (7.5e9, 128e9, 1e12), []
    for devices in (1, 4, 16, 64, 256, 1024):
        states = [mm.zero(mm.model_states(size), stage, devices).total for size in sizes for stage in (1, 2, 3)]
        lines.append([devices, *(f"{total / 1e9:.6g}" if total < 1e10 else f"{total / 1e9:,.2f}" for total in states)])
    return ("GB on each device, 16 bytes per parameter (mixed precision with Adam, K = 12): ZeRO stage 1, 2, 3 (1910.02054)\n\n"
            + text_table(["GPUs", *(f"{size}, {stage}" for size in ("7.5B", "128B", "1T") for stage in (1, 2, 3))], lines))


def _gpt3() -> str:
    from minigrad.experiments.table import text_table
    from minigrad.training import memory_model as mm

    lines = []
    for s in mm.GPT3:
        lines.append([s.name, f"{s.params / 1e9:g}B", f"{s.computed / 1e9:.3f}B", s.layers, s.width, s.heads, s.head_dim,
                      f"{s.batch_tokens / 1e6:g}M", f"{s.learning_rate:.1e}", _gb(mm.weight_bytes(s.params)),
                      _gb(mm.model_states(s.params).total), f"{mm.flops_per_step(s):.2e}",
                      f"{mm.flops_per_step(s, attention=True):.2e}"])
    text = text_table(["model", "stated", "computed", "layers", "width", "heads", "of", "batch", "rate", "fp16", "training",
                       "FLOPs/step", "with attention"], lines)
    remarks = [f"{s.name}: {s.remark}; both are as the paper prints them" for s in mm.GPT3 if s.remark]
    notes = ["computed: 12·L·d² + 13·L·d + 2·d + (50,257 + 2,048)·d · batch in tokens · training: 16 bytes per parameter",
             "FLOPs/step: 6 per parameter and token · with attention: and 12·L·2,048·d per token", *remarks]
    return text + "\n\n" + "\n".join(notes)


def _kv() -> str:
    from minigrad.experiments.table import text_table
    from minigrad.training import memory_model as mm

    return ("bytes of keys and values: 2 · layers · KV heads · head size · bytes of a number\n\n"
            + text_table(["model", "layers", "KV heads", "of", "fp16, a token", "float32", "fp16, 2,048 tokens"], [
                [s.name, s.layers, s.kv_heads or s.heads, s.head_dim, f"{s.kv_bytes():,}", f"{s.kv_bytes(bytes_each=4):,}",
                 f"{s.kv_bytes(tokens=2048) / 2 ** 30:.4g} GiB"] for s in mm.SHAPES.values()]))
