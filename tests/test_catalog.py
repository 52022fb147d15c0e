"""The catalog keeps what was committed, shows whole states, and takes any question."""

import random
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index.catalog import CATALOG_NAME, Catalog, check_embedder, match_query
from index.documents import Document, parse_document
from index.errors import IndexUnavailable
from index.passages import Passage, split_passages

ROOT = Path(__file__).parent.parent
TEXT = "{}\n\nThe ministers agreed in Zu\u0308rich to reduce their dependence on coal.\n\nGas rose."


@pytest.fixture
def catalog(tmp_path: Path):
    catalog = Catalog(tmp_path)
    catalog.create()
    yield catalog
    catalog.close()


def document(path: str, text: str = TEXT) -> Document:
    return parse_document(text.format(path).encode(errors="replace"), name=path)


def put(catalog: Catalog, path: str, text: str = TEXT) -> None:
    found = document(path, text)
    passages = split_passages(found)
    vectors = np.random.default_rng(0).random((len(passages), 4), np.float32)
    with catalog.write() as writer:
        writer.put(found, passages, vectors, size=1, mtime_ns=2)


def test_a_document_comes_back_as_it_was(catalog: Catalog):
    put(catalog, "a/b.md")
    with catalog.read() as snapshot:
        assert snapshot.document("a/b.md") == document("a/b.md")
        assert snapshot.document("b.md") is None
        (record,) = snapshot.files()
        assert (record.path, record.size, record.mtime_ns) == ("a/b.md", 1, 2)
        ((number, passage),) = snapshot.passages_of("a/b.md")
        assert passage.document.title == "a/b.md"
        text = document("a/b.md").text
        assert text[passage.start : passage.end] == passage.text
        ids, vectors = snapshot.vectors()
        assert ids.tolist() == [number]
        assert vectors.tolist() == [passage.vector.tolist()]


def test_pages_come_back_with_a_document_and_with_its_passages(catalog: Catalog):
    found = replace(document("a.pdf.txt"), pages=(0, 20, 40))
    with catalog.write() as writer:
        writer.put(found, [Passage(0, 5, "words")], np.ones((1, 4), np.float32), size=1, mtime_ns=2)
    with catalog.read() as snapshot:
        assert snapshot.document("a.pdf.txt") == found
        ((_, passage),) = snapshot.passages_of("a.pdf.txt")
        assert passage.document.pages == (0, 20, 40)


def test_a_file_has_its_documents_and_what_of_it_cannot_be_read(catalog: Catalog):
    vectors = np.ones((1, 4), np.float32)
    with catalog.write() as writer:
        file = writer.put_file("a.zip", "0" * 64, size=1, mtime_ns=2)
        for name in ("a.zip/1.md", "a.zip/2.md"):
            writer.add(file, document(name), [Passage(0, 5, "words")], vectors)
        writer.skip(file, [("/3.md", "why")])
    put(catalog, "b.md")
    with catalog.read() as snapshot:
        first, second = snapshot.files()
        assert (first.path, first.documents, first.skipped) == ("a.zip", 2, (("/3.md", "why"),))
        assert (second.path, second.documents, second.title) == ("b.md", 1, "b.md")
    with catalog.write() as writer:
        writer.move("a.zip", "c/a.zip", size=1, mtime_ns=2)
        assert writer.remove("c/a.zip/1.md")
    with catalog.read() as snapshot:
        (first,) = (record for record in snapshot.files() if record.path == "c/a.zip")
        assert (first.documents, first.sha256) == (1, "")  # to be read again
    with catalog.write() as writer:
        writer.remove_file("c/a.zip")
        writer.remove_file("nowhere")
    with catalog.read() as snapshot:
        assert [record.path for record in snapshot.files()] == ["b.md"]
        assert snapshot.count("passages") == snapshot.count("documents") == 1


@pytest.mark.parametrize("name", ["line\nbreak.txt", "..'\";--.txt", "%00.txt", "\u202egnp.txt"])
def test_names_are_only_names(catalog: Catalog, name: str):
    put(catalog, name)
    with catalog.read() as snapshot:
        assert [record.path for record in snapshot.files()] == [name]


def test_a_name_that_is_not_unicode_is_kept(catalog: Catalog):
    name = b"caf\xe9.txt".decode("utf-8", "surrogateescape")
    put(catalog, name)
    put(catalog, name)
    with catalog.write() as writer:
        writer.move(name, "sub/" + name, size=1, mtime_ns=1)
    with catalog.read() as snapshot:
        assert [record.path for record in snapshot.files()] == ["sub/" + name]
        found = snapshot.document("sub/" + name)
        assert found is not None and found.path == "sub/" + name
    with catalog.write() as writer:
        assert writer.remove("sub/" + name)


