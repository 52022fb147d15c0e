"""A folder becomes an index that follows it, answers from it, and tells what it can't."""

import datetime
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import index.passage_index
from benchmarks.crash import HashEmbedder
from index import (
    Embedder,
    FolderError,
    Hit,
    IndexUnavailable,
    PassageIndex,
    QuestionError,
    SyncReport,
)
from index.catalog import CATALOG_NAME
from index.documents import SUFFIXES, load_document
from index.passage_index import Date
from index.vectors import VECTORS_NAME, load

ROOT = Path(__file__).parent.parent
COAL = "Coal\n\nThe ministers agreed in Oslo to buy less Russian coal before winter comes.\n"
FISH = "Fish\n\nThe trawlers of the northern ports caught more herring than ever in March.\n"
MUSIC = "Music\n\nThe string quartet played Haydn and Bartók in the old town hall of Bergen.\n"


class CountingEmbedder:
    """The real embedder, and what it was asked for."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.name, self.sha256 = embedder.name, embedder.sha256
        self.dimension = embedder.dimension
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += texts
        return self._embedder.embed(texts)


@pytest.fixture
def counting(embedder: Embedder) -> CountingEmbedder:
    return CountingEmbedder(embedder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three documents, last changed long enough ago to be trusted."""
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    for name, text in [("coal.txt", COAL), ("sub/fish.md", FISH), ("music.txt", MUSIC)]:
        write(folder / name, text)
    return folder


@pytest.fixture
def opened(folder: Path, counting: CountingEmbedder) -> Iterator[PassageIndex]:
    with PassageIndex.open(folder / ".readback", embedder=counting) as opened:
        yield opened


def write(path: Path, text: str | bytes, age: int = 60) -> None:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))


def paths(hits: list[Hit]) -> list[str]:
    return [hit.document.path for hit in hits]


# Sync


def test_the_first_sync_adds_and_the_second_reads_and_embeds_nothing(
    opened: PassageIndex, folder: Path, counting: CountingEmbedder, monkeypatch: pytest.MonkeyPatch
):
    assert opened.sync(folder) == SyncReport(added=("coal.txt", "music.txt", "sub/fish.md"))
    assert len(counting.texts) == 3
    read: list[Path] = []
    real = index.sync.read_bytes
    monkeypatch.setattr(index.sync, "read_bytes", lambda path: read.append(path) or real(path))
    before = opened.stats()
    assert opened.sync(folder) == SyncReport(unchanged=("coal.txt", "music.txt", "sub/fish.md"))
    assert (len(counting.texts), read, opened.stats()) == (3, [], before)
    assert opened.sync(folder, check=True).unchanged == ("coal.txt", "music.txt", "sub/fish.md")
    assert len(read) == 3 and len(counting.texts) == 3


def test_what_is_embedded_is_title_and_passage(
    opened: PassageIndex, folder: Path, counting: CountingEmbedder
):
    opened.sync(folder)
    assert counting.texts[0] == COAL.replace("\n\n", "\n").strip()


def test_changing_one_file_embeds_only_that_file(
    opened: PassageIndex, folder: Path, counting: CountingEmbedder
):
    opened.sync(folder)
    write(folder / "coal.txt", "Zinc\n\nThe smelter in Odda makes zinc again.\n", age=30)
    counting.texts.clear()
    report = opened.sync(folder)
    assert report.changed == ("coal.txt",) and len(report.unchanged) == 2
    assert counting.texts == ["Zinc\nThe smelter in Odda makes zinc again."]
    assert paths(opened.search("Which smelter makes zinc?", k=1)) == ["coal.txt"]
    assert all("Russian coal" not in hit.text for hit in opened.search("Russian coal", k=99))


