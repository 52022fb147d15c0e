"""Brings a catalog up to date with a folder, reading and embedding only what changed.

A file that can't be read is reported with the reason and never stops the others. A document is
removed only when its file is surely gone: what can't be looked at is kept, and so is everything
when most of it is gone at once, as when a drive isn't mounted. Not for searching, and not for the
FAISS file or the lock (`passage_index`).
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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
MANY = 20  # so many documents may go at once, and more only when as many stay
QUIET_MS = 500  # how often a watched folder is asked for changes


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did; paths are relative to the folder."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()  # where they are now
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()  # not found, but not removed either: see `sync_folder`
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
    dry_run: bool = False,  # report what would change and write nothing
    prune: bool = False,  # remove what is gone, however much it is
    progress: bool = False,  # draw a bar on stderr
) -> SyncReport:
    """Makes the catalog hold what the folder holds. The caller holds the writer's lock.

    Kept in spite of its file not being found is a document in a place that can't be looked at;
    and, without `prune`, all whose files are gone when those are more than MANY and more than
    half. Raises FolderError when the catalog belongs to another folder; and, without `prune`, for
    a folder that is missing or holds nothing readable. The catalog then keeps what it has.
    """
    _check_owner(folder, catalog, prune=prune)
    from tqdm import tqdm

    listing = _list_files(folder, leave_out=catalog.folder)
    with tqdm(
        total=len(listing.files), desc="Syncing", unit="file", disable=not progress, file=sys.stderr
    ) as bar:
        run = _Run(folder, catalog, embedder, bar, listing, dry_run=dry_run)
        run.take_all(check=check)
        return run.finish(prune=prune)


def watch_folder(folder: Path, *, leave_out: Path) -> Iterator[bool]:
    """Tells again and again whether files have changed; it first does once it would notice.

    Hidden files don't count, nor those in `leave_out`. Ends with KeyboardInterrupt.
    """
    from watchfiles import Change, watch

    root, leave_out = folder.resolve(), leave_out.resolve()

    def counts(_: Change, name: str) -> bool:
        path = Path(name)
        if path.is_relative_to(leave_out) or not path.is_relative_to(root):
            return False
        return not any(part.startswith(".") for part in path.relative_to(root).parts)

    for changes in watch(root, watch_filter=counts, rust_timeout=QUIET_MS, yield_on_timeout=True):
        yield bool(changes)


def _check_owner(folder: Path, catalog: Catalog, *, prune: bool) -> None:
    """Raises FolderError when the folder is missing or the catalog holds another one's documents.

    A folder that moved is not another one: where it was, none of the documents are left.
    """
    with catalog.read() as snapshot:
        owner = snapshot.manifest().get("folder")
        same = owner == _owner_name(folder, catalog.folder)
        paths = [] if same else [record.path for record in snapshot.files()]
    if not folder.is_dir() and not (prune and same and not folder.exists()):
        raise missing(folder)
    if owner is not None and not same:
        old = Path(os.path.normpath(catalog.folder.resolve() / str(owner)))
        if any(os.path.lexists(old / path) for path in paths):
            raise FolderError(
                f"the index {catalog.folder} holds the documents of {old}, not those of"
                f" {folder.resolve()}; give each folder an index of its own"
            )


def missing(folder: Path) -> FolderError:
    """The error for a folder of documents that is none."""
    what = "is not a folder" if folder.exists() else "does not exist"
    return FolderError(f"{folder} {what}; name the folder that holds your documents")


def _owner_name(folder: Path, index: Path) -> str:
    """A name for a folder that stays when it moves together with an index inside it."""
    folder, index = folder.resolve(), index.resolve()
    inside = index.is_relative_to(folder)
    return os.path.relpath(folder, index) if inside else str(folder)


class _Run:
    """One sync: each file is taken in turn, and then what vanished is removed."""

    def __init__(
        self,
        folder: Path,
        catalog: Catalog,
        embedder: Callable[[], Embedder],
        bar: tqdm[None],
        listing: _Listing,
        *,
        dry_run: bool,
    ) -> None:
        self._folder = folder
        self._catalog = catalog
        self._embedder = embedder
        self._bar = bar
        self._files = listing.files
        self._unseen = listing.unseen
        self._dry_run = dry_run
        self._pending: list[_Pending] = []
        with catalog.read() as snapshot:
            self._known = {record.path: record for record in snapshot.files()}
            splitter = snapshot.manifest().get("splitter")
        self._same_splitter = splitter == SPLITTER_VERSION or not self._known
        self._facts = {"folder": _owner_name(folder, catalog.folder)}  # for the manifest
        if self._same_splitter:  # else it is told when every document has been read again
            self._facts["splitter"] = SPLITTER_VERSION
        self._by_hash: dict[str, list[str]] = {}
        for record in self._known.values():
            self._by_hash.setdefault(record.sha256, []).append(record.path)
        self._vanished: set[str] = set()
        self._added: list[str] = []
        self._changed: list[str] = []
        self._moved: list[str] = []
        self._unchanged: list[str] = []
        self._skipped = listing.skipped

    def take_all(self, *, check: bool) -> None:
        self._vanished = self._known.keys() - self._files.keys()
        self._note_facts()
        for path, stamp in self._files.items():
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
            if not self._dry_run:
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
        (self._changed if known else self._added).append(path)
        if self._dry_run:
            self._bar.update()
            return
        self._pending.append(_Pending(document, split_passages(document), stamp))
        if sum(len(item.passages) for item in self._pending) >= EMBED_AT_ONCE:
            self._flush()

    def _source_of(self, path: str, sha256: str) -> str | None:
        """The stored document that this file holds: under its own path or one that vanished."""
        if path in self._known:
            return path if self._known[path].sha256 == sha256 else None
        for old in self._by_hash.get(sha256, ()):
            if (
                old in self._vanished
                and not self._is_unseen(old)
                and _reads_the_same(self._known[old], path)
            ):
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

    def finish(self, *, prune: bool) -> SyncReport:
        """Removes what vanished, unless that can't be told or is too much to believe."""
        stayed = len(self._changed) + len(self._moved) + len(self._unchanged)
        if not (stayed or self._added or prune):
            raise FolderError(self._nothing_readable())
        kept = {path for path in self._vanished if self._is_unseen(path)}
        gone = self._vanished - kept
        if len(gone) > max(MANY, stayed) and not prune:
            kept, gone = self._vanished, set()
        if not self._dry_run:
            for path in sorted(gone):
                with self._catalog.write() as writer:
                    writer.remove(path)
            self._facts["splitter"] = SPLITTER_VERSION
            self._note_facts()
        return SyncReport(
            added=tuple(self._added),
            changed=tuple(self._changed),
            moved=tuple(self._moved),
            removed=tuple(sorted(gone)),
            kept=tuple(sorted(kept)),
            unchanged=tuple(self._unchanged),
            skipped=tuple(sorted(self._skipped)),
        )

    def _note_facts(self) -> None:
        """Writes into the manifest what isn't there yet."""
        with self._catalog.read() as snapshot:
            told = self._facts.items() <= snapshot.manifest().items()
        if not told and not self._dry_run:
            with self._catalog.write() as writer:
                writer.put_manifest(**self._facts)

    def _is_unseen(self, path: str) -> bool:
        """Whether a document's file may still be there, in a place that can't be looked at."""
        places = [".", path, *map(str, PurePosixPath(path).parents)]
        return not self._unseen.isdisjoint(places)

    def _nothing_readable(self) -> str:
        message = f"{self._folder} holds no document that can be read ({', '.join(SUFFIXES)})"
        if self._skipped:
            shown = [f"{path}: {reason}" for path, reason in sorted(self._skipped)[:SHOWN]]
            more = len(self._skipped) - len(shown)
            message += f"; skipped: {'; '.join(shown)}" + (f"; and {more} more" if more else "")
        if self._known:
            message += (
                f"; the index keeps the {len(self._known)} documents it has, unless told to prune"
            )
        return message


