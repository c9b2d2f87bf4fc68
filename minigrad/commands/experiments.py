"""`minigrad compare`, `rank-sweep` and `experiments …`: the commands that end in a table and a figure."""
from __future__ import annotations

from minigrad.commands import common, studies

FULL = {"examples": 4000, "seeds": 5, "words": 2000}                # what --full stands for
DEFAULT = {"examples": 2000, "seeds": 3, "words": 1000}

# name: (help, description, default number of seeds; 0: nothing in it is drawn at random)
PRECISION = {
    "precision-gradients": ("how small gradients are, and what float16 loses",
                            "Histogram of one step's gradients in powers of two, and the share that float16 flushes to 0 "
                            "against the loss scale, for the base model, trained and untrained. Half a minute.", 3),
    "precision-training": ("float32, float16, loss scaling and bfloat16: training curves",
                           "Train a small transformer in each format, plainly and with a loss so small that float16 loses most "
                           "gradients, and follow the loss scale. About 2 minutes.", 3),
    "precision-updates": ("a thousand small updates, in every format",
                          "Lower a weight of 1 by 0.0001 a thousand times: nearest rounding, master weights, Kahan summation, "
                          "stochastic rounding. Seconds.", 5),
    "precision-matmul": ("the error of a matrix product against its length",
                         "Products of narrow numbers summed in float32, and with every step rounded. Seconds.", 5),
    "precision-adam": ("Adam's eps and beta2 in narrow formats",
                       "Where float16 makes eps 0 and bfloat16 makes beta2 1, and what Adam does then. Seconds.", 5),
    "precision-memory": ("memory of a step of each method, measured and calculated",
                         "Weights, activations, gradients, optimizer state of one step beside their closed forms. Seconds.", 0),
}


