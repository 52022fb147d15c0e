"""Several processes and threads at one index: whole states only, always the newest, no errors."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import index.passage_index
from benchmarks.crash import HashEmbedder
from index import IndexUnavailable, PassageIndex
from index.passage_index import HOLDER_NAME
from index.vectors import VECTORS_NAME

ROOT = Path(__file__).parent.parent
ASKERS = 32
PATIENCE = 300.0  # seconds until a wait is given up


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(30):
        write(folder / f"{number}.md", f"topic{number} " + filler(number))
    return folder


def filler(number: int) -> str:
    return " ".join(f"f{number}x{place}" for place in range(60))


def write(path: Path, text: str, at: int = 1_700_000_000) -> None:
    path.write_text(f"# About {path.stem}\n\n{text}.\n", encoding="utf-8")
    os.utime(path, (at, at))


def start(code: str, *args: Path) -> "subprocess.Popen[str]":
    head = (
        "import sys\nfrom pathlib import Path\nfrom benchmarks.crash import HashEmbedder\n"
        "from index import PassageIndex, ReadbackError\n"
        "folder, index = map(Path, sys.argv[1:])\n"
        "opened = PassageIndex.open(index, embedder=HashEmbedder())\n"
    )
    command = [sys.executable, "-c", head + code, *map(str, args)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


# States


def test_readers_in_other_processes_see_whole_states_and_the_newest(
    opened: PassageIndex, folder: Path
):
    """A document of many passages is written anew again and again; no search sees two of them."""

    def put(version: int) -> None:
        body = "\n\n".join(f"version{version} shared {filler(part)}" for part in range(8))
        write(folder / "changing.md", body, at=1_600_000_000 + version)
        opened.sync(folder)

    put(0)
    code = (
        "seen = []\n"
        "while not Path(sys.argv[1], 'stop').exists():\n"
        "    hits = opened.search('shared', k=500)\n"
        "    versions = {hit.text.split()[0] for hit in hits if hit.text.startswith('version')}\n"
        "    parts = sum(hit.text.startswith('version') for hit in hits)\n"
        "    assert len(versions) == 1, versions\n"
        "    seen += [(parts, *versions)] if (parts, *versions) not in seen else []\n"
        "    print('asked', flush=True) if len(seen) == 1 else None\n"
        "assert len({parts for parts, _ in seen}) == 1, seen\n"
        "newest = opened.search('shared', k=1)[0].text.split()[0]\n"
        "print(len(seen), newest, flush=True)\n"
    )
    readers = [start(code, folder, opened.path) for _ in range(2)]
    for reader in readers:
        assert reader.stdout and reader.stdout.readline() == "asked\n"
    for version in range(1, 25):
        put(version)
    (folder / "stop").touch()
    for reader in readers:
        out, _ = reader.communicate(timeout=PATIENCE)
        assert reader.returncode == 0
        count, newest = out.splitlines()[-1].split()
        assert int(count) > 1 and newest == "version24"
    assert opened.verify(folder) == []


def test_a_reader_notices_that_the_index_was_deleted_and_made_again(
    opened: PassageIndex, folder: Path
):
    """The same ids then belong to other passages, and old vectors must not stand for them."""
    assert opened.search("topic3", k=1)[0].document.path == "3.md"
    for lost in (True, False):  # without and with a FAISS file
        other = folder.parent / f"other{lost}"
        other.mkdir()
        for number in range(30):
            write(other / f"{number}.txt", f"subject{number} {filler(100 + number)} {lost}")
        shutil.rmtree(opened.path)
        with pytest.raises(IndexUnavailable, match=r"there is no index in .*sync to make it"):
            opened.search("topic3")
        with PassageIndex.open(opened.path, embedder=HashEmbedder()) as maker:
            maker.sync(other)
        if lost:
            (opened.path / VECTORS_NAME).unlink()
        with PassageIndex.open(opened.path, embedder=HashEmbedder()) as fresh:
            for question in ("subject7", "topic3", "what is it"):
                vector = HashEmbedder().embed([question])[0]
                expected = fresh.search(question, k=50, vector=vector)
                assert opened.search(question, k=50, vector=vector) == expected
        assert opened.stats().documents == 30
        assert opened.document("3.md") is None


def test_a_reader_tells_when_the_index_was_made_again_with_another_embedder(
    opened: PassageIndex, folder: Path
):
    class Other(HashEmbedder):
        name, sha256 = "another", "1" * 64

    shutil.rmtree(opened.path)
    with PassageIndex.open(opened.path, embedder=Other()) as maker:
        maker.sync(folder)
    with pytest.raises(IndexUnavailable, match=r"embedder another .*not with hashed words"):
        opened.search("topic3")


def test_a_sync_makes_a_deleted_index_again(opened: PassageIndex, folder: Path):
    shutil.rmtree(opened.path)
    assert len(opened.sync(folder).added) == 30
    assert opened.search("topic3", k=1)[0].document.path == "3.md"
    assert opened.verify(folder) == []


# Threads


def test_many_askers_get_no_error_while_it_syncs(
    opened: PassageIndex, folder: Path, asked_meanwhile
):
    answers = [0] * ASKERS

    def ask(number: int) -> None:
        # Neither documents 0 to 9 nor the questions change.
        same = number % 10
        hit = opened.search(f"topic{same} {filler(same)}", k=3)[0]
        assert hit.document.path == f"{same}.md"
        answers[number] += 1

    with asked_meanwhile(ask, ASKERS):
        for turn in range(6):
            for number in range(10, 40):
                path = folder / f"{number}.md"
                if (number + turn) % 3:
                    write(
                        path, f"turn{turn} {filler(1_000 * turn + number)}", at=1_600_000_000 + turn
                    )
                else:
                    path.unlink(missing_ok=True)
            opened.sync(folder)
    assert min(answers) > 0
    assert opened.verify(folder) == []


def test_writers_in_threads_take_turns(opened: PassageIndex, folder: Path):
    errors: list[BaseException] = []

    def sync() -> None:
        try:
            for _ in range(3):
                opened.sync(folder, check=True)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=sync) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert errors == []
    assert opened.verify(folder) == []


# The lock


def test_the_lock_names_its_holder_and_survives_a_dead_one(
    opened: PassageIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    assert not (opened.path / HOLDER_NAME).exists()
    monkeypatch.setattr(index.passage_index, "LOCK_SECONDS", 0.1)
    code = "with opened._writer_lock():\n    print('held', flush=True)\n    sys.stdin.read()\n"
    with start(code, folder, opened.path) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        since = rf"\({holder.pid} on {os.uname().nodename}, since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d"
        with pytest.raises(IndexUnavailable, match=f"another process {since}.*is writing"):
            opened.sync(folder)
        assert len(opened.search("topic3", k=3)) == 3  # readers don't wait
        assert len(opened.sync(folder, dry_run=True).unchanged) == 30
        holder.kill()
        holder.wait()
        assert (opened.path / HOLDER_NAME).exists()  # nobody was left to remove it
        assert len(opened.sync(folder).unchanged) == 30
    assert not (opened.path / HOLDER_NAME).exists()


@pytest.mark.parametrize("told", [b"", b"{}", b"[1]", b'{"pid": 1', b"\xff"])
def test_a_holder_file_that_says_nothing_is_no_error(
    opened: PassageIndex, folder: Path, monkeypatch: pytest.MonkeyPatch, told: bytes
):
    monkeypatch.setattr(index.passage_index, "LOCK_SECONDS", 0.1)
    with PassageIndex.open(opened.path, embedder=HashEmbedder()) as other, other._writer_lock():
        (opened.path / HOLDER_NAME).write_bytes(told)
        with pytest.raises(IndexUnavailable, match="another process is writing the index"):
            opened.sync(folder)
