"""Metrics against their definitions, written plainly."""

import time
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.tasks import edit_distance, exact_match, metrics, phoneme_error_rate

SHORT = st.lists(st.sampled_from(["K", "AE", "T"]), max_size=6)
ACCEPTED = st.lists(SHORT.filter(bool), min_size=1, max_size=3)


def by_definition(a, b):
    """Levenshtein's distance by its recursion."""
    @cache
    def distance(i, j):
        if i == 0 or j == 0:
            return i + j
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (a[i - 1] != b[j - 1]))
    return distance(len(a), len(b))


def test_known_distances():
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("flaw", "lawn") == 2
    assert edit_distance("", "abc") == edit_distance("abc", "") == 3
    assert edit_distance([], []) == 0


@given(SHORT, SHORT)
def test_edit_distance_is_the_recursion(a, b):
    assert edit_distance(a, b) == by_definition(a, b)


@given(SHORT, SHORT, SHORT)
def test_edit_distance_is_a_metric(a, b, c):
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, b) == edit_distance(b, a)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


@given(st.lists(st.tuples(SHORT, SHORT), max_size=8))
def test_many_at_once_equal_one_by_one(pairs):
    assert metrics.edit_distances(pairs).tolist() == [edit_distance(a, b) for a, b in pairs]


@given(st.lists(st.tuples(SHORT, ACCEPTED), min_size=1, max_size=6))
def test_scores_equal_their_definitions(words):
    predictions, accepted = zip(*words, strict=True)
    assert exact_match(predictions, accepted) == pytest.approx(np.mean([one in many for one, many in words]))
    nearest = [min(many, key=lambda answer, one=one: by_definition(one, answer)) for one, many in words]
    errors = sum(by_definition(one, answer) for one, answer in zip(predictions, nearest, strict=True))
    assert phoneme_error_rate(predictions, accepted) == pytest.approx(errors / sum(map(len, nearest)))


def test_scores_by_hand():
    accepted = [[["K", "AE", "T"]], [["IY", "DH", "ER"], ["AY", "DH", "ER"]]]
    assert exact_match([["K", "AE", "T"], ["AY", "DH", "ER"]], accepted) == 1.0
    assert phoneme_error_rate([["K", "AE", "T"], ["AY", "DH", "ER"]], accepted) == 0.0
    assert exact_match([["K", "AE"], ["AY", "DH", "ER"]], accepted) == 0.5
    assert phoneme_error_rate([["K", "AE"], ["AY", "DH", "ER"]], accepted) == pytest.approx(1 / 6)
    assert phoneme_error_rate([[], []], accepted) == 1.0
    assert phoneme_error_rate([["B"] * 6, ["AY", "DH", "ER"]], accepted) == 1.0     # may pass 1: not a percentage


@pytest.mark.parametrize("score", [exact_match, phoneme_error_rate])
def test_misuse_is_explained(score):
    with pytest.raises(ValueError, match="2 predictions but 1 lists"):
        score([["K"], ["K"]], [[["K"]]])
    with pytest.raises(ValueError, match="no predictions"):
        score([], [])
    with pytest.raises(ValueError, match="number 0 has no accepted answer"):
        score([["K"]], [[]])
    with pytest.raises(TypeError, match="a list of symbols"):
        score(["K"], [[["K"]]])
    with pytest.raises(TypeError, match="a list of such lists|a list of symbols"):
        score([["K"]], [["K"]])


def test_two_thousand_words_take_well_under_a_second():
    rng = np.random.default_rng(0)
    words = [[str(s) for s in rng.integers(40, size=n)] for n in rng.integers(3, 20, size=4_000)]
    start = time.perf_counter()
    phoneme_error_rate(words[:2_000], [[word, word[1:]] for word in words[2_000:]])
    assert time.perf_counter() - start < 1.0