def test_a_change_within_the_same_moment_and_size_is_seen(opened: PassageIndex, folder: Path):
    write(folder / "coal.txt", COAL, age=0)
    stamp = (folder / "coal.txt").stat()
    opened.sync(folder)
    (folder / "coal.txt").write_text(COAL.replace("less", "more"))
    os.utime(folder / "coal.txt", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert opened.sync(folder).changed == ("coal.txt",)


def test_removing_a_file_removes_its_passages(opened: PassageIndex, folder: Path):
    opened.sync(folder)
    (folder / "coal.txt").unlink()
    assert opened.sync(folder).removed == ("coal.txt",)
    assert sorted(paths(opened.search("Russian coal", k=99))) == ["music.txt", "sub/fish.md"]
    assert opened.text("coal.txt") is None and opened.document("coal.txt") is None


def test_a_moved_file_keeps_its_vectors(
    opened: PassageIndex, folder: Path, counting: CountingEmbedder
):
    opened.sync(folder)
    counting.texts.clear()
    (folder / "coal.txt").rename(folder / "sub" / "energy.txt")
    report = opened.sync(folder)
    assert (report.moved, report.added, report.removed) == (("sub/energy.txt",), (), ())
    assert counting.texts == []
    assert paths(opened.search("Russian coal", k=1)) == ["sub/energy.txt"]
    assert opened.verify(folder) == []


def test_a_file_whose_name_is_its_title_is_read_again_when_renamed(
    opened: PassageIndex, folder: Path
):
    write(folder / "a note.txt", "No headline stands above this sentence.")
    opened.sync(folder)
    (folder / "a note.txt").rename(folder / "another.txt")
    report = opened.sync(folder)
    assert (report.moved, report.added, report.removed) == ((), ("another.txt",), ("a note.txt",))
    document = opened.document("another.txt")
    assert document is not None and document.title == "another"


def test_files_that_cannot_be_read_are_skipped_with_the_reason(opened: PassageIndex, folder: Path):
    write(folder / "binary.txt", b"\x7fELF\0\0\0")
    write(
        folder / "latin.txt",
        "Der Café-Besitzer sprach über die Öffnung. Très bien!".encode("cp1252"),
    )
    write(folder / "paper.xyz", b"x")
    write(folder / "empty.md", "")
    write(folder / ".hidden.txt", "hidden")
    (folder / ".git").mkdir()
    write(folder / ".git" / "notes.txt", "hidden")
    (folder / "folder.txt").mkdir()
    report = opened.sync(folder)
    assert dict(report.skipped) == {
        "binary.txt": "it is not text: it holds NUL bytes",
        "empty.md": "it holds no text",
        "paper.xyz": f"its ending is none of {', '.join(SUFFIXES)}",
    }
    assert "latin.txt" in report.added
    assert opened.text("latin.txt") == "Der Café-Besitzer sprach über die Öffnung. Très bien!"


def test_a_document_that_turned_binary_leaves_the_index(opened: PassageIndex, folder: Path):
    opened.sync(folder)
    write(folder / "coal.txt", b"\0\1\2", age=30)
    report = opened.sync(folder)
    assert report.removed == ("coal.txt",)
    assert report.skipped[0][0] == "coal.txt"
    assert opened.text("coal.txt") is None


def test_links_out_of_the_folder_are_not_followed(
    opened: PassageIndex, folder: Path, tmp_path: Path
):
    (tmp_path / "outside").mkdir()
    write(tmp_path / "outside" / "secret.txt", "A secret that no one may cite.")
    (folder / "link.txt").symlink_to(tmp_path / "outside" / "secret.txt")
    (folder / "linked").symlink_to(tmp_path / "outside")
    (folder / "loop").symlink_to(folder)
    (folder / "broken.txt").symlink_to(folder / "nowhere.txt")
    (folder / "itself.txt").symlink_to(folder / "itself.txt")
    (folder / "inside.txt").symlink_to(folder / "coal.txt")
    report = opened.sync(folder)
    assert report.added == ("coal.txt", "inside.txt", "music.txt", "sub/fish.md")
    reasons = dict(report.skipped)
    assert sorted(reasons) == ["broken.txt", "itself.txt", "link.txt", "linked", "loop"]
    assert "leads out" in reasons["link.txt"] and "leads out" in reasons["linked"]
    assert all("secret" not in hit.text for hit in opened.search("secret", k=99))


def test_names_of_any_kind_are_indexed(opened: PassageIndex, folder: Path):
    names = [b"caf\xe9.txt", b"line\nbreak.txt", b"%00 <b>'\".txt", "\u202ernp.txt".encode()]
    names.append(b"x" * 251 + b".txt")
    for number, name in enumerate(names):
        with open(os.fsencode(folder) + b"/" + name, "w") as file:  # noqa: PTH123
            file.write(f"The number {number} stands in this file with an odd name.")
    report = opened.sync(folder)
    assert len(report.added) == 3 + len(names) and not report.skipped
    odd = os.fsdecode(names[0])
    assert odd in paths(opened.search("The number 0 in a file with an odd name", k=99))
    assert opened.sync(folder).added == ()
    assert opened.verify(folder) == []


def test_a_folder_that_is_missing_empty_or_no_folder(
    opened: PassageIndex, folder: Path, tmp_path: Path
):
    with pytest.raises(FolderError, match="nowhere does not exist"):
        opened.sync(tmp_path / "nowhere")
    with pytest.raises(FolderError, match="is not a folder"):
        opened.sync(folder / "coal.txt")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FolderError, match=r"empty holds no document .*\.txt, \.md, \.html"):
        opened.sync(empty)
    for number in range(7):
        write(empty / f"{number}.xyz", "x")
    with pytest.raises(FolderError, match=r"skipped: 0\.xyz: its ending .*; and 2 more$"):
        opened.sync(empty)


