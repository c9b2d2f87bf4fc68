"""`minigrad finetune`, `generate` and `merge`: make an adapter, use it, fold it into the model."""
from __future__ import annotations

import ast
import sys
from pathlib import Path

from minigrad.commands import common

TOKENIZER, NOTES = "tokenizer.json", "finetune.json"                # beside the adapter's own files


def add(commands) -> None:
    """Register the commands."""
    p = commands.add_parser(
        "finetune", help="teach the base model a task (yours, from a file): makes an adapter",
        description="Fine-tune the base model on a task and write the adapter (a folder) to --out. A task of your own is a "
                    "text file: one word a line, a tab, and its symbols separated by spaces; further columns are other right "
                    "answers. Ctrl-C saves what has been learned so far.",
        epilog="Examples:  minigrad finetune --task plurals.tsv --out runs/plurals\n"
               "           minigrad finetune --task rhyme --method lora --set rank=16 --set alpha=32")
    p.add_argument("--task", required=True, metavar="NAME|FILE", help="rhyme, accent, pronounce, or a .tsv file")
    p.add_argument("--method", type=common.method, default="lora", metavar="NAME", help="see `minigrad methods`; default lora")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="hyper",
                   help="a hyper-parameter of the method, e.g. rank=16 or targets=q_proj,v_proj; may be repeated")
    p.add_argument("--lr", type=common.above_zero, metavar="X", help="peak learning rate (default: the method's)")
    p.add_argument("--examples", type=common.whole(1), metavar="N", help="words to learn from; default: at most 4,000")
    p.add_argument("--epochs", type=common.whole(1), default=3, metavar="N", help="passes over them; default 3")
    p.add_argument("--batch-size", type=common.whole(1), default=32, metavar="N", help="words per step; default 32")
    p.add_argument("--words", type=common.whole(1), default=1000, metavar="N", help="test words to score; default 1,000")
    p.add_argument("--seed", type=common.whole(0), default=0, metavar="N", help="default 0")
    p.add_argument("--out", metavar="DIR", help="default runs/finetune/TASK-METHOD")
    common.add_base(p)
    common.add_machine(p)
    p.set_defaults(run=finetune)

    p = commands.add_parser("generate", help="read words aloud: word in, sounds out",
                            description="Write what the model says to each word. Words are arguments, or lines of standard "
                                        "input.", epilog="Example:  minigrad generate nation tomato --adapter runs/plurals")
    p.add_argument("words", nargs="*", metavar="WORD", help="letters a-z")
    p.add_argument("--adapter", metavar="DIR", help="a folder that finetune or compare wrote; default: the base model alone")
    p.add_argument("--temperature", type=float, default=0.0, metavar="X", help="0 takes the likeliest symbol (default)")
    p.add_argument("--top-k", type=common.whole(1), metavar="N", help="draw among the N likeliest")
    p.add_argument("--seed", type=common.whole(0), default=0, metavar="N", help="of the drawing; default 0")
    common.add_base(p)
    common.add_machine(p)
    p.set_defaults(run=generate)

    p = commands.add_parser("merge", help="fold an adapter into the model's weights",
                            description="Write base model and adapter as one plain model, which reads as fast as the base. "
                                        "Not every method can be merged: see `minigrad methods`.",
                            epilog="Example:  minigrad merge runs/plurals --out runs/plurals-model.safetensors")
    p.add_argument("adapter", metavar="DIR", help="the adapter's folder")
    p.add_argument("--out", required=True, metavar="FILE", help="a .safetensors file; use it with --base")
    common.add_base(p)
    p.set_defaults(run=merge)


