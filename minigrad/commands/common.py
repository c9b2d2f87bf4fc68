"""What the commands share: how a user's mistake is told, and the options that mean the same everywhere."""
from __future__ import annotations

import argparse
import contextlib
import difflib
import sys


class UserMistake(Exception):
    """Something only the user can put right. The command line prints the message alone and exits with code 2."""


@contextlib.contextmanager
def users_mistakes():
    """Inside stand the calls that take what the user gave: their complaints are about that, not about our code."""
    from minigrad.backend import BackendUnavailable
    from minigrad.training import TrainingDiverged

    try:
        yield
    except (ValueError, OSError, BackendUnavailable, TrainingDiverged) as error:
        raise UserMistake(str(error)) from error
    except KeyError as error:                       # str() of a KeyError is in quotes
        raise UserMistake(str(error.args[0])) from error


def say(text: str = "") -> None:
    """Print a line to standard output without tearing a progress bar."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


# ---- options ------------------------------------------------------------------------------------------------------------

def whole(least: int = 1):
    """An argparse type: a whole number of at least `least`."""
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"needs a whole number of at least {least}; got {text!r}")
        return value
    return parse


def above_zero(text: str) -> float:
    """An argparse type: a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"needs a finite number above 0; got {text!r}")
    return value


def several(parse):
    """An argparse type: values separated by commas, each once."""
    def parse_all(text: str) -> list:
        values = [parse(part.strip()) for part in text.split(",") if part.strip()]
        if not values or len(set(values)) != len(values):
            raise argparse.ArgumentTypeError(f"needs different values separated by commas, at least one; got {text!r}")
        return values
    return parse_all


def one_of(what: str, known):
    """An argparse type: one of the names `known()` lists; an unknown one is answered with the list and the closest."""
    def parse(text: str) -> str:
        names = list(known())
        if text in names:
            return text
        close = difflib.get_close_matches(text, names, 1)
        raise argparse.ArgumentTypeError(f"unknown {what} {text!r}: known are {', '.join(names)}"
                                         + (f". Did you mean {close[0]!r}?" if close else ""))
    return parse


def methods(text: str):
    """An argparse type: method names separated by commas, or "all"."""
    return "all" if text.strip() == "all" else several(method)(text)


def _methods():
    from minigrad import peft

    return peft.methods()


def _backends():
    return ("numpy", "cupy")


method = one_of("method", _methods)
backend = one_of("backend", _backends)


def add_machine(parser, threads: int | None = None) -> None:
    """--backend and --threads."""
    group = parser.add_argument_group("machine")
    group.add_argument("--backend", type=backend, default="numpy", metavar="NAME",
                       help="array library: numpy (CPU) or cupy (NVIDIA GPU); default numpy")
    group.add_argument("--threads", type=whole(1), default=threads, metavar="N",
                       help="threads for linear algebra; default: " + (f"{threads}" if threads else "the library's own choice"))


def add_base(parser) -> None:
    """--base."""
    parser.add_argument("--base", default="reader", metavar="NAME|FILE",
                        help="base model: a shipped one, or the .safetensors file that `minigrad pretrain` wrote; "
                             "default reader")


def set_up_machine(args) -> None:
    """Do what --backend and --threads say."""
    import minigrad as mg

    with users_mistakes():
        mg.use_backend(args.backend)
    if args.threads is not None:
        mg.set_num_threads(args.threads)


def load_base(args):
    """(model, tokenizer) that --base names, with the user's mistakes told."""
    from minigrad import pretrained

    with users_mistakes():
        return pretrained.load(args.base)


def command_line() -> str:
    """The command as typed, for the records that results and models carry."""
    import shlex

    return shlex.join(["minigrad", *sys.argv[1:]])
