"""Several folders in one index, each with its name: each is synced by itself, asked are all."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.crash import HashEmbedder
from index import FolderError, PassageIndex, SyncReport
from qa import Chatbot, Reader
from tests.test_formats import make_zip

COAL = "# Coal\n\nThe ministers agreed in Oslo to buy less coal.\n"
FISH = "# Fish\n\nThe trawlers of Bergen caught more herring than ever.\n"


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    folder = tmp_path / "mail"
    (folder / "sub").mkdir(parents=True)
    write(folder / "coal.md", COAL)
    write(folder / "sub" / "fish.md", FISH)
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Another folder, with a document of the same path and an archive."""
    folder = tmp_path / "work"
    folder.mkdir()
    write(folder / "coal.md", "# Mines\n\nThe mines of Svalbard close.\n")
    write(folder / "news.zip", make_zip({"a.md": b"# Zinc\n\nThe smelter in Odda makes zinc.\n"}))
    return folder


@pytest.fixture
def opened(mail: Path, work: Path, tmp_path: Path) -> Iterator[PassageIndex]:
    """An index of both."""
    with PassageIndex.open(tmp_path / "index", embedder=HashEmbedder()) as opened:
        opened.sync(mail, name="mail")
        opened.sync(work, name="my work")
        yield opened


def write(path: Path, text: str | bytes, age: int = 60) -> None:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))


def documents(opened: PassageIndex) -> list[str]:
    with opened._catalog.read() as snapshot:
        return sorted(document.path for document in snapshot.documents())


MAIL = ("mail/coal.md", "mail/sub/fish.md")
WORK = ("my work/coal.md", "my work/news.zip")
ALL = [*MAIL, "my work/coal.md", "my work/news.zip/a.md"]


def test_each_folder_stands_under_its_name(opened: PassageIndex, mail: Path, work: Path):
    assert opened.folders() == {"mail": mail, "my work": work}
    assert documents(opened) == ALL
    hits = [hit for hit in opened.search("Svalbard herring zinc", k=9) if hit.bm25]
    assert sorted(hit.document.path for hit in hits) == ALL[1:]
    assert opened.text("my work/coal.md") == (work / "coal.md").read_text()
    assert opened.verify() == []


def test_a_sync_of_one_leaves_the_others_alone(opened: PassageIndex, mail: Path, work: Path):
    write(mail / "coal.md", "# Zinc\n\nNo longer coal.\n", age=30)
    (mail / "sub" / "fish.md").unlink()
    write(work / "coal.md", "# Silver\n\nNo longer mines.\n", age=30)
    report = opened.sync(mail, name="mail")
    assert report == SyncReport(changed=("mail/coal.md",), removed=("mail/sub/fish.md",))
    assert opened.text("my work/coal.md") == "# Mines\n\nThe mines of Svalbard close.\n"
    assert opened.verify(mail) == []
    assert [told.split(":")[0] for told in opened.verify()] == ["my work/coal.md"]
    assert opened.sync(work) == SyncReport(  # its name is known
        changed=("my work/coal.md",), unchanged=("my work/news.zip",)
    )
    assert opened.verify() == []


def test_without_a_folder_all_are_synced(opened: PassageIndex, mail: Path, work: Path):
    write(mail / "new.md", "# New\n\nWords that were not there.\n")
    write(work / "paper.xyz", b"x")
    (work / "coal.md").rename(work / "mines.md")
    report = opened.sync()
    assert (report.added, report.moved) == (("mail/new.md",), ("my work/mines.md",))
    assert report.unchanged == (*MAIL, "my work/news.zip")
    assert [path for path, _ in report.skipped] == ["my work/paper.xyz"]
    assert opened.sync(name="mail").unchanged == ("mail/coal.md", "mail/new.md", MAIL[1])


def test_the_same_file_in_two_folders_is_not_moved(opened: PassageIndex, mail: Path, work: Path):
    (mail / "sub" / "fish.md").rename(work / "fish.md")
    assert opened.sync(work).added == ("my work/fish.md",)
    assert opened.sync(mail).removed == ("mail/sub/fish.md",)
    assert opened.verify() == []


