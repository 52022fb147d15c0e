"""An index is made anew beside the old one, checked, swapped in, and brought back."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import index.passage_index
from benchmarks.crash import HashEmbedder
from index import FolderError, IndexUnavailable, PassageIndex
from index.generations import CATALOG_NAME, POINTER_NAME, Generations, look
from index.vectors import VECTORS_NAME

ROOT = Path(__file__).parent.parent


class Other(HashEmbedder):
    """The same vectors with two numbers swapped."""

    name, sha256 = "another", "1" * 64

    def embed(self, texts):
        return super().embed(texts)[:, ::-1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    for number in range(6):
        write(folder / f"{number}.md", number)
    return folder


def write(path: Path, number: int, age: int = 100) -> None:
    path.parent.mkdir(exist_ok=True)
    words = " ".join(f"w{number}x{place}" for place in range(100))
    path.write_text(f"# About {path.stem}\n\ntopic{number} {words}.\n", encoding="utf-8")
    os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))


def found(path: Path, number: int, embedder: HashEmbedder | None = None) -> str:
    """The document that comes first for a topic, asked with an index opened afresh."""
    with PassageIndex.open(path, embedder=embedder or HashEmbedder()) as opened:
        return opened.search(f"topic{number} w{number}x1", k=1)[0].document.path


def rebuild(opened: PassageIndex, folder: Path, **options: bool):
    return PassageIndex.rebuild(opened.path, folder, embedder=HashEmbedder(), **options)


# There and back


def test_another_embedder_needs_a_rebuild_and_a_rollback_brings_the_first_back(
    opened: PassageIndex, folder: Path
):
    before = opened.stats()
    with pytest.raises(IndexUnavailable, match=r"hashed words .*another .*sync FOLDER --rebuild"):
        PassageIndex.open(opened.path, embedder=Other())
    report = PassageIndex.rebuild(opened.path, folder, embedder=Other())
    assert len(report.unchanged) == 6 and not (report.added or report.removed)
    assert found(opened.path, 3, Other()) == "3.md"
    with pytest.raises(IndexUnavailable, match=r"embedder another .*not with hashed words"):
        opened.search("topic3")
    with PassageIndex.open(opened.path, embedder=Other()) as new:
        stats = new.stats()
        assert (stats.embedder, stats.documents, stats.vectors_behind) == ("another", 6, 0)
        assert (stats.in_use, stats.before) == ("generation-1", ".")
        assert new.verify(folder) == []
        write(folder / "new.md", 9)
        assert new.sync(folder).added == ("new.md",)
    stats = PassageIndex.rollback(opened.path)
    assert (stats.embedder, stats.in_use, stats.before) == ("hashed words", ".", "generation-1")
    assert (stats.documents, stats.passages) == (before.documents, before.passages)
    assert opened.search("topic3", k=1)[0].document.path == "3.md"
    assert opened.sync(folder).added == ("new.md",)
    assert opened.verify(folder) == []
    stats = PassageIndex.rollback(opened.path)  # and forth again
    assert (stats.embedder, stats.documents) == ("another", 7)
    assert found(opened.path, 9, Other()) == "new.md"


def test_only_the_generation_before_is_kept(opened: PassageIndex, folder: Path):
    for _ in range(3):
        rebuild(opened, folder)
        assert opened.search("topic3", k=1)[0].document.path == "3.md"
    assert look(opened.path) == Generations("generation-3", "generation-2")
    PassageIndex.rollback(opened.path)
    rebuild(opened, folder)
    assert look(opened.path) == Generations("generation-4", "generation-2")
    assert sorted(path.name for path in opened.path.iterdir() if path.is_dir()) == [
        "generation-2",
        "generation-4",
    ]
    assert not [*opened.path.glob(f"{CATALOG_NAME}*"), *opened.path.glob(f"{VECTORS_NAME}*")]


def test_the_report_tells_what_changed_since_the_index_before(opened: PassageIndex, folder: Path):
    write(folder / "0.md", 10)
    (folder / "1.md").unlink()
    (folder / "2.md").rename(folder / "two.md")
    (folder / "3.md").write_bytes(b"\0\1\2")
    write(folder / "new.md", 11)
    report = rebuild(opened, folder)
    assert (report.added, report.changed, report.moved) == (("new.md",), ("0.md",), ("two.md",))
    assert (report.removed, report.unchanged) == (("1.md", "3.md"), ("4.md", "5.md"))
    assert [path for path, _ in report.skipped] == ["3.md"]
    assert opened.verify(folder) == []


def test_a_rebuild_makes_an_index_where_there_is_none(folder: Path, tmp_path: Path):
    report = PassageIndex.rebuild(tmp_path / "index", folder, embedder=HashEmbedder())
    assert len(report.added) == 6
    assert found(tmp_path / "index", 3) == "3.md"
    with pytest.raises(IndexUnavailable, match="no generation before"):
        PassageIndex.rollback(tmp_path / "index")


def test_a_new_splitter_makes_the_next_generation(
    opened: PassageIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    for module in ("index.sync", "index.passage_index"):
        monkeypatch.setattr(f"{module}.SPLITTER_VERSION", "next")
    assert len(opened.sync(folder, dry_run=True).unchanged) == 6
    assert look(opened.path) == Generations()
    assert len(opened.sync(folder).unchanged) == 6
    assert look(opened.path) == Generations("generation-1", ".")
    assert opened.sync(folder).changed == ()
    assert look(opened.path).in_use == "generation-1"


# Nothing is lost


def test_documents_whose_files_cannot_be_found_are_taken_over(opened: PassageIndex, folder: Path):
    for number in range(30):
        write(folder / "drive" / f"{number}.md", 100 + number)
    opened.sync(folder)
    shutil.rmtree(folder / "drive")  # like one that isn't mounted
    report = rebuild(opened, folder)
    assert (len(report.unchanged), len(report.kept), report.removed) == (6, 30, ())
    assert opened.search("topic107 w107x1", k=1)[0].document.path == "drive/7.md"
    report = rebuild(opened, folder, prune=True)
    assert (len(report.unchanged), len(report.removed)) == (6, 30)
    assert opened.stats().documents == 6


def test_folders_that_are_wrong_or_empty_change_nothing(
    opened: PassageIndex, folder: Path, tmp_path: Path
):
    other = tmp_path / "other"
    write(other / "a.md", 1)
    with pytest.raises(FolderError, match="give each folder an index of its own"):
        rebuild(opened, other)
    with pytest.raises(FolderError, match="nowhere does not exist"):
        rebuild(opened, tmp_path / "nowhere")
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(FolderError, match="keeps the 6 documents it has"):
        rebuild(opened, folder)
    assert opened.stats().documents == 6
    assert not list(opened.path.glob("generation*"))


def test_a_new_index_that_is_not_whole_is_not_put_in_use(
    opened: PassageIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    class Unsteady(HashEmbedder):
        def embed(self, texts):
            found = np.random.default_rng().normal(size=(len(texts), self.dimension))
            return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    told = r"the old one stays: 0\.md: it is not found by its own words; .*try again"
    with pytest.raises(IndexUnavailable, match=told):
        PassageIndex.rebuild(opened.path, folder, embedder=Unsteady())
    real = index.passage_index.sync_folder

    def forgetful(folder, catalog, *args, **options):
        report = real(folder, catalog, *args, **options)
        with catalog.write() as writer:
            writer.remove("4.md")
        return report

    def wordless(folder, catalog, *args, **options):
        report = real(folder, catalog, *args, **options)
        with catalog.write() as writer:
            writer._connection.execute("DELETE FROM words WHERE rowid = 1")
        return report

    for damage, told in ((forgetful, r"4\.md: it is missing; try"), (wordless, "1 passages lack")):
        monkeypatch.setattr(index.passage_index, "sync_folder", damage)
        with pytest.raises(IndexUnavailable, match=f"the old one stays: {told}"):
            rebuild(opened, folder)
    assert opened.search("topic4", k=1)[0].document.path == "4.md"
    assert opened.stats().in_use == "." and not list(opened.path.glob("generation*"))


def test_an_interrupted_rebuild_leaves_no_rest(
    opened: PassageIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PassageIndex, "_try_out", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rebuild(opened, folder)
    assert opened.search("topic4", k=1)[0].document.path == "4.md"
    assert not list(opened.path.glob("generation*"))


def test_the_next_writer_removes_what_a_killed_rebuild_has_left(opened: PassageIndex, folder: Path):
    code = f"""
