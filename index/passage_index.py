"""The index of folders: `sync` brings it up to date, `search` finds passages for a question.

The one class of this package that others use. It lives in a folder of its own: the catalog (the
truth), the FAISS file (made from it), the writer's lock and who holds it; after a rebuild the first
two lie in a folder inside (`generations`). Several threads may search one PassageIndex at once, and
several processes one index; one writer at a time changes it. A search sees one whole state of the
index, always the newest, also when the index was rebuilt, or deleted and made again, since it was
opened.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
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

from index import generations
from index.catalog import Catalog, Manifest, Snapshot, check_embedder, check_format
from index.checks import check_files, check_passages, check_vectors
from index.documents import Document
from index.embedder import DEFAULT, PUBLISHED_SHA256, Embedder, load_embedder
from index.errors import FolderError, IndexBusy, IndexUnavailable, QuestionError
from index.generations import CATALOG_NAME, unwritable
from index.passages import SPLITTER_VERSION, embedding_text
from index.ranking import CANDIDATES, Days, Hit, best_passages
from index.rebuild import as_changes, find_lost, stored, take_over
from index.sync import (
    SyncReport,
    check_owner,
    known_folders,
    missing,
    sync_folder,
    watch_folders,
)
from index.vectors import VECTORS_NAME, Footer, VectorIndex, build, describe, load, save

MAX_QUESTION = 2_000  # characters
MAX_LAG = 0.05  # share of the vectors that the FAISS file may lack or hold in vain
LOCK_NAME = "writer.lock"
HOLDER_NAME = "writer.json"  # who holds the lock; of a dead holder it tells nothing
TRIED = 20  # passages of a new index that are searched for
FOUND = 0.9  # cosine of such a search and what it must find
SHOWN = 5  # problems that an error names
LOCK_SECONDS = 5.0  # how long a writer waits for another

Date = str | datetime.date  # yyyy-mm-dd or the thing itself


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
    in_use: str  # the generation's folder inside path; "." until the first rebuild
    before: str | None  # the one that a rollback brings back


class PassageIndex:
    """Passages of a folder's documents, found by meaning and by words."""

    def __init__(
        self, path: Path, *, embedder: Embedder | None = None, generation: str | None = None
    ) -> None:
        """Use `open`, which checks what it finds."""
        self.path = path
        self._catalog = Catalog(path, generation=generation)
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

    @classmethod
    def rebuild(
        cls,
        path: str | Path,
        folder: str | Path | None = None,
        *,
        name: str | None = None,
        embedder: Embedder | None = None,
        prune: bool = False,
        progress: bool = False,
    ) -> SyncReport:
        """Makes the index anew with this embedder, beside the one in use.

        From the folder, which may have a name as for `sync`, and all others that the index holds.
        The new one is checked against the old one and takes its place all at once; until then the
        old one is searched. It stays, so that `rollback` can bring it back; one before it goes.
        Documents whose files can't be read are taken over from it. Also for an index that `open`
        refuses. Raises what `sync` does, and IndexUnavailable when the check finds something.
        """
        with cls(Path(path), embedder=embedder) as index:
            if folder is not None and not Path(folder).is_dir():
                raise missing(Path(folder))
            if folder is None and not index.path.is_dir():
                raise IndexUnavailable(f"there is no index at {path}; sync to make it")
            index._make_folder()
            with index._writer_lock():
                folders = index._chosen(folder, name, stored(index._catalog).folders)
                return index._rebuild(folders, prune=prune, progress=progress)

    @classmethod
    def rollback(cls, path: str | Path) -> IndexStats:
        """Puts the generation before the last rebuild in use again, and keeps the other.

        Gives what the index now is, which may be of another embedder or behind its folder. Raises
        IndexUnavailable when there is no such generation, or it is damaged.
        """
        with cls(Path(path)) as index:
            if not index.path.is_dir():
                raise IndexUnavailable(f"there is no index at {path}; sync to make it")
            with index._writer_lock():
                if (before := generations.look(index.path).before) is not None:
                    with cls(index.path, generation=before) as other:
                        other._check_whole()
                generations.swap(index.path)
            return index.stats()

    def _make_folder(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _prepare(self) -> None:
        self._make_folder()
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
        check_format(manifest, self.path)
        name, sha256 = DEFAULT, PUBLISHED_SHA256
        if self._embedder is not None:
            name, sha256 = self._embedder.name, self._embedder.sha256
        check_embedder(manifest, name, sha256)

    def folders(self) -> dict[str, Path]:
        """The folders whose documents the index holds, by name; a single one may have none, ""."""
        with self._read() as snapshot:
            return known_folders(snapshot.manifest(), self.path)

    def sync(
        self,
        folder: str | Path | None = None,
        *,
        name: str | None = None,
        check: bool = False,
        dry_run: bool = False,
        prune: bool = False,
        progress: bool = False,
    ) -> SyncReport:
        """Makes the index hold what the folder holds, reading only files that changed.

        An index of several folders has a `name` for each, which is told once and then stands
        above the paths of its documents; without `folder`, each that the index holds is synced,
        and one that fails is among the skipped unless all do.

        `check` reads all of them; `dry_run` reports what would change and writes nothing; `prune`
        removes what is gone, however much it is; `progress` draws a bar on stderr. Raises
        FolderError when the folder is missing or holds nothing readable, unless it is to be
        pruned, or when the index is another folder's (it then keeps what it has), IndexBusy when
        another process is writing it, and IndexUnavailable when it can't be written.
        """
        if folder is not None and not dry_run:
            if Path(folder).is_dir():
                self._prepare()  # the index folder may have been deleted since
            elif not self.path.is_dir():
                raise missing(Path(folder))
        folders = self._chosen(folder, name, self.folders())
        if dry_run:
            return self._sync(folders, check=check, dry_run=True, prune=prune, progress=progress)
        with self._writer_lock():
            if self._is_outdated() and any(map(Path.is_dir, folders.values())):
                return self._rebuild(folders, prune=prune, progress=progress)
            report = self._sync(folders, check=check, prune=prune, progress=progress)
            self._write_vectors()
        return report

    def _is_outdated(self) -> bool:
        """Whether the passages are those of another splitter."""
        with self._read() as snapshot:
            facts = snapshot.manifest().items()
            splitters = {value for key, value in facts if key.partition("/")[0] == "splitter"}
            return splitters != {SPLITTER_VERSION} and snapshot.count("documents") > 0

    def _rebuild(self, folders: dict[str, Path], *, prune: bool, progress: bool) -> SyncReport:
        """Makes the next generation, of these folders and all others that the index holds, and
        puts it in use. The caller holds the writer's lock.
        """
        old = stored(self._catalog)
        if old.records:
            for name, folder in folders.items():
                if folder.is_dir():
                    check_owner(folder, self._catalog, name, prune=prune)
        folders = {**old.folders, **folders}
        embedder = self._get_embedder()
        with (
            generations.building(self.path) as generation,
            type(self)(self.path, embedder=embedder, generation=generation) as fresh,
        ):
            fresh._catalog.create()
            take_over(self._catalog, fresh._catalog, old, folders, embedder)
            report = fresh._sync(folders, prune=prune, progress=progress)
            fresh._write_vectors()
            new = stored(fresh._catalog)
            problems = find_lost(report, old, new, folders)
            problems += fresh._find_problems({}) + fresh._try_out()
            if problems:
                raise IndexUnavailable(
                    f"the index {self.path} was made anew and is not whole, so the old one stays:"
                    f" {'; '.join(problems[:SHOWN])}; try again"
                )
        return as_changes(report, old, new)

    def _try_out(self) -> list[str]:
        """Searches some passages by their own words; problems in plain words."""
        with self._read() as snapshot:
            passages = [*snapshot.passages(snapshot.spread(TRIED)).values()]
        texts = [embedding_text(passage.document.title, passage.text) for passage in passages]
        problems = []
        for passage, vector in zip(passages, self._get_embedder().embed(texts), strict=True):
            hits = self.search(passage.text[:MAX_QUESTION], k=CANDIDATES, vector=vector)
            if max((hit.dense for hit in hits), default=0.0) < FOUND:
                problems.append(f"{passage.document.path}: it is not found by its own words")
        return problems

    def _check_whole(self) -> None:
        """Raises IndexUnavailable unless all of it can be read."""
        try:
            with self._catalog.read() as snapshot:
                check_format(snapshot.manifest(), self._catalog.place)
                problems = snapshot.check()
        except IndexUnavailable as error:
            problems = [str(error)]
        if problems:
            raise IndexUnavailable(f"{self._catalog.place} can't be brought back: {problems[0]}")

    def _chosen(
        self, folder: str | Path | None, name: str | None, known: dict[str, Path]
    ) -> dict[str, Path]:
        """The folder with the name that it has or shall have; all that the index holds for None."""
        if folder is None:
            folders = {key: path for key, path in known.items() if name in (None, key)}
            if not folders:
                what = f"the folder {name!r}" if name else "documents"
                raise FolderError(f"the index {self.path} does not hold {what}; name a folder")
            return folders
        if not name:
            place = Path(folder).resolve()
            name = next((key for key, path in known.items() if path == place), "")
            if not name and any(known):
                raise FolderError(
                    f"the index {self.path} holds folders with names ({', '.join(known)});"
                    f" give {folder} a name, too"
                )
        return {name: Path(folder)}

    def _sync(self, folders: dict[str, Path], **options: bool) -> SyncReport:
        """The reports on all of them, joined."""
        reports: list[SyncReport] = []
        errors: dict[str, FolderError] = {}
        for name, folder in folders.items():
            try:
                reports.append(
                    sync_folder(folder, self._catalog, self._get_embedder, name=name, **options)
                )
            except FolderError as error:
                errors[name] = error
        if not reports:
            raise next(iter(errors.values()))
        reports.append(SyncReport(skipped=tuple((key, str(e)) for key, e in errors.items())))
        return SyncReport(
            **{
                change.name: tuple(
                    itertools.chain.from_iterable(
                        getattr(report, change.name) for report in reports
                    )
                )
                for change in dataclasses.fields(SyncReport)
            }
        )

    def watch(self, folder: str | Path | None = None) -> Iterator[bool]:
        """Tells, about twice a second, whether files have changed in the folder, or without one
        in those that the index holds.

        Sync after the first of these, whatever it says: changes before it may not have been
        noticed. Ends with KeyboardInterrupt.
        """
        folders = [Path(folder)] if folder is not None else self.folders().values()
        return watch_folders(filter(Path.is_dir, folders), leave_out=self.path)

    def remove(self, path: str) -> bool:
        """Removes a document until the next sync finds it again; False when there is none."""
        with self._writer_lock(), self._catalog.write() as writer:
            return writer.remove(path)

    @property
    def embedder(self) -> str:
        """The embedder's name; loads it, as `embed` does."""
        return self._get_embedder().name

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
        """The k best passages, best first, or all when they are fewer.

        Of passages that are copies of one another, exactly or nearly, the best is there and tells
        where the others stand (at most `ranking.MAX_COPIES`); of equally good ones it is the
        earliest. `vector` (dimension,) spares embedding the question again. `after` and `before`,
        days that both count in, leave out documents of other days and those without a date. Raises
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
            return best_passages(snapshot, vectors, question, vector, k=k, days=days)

    def text(self, path: str) -> str | None:
        """The full text of a document."""
        document = self.document(path)
        return document.text if document else None

    def document(self, path: str) -> Document | None:
        with self._read() as snapshot:
            return snapshot.document(path)

    def stats(self) -> IndexStats:
        vectors = self._load_vectors()
        found, place = generations.look(self.path), self._catalog.place
        with self._catalog.read() as snapshot:
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
            catalog_bytes=_size(place / CATALOG_NAME) + _size(place / f"{CATALOG_NAME}-wal"),
            vectors_bytes=_size(place / VECTORS_NAME),
            vectors_behind=behind,
            in_use=found.in_use,
            before=found.before,
        )

    def verify(self, folder: str | Path | None = None) -> list[str]:
        """Problems in plain words: stored text, offsets and hashes against the files, read afresh,
        and the FAISS file against the catalog. Empty when all is as it should be. The files are
        those of the folder, or without one of all that the index holds.
        """
        return self._find_problems(self._chosen(folder, None, self.folders()))

    def _find_problems(self, folders: dict[str, Path]) -> list[str]:
        """What `verify` gives, with the files of these folders."""
        vectors = self._load_vectors()
        with self._read() as snapshot:
            problems = [*snapshot.check(), *check_files(snapshot, folders)]
            found, in_catalog = check_passages(snapshot)
            problems += found
            if vectors.catalog and _trusted(vectors, snapshot) is not vectors:
                return [*problems, f"{VECTORS_NAME} belongs to another state of the index; sync"]
        return [*problems, *check_vectors(vectors, in_catalog)]

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
        path = self._catalog.place / VECTORS_NAME
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
        footer = describe(self._catalog.place / VECTORS_NAME)
        with self._read() as snapshot:
            if not _is_of(snapshot, footer):
                footer = Footer()
            total = snapshot.count("passages")
            missing = snapshot.count("passages", after=footer.last)
            in_vain = footer.count - (total - missing)
            if missing + in_vain <= MAX_LAG * total:
                return
            manifest = snapshot.manifest()
            built = build(
                snapshot.vector_portions,
                total,
                catalog=str(manifest["catalog"]),
                generation=int(manifest["generation"]),
            )
        try:
            save(self._catalog.place / VECTORS_NAME, built)
        except OSError as error:
            raise unwritable(self.path, error) from error

    @contextmanager
    def _writer_lock(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / LOCK_NAME, timeout=LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout as error:
            raise IndexBusy(
                f"another process{_holder(self.path / HOLDER_NAME)} is writing the index"
                f" {self.path}; try again when it is done"
            ) from error
        except OSError as error:
            raise unwritable(self.path, error) from error
        with lock:
            lock.release()  # the count of `acquire` above
            generations.clean(self.path)  # of what a writer that died has left
            with suppress(OSError):  # without it, others are only told less
                _write_holder(self.path / HOLDER_NAME)
            try:
                yield
            finally:
                with suppress(OSError):
                    (self.path / HOLDER_NAME).unlink()


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


def check_days(after: Date | None, before: Date | None) -> Days:
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
