"""A user's file: what is read, and what is said about mistakes in it."""

import pytest

from minigrad import tasks


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.tsv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        return path
    return write


def test_rows_alternatives_comments_and_hash_split(write):
    letters = "abcdefghijklmnopqrst"
    rows = ["# plurals", ""] + [f"w{letter}\tK {letter}\tG {letter}" for letter in letters]
    task = tasks.get(write("\n".join(rows)))
    assert task.name == "mine" and task.splits == ("adapt", "validation", "test")
    split = {name: dict(task.examples(name)) for name in task.splits}
    assert {name: len(rows) for name, rows in split.items()} == {"adapt": 16, "validation": 2, "test": 2}
    together = {word: accepted for rows in split.values() for word, accepted in rows.items()}
    assert together == {f"w{letter}": [["K", letter], ["G", letter]] for letter in letters}
    shuffled = tasks.get(str(write("\n".join(rows[:1:-1]), "other.tsv")))
    assert {name: dict(shuffled.examples(name)) for name in shuffled.splits} == split


def test_named_columns_and_split_column(write):
    text = "source\ttarget\tsplit\ttarget\ncat\tK AE T\tadapt\tK AA T\r\ndog\tD AO G\ttest\ncow\tK AW\tpretrain\t\n"
    task = tasks.get(write(b"\xef\xbb\xbf" + text.encode()))
    assert task.splits == ("pretrain", "adapt", "test")
    assert task.examples("adapt") == [("cat", [["K", "AE", "T"], ["K", "AA", "T"]])]
    assert task.examples("test") == [("dog", [["D", "AO", "G"]])]
    with pytest.raises(ValueError, match="has the splits pretrain, adapt, test"):
        task.examples("validation")
    assert task.accepted("cow") == [["K", "AW"]]
    with pytest.raises(KeyError, match="'pig' is not in"):
        task.accepted("pig")
    assert task.baseline("adapt") == 1.0


@pytest.mark.parametrize("text, line, message", [
    ("cat\tK AE T\ndog D AO G\n", 2, "got one column: 'dog D AO G'"),
    ("cat\tK AE T\n\nDog\tD AO G\n", 3, "letters a-z .lower case., got 'Dog', which contains 'D'"),
    ("café\tK AE F EY\n", 1, "which contains 'é'"),
    ("\tK AE T\n", 1, "got nothing"),
    ("cat\t\n", 1, "'cat' has no target"),
    ("cat\t \tK AE T\n", 1, "'cat' has no target"),
    ("cat\tK AE T\ndog\tD AO G\ncat\tK AA T\n", 3, "'cat' was already given in line 1"),
    ("cat\tK <end>\n", 1, "'<end>' is one of the tokenizer's marks"),
    ("cat\tK <mine>\n", 1, "'<mine>' looks like one of its marks"),
    ("source\ttarget\tsplit\ncat\tK AE T\ttrain\n", 2, "unknown split 'train'; valid are pretrain, adapt"),
    ("source\ttarget\tsplit\ncat\tK AE T\tadpat\n", 2, "did you mean 'adapt'"),
    ("source\ttarget\tsplit\ncat\tK AE T\n", 2, "unknown split ''"),
    ("source\ttarget\tweight\ncat\tK AE T\t1\n", 1, "the first line names the columns"),
    ("source\ttarget\ncat\tK AE T\tK AA T\n", 2, "3 columns, but the first line names 2"),
])
def test_malformed_rows_are_named_by_file_and_line(write, text, line, message):
    path = write(text)
    with pytest.raises(ValueError, match=message) as caught:
        tasks.get(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_bytes_that_are_not_utf8_are_named_by_line(write):
    with pytest.raises(ValueError, match=r"mine.tsv:2: this is not UTF-8"):
        tasks.get(write(b"cat\tK AE T\ncaf\xe9\tK\n"))


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "source\ttarget\n"])
def test_empty_files(write, text):
    with pytest.raises(ValueError, match="mine.tsv: no rows"):
        tasks.get(write(text))


def test_too_few_rows_to_split(write):
    with pytest.raises(ValueError, match="give at least 3"):
        tasks.get(write("cat\tK\ndog\tD\n"))


def test_new_symbols_take_spare_ids_until_there_are_none(write):
    task = tasks.get(write("a\tK x1 x2\nb\tx1 T\nc\tx3\n"))
    tokenizer = tasks.Tokenizer()
    with pytest.raises(ValueError, match="unknown symbol 'x1'.*add_symbols"):
        tokenizer.encode_target(["x1"])
    assert task.add_symbols(tokenizer) == ["x1", "x2", "x3"]
    assert task.add_symbols(tokenizer) == [] and tokenizer.spare == 7
    tasks.encode_examples(tokenizer, task.examples("adapt") + task.examples("test"))

    rows = [f"w{chr(97 + i)}\ty{i}" for i in range(9)]
    greedy = tasks.get(write("\n".join(rows), "greedy.tsv"))
    with pytest.raises(ValueError, match=r"greedy.tsv:8: no spare id is left for the symbol 'y7'"):
        greedy.add_symbols(tokenizer)
    assert tokenizer.spare == 7                     # all or none