import os, signal
from benchmarks.crash import HashEmbedder
from index import PassageIndex
PassageIndex._try_out = lambda self: os.kill(os.getpid(), signal.SIGKILL)
PassageIndex.rebuild({str(opened.path)!r}, {str(folder)!r}, embedder=HashEmbedder())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert (opened.path / "generation-1" / VECTORS_NAME).exists()
    assert opened.search("topic4", k=1)[0].document.path == "4.md"
    assert opened.sync(folder).unchanged
    assert not list(opened.path.glob("generation*"))


# Readers


def test_readers_use_the_old_one_until_the_new_one_takes_its_place(
    opened: PassageIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(index.passage_index, "LOCK_SECONDS", 0.1)
    begun, go_on = threading.Event(), threading.Event()

    class Slow(HashEmbedder):
        def embed(self, texts):
            begun.set()
            assert go_on.wait(60)
            return super().embed(texts)

    code = (
        "import sys\nfrom benchmarks.crash import HashEmbedder\nfrom index import PassageIndex\n"
        "opened = PassageIndex.open(sys.argv[1], embedder=HashEmbedder())\n"
        "for line in sys.stdin:\n"
        "    hit = opened.search(line, k=1)[0]\n"
        "    print(hit.document.path, opened.stats().in_use, flush=True)\n"
    )
    write(folder / "new.md", 50)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(opened.path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdin and reader.stdout

        def ask(question: str) -> list[str]:
            assert reader.stdin and reader.stdout
            reader.stdin.write(f"{question}\n")
            reader.stdin.flush()
            return reader.stdout.readline().split()

        def work() -> None:
            PassageIndex.rebuild(opened.path, folder, embedder=Slow())

        assert ask("topic3") == ["3.md", "."]
        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert begun.wait(60)
            assert ask("topic3") == ["3.md", "."]
            assert opened.search("topic3", k=1)[0].document.path == "3.md"
            with pytest.raises(IndexUnavailable, match=r"another process .*is writing"):
                opened.sync(folder)
        finally:
            go_on.set()
            thread.join()
        assert ask("topic50") == ["new.md", "generation-1"]
        assert opened.search("topic50", k=1)[0].document.path == "new.md"
        PassageIndex.rollback(opened.path)
        assert ask("topic3") == ["3.md", "."]
        reader.stdin.close()
        assert reader.wait() == 0


def test_askers_get_no_error_while_generations_change(
    opened: PassageIndex, folder: Path, asked_meanwhile
):
    def ask(_: int) -> None:
        assert opened.search("topic3 w3x1", k=1)[0].document.path == "3.md"
        assert opened.stats().documents == 6

    with asked_meanwhile(ask, 8):
        for _ in range(2):
            rebuild(opened, folder)
            PassageIndex.rollback(opened.path)


# Damage


def test_what_cannot_be_read_is_made_anew_and_not_brought_back(opened: PassageIndex, folder: Path):
    connection = sqlite3.connect(opened.path / CATALOG_NAME)
    connection.execute("UPDATE manifest SET value = '0' WHERE key = 'schema'")
    connection.commit()
    connection.close()
    with pytest.raises(IndexUnavailable, match=r"format 0, .*`readback sync FOLDER --rebuild`"):
        opened.search("topic3")
    assert len(rebuild(opened, folder).added) == 6
    with pytest.raises(IndexUnavailable, match=r"can't be brought back: .*format 0"):
        PassageIndex.rollback(opened.path)
    opened.close()
    (opened.path / "generation-1" / CATALOG_NAME).write_bytes(b"no database at all " * 100)
    with pytest.raises(IndexUnavailable, match=r"damaged; `readback sync FOLDER --rebuild`"):
        found(opened.path, 3)
    rebuild(opened, folder)
    assert found(opened.path, 3) == "3.md"
    with pytest.raises(IndexUnavailable, match=r"generation-1 can't be brought back: .*damaged"):
        PassageIndex.rollback(opened.path)
    shutil.rmtree(opened.path / "generation-1")
    with pytest.raises(IndexUnavailable, match=r"generation-1 can't be brought back: there is no"):
        PassageIndex.rollback(opened.path)
    assert found(opened.path, 3) == "3.md"


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"in_use": "generation-1"',
        json.dumps({"in_use": "../elsewhere"}).encode(),
        json.dumps({"in_use": 1, "before": "generation-1"}).encode(),
    ],
)
def test_a_damaged_pointer_is_told_and_repaired(opened: PassageIndex, folder: Path, told: bytes):
    rebuild(opened, folder)
    (opened.path / POINTER_NAME).write_bytes(told)
    with pytest.raises(IndexUnavailable, match=rf"{POINTER_NAME} is damaged; .*--rebuild"):
        opened.search("topic3")
    with pytest.raises(IndexUnavailable, match="is damaged"):
        PassageIndex.rollback(opened.path)
    rebuild(opened, folder)
    assert look(opened.path) == Generations("generation-2", None)
    assert opened.search("topic3", k=1)[0].document.path == "3.md"