def test_ids_are_never_reused(catalog: Catalog):
    seen: set[int] = set()
    for _ in range(3):
        put(catalog, "a.txt")
        with catalog.read() as snapshot:
            ids = {number for number, _ in snapshot.passages_of("a.txt")}
        assert ids and not ids & seen
        seen |= ids
        with catalog.write() as writer:
            assert writer.remove("a.txt")
            assert not writer.remove("a.txt")
    with catalog.read() as snapshot:
        assert snapshot.count("passages") == snapshot.count("documents") == 0
        assert snapshot.find_words("coal", limit=9) == []


def test_a_transaction_is_all_or_nothing(catalog: Catalog):
    put(catalog, "a.txt")
    new = document("a.txt", "Other words {}")
    with pytest.raises(ValueError, match="one vector a passage: 0 != 1"), catalog.write() as writer:
        writer.remove("a.txt")
        writer.put(new, split_passages(new), np.empty((0, 4), np.float32), size=1, mtime_ns=1)
    with catalog.read() as snapshot:
        assert snapshot.document("a.txt") == document("a.txt")
        assert len(snapshot.find_words("coal", limit=9)) == 1
        assert snapshot.manifest()["generation"] == 1


def test_a_reader_sees_one_state_while_another_writes(catalog: Catalog):
    put(catalog, "a.txt")
    other = Catalog(catalog.folder)
    with catalog.read() as before:
        assert before.manifest()["generation"] == 1
        put(other, "b.txt")
        assert [record.path for record in before.files()] == ["a.txt"]
        assert before.manifest()["generation"] == 1
    with catalog.read() as after:
        assert [record.path for record in after.files()] == ["a.txt", "b.txt"]
        assert after.manifest()["generation"] == 2
    other.close()


def test_threads_may_share_a_catalog(catalog: Catalog):
    put(catalog, "a.txt")
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            for _ in range(50):
                with catalog.read() as snapshot:
                    assert len(snapshot.find_words("coal", limit=5)) == 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        put(catalog, "a.txt")
    for thread in threads:
        thread.join()
    assert errors == []


