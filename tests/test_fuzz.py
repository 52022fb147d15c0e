"""Whatever files a folder holds, a sync lists each, and what it stores are slices of the files.

``READBACK_FUZZ=5000 python -m pytest tests/test_fuzz.py`` tries so many other examples.
"""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.crash import HashEmbedder
from index import FolderError, PassageIndex
from index.documents import MAX_BYTES, SUFFIXES, Document
from index.passages import MAX_CHARACTERS, MAX_PIECES, sentences, split_passages, word_pieces
from tests.test_formats import FIRST, NAMES, contents, make_csv, make_zip

EXAMPLES = os.environ.get("READBACK_FUZZ")


def fuzz(examples: int) -> settings:
    return settings(
        max_examples=int(EXAMPLES or examples),
        derandomize=EXAMPLES is None,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


LONGEST = 255  # bytes of a file name

PIECES = (
    *(
        "word ",
        " ",
        "\n",
        "\n\n",
        "\r",
        "\r\n",
        "\x0b",
        "\x1c",
        "\x85",
        "\u2028",
        "\0",
        "a. ",
        "?! ",
    ),
    *(
        "“ ",
        "”",
        "(",
        ")))",
        '"',
        "岸",
        "。",
        "가",
        "é",
        "e\u0301",
        "\u0301",
        "\u200b",
        "\u202e",
        "😀",
    ),
    *("# a", "- ", "1. ", "|", "---\n", "title: ", "x" * 150, "https://a.b ", "[SEP]", "_", "İ"),
    *("by Jane Doe\n", "28 April 2022\n", "Reporting by Al", "contributed to this report"),
    *("<p>", "</div>", "<!--", "&amp;", "From a\n", "The ministers met again in Oslo on Monday. "),
)
ODD_TEXTS = st.lists(st.sampled_from(PIECES), max_size=300).map("".join) | st.tuples(
    st.sampled_from(PIECES), st.integers(1, 9_000)
).map(lambda drawn: drawn[0] * drawn[1])


def file_name(text: str, ending: str) -> bytes:
    """A name that a file may have, the nearest to this."""
    name = text.encode("utf-8", "surrogateescape" if "\udc80" in text else "replace")
    name = name.replace(b"/", b"%2F").replace(b"\0", b"%00").lstrip(b".")
    return (name or b"a")[: LONGEST - len(ending)] + ending.encode()


FILE_NAMES = st.builds(
    file_name,
    NAMES | st.sampled_from(["\udc80", "-rf", "--help", "'", '"', "\r", "a" * 300, "é" * 200]),
    st.sampled_from([*SUFFIXES, ".TXT", ".exe"]),
)
MEMBERS = st.dictionaries(NAMES.filter(bool), contents(), max_size=3).map(make_zip)
ROWS = st.lists(st.lists(ODD_TEXTS, max_size=3), max_size=3).map(
    lambda rows: make_csv([["title", "text", "date"], *rows])
)
CONTENTS = contents() | ODD_TEXTS.map(lambda text: text.encode(errors="replace")) | MEMBERS | ROWS


@fuzz(15)
@given(files=st.dictionaries(FILE_NAMES, CONTENTS, min_size=1, max_size=4), again=CONTENTS)
def test_a_sync_lists_every_file_and_stores_slices(files: dict[bytes, bytes], again: bytes):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "docs")
        folder.mkdir()
        with PassageIndex.open(Path(place, "index"), embedder=HashEmbedder()) as opened:
            sync_and_check(opened, folder, files)
            files[min(files)] = again
            sync_and_check(opened, folder, files)


def sync_and_check(opened: PassageIndex, folder: Path, files: dict[bytes, bytes]) -> None:
    for name, data in files.items():
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(data)
    try:
        report = opened.sync(folder)
    except FolderError as error:
        assert "holds no document that can be read" in str(error)
        return
    skipped = dict(report.skipped)
    assert all(skipped.values())
    listed = [*report.added, *report.changed, *report.moved, *report.unchanged, *skipped]
    for name in files:
        assert is_among(os.fsdecode(name), listed), name
    assert opened.verify(folder) == []
    for hit in opened.search("word the ministers met in Oslo", k=10_000):
        text = opened.text(hit.document.path)
        assert text is not None and text[hit.start : hit.end] == hit.text != ""


def is_among(name: str, listed: Iterable[str]) -> bool:
    """Whether a file is listed, or what it holds: `a.zip/b.txt`, `a.mbox#1`."""
    return any(path == name or path.startswith((f"{name}/", f"{name}#")) for path in listed)


@fuzz(150)
@given(text=ODD_TEXTS | st.text(st.characters(exclude_categories=["Cs"]), max_size=500))
def test_any_text_is_cut_into_slices_that_fit(text: str):
    end = 0
    for passage in split_passages(Document("a", "0", text, "a", None, None)):
        assert text[passage.start : passage.end] == passage.text
        assert passage.text == passage.text.strip() != ""
        assert end <= passage.start
        assert len(word_pieces(passage.text)) <= MAX_PIECES
        assert len(passage.text) <= MAX_CHARACTERS
        end = passage.end
    end = 0
    for start, stop in sentences(text):
        assert end <= start < stop
        end = stop


def test_a_file_that_is_too_large_is_listed(tmp_path: Path):
    folder = tmp_path / "docs"
    folder.mkdir()
    with (folder / "large.txt").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    (folder / "a.txt").write_text(FIRST)
    with PassageIndex.open(tmp_path / "index", embedder=HashEmbedder()) as opened:
        assert opened.sync(folder).skipped == (("large.txt", "it is larger than 64 MiB"),)
