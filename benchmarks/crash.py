"""Does a kill -9 at any moment of a sync, a rebuild or a rollback cost anything committed?

    python -m benchmarks.crash [--kills 600] [--seed 1]

A child process works and is killed after a random time: while it builds an index, makes it anew
beside the old one, puts that in its place, rolls back, brings the index up to date, or makes its
FAISS file again. After each kill the index must open and hold the last committed state to the byte;
`verify` must find nothing but the files not yet read; a search must find what brute force finds;
and the next sync must finish the rest without embedding again what was there, and leave no more
than two whole generations.
The embedder hashes words into vectors: it is the index that is tested. Prints a table; the status
is 1 when anything was lost. Needs a system with fork (Linux, macOS).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index import PassageIndex, generations, passage_index
from index.catalog import Catalog, Writer
from index.documents import parse_document
from index.vectors import VECTORS_NAME, save

DOCUMENTS = 50
PARAGRAPHS = 4
WORDS = 40  # of a paragraph: more than are joined with the next one
MOMENTS = ("build", "rebuild", "swap", "rollback", "sync", "faiss")


class HashEmbedder:
    """Counts words, each in a place and with a sign that hashes choose (Weinberger et al. 2009)."""

    name, sha256, dimension = "hashed words", "0" * 64, 128

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        found = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in zip(found, texts, strict=True):
            for word in ["", *text.lower().split()]:
                number = zlib.crc32(word.encode())
                row[number % self.dimension] += 1 if number & 2**20 else -1
        found[:, 0] += 0.5  # never all zeros
        return found / np.linalg.norm(found, axis=1, keepdims=True)


class ToldCatalog(Catalog):
    """Writes into a log what it is about to commit, and once more when it has."""

    def __init__(self, folder: Path, log: Path) -> None:
        super().__init__(folder)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    @contextmanager
    def write(self) -> Iterator[Writer]:
        with super().write() as writer:
            yield writer
            state = json.dumps({record.path: record.sha256 for record in writer.files()})
            os.write(self._log, f"{state}\n".encode())
        os.write(self._log, b"committed\n")


@dataclass(slots=True)
class Tally:
    """What the kills of one kind met."""

    kills: int = 0
    during: int = 0  # before its end
    partly: int = 0  # between its first and its last transaction, or beside a generation not whole
    torn: int = 0  # while the FAISS file, or that which names the generations, was being written
    problems: int = 0


# Documents


def write(path: Path, pick: random.Random) -> None:
    """A document of words that nothing else has, old enough to be trusted."""
    path.parent.mkdir(exist_ok=True)
    paragraphs = [
        " ".join(f"w{pick.randrange(10**6)}" for _ in range(WORDS)) + "." for _ in range(PARAGRAPHS)
    ]
    path.write_text(f"# About {path.stem}\n\n" + "\n\n".join(paragraphs), encoding="utf-8")
    then = time.time() - 60 - pick.randrange(10**6)
    os.utime(path, (then, then))


def change(folder: Path, pick: random.Random) -> None:
    """Some documents are written anew, some move, some go, some come."""
    paths = sorted(folder.rglob("*.md"))
    pick.shuffle(paths)
    for path in paths[:8]:
        write(path, pick)
    for path in paths[8:12]:
        path.rename(folder / f"moved{pick.randrange(10**9)}.md")
    for path in paths[12:18]:
        path.unlink()
    for _ in range(DOCUMENTS - len(paths) + 6):
        write(folder / "new" / f"{pick.randrange(10**9)}.md", pick)


def state_of(folder: Path) -> dict[str, str]:
    """Path and sha256 of the documents in a folder."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.md")]
    return {name: parse_document((folder / name).read_bytes(), name=name).sha256 for name in names}


# Kills


def work_and_die(
    moment: str, folder: Path, index: Path, log: Path, *, after: float | None
) -> tuple[bool, float]:
    """Works in a child that is killed so many seconds after the moment has come.

    Gives whether that was before its end, and how many seconds it lived from then on.
    """
    coming, telling = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _work(moment, folder, index, log, telling)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(telling)
    os.read(coming, 1)
    os.close(coming)
    started = time.perf_counter()
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"{moment} itself failed")
    return os.WIFSIGNALED(status), time.perf_counter() - started


def _work(moment: str, folder: Path, index: Path, log: Path, telling: int) -> None:
    """What the child does; it tells when the moment has come."""

    def told(work: Callable[..., None]) -> Callable[..., None]:
        def tell_and_work(*args: Any) -> None:
            os.write(telling, b".")
            work(*args)

        return tell_and_work

    if moment == "faiss":
        passage_index.save = told(save)
    elif moment in ("swap", "rollback"):
        generations._put = told(generations._put)
    else:
        os.write(telling, b".")
    if moment in ("rebuild", "swap"):
        PassageIndex.rebuild(index, folder, embedder=HashEmbedder())
        return
    if moment == "rollback":
        PassageIndex.rollback(index)
        return
    with PassageIndex.open(index, embedder=HashEmbedder()) as opened:
        opened._catalog = ToldCatalog(index, log)
        opened.sync(folder)