def add(commands) -> None:
    """Register the commands."""
    p = commands.add_parser(
        "compare", help="all methods side by side on one task: table and figure",
        description="Fine-tune the base model in several ways on one task, all with the same words and steps, and write a "
                    "table (compare.csv), a figure (compare.png) and the circumstances (compare.json) to --out. Learning "
                    "rates were chosen on validation words; what is reported are test words. About 4 minutes on 2 cores. "
                    "Ctrl-C keeps finished runs; the same command goes on.",
        epilog="Examples:  minigrad compare --task accent      minigrad compare --methods lora,full --seeds 5\n"
               "           minigrad compare --methods all --budget 8192")
    _add_task(p)
    p.add_argument("--methods", type=common.methods, default=None, metavar="LIST",
                   help="methods, separated by commas, or all (every method that can be trained alone, at matched "
                        "budgets); default full,topk,adapter,prefix,lora")
    p.add_argument("--budget", type=common.whole(1), metavar="N",
                   help="give each method the size whose number of trained parameters is nearest to N (with all: 8,192)")
    _add_size(p)
    p.add_argument("--lr", type=common.above_zero, metavar="X", help="one learning rate for all (default: each its own)")
    p.add_argument("--rounds", type=common.whole(1), default=10, metavar="N", help="rounds of timing; default 10")
    p.add_argument("--adapters", metavar="DIR", help="where to keep the adapters of the first seed; default OUT/adapters")
    _add_running(p, "runs/compare")
    p.set_defaults(run=compare)

    p = commands.add_parser(
        "rank-sweep", help="accuracy against the rank of LoRA: table and figure",
        description="Fine-tune with LoRA of several ranks at fixed alpha/rank = 2 and a fixed learning rate, with full "
                    "fine-tuning and the base model as reference lines; writes rank_vs_accuracy.csv, .png and .json to "
                    "--out, and accuracy_vs_parameters.* (joined by the methods of a compare.csv in the same folder).",
        epilog="Example:  minigrad rank-sweep --task rhyme --ranks 1,4,16 --targets q_proj,v_proj")
    _add_task(p)
    p.add_argument("--ranks", type=common.several(common.whole(1)), default=None, metavar="LIST",
                   help="default 1,2,4,8,16,32,64,128")
    p.add_argument("--targets", type=common.several(str), default=None, metavar="LIST",
                   help="layers that LoRA changes: q_proj, v_proj, … or all-linear; default q_proj,v_proj")
    p.add_argument("--lr", type=common.above_zero, metavar="X",
                   help="LoRA's learning rate (default: half of the one chosen at rank 8)")
    _add_size(p)
    _add_running(p, "runs/rank-sweep")
    p.set_defaults(run=rank_sweep)

    p = commands.add_parser("experiments", help="the other experiments (targets, low-data, lr-grid, …)",
                            description="Experiments beside compare and rank-sweep.")
    p.set_defaults(run=lambda args: p.print_help() or 0)
    others = p.add_subparsers(title="experiments", metavar="NAME", dest="experiment", parser_class=type(p))
    g = others.add_parser(
        "lr-grid", help="choose each method's learning rate on validation words",
        description="Fine-tune each method with each learning rate, score it on validation words (never on test words) and "
                    "write lr_grid.csv, .png and .json with the best rate of each method to --out.")
    _add_task(g)
    g.add_argument("--methods", type=common.methods, default=None, metavar="LIST",
                   help="methods, separated by commas, or all; default full,topk,adapter,prefix,lora")
    g.add_argument("--budget", type=common.whole(1), metavar="N",
                   help="try each method at the size whose number of trained parameters is nearest to N")
    g.add_argument("--rates", type=common.several(common.above_zero), default=None, metavar="LIST",
                   help="learning rates to try with every method (default: a range around each method's usual one)")
    g.add_argument("--adopt", action="store_true", help="make the best rates the package's own (learning_rates.json)")
    _add_size(g)
    _add_running(g, "runs/lr-grid")
    g.set_defaults(run=lr_grid)

    studies.add(others)

    for name, (help, description, seeds) in PRECISION.items():
        files = f" Writes {name.replace('-', '_')}.csv, .png and .json to --out."
        g = others.add_parser(name, help=help, description=description + files)
        if seeds:
            g.add_argument("--seeds", type=common.whole(1), default=seeds, metavar="N", help=f"seeds 0 … N−1; default {seeds}")
        g.add_argument("--out", default="runs/precision", metavar="DIR", help="default runs/precision")
        if name in ("precision-gradients", "precision-memory"):
            common.add_base(g)
        common.add_machine(g, threads=1)
        g.set_defaults(run=precision)

    g = others.add_parser(
        "gpu-report", help="everything that only a GPU can show: a dated record",
        description="On a machine with an NVIDIA GPU: the test suite on CuPy, a training run beside NumPy's, hidden waiting, "
                    "memory, step times beside PyTorch eager at three sizes. Writes DATE_GPU.csv, .json and .md to --out.")
    g.add_argument("--out", default="figures/gpu", metavar="DIR", help="default figures/gpu")
    g.add_argument("--sizes", type=common.several(str), default=["lesson", "25M", "124M"], metavar="LIST",
                   help="default lesson,25M,124M")
    g.add_argument("--rounds", type=common.whole(1), default=20, metavar="N", help="timed steps for each median; default 20")
    g.add_argument("--no-tests", action="store_true", help="leave the test suite out")
    g.set_defaults(run=gpu_report)

    g = others.add_parser("both-backends", help="the same training on NumPy and on CuPy, side by side",
                          description="Train a small GPT on each backend that is usable here; losses and times side by side.")
    g.add_argument("--steps", type=common.whole(1), default=30, metavar="N", help="default 30")
    g.set_defaults(run=both_backends)


def _add_task(p) -> None:
    p.add_argument("--task", default="rhyme", metavar="NAME|FILE",
                   help="rhyme, accent, pronounce, or a .tsv file (word<TAB>symbols); default rhyme")


def _add_size(p) -> None:
    group = p.add_argument_group("size of the experiment")
    group.add_argument("--seeds", type=common.whole(1), metavar="N", help="seeds 0 … N−1; default 3")
    group.add_argument("--examples", type=common.whole(1), metavar="N", help="words to learn from; default 2,000")
    group.add_argument("--epochs", type=common.whole(1), default=3, metavar="N", help="passes over them; default 3")
    group.add_argument("--batch-size", type=common.whole(1), default=32, metavar="N", help="words per step; default 32")
    group.add_argument("--words", type=common.whole(1), metavar="N", help="words to be scored on; default 1,000")
    group.add_argument("--full", action="store_true", help="4,000 examples, 5 seeds, 2,000 words: for figures to keep")