def test_a_rollback_of_no_index_makes_none(tmp_path: Path):
    with pytest.raises(IndexUnavailable, match="there is no index"):
        PassageIndex.rollback(tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


# Several folders


def test_all_folders_of_an_index_are_in_the_next_generation(tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    write(first / "1.md", 1)
    write(second / "2.md", 2)
    (second / "both.csv").write_text("title,text\nThree,topic3 is here\nFour,topic4 is here\n")
    with PassageIndex.open(tmp_path / "index", embedder=HashEmbedder()) as opened:
        opened.sync(first, name="a")
        opened.sync(second, name="b")
        write(first / "5.md", 5)
        report = rebuild(opened, first)
        assert report.added == ("a/5.md",)
        assert report.unchanged == ("a/1.md", "b/2.md", "b/both.csv")
        second.rename(tmp_path / "away")
        report = PassageIndex.rebuild(opened.path, embedder=HashEmbedder())
        assert (report.unchanged, report.removed) == (("a/1.md", "a/5.md"), ())
        assert dict(report.skipped)["b"].endswith("folder that holds your documents")
        assert opened.search("topic4 Four", k=1)[0].document.path == "b/both.csv#2"
        assert look(opened.path).in_use == "generation-2"
        assert opened.sync(first).unchanged == ("a/1.md", "a/5.md")
        assert look(opened.path).in_use == "generation-2"
        (tmp_path / "away").rename(second)
        assert opened.sync().unchanged == ("a/1.md", "a/5.md", "b/2.md", "b/both.csv")
        assert opened.verify() == []