def _reads_the_same(record: FileRecord, path: str) -> bool:
    """Whether a stored document would be the same had it been read from this path.

    The ending chooses the loader, and the name may be the title.
    """
    same_ending = PurePosixPath(record.path).suffix == PurePosixPath(path).suffix
    titles = name_title(record.path), name_title(path)
    return same_ending and (record.title != titles[0] or titles[0] == titles[1])


@dataclass(frozen=True, slots=True)
class _Listing:
    """What a folder holds; hidden files are not there at all. Paths are relative to it."""

    files: dict[str, _Stamp] = field(default_factory=dict)  # to be read
    skipped: list[tuple[str, str]] = field(default_factory=list)  # and the reason
    unseen: set[str] = field(default_factory=set)  # files and folders that can't be looked at

    def refuse(self, path: str, error: OSError) -> None:
        self.skipped.append((path, f"it can't be opened ({error.strerror})"))
        if not isinstance(error, FileNotFoundError):
            self.unseen.add(path)


def _list_files(folder: Path, *, leave_out: Path) -> _Listing:
    listing = _Listing()
    for path in sorted(_walk(folder, leave_out.resolve(), listing)):
        name = path.relative_to(folder).as_posix()
        try:
            listing.files[name] = _look(path, folder)
        except DocumentError as error:
            listing.skipped.append((name, str(error)))
        except OSError as error:
            listing.refuse(name, error)
    return listing


def _walk(folder: Path, leave_out: Path, listing: _Listing) -> Iterator[Path]:
    def on_error(error: OSError) -> None:
        listing.refuse(Path(error.filename).relative_to(folder).as_posix(), error)

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
    if path.is_symlink():
        target = Path(os.path.realpath(path, strict=True))
        if not target.is_relative_to(folder.resolve()):
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
