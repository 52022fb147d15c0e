"""Is an index as it should be: stored text, offsets and hashes against the files, read afresh, and
the FAISS file against the catalog.

What is found is told in plain words; mending it is the user's choice.
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from index.catalog import FileRecord, Snapshot, StoredPassage
from index.documents import Document, each_document, read_bytes
from index.errors import DocumentError
from index.generations import REMEDY
from index.sync import is_in
from index.vectors import VECTORS_NAME, VectorIndex

Stored = dict[int, NDArray[np.float32]]  # id of a passage -> its vector (dimension,)


def check_files(snapshot: Snapshot, folders: dict[str, Path]) -> list[str]:
    """Problems of the stored documents of these folders, by name, against their files."""
    return [
        problem
        for record in snapshot.files()
        for name, place in folders.items()
        if is_in(record.path, name)
        for problem in _check_file(record, snapshot, place, name)
    ]


def check_passages(snapshot: Snapshot) -> tuple[list[str], Stored]:
    """Problems of the stored passages, and their vectors."""
    problems: list[str] = []
    stored = {}
    for document in snapshot.documents():
        for number, passage in snapshot.passages_of(document.path):
            stored[number] = passage.vector
            problems += _check_passage(passage, document)
    if wordless := snapshot.count("passages") - len(stored):
        problems.append(f"{wordless} passages lack their words; {REMEDY}")
    return problems, stored


def check_vectors(vectors: VectorIndex, stored: Stored) -> list[str]:
    """Problems of the FAISS file against the stored vectors."""
    ids, found = vectors.file_vectors()
    wrong = sum(
        not np.array_equal(vector, stored[number])
        for number, vector in zip(ids.tolist(), found, strict=True)
        if number in stored
    )
    due = {number for number in stored if number <= vectors.last_in_file}
    lost = len(due - {*ids.tolist()})
    if not wrong and not lost:
        return []
    return [
        f"{VECTORS_NAME} has {wrong} wrong vectors and lacks {lost};"
        " delete that file and sync again"
    ]


def _check_file(record: FileRecord, snapshot: Snapshot, folder: Path, name: str) -> list[str]:
    """What differs between a file, which is read once, and its stored documents."""
    path = record.path
    if not record.documents:
        return []
    problems = []
    fresh = 0
    try:
        data = read_bytes(folder / PurePosixPath(path).relative_to(name))
        if hashlib.sha256(data).hexdigest() != record.sha256:
            return [f"{path}: the file has changed since it was read; sync again"]
        for found in each_document(data, name=path):
            if isinstance(found, Document):
                fresh += 1
                stored = snapshot.document(found.path)
                if stored is None or stored.text != found.text:
                    problems.append(
                        f"{found.path}: the stored text is not what the file holds; {REMEDY}"
                    )
    except DocumentError as error:
        return [f"{path}: {error}; sync again"]
    if fresh != record.documents:
        problems.append(
            f"{path}: the index has {record.documents} of its {fresh} documents; {REMEDY}"
        )
    return problems


def _check_passage(passage: StoredPassage, document: Document) -> list[str]:
    """Whether a stored passage is the slice of its document that it says."""
    place = f"{document.path}: the passage at {passage.start} to {passage.end}"
    problems = []
    if document.text[passage.start : passage.end] != passage.text or not passage.text:
        problems.append(f"{place} is not the text that stands there; {REMEDY}")
    if not abs(float(np.linalg.norm(passage.vector)) - 1) < 1e-3:
        problems.append(f"{place} has a vector that is not of length 1; {REMEDY}")
    return problems
