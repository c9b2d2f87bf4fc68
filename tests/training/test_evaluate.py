import numpy as np
import pytest

from minigrad import tasks, training
from tests.training.tiny import WORDS, tiny_batches, tiny_model


class Parrot:
    """A "model" that answers each word with its letters in capitals, and notes what it was asked."""

    def __init__(self, tokenizer):
        self.tokenizer, self.asked = tokenizer, []

    def generate(self, prompts, max_new_tokens, *, stop):
        self.asked.append([len(p) for p in prompts])
        letters = [[self.tokenizer.symbols[i] for i in prompt[1:-1]] for prompt in prompts]
        return [np.array([self.tokenizer._ids[c] for c in word]) for word in letters]


def test_predictions_come_in_the_order_of_the_words():
    tokenizer = tasks.Tokenizer()
    parrot, words, counted = Parrot(tokenizer), ["shoe", "a", "either", "on", "tea"], []
    answers = training.predict(parrot, tokenizer, words, batch_size=2, on_batch=counted.append)
    assert ["".join(answer) for answer in answers] == words
    assert parrot.asked == [[3, 4], [5, 6], [8]] and counted == [2, 2, 1]


def test_scores_of_a_known_reader():
    tokenizer = tasks.Tokenizer()
    examples = [("ab", [["a", "b"]]), ("abc", [["a"], ["a", "b", "d"]])]
    score = training.evaluate(Parrot(tokenizer), tokenizer, examples)
    assert score.exact_match == 0.5
    assert score.phoneme_error_rate == pytest.approx(1 / 5)         # nearest to abc is abd: 1 error; 2 + 3 symbols


def test_a_trained_model_reads_what_it_learned(backend):
    model, tokenizer = tiny_model(), tasks.Tokenizer()
    training.fit(model, tiny_batches(), steps=150, lr=1e-2)
    assert training.evaluate(model, tokenizer, WORDS).exact_match == 1.0
    alone = [training.predict(model, tokenizer, [word])[0] for word, _ in WORDS]
    assert alone == training.predict(model, tokenizer, [word for word, _ in WORDS])


def test_nothing_to_read():
    with pytest.raises(ValueError, match="nothing to evaluate on"):
        training.evaluate(tiny_model(), tasks.Tokenizer(), [])


def test_a_word_that_is_no_word():
    with pytest.raises(ValueError, match="letters a-z"):
        training.predict(tiny_model(), tasks.Tokenizer(), ["naïve"])
