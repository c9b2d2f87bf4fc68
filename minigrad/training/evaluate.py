"""Evaluation: let the model read words aloud, greedily, and score what it says."""
from __future__ import annotations

from dataclasses import dataclass

from minigrad.tasks import metrics

LONGEST_ANSWER = 32                                 # symbols; no English word needs as many, a broken model would go on


@dataclass(frozen=True)
class Evaluation:
    """exact_match: share of words read exactly right, 0 … 1 · phoneme_error_rate: edit distance per symbol ·
    predictions: one list of symbols per word, in the order of the examples."""

    exact_match: float
    phoneme_error_rate: float
    predictions: list


def predict(model, tokenizer, words, batch_size: int = 256, on_batch=None) -> list[list[str]]:
    """Read each word greedily: a list of symbols per word, in the order of `words`.

    Words of equal length are decoded together, at most `batch_size` at once; `on_batch(n)` is told when n more are done.
    Raises ValueError for a word with other characters than a-z, or one that does not fit into the context.
    """
    prompts = [tokenizer.encode_source(word) for word in words]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers: list = [None] * len(prompts)
    for first in range(0, len(order), batch_size):
        rows = order[first:first + batch_size]
        written = model.generate([prompts[i] for i in rows], LONGEST_ANSWER, stop=tokenizer.end_id)
        for i, ids in zip(rows, written, strict=True):
            answers[i] = tokenizer.decode(ids)
        if on_batch is not None:
            on_batch(len(rows))
    return answers


def evaluate(model, tokenizer, examples, batch_size: int = 256, on_batch=None) -> Evaluation:
    """Score greedy decoding on (word, accepted answers) pairs. An answer that equals any accepted one is right.

    >>> import minigrad as mg
    >>> from minigrad import tasks
    >>> tokenizer = tasks.Tokenizer()
    >>> gpt = mg.models.GPT(mg.models.GPTConfig(tokenizer.vocab_size, d_model=8, n_layers=1, n_heads=1))
    >>> evaluate(gpt, tokenizer, [("cat", [["K", "AE", "T"]])]).exact_match
    0.0
    """
    words, accepted = [word for word, _ in examples], [answers for _, answers in examples]
    if not words:
        raise ValueError("nothing to evaluate on: the list of examples is empty")
    predictions = predict(model, tokenizer, words, batch_size, on_batch)
    return Evaluation(metrics.exact_match(predictions, accepted), metrics.phoneme_error_rate(predictions, accepted),
                      predictions)
