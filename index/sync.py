"""Brings a catalog up to date with a folder, reading and embedding only what changed.

A file that can't be read is reported with the reason and never stops the others. Documents are
removed only when their file is surely gone: what can't be looked at is kept, and so is everything
when most of it is gone at once, as when a drive isn't mounted. All documents of one file change in
one transaction. Not for searching, and not for the
FAISS file or the lock (`passage_index`).
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, FileRecord, Manifest
from index.documents import (
    SUFFIXES,
    Document,
    each_document,
    holds_several,
    name_title,
    parse_document,
    read_bytes,
)
from index.embedder import Embedder
from index.errors import DocumentError, FolderError
from index.passages import SPLITTER_VERSION, Passage, embedding_text, split_passages
from index.worker import stop as stop_worker

if TYPE_CHECKING:
    from tqdm import tqdm

EMBED_AT_ONCE = 256  # passages gathered from several documents before they are embedded
SETTLED_NS = 2 * 10**9  # a file younger than this may change again without a new time stamp
SHOWN = 5  # skipped files that an error names
MANY = 20  # so many files may go at once, and more only when as many stay
QUIET_MS = 500  # how often watched folders are asked for changes
NAME = re.compile(r"\w[\w .-]{0,99}")  # of a folder among several in one index


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did, file by file; paths are relative to the folder, after its name if any."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()  # where they are now
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()  # not found, but not removed either: see `sync_folder`
    unchanged: tuple[str, ...] = ()
    # Path, also of a document in a file or a folder, and reason.
    skipped: tuple[tuple[str, str], ...] = ()


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
    name: str = "",  # of the folder, where an index holds several; no other's documents change
    check: bool = False,  # read every file, whatever its size and time say
    dry_run: bool = False,  # report what would change and write nothing
    prune: bool = False,  # remove what is gone, however much it is
    progress: bool = False,  # draw a bar on stderr
) -> SyncReport:
    """Makes the catalog hold what the folder holds. The caller holds the writer's lock.

    Kept in spite of its file not being found is a document in a place that can't be looked at;
    and, without `prune`, all whose files are gone when those are more than MANY and more than
    half. A file of which nothing can be read is tried again when it changes, and with `check`.
    Raises FolderError when the catalog belongs to another folder; and, without `prune`, for
    a folder that is missing or holds nothing readable. The catalog then keeps what it has.
    """
    check_owner(folder, catalog, name, prune=prune)
    from tqdm import tqdm

    listing = _list_files(folder, PurePosixPath(name), leave_out=catalog.folder)
    with tqdm(
        total=len(listing.files), desc="Syncing", unit="file", disable=not progress, file=sys.stderr
    ) as bar:
        run = _Run(folder, catalog, name, embedder, bar, listing, check=check, dry_run=dry_run)
        try:
            run.take_all()
        finally:
            stop_worker()
        return run.finish(prune=prune)


def watch_folders(folders: Iterable[Path], *, leave_out: Path) -> Iterator[bool]:
    """Tells again and again whether files have changed; it first does once it would notice.

    Hidden files don't count, nor those in `leave_out`. Ends with KeyboardInterrupt.
    """
    from watchfiles import Change, watch

    roots = [folder.resolve() for folder in folders]
    leave_out = leave_out.resolve()

    def counts(_: Change, name: str) -> bool:
        path = Path(name)
        return not path.is_relative_to(leave_out) and any(
            path.is_relative_to(root)
            and not any(part.startswith(".") for part in path.relative_to(root).parts)
            for root in roots
        )

    for changes in watch(*roots, watch_filter=counts, rust_timeout=QUIET_MS, yield_on_timeout=True):
        yield bool(changes)


def known_folders(manifest: Manifest, index: Path) -> dict[str, Path]:
    """The folders whose documents an index holds, by name; a single one may have the name ""."""
    return {
        key.partition("/")[2]: Path(os.path.normpath(index.resolve() / str(value)))
        for key, value in manifest.items()
        if key.partition("/")[0] == "folder"
    }


def _key(fact: str, name: str) -> str:
    """The key of a fact about a folder in the manifest."""
    return f"{fact}/{name}" if name else fact


def is_in(path: str, name: str) -> bool:
    """Whether a file of the index lies in the folder of this name."""
    return not name or path.startswith(f"{name}/")


def check_owner(folder: Path, catalog: Catalog, name: str, *, prune: bool) -> None:
    """Raises FolderError when the folder is missing or the catalog holds another one's documents.

    A folder that moved is not another one: where it was, none of the documents are left.
    """
    with catalog.read() as snapshot:
        manifest = snapshot.manifest()
        owner = manifest.get(_key("folder", name))
        same = owner == _owner_name(folder, catalog.folder)
        paths = [] if same else [record.path for record in snapshot.files() if record.documents]
    if not folder.is_dir() and not (prune and same and not folder.exists()):
        raise missing(folder)
    if name and not NAME.fullmatch(name):
        raise FolderError(
            f"{name!r} can't name a folder; use letters, digits, spaces, points and hyphens"
        )
    known = known_folders(manifest, catalog.folder)
    if name and "" in known:
        raise FolderError(
            f"the index {catalog.folder} holds the documents of {known['']} without a name;"
            " name another index folder, and sync each folder with a name"
        )
    if owner is not None and not same:
        old = known[name]
        if any(
            os.path.lexists(old / path[len(name) :].lstrip("/"))
            for path in paths
            if is_in(path, name)
        ):
            hint = "another name" if name else "an index of its own, or each a name"
            raise FolderError(
                f"the index {catalog.folder} holds the documents of {old}, not those of"
                f" {folder.resolve()}; give each folder {hint}"
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
        name: str,
        embedder: Callable[[], Embedder],
        bar: tqdm[None],
        listing: _Listing,
        *,
        check: bool,
        dry_run: bool,
    ) -> None:
        self._folder = folder
        self._catalog = catalog
        self._name = name
        self._embedder = embedder
        self._bar = bar
        self._files = listing.files
        self._unseen = listing.unseen
        self._check = check
        self._dry_run = dry_run
        self._pending: list[_Pending] = []
        with catalog.read() as snapshot:
            records = snapshot.files()
        self._known = {record.path: record for record in records if is_in(record.path, name)}
        owner = _owner_name(folder, catalog.folder)
        self._facts = {_key("folder", name): owner, _key("splitter", name): SPLITTER_VERSION}
        self._by_hash: dict[str, list[str]] = {}
        for record in self._known.values():
            self._by_hash.setdefault(record.sha256, []).append(record.path)
        self._vanished: set[str] = set()
        self._added: list[str] = []
        self._changed: list[str] = []
        self._moved: list[str] = []
        self._unchanged: list[str] = []
        self._skipped = listing.skipped

    def take_all(self) -> None:
        self._vanished = self._known.keys() - self._files.keys()
        self._note_facts()
        for path, stamp in self._files.items():
            known = self._known.get(path)
            same = known and (known.size, known.mtime_ns) == (stamp.size, stamp.mtime_ns)
            if same and not self._check:
                self._leave(path, path, self._unchanged)
                continue
            try:
                self._read(path, stamp)
            except DocumentError as error:
                self._skipped.append((path, str(error)))
                self._bar.update()
        self._flush()

    def _read(self, path: str, stamp: _Stamp) -> None:
        """Reads one file: it is new, changed, moved or, after all, unchanged."""
        data = read_bytes(self._folder / PurePosixPath(path).relative_to(self._name))
        sha256 = hashlib.sha256(data).hexdigest()
        source = self._source_of(path, sha256)
        if source is not None:
            if not self._dry_run:
                with self._catalog.write() as writer:
                    writer.move(source, path, size=stamp.size, mtime_ns=stamp.stored_mtime_ns)
            self._vanished.discard(source)
            self._leave(source, path, self._unchanged if source == path else self._moved)
            return
        try:
            if holds_several(path):
                self._take_several(path, data, sha256, stamp)
            else:
                self._take(path, data, stamp)
        except DocumentError as error:
            self._refuse(path, sha256, stamp, [(path, str(error))])

    def _source_of(self, path: str, sha256: str) -> str | None:
        """The stored file that this one is: of its own path or of one that vanished."""
        if known := self._known.get(path):
            again = self._check and not known.documents
            return path if known.sha256 == sha256 and not again else None
        for old in self._by_hash.get(sha256, ()):
            if (
                old in self._vanished
                and not self._is_unseen(old)
                and _reads_the_same(self._known[old], path)
            ):
                return old
        return None

    def _leave(self, source: str, path: str, found: list[str]) -> None:
        """A file whose documents stay as they are; what of it can't be read is told again."""
        known = self._known[source]
        if known.documents:
            found.append(path)
        self._skipped += [(path + rest, reason) for rest, reason in known.skipped]
        self._bar.update()

    def _refuse(
        self, path: str, sha256: str, stamp: _Stamp, skipped: list[tuple[str, str]]
    ) -> None:
        """A file that gives no document; what is stored of it is no longer what it holds."""
        if self._has_documents(path):
            self._vanished.add(path)
        elif not self._dry_run:
            with self._catalog.write() as writer:
                file = writer.put_file(
                    path, sha256, size=stamp.size, mtime_ns=stamp.stored_mtime_ns
                )
                writer.skip(file, _without(path, skipped))
        self._skipped += skipped
        self._bar.update()

    def _has_documents(self, path: str) -> bool:
        return path in self._known and self._known[path].documents > 0

    def _take(self, path: str, data: bytes, stamp: _Stamp) -> None:
        """Stores a file of one document, together with others when they are enough."""
        document = parse_document(data, name=path)
        passages = [] if self._dry_run else split_passages(document)
        self._note_read(path)
        if self._dry_run:
            self._bar.update()
            return
        self._pending.append(_Pending(document, passages, stamp))
        if sum(len(item.passages) for item in self._pending) >= EMBED_AT_ONCE:
            self._flush()

    def _note_read(self, path: str) -> None:
        (self._changed if self._has_documents(path) else self._added).append(path)

    def _take_several(self, path: str, data: bytes, sha256: str, stamp: _Stamp) -> None:
        """Stores a file of several documents in one transaction, holding only some in memory."""
        skipped: list[tuple[str, str]] = []
        portions = self._portions(each_document(data, name=path), stamp, skipped)
        first = next(portions, None)
        if first is None:
            self._refuse(path, sha256, stamp, skipped)
            return
        if self._dry_run:
            for _ in portions:
                pass
        else:
            embedder = self._embedder()
            with self._catalog.write() as writer:
                writer.claim(embedder.name, embedder.sha256, embedder.dimension)
                file = writer.put_file(
                    path, sha256, size=stamp.size, mtime_ns=stamp.stored_mtime_ns
                )
                for portion in itertools.chain([first], portions):
                    for item, vectors in zip(portion, _embed(embedder, portion), strict=True):
                        writer.add(file, item.document, item.passages, vectors)
                writer.skip(file, _without(path, skipped))
        self._note_read(path)
        self._skipped += skipped
        self._bar.update()

    def _portions(
        self,
        documents: Iterable[Document | tuple[str, str]],
        stamp: _Stamp,
        skipped: list[tuple[str, str]],  # what can't be read is added to these
    ) -> Iterator[list[_Pending]]:
        """Documents of one file, as many at a time as are embedded together."""
        portion: list[_Pending] = []
        count = 0
        for found in documents:
            if not isinstance(found, Document):
                skipped.append(found)
                continue
            try:
                passages = [] if self._dry_run else split_passages(found)
            except DocumentError as error:
                skipped.append((found.path, str(error)))
                continue
            portion.append(_Pending(found, passages, stamp))
            count += max(1, len(passages))
            if count >= EMBED_AT_ONCE:
                yield portion
                portion, count = [], 0
        if portion:
            yield portion

    def _flush(self) -> None:
        """Embeds and stores what waits, each document in a transaction of its own."""
        if not self._pending:
            return
        embedder = self._embedder()
        for item, vectors in zip(self._pending, _embed(embedder, self._pending), strict=True):
            with self._catalog.write() as writer:
                writer.claim(embedder.name, embedder.sha256, embedder.dimension)
                writer.put(
                    item.document,
                    item.passages,
                    vectors,
                    size=item.stamp.size,
                    mtime_ns=item.stamp.stored_mtime_ns,
                )
            self._bar.update()
        self._pending = []

    def finish(self, *, prune: bool) -> SyncReport:
        """Removes what vanished, unless that can't be told or is too much to believe."""
        stayed = len(self._changed) + len(self._moved) + len(self._unchanged)
        if not (stayed or self._added or prune):
            raise FolderError(self._nothing_readable())
        kept = {path for path in self._vanished if self._is_unseen(path)}
        gone = self._vanished - kept
        if sum(map(self._has_documents, gone)) > max(MANY, stayed) and not prune:
            kept, gone = self._vanished, set()
        if not self._dry_run:
            for path in sorted(gone):
                with self._catalog.write() as writer:
                    writer.remove_file(path)
            if self._name and not self._folder.exists():
                self._forget()
        return SyncReport(
            added=tuple(self._added),
            changed=tuple(self._changed),
            moved=tuple(self._moved),
            removed=tuple(sorted(filter(self._has_documents, gone))),
            kept=tuple(sorted(filter(self._has_documents, kept))),
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

    def _forget(self) -> None:
        """Takes a folder that is gone, and was pruned, out of the manifest."""
        with self._catalog.write() as writer:
            writer.drop_manifest(*self._facts)

    def _is_unseen(self, path: str) -> bool:
        """Whether a file may still be there, in a place that can't be looked at."""
        places = [".", path, *map(str, PurePosixPath(path).parents)]
        return not self._unseen.isdisjoint(places)

    def _nothing_readable(self) -> str:
        message = f"{self._folder} holds no document that can be read ({', '.join(SUFFIXES)})"
        if self._skipped:
            shown = [f"{path}: {reason}" for path, reason in sorted(self._skipped)[:SHOWN]]
            more = len(self._skipped) - len(shown)
            message += f"; skipped: {'; '.join(shown)}" + (f"; and {more} more" if more else "")
        if count := sum(record.documents for record in self._known.values()):
            message += f"; the index keeps the {count} documents it has, unless told to prune"
        return message


def _embed(embedder: Embedder, items: Sequence[_Pending]) -> list[NDArray[np.float32]]:
    """The vectors of each document's passages (passages, dimension), embedded together."""
    vectors = embedder.embed(
        [
            embedding_text(item.document.title, passage.text)
            for item in items
            for passage in item.passages
        ]
    )  # (passages of all, dimension)
    return np.split(vectors, np.cumsum([len(item.passages) for item in items])[:-1])


def _without(path: str, skipped: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What can't be read, named by what follows the path of its file."""
    return [(name.removeprefix(path), reason) for name, reason in skipped]


def _reads_the_same(record: FileRecord, path: str) -> bool:
    """Whether stored documents would be the same had they been read from this path.

    The ending chooses the loader, and the name may be the title.
    """
    old, new = PurePosixPath(record.path), PurePosixPath(path)
    titles = name_title(record.path), name_title(path)
    named = record.title == titles[0] != titles[1] or record.documents > 1
    return old.name == new.name or (old.suffix == new.suffix and not named)


@dataclass(frozen=True, slots=True)
class _Listing:
    """What a folder holds; hidden files are not there at all. Paths are those of the index."""

    folder: Path
    name: PurePosixPath  # above all paths
    files: dict[str, _Stamp] = field(default_factory=dict)  # to be read
    skipped: list[tuple[str, str]] = field(default_factory=list)  # and the reason
    unseen: set[str] = field(default_factory=set)  # files and folders that can't be looked at

    def path_of(self, place: Path) -> str:
        return (self.name / place.relative_to(self.folder)).as_posix()

    def refuse(self, path: str, error: OSError) -> None:
        self.skipped.append((path, f"it can't be opened ({error.strerror})"))
        if not isinstance(error, FileNotFoundError):
            self.unseen.add(path)


def _list_files(folder: Path, name: PurePosixPath, *, leave_out: Path) -> _Listing:
    listing = _Listing(folder, name)
    for place in sorted(_walk(folder, leave_out.resolve(), listing)):
        path = listing.path_of(place)
        try:
            listing.files[path] = _look(place, folder)
        except DocumentError as error:
            listing.skipped.append((path, str(error)))
        except OSError as error:
            listing.refuse(path, error)
    return listing


def _walk(folder: Path, leave_out: Path, listing: _Listing) -> Iterator[Path]:
    def on_error(error: OSError) -> None:
        listing.refuse(listing.path_of(Path(error.filename)), error)

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
