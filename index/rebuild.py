"""What an index that is made anew takes over from the one before, and how the two compare.

Functions over the catalogs of both. Not for where they lie (`generations`) or for making the new
one (`passage_index`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from index.catalog import Catalog, FileRecord, check_format
from index.embedder import Embedder
from index.errors import IndexUnreadable
from index.passages import embedding_text, split_passages
from index.sync import SyncReport


def stored(catalog: Catalog) -> list[FileRecord]:
    """The documents of a catalog; none when it is missing or only making it anew helps."""
    try:
        if not catalog.exists():
            return []
        with catalog.read() as snapshot:
            check_format(snapshot.manifest(), catalog.folder)
            return snapshot.files()
    except IndexUnreadable:
        return []


def take_over(
    old: Catalog, new: Catalog, records: Sequence[FileRecord], folder: Path, embedder: Embedder
) -> None:
    """Copies documents whose files can't be read now, split and embedded afresh.

    The sync that follows decides whether they are moved, removed or kept, as it always does.
    """
    for record in records:
        if os.access(folder / record.path, os.R_OK):
            continue
        with suppress(IndexUnreadable), old.read() as snapshot:  # then no copy is left
            document = snapshot.document(record.path)
            assert document is not None
            passages = split_passages(document)
            texts = [embedding_text(document.title, passage.text) for passage in passages]
            vectors = embedder.embed(texts)  # (len(passages), dimension)
            with new.write() as writer:
                writer.claim(embedder.name, embedder.sha256, embedder.dimension)
                writer.put(document, passages, vectors, size=0, mtime_ns=0)  # as of no file


def find_lost(
    report: SyncReport, old: Sequence[FileRecord], new: Sequence[FileRecord], folder: Path
) -> list[str]:
    """Documents that the new catalog must have and lacks, in plain words."""
    there = {record.path for record in new}
    skipped = {path for path, _ in report.skipped}
    read = {*report.added, *report.changed, *report.moved, *report.unchanged}
    due = {
        record.path
        for record in old
        if skipped.isdisjoint([record.path, *map(str, PurePosixPath(record.path).parents)])
        and os.path.lexists(folder / record.path)
    }
    return [f"{path}: it is missing" for path in sorted((due | read) - there)]


def as_changes(
    report: SyncReport, old: Sequence[FileRecord], new: Sequence[FileRecord]
) -> SyncReport:
    """The report of a sync into an empty catalog, told as changes since the one before."""
    before = {record.path: record.sha256 for record in old}
    now = {record.path: record.sha256 for record in new}
    read = sorted({*report.added, *report.changed, *report.unchanged})
    skipped = {path for path, _ in report.skipped}
    return replace(
        report,
        added=tuple(path for path in read if path not in before),
        changed=tuple(path for path in read if before.get(path, now[path]) != now[path]),
        unchanged=tuple(path for path in read if before.get(path) == now[path]),
        removed=tuple(sorted({*report.removed, *(skipped & before.keys() - now.keys())})),
    )
