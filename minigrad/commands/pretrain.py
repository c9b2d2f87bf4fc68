"""`minigrad pretrain`: make the base model again, from random weights."""
from __future__ import annotations

from minigrad.commands import common


def add(commands) -> None:
    """Register the command."""
    p = commands.add_parser(
        "pretrain", help="train the base model (\"reader\") from random weights",
        description="Train the base model on the pretraining words of `pronounce` and write reader.safetensors and "
                    "reader.json (configuration, command, scores read from the written file) to --out. Every epoch is "
                    "scored on the validation words. Ctrl-C leaves a checkpoint; --resume goes on from it, bit for bit "
                    "when the number of threads is 1.",
        epilog="A quick try:  minigrad pretrain --words 5000 --epochs 2 --out runs/try")
    p.add_argument("--epochs", type=common.whole(1), default=10, metavar="N", help="passes over the words; default 10")
    p.add_argument("--batch-size", type=common.whole(1), default=256, metavar="N", help="words per step; default 256")
    p.add_argument("--lr", type=common.above_zero, default=1e-3, metavar="X", help="peak learning rate; default 1e-3")
    p.add_argument("--weight-decay", type=float, default=0.01, metavar="X", help="on matrices only; default 0.01")
    p.add_argument("--seed", type=common.whole(0), default=0, metavar="N", help="of weights, order and positions; default 0")
    p.add_argument("--words", type=common.whole(1), metavar="N", help="learn from only N words (for a quick try)")
    p.add_argument("--layers", type=common.whole(1), default=4, metavar="N", help="transformer blocks; default 4")
    p.add_argument("--d-model", type=common.whole(1), default=128, metavar="N", help="width; default 128")
    p.add_argument("--heads", type=common.whole(1), default=4, metavar="N", help="attention heads; default 4")
    p.add_argument("--save-minutes", type=common.above_zero, default=2.0, metavar="X",
                   help="write a checkpoint at least this often; default every 2 minutes")
    p.add_argument("--save-steps", type=common.whole(1), metavar="N", help="write a checkpoint every N steps as well")
    p.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    p.add_argument("--out", default="runs/pretrain", metavar="DIR", help="default runs/pretrain")
    common.add_machine(p)
    p.set_defaults(run=run)


def run(args) -> int:
    """Pretrain; 130 when interrupted."""
    from minigrad import training

    common.set_up_machine(args)
    with common.users_mistakes():
        path = training.pretrain(
            args.out, epochs=args.epochs, batch_size=args.batch_size, lr=args.lr, weight_decay=args.weight_decay,
            seed=args.seed, words=args.words, save_minutes=args.save_minutes, save_steps=args.save_steps,
            config={"n_layers": args.layers, "d_model": args.d_model, "n_heads": args.heads},
            resume=args.resume, say=common.say, command=common.command_line())
    if path is None:
        common.say("interrupted; go on with the same command and --resume")
        return 130
    return 0
