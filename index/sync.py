"""Brings a catalog up to date with a folder, reading and embedding only what changed.

A file that can't be read is reported with the reason and never stops the others. Not for
searching, and not for the FAISS file or the lock (`passage_index`).
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from index.catalog import Catalog, FileRecord
from index.documents import SUFFIXES, Document, name_title, parse_document, read_bytes
from index.embedder import Embedder
from index.errors import DocumentError, FolderError
from index.passages import SPLITTER_VERSION, Passage, embedding_text, split_passages

if TYPE_CHECKING:
    from tqdm import tqdm

EMBED_AT_ONCE = 256  # passages gathered from several documents before they are embedded
SETTLED_NS = 2 * 10**9  # a file younger than this may change again without a new time stamp
SHOWN = 5  # skipped files that an error names


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did; paths are relative to the folder."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()  # where they are now
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()  # path and reason


@dataclass(frozen=True, slots=True)
class _Stamp:
    """By what a changed file is known without reading it."""

    size: int  # bytes
    mtime_ns: int
    settled: bool  # whether the time is old enough to show the next change

    @property
    def stored_mtime_ns(self) -> int:
        """What the catalog keeps; 0 equals no file's time, so the next sync reads again."""
        return self.mtime_ns if self.settled else 0


@dataclass(frozen=True, slots=True)
class _Pending:
    """A document that waits to be embedded and stored."""

    document: Document
    passages: list[Passage]
    stamp: _Stamp