def finetune(args) -> int:
    """Train an adapter and save it; 130 when interrupted (it is saved all the same)."""
    from minigrad import peft, pretrained, tasks, training
    from minigrad.backend import host
    from minigrad.experiments.adaptation import adaptation_batches, make_method
    from minigrad.experiments.rates import learning_rate

    common.set_up_machine(args)
    model, tokenizer = common.load_base(args)
    with common.users_mistakes():
        task = tasks.get(args.task)
        new = task.add_symbols(tokenizer)
        method = make_method(args.method, **parse_hyper(args.hyper))
        host.manual_seed(args.seed)
        adapted = peft.apply(model, method)
        lr = learning_rate(args.method) if args.lr is None else args.lr
        examples = args.examples or min(4000, len(task.examples("adapt")))
        batches = adaptation_batches(tokenizer, task, examples, args.batch_size, args.seed,
                                     model.config.context - adapted.position_shift)
        out = Path(args.out or f"runs/finetune/{task.name}-{args.method}")
        out.mkdir(parents=True, exist_ok=True)
    test = task.examples("test")[:args.words] if "test" in task.splits else []
    steps = args.epochs * len(batches)
    common.say(f"{task.name}: {examples:,} words, {steps} steps of {args.batch_size}, learning rate {lr:g}")
    if new:
        common.say(f"symbols that the base has never written: {' '.join(new)} (if they are learned badly, try --method full or "
                   "topk: these train the layer that chooses symbols)")
    common.say(adapted.describe())
    before = training.evaluate(model, tokenizer, test) if test else None
    with common.users_mistakes():
        result = training.fit(adapted, batches, steps=steps, lr=lr, progress=True)
        adapted.bake()
        adapted.save(out)
    tokenizer.save(out / TOKENIZER)
    # Who interrupts wants to be done: no second evaluation then.
    after = training.evaluate(adapted, tokenizer, test) if test and not result.interrupted else None
    pretrained.write_json(out / NOTES, {
        "task": task.name, "command": common.command_line(), "base": args.base, "seed": args.seed, "lr": lr, "steps": steps,
        "steps done": len(result.losses), "loss": result.losses[-1], "step_ms": result.step_ms, "test words": len(test),
        **{f"{what} {when}": getattr(score, what) for when, score in (("before", before), ("after", after)) if score
           for what in ("exact_match", "phoneme_error_rate")}})
    if after:
        common.say(f"{len(test):,} test words, before: {before.exact_match:.1%} right, symbol error rate "
                   f"{before.phoneme_error_rate:.1%}; after: {after.exact_match:.1%}, {after.phoneme_error_rate:.1%}")
        for (word, accepted), was, now in list(zip(test, before.predictions, after.predictions, strict=True))[:5]:
            common.say(f"  {word}: {' '.join(was)}  ->  {' '.join(now)}{'  ✓' if now in accepted else ''}")
    common.say(f"wrote the adapter to {out}; try it:  minigrad generate WORD --adapter {out}"
               + ("" if args.base == "reader" else f" --base {args.base}"))
    if result.interrupted:
        common.say(f"interrupted at step {len(result.losses)} of {steps}: the adapter is what had been learned by then")
        return 130
    return 0


def parse_hyper(pairs) -> dict:
    """["rank=16", "targets=q_proj,v_proj"] to {"rank": 16, "targets": ("q_proj", "v_proj")}; ValueError for other forms.

    >>> parse_hyper(["rank=16", "targets=q_proj,v_proj", "init=gaussian"])
    {'rank': 16, 'targets': ('q_proj', 'v_proj'), 'init': 'gaussian'}
    """
    hyper = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key or not text:
            raise ValueError(f"--set needs KEY=VALUE, such as rank=16; got {pair!r}")
        key = key.strip()
        try:
            hyper[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            hyper[key] = tuple(text.split(",")) if key == "targets" and text != "all-linear" else text
    return hyper


def generate(args) -> int:
    """Read words aloud."""
    from minigrad import training

    common.set_up_machine(args)
    model, tokenizer = _load(args)
    words = args.words or [line.strip() for line in sys.stdin if line.strip()]
    if not words:
        raise common.UserMistake("no words: give them as arguments (minigrad generate nation) or one a line on standard input")
    words = [word.lower() for word in words]
    with common.users_mistakes():
        if args.temperature == 0:
            answers = training.predict(model, tokenizer, words)
        else:
            written = model.generate([tokenizer.encode_source(word) for word in words], 32, temperature=args.temperature,
                                     top_k=args.top_k, stop=tokenizer.end_id, seed=args.seed)
            answers = [tokenizer.decode(ids) for ids in written]
    width = max(map(len, words))
    for word, answer in zip(words, answers, strict=True):
        print(f"{word.ljust(width)}  {' '.join(answer)}")
    return 0


def merge(args) -> int:
    """Write base and adapter as one model."""
    from minigrad import pretrained

    out = Path(args.out)
    if out.suffix != ".safetensors":
        raise common.UserMistake(f"--out needs the name of a .safetensors file; got {args.out!r}")
    adapted, tokenizer = _load(args)
    with common.users_mistakes():
        try:
            plain = adapted.merge_and_unload()
        except TypeError as error:                  # this method cannot be merged: the message says why
            raise ValueError(str(error)) from None
        path = pretrained.save(plain, tokenizer, out, name=out.stem, made_by="minigrad merge", command=common.command_line(),
                               base=args.base, adapter=str(args.adapter))
    common.say(f"wrote {path} and {path.with_suffix('.json').name}; try it:  minigrad generate WORD --base {path}")
    return 0


def _load(args):
    """(model, tokenizer): the base, or the base with the adapter that was asked for."""
    from minigrad import peft, tasks

    model, tokenizer = common.load_base(args)
    if args.adapter is None:
        return model, tokenizer
    with common.users_mistakes():
        model = peft.load(model, args.adapter)
        own = Path(args.adapter) / TOKENIZER
        return model, tasks.Tokenizer.load(own) if own.is_file() else tokenizer
