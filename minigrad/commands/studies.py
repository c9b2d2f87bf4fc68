"""`minigrad experiments NAME` for the findings of the course material: what they have in common on the command line."""
from __future__ import annotations

import importlib

from minigrad.commands import common

SIZE = {"seeds": 3, "examples": 1280, "epochs": 3, "batch_size": 32, "words": 300}

# name: (help, description, what of the size is not the user's to choose). The function has the name with underscores.
STUDIES = {
    "targets": ("which matrices LoRA should change, at an equal budget",
                "LoRA on W_q, W_k, W_v, W_o, on pairs and on all four, with rank times matrices = 8.", ()),
    "rank-targets": ("rank times targets", "LoRA of ranks 1, 2, 4, 8, 64 on q, on q and v, on all four matrices.", ()),
    "low-data": ("how many examples each method needs",
                 "Full fine-tuning, LoRA, prefix and prompt tuning on 100, 1,000 and 10,000 examples, 200 steps each.",
                 ("examples", "epochs")),
    "stability": ("does a method gain with every parameter?", "Prefixes of length 1 … 24 against LoRA of rank 1 … 24.", ()),
    "subspace": ("singular values of LoRA's change, and whether ranks and seeds agree about it",
                 "LoRA of rank 8 and 64 and full fine-tuning; singular values of the changes of W_q and W_v, and the overlap "
                 "of their directions between ranks and between seeds.", ()),
    "methods": ("accuracy against parameters, for every method",
                "Every method of the registry at sizes near 2,048 and 32,768 trained parameters, joined by the compare.csv of "
                "`minigrad compare --methods all` in the same folder.", ()),
    "latency": ("what adapters add to a forward pass, and merged LoRA does not",
                "Forward passes of the base model with adapters, LoRA and merged LoRA, by batch size and length. Seeds are "
                "repetitions. Let the machine do nothing else.", ("examples", "epochs", "batch_size", "words", "processes")),
    "costs": ("bytes and time of a training step of every method",
              "Forward, backward and step time, saved bytes, and the largest batch in the bytes of full fine-tuning, for every "
              "method near 8,192 trained parameters. Seeds are repetitions. Let the machine do nothing else.",
              ("examples", "epochs", "words", "processes")),
    "intrinsic": ("how few numbers are enough (DID, SAID, d90)",
                  "Train the base model and a small classifier along random planes of growing dimension, from a pretrained and "
                  "from a random start.", ("epochs", "batch_size", "words")),
}


def add(others) -> None:
    """Register each under `minigrad experiments`."""
    for name, (help, description, fixed) in STUDIES.items():
        files = (f" Writes {name.replace('-', '_')}.csv, .png and .json to --out and says whether the course's finding shows "
                 "at this scale. Ctrl-C keeps finished runs; the same command goes on.")
        p = others.add_parser(name, help=help, description=description + files)
        p.add_argument("--task", default="rhyme", metavar="NAME|FILE",
                       help="rhyme, accent, pronounce, or a .tsv file; default rhyme")
        group = p.add_argument_group("size of the experiment")
        for option, what in (("seeds", "seeds 0 … N−1"), ("examples", "words to learn from"), ("epochs", "passes over them"),
                             ("batch_size", "words per step"), ("words", "words to be scored on")):
            if option not in fixed:
                group.add_argument(f"--{option.replace('_', '-')}", type=common.whole(1), default=SIZE[option], metavar="N",
                                   help=f"{what}; default {SIZE[option]:,}")
        if name == "methods":
            group.add_argument("--budgets", type=common.several(common.whole(1)), default=[2048, 32768], metavar="LIST",
                               help="trained parameters to come near to; default 2048,32768")
        group = p.add_argument_group("running")
        group.add_argument("--out", default="runs/experiments", metavar="DIR", help="default runs/experiments")
        if "processes" not in fixed:                # times are taken in this process
            group.add_argument("--processes", type=common.whole(1), default=1, metavar="N",
                               help="runs side by side; default 1")
        group.add_argument("--fresh", action="store_true", help="forget the finished runs of an interrupted experiment")
        common.add_base(group)
        common.add_machine(p, threads=1)
        p.set_defaults(run=run)


def run(args) -> int:
    """The experiment that the command line names; 130 when it was interrupted."""
    from minigrad.experiments.runner import Interrupted

    common.set_up_machine(args)
    common.load_base(args)                          # so that a mistake there is told before anything starts
    name = args.experiment.replace("-", "_")
    experiment = getattr(importlib.import_module(f"minigrad.experiments.{name}"), name)
    size = {option: getattr(args, option) for option in (*SIZE, "processes", "budgets") if hasattr(args, option)}
    size["seeds"] = range(args.seeds)
    try:
        with common.users_mistakes():
            experiment(**size, task=args.task, base=args.base, out=args.out, threads=args.threads, backend=args.backend,
                       fresh=args.fresh, say=common.say, command=common.command_line())
    except Interrupted as stopped:
        common.say(f"\n{stopped}")
        return 130
    return 0