def prepare(
    moment: str, folder: Path, index: Path, pick: random.Random
) -> tuple[dict[str, str], dict[str, str]]:
    """Makes work; the index is up to date before. Gives the states before and after that work."""
    before = stored_state(index)
    if moment == "build":
        shutil.rmtree(index)
        return {}, before
    if moment == "faiss":
        (index / generations.look(index).in_use / VECTORS_NAME).unlink()
        return before, before
    change(folder, pick)
    if moment == "rollback":
        PassageIndex.rebuild(index, folder, embedder=HashEmbedder())
        return state_of(folder), before
    return before, state_of(folder)


def last_states(log: Path) -> tuple[dict[str, str] | None, dict[str, str] | None, int]:
    """The state last committed, the one that may have been, and how many commits are known."""
    lines = log.read_text(encoding="utf-8").split("\n")[:-1] if log.exists() else []
    told = [number for number, line in enumerate(lines) if line == "committed"]
    committed = json.loads(lines[told[-1] - 1]) if told else None
    intended = json.loads(lines[-1]) if lines and lines[-1] != "committed" else committed
    return committed, intended, len(told)


# Checks


def check(
    folder: Path,
    index: Path,
    allowed: Sequence[dict[str, str]],  # states, any of which the index may have
    pick: random.Random,
) -> list[str]:
    """What is wrong with an index after a kill, before and after the next sync."""
    wanted = state_of(folder)
    with PassageIndex.open(index, embedder=HashEmbedder()) as opened:
        with opened._catalog.read() as snapshot:
            found = {record.path: record.sha256 for record in snapshot.files()}
            ids, vectors = snapshot.vectors()
        problems = [] if found in allowed else ["a state that was never committed"]
        behind = tuple(f"{path}: " for path in found if found[path] != wanted.get(path))
        problems += [told for told in opened.verify(folder) if not told.startswith(behind)]
        question = HashEmbedder().embed([f"any {pick.random()}"])[0]  # (dimension,)
        hits = opened.search("what is it", k=10, vector=question)
        best = np.sort(vectors @ question)[::-1][:10] if len(ids) else np.empty(0)
        if not np.allclose([hit.dense for hit in hits], best, atol=1e-5):
            problems.append("a search that differs from brute force")

        report = opened.sync(folder)
        if not {path for path in wanted if found.get(path) == wanted[path]} <= {*report.unchanged}:
            problems.append("work done twice")
        problems += opened.verify(folder)
        with opened._catalog.read() as snapshot:
            if {record.path: record.sha256 for record in snapshot.files()} != wanted:
                problems.append("a sync that did not finish the rest")
        name = pick.choice(sorted(wanted))
        words = (folder / name).read_text(encoding="utf-8").split()[-WORDS:]
        if opened.search(" ".join(words), k=1)[0].document.path != name:
            problems.append("a document that is not found")
    if unfinished(index):
        problems.append("a generation of no use that stays")
    if (kept := generations.look(index).before) is not None:
        with PassageIndex(index, embedder=HashEmbedder(), generation=kept) as other:
            problems += other._find_problems({})
    return problems


def unfinished(index: Path) -> set[str]:
    """Generations that are neither in use nor kept."""
    known = generations.look(index)
    return {path.name for path in index.glob("generation-*")} - {known.in_use, known.before}


def run(kills: int, *, seed: int) -> dict[str, Tally]:
    pick = random.Random(seed)
    tallies = {moment: Tally() for moment in MOMENTS}
    with tempfile.TemporaryDirectory() as place:
        folder, index, log = (Path(place) / name for name in ("docs", "index", "log"))
        for number in range(DOCUMENTS):
            write(folder / f"{number}.md", pick)
        work_and_die("build", folder, index, log, after=None)
        longest = {}
        for number in range(-len(MOMENTS), kills):  # the first of each is timed, not killed
            moment = MOMENTS[number % len(MOMENTS)]
            before, goal = prepare(moment, folder, index, pick)
            log.unlink(missing_ok=True)
            if number < 0:
                longest[moment] = work_and_die(moment, folder, index, log, after=None)[1]
                continue
            after = pick.uniform(0, longest[moment])
            during, _ = work_and_die(moment, folder, index, log, after=after)
            committed, intended, commits = last_states(log)
            longest[moment] *= 1.1 if during else 0.85  # so that two thirds come before the end
            tally = tallies[moment]
            tally.kills += 1
            tally.during += during
            midway = commits > 0 and intended != goal
            tally.partly += during and (midway or bool(unfinished(index)))
            tally.torn += any(index.rglob("*.partial"))
            whole = moment in ("rebuild", "swap", "rollback")  # the one state or the other
            allowed = [committed or before, goal if whole else intended or before]
            for problem in check(folder, index, allowed, pick):
                tally.problems += 1
                print(f"{moment}, killed after {after:.4f} s: {problem}", file=sys.stderr)
    return tallies


def stored_state(index: Path) -> dict[str, str]:
    """Path and sha256 of the documents in an index."""
    catalog = Catalog(index)
    with catalog.read() as snapshot:
        stored = {record.path: record.sha256 for record in snapshot.files()}
    catalog.close()
    return stored


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    import faiss

    faiss.omp_set_num_threads(1)  # its threads do not live on in a forked child
    tallies = run(args.kills, seed=args.seed)
    print("| moment | kills | before the end | partly done | a file half written | problems |")
    print("|---|---|---|---|---|---|")
    for moment, tally in tallies.items():
        print(
            f"| {moment} | {tally.kills} | {tally.during} | {tally.partly} | {tally.torn}"
            f" | {tally.problems} |"
        )
    return int(any(tally.problems for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
