"""`minigrad lessons`: progress, hints, solutions. Exercises are files to edit, so they live in a clone, not in the wheel."""
from __future__ import annotations

import argparse
import importlib
import pathlib
import sys

from minigrad.commands.common import UserMistake

MARK = pathlib.Path("lessons") / "kit.py"


def add(commands) -> None:
    """The command and its help."""
    parser = commands.add_parser("lessons", help="progress over the lessons; hint, peek, reset, train",
                                 description="Where you are in the lessons; hints and solutions; a fresh start.",
                                 epilog="minigrad lessons hint 03.2\nminigrad lessons peek 03.2\nminigrad lessons reset 03\n"
                                        "minigrad lessons train --mine")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="…",
                        help="status (default), hint 03.2, peek 03.2, reset 03, train --mine, build, mutants 03; --help "
                             "explains each")
    parser.set_defaults(run=run)


def find_root() -> pathlib.Path:
    """The clone: the current folder or one above it, or the one that this package is run from."""
    here = pathlib.Path.cwd()
    package = pathlib.Path(__file__).resolve().parents[2]
    for folder in (here, *here.parents, package):
        if (folder / MARK).exists():
            return folder
    raise UserMistake("minigrad lessons needs the repository's folder lessons/, which is not part of the installed package. "
                      "Clone the repository and run this command inside of it")


def run(args) -> int:
    """Hand over to lessons/__main__.py of the clone."""
    root = str(find_root())
    if root not in sys.path:
        sys.path.insert(0, root)
    return importlib.import_module("lessons.__main__").main(args.arguments)
