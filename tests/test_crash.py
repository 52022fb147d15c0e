"""What a crash, damage, a full disk or lost permissions leave: an index that opens, or a remedy."""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.crash import MOMENTS, HashEmbedder, check, state_of, stored_state
from index import IndexUnavailable, PassageIndex, ReadbackError
from index.catalog import CATALOG_NAME
from index.vectors import VECTORS_NAME, load

ROOT = Path(__file__).parent.parent
PAGE = 4_096  # bytes of a page of SQLite
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    fill(folder, 12)
    return folder


@pytest.fixture
def index(folder: Path, tmp_path: Path) -> Path:
    """The folder's index, closed."""
    with open_index(tmp_path / "index") as opened:
        opened.sync(folder)
    return tmp_path / "index"


def fill(folder: Path, count: int) -> None:
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / ("sub" if number % 2 else ".") / f"{number}.md"
        words = " ".join(f"w{number}x{place}" for place in range(200))
        path.write_text(f"# About {number}\n\n{words}.\n", encoding="utf-8")
        os.utime(path, (1_700_000_000, 1_700_000_000))


def open_index(path: Path) -> PassageIndex:
    return PassageIndex.open(path, embedder=HashEmbedder())


def run_child(code: str, *args: Path, as_anyone: bool = False) -> str:
    """Runs code with `folder` and `index`; gives what it prints. Root becomes like anyone."""

    def drop() -> None:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)

    head = (
        "import sys\nfrom pathlib import Path\nfrom benchmarks.crash import HashEmbedder\n"
        "from index import PassageIndex, ReadbackError\n"
        "folder, index = map(Path, sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", head + code, *map(str, args)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=drop if as_anyone else None,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# Kills


def test_nothing_committed_is_lost_by_kill_9():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.crash", "--kills", "12", "--seed", "7"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == [*MOMENTS]
    assert all(int(row[1]) == 2 and int(row[5]) == 0 for row in rows)
    assert sum(int(row[2]) for row in rows) > 0  # some kills did come in time


def test_the_check_sees_what_is_lost(folder: Path, index: Path):
    import random

    pick = random.Random(1)
    state = stored_state(index)
    assert state == state_of(folder)
    assert check(folder, index, [state], pick) == []
    with open_index(index) as opened:
        opened.remove("0.md")
    assert check(folder, index, [state], pick) == ["a state that was never committed"]
    vectors = (index / VECTORS_NAME).read_bytes()
    with open_index(index) as opened, opened._catalog.write() as writer:
        writer._connection.execute("UPDATE passages SET vector = zeroblob(512) WHERE id = 30")
    assert any("wrong vectors" in found for found in check(folder, index, [state], pick))
    assert (index / VECTORS_NAME).read_bytes() == vectors


def test_a_first_sync_that_was_cut_short_embeds_only_the_rest(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    embedder = HashEmbedder()
    texts: list[str] = []
    real = embedder.embed

    def embed(these):
        if len(texts) >= 6:
            raise KeyboardInterrupt
        texts.extend(these)
        return real(these)

    monkeypatch.setattr(embedder, "embed", embed)
    monkeypatch.setattr("index.sync.EMBED_AT_ONCE", 3)
    with PassageIndex.open(tmp_path / "index", embedder=embedder) as opened:
        with pytest.raises(KeyboardInterrupt):
            opened.sync(folder)
        committed = opened.stats().documents
        assert 0 < committed < 12
        monkeypatch.undo()
        report = opened.sync(folder)
        assert (len(report.unchanged), len(report.added)) == (committed, 12 - committed)
        assert opened.verify(folder) == []


# The FAISS file


def test_a_faiss_file_cut_anywhere_missing_or_older_costs_nothing(folder: Path, index: Path):
    file = index / VECTORS_NAME
    whole = file.read_bytes()
    (folder / "0.md").unlink()
    fill(folder / "more", 12)
    with open_index(index) as opened:
        expected = opened.search("w3x3 w4x4", k=30)
        opened.sync(folder)
        newer = opened.search("w3x3 w4x4", k=60)
    assert newer != expected
    sizes = [*range(0, len(whole), len(whole) // 12), len(whole) - 1]
    for data in (None, whole, *(whole[:size] for size in sizes)):
        file.unlink()
        if data is not None:
            file.write_bytes(data)
        with open_index(index) as opened:
            assert opened.search("w3x3 w4x4", k=60) == newer
            assert opened.verify(folder) == []
            opened.sync(folder)
            assert opened.stats().vectors_behind == 0
            assert opened.verify(folder) == []
            assert len(load(file)) == opened.stats().passages


# The catalog


def test_a_damaged_page_is_told_and_never_raises_anything_else(folder: Path, index: Path):
    file = index / CATALOG_NAME
    whole = file.read_bytes()
    assert not (index / f"{CATALOG_NAME}-wal").exists()  # all of it is in the file
    told = 0
    for start in range(0, len(whole), PAGE):
        damaged = bytearray(whole)
        damaged[start : start + PAGE] = bytes(range(256)) * (PAGE // 256)
        file.write_bytes(damaged)
        try:
            with open_index(index) as opened:
                opened.search("w3x3 w4x4", k=60)
                opened.sync(folder, check=True)
                found = opened.verify(folder)
            assert found, start
        except IndexUnavailable as error:
            assert "--rebuild` makes it anew" in str(error)
            told += 1
        for path in index.glob(f"{CATALOG_NAME}-*"):
            path.unlink()
    assert told > len(whole) // PAGE // 2


def test_bits_that_flip_never_raise_anything_else(folder: Path, index: Path):
    import random

    file = index / CATALOG_NAME
    whole = file.read_bytes()
    pick = random.Random(5)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(20):
            damaged[pick.randrange(len(whole))] ^= 1 << pick.randrange(8)
        file.write_bytes(damaged)
        try:
            with open_index(index) as opened:
                opened.search("w3x3 w4x4", k=60)
                opened.verify(folder)
                opened.sync(folder, check=True)
        except ReadbackError as error:
            assert "--rebuild` makes it anew" in str(error)
        for path in index.glob(f"{CATALOG_NAME}-*"):
            path.unlink()


# Disk and permissions


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system can't be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_told_and_what_was_committed_stays(folder: Path, tiny: Path, tmp_path: Path):
    with open_index(tiny / "index") as opened:
        opened.sync(folder)
        fill(folder / "more", 200)
        with pytest.raises(IndexUnavailable, match=r"full.*free some space"):
            opened.sync(folder)
        assert opened.stats().documents >= 12
        assert opened.search("w3x3", k=1)[0].document.path == "sub/3.md"
        shutil.rmtree(folder / "more")
        shutil.copytree(tiny / "index", tmp_path / "larger")
    with open_index(tmp_path / "larger") as opened:
        opened.sync(folder, prune=True)
        assert opened.stats().documents == 12
        assert opened.verify(folder) == []


def test_a_faiss_file_that_does_not_fit_leaves_no_rest(folder: Path, index: Path):
    fill(folder / "more", 12)
    with open_index(index) as opened:
        opened.sync(folder)
        expected = len(opened.search("w3x3", k=999))
    (index / VECTORS_NAME).unlink()
    told = run_child(
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "opened = PassageIndex.open(index, embedder=HashEmbedder())\n"
        "try:\n    opened.sync(folder)\n"
        "except ReadbackError as error:\n    print(error)\n"
        "print(len(opened.search('w3x3', k=999)))\n",
        folder,
        index,
    ).splitlines()
    assert "can't be written" in told[0] and "the space on the disk" in told[0]
    assert int(told[1]) == expected
    assert not list(index.glob(f"{VECTORS_NAME}*"))


@pytest.fixture
def anywhere() -> Iterator[Path]:
    """A folder whose permissions may be changed."""
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)
        for path in Path(place).rglob("*"):
            path.chmod(0o700)


def test_a_lost_write_permission_is_told(folder: Path, index: Path, anywhere: Path):
    locked = shutil.copytree(index, anywhere / "index")
    write = "PassageIndex.open(index, embedder=HashEmbedder()).sync(folder)\n"
    code = f"try:\n    {write}except ReadbackError as error:\n    print(error)\n"
    locked.chmod(0o500)
    told = run_child(code, folder, locked, as_anyone=True)
    assert str(locked) in told and "may be written" in told
    locked.chmod(0o700)
    (locked / CATALOG_NAME).chmod(0o400)
    (folder / "0.md").unlink()
    told = run_child(code, folder, locked, as_anyone=True)
    assert str(locked) in told and "may be written" in told
    (locked / CATALOG_NAME).chmod(0o000)
    told = run_child(code, folder, locked, as_anyone=True)
    assert str(locked) in told and "may be" in told
    for path in locked.iterdir():
        path.chmod(0o600)
    assert run_child(code, folder, locked, as_anyone=True) == ""


def test_what_cannot_be_looked_at_is_kept(folder: Path, index: Path, anywhere: Path):
    docs = shutil.copytree(folder, anywhere / "docs")
    sync = (
        "with PassageIndex.open(index, embedder=HashEmbedder()) as opened:\n"
        "    report = opened.sync(folder, prune=True)\n"
        "    print(len(report.kept), len(report.removed), *report.skipped, sep='; ')\n"
    )
    own = anywhere / "own"
    assert run_child(sync, docs, own) == "0; 0\n"
    (docs / "0.md").unlink()
    (docs / "sub").chmod(0o000)
    told = run_child(sync, docs, own, as_anyone=True)
    assert told == "6; 1; ('sub', \"it can't be opened (Permission denied)\")\n"
    (docs / "sub").chmod(0o400)  # its names may be read, its files not
    told = run_child(sync, docs, own, as_anyone=True)
    assert told.startswith("6; 0; ('sub/1.md', \"it can't be opened (Permission denied)\")")
    (docs / "sub").chmod(0o700)
    docs.chmod(0o000)
    assert run_child(sync, docs, own, as_anyone=True).startswith("11; 0; ('.', ")
    docs.chmod(0o700)
    assert run_child(sync, docs, own, as_anyone=True) == "0; 0\n"