def sync_folder(
    folder: Path,
    catalog: Catalog,
    embedder: Callable[[], Embedder],  # called when there is something to embed
    *,
    check: bool = False,  # read every file, whatever its size and time say
    progress: bool = False,  # draw a bar on stderr
) -> SyncReport:
    """Makes the catalog hold what the folder holds. The caller holds the writer's lock.

    Raises FolderError for a folder that is missing or holds nothing readable; the catalog then
    keeps what it has.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise FolderError(f"{folder} {what}; name the folder that holds your documents")
    from tqdm import tqdm

    files, skipped = _list_files(folder, leave_out=catalog.folder)
    with tqdm(
        total=len(files), desc="Syncing", unit="file", disable=not progress, file=sys.stderr
    ) as bar:
        run = _Run(folder, catalog, embedder, bar, skipped)
        run.take_all(files, check=check)
        return run.finish()


class _Run:
    """One sync: each file is taken in turn, and then what vanished is removed."""

    def __init__(
        self,
        folder: Path,
        catalog: Catalog,
        embedder: Callable[[], Embedder],
        bar: tqdm[None],
        skipped: list[tuple[str, str]],
    ) -> None:
        self._folder = folder
        self._catalog = catalog
        self._embedder = embedder
        self._bar = bar
        self._pending: list[_Pending] = []
        with catalog.read() as snapshot:
            self._known = {record.path: record for record in snapshot.files()}
            self._same_splitter = snapshot.manifest().get("splitter") == SPLITTER_VERSION
        self._by_hash: dict[str, list[str]] = {}
        for record in self._known.values():
            self._by_hash.setdefault(record.sha256, []).append(record.path)
        self._vanished: set[str] = set()
        self._added: list[str] = []
        self._changed: list[str] = []
        self._moved: list[str] = []
        self._unchanged: list[str] = []
        self._skipped = skipped

    def take_all(self, files: dict[str, _Stamp], *, check: bool) -> None:
        self._vanished = self._known.keys() - files.keys()
        for path, stamp in files.items():
            known = self._known.get(path)
            same = known and (known.size, known.mtime_ns) == (stamp.size, stamp.mtime_ns)
            if same and self._same_splitter and not check:
                self._unchanged.append(path)
                self._bar.update()
                continue
            try:
                self._read(path, stamp)
            except DocumentError as error:
                self._skipped.append((path, str(error)))
                self._bar.update()
        self._flush()

    def _read(self, path: str, stamp: _Stamp) -> None:
        """Reads one file: it is new, changed, moved or, after all, unchanged."""
        data = read_bytes(self._folder / path)
        sha256 = hashlib.sha256(data).hexdigest()
        known = self._known.get(path)
        source = self._source_of(path, sha256)
        if source is not None and self._same_splitter:
            with self._catalog.write() as writer:
                writer.move(source, path, size=stamp.size, mtime_ns=stamp.stored_mtime_ns)
            self._vanished.discard(source)
            (self._unchanged if source == path else self._moved).append(path)
            self._bar.update()
            return
        try:
            document = parse_document(data, name=path)
        except DocumentError:
            if known:  # what is stored is no longer what the file holds
                self._vanished.add(path)
            raise
        self._pending.append(_Pending(document, split_passages(document), stamp))
        (self._changed if known else self._added).append(path)
        if sum(len(item.passages) for item in self._pending) >= EMBED_AT_ONCE:
            self._flush()

    def _source_of(self, path: str, sha256: str) -> str | None:
        """The stored document that this file holds: under its own path or one that vanished."""
        if path in self._known:
            return path if self._known[path].sha256 == sha256 else None
        for old in self._by_hash.get(sha256, ()):
            if old in self._vanished and _reads_the_same(self._known[old], path):
                return old
        return None

    def _flush(self) -> None:
        """Embeds and stores what waits, each document in a transaction of its own."""
        if not self._pending:
            return
        embedder = self._embedder()
        vectors = embedder.embed(
            [
                embedding_text(item.document.title, passage.text)
                for item in self._pending
                for passage in item.passages
            ]
        )  # (passages of all, dimension)
        start = 0
        for item in self._pending:
            end = start + len(item.passages)
            with self._catalog.write() as writer:
                writer.claim(embedder.name, embedder.sha256, embedder.dimension)
                writer.put(
                    item.document,
                    item.passages,
                    vectors[start:end],
                    size=item.stamp.size,
                    mtime_ns=item.stamp.stored_mtime_ns,
                )
            start = end
            self._bar.update()
        self._pending = []

    def finish(self) -> SyncReport:
        """Removes what vanished, unless nothing at all is left."""
        if not (self._added or self._changed or self._moved or self._unchanged):
            raise FolderError(self._nothing_readable())
        for path in sorted(self._vanished):
            with self._catalog.write() as writer:
                writer.remove(path)
        if not self._same_splitter:
            with self._catalog.write() as writer:
                writer.put_manifest(splitter=SPLITTER_VERSION)
        return SyncReport(
            added=tuple(self._added),
            changed=tuple(self._changed),
            moved=tuple(self._moved),
            removed=tuple(sorted(self._vanished)),
            unchanged=tuple(self._unchanged),
            skipped=tuple(sorted(self._skipped)),
        )

    def _nothing_readable(self) -> str:
        message = f"{self._folder} holds no document that can be read ({', '.join(SUFFIXES)})"
        if self._skipped:
            shown = [f"{path}: {reason}" for path, reason in sorted(self._skipped)[:SHOWN]]
            more = len(self._skipped) - len(shown)
            message += f"; skipped: {'; '.join(shown)}" + (f"; and {more} more" if more else "")
        if self._known:
            message += f"; the index keeps the {len(self._known)} documents it has"
        return message


def _reads_the_same(record: FileRecord, path: str) -> bool:
    """Whether a stored document would be the same had it been read from this path.

    The ending chooses the loader, and the name may be the title.
    """
    same_ending = PurePosixPath(record.path).suffix == PurePosixPath(path).suffix
    titles = name_title(record.path), name_title(path)
    return same_ending and (record.title != titles[0] or titles[0] == titles[1])


def _list_files(
    folder: Path, *, leave_out: Path
) -> tuple[dict[str, _Stamp], list[tuple[str, str]]]:
    """The files to read, and those to skip with the reason; hidden ones are not there at all."""
    files: dict[str, _Stamp] = {}
    skipped: list[tuple[str, str]] = []
    for path in sorted(_walk(folder, leave_out.resolve(), skipped)):
        name = path.relative_to(folder).as_posix()
        try:
            found = _look(path, folder)
        except DocumentError as error:
            skipped.append((name, str(error)))
        except OSError as error:
            skipped.append((name, f"it can't be opened ({error.strerror})"))
        else:
            files[name] = found
    return files, skipped


def _walk(folder: Path, leave_out: Path, skipped: list[tuple[str, str]]) -> Iterator[Path]:
    def on_error(error: OSError) -> None:
        name = Path(error.filename).relative_to(folder).as_posix()
        skipped.append((name, f"it can't be opened ({error.strerror})"))

    for place, folders, names in os.walk(folder, onerror=on_error):
        here = Path(place)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and (here / name).resolve() != leave_out
        ]
        yield from (here / name for name in folders if (here / name).is_symlink())
        yield from (here / name for name in names if not name.startswith("."))


def _look(path: Path, folder: Path) -> _Stamp:
    """Size and time of a file that can be read; DocumentError with the reason for others."""
    if path.is_symlink() and not path.resolve(strict=True).is_relative_to(folder.resolve()):
        raise DocumentError("it is a link that leads out of the folder")
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise DocumentError("it is a link to a folder, and those are not followed")
    if path.suffix.lower() not in SUFFIXES:
        raise DocumentError(f"its ending is none of {', '.join(SUFFIXES)}")
    if not stat.S_ISREG(status.st_mode):
        raise DocumentError("it is not a regular file")
    settled = time.time_ns() - status.st_mtime_ns > SETTLED_NS
    return _Stamp(status.st_size, status.st_mtime_ns, settled)
