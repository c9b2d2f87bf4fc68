"""What a model learns here: turning the spelling of a word into sounds, on 117,493 real English words.

    dictionary.py           the words, their pronunciations, their splits
    pronounce, rhyme, accent    the tasks that ship, one small class each
    tsv.py                  a user's own task, from a file
    tokenizer.py            symbols to ids
    batching.py             examples to padded batches, resumable
    metrics.py              exact match and phoneme error rate

>>> from minigrad import tasks
>>> tasks.names()
['accent', 'pronounce', 'rhyme']
>>> tasks.get("rhyme").accepted("nation")
[['EY', 'SH', 'AH', 'N']]
"""

from minigrad.tasks import accent, dictionary, metrics, phonemes, pronounce, rhyme
from minigrad.tasks.base import Task, get, names, register
from minigrad.tasks.batching import IGNORE, Batch, Batches, Sequence, encode_examples
from minigrad.tasks.dictionary import SPLITS, data_version
from minigrad.tasks.metrics import edit_distance, exact_match, phoneme_error_rate
from minigrad.tasks.tokenizer import Tokenizer
from minigrad.tasks.tsv import TsvTask

__all__ = [
    "IGNORE", "SPLITS", "Batch", "Batches", "Sequence", "Task", "Tokenizer", "TsvTask", "accent", "data_version",
    "dictionary", "edit_distance", "encode_examples", "exact_match", "get", "metrics", "names", "phoneme_error_rate",
    "phonemes", "pronounce", "register", "rhyme",
]