def test_a_folder_that_turned_empty_does_not_wipe_the_index(opened: PassageIndex, folder: Path):
    opened.sync(folder)
    for path in [*folder.glob("*.txt"), folder / "sub" / "fish.md"]:
        path.unlink()
    with pytest.raises(FolderError, match="the index keeps the 3 documents it has"):
        opened.sync(folder)
    assert paths(opened.search("Russian coal", k=1)) == ["coal.txt"]
    shutil.rmtree(folder / "sub")
    with pytest.raises(FolderError):
        opened.sync(folder)
    assert opened.stats().documents == 3


def test_prune_removes_even_everything(opened: PassageIndex, folder: Path, tmp_path: Path):
    opened.sync(folder)
    for path in [*folder.glob("*.txt"), folder / "sub" / "fish.md"]:
        path.unlink()
    removed = ("coal.txt", "music.txt", "sub/fish.md")
    assert opened.sync(folder, prune=True) == SyncReport(removed=removed)
    assert opened.search("Russian coal") == [] and opened.stats().documents == 0
    assert opened.sync(folder, prune=True) == SyncReport()


def test_prune_removes_a_folder_that_vanished_but_no_other(
    folder: Path, counting: CountingEmbedder, tmp_path: Path
):
    with PassageIndex.open(tmp_path / "index", embedder=counting) as opened:
        opened.sync(folder)
        shutil.rmtree(folder)
        with pytest.raises(FolderError, match="docs does not exist"):
            opened.sync(folder)
        with pytest.raises(FolderError, match="typo does not exist"):
            opened.sync(tmp_path / "typo", prune=True)
        assert opened.stats().documents == 3
        assert len(opened.sync(folder, prune=True).removed) == 3
        assert opened.stats().documents == 0


def test_a_sync_does_not_make_a_vanished_folder_again(opened: PassageIndex, folder: Path):
    opened.sync(folder)
    shutil.rmtree(folder)
    for options in ({}, {"prune": True}):
        with pytest.raises(FolderError, match="docs does not exist"):
            opened.sync(folder, **options)
    assert not folder.exists()


def test_when_most_is_gone_at_once_it_is_kept_until_pruned(opened: PassageIndex, folder: Path):
    many(folder / "sub", 30)
    opened.sync(folder)
    for number in range(18):  # more than half, but not many
        (folder / "sub" / f"{number}.txt").unlink()
    assert len(opened.sync(folder).removed) == 18
    many(folder / "sub", 30)
    opened.sync(folder)
    shutil.rmtree(folder / "sub")  # like a drive that isn't mounted
    write(folder / "zinc.txt", "Zinc\n\nThe smelter in Odda makes zinc again.\n")
    report = opened.sync(folder)
    assert (report.added, report.removed, len(report.kept)) == (("zinc.txt",), (), 31)
    assert paths(opened.search("trawlers herring", k=1)) == ["sub/fish.md"]
    assert opened.sync(folder, dry_run=True, prune=True).removed == report.kept
    report = opened.sync(folder, prune=True)
    assert (len(report.removed), report.kept) == (31, ())
    assert opened.verify(folder) == []


def test_a_folder_renamed_inside_is_moved_and_not_gone(opened: PassageIndex, folder: Path):
    many(folder / "sub", 30)
    opened.sync(folder)
    (folder / "sub").rename(folder / "renamed")
    report = opened.sync(folder)
    assert (len(report.moved), report.removed, report.kept) == (31, (), ())


def test_a_dry_run_reports_the_same_and_writes_nothing(
    opened: PassageIndex, folder: Path, counting: CountingEmbedder
):
    assert len(opened.sync(folder, dry_run=True).added) == 3
    assert (counting.texts, opened.stats().generation) == ([], 0)
    opened.sync(folder)
    write(folder / "coal.txt", "Zinc\n\nThe smelter in Odda makes zinc again.\n", age=30)
    (folder / "music.txt").unlink()
    (folder / "sub" / "fish.md").rename(folder / "herring.md")
    write(folder / "new.txt", "New\n\nWords that were not there before.\n")
    write(folder / "binary.txt", b"\0\1\2")
    before = opened.stats()
    counting.texts.clear()
    told = opened.sync(folder, dry_run=True)
    assert (told.changed, told.moved, told.added) == (("coal.txt",), ("herring.md",), ("new.txt",))
    assert told.removed == ("music.txt",) and [path for path, _ in told.skipped] == ["binary.txt"]
    assert (opened.stats(), counting.texts) == (before, [])
    assert opened.sync(folder) == told


