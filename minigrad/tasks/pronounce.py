"""Reading aloud, the base model's own task: spelling to phonemes, stress removed."""

from minigrad.tasks.base import Task, register
from minigrad.tasks.phonemes import without_stress


@register
class Pronounce(Task):
    """Spelling to phonemes; right is any listed pronunciation.

    >>> Pronounce().accepted("either")
    [['IY', 'DH', 'ER'], ['AY', 'DH', 'ER']]
    """

    name = "pronounce"

    def answer(self, pronunciation):
        """The phonemes without their stress.

        >>> Pronounce().answer(("AH0", "B", "AW1", "T"))
        ['AH', 'B', 'AW', 'T']
        """
        return without_stress(pronunciation)
