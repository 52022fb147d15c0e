"""The index of a folder: `sync` brings it up to date, `search` finds passages for a question.

The one class of this package that others use. It lives in a folder of its own: the catalog (the
truth), the FAISS file (made from it), the writer's lock and who holds it. Several threads may
search one PassageIndex at once, and several processes one index; one writer at a time changes it.
A search sees one whole state of the index, always the newest, also when the folder was deleted and
made again since it was opened.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.catalog import (
    CATALOG_NAME,
    SCHEMA_VERSION,
    Catalog,
    Manifest,
    Snapshot,
    StoredPassage,
    check_embedder,
)
from index.documents import Document, DocumentInfo, load_document
from index.embedder import DEFAULT, PUBLISHED_SHA256, Embedder, load_embedder
from index.errors import DocumentError, IndexUnavailable, QuestionError
from index.sync import SyncReport, missing, sync_folder, watch_folder
from index.vectors import VECTORS_NAME, Footer, VectorIndex, build, describe, load, save

ALPHA = 0.6  # weight of the dense score; the rest is that of BM25
CANDIDATES = 100  # passages taken from each of the two lists, at least
MAX_QUESTION = 2_000  # characters
MAX_LAG = 0.05  # share of the vectors that the FAISS file may lack or hold in vain
LOCK_NAME = "writer.lock"
HOLDER_NAME = "writer.json"  # who holds the lock; of a dead holder it tells nothing
LOCK_SECONDS = 5.0  # how long a writer waits for another

Date = str | datetime.date  # yyyy-mm-dd or the thing itself


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that a search found."""

    document: DocumentInfo
    text: str
    start: int  # code points in the document's text
    end: int
    score: float  # 0..1: dense and bm25, each divided by the best of its list, weighted and added
    dense: float  # cosine of question and passage
    bm25: float  # 0 for a passage that BM25 did not bring


@dataclass(frozen=True, slots=True)
class IndexStats:
    """The state of an index."""

    path: str  # the index folder
    documents: int
    passages: int
    embedder: str | None  # None before the first sync
    embedder_sha256: str | None
    dimension: int | None
    generation: int  # rises with every change
    catalog_bytes: int
    vectors_bytes: int  # of the FAISS file; 0 when there is none
    vectors_behind: int  # passages that the FAISS file lacks


