"""What the shipped tasks answer, written by hand; and the registry."""

import pytest

from minigrad import tasks
from minigrad.tasks import base, dictionary
from minigrad.tasks.phonemes import PHONEMES, without_stress


def answers(task, word):
    return [" ".join(answer) for answer in tasks.get(task).accepted(word)]


@pytest.mark.parametrize("word, expected", [
    ("cat", ["AE T"]),
    ("at", ["AE T"]),
    ("nation", ["EY SH AH N"]),
    ("about", ["AW T"]),
    ("pencil", ["EH N S AH L"]),
    ("beautiful", ["UW T AH F AH L"]),
    ("university", ["ER S AH T IY"]),
    ("understand", ["AE N D"]),                     # secondary stress on UN does not count
    ("guitar", ["AA R"]),
    ("computer", ["UW T ER"]),
    ("banana", ["AE N AH"]),
    ("tomato", ["EY T OW", "AA T OW"]),             # one for each listed pronunciation
    ("read", ["EH D", "IY D"]),
    ("either", ["IY DH ER", "AY DH ER"]),
    ("of", ["AH V"]),
    ("playground", ["EY G R AW N D", "EY G R AW N"]),
])
def test_rhyme(word, expected):
    assert answers("rhyme", word) == expected


def test_rhyme_begins_at_the_last_of_several_primary_stresses():
    assert tasks.get("rhyme").answer(("EY1", "T", "IY1", "N")) == ["IY", "N"]


def test_words_without_primary_stress_have_no_rhyme_and_are_left_out():
    silent = [word for split in tasks.SPLITS for word in dictionary.split_words(split)
              if not any(phoneme.endswith("1") for way in dictionary.pronunciations(word) for phoneme in way)]
    assert silent
    listed = {word for split in tasks.SPLITS for word, _ in tasks.get("rhyme").examples(split)}
    assert not listed & set(silent)
    assert len(listed) + len(silent) == len(dictionary.words())
    assert all(tasks.get("rhyme").accepted(word) == [] for word in silent)


@pytest.mark.parametrize("word, expected", [
    ("car", ["K AA"]),                              # R at the end
    ("north", ["N AO TH"]),                         # R before a consonant
    ("very", ["V EH R IY"]),                        # R before a vowel stays
    ("red", ["R EH D"]),
    ("nurse", ["N OE S"]),
    ("hurry", ["HH OE R IY"]),                      # R heard between two vowels
    ("letter", ["L EH T AH"]),
    ("memory", ["M EH M AH R IY"]),
    ("near", ["N IH AH"]),                          # a schwa in place of the R
    ("square", ["S K W EH AH"]),
    ("mirror", ["M IH R AH"]),
    ("bath", ["B AA TH"]),
    ("after", ["AA F T AH"]),
    ("glass", ["G L AA S"]),
    ("dance", ["D AA N S"]),
    ("branch", ["B R AA N CH"]),
    ("sample", ["S AA M P AH L"]),
    ("hand", ["HH AE N D"]),                        # N D does not broaden
    ("classic", ["K L AE S IH K"]),                 # a vowel follows the S
    ("cat", ["K AE T"]),
    ("father", ["F AA DH AH"]),
    ("fire", ["F AY AH"]),                          # both listed pronunciations lead here
])
def test_accent(word, expected):
    assert answers("accent", word) == expected


def test_accent_on_the_whole_dictionary():
    task = tasks.get("accent")
    vowels = {"ER"}
    for word in dictionary.words():
        for answer in task.accepted(word):
            assert answer and set(answer) <= set(task.symbols) - vowels
            for sound, following in zip(answer, answer[1:] + ["end"], strict=True):
                if sound == "R":                    # never before a consonant, never last
                    assert following in ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "EY", "IH", "IY", "OE", "OW", "OY",
                                         "UH", "UW"), (word, answer)


@pytest.mark.parametrize("word, expected", [
    ("about", ["AH B AW T"]), ("read", ["R EH D", "R IY D"]), ("nation", ["N EY SH AH N"]),
])
def test_pronounce(word, expected):
    assert answers("pronounce", word) == expected


def test_pronunciations_that_differ_in_stress_only_count_once():
    word = next(word for word in dictionary.words()
                if len({tuple(without_stress(way)) for way in dictionary.pronunciations(word)})
                < len(dictionary.pronunciations(word)))
    accepted = tasks.get("pronounce").accepted(word)
    assert len(accepted) < len(dictionary.pronunciations(word))
    assert len({tuple(answer) for answer in accepted}) == len(accepted)


@pytest.mark.parametrize("name", ["pronounce", "rhyme", "accent"])
def test_examples_are_encodable_and_fit_the_context(name):
    task, tokenizer = tasks.get(name), tasks.Tokenizer()
    assert task.add_symbols(tokenizer) == []
    examples = task.examples("adapt")
    assert 19_900 < len(examples) <= 20_000
    assert [word for word, _ in examples] == [word for word in dictionary.split_words("adapt") if task.accepted(word)]
    tasks.encode_examples(tokenizer, examples, max_length=64)


def test_own_rhymes_are_counted():
    everywhere = [word for split in tasks.SPLITS for word, _ in tasks.get("rhyme").examples(split)]
    own = [word for word in everywhere
           if without_stress(dictionary.pronunciations(word)[0]) in tasks.get("rhyme").accepted(word)]
    assert 0.066 < len(own) / len(everywhere) < 0.067
    test_words = {word for word, _ in tasks.get("rhyme").examples("test")}
    assert tasks.rhyme.own_rhyme_share("test") == pytest.approx(len(test_words & set(own)) / len(test_words))
    assert "at" in own and "cat" not in own


def test_unknown_names_are_explained():
    with pytest.raises(ValueError, match="known tasks: accent, pronounce, rhyme.*Did you mean 'pronounce'"):
        tasks.get("pronounse")
    with pytest.raises(ValueError, match="the task 'rhyme' has the splits .*Did you mean 'test'"):
        tasks.get("rhyme").examples("tests")
    with pytest.raises(FileNotFoundError):
        tasks.get("nowhere/words.tsv")


def test_a_task_of_ones_own_is_one_small_class():
    @tasks.register
    class Onset(tasks.Task):
        name = "onset"

        def answer(self, pronunciation):
            return without_stress(pronunciation)[:1]

    try:
        assert tasks.get("onset").examples("test")[0][1] == [["B"]]
        assert "onset" in tasks.names()
        with pytest.raises(ValueError, match="already a task named 'rhyme'"):
            tasks.register(type("Other", (tasks.Task,), {"name": "rhyme"}))
        with pytest.raises(ValueError, match="needs a class attribute `name`"):
            tasks.register(type("Nameless", (tasks.Task,), {}))
        with pytest.raises(NotImplementedError, match="needs a method answer"):
            tasks.Task().answer(("K",))
    finally:
        del base._REGISTRY["onset"]


def test_there_are_39_phonemes():
    assert len(PHONEMES) == len(set(PHONEMES)) == 39
