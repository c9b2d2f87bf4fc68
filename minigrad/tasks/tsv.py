"""A user's own task: a text file, one word a line, with tabs between its columns.

    cat<TAB>k a t s
    dog<TAB>d o g z<TAB>d o g s         further columns are alternatives that count as right, too

Blank lines and lines that begin with # are skipped. The rows are split 80 : 10 : 10 into adapt, validation and test by
a hash of the word, unless a first line names the columns and one of them is `split`:

    source<TAB>target<TAB>split
    cat<TAB>k a t s<TAB>adapt
"""

import difflib
from pathlib import Path

from minigrad.tasks import dictionary
from minigrad.tasks.base import Task
from minigrad.tasks.tokenizer import LETTERS, MARKS

COLUMNS = ("source", "target", "split")


class TsvTask(Task):
    """The task in a TSV file: source, target symbols separated by spaces, alternatives, and optionally a split.

    Its `splits` are those that have rows; its `symbols` are all that its targets use, in order of appearance: call
    `add_symbols(tokenizer)` before encoding. Raises ValueError with file and line for a malformed row, an empty file, a
    word given twice or not spelled a-z, and FileNotFoundError for a missing file.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "plurals.tsv"
    >>> lines = ["source\\ttarget\\tsplit", "cat\\tK AE T S\\tadapt", "dog\\tD AO G Z\\ttest"]
    >>> written = path.write_text("\\n".join(lines))
    >>> task = TsvTask(path)
    >>> task.name, task.splits, task.examples("test")
    ('plurals', ('adapt', 'test'), [('dog', [['D', 'AO', 'G', 'Z']])])
    """

    def __init__(self, path):
        self.path = Path(path)
        self.name = self.path.stem
        self._first_line = {}                       # symbol -> the line where it first appears
        rows = self._read()
        self.symbols = tuple(self._first_line)
        self._rows = {}                             # split -> list of (word, accepted)
        for split, word, accepted in rows if rows[0][0] else _split_by_hash(rows, self.path):
            self._rows.setdefault(split, []).append((word, accepted))
        self.splits = tuple(split for split in dictionary.SPLITS if split in self._rows)

    def _error(self, line, message):
        return ValueError(f"{self.path}:{line}: {message}")

    def _read(self):
        try:
            # utf-8-sig: spreadsheets put a byte order mark in front.
            lines = self.path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            line = self.path.read_bytes()[:error.start].count(b"\n") + 1
            raise self._error(line, "this is not UTF-8 text; save the file as UTF-8") from None
        except FileNotFoundError:
            raise FileNotFoundError(f"no such task file: {self.path}. A task is a name (accent, pronounce, rhyme) or a .tsv "
                                    "file with the rows word<TAB>symbols") from None
        columns, rows, seen = None, [], {}
        for number, text in enumerate(lines, start=1):
            if not text.strip() or text.startswith("#"):
                continue
            cells = [cell.strip() for cell in text.split("\t")]
            if columns is None and not rows and cells[:2] == ["source", "target"]:
                columns = self._header(number, cells)
                continue
            split, word, accepted = self._row(number, cells, columns)
            if word in seen:
                raise self._error(number, f"{word!r} was already given in line {seen[word]}; "
                                          "put alternatives into one row, separated by tabs")
            seen[word] = number
            rows.append((split, word, accepted))
        if not rows:
            raise ValueError(f"{self.path}: no rows; a row is `source<TAB>target symbols separated by spaces`")
        return rows

    def _header(self, number, cells):
        unknown = [cell for cell in cells if cell not in COLUMNS]
        if unknown or cells.count("source") > 1 or cells.count("split") > 1:
            raise self._error(number, f"the first line names the columns source, target (may be repeated) and split, "
                                      f"got {', '.join(map(repr, cells))}")
        return cells

    def _row(self, number, cells, columns):
        if len(cells) < 2:
            raise self._error(number, f"needed source<TAB>target, got one column: {cells[0]!r} (is the tab a space?)")
        if columns is None:
            split, word, targets = None, cells[0], cells[1:]
        else:
            if len(cells) > len(columns):
                raise self._error(number, f"{len(cells)} columns, but the first line names {len(columns)}")
            cells = cells + [""] * (len(columns) - len(cells))
            split = cells[columns.index("split")] if "split" in columns else None
            word = cells[columns.index("source")]
            targets = [cell for cell, column in zip(cells, columns, strict=True) if column == "target"]
        bad = [letter for letter in word if letter not in LETTERS]
        if not word or bad:
            what = f"{word!r}, which contains {', '.join(map(repr, dict.fromkeys(bad)))}" if word else "nothing"
            raise self._error(number, f"a source is spelled with the letters a-z (lower case), got {what}")
        if not targets[0]:
            raise self._error(number, f"{word!r} has no target")
        if split is not None and split not in dictionary.SPLITS:
            close = difflib.get_close_matches(split, dictionary.SPLITS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise self._error(number, f"unknown split {split!r}; valid are {', '.join(dictionary.SPLITS)}{hint}")
        accepted = []
        for target in filter(None, targets):        # trailing tabs leave empty cells
            symbols = target.split()
            for symbol in symbols:
                if symbol.startswith("<") and symbol.endswith(">"):
                    what = "is one of the tokenizer's marks" if symbol in MARKS else "looks like one of its marks"
                    raise self._error(number, f"the symbol {symbol!r} {what}; choose another name")
                self._first_line.setdefault(symbol, number)
            if symbols not in accepted:
                accepted.append(symbols)
        return split, word, accepted

    def accepted(self, word):
        """Every answer that the file gives for a word. Raises KeyError for a word that it lacks.

        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "tiny.tsv"
        >>> written = path.write_text("cat\\tk a t s\\ndog\\td o g z\\td o g s\\nox\\to k s n")
        >>> TsvTask(path).accepted("dog")
        [['d', 'o', 'g', 'z'], ['d', 'o', 'g', 's']]
        """
        for rows in self._rows.values():
            for source, accepted in rows:
                if source == word:
                    return [list(symbols) for symbols in accepted]
        raise KeyError(f"{word!r} is not in {self.path}")

    def examples(self, split):
        """The rows of a split: a list of (word, accepted answers). Raises ValueError for a split that has no rows.

        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "tiny.tsv"
        >>> written = path.write_text("cat\\tk a t s\\ndog\\td o g z\\nox\\to k s n")
        >>> [len(TsvTask(path).examples(split)) for split in ("adapt", "validation", "test")]
        [1, 1, 1]
        """
        check = dictionary.check_split(split, self.splits, of=f"the task in {self.path}")
        return [(word, [list(symbols) for symbols in accepted]) for word, accepted in self._rows[check]]

    def add_symbols(self, tokenizer):
        """Give the file's symbols that the tokenizer lacks a spare id each; name file and line where they run out.

        >>> import tempfile
        >>> from minigrad.tasks.tokenizer import Tokenizer
        >>> path = Path(tempfile.mkdtemp()) / "tones.tsv"
        >>> written = path.write_text("ma\\tM AA HI\\nta\\tT AA LO\\nka\\tK AA HI")
        >>> TsvTask(path).add_symbols(Tokenizer())
        ['HI', 'LO']
        """
        new = [symbol for symbol in self.symbols if symbol not in tokenizer]
        if len(new) > tokenizer.spare:
            first = new[tokenizer.spare]
            raise self._error(self._first_line[first],
                              f"no spare id is left for the symbol {first!r}: the file uses {len(new)} symbols that "
                              f"the tokenizer does not know ({', '.join(new)}); it has {tokenizer.spare} spare ids. "
                              "Write the targets with fewer symbols, in letters a-z, or in the dictionary's phonemes")
        return tokenizer.add_symbols(new)


def _split_by_hash(rows, path):
    """Tenths by the order of the words' hashes: exact sizes, and the order of the lines in the file does not matter."""
    if len(rows) < 3:
        raise ValueError(f"{path}: {len(rows)} rows cannot be divided into adapt, validation and test; "
                         "give at least 3, or name the columns in a first line and add a column `split`")
    tenth = max(1, round(len(rows) / 10))
    ordered = sorted(rows, key=lambda row: (dictionary.stable_hash(row[1]), row[1]))
    for i, (_, word, accepted) in enumerate(ordered):
        yield "test" if i < tenth else "validation" if i < 2 * tenth else "adapt", word, accepted
