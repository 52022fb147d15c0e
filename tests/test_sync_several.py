"""Mailboxes, tables and archives in an index: each a file of several documents, in or out whole."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import index.checks
import index.sync
from benchmarks.crash import HashEmbedder
from index import Hit, PassageIndex, SyncReport
from index.catalog import CATALOG_NAME
from index.documents import Document
from index.passages import Passage, split_passages
from tests.test_formats import make_csv, make_mail, make_pdf, make_zip

ROOT = Path(__file__).parent.parent
OSLO = b"# Oslo\n\nThe ministers agreed in Oslo to buy less coal.\n"
BERGEN = b"# Bergen\n\nThe trawlers of Bergen caught more herring than ever.\n"
ODDA = b"# Odda\n\nThe smelter in Odda makes zinc again.\n"
ROWS = [["title", "date", "text"], *([f"Row {n}", "2031-06-01", f"Row {n} w{n}."] for n in (1, 2))]


class PortionedEmbedder(HashEmbedder):
    """Remembers how many passages it was given at once."""

    def __init__(self) -> None:
        self.portions: list[int] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.portions.append(len(texts))
        return super().embed(texts)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    write(folder / "news.zip", make_zip({"a.md": OSLO, "sub/b.md": BERGEN, "c.xyz": b"x"}))
    write(folder / "articles.csv", make_csv(ROWS))
    mails = (make_mail(f"Mail {n} says m{n}.", subject=f"About {n}") for n in range(3))
    write(folder / "mail.mbox", b"".join(b"From a@b\n%s\n\n" % mail.as_bytes() for mail in mails))
    write(folder / "plain.md", ODDA)
    return folder


@pytest.fixture
def embedder() -> PortionedEmbedder:
    return PortionedEmbedder()


@pytest.fixture
def opened(folder: Path, embedder: PortionedEmbedder) -> Iterator[PassageIndex]:
    with PassageIndex.open(folder / ".readback", embedder=embedder) as opened:
        yield opened


def write(path: Path, data: bytes, age: int = 60) -> None:
    path.write_bytes(data)
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))


def documents(opened: PassageIndex) -> list[str]:
    with opened._catalog.read() as snapshot:
        return sorted(document.path for document in snapshot.documents())


def holding(opened: PassageIndex, word: str) -> list[Hit]:
    return [hit for hit in opened.search(word, k=99) if hit.bm25]


ALL = (
    "articles.csv#1",
    "articles.csv#2",
    "mail.mbox#1",
    "mail.mbox#2",
    "mail.mbox#3",
    "news.zip/a.md",
    "news.zip/sub/b.md",
    "plain.md",
)
FILES = ("articles.csv", "mail.mbox", "news.zip", "plain.md")


def test_each_document_of_a_file_is_found_and_cited_by_its_own_path(
    opened: PassageIndex, folder: Path
):
    report = opened.sync(folder)
    assert report.added == FILES
    assert [path for path, _ in report.skipped] == ["news.zip/c.xyz"]
    assert documents(opened) == [*ALL]
    for word, path in (
        ("coal", "news.zip/a.md"),
        ("herring", "news.zip/sub/b.md"),
        ("w2", "articles.csv#2"),
        ("m1", "mail.mbox#2"),
        ("zinc", "plain.md"),
    ):
        (hit,) = holding(opened, word)
        assert hit.document.path == path
        text = opened.text(path)
        assert text is not None and text[hit.start : hit.end] == hit.text
    assert holding(opened, "w2")[0].document.date == "2031-06-01"
    assert opened.verify(folder) == []


def test_an_unchanged_file_is_not_read_again_and_what_of_it_cannot_be_is_told_again(
    opened: PassageIndex,
    folder: Path,
    embedder: PortionedEmbedder,
    monkeypatch: pytest.MonkeyPatch,
):
    first = opened.sync(folder)
    before = opened.stats()
    embedder.portions.clear()
    monkeypatch.setattr(index.sync, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    assert opened.sync(folder) == SyncReport(unchanged=FILES, skipped=first.skipped)
    assert opened.stats() == before
    monkeypatch.undo()
    assert opened.sync(folder, check=True) == SyncReport(unchanged=FILES, skipped=first.skipped)
    assert embedder.portions == []


def test_members_that_went_from_a_file_go_from_the_index(opened: PassageIndex, folder: Path):
    opened.sync(folder)
    write(folder / "news.zip", make_zip({"sub/b.md": BERGEN, "d.md": OSLO}), age=30)
    write(folder / "articles.csv", make_csv(ROWS[:2]), age=30)
    report = opened.sync(folder)
    assert report.changed == ("articles.csv", "news.zip") and report.skipped == ()
    gone = {"news.zip/a.md", "articles.csv#2"}
    assert documents(opened) == sorted({*ALL, "news.zip/d.md"} - gone)
    assert holding(opened, "w2") == []
    assert opened.verify(folder) == []


def test_a_file_that_went_takes_all_its_documents_along(opened: PassageIndex, folder: Path):
    opened.sync(folder)
    (folder / "news.zip").unlink()
    report = opened.sync(folder)
    assert (report.removed, report.skipped) == (("news.zip",), ())
    assert documents(opened) == [path for path in ALL if not path.startswith("news.zip")]


def test_a_moved_file_keeps_its_documents_and_a_renamed_one_is_read_again(
    opened: PassageIndex, folder: Path, embedder: PortionedEmbedder
):
    opened.sync(folder)
    embedder.portions.clear()
    (folder / "old").mkdir()
    for name in ("news.zip", "mail.mbox"):
        (folder / name).rename(folder / "old" / name)
    report = opened.sync(folder)
    assert report.moved == ("old/mail.mbox", "old/news.zip")
    assert [path for path, _ in report.skipped] == ["old/news.zip/c.xyz"]
    assert embedder.portions == []
    assert holding(opened, "herring")[0].document.path == "old/news.zip/sub/b.md"
    assert opened.verify(folder) == []
    (folder / "articles.csv").rename(folder / "rows.csv")
    report = opened.sync(folder)
    assert (report.added, report.removed) == (("rows.csv",), ("articles.csv",))
    assert holding(opened, "w2")[0].document.path == "rows.csv#2"
    assert opened.verify(folder) == []


def test_an_archive_may_take_the_place_of_a_folder_and_give_it_back(
    opened: PassageIndex, folder: Path
):
    (folder / "news.zip").unlink()
    (folder / "news.zip").mkdir()
    write(folder / "news.zip" / "a.md", OSLO)
    opened.sync(folder)
    assert "news.zip/a.md" in documents(opened)
    shutil.rmtree(folder / "news.zip")
    write(folder / "news.zip", make_zip({"a.md": BERGEN}))
    opened.sync(folder)
    assert opened.text("news.zip/a.md") == BERGEN.decode()
    assert opened.verify(folder) == []
    (folder / "news.zip").unlink()
    (folder / "news.zip").mkdir()
    write(folder / "news.zip" / "a.md", OSLO)
    opened.sync(folder)
    assert opened.text("news.zip/a.md") == OSLO.decode()
    assert opened.verify(folder) == []


def test_a_file_is_in_or_out_whole_when_the_sync_is_killed(folder: Path, tmp_path: Path):
    write(
        folder / "articles.csv", make_csv([ROWS[0], *([f"R{n}", "", f"w{n}"] for n in range(90))])
    )
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "import index.sync\n"
        "from benchmarks.crash import HashEmbedder\n"
        "from index import PassageIndex\n"
        "index.sync.EMBED_AT_ONCE = 8\n"
        "class Deadly(HashEmbedder):\n"
        "    left = 4\n"
        "    def embed(self, texts):\n"
        "        self.left -= 1\n"
        "        if not self.left:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().embed(texts)\n"
        "with PassageIndex.open(sys.argv[2], embedder=Deadly()) as opened:\n"
        "    opened.sync(sys.argv[1])\n"
    )
    place = tmp_path / "index"
    with PassageIndex.open(place, embedder=HashEmbedder()) as opened:
        opened.sync(folder)
        before = documents(opened)
        assert len(before) == len(ALL) + 88
        write(
            folder / "articles.csv",
            make_csv([ROWS[0], *([f"R{n}", "", f"v{n}"] for n in range(90))]),
            age=30,
        )
        killed = subprocess.run(
            [sys.executable, "-c", code, folder, place], cwd=ROOT, capture_output=True, text=True
        )
        assert killed.returncode == -9, killed.stderr
        assert documents(opened) == before and opened.text("articles.csv#7") == "w6"
        assert opened.sync(folder).changed == ("articles.csv",)
        assert opened.text("articles.csv#7") == "v6" and documents(opened) == before
        assert opened.verify(folder) == []


def test_a_large_table_is_embedded_in_portions(
    opened: PassageIndex,
    folder: Path,
    embedder: PortionedEmbedder,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(index.sync, "EMBED_AT_ONCE", 16)
    write(folder / "rows.csv", make_csv([["text"], *([f"Row number {n}."] for n in range(100))]))
    opened.sync(folder)
    assert max(embedder.portions) == 16 and sum(embedder.portions) == 100 + len(ALL)
    assert opened.stats().documents == 100 + len(ALL)
    assert opened.verify(folder) == []


def test_a_table_that_breaks_off_is_out_whole_and_told(
    opened: PassageIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    opened.sync(folder)
    monkeypatch.setattr(index.sync, "EMBED_AT_ONCE", 1)
    monkeypatch.setattr(index.archives, "MAX_MEMBER_BYTES", 1_000)
    write(folder / "articles.csv", make_csv([*ROWS, ["", "", "x" * 2_000]]), age=30)
    report = opened.sync(folder)
    assert report.removed == ("articles.csv",)
    assert "its table can't be read" in dict(report.skipped)["articles.csv"]
    assert not any(path.startswith("articles") for path in documents(opened))


def test_what_gives_no_document_is_read_again_only_when_it_changes_or_all_is_checked(
    opened: PassageIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    write(folder / "scanned.pdf", make_pdf("", ""))
    write(folder / "photos.zip", make_zip({"1.jpg": b"x", "2.jpg": b"y"}))
    first = opened.sync(folder)
    skipped = ["news.zip/c.xyz", "photos.zip/1.jpg", "photos.zip/2.jpg", "scanned.pdf"]
    assert [path for path, _ in first.skipped] == skipped
    assert "OCR" in dict(first.skipped)["scanned.pdf"]
    read: list[str] = []
    real = index.sync.read_bytes
    monkeypatch.setattr(index.sync, "read_bytes", lambda path: read.append(path.name) or real(path))
    again = opened.sync(folder)
    assert (again.skipped, again.unchanged, read) == (first.skipped, FILES, [])
    (folder / "scanned.pdf").rename(folder / "paper.pdf")
    assert "paper.pdf" in dict(opened.sync(folder).skipped)
    assert opened.sync(folder, check=True).unchanged == FILES
    write(folder / "paper.pdf", make_pdf("Words at last."), age=30)
    assert opened.sync(folder).added == ("paper.pdf",)
    (folder / "photos.zip").unlink()
    report = opened.sync(folder)
    assert report.removed == () and [path for path, _ in report.skipped] == skipped[:1]
    assert opened.verify(folder) == []


def test_a_removed_document_comes_back_with_the_next_sync(opened: PassageIndex, folder: Path):
    opened.sync(folder)
    assert opened.remove("news.zip/a.md") and not opened.remove("news.zip")
    assert "news.zip/a.md" not in documents(opened)
    assert opened.verify(folder) == ["news.zip: the file has changed since it was read; sync again"]
    assert opened.sync(folder).changed == ("news.zip",)
    assert documents(opened) == [*ALL]


def test_a_dry_run_tells_the_same_and_writes_nothing(
    opened: PassageIndex, folder: Path, embedder: PortionedEmbedder
):
    told = opened.sync(folder, dry_run=True)
    assert (embedder.portions, opened.stats().generation) == ([], 0)
    assert opened.sync(folder) == told
    write(folder / "news.zip", make_zip({"a.md": ODDA}), age=30)
    write(folder / "mail.mbox", b"no mailbox", age=30)
    told = opened.sync(folder, dry_run=True)
    assert (told.changed, told.removed) == (("news.zip",), ("mail.mbox",))
    assert documents(opened) == [*ALL]
    assert opened.sync(folder) == told


def test_verify_reads_each_file_once_and_tells_of_each_document(
    opened: PassageIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    opened.sync(folder)
    read: list[str] = []
    real = index.checks.read_bytes
    monkeypatch.setattr(
        index.checks, "read_bytes", lambda path: read.append(path.name) or real(path)
    )
    assert opened.verify(folder) == []
    assert sorted(read) == [*FILES]
    with opened._catalog.write() as writer:
        writer._connection.execute(
            "UPDATE documents SET text = 'X' || text WHERE path = 'news.zip/a.md'"
        )
    problems = opened.verify(folder)
    assert problems[0].startswith("news.zip/a.md: the stored text is not what the file holds")
    write(folder / "mail.mbox", b"From a@b\n\nother\n", age=30)
    (folder / "articles.csv").unlink()
    problems = opened.verify(folder)
    assert "mail.mbox: the file has changed since it was read; sync again" in problems
    assert "articles.csv: it is not a regular file; sync again" in problems


def test_the_catalog_takes_names_of_any_kind_in_files_of_several(
    opened: PassageIndex, folder: Path
):
    odd = os.fsdecode(b"caf\xe9.zip")
    write(folder / odd, make_zip({"../a\nb'.md": OSLO, "c.xyz": b"x"}))
    report = opened.sync(folder)
    assert odd in report.added and f"{odd}/c.xyz" in dict(report.skipped)
    assert f"{odd}/a\nb'.md" in documents(opened)
    (folder / "sub").mkdir()
    (folder / odd).rename(folder / "sub" / odd)
    report = opened.sync(folder)
    assert report.moved == (f"sub/{odd}",) and f"sub/{odd}/c.xyz" in dict(report.skipped)
    assert opened.text(f"sub/{odd}/a\nb'.md") == OSLO.decode()
    assert opened.verify(folder) == []


def test_the_parser_ends_with_the_sync(opened: PassageIndex, folder: Path):
    opened.sync(folder)
    assert index.worker._WORKER._process is None
    assert (folder / ".readback" / CATALOG_NAME).exists()


def test_a_document_that_takes_too_long_to_cut_is_told_and_the_others_are_in(
    opened: PassageIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    def cut(document: Document) -> list[Passage]:
        slow = document.path in ("plain.md", "news.zip/a.md")
        return split_passages(document, seconds=0 if slow else 60)

    monkeypatch.setattr(index.sync, "split_passages", cut)
    report = opened.sync(folder)
    slow = "cutting it into passages takes over 0 s; split it"
    reasons = dict(report.skipped)
    assert (reasons["plain.md"], reasons["news.zip/a.md"]) == (slow, slow)
    assert documents(opened) == [path for path in ALL if path not in reasons]
    assert report.added == ("articles.csv", "mail.mbox", "news.zip")
