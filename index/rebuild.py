"""What an index that is made anew takes over from the one before, and how the two compare.

Functions over the catalogs of both. Not for where they lie (`generations`) or for making the new
one (`passage_index`).
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from index.catalog import Catalog, FileRecord, Manifest, check_format
from index.embedder import Embedder
from index.errors import IndexUnreadable
from index.passages import SPLITTER_VERSION, embedding_text, split_passages
from index.sync import SyncReport, is_in, known_folders


@dataclass(frozen=True, slots=True)
class Stored:
    """What a catalog holds; nothing when it is missing or only making it anew helps."""

    manifest: Manifest = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)  # by name
    records: tuple[FileRecord, ...] = ()  # of files with documents


def stored(catalog: Catalog) -> Stored:
    try:
        if not catalog.exists():
            return Stored()
        with catalog.read() as snapshot:
            manifest = snapshot.manifest()
            check_format(manifest, catalog.folder)
            records = tuple(record for record in snapshot.files() if record.documents)
    except IndexUnreadable:
        return Stored()
    return Stored(manifest, known_folders(manifest, catalog.folder), records)


def take_over(
    old: Catalog, new: Catalog, found: Stored, folders: dict[str, Path], embedder: Embedder
) -> None:
    """Copies which folders there are, and documents whose files can't be read now, split and
    embedded afresh.

    The sync that follows decides whether they are moved, removed or kept, as it always does.
    """
    facts = {key: value for key, value in found.manifest.items() if key.startswith("folder")}
    splitters = {key.replace("folder", "splitter", 1): SPLITTER_VERSION for key in facts}
    with new.write() as writer:
        writer.put_manifest(**facts, **splitters)
    for record in found.records:
        if not os.access(_place(record.path, folders), os.R_OK):
            with suppress(IndexUnreadable):  # then no copy is left
                _copy(old, new, record, embedder)


def _copy(old: Catalog, new: Catalog, record: FileRecord, embedder: Embedder) -> None:
    with old.read() as snapshot, new.write() as writer:
        writer.claim(embedder.name, embedder.sha256, embedder.dimension)
        # Size and time are those of no file, so that it is read when that can be done.
        file = writer.put_file(record.path, record.sha256, size=0, mtime_ns=0)
        for document in snapshot.documents_of(record.path):
            passages = split_passages(document, seconds=math.inf)  # it was cut before
            texts = [embedding_text(document.title, passage.text) for passage in passages]
            writer.add(file, document, passages, embedder.embed(texts))


def find_lost(report: SyncReport, old: Stored, new: Stored, folders: dict[str, Path]) -> list[str]:
    """Files whose documents the new catalog must have and lacks, in plain words."""
    there = {record.path for record in new.records}
    skipped = {path for path, _ in report.skipped}
    read = {*report.added, *report.changed, *report.moved, *report.unchanged}
    due = {
        record.path
        for record in old.records
        if skipped.isdisjoint([record.path, *map(str, PurePosixPath(record.path).parents)])
        and os.path.lexists(_place(record.path, folders))
    }
    return [f"{path}: it is missing" for path in sorted((due | read) - there)]


def as_changes(report: SyncReport, old: Stored, new: Stored) -> SyncReport:
    """The report of a sync into an empty catalog, told as changes since the one before."""
    before = {record.path: record.sha256 for record in old.records}
    now = {record.path: record.sha256 for record in new.records}
    read = sorted({*report.added, *report.changed, *report.unchanged})
    skipped = {path for path, _ in report.skipped}
    return replace(
        report,
        added=tuple(path for path in read if path not in before),
        changed=tuple(path for path in read if before.get(path, now[path]) != now[path]),
        unchanged=tuple(path for path in read if before.get(path) == now[path]),
        removed=tuple(sorted({*report.removed, *(skipped & before.keys() - now.keys())})),
    )


def _place(path: str, folders: dict[str, Path]) -> Path:
    """Where a file of the index lies, or should."""
    name = next(name for name in folders if is_in(path, name))
    return folders[name] / PurePosixPath(path).relative_to(name)
