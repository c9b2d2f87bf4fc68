"""What a task is: a name, and for every word of a split the answers that count as right.

A task over the dictionary is one small class with one method; `@register` gives it a name that `get` knows.
"""

import difflib
import os
from pathlib import Path

from minigrad.tasks import dictionary
from minigrad.tasks.phonemes import PHONEMES, without_stress

_REGISTRY = {}


class Task:
    """A task on dictionary words: subclass it, set `name`, and turn one pronunciation into one answer.

    `symbols` lists what its answers are made of; a tokenizer must know them all. Every task is posed alike
    (`BOS letters SEP answer END`), so a model cannot tell tasks apart: only its adapter knows which one is meant.

    >>> class Onset(Task):
    ...     name = "onset"
    ...     def answer(self, pronunciation):
    ...         return without_stress(pronunciation)[:1]
    >>> Onset().accepted("cat"), Onset().accepted("either")
    ([['K']], [['IY'], ['AY']])
    """

    name = None
    symbols = PHONEMES
    splits = dictionary.SPLITS

    def answer(self, pronunciation):
        """One pronunciation, a tuple of phonemes with stress, to one answer, a list of symbols (None: it has none).

        >>> get("pronounce").answer(("K", "AE1", "T"))
        ['K', 'AE', 'T']
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method answer(self, pronunciation) "
                                  "that returns a list of symbols, or None to leave the pronunciation out")

    def accepted(self, word):
        """Every answer that counts as right for a word: the distinct ones among its pronunciations' answers, in order.

        >>> get("rhyme").accepted("tomato")
        [['EY', 'T', 'OW'], ['AA', 'T', 'OW']]
        """
        answers = []
        for pronunciation in dictionary.pronunciations(word):
            answer = self.answer(pronunciation)
            if answer is not None and answer not in answers:
                answers.append(answer)
        return answers

    def examples(self, split):
        """The examples of a split: a list of (word, accepted answers), in a fixed random order.

        Words without any answer are left out. Raises ValueError for an unknown split.

        >>> examples = get("pronounce").examples("test")
        >>> len(examples)
        2000
        """
        check = dictionary.check_split(split, self.splits, of=f"the task {self.name!r}")
        pairs = ((word, self.accepted(word)) for word in dictionary.split_words(check))
        return [(word, accepted) for word, accepted in pairs if accepted]

    def baseline(self, split):
        """The share of words for which plain reading (the first listed pronunciation, no stress) is already right.

        It is what a perfect reader scores without having learnt the task: the floor to hold an accuracy against.

        >>> get("pronounce").baseline("test")
        1.0
        """
        examples = self.examples(split)
        read = sum(dictionary.lists(word) and without_stress(dictionary.pronunciations(word)[0]) in accepted
                   for word, accepted in examples)
        return read / len(examples)

    def add_symbols(self, tokenizer):
        """Give the task's symbols that the tokenizer lacks one of its spare ids each; return the new symbols.

        >>> from minigrad.tasks.tokenizer import Tokenizer
        >>> get("rhyme").add_symbols(Tokenizer())
        []
        """
        return tokenizer.add_symbols(self.symbols)

    def __repr__(self):
        return f"<task {self.name}>"


def register(cls):
    """Class decorator: make a task known to `get` under its `name`.

    >>> @register
    ... class Backwards(Task):
    ...     name = "backwards"
    ...     def answer(self, pronunciation):
    ...         return without_stress(pronunciation)[::-1]
    >>> get("backwards").accepted("cat")
    [['T', 'AE', 'K']]
    >>> del _REGISTRY["backwards"]                                  # leave the registry as it was
    """
    if not isinstance(cls.name, str) or not cls.name:
        raise ValueError(f"{cls.__name__} needs a class attribute `name`, a non-empty string, to be registered")
    if cls.name in _REGISTRY and _REGISTRY[cls.name].__qualname__ != cls.__qualname__:
        raise ValueError(f"there is already a task named {cls.name!r} ({_REGISTRY[cls.name].__qualname__}); "
                         f"give {cls.__name__} another name")
    _REGISTRY[cls.name] = cls
    return cls


def names():
    """The names of the registered tasks, in alphabetical order.

    >>> names()
    ['accent', 'pronounce', 'rhyme']
    """
    return sorted(_REGISTRY)


def get(name_or_path):
    """A task by its registered name, or from a TSV file by its path.

    Raises ValueError for an unknown name (it lists the known ones) and FileNotFoundError for a missing file.

    >>> get("rhyme").name
    'rhyme'
    >>> get("rhymes")
    Traceback (most recent call last):
    ValueError: unknown task 'rhymes'; known tasks: accent, pronounce, rhyme; or give the path of a .tsv file. \
Did you mean 'rhyme'?
    """
    if isinstance(name_or_path, str) and name_or_path in _REGISTRY:
        return _REGISTRY[name_or_path]()
    text = os.fspath(name_or_path)
    path = Path(text)
    # A name never looks like a path, so a mistyped name and a missing file get different messages.
    if path.suffix in (".tsv", ".txt") or os.sep in text or "/" in text or path.is_file():
        from minigrad.tasks.tsv import TsvTask  # here, because tsv.py stands on this file
        return TsvTask(path)
    close = difflib.get_close_matches(text, names(), n=1)
    hint = f". Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown task {text!r}; known tasks: {', '.join(names())}; or give the path of a .tsv file{hint}")
