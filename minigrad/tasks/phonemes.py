"""The sounds the tasks speak: ARPAbet, as the CMU Pronouncing Dictionary writes it.

A vowel in the dictionary carries its stress as a digit: 1 primary, 2 secondary, 0 none. Sequences that a model reads or
writes carry no stress, so `without_stress` stands between the dictionary and every task.
"""

VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS = ("B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N", "NG", "P", "R", "S", "SH", "T", "TH",
              "V", "W", "Y", "Z", "ZH")
PHONEMES = tuple(sorted(VOWELS + CONSONANTS))

# The vowel of "nurse" said without its R, which American English lacks. Our own code: ARPAbet's ER implies the R.
OE = "OE"
ACCENT_PHONEMES = (OE,)


def base(symbol):
    """The phoneme without its stress digit.

    >>> base("AE1"), base("K")
    ('AE', 'K')
    """
    return symbol.rstrip("012")


def is_vowel(symbol):
    """Whether a phoneme, with or without a stress digit, is a vowel.

    >>> is_vowel("AE1"), is_vowel("ER"), is_vowel("R")
    (True, True, False)
    """
    return base(symbol) in VOWELS


def without_stress(pronunciation):
    """A pronunciation with every stress digit removed.

    >>> without_stress(("AH0", "B", "AW1", "T"))
    ['AH', 'B', 'AW', 'T']
    """
    return [base(symbol) for symbol in pronunciation]