def test_an_index_of_another_folder_names_both(
    folder: Path, counting: CountingEmbedder, tmp_path: Path
):
    other = tmp_path / "other"
    other.mkdir()
    write(other / "zinc.txt", "Zinc\n\nThe smelter in Odda makes zinc again.\n")
    for path in (tmp_path / "index", folder / ".readback"):
        with PassageIndex.open(path, embedder=counting) as opened:
            opened.sync(folder)
            for options in ({}, {"prune": True}, {"dry_run": True}):
                with pytest.raises(FolderError, match=rf"of {folder}, not those of {other}; give"):
                    opened.sync(other, **options)
            with pytest.raises(FolderError, match=rf"of {folder}, not those of {folder}/sub"):
                opened.sync(folder / "sub")
            assert opened.sync(folder).removed == ()
            assert opened.sync(Path(os.path.relpath(folder))).removed == ()


def test_a_folder_that_moved_keeps_its_index(
    folder: Path, counting: CountingEmbedder, tmp_path: Path
):
    unchanged = SyncReport(unchanged=("coal.txt", "music.txt", "sub/fish.md"))
    for path in (tmp_path / "index", folder / ".readback"):
        with PassageIndex.open(path, embedder=counting) as opened:
            opened.sync(folder)
    moved = folder.rename(tmp_path / "moved")
    for path in (tmp_path / "index", moved / ".readback"):
        with PassageIndex.open(path, embedder=counting) as opened:
            assert opened.sync(moved) == unchanged
    copied = shutil.copytree(moved, tmp_path / "copied")
    with PassageIndex.open(copied / ".readback", embedder=counting) as opened:
        assert opened.sync(copied) == unchanged
    elsewhere = (moved / ".readback").rename(tmp_path / "elsewhere")
    with PassageIndex.open(elsewhere, embedder=counting) as opened:
        assert opened.sync(moved) == unchanged


def test_a_watched_folder_tells_of_changes_to_its_documents_alone(
    opened: PassageIndex, folder: Path
):
    watching = opened.watch(folder)
    assert next(watching) is False
    opened.sync(folder)  # writes into .readback, which is inside
    (folder / ".hidden.txt").write_text("hidden")
    assert [next(watching) for _ in range(3)] == [False] * 3
    write(folder / "sub" / "new.txt", "New\n\nWords that were not there before.\n")
    assert any(next(watching) for _ in range(20))
    assert opened.sync(folder).added == ("sub/new.txt",)
    watching.close()


def test_the_index_folder_is_not_read_even_when_it_is_not_hidden(
    folder: Path, counting: CountingEmbedder
):
    with PassageIndex.open(folder / "the index", embedder=counting) as opened:
        write(folder / "the index" / "readme.txt", "Not a document.")
        assert opened.sync(folder).added == ("coal.txt", "music.txt", "sub/fish.md")


