"""`minigrad methods`, `info` and `bench`: commands that show something and change nothing."""
from __future__ import annotations

import inspect
import platform

from minigrad.commands import common


def add(commands) -> None:
    """Register the commands."""
    p = commands.add_parser("methods", help="the ways to fine-tune: what each trains and promises",
                            description="The table of methods, generated from their classes; with a name, its whole story.")
    p.add_argument("name", nargs="?", type=common.method, metavar="NAME", help="a method, for its equation and references")
    p.add_argument("--markdown", action="store_true", help="the table as Markdown, as it stands in minigrad/peft/README.md")
    p.set_defaults(run=methods)

    p = commands.add_parser("info", help="versions, threads, backends, shipped models",
                            description="What this installation consists of and which array libraries it can use.")
    p.set_defaults(run=info)

    p = commands.add_parser("bench", help="how fast everything is, here and in PyTorch",
                            description="Time training steps of three sizes, their matrix products, fine-tuning methods, "
                                        "generation, rounding, each operation and how the cost grows, in turns with PyTorch "
                                        "(if it is installed) on equal threads; and count what a step keeps, layer by layer. "
                                        "Writes bench, bench_products, bench_memory, bench_profile and bench_growth (.csv, "
                                        ".png, .json). Ctrl-C leaves what was measured.",
                            epilog="minigrad bench --out figures              everything, about seven minutes\n"
                                   "minigrad bench --parts steps profile      some of it\n"
                                   "minigrad bench --batch-size 8 --tokens 32 one step of the base model, nothing else")
    p.add_argument("--parts", nargs="+", metavar="PART", help="of steps products memory generation adaptation rounding profile "
                                                              "growth (all)")
    p.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs; the numbers say nothing")
    p.add_argument("--batch-size", type=common.whole(1), metavar="N", help="time one step of the base model alone (32)")
    p.add_argument("--tokens", type=common.whole(1), metavar="N", help="the same: tokens per sequence (64)")
    p.add_argument("--rounds", type=common.whole(1), default=20, metavar="N", help="of that step, or of --formats; default 20")
    p.add_argument("--threads", type=common.whole(1), default=1, metavar="N", help="for both; default 1")
    p.add_argument("--formats", action="store_true", help="time emulated number formats instead: rounding, and a step")
    p.add_argument("--out", metavar="DIR", help="where to write (runs/bench; a single step or --formats: nowhere)")
    p.set_defaults(run=bench)


def methods(args) -> int:
    """The table of methods, or the docstring of one."""
    from minigrad import peft
    from minigrad.experiments.table import text_table

    if args.name:
        print(inspect.getdoc(peft.methods()[args.name]))
        return 0
    rows = peft.table()
    if args.markdown:
        print(methods_page(rows), end="")
        return 0
    print(text_table(list(rows[0]), [list(row.values()) for row in rows], left=len(rows[0])))
    print("\nL layers, d width, V vocabulary, P prefix length, r rank or bottleneck. More:  minigrad methods lora")
    return 0


def methods_page(rows) -> str:
    """minigrad/peft/README.md: the table of methods, each name a link to the file that holds it."""
    from minigrad import peft

    lines = ["# The ways to fine-tune", "",
             "Written by `minigrad methods --markdown` from the registry; a test holds it to that.",
             "`minigrad methods NAME` tells a method's whole story, and its file is one to read beside the transformer.", "",
             "| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        file = peft.methods()[row["method"]].__module__.rpartition(".")[2] + ".py"
        paper = row["paper"] if not row["paper"][:4].isdigit() else \
            f"[{row['paper'].split()[0]}](https://arxiv.org/abs/{row['paper'].split()[0]})" + row["paper"][10:]
        lines.append("| " + " | ".join([f"[`{row['method']}`]({file})", f"`{row['class']}`", paper,
                                        *list(row.values())[3:]]) + " |")
    lines += ["", "L layers, d width, d_ff width of the MLP, V vocabulary, C context, H heads, P prefix length, K rows or",
              "blocks, r rank or bottleneck, n branches; Σ over the targeted layers. *Starts at base*: before the first step",
              "the model is the base. *Extra latency*: at inference."]
    return "\n".join(lines) + "\n"


def info(args) -> int:
    """What there is."""
    import numpy

    import minigrad
    from minigrad import backend, pretrained, tasks
    from minigrad.experiments.table import blas, cpu_count

    rows = [("minigrad", minigrad.__version__), ("Python", platform.python_version()), ("NumPy", numpy.__version__),
            ("linear algebra", blas()), ("cores", str(cpu_count()))]
    rows += [(f"backend {name}", state) for name, state in backend.available().items()]
    for name in pretrained.names():
        made = pretrained.manifest(name)
        test = made.get("test")
        rows.append((f"model {name}", f"{made['parameters']:,} parameters"
                     + (f", {test['exact_match']:.1%} of {test['words']:,} test words right" if test else "")))
    rows.append(("tasks", ", ".join(tasks.names())))
    for name, value in rows:
        print(f"{name:<16} {value}")
    return 0


def bench(args) -> int:
    """The whole suite; or one step, or the formats."""
    from minigrad.experiments.bench import bench as step
    from minigrad.experiments.bench_formats import bench_formats
    from minigrad.experiments.bench_suite import PARTS, bench_suite
    from minigrad.pretrained import write_json

    if not (args.formats or args.batch_size or args.tokens):
        with common.users_mistakes():
            bench_suite(out=args.out or "runs/bench", threads=args.threads, parts=tuple(args.parts or PARTS), quick=args.quick,
                        say=common.say, command=common.command_line())
        return 0
    experiment, name = (bench_formats, "bench_formats") if args.formats else (step, "bench")
    result = experiment(batch_size=args.batch_size or 32, tokens=args.tokens or 64, rounds=args.rounds, threads=args.threads,
                        say=common.say)
    if args.out:
        path = write_json(f"{args.out}/{name}.json", {"command": common.command_line(), **result})
        common.say(f"wrote {path}")
    return 0
