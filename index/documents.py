"""A file becomes Documents: their full text, and title, date and author where they can be read.

Most files hold one; a mailbox, a table of articles or a zip archive holds several. Not for
cutting text into passages (`passages`) or for storing it (`catalog`).
"""

from __future__ import annotations

import hashlib
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from index import archives, formats
from index.archives import Member, members
from index.errors import DocumentError
from index.formats import Extract
from index.head import read_head, sound
from index.worker import extract_apart

SUFFIXES = (*formats.SUFFIXES, *archives.SUFFIXES)
MAX_BYTES = 64 * 2**20  # a larger file is a data dump, not a document
MAX_DOCUMENTS = 50_000  # taken from one file
MAX_SECONDS = 600.0  # for all the documents of one file; each has its own limit (`worker`)


@dataclass(frozen=True, slots=True)
class Document:
    """One document as it is cited."""

    path: str  # POSIX path relative to the synced folder; within a file as `news.zip/a.txt`
    sha256: str  # hex digest of the bytes of the file that it lies in
    text: str  # full extracted text; offsets count its code points; line ends as in the file
    title: str  # never empty: the file's stem where no title can be read
    date: str | None  # yyyy-mm-dd, None where it can't be told for sure
    author: str | None
    pages: tuple[int, ...] = ()  # where in the text each page starts; empty where there are none


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """A document without its text; the fields are those of Document."""

    path: str
    sha256: str
    title: str
    date: str | None
    author: str | None
    pages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Contents:
    """What one file holds: its documents, and those of them that can't be read."""

    documents: tuple[Document, ...]
    skipped: tuple[tuple[str, str], ...] = ()  # path and reason


def load_document(path: Path, *, name: str) -> Document:
    """Read a file of one document. `name` is the path that citations will show; its ending picks
    the loader.

    Raises DocumentError with the reason in plain words.
    """
    return parse_document(read_bytes(path), name=name)


def read_bytes(path: Path) -> bytes:
    """The bytes of a regular file of at most MAX_BYTES, else DocumentError."""
    try:
        if not path.is_file():
            raise DocumentError("it is not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DocumentError(f"it can't be opened ({error.strerror})") from error
    if len(data) > MAX_BYTES:
        raise DocumentError(f"it is larger than {MAX_BYTES // 2**20} MiB")
    return data


def parse_document(data: bytes, *, name: str) -> Document:
    """The one Document that these bytes hold; see `load_document`."""
    if holds_several(name):
        raise DocumentError("it holds several documents, not one")
    return _document(_extract(data, _suffix(name)), name, _sha256(data))


def parse_documents(data: bytes, *, name: str) -> Contents:
    """All that these bytes hold: one Document, or those of a mailbox, table or archive.

    They are named after the file: `mail.mbox#3` is its third mail, `articles.csv#12` the twelfth
    row below the header, `news.zip/a.txt` a member. Raises DocumentError with the reason when the
    file can't be read at all; a member that can't be read is among the skipped, and so is the file
    itself when it holds more than MAX_DOCUMENTS or takes longer than MAX_SECONDS.
    """
    documents: list[Document] = []
    skipped: list[tuple[str, str]] = []
    for found in each_document(data, name=name):
        if isinstance(found, Document):
            documents.append(found)
        else:
            skipped.append(found)
    return Contents(tuple(documents), tuple(skipped))


def each_document(data: bytes, *, name: str) -> Iterator[Document | tuple[str, str]]:
    """What `parse_documents` finds, one at a time: a Document, or path and reason.

    May raise DocumentError when some are out already: the file then can't be read at all.
    """
    if not holds_several(name):
        yield parse_document(data, name=name)
        return
    sha256, count = _sha256(data), 0
    started, spent = time.monotonic(), 0.0  # without what the caller does in between
    for count, member in enumerate(_all_members(data, name), start=1):
        if count > MAX_DOCUMENTS or spent > MAX_SECONDS:
            limit = f"{MAX_DOCUMENTS:,} documents or {MAX_SECONDS:g} seconds"
            yield name, f"only its first {count - 1:,} documents were tried ({limit})"
            return
        try:
            found: Document | tuple[str, str] = _document(
                _extract_member(member), member.name, sha256
            )
        except DocumentError as error:
            found = member.name, str(error)
        spent += time.monotonic() - started
        yield found
        started = time.monotonic()
    if not count:
        raise DocumentError("it holds no documents")


def holds_several(name: str) -> bool:
    """Whether a file of this name is one of several documents."""
    return _suffix(name) in archives.SUFFIXES


def find_document(folder: Path, path: str) -> Document:
    """Read the document of this path again, from the file below the folder that it lies in.

    Raises DocumentError as `load_document` does, and where the file no longer holds it.
    """
    name = file_of(path, lambda choice: (folder / choice).is_file()) or path
    found = parse_documents(read_bytes(folder / name), name=name)
    for document in found.documents:
        if document.path == path:
            return document
    raise DocumentError(dict(found.skipped).get(path, f"{name} no longer holds it"))


def page_of(document: Document | DocumentInfo, offset: int) -> int | None:
    """The page, from 1, on which an offset lies; None for a document without pages."""
    return bisect_right(document.pages, offset) or None


def file_of(path: str, is_file: Callable[[str], bool]) -> str | None:
    """The file that the document of this path lies in; None when there is none.

    A folder may be named as an archive is, so `is_file` tells which of the choices there is.
    """
    bare = path.rpartition("#")[0]
    choices = [path, bare, *(str(parent) for parent in PurePosixPath(path).parents)]
    return next((choice for choice in choices if choice and is_file(choice)), None)


def name_title(name: str) -> str:
    """The title of a document that has no other: its file's stem."""
    return sound(PurePosixPath(name).stem)


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _all_members(data: bytes, name: str) -> Iterator[Member]:
    """The documents within a file, and within its files."""
    for member in members(data, name):
        if isinstance(member.content, bytes) and member.suffix in archives.SUFFIXES:
            try:
                yield from members(member.content, member.name)
            except DocumentError as error:
                yield Member(member.name, member.suffix, error)
        else:
            yield member


def _extract_member(member: Member) -> Extract:
    if isinstance(member.content, DocumentError):
        raise member.content
    if isinstance(member.content, Extract):
        return member.content
    return _extract(member.content, member.suffix)


def _extract(data: bytes, suffix: str) -> Extract:
    """What the bytes hold; a worker reads whatever isn't plain UTF-8 text."""
    if suffix not in formats.SUFFIXES:
        raise DocumentError(f"its ending {suffix or '(none)'} is none of {', '.join(SUFFIXES)}")
    if suffix in formats.PLAIN and formats.is_utf8(data):
        return formats.extract(data, suffix)
    return extract_apart(data, suffix)


def _document(found: Extract, name: str, sha256: str) -> Document:
    head = read_head(found.text)
    return Document(
        path=name,
        sha256=sha256,
        text=found.text,
        title=found.title or head.title or name_title(name),
        date=found.date or head.date,
        author=found.author or head.author,
        pages=found.pages,
    )