def test_a_folder_that_vanished_keeps_its_documents_until_it_is_pruned(
    opened: PassageIndex, mail: Path, work: Path
):
    away = work.rename(work.parent / "away")
    report = opened.sync()
    assert report.unchanged == MAIL
    ((name, reason),) = report.skipped
    assert name == "my work" and "does not exist" in reason
    assert documents(opened) == ALL
    with pytest.raises(FolderError, match="work does not exist"):
        opened.sync(work)
    moved = opened.sync(away, name="my work")
    assert moved.unchanged == WORK and opened.folders()["my work"] == away
    shutil.rmtree(away)
    assert opened.sync(away, prune=True).removed == WORK
    assert opened.folders() == {"mail": mail}
    assert opened.sync() == SyncReport(unchanged=MAIL)
    shutil.rmtree(mail)
    with pytest.raises(FolderError, match="mail does not exist"):
        opened.sync()
    assert documents(opened) == [*MAIL]


def test_a_folder_that_turned_empty_is_judged_by_itself(opened: PassageIndex, work: Path):
    for path in work.iterdir():
        path.unlink()
    with pytest.raises(FolderError, match="keeps the 2 documents it has"):
        opened.sync(work)
    assert documents(opened) == ALL
    assert opened.sync(work, prune=True) == SyncReport(removed=WORK)
    assert documents(opened) == [*MAIL]


def test_a_name_stands_for_one_folder(opened: PassageIndex, mail: Path, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    write(other / "new.md", "# New\n\nWords that were not there.\n")
    with pytest.raises(FolderError, match=rf"of {mail}, not those of {other}; .* another name"):
        opened.sync(other, name="mail")
    with pytest.raises(FolderError, match=r"\(mail, my work\); give .*other a name, too"):
        opened.sync(other)
    for odd in ("a/b", "..", ".x", "a\nb", "x" * 101):
        with pytest.raises(FolderError, match="can't name a folder"):
            opened.sync(other, name=odd)
    with pytest.raises(FolderError, match="does not hold the folder 'none'; name a folder"):
        opened.sync(name="none")
    with pytest.raises(FolderError, match=r"give .*other a name"):
        opened.verify(other)
    assert documents(opened) == ALL


def test_an_index_of_one_folder_without_a_name_takes_no_named_one(
    mail: Path, work: Path, tmp_path: Path
):
    with PassageIndex.open(tmp_path / "index", embedder=HashEmbedder()) as opened:
        with pytest.raises(FolderError, match="does not hold documents; name a folder"):
            opened.sync()
        opened.sync(mail)
        assert opened.folders() == {"": mail}
        with pytest.raises(FolderError, match=rf"{mail} without a name; name another index"):
            opened.sync(work, name="work")
        assert opened.sync().unchanged == ("coal.md", "sub/fish.md")
        assert opened.verify() == []


def test_a_new_splitter_reads_all_folders_again(
    opened: PassageIndex, mail: Path, monkeypatch: pytest.MonkeyPatch
):
    for module in ("index.sync", "index.passage_index"):
        monkeypatch.setattr(f"{module}.SPLITTER_VERSION", "next")
    for _ in range(2):
        assert opened.sync(mail).unchanged[: len(MAIL)] == MAIL
        assert opened.stats().in_use == "generation-1"
    assert opened.sync().unchanged == (*MAIL, *WORK)
    assert opened.verify() == []


def test_all_folders_are_watched(opened: PassageIndex, work: Path):
    watching = opened.watch()
    assert next(watching) is False
    write(work / "new.md", "# New\n\nWords that were not there.\n")
    assert any(next(watching) for _ in range(20))
    watching.close()


def test_a_chatbot_asks_all_folders(
    mail: Path, work: Path, tmp_path: Path, embedder, reader: Reader
):
    place = tmp_path / "index"
    with PassageIndex.open(place, embedder=embedder) as made:
        made.sync(mail, name="mail")
        made.sync(work, name="work")
    (mail / "sub" / "fish.md").unlink()
    bot = Chatbot.open(index=place, embedder=embedder, reader=reader)
    assert bot.report.removed == ("mail/sub/fish.md",)
    answer = bot.ask("Where is the smelter that makes zinc?")
    assert answer.text and "Odda" in answer.text
    assert answer.citations[0].document == "work/news.zip/a.md"
    assert {passage.document.split("/")[0] for passage in answer.passages} == {"mail", "work"}
    with pytest.raises(FolderError, match=r"there is no index at .*nowhere; name a folder"):
        Chatbot.open(index=tmp_path / "nowhere", embedder=embedder, reader=reader)
    with pytest.raises(FolderError, match="name a folder"):
        Chatbot.open(embedder=embedder, reader=reader)
