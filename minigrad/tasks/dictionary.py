"""The shipped dictionary: 117,493 English words, how each is said, and which split each belongs to.

The facts are the CMU Pronouncing Dictionary's (`data/LICENSE-CMUDICT`); `build_table.py` made the table. A line a word:

    aback<TAB>AH0 B AE1 K
    abalone<TAB>AE2 B AH0 L OW1 N IY0<TAB>…a second way to say it

A word's split is decided by a hash of its spelling and by nothing else, so it is the same in every process, on every
machine and for every task: a word tested in one task was never trained on in another.
"""

import difflib
import hashlib
import json
import lzma
from functools import lru_cache
from pathlib import Path

DATA = Path(__file__).parent / "data"
TABLE = "cmudict.tsv.xz"
MANIFEST = "cmudict.json"
LICENSE = "LICENSE-CMUDICT"

SPLITS = ("pretrain", "adapt", "validation", "test")
TEST_WORDS, VALIDATION_WORDS, ADAPT_WORDS = 2_000, 2_000, 20_000    # the rest is for pretraining


def check_split(split, available=SPLITS, of="a task"):
    """Return `split` if it is one of `available`; raise ValueError naming the valid ones (and the nearest) if not.

    >>> check_split("tset")
    Traceback (most recent call last):
    ValueError: unknown split 'tset'; a task has the splits pretrain, adapt, validation, test. Did you mean 'test'?
    """
    if split in available:
        return split
    close = difflib.get_close_matches(str(split), available, n=1)
    hint = f". Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown split {split!r}; {of} has the splits {', '.join(available)}{hint}")


def read_table(directory=DATA):
    """Read a table that `build_table` wrote: {word: its pronunciations, still joined by tabs}; check it first.

    Raises ValueError when the file is truncated or is not the one its manifest describes.

    >>> read_table()["cat"]
    'K AE1 T'
    """
    directory = Path(directory)
    path = directory / TABLE
    expected = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))["sha256"]
    try:
        text = lzma.decompress(path.read_bytes())
    except lzma.LZMAError as error:
        raise ValueError(f"{path} is truncated or corrupt ({error}); reinstall the package") from None
    if hashlib.sha256(text).hexdigest() != expected:
        raise ValueError(f"{path} is not the table that {MANIFEST} beside it describes; reinstall the package, "
                         "or rebuild both with `python -m minigrad.tasks.build_table`")
    return dict(line.split("\t", 1) for line in text.decode("ascii").splitlines())


# Loaded once, when first asked for: who imports minigrad and never reads a word must not wait a tenth of a second.
@lru_cache(maxsize=1)
def _table():
    return read_table()


def data_version():
    """The first 16 hexadecimal digits of the table's SHA-256: what a result or a checkpoint notes about its data.

    >>> data_version()
    '55a324a4cbb9d4be'
    """
    return json.loads((DATA / MANIFEST).read_text(encoding="utf-8"))["sha256"][:16]


def words():
    """Every word of the dictionary, in alphabetical order.

    >>> len(words()), words()[:3]
    (117493, ['a', 'aaa', 'aaberg'])
    """
    return list(_table())


def lists(word):
    """Whether the dictionary lists a word.

    >>> lists("cat"), lists("qzx")
    (True, False)
    """
    return word in _table()


def pronunciations(word):
    """All listed pronunciations of a word, with stress, the dictionary's first choice first: a list of tuples.

    Raises KeyError for a word that the dictionary lacks.

    >>> pronunciations("either")
    [('IY1', 'DH', 'ER0'), ('AY1', 'DH', 'ER0')]
    """
    try:
        line = _table()[word]
    except KeyError:
        raise KeyError(f"{word!r} is not among the dictionary's {len(_table()):,} words "
                       "(it lists words spelled a-z, in lower case)") from None
    return [tuple(one.split(" ")) for one in line.split("\t")]


def stable_hash(word):
    """A 64-bit integer that depends on the spelling only (Python's own `hash` differs from process to process).

    >>> stable_hash("cat") == stable_hash("cat"), stable_hash("cat") < 2**64
    (True, True)
    """
    digest = hashlib.blake2b(word.encode("utf-8"), digest_size=8, person=b"minigrad").digest()
    return int.from_bytes(digest, "big")


@lru_cache(maxsize=1)
def _splits():
    # Sorting by hash and cutting gives exact sizes, and leaves each split in a random but fixed order: its first
    # n words are a fair sample of it.
    order = sorted(_table(), key=lambda word: (stable_hash(word), word))
    cuts = {"test": TEST_WORDS, "validation": VALIDATION_WORDS, "adapt": ADAPT_WORDS, "pretrain": len(order)}
    splits, start = {}, 0
    for name, count in cuts.items():
        splits[name] = order[start:start + count]
        start += count
    return splits


def split_words(split):
    """The words of "pretrain", "adapt", "validation" or "test", in a fixed random order (any prefix is a fair sample).

    >>> {name: len(split_words(name)) for name in SPLITS}
    {'pretrain': 93493, 'adapt': 20000, 'validation': 2000, 'test': 2000}
    """
    return list(_splits()[check_split(split)])