class PassageIndex:
    """Passages of a folder's documents, found by meaning and by words."""

    def __init__(self, path: Path, *, embedder: Embedder | None = None) -> None:
        """Use `open`, which checks what it finds."""
        self.path = path
        self._catalog = Catalog(path)
        self._embedder = embedder
        self._lock = threading.Lock()  # over the three fields around it
        self._vectors = VectorIndex()
        self._vectors_stamp: tuple[int, int, int] | None = None

    @classmethod
    def open(cls, path: str | Path, *, embedder: Embedder | None = None) -> Self:
        """Opens the index folder, and makes it where it is missing.

        The embedder is the default one unless given, and is loaded when first needed. Raises
        IndexUnavailable when the folder can't be used or was made with another embedder.
        """
        index = cls(Path(path), embedder=embedder)
        try:
            index._prepare()
        except BaseException:
            index.close()
            raise
        return index

    def _prepare(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        if not self._catalog.exists():
            with self._writer_lock():
                self._catalog.create()
        with self._read():
            pass

    @contextmanager
    def _read(self) -> Iterator[Snapshot]:
        """The catalog as it is now, which may be another one than when it was opened."""
        with self._catalog.read() as snapshot:
            self._check(snapshot.manifest())
            yield snapshot

    def _check(self, manifest: Manifest) -> None:
        if manifest["schema"] != SCHEMA_VERSION:
            raise IndexUnavailable(
                f"the index {self.path} has the format {manifest['schema']}, this version of"
                f" readback reads {SCHEMA_VERSION}; delete that folder and sync again"
            )
        name, sha256 = DEFAULT, PUBLISHED_SHA256
        if self._embedder is not None:
            name, sha256 = self._embedder.name, self._embedder.sha256
        check_embedder(manifest, name, sha256)

    def sync(
        self,
        folder: str | Path,
        *,
        check: bool = False,
        dry_run: bool = False,
        prune: bool = False,
        progress: bool = False,
    ) -> SyncReport:
        """Makes the index hold what the folder holds, reading only files that changed.

        `check` reads all of them; `dry_run` reports what would change and writes nothing; `prune`
        removes what is gone, however much it is; `progress` draws a bar on stderr. Raises
        FolderError when the folder is missing or holds nothing readable, unless it is to be
        pruned, or when the index is another folder's (it then keeps what it has), and
        IndexUnavailable when the index can't be written.
        """
        if dry_run:
            return self._sync(folder, check=check, dry_run=True, prune=prune, progress=progress)
        if Path(folder).is_dir():
            self._prepare()  # the index folder may have been deleted since
        elif not self.path.is_dir():
            raise missing(Path(folder))
        with self._writer_lock():
            report = self._sync(folder, check=check, prune=prune, progress=progress)
            self._write_vectors()
        return report

    def _sync(self, folder: str | Path, **options: bool) -> SyncReport:
        return sync_folder(Path(folder), self._catalog, self._get_embedder, **options)

    def watch(self, folder: str | Path) -> Iterator[bool]:
        """Tells, about twice a second, whether the folder's files have changed.

        Sync after the first of these, whatever it says: changes before it may not have been
        noticed. Ends with KeyboardInterrupt.
        """
        return watch_folder(Path(folder), leave_out=self.path)

    def remove(self, path: str) -> bool:
        """Removes a document until the next sync finds it again; False when there is none."""
        with self._writer_lock(), self._catalog.write() as writer:
            return writer.remove(path)

    def embed(self, question: str) -> NDArray[np.float32]:
        """The question's vector (dimension,). Raises QuestionError as `search` does."""
        vectors = self._get_embedder().embed([check_question(question)])  # (1, dimension)
        return vectors.reshape(-1)

    def search(
        self,
        question: str,
        *,
        k: int = 8,
        vector: NDArray[np.float32] | None = None,
        after: Date | None = None,
        before: Date | None = None,
    ) -> list[Hit]:
        """The k best passages, best first, or all when they are fewer; of equal texts one.

        `vector` (dimension,) spares embedding the question again. `after` and `before`, days
        that both count in, leave out documents of other days and those without a date. Raises
        QuestionError for a question that is empty or longer than MAX_QUESTION, and for a day that
        is none.
        """
        question = check_question(question)
        days = check_days(after, before)
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        vector = self.embed(question) if vector is None else vector
        vectors = self._load_vectors()  # before the snapshot: it may know more, never less
        with self._read() as snapshot:
            vectors = self._extend(vectors, snapshot)
            among = snapshot.dated(after=days[0], before=days[1]) if any(days) else None
            total = len(vectors) if among is None else len(among)
            wanted = max(CANDIDATES, 2 * k)
            while True:
                wanted = min(wanted, total)
                near = _nearest(snapshot, vectors, vector, wanted, among)
                bm25 = dict(
                    snapshot.find_words(question, limit=wanted, after=days[0], before=days[1])
                )
                hits = _rank(snapshot, vector, near, bm25)
                if len(hits) >= k or wanted == total:
                    return hits[:k]
                wanted *= 4

    def text(self, path: str) -> str | None:
        """The full text of a document."""
        document = self.document(path)
        return document.text if document else None

    def document(self, path: str) -> Document | None:
        with self._read() as snapshot:
            return snapshot.document(path)

    def stats(self) -> IndexStats:
        vectors = self._load_vectors()
        with self._read() as snapshot:
            vectors = _trusted(vectors, snapshot)
            manifest = snapshot.manifest()
            documents, passages = snapshot.count("documents"), snapshot.count("passages")
            behind = snapshot.count("passages", after=vectors.last_in_file)
        return IndexStats(
            path=str(self.path),
            documents=documents,
            passages=passages,
            embedder=_text(manifest.get("embedder")),
            embedder_sha256=_text(manifest.get("embedder_sha256")),
            dimension=int(manifest["dimension"]) if "dimension" in manifest else None,
            generation=int(manifest["generation"]),
            catalog_bytes=_size(self.path / CATALOG_NAME)
            + _size(self.path / f"{CATALOG_NAME}-wal"),
            vectors_bytes=_size(self.path / VECTORS_NAME),
            vectors_behind=behind,
        )

    def verify(self, folder: str | Path) -> list[str]:
        """Problems in plain words: stored text, offsets and hashes against the files, read afresh,
        and the FAISS file against the catalog. Empty when all is as it should be.
        """
        vectors = self._load_vectors()
        with self._read() as snapshot:
            problems = snapshot.check()
            stored = {}  # id -> vector
            for document in snapshot.documents():
                problems += _check_file(document, Path(folder))
                for number, passage in snapshot.passages_of(document.path):
                    stored[number] = passage.vector
                    problems += _check_passage(passage, document)
            if vectors.catalog and _trusted(vectors, snapshot) is not vectors:
                return [*problems, f"{VECTORS_NAME} belongs to another state of the index; sync"]
        ids, found = vectors.file_vectors()
        wrong = sum(
            not np.array_equal(vector, stored[number])
            for number, vector in zip(ids.tolist(), found, strict=True)
            if number in stored
        )
        due = {number for number in stored if number <= vectors.last_in_file}
        lost = len(due - {*ids.tolist()})
        if wrong or lost:
            problems.append(
                f"{VECTORS_NAME} has {wrong} wrong vectors and lacks {lost};"
                " delete that file and sync again"
            )
        return problems

    def close(self) -> None:
        self._catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _get_embedder(self) -> Embedder:
        with self._lock:
            if self._embedder is None:
                self._embedder = load_embedder()
            return self._embedder

    def _load_vectors(self) -> VectorIndex:
        """What the FAISS file holds, read again when another process has replaced it.

        A damaged one is removed, so that the next sync makes it again.
        """
        path = self.path / VECTORS_NAME
        with self._lock:
            stamp = _stamp(path)
            if stamp != self._vectors_stamp:
                self._vectors, self._vectors_stamp = load(path), stamp
                if not self._vectors.catalog and stamp == _stamp(path):
                    with suppress(OSError):
                        path.unlink()
            return self._vectors

    def _extend(self, vectors: VectorIndex, snapshot: Snapshot) -> VectorIndex:
        """These vectors and those that the catalog has more; kept for the next search."""
        known = _trusted(vectors, snapshot)
        extended = known.extended(*snapshot.vectors(after=known.last))
        extended = replace(extended, generation=int(snapshot.manifest()["generation"]))
        with self._lock:
            if self._vectors is vectors:
                self._vectors = extended
        return extended

    def _write_vectors(self) -> None:
        """Makes the FAISS file again when it lags too far behind the catalog."""
        footer = describe(self.path / VECTORS_NAME)
        with self._read() as snapshot:
            if not _is_of(snapshot, footer):
                footer = Footer()
            total = snapshot.count("passages")
            missing = snapshot.count("passages", after=footer.last)
            in_vain = footer.count - (total - missing)
            if missing + in_vain <= MAX_LAG * total:
                return
            manifest = snapshot.manifest()
            everything = snapshot.vectors()
        built = build(
            *everything,
            catalog=str(manifest["catalog"]),
            generation=int(manifest["generation"]),
        )
        try:
            save(self.path / VECTORS_NAME, built)
        except OSError as error:
            raise self._unwritable(error) from error

    @contextmanager
    def _writer_lock(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / LOCK_NAME, timeout=LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout as error:
            raise IndexUnavailable(
                f"another process{_holder(self.path / HOLDER_NAME)} is writing the index"
                f" {self.path}; try again when it is done"
            ) from error
        except OSError as error:
            raise self._unwritable(error) from error
        with lock:
            lock.release()  # the count of `acquire` above
            with suppress(OSError):  # without it, others are only told less
                _write_holder(self.path / HOLDER_NAME)
            try:
                yield
            finally:
                with suppress(OSError):
                    (self.path / HOLDER_NAME).unlink()

    def _unwritable(self, error: OSError) -> IndexUnavailable:
        return IndexUnavailable(
            f"the index folder {self.path} can't be written ({error.strerror});"
            " check its permissions and the space on the disk, or name another folder"
        )


def check_question(question: str) -> str:
    """The question without outer white space and lone surrogates. Raises QuestionError."""
    if len(question) > MAX_QUESTION:
        raise QuestionError(
            f"the question has {len(question):,} characters and the limit is {MAX_QUESTION:,};"
            " shorten it"
        )
    question = question.encode(errors="replace").decode().strip()
    if not question:
        raise QuestionError("the question is empty; ask one in words")
    return question


def check_days(after: Date | None, before: Date | None) -> tuple[str | None, str | None]:
    """Both as yyyy-mm-dd. Raises QuestionError for what is no day, or leaves none between."""
    first, last = _day("after", after), _day("before", before)
    if first and last and first > last:
        raise QuestionError(f"no day lies between after={first} and before={last}; swap them")
    return first, last


def _day(name: str, value: Date | None) -> str | None:
    if value is None:
        return None
    with suppress(ValueError, TypeError):
        if isinstance(value, datetime.date):
            return value.isoformat()[:10]
        if re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
            return datetime.date.fromisoformat(value).isoformat()
    raise QuestionError(f"{name}={value!r} is not a day; write it as yyyy-mm-dd: 2022-04-28")


def _write_holder(path: Path) -> None:
    now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    facts = {"pid": os.getpid(), "host": socket.gethostname(), "since": now}
    path.write_text(json.dumps(facts), encoding="utf-8")


def _holder(path: Path) -> str:
    """Who holds the writer's lock, for a message; "" when that isn't told."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return f" ({facts['pid']} on {facts['host']}, since {facts['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _trusted(vectors: VectorIndex, snapshot: Snapshot) -> VectorIndex:
    """These vectors, or none if they are of another catalog or of a state that this one lost."""
    if not _is_of(snapshot, vectors):
        return VectorIndex(catalog=str(snapshot.manifest()["catalog"]))
    return vectors


def _is_of(snapshot: Snapshot, vectors: VectorIndex | Footer) -> bool:
    """Whether vectors are those of this catalog, in this state or an earlier one."""
    manifest = snapshot.manifest()
    earlier = vectors.generation <= int(manifest["generation"])
    return earlier and vectors.catalog == manifest["catalog"]


def _nearest(
    snapshot: Snapshot,
    vectors: VectorIndex,
    vector: NDArray[np.float32],  # (dimension,)
    wanted: int,
    among: NDArray[np.int64] | None,  # (m,), rising; None: all
) -> list[int]:
    """Ids of the nearest passages that the snapshot has, best first."""
    asked = wanted
    while True:
        ids = vectors.search(vector, asked, among=among)[0].tolist()
        existing = snapshot.existing(ids)
        if len(existing) >= wanted or asked >= len(vectors):
            return [number for number in ids if number in existing][:wanted]
        asked *= 2


def _rank(
    snapshot: Snapshot,
    vector: NDArray[np.float32],  # (dimension,)
    near: list[int],  # ids
    bm25: dict[int, float],  # id -> score
) -> list[Hit]:
    """Passages by the weighted sum of both scores, each divided by the best of its list."""
    stored = snapshot.passages([*dict.fromkeys([*near, *bm25])])
    dense = {number: float(passage.vector @ vector) for number, passage in stored.items()}
    best_dense = max(dense.values(), default=0.0)
    best_bm25 = max(bm25.values(), default=0.0)

    def score(number: int) -> float:
        meaning = max(dense[number], 0.0) / best_dense if best_dense > 0 else 0.0
        words = bm25.get(number, 0.0) / best_bm25 if best_bm25 > 0 else 0.0
        return ALPHA * meaning + (1 - ALPHA) * words

    hits: dict[str, Hit] = {}  # by text: of equal ones the best
    for number in sorted(stored, key=lambda number: (-score(number), -dense[number], number)):
        passage = stored[number]
        hit = Hit(
            document=passage.document,
            text=passage.text,
            start=passage.start,
            end=passage.end,
            score=score(number),
            dense=dense[number],
            bm25=bm25.get(number, 0.0),
        )
        hits.setdefault(passage.text, hit)
    return list(hits.values())


def _check_file(document: Document, folder: Path) -> list[str]:
    """What differs between a stored document and its file."""
    path = document.path
    try:
        fresh = load_document(folder / path, name=path)
    except DocumentError as error:
        return [f"{path}: {error}; sync again"]
    if fresh.sha256 != document.sha256:
        return [f"{path}: the file has changed since it was read; sync again"]
    if fresh.text != document.text:
        return [f"{path}: the stored text is not what the file holds; delete the index and sync"]
    return []


def _check_passage(passage: StoredPassage, document: Document) -> list[str]:
    """Whether a stored passage is the slice of its document that it says."""
    place = f"{document.path}: the passage at {passage.start} to {passage.end}"
    problems = []
    if document.text[passage.start : passage.end] != passage.text or not passage.text:
        problems.append(f"{place} is not the text that stands there; delete the index and sync")
    if not abs(float(np.linalg.norm(passage.vector)) - 1) < 1e-3:
        problems.append(f"{place} has a vector that is not of length 1; delete the index and sync")
    return problems


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Tells whether a file was replaced; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _text(value: str | int | None) -> str | None:
    return None if value is None else str(value)