def test_progress_is_drawn_on_stderr_only_when_asked(
    opened: PassageIndex, folder: Path, capfd: pytest.CaptureFixture[str]
):
    opened.sync(folder)
    assert capfd.readouterr() == ("", "")
    opened.sync(folder, progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "Syncing" in err and "3/3" in err


# Offsets

HARD_FILES = {
    "windows.txt": b"Head\r\n\r\nOne line.\r\n\r\nAnother line of the text.\r\n",
    "mark.md": b"\xef\xbb\xbf# Head\r\n\r\nText after a byte-order mark.\r\n",
    "utf16.txt": "Head\n\nText in another encoding 😀.".encode("utf-16"),
    "accents.txt": "Re\u0301sume\u0301\n\nCafe\u0301 and nai\u0308ve 🇯🇵 flags.".encode(),
    "quotes.md": "# Head\n\n“We ‘will’ do it,” he said — “at once…”\n".encode(),
    "cjk.txt": ("首脳会談\n\n" + "岸田首相とショルツ首相は木曜日に会談した。" * 40).encode(),
    "page.html": b"<html><body><h1>Head</h1><p>Caf&eacute; &#128512; and more.</p></body></html>",
    "latin.txt": "Head\n\nThe café in Zürich was naïve.".encode("latin-1"),
}


def test_every_passage_is_the_slice_of_the_file_read_afresh(
    folder: Path, counting: CountingEmbedder, tmp_path: Path
):
    for name, data in HARD_FILES.items():
        write(folder / name, data)
    with PassageIndex.open(tmp_path / "index", embedder=counting) as opened:
        opened.sync(folder)
        hits = opened.search("What is in the text?", k=1_000)
        assert set(paths(hits)) >= set(HARD_FILES)
        for hit in hits:
            name = hit.document.path
            fresh = load_document(folder / name, name=name)
            assert fresh.text[hit.start : hit.end] == hit.text != ""
            assert fresh.sha256 == hit.document.sha256
            assert (fresh.title, fresh.date) == (hit.document.title, hit.document.date)
            assert opened.text(name) == fresh.text
            assert opened.document(name) == fresh
        assert opened.verify(folder) == []


def test_verify_tells_what_is_wrong(opened: PassageIndex, folder: Path):
    opened.sync(folder)
    write(folder / "coal.txt", COAL + "More.", age=30)
    (folder / "music.txt").unlink()
    problems = opened.verify(folder)
    assert len(problems) == 2
    assert problems[0].startswith("coal.txt: the file has changed")
    assert problems[1].startswith("music.txt: it is not a regular file")
    opened.sync(folder)
    assert opened.verify(folder) == []
    connection = sqlite3.connect(opened.path / CATALOG_NAME)
    connection.execute("UPDATE passages SET start_at = start_at + 1, vector = zeroblob(1536)")
    connection.commit()
    connection.close()
    problems = opened.verify(folder)
    assert sum("is not the text that stands there" in problem for problem in problems) == 2
    assert sum("not of length 1" in problem for problem in problems) == 2
    assert sum("wrong vectors" in problem for problem in problems) == 1


# Search


def test_a_search_finds_by_meaning_and_by_words_with_scores(opened: PassageIndex, folder: Path):
    opened.sync(folder)
    hits = opened.search("Who wants to import fewer fossil fuels from Moscow?", k=3)
    assert paths(hits)[0] == "coal.txt" and hits[0].bm25 == 0.0
    hits = opened.search("herring", k=3)
    assert paths(hits)[0] == "sub/fish.md" and hits[0].bm25 > 0.0
    assert hits[0].score == pytest.approx(1.0)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
    vector = opened.embed("herring")
    assert vector.shape == (384,)
    again = opened.search("herring", k=3, vector=vector)
    assert again == hits


def test_scores_are_the_weighted_sum_of_both_lists(
    opened: PassageIndex, folder: Path, embedder: Embedder
):
    opened.sync(folder)
    question = "Did the ministers of Bergen agree?"
    hits = opened.search(question, k=3)
    texts = {"coal.txt": COAL, "sub/fish.md": FISH, "music.txt": MUSIC}
    vectors = embedder.embed([text.replace("\n\n", "\n").strip() for text in texts.values()])
    cosines = dict(zip(texts, (vectors @ opened.embed(question)).tolist(), strict=True))
    for hit in hits:
        dense = cosines[hit.document.path]
        assert hit.dense == pytest.approx(dense, abs=1e-5)
        expected = 0.6 * dense / max(cosines.values()) + 0.4 * hit.bm25 / max(h.bm25 for h in hits)
        assert hit.score == pytest.approx(expected, abs=1e-5)
    assert {hit.document.path for hit in hits if hit.bm25} == {"coal.txt", "music.txt"}


def test_without_words_the_order_is_that_of_brute_force(
    folder: Path, counting: CountingEmbedder, tmp_path: Path
):
    text = "\n\n".join(
        f"Clerk {n} of the harbour office wrote {n * 7} pages on the weather, the price of "
        f"{['salt', 'tar', 'rope', 'wool', 'rye'][n % 5]} and on ship number {n % 13} that year."
        for n in range(150)
    )
    write(folder / "clerks.txt", text)
    with PassageIndex.open(tmp_path / "index", embedder=counting) as opened:
        opened.sync(folder)
        with opened._catalog.read() as snapshot:
            ids, rows = snapshot.vectors()
            texts = {n: p.text for n, p in snapshot.passages(ids.tolist()).items()}
        for question in ("what is it about", "Why did they?"):  # stop words only
            vector = opened.embed(question)
            scores = rows @ vector
            order = np.argsort(-scores, kind="stable")
            hits = opened.search(question, k=200)
            assert [hit.text for hit in hits] == [texts[int(ids[i])] for i in order]
            assert np.allclose([hit.dense for hit in hits], scores[order], atol=1e-6)
            assert [h.text for h in opened.search(question, k=5)] == [h.text for h in hits[:5]]


@pytest.mark.parametrize("k", [3, 4, 10_000, 2**62])
def test_k_larger_than_the_index_gives_what_there_is(opened: PassageIndex, folder: Path, k: int):
    opened.sync(folder)
    assert sorted(paths(opened.search("ministers", k=k))) == [
        "coal.txt",
        "music.txt",
        "sub/fish.md",
    ]


@pytest.fixture(scope="module", params=["in FAISS", "scanned"])
def dated(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[PassageIndex]:
    """Three hundred documents: two in three have a day, from 1 January 2020 on."""
    folder = tmp_path_factory.mktemp("dated")
    for number in range(300):
        day = datetime.date(2020, 1, 1) + datetime.timedelta(days=number * 7)
        line = "" if number % 3 == 0 else f"{day.isoformat()}\n\n"
        words = " ".join(f"w{((number + 1) * place) % 997}" for place in range(1, 50))
        write(folder / f"{number}.md", f"# Paper {number}\n\n{line}{words}.\n")
    with PassageIndex.open(folder / ".readback", embedder=HashEmbedder()) as dated:
        dated.sync(folder)
        if request.param == "scanned":
            (dated.path / VECTORS_NAME).unlink()
        yield dated


DAYS = [
    ("2021-03-01", None),
    (None, "2020-02-01"),
    (None, datetime.date(2020, 1, 8)),
    (datetime.datetime(2024, 1, 1, 12), datetime.date(2024, 12, 31)),
    ("2025-09-17", "2025-09-17"),
    ("2020-01-09", "2020-01-10"),
    ("0001-01-01", "9999-12-31"),
    (None, None),
]


@pytest.mark.parametrize(("after", "before"), DAYS)
def test_days_leave_out_what_brute_force_leaves_out(
    dated: PassageIndex, after: Date | None, before: Date | None
):
    first, last = str(after or "0000")[:10], str(before or "9999-99-99")[:10]
    for question in ("what is it", "w3 w5 w8", "Paper w40"):
        vector = HashEmbedder().embed([question])[0]
        everything = dated.search(question, k=1_000, vector=vector)
        assert len(everything) == dated.stats().passages
        expected = {
            hit.text: hit.dense
            for hit in everything
            if (after is None and before is None)
            or (hit.document.date and first <= hit.document.date <= last)
        }
        found = dated.search(question, k=1_000, vector=vector, after=after, before=before)
        assert {hit.text: pytest.approx(hit.dense, abs=1e-6) for hit in found} == expected
        few = dated.search(question, k=8, vector=vector, after=after, before=before)
        assert [hit.text for hit in few] == [hit.text for hit in found[:8]]
        assert len(few) == min(8, len(expected))
        scores = [hit.score for hit in found]
        assert scores == sorted(scores, reverse=True)


def test_days_that_are_none_are_told_with_the_form(dated: PassageIndex):
    for bad in ("yesterday", "2022-4-28", "28.04.2022", "2022-02-30", "20220428", "2022-W01-1", ""):
        for name in ("after", "before"):
            with pytest.raises(
                QuestionError, match=f"{name}='{bad}' is not a day; write it as yyyy-mm-dd"
            ):
                dated.search("paper", **{name: bad})
    with pytest.raises(QuestionError, match="after=20220428 is not a day"):
        dated.search("paper", after=20220428)  # type: ignore[arg-type]
    with pytest.raises(QuestionError, match=r"after=2022-01-02 and before=2022-01-01; swap"):
        dated.search("paper", after="2022-01-02", before=datetime.date(2022, 1, 1))


def test_an_empty_index_finds_nothing(opened: PassageIndex):
    assert opened.search("coal") == []
    assert opened.stats().passages == 0


def test_equal_passages_are_found_once(opened: PassageIndex, folder: Path):
    body = COAL.split("\n\n")[1]
    for number in range(250):  # more than the candidates of a search
        write(folder / f"copy{number}.txt", f"Copy {number}\n\n{body}")
    opened.sync(folder)
    hits = opened.search("Which ministers agreed to buy less Russian coal?", k=8)
    assert len(hits) == 3 and len({hit.text for hit in hits}) == 3
    assert sorted(len(hit.copies) for hit in hits) == [0, 0, 250]


def test_questions_that_cannot_be_asked(opened: PassageIndex, folder: Path):
    opened.sync(folder)
    for question in ("", " \n\t "):
        with pytest.raises(QuestionError, match="is empty"):
            opened.search(question)
    with pytest.raises(QuestionError, match=r"100,000 characters and the limit is 2,000; shorten"):
        opened.search("x" * 100_000)
    with pytest.raises(QuestionError, match="is empty"):
        opened.embed("")
    with pytest.raises(ValueError, match="at least 1, not 0"):
        opened.search("coal", k=0)


@pytest.mark.parametrize("question", ["\ud800", "a\0b", '"', "NEAR(", "x" * 2_000, "😀", "*"])
def test_any_other_question_gets_an_answer(opened: PassageIndex, folder: Path, question: str):
    opened.sync(folder)
    assert len(opened.search(question)) == 3


# The FAISS file


def many(folder: Path, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        write(folder / f"{number}.txt", f"Head {number}\n\nThe paper {number} is on the table.")


def test_a_torn_missing_or_foreign_faiss_file_costs_nothing(
    opened: PassageIndex, folder: Path, counting: CountingEmbedder, tmp_path: Path
):
    opened.sync(folder)
    file = opened.path / VECTORS_NAME
    whole = file.read_bytes()
    expected = opened.search("Russian coal")
    with PassageIndex.open(tmp_path / "other", embedder=counting) as other:
        write(folder / "more.txt", "More\n\nOther words stand here.")
        other.sync(folder)
        (folder / "more.txt").unlink()
        foreign = (other.path / VECTORS_NAME).read_bytes()
    for data in (None, b"", whole[: len(whole) // 2], b"\0" * len(whole), foreign):
        file.unlink()
        if data is not None:
            file.write_bytes(data)
        counting.texts.clear()
        with PassageIndex.open(opened.path, embedder=counting) as fresh:
            assert fresh.search("Russian coal") == expected
            assert fresh.stats().vectors_behind == 3
            fresh.sync(folder)
            assert fresh.stats().vectors_behind == 0
            assert fresh.search("Russian coal") == expected
            assert fresh.verify(folder) == []
        assert counting.texts == ["Russian coal"] * 2  # the questions and nothing else
        assert file.read_bytes() != data


def test_a_damaged_faiss_file_is_noticed_by_a_search_and_mended_by_the_next_sync(
    opened: PassageIndex, folder: Path, embedder: Embedder
):
    opened.sync(folder)
    expected = opened.search("Russian coal")
    file = opened.path / VECTORS_NAME
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    file.unlink()
    file.write_bytes(damaged)
    with PassageIndex.open(opened.path, embedder=embedder) as fresh:
        assert fresh.search("Russian coal") == expected
        assert not file.exists()
        fresh.sync(folder)
        assert len(load(file)) == 3
        assert fresh.search("Russian coal") == expected


def test_a_faiss_file_newer_than_the_catalog_is_not_trusted(
    opened: PassageIndex, folder: Path, counting: CountingEmbedder
):
    opened.sync(folder)
    opened.close()
    backup = {path: path.read_bytes() for path in opened.path.glob(f"{CATALOG_NAME}*")}
    with PassageIndex.open(opened.path, embedder=counting) as later:
        write(folder / "coal.txt", "Zinc\n\nThe smelter in Odda makes zinc again.\n", age=30)
        later.sync(folder)
    for path in opened.path.glob(f"{CATALOG_NAME}*"):
        path.unlink()
    for path, data in backup.items():
        path.write_bytes(data)
    with PassageIndex.open(opened.path, embedder=counting) as restored:
        assert restored.stats().vectors_behind == 3
        assert paths(restored.search("Russian coal", k=1)) == ["coal.txt"]
        assert restored.verify(folder) != []


def test_the_faiss_file_is_written_again_only_when_it_lags(
    opened: PassageIndex, folder: Path, embedder: Embedder
):
    many(folder, 97)
    opened.sync(folder)
    file = opened.path / VECTORS_NAME
    before = file.read_bytes()
    many(folder, 3, start=97)
    (folder / "coal.txt").unlink()
    opened.sync(folder)
    assert file.read_bytes() == before
    assert opened.stats().vectors_behind == 3
    hits = opened.search("Is paper 98 on the table?", k=200)
    assert "98.txt" in paths(hits)[:3] and len(hits) == 102
    assert "coal.txt" not in paths(hits)
    assert opened.verify(folder) == []
    many(folder, 6, start=100)
    opened.sync(folder)
    assert opened.stats().vectors_behind == 0
    assert len(load(file)) == opened.stats().passages == 108


def test_vectors_of_removed_passages_do_not_hide_the_others(opened: PassageIndex, folder: Path):
    many(folder, 250)
    opened.sync(folder)
    for number in range(250):
        assert opened.remove(f"{number}.txt")
    assert not opened.remove("0.txt")
    assert opened.stats().passages == 3
    assert len(load(opened.path / VECTORS_NAME)) == 253
    assert len(opened.search("Which paper is on the table?", k=8)) == 3
    assert all(hit.dense != 0 for hit in opened.search("Which paper is on the table?", k=8))


# Several at once


def test_a_reader_picks_up_what_another_wrote(
    opened: PassageIndex, folder: Path, counting: CountingEmbedder
):
    opened.sync(folder)
    with PassageIndex.open(opened.path, embedder=counting) as reader:
        assert paths(reader.search("Russian coal", k=1)) == ["coal.txt"]
        write(folder / "zinc.txt", "Zinc\n\nThe smelter in Odda makes zinc again.\n")
        opened.sync(folder)
        assert paths(reader.search("Which smelter makes zinc?", k=1)) == ["zinc.txt"]
        (folder / "zinc.txt").unlink()
        opened.sync(folder)
        assert "zinc.txt" not in paths(reader.search("Which smelter makes zinc?", k=9))


def test_many_threads_search_during_a_sync(opened: PassageIndex, folder: Path, asked_meanwhile):
    opened.sync(folder)
    many(folder, 120)

    def ask(_: int) -> None:
        hits = opened.search("Who agreed to buy less Russian coal?", k=4)
        assert hits[0].document.path == "coal.txt"
        assert len({hit.text for hit in hits}) == len(hits)

    with asked_meanwhile(ask, 8):
        assert len(opened.sync(folder).added) == 120
        for number in range(60):
            (folder / f"{number}.txt").unlink()
        assert len(opened.sync(folder).removed) == 60
    assert opened.verify(folder) == []


def test_a_second_writer_is_told_to_wait_and_a_dead_one_holds_no_lock(
    opened: PassageIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    opened.sync(folder)
    code = f"""
import sys
from filelock import FileLock
with FileLock({str(opened.path / index.passage_index.LOCK_NAME)!r}):
    print("held", flush=True)
    sys.stdin.read()
"""
    monkeypatch.setattr(index.passage_index, "LOCK_SECONDS", 0.1)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        for change in (lambda: opened.sync(folder), lambda: opened.remove("coal.txt")):
            with pytest.raises(IndexUnavailable, match="another process is writing"):
                change()
        assert paths(opened.search("Russian coal", k=1)) == ["coal.txt"]  # readers don't wait
        holder.kill()
        holder.wait()
        assert len(opened.sync(folder).unchanged) == 3


# What can't be opened


def test_an_index_folder_that_cannot_be_written(
    folder: Path, counting: CountingEmbedder, tmp_path: Path
):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "index", tmp_path / "file", Path("/proc/readback")):
        with pytest.raises(IndexUnavailable, match=r"can't be written .*name another folder"):
            PassageIndex.open(path, embedder=counting)


def test_an_index_of_another_embedder_names_both(
    opened: PassageIndex, folder: Path, counting: CountingEmbedder
):
    opened.sync(folder)
    counting.name, counting.sha256 = "some/other", "f" * 64
    with pytest.raises(IndexUnavailable, match=r"L6-v2 .*not with some/other .*--rebuild"):
        PassageIndex.open(opened.path, embedder=counting)
    opened.close()
    shutil.rmtree(opened.path)
    with PassageIndex.open(opened.path, embedder=counting) as other:
        other.sync(folder)
    with pytest.raises(IndexUnavailable, match=r"some/other .*not with .*all-MiniLM-L6-v2"):
        PassageIndex.open(opened.path)


def test_an_index_of_another_format_or_damaged_is_told_with_the_remedy(
    opened: PassageIndex, folder: Path, counting: CountingEmbedder
):
    opened.sync(folder)
    opened.close()
    connection = sqlite3.connect(opened.path / CATALOG_NAME)
    connection.execute("UPDATE manifest SET value = '99' WHERE key = 'schema'")
    connection.commit()
    connection.close()
    with pytest.raises(IndexUnavailable, match=r"format 99, .* reads 2; .*--rebuild"):
        PassageIndex.open(opened.path, embedder=counting)
    (opened.path / CATALOG_NAME).write_bytes(b"not a database at all, not at all")
    with pytest.raises(IndexUnavailable, match=r"damaged; .*--rebuild"):
        PassageIndex.open(opened.path, embedder=counting)


def test_stats_tell_the_state_of_the_index(opened: PassageIndex, folder: Path, embedder: Embedder):
    before = opened.stats()
    assert (before.documents, before.embedder, before.dimension) == (0, None, None)
    opened.sync(folder)
    stats = opened.stats()
    assert (stats.documents, stats.passages, stats.dimension) == (3, 3, 384)
    assert (stats.embedder, stats.embedder_sha256) == (embedder.name, embedder.sha256)
    assert stats.generation > before.generation
    assert stats.catalog_bytes > 0 and stats.vectors_bytes > 3 * 384 * 4
    assert stats.path == str(opened.path)


def test_the_default_embedder_is_loaded_when_first_needed(folder: Path):
    code = f"""
import sys
from index import PassageIndex
with PassageIndex.open({str(folder / ".readback")!r}) as index:
    assert index.stats().documents == 0 and "torch" not in sys.modules
    index.sync({str(folder)!r})
    print(index.search("Who caught herring?", k=1)[0].document.path)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("sub/fish.md\n", "")
