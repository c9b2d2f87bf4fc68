"""A change of accent: spelling to a non-rhotic accent with trap-bath broadening, by rule from the American dictionary.

This is a rule-based approximation of how people in the south of England speak, not a recording of it. It is a
systematic shift of sounds that the base model already knows, hence an easy task; seven words in ten do not change at
all (`baseline`). The rules, in order, on one
pronunciation (a "vowel" below is a vowel of the dictionary's pronunciation; ER counts as one):

1. **Bath.** AE becomes AA
   - before F, S or TH, unless a vowel follows that consonant (bath, after, glass; but "classic" keeps its AE);
   - before N followed by S, T or CH (dance, plant, branch), and before M P L or M P AH L (sample).
   Real speakers make exceptions (gas, ant, fancy) which these rules do not know.
2. **Nurse and letter.** ER loses its R. With stress it becomes OE, the vowel of "nurse" (our symbol: `phonemes.py`);
   without stress it becomes AH, the dictionary's schwa (letter: L EH T AH). When a vowel follows, the R is heard and
   is written after it (hurry: HH OE R IY).
3. **R** is kept only before a vowel. Where it is dropped after one of the vowels IH IY EH EY UH UW AY AW OY OW, a schwa
   takes its place (near: N IH AH, square: S K W EH AH); after any other sound nothing does (car: K AA, north: N AO TH).

What the dictionary does not distinguish, the accent does not either: "lot" and "father" share AA.
"""

from minigrad.tasks.base import Task, register
from minigrad.tasks.phonemes import ACCENT_PHONEMES, OE, PHONEMES, base, is_vowel, without_stress

VOICELESS_FRICATIVES = ("F", "S", "TH")
BROADENING_CLUSTERS = (("N", "S"), ("N", "T"), ("N", "CH"), ("M", "P", "L"), ("M", "P", "AH", "L"))
GLIDING_VOWELS = ("IH", "IY", "EH", "EY", "UH", "UW", "AY", "AW", "OY", "OW")
SCHWA = "AH"


@register
class Accent(Task):
    """Spelling to a non-rhotic accent with trap-bath broadening; right is the shift of any listed pronunciation.

    >>> Accent().accepted("car"), Accent().accepted("bath"), Accent().accepted("nurse")
    ([['K', 'AA']], [['B', 'AA', 'TH']], [['N', 'OE', 'S']])
    """

    name = "accent"
    symbols = PHONEMES + ACCENT_PHONEMES

    def answer(self, pronunciation):
        """Apply the three rules to one pronunciation, from left to right.

        >>> Accent().answer(("S", "K", "W", "EH1", "R")), Accent().answer(("HH", "ER1", "IY0"))
        (['S', 'K', 'W', 'EH', 'AH'], ['HH', 'OE', 'R', 'IY'])
        """
        spoken = []
        for i, symbol in enumerate(pronunciation):
            sound, following = base(symbol), pronunciation[i + 1:]
            before_vowel = bool(following) and is_vowel(following[0])
            if sound == "AE" and is_broad(following):
                spoken.append("AA")
            elif sound == "ER":
                spoken.append(SCHWA if symbol.endswith("0") else OE)
                if before_vowel:
                    spoken.append("R")
            elif sound == "R" and not before_vowel:
                if i > 0 and base(pronunciation[i - 1]) in GLIDING_VOWELS:
                    spoken.append(SCHWA)
            else:
                spoken.append(sound)
        return spoken


def is_broad(following):
    """Whether an AE followed by these phonemes is said as AA (rule 1 above).

    >>> is_broad(("S", "T")), is_broad(("S", "IH0", "K")), is_broad(("N", "S")), is_broad(("N", "D"))
    (True, False, True, False)
    """
    sounds = tuple(without_stress(following))
    if any(sounds[:len(cluster)] == cluster for cluster in BROADENING_CLUSTERS):
        return True
    ends_syllable = len(sounds) < 2 or not is_vowel(sounds[1])
    return bool(sounds) and sounds[0] in VOICELESS_FRICATIVES and ends_syllable
