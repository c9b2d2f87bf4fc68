"""Symbols to ids and back: four marks, 26 letters, 40 phonemes, and spare ids for a user's own symbols.

A sequence is `BOS letters SEP answer END`, whatever the task. Letters are lower case and phonemes upper case, so the
two never collide. The vocabulary keeps spare ids so that a new symbol needs no larger embedding, and its size is a
multiple of 8 so that matrix products stay aligned.
"""

import json
import os
import string
from pathlib import Path

from minigrad.tasks.phonemes import ACCENT_PHONEMES, PHONEMES

PAD, BOS, SEP, END = MARKS = ("<pad>", "<bos>", "<sep>", "<end>")
LETTERS = tuple(string.ascii_lowercase)
FORMAT = {"kind": "minigrad.tokenizer", "version": 1}
BASE_SYMBOLS = MARKS + LETTERS + PHONEMES + ACCENT_PHONEMES


class Tokenizer:
    """The vocabulary: `BASE_SYMBOLS`, then added symbols, then spare ids, `vocab_size` ids in all (a multiple of 8).

    >>> tokenizer = Tokenizer()
    >>> tokenizer.encode_source("cat") + tokenizer.encode_target(["K", "AE", "T"])
    [1, 6, 4, 23, 2, 49, 31, 60, 3]
    >>> tokenizer.vocab_size, tokenizer.spare
    (80, 10)
    """

    pad_id, bos_id, sep_id, end_id = range(4)

    def __init__(self, vocab_size=80):
        if not isinstance(vocab_size, int) or vocab_size % 8 or vocab_size < len(BASE_SYMBOLS):
            raise ValueError(f"vocab_size must be a multiple of 8 and at least {len(BASE_SYMBOLS)} "
                             f"(marks, letters and phonemes), got {vocab_size!r}")
        self.vocab_size = vocab_size
        self.symbols = list(BASE_SYMBOLS)                           # id -> symbol
        self._ids = {symbol: i for i, symbol in enumerate(self.symbols)}

    @property
    def spare(self):
        """How many ids are still free for `add_symbols`.

        >>> Tokenizer(88).spare
        18
        """
        return self.vocab_size - len(self.symbols)

    def __contains__(self, symbol):
        return symbol in self._ids

    def __eq__(self, other):
        return isinstance(other, Tokenizer) and self.to_dict() == other.to_dict()

    __hash__ = None         # mutable, so not a dictionary key

    def add_symbols(self, symbols):
        """Give each symbol that is not known yet a spare id, in order; return the new ones. All or none are added.

        Raises ValueError when the spare ids do not suffice, or for a symbol that is empty or contains white space.

        >>> tokenizer = Tokenizer()
        >>> tokenizer.add_symbols(["HI", "LO", "K"]), tokenizer.spare
        (['HI', 'LO'], 8)
        """
        new = [symbol for symbol in dict.fromkeys(symbols) if symbol not in self._ids]
        for symbol in new:
            if not isinstance(symbol, str) or not symbol or symbol.split() != [symbol]:
                raise ValueError(f"a symbol is a non-empty string without white space, got {symbol!r}")
            if symbol.startswith("<") and symbol.endswith(">"):
                raise ValueError(f"{symbol!r} cannot be added: names in <…> are kept for marks and spare ids")
        if len(new) > self.spare:
            raise ValueError(f"{len(new)} new symbols ({', '.join(new)}) need as many spare ids, but only {self.spare} "
                             f"of {self.vocab_size} are left; use fewer symbols, or a model with a larger vocabulary")
        for symbol in new:
            self._ids[symbol] = len(self.symbols)
            self.symbols.append(symbol)
        return new

    def encode_source(self, word):
        """The prompt for a word: ids of BOS, its letters, SEP. Raises ValueError for anything but letters a-z.

        >>> Tokenizer().encode_source("ab")
        [1, 4, 5, 2]
        """
        bad = ", ".join(repr(letter) for letter in dict.fromkeys(word) if letter not in LETTERS)
        if not word or bad:
            what = f"{word!r}, which contains {bad}" if word else "an empty word"
            raise ValueError(f"a word is spelled with the letters a-z (lower case), got {what}")
        return [self.bos_id, *(self._ids[letter] for letter in word), self.sep_id]

    def encode_target(self, symbols):
        """The ids of an answer and END. Raises ValueError for a symbol without an id, and for the marks themselves.

        >>> Tokenizer().encode_target(["AE", "T"])
        [31, 60, 3]
        >>> Tokenizer().encode_target(["AE", "HI"])
        Traceback (most recent call last):
        ValueError: unknown symbol 'HI' in the answer AE HI; if it is meant, call tokenizer.add_symbols(['HI']) first
        """
        if isinstance(symbols, str):
            raise TypeError(f"an answer is a list of symbols, got the string {symbols!r}; use {symbols.split()!r}")
        for symbol in symbols:
            if symbol not in self._ids:
                raise ValueError(f"unknown symbol {symbol!r} in the answer {' '.join(symbols)}; "
                                 f"if it is meant, call tokenizer.add_symbols([{symbol!r}]) first")
            if symbol in MARKS:
                raise ValueError(f"the mark {symbol} cannot be part of an answer (END is added for you)")
        return [*(self._ids[symbol] for symbol in symbols), self.end_id]

    def decode(self, ids):
        """The symbols of a generated answer, up to the first END (left out).

        Nothing else is skipped: a model that writes SEP or a spare id in an answer is shown to have done so.

        >>> Tokenizer().decode([31, 60, 3, 31]), Tokenizer().decode([31, 2, 79])
        (['AE', 'T'], ['AE', '<sep>', '<spare79>'])
        """
        symbols = []
        for i in map(int, ids):
            if not 0 <= i < self.vocab_size:
                raise ValueError(f"token id {i} is outside 0…{self.vocab_size - 1}")
            if i == self.end_id:
                break
            symbols.append(self.symbols[i] if i < len(self.symbols) else f"<spare{i}>")
        return symbols

    def to_dict(self):
        """Everything needed to make it again, as a JSON-able dictionary.

        >>> Tokenizer.from_dict(Tokenizer().to_dict()) == Tokenizer()
        True
        """
        return {**FORMAT, "vocab_size": self.vocab_size, "symbols": list(self.symbols)}

    @classmethod
    def from_dict(cls, data):
        """The tokenizer that `to_dict` described. Raises ValueError when its symbols are not ours in our order.

        >>> Tokenizer.from_dict(Tokenizer(88).to_dict()).vocab_size
        88
        """
        found = {key: data.get(key) for key in FORMAT} if isinstance(data, dict) else type(data).__name__
        if found != FORMAT:
            raise ValueError(f"this is not a tokenizer that we can read: needed {FORMAT}, got {found}")
        known, symbols = len(BASE_SYMBOLS), data.get("symbols")
        if not isinstance(symbols, list) or tuple(symbols[:known]) != BASE_SYMBOLS:
            raise ValueError(f"the tokenizer's first {known} symbols are not this version's; its ids would be misread")
        if len(set(symbols)) != len(symbols):
            raise ValueError("the tokenizer lists a symbol twice")
        tokenizer = cls(data.get("vocab_size"))
        tokenizer.add_symbols(symbols[known:])
        return tokenizer

    def save(self, path):
        """Write it as JSON, atomically: a reader sees the old file or the whole new one.

        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "tokenizer.json"
        >>> Tokenizer().save(path); Tokenizer.load(path).vocab_size
        80
        """
        path = Path(path)
        unfinished = path.with_name(path.name + ".tmp")
        unfinished.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        os.replace(unfinished, path)

    @classmethod
    def load(cls, path):
        """Read what `save` wrote. Raises ValueError naming the file when it is not JSON or not a tokenizer.

        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "tokenizer.json"
        >>> Tokenizer(96).save(path); Tokenizer.load(path).spare
        26
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except ValueError as error:         # json's own errors are ValueErrors too
            raise ValueError(f"cannot read a tokenizer from {path}: {error}") from None

    def __repr__(self):
        return f"Tokenizer(vocab_size={self.vocab_size}, symbols={len(self.symbols)}, spare={self.spare})"
