"""The `minigrad` command. Its subcommands are in minigrad/commands/; here they are put together, and exit codes decided.

Exit codes: 0 done · 2 the user's mistake (a message, no traceback) · 130 interrupted, a checkpoint left · 1 our bug.
"""
from __future__ import annotations

import argparse
import difflib
import os
import sys
import textwrap

from minigrad import __version__
from minigrad.commands import adapters, experiments, lessons, looking, memory, pretrain
from minigrad.commands.common import UserMistake

FILES = (experiments, adapters, pretrain, looking, memory, lessons)

DESCRIPTION = """\
Fine-tune a tiny transformer in five cheap ways, and see what each costs and what it gains.
The engine underneath is small enough to read: start with minigrad/autograd/tensor.py."""

EPILOG = """\
start here:   minigrad compare            every method side by side, on real words
              minigrad generate nation    the base model reads a word aloud
Each command explains itself:  minigrad COMMAND --help"""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help with wide columns; a text that has line breaks keeps them, any other is wrapped."""

    def __init__(self, prog):
        super().__init__(prog, max_help_position=28)

    def add_argument(self, action):
        super().add_argument(action)
        self._action_max_length += 2                # argparse forgets that subcommands are indented once more

    def _fill_text(self, text, width, indent):
        return super()._fill_text(text if "\n" in text else textwrap.fill(text, width), width, indent)


class _Parser(argparse.ArgumentParser):
    """An argparse parser whose complaints are one line instead of the whole usage."""

    def __init__(self, **options):
        super().__init__(formatter_class=_Help, **options)

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\nOptions and examples: {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(prog="minigrad", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"minigrad {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", parser_class=_Parser)
    for file in FILES:
        file.add(commands)
    parser.commands = list(commands.choices)
    return parser


def main(argv=None) -> int:
    """Run one command; returns the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser()
    if argv and not argv[0].startswith("-") and argv[0] not in parser.commands:
        close = difflib.get_close_matches(argv[0], parser.commands, 1)
        print(f"minigrad: unknown command {argv[0]!r}: known are {', '.join(parser.commands)}"
              + (f". Did you mean {close[0]!r}?" if close else ""), file=sys.stderr)
        return 2
    try:
        args, unknown = parser.parse_known_args(argv)
        if unknown:
            print(f"minigrad {args.command or ''}: unrecognized arguments: {' '.join(unknown)}\n"
                  f"Options and examples: minigrad {args.command or ''} --help", file=sys.stderr)
            return 2
        if args.command is None:
            parser.print_help()
            return 0
        return args.run(args)
    except SystemExit as done:                      # argparse, after --help or a complaint
        return done.code if isinstance(done.code, int) else 2
    except UserMistake as mistake:
        print(f"minigrad {argv[0]}: {mistake}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nminigrad: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:                         # `minigrad methods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
