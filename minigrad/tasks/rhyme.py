"""Rhyming: spelling to the part of the word that a rhyme must share.

That part begins at the last vowel with primary stress: "nation" rhymes on EY SH AH N. The model has to find a stress
that is not written in its input, and to leave out all that comes before: new behavior for a model that reads aloud.
"""

from minigrad.tasks.base import Task, get, register
from minigrad.tasks.phonemes import without_stress


@register
class Rhyme(Task):
    """Spelling to the phonemes from the last primary-stressed vowel on; right is the rhyme of any listed pronunciation.

    About one word in fifteen (cat's rhyme is AE T, but "at" is AE T too) is its own rhyme and is answered by plain
    reading: see `own_rhyme_share`. That share is a floor, not skill.

    >>> Rhyme().accepted("nation"), Rhyme().accepted("at")
    ([['EY', 'SH', 'AH', 'N']], [['AE', 'T']])
    """

    name = "rhyme"

    def answer(self, pronunciation):
        """The rhyme of one pronunciation without stress digits, or None when no vowel has primary stress.

        >>> Rhyme().answer(("P", "EH1", "N", "S", "AH0", "L")), Rhyme().answer(("AH0", "V"))
        (['EH', 'N', 'S', 'AH', 'L'], None)
        """
        stressed = [i for i, phoneme in enumerate(pronunciation) if phoneme.endswith("1")]
        return without_stress(pronunciation[stressed[-1]:]) if stressed else None


def own_rhyme_share(split):
    """The share of a split's words that are their own rhyme: what a perfect reader scores without learning to rhyme.

    >>> round(own_rhyme_share("adapt"), 2)
    0.07
    """
    return get("rhyme").baseline(split)