def test_what_was_committed_survives_kill_9(tmp_path: Path):
    code = f"""
import numpy as np, itertools
from pathlib import Path
from index.catalog import Catalog
from index.documents import parse_document
from index.passages import Passage
catalog = Catalog(Path({str(tmp_path)!r}))
catalog.create()
for number in itertools.count():
    document = parse_document(b"words " * 500, name=f"{{number}}.txt")
    with catalog.write() as writer:
        vector = np.ones((1, 384), np.float32)
        writer.put(document, [Passage(0, 5, "words")], vector, size=1, mtime_ns=1)
    print(number, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    committed = [int(process.stdout.readline()) for _ in range(25)][-1]
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    process.stdout.close()
    committed = max([committed, *map(int, rest)])
    catalog = Catalog(tmp_path)
    with catalog.read() as snapshot:
        paths = {record.path for record in snapshot.files()}
        assert {f"{number}.txt" for number in range(committed + 1)} <= paths
        assert snapshot.count("documents") == snapshot.count("passages") == len(paths)
        assert len(snapshot.find_words("words", limit=10_000)) == len(paths)
        assert snapshot.check() == []
    catalog.close()


def test_words_are_found_by_stem_and_without_accents(catalog: Catalog):
    put(catalog, "a.txt")
    put(catalog, "b.txt", "{}\n\nNothing of the kind is here.\n")
    with catalog.read() as snapshot:
        for question in (
            "agreeing?",
            "ZURICH",
            "Zürich",
            "Zu\u0308rich",
            "What about reducing it?",
        ):
            ((number, score),) = snapshot.find_words(question, limit=9)
            assert score > 0 and "coal" in snapshot.passages([number])[number].text
        assert snapshot.find_words("What is it about?", limit=9) == []


HOSTILE = [
    '"',
    "''",
    '" OR "a',
    "coal AND NOT gas",
    "NEAR(coal gas, 5)",
    "title : coal",
    "{title text} : coal",
    "coal*",
    "^coal",
    "-coal +gas",
    "(((",
    "coal) OR (",
    "a\0b coal\0",
    "\ud800 coal \udfff",
    "; DROP TABLE documents; --",
    "coal " * 20_000,
    " ".join(f"word{n}" for n in range(20_000)),
    "x" * 100_000,
    "\u0301\u0301 e\u0301",
    "岸田 😀 \u202e",
    "_ __ _zz",
    "?!…",
    "",
]


@pytest.mark.parametrize("question", HOSTILE, ids=[ascii(text[:20]) for text in HOSTILE])
def test_no_question_raises_from_sqlite(catalog: Catalog, question: str):
    put(catalog, "a.txt")
    with catalog.read() as snapshot:
        found = snapshot.find_words(question, limit=9)
        assert bool(found) == ("coal" in question)


def test_random_questions_do_not_raise_either(catalog: Catalog):
    put(catalog, "a.txt")
    pick = random.Random(3)
    with catalog.read() as snapshot:
        for _ in range(500):
            codes = [pick.choice([pick.randrange(128), pick.randrange(0x11000)]) for _ in range(30)]
            snapshot.find_words("".join(map(chr, codes)), limit=3)


def test_the_query_quotes_each_word_and_leaves_stop_words_out():
    assert match_query("What did Scholz say about Scholz's supply-chains?") == (
        '"scholz" OR "say" OR "supply" OR "chains"'
    )
    assert match_query("What is it?") == ""
    assert match_query(" ".join(f"w{n}" for n in range(100))).count(" OR ") == 63


def test_dated_passages_are_those_from_day_to_day(catalog: Catalog):
    for day in ("2022-04-27", "2022-04-28", "2022-04-29"):
        put(catalog, f"{day}.md", f"# {{}}\n\n{day}\n\nThe ministers talked about coal on {day}.")
    put(catalog, "undated.md")
    with catalog.read() as snapshot:

        def days(ids) -> list[str]:
            found = snapshot.passages([int(number) for number in ids]).values()
            return sorted(passage.document.path[8:10] for passage in found)

        for after, before, expected in (
            ("2022-04-28", None, ["28", "29"]),
            (None, "2022-04-28", ["27", "28"]),
            ("2022-04-28", "2022-04-28", ["28"]),
            ("2022-05-01", None, []),
        ):
            assert days(snapshot.dated(after=after, before=before)) == expected
            words = snapshot.find_words("coal", limit=9, after=after, before=before)
            assert days(number for number, _ in words) == expected
        assert len(snapshot.find_words("coal", limit=9)) == 4


def test_a_catalog_that_is_gone_is_not_made_again_by_reading(catalog: Catalog):
    put(catalog, "a.txt")
    for path in catalog.folder.glob(f"{CATALOG_NAME}*"):
        path.unlink()
    with pytest.raises(IndexUnavailable, match=r"there is no index in"), catalog.read():
        pass
    assert list(catalog.folder.iterdir()) == []
    catalog.create()
    with catalog.read() as snapshot:
        assert snapshot.files() == []


def test_a_manifest_keeps_any_path(catalog: Catalog):
    odd = b"/caf\xe9/\n".decode("utf-8", "surrogateescape")
    with catalog.write() as writer:
        writer.put_manifest(folder=odd)
    with catalog.read() as snapshot:
        assert snapshot.manifest()["folder"] == odd


def test_a_transaction_that_failed_leaves_a_usable_catalog(catalog: Catalog):
    for statement in ("COMMIT", "INSERT INTO nowhere VALUES (1)"):
        with (
            pytest.raises(IndexUnavailable, match=r"no transaction|no such table"),
            catalog.write() as writer,
        ):
            writer._connection.execute(statement)
        put(catalog, "a.txt")


def test_an_embedder_other_than_the_manifests_is_named():
    manifest = {"embedder": "first", "embedder_sha256": "a" * 64}
    check_embedder(manifest, "copy of first", "a" * 64)
    check_embedder({}, "any", "b" * 64)
    with pytest.raises(IndexUnavailable, match=r"embedder first .*not with second .*--rebuild"):
        check_embedder(manifest, "second", "b" * 64)


def test_a_damaged_file_is_told_with_the_remedy(tmp_path: Path):
    (tmp_path / CATALOG_NAME).write_bytes(b"no database at all " * 100)
    catalog = Catalog(tmp_path)
    with pytest.raises(IndexUnavailable, match=r"damaged; .*--rebuild"):
        catalog.exists()
    catalog.close()
    with pytest.raises(IndexUnavailable, match="was closed"):
        catalog.exists()


def test_a_writer_waits_its_turn_and_says_so(catalog: Catalog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("index.catalog.BUSY_SECONDS", 0.0)
    with catalog.write():
        other = Catalog(catalog.folder)
        with pytest.raises(IndexUnavailable, match="another process is writing"), other.write():
            pass
        other.close()


def test_the_file_is_in_wal_mode(catalog: Catalog):
    connection = sqlite3.connect(catalog.folder / CATALOG_NAME)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
