"""Ids: fixed, reversible, and guarded."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.tasks import Tokenizer
from minigrad.tasks.phonemes import OE, PHONEMES
from minigrad.tasks.tokenizer import BASE_SYMBOLS, LETTERS, MARKS

TOKENIZER = Tokenizer()


def test_layout_of_the_vocabulary():
    assert TOKENIZER.vocab_size == 80 and TOKENIZER.vocab_size % 8 == 0
    assert BASE_SYMBOLS == MARKS + LETTERS + PHONEMES + (OE,)
    assert (TOKENIZER.pad_id, TOKENIZER.bos_id, TOKENIZER.sep_id, TOKENIZER.end_id) == (0, 1, 2, 3)
    assert TOKENIZER.encode_source("az") == [1, 4, 29, 2]
    assert TOKENIZER.encode_target(["AA", "ZH", OE]) == [30, 68, 69, 3]


@given(st.lists(st.sampled_from(PHONEMES + LETTERS + (OE,)), max_size=30), st.lists(st.integers(0, 79)))
def test_answers_survive_a_round_trip(symbols, rest):
    assert TOKENIZER.decode(TOKENIZER.encode_target(symbols) + rest) == symbols


@given(st.text(LETTERS, min_size=1, max_size=30))
def test_prompts_survive_a_round_trip(word):
    assert TOKENIZER.decode(TOKENIZER.encode_source(word)) == ["<bos>", *word, "<sep>"]


def test_decode_hides_nothing():
    assert TOKENIZER.decode([30, 0, 2, 75]) == ["AA", "<pad>", "<sep>", "<spare75>"]
    for bad in (-1, 80):
        with pytest.raises(ValueError, match=f"token id {bad} is outside 0…79"):
            TOKENIZER.decode([bad])


@pytest.mark.parametrize("word, message", [
    ("", "an empty word"), ("Cat", "contains 'C'"), ("o'clock", "contains \"'\""),
])
def test_words_must_be_spelled_a_to_z(word, message):
    with pytest.raises(ValueError, match=message):
        TOKENIZER.encode_source(word)


def test_answers_must_be_known_symbols():
    with pytest.raises(ValueError, match="unknown symbol 'AE1'"):
        TOKENIZER.encode_target(["K", "AE1"])
    with pytest.raises(ValueError, match="the mark <end> cannot be part of an answer"):
        TOKENIZER.encode_target(["K", "<end>"])
    with pytest.raises(TypeError, match="a list of symbols"):
        TOKENIZER.encode_target("K AE T")


def test_added_symbols():
    tokenizer = Tokenizer()
    assert tokenizer.add_symbols(["x", "HI", "LO", "HI"]) == ["HI", "LO"]       # x is a letter, known already
    assert tokenizer.encode_target(["HI", "LO"]) == [70, 71, 3]
    assert tokenizer.decode([70, 71, 3]) == ["HI", "LO"] and "HI" in tokenizer and "HI" not in TOKENIZER
    with pytest.raises(ValueError, match="need as many spare ids, but only 8 of 80 are left"):
        tokenizer.add_symbols([f"s{i}" for i in range(9)])
    assert tokenizer.spare == 8                     # all or none
    for bad in ("", "a b", "<mine>", "tab\t"):
        with pytest.raises(ValueError, match="symbol|kept for marks"):
            tokenizer.add_symbols([bad])


def test_saved_and_loaded(tmp_path):
    tokenizer = Tokenizer(96)
    tokenizer.add_symbols(["HI"])
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    assert Tokenizer.load(path) == tokenizer != Tokenizer(96)
    assert Tokenizer.from_dict(json.loads(json.dumps(tokenizer.to_dict()))).encode_target(["HI"]) == [70, 3]
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]     # nothing unfinished is left behind
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match="cannot read a tokenizer from .*tokenizer.json"):
        Tokenizer.load(path)


@pytest.mark.parametrize("change, message", [
    ({"kind": "cake"}, "not a tokenizer"), ({"version": 2}, "not a tokenizer"), ({"vocab_size": 81}, "multiple of 8"),
    ({"vocab_size": 64}, "at least 70"), ({"symbols": ["K"]}, "would be misread"),
    ({"symbols": None}, "would be misread"), ({"symbols": [*BASE_SYMBOLS, "K"]}, "lists a symbol twice"),
])
def test_foreign_tokenizers_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_dict(Tokenizer().to_dict() | change)
    with pytest.raises(ValueError, match="not a tokenizer.*got list"):
        Tokenizer.from_dict([])