def _add_running(p, out: str) -> None:
    group = p.add_argument_group("running")
    group.add_argument("--out", default=out, metavar="DIR", help=f"default {out}")
    group.add_argument("--processes", type=common.whole(1), metavar="N",
                       help="runs side by side; default: 2, or 1 with one core or on a GPU")
    group.add_argument("--fresh", action="store_true", help="forget the finished runs of an interrupted experiment")
    common.add_base(group)
    common.add_machine(p, threads=1)


def _settings(args, split: str = "test") -> dict:
    """The arguments that all experiments take, defaults filled in."""
    from minigrad import tasks
    from minigrad.experiments.table import cpu_count

    size = FULL if args.full else DEFAULT
    common.set_up_machine(args)
    with common.users_mistakes():
        task = tasks.get(args.task)
        room = {"examples": len(task.examples("adapt")), "words": len(task.examples(split))}
    if args.examples and args.examples > room["examples"]:
        raise common.UserMistake(f"--examples {args.examples}: the task {task.name} has {room['examples']:,} adaptation words")
    chosen = {name: getattr(args, name) or min(size[name], room[name]) for name in ("examples", "words")}
    processes = args.processes or (1 if args.backend == "cupy" else min(2, cpu_count()))
    return {"task": args.task, "seeds": range(args.seeds or size["seeds"]), "epochs": args.epochs, **chosen,
            "batch_size": args.batch_size, "base": args.base, "out": args.out, "processes": processes, "threads": args.threads,
            "backend": args.backend, "fresh": args.fresh, "say": common.say, "command": common.command_line()}


def _do(experiment, args, settings: dict, **options) -> int:
    """Call an experiment with those options that were given; 130 when it was interrupted."""
    from minigrad.experiments.runner import Interrupted

    given = {key: value for key, value in options.items() if value is not None}
    common.load_base(args)                          # so that a mistake there is told before anything starts
    try:
        with common.users_mistakes():
            experiment(**settings, **given)
    except Interrupted as stopped:
        common.say(f"\n{stopped}")
        return 130
    return 0


def compare(args) -> int:
    """Every method on one task."""
    from minigrad.experiments import compare as experiment

    return _do(experiment, args, _settings(args), methods=args.methods, lr=args.lr, rounds=args.rounds,
               adapters=args.adapters, budget=args.budget)


def rank_sweep(args) -> int:
    """LoRA's rank."""
    from minigrad.experiments import rank_sweep as experiment

    return _do(experiment, args, _settings(args), ranks=args.ranks, targets=args.targets, lr=args.lr)


def lr_grid(args) -> int:
    """The learning rates."""
    from minigrad.experiments import lr_grid as experiment

    return _do(experiment, args, _settings(args, "validation"), methods=args.methods, rates=args.rates, budget=args.budget,
               adopt=args.adopt or None)


def gpu_report(args) -> int:
    """What only a GPU can show."""
    from minigrad.experiments import gpu_report as experiment

    with common.users_mistakes():
        return experiment.run(args.out, args.sizes, args.rounds, not args.no_tests, say=common.say)


def both_backends(args) -> int:
    """The same cell twice."""
    from minigrad.experiments.both_backends import both_backends as demo

    demo(steps=args.steps, say=common.say)
    return 0


def precision(args) -> int:
    """One of the experiments on number formats and memory."""
    import importlib

    common.set_up_machine(args)
    name = args.experiment.replace("-", "_")
    options = {"seeds": range(args.seeds)} if hasattr(args, "seeds") else {}
    if hasattr(args, "base"):
        common.load_base(args)                      # so that a mistake there is told before anything starts
        options["base"] = args.base
    experiment = getattr(importlib.import_module(f"minigrad.experiments.{name}"), name)
    experiment(out=args.out, say=common.say, command=common.command_line(), **options)
    return 0
