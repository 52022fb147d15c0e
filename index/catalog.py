"""Documents, passages, vectors and words in one SQLite file: the truth of an index.

Everything else (the FAISS file) can be made again from it. The rows of a file's documents change
in one transaction. Not for deciding what to store (`sync`) or how to rank (`ranking`).

The file is in WAL mode with synchronous=NORMAL: what was committed survives the death of the
process at any moment. Only a loss of power can take the last transactions; it never damages the
file, and the next sync brings back what was lost.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.documents import Document, DocumentInfo
from index.duplicates import band_keys
from index.errors import IndexUnavailable, IndexUnreadable
from index.generations import CATALOG_NAME, REMEDY, look, unwritable
from index.passages import Passage

SCHEMA_VERSION = "2"
BUSY_SECONDS = 30.0  # how long a transaction waits for that of another process
MAX_TERMS = 64  # of a question that are looked up
VECTORS_AT_ONCE = 20_000  # read from the file

# By what copies of a passage are found.
_BAND_TABLES = (
    """CREATE TABLE bands (
        passage INTEGER NOT NULL REFERENCES passages (id),
        key INTEGER NOT NULL,                   -- see duplicates.band_keys
        PRIMARY KEY (passage, key)
    ) WITHOUT ROWID""",
    "CREATE INDEX bands_by_key ON bands (key)",
)
_TABLES = (
    "CREATE TABLE manifest (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    """CREATE TABLE files (
        id INTEGER PRIMARY KEY,
        path NOT NULL UNIQUE,                   -- text, or bytes where it isn't valid Unicode
        sha256 TEXT NOT NULL,                   -- '' when it must be read again
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        skipped TEXT NOT NULL                   -- JSON: what of it can't be read, and why
    )""",
    """CREATE TABLE documents (
        id INTEGER PRIMARY KEY,
        path NOT NULL UNIQUE,                   -- that of its file, with more where it has several
        file INTEGER NOT NULL REFERENCES files (id),
        sha256 TEXT NOT NULL,
        title TEXT NOT NULL,
        date TEXT,
        author TEXT,
        pages TEXT NOT NULL,                    -- JSON: where each starts in the text
        text TEXT NOT NULL
    )""",
    "CREATE INDEX documents_of_file ON documents (file, title)",
    """CREATE TABLE passages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never reused
        document INTEGER NOT NULL REFERENCES documents (id),
        start_at INTEGER NOT NULL,              -- code points of documents.text
        end_at INTEGER NOT NULL,
        vector BLOB NOT NULL                    -- float32, little-endian
    )""",
    "CREATE INDEX passages_of_document ON passages (document)",
    # A passage's words; rowid is its id.
    """CREATE VIRTUAL TABLE words USING fts5 (
        title, text, tokenize = 'porter unicode61 remove_diacritics 2'
    )""",
    *_BAND_TABLES,
)
_SELECT_DATED = (
    "SELECT p.id FROM passages p JOIN documents d ON d.id = p.document"
    " WHERE d.date BETWEEN coalesce(?, '') AND coalesce(?, '9999-12-31')"
)
_SELECT_DOCUMENT = "SELECT path, sha256, text, title, date, author, pages FROM documents"
_REMEDIES = {
    sqlite3.SQLITE_BUSY: "another process is writing it; try again when that is done",
    sqlite3.SQLITE_CANTOPEN: "check that the folder may be written, or name another",
    sqlite3.SQLITE_CORRUPT: f"it is damaged; {REMEDY}",
    sqlite3.SQLITE_FULL: "free some space on the disk and sync again",
    sqlite3.SQLITE_IOERR: "check the disk and its permissions",
    sqlite3.SQLITE_NOTADB: f"it is damaged; {REMEDY}",
    sqlite3.SQLITE_READONLY: "check that the folder may be written, or name another",
}
_UNREADABLE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_NOTADB}

Manifest = dict[str, str | int]


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a sync must know of a file to tell whether it changed."""

    path: str
    sha256: str
    size: int  # bytes
    mtime_ns: int
    documents: int  # how many it holds; 0 when none can be read
    title: str  # of one of them
    skipped: tuple[tuple[str, str], ...]  # what follows the path, "" for the file; and the reason


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage with its document and its vector."""

    document: DocumentInfo
    start: int
    end: int
    text: str
    vector: NDArray[np.float32]  # (dimension,)


class Catalog:
    """The SQLite file. Threads may share it: each transaction has a connection to itself."""

    def __init__(self, folder: Path, *, generation: str | None = None) -> None:
        """`generation` names the one to use, whichever is in use (see `generations`)."""
        self.folder = folder
        self._generation = generation
        self._idle: deque[_Opened] = deque()
        self._closed = False

    @property
    def place(self) -> Path:
        """The folder of the generation that is read and written."""
        return self.folder / (self._generation or look(self.folder).in_use)

    def exists(self) -> bool:
        """Whether the tables are there."""
        if _identity(self.place / CATALOG_NAME) is None:
            return False
        with self._connection() as connection:
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        return bool(tables)

    def create(self) -> None:
        """Makes the tables, unless they are there. The caller holds the writer's lock."""
        if self.exists():
            return
        try:
            self.place.mkdir(exist_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        with self._connection(create=True) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            manifest = {"schema": SCHEMA_VERSION, "catalog": uuid.uuid4().hex, "generation": 0}
            with _transaction(connection, "IMMEDIATE"):
                for statement in _TABLES:
                    connection.execute(statement)
                for item in manifest.items():
                    connection.execute("INSERT INTO manifest VALUES (?, ?)", item)

    @contextmanager
    def read(self) -> Iterator[Snapshot]:
        """One state of the catalog, whatever is written meanwhile."""
        with self._connection() as connection, _transaction(connection, "DEFERRED"):
            yield Snapshot(connection)

    @contextmanager
    def write(self) -> Iterator[Writer]:
        """One transaction, all or nothing; it raises the generation by one."""
        with self._connection() as connection, _transaction(connection, "IMMEDIATE"):
            yield Writer(connection)
            connection.execute("UPDATE manifest SET value = value + 1 WHERE key = 'generation'")

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().connection.close()

    @contextmanager
    def _connection(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        """An idle connection or a new one; SQLite's errors leave as IndexUnavailable."""
        if self._closed:
            raise IndexUnavailable(f"the index {self.folder} was closed; open it again")
        opened = None
        try:
            opened = self._borrow() or self._connect(create=create)
            yield opened.connection
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter from damaged text
            if opened is not None:  # it may be in any state
                opened.connection.close()
                opened = None
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
            remedy = _REMEDIES.get(code, f"if this stays so, {REMEDY}")
            kind = IndexUnreadable if code in _UNREADABLE else IndexUnavailable
            raise kind(f"the index {self.folder}: {error}; {remedy}") from error
        finally:
            if opened is not None:
                self._idle.append(opened)
            if self._closed:
                self.close()

    def _borrow(self) -> _Opened | None:
        """An idle connection, unless its file was deleted or replaced since."""
        with suppress(IndexError):
            while True:
                opened = self._idle.pop()
                if opened.file == _identity(self.place / CATALOG_NAME):
                    return opened
                opened.connection.close()
        return None

    def _connect(self, *, create: bool) -> _Opened:
        while True:
            path = self.place / CATALOG_NAME
            before = _identity(path)
            if before is None and not create:
                raise IndexUnavailable(f"there is no index in {self.folder}; sync to make it")
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,  # transactions begin and end where we say
                check_same_thread=False,  # threads take turns
            )
            try:
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA foreign_keys = ON")
            except BaseException:
                connection.close()
                raise
            after = _identity(path)
            if after is not None and after == (before or after):
                return _Opened(connection, after)
            connection.close()  # the file was replaced meanwhile


@dataclass(frozen=True, slots=True)
class _Opened:
    """A connection and the file that it reads, which may no longer be the one of that name."""

    connection: sqlite3.Connection
    file: tuple[int, int]  # device and inode; not given to another file while this is open


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another of the same name; None when there is none."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise IndexUnavailable(
            f"the index {path.parent} can't be opened ({error.strerror}); check its permissions"
        ) from error
    return status.st_dev, status.st_ino


@contextmanager
def _transaction(connection: sqlite3.Connection, kind: str) -> Iterator[None]:
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


class Snapshot:
    """Reads from one state of the catalog."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def manifest(self) -> Manifest:
        rows = self._connection.execute("SELECT key, value FROM manifest")
        return {
            key: _load_path(value) if isinstance(value, bytes) else value for key, value in rows
        }

    def count(self, table: str, *, after: int = 0) -> int:
        """The rows of `documents` or `passages` whose id is above `after`."""
        query = {
            "documents": "SELECT count(*) FROM documents",
            "passages": "SELECT count(*) FROM passages",
        }[table]
        if after:  # without it SQLite counts in the smallest index and reads no row
            return int(self._connection.execute(f"{query} WHERE id > ?", (after,)).fetchone()[0])
        return int(self._connection.execute(query).fetchone()[0])

    def files(self) -> list[FileRecord]:
        rows = self._connection.execute(
            "SELECT f.path, f.sha256, f.size, f.mtime_ns,"
            " count(d.id), coalesce(min(d.title), ''), f.skipped"
            " FROM files f LEFT JOIN documents d ON d.file = f.id GROUP BY f.id"
        )
        return [
            FileRecord(
                _load_path(path),
                sha256,
                size,
                mtime_ns,
                documents,
                title,
                tuple((rest, reason) for rest, reason in _load_list(skipped)),
            )
            for path, sha256, size, mtime_ns, documents, title, skipped in rows
        ]

    def documents(self) -> Iterator[Document]:
        """All of them, one at a time."""
        for row in self._connection.execute(f"{_SELECT_DOCUMENT} ORDER BY id"):
            yield Document(*_load_row(row))

    def document(self, path: str) -> Document | None:
        query = f"{_SELECT_DOCUMENT} WHERE path = ?"
        row = self._connection.execute(query, (_store_path(path),)).fetchone()
        return Document(*_load_row(row)) if row else None

    def documents_of(self, path: str) -> Iterator[Document]:
        """Those of a file, one at a time."""
        query = f"{_SELECT_DOCUMENT} WHERE file = (SELECT id FROM files WHERE path = ?) ORDER BY id"
        for row in self._connection.execute(query, (_store_path(path),)):
            yield Document(*_load_row(row))

    def passages_of(self, path: str) -> list[tuple[int, StoredPassage]]:
        """The passages of a document with their ids, in order."""
        query = "SELECT p.id FROM passages p JOIN documents d ON d.id = p.document WHERE d.path = ?"
        ids = [row[0] for row in self._connection.execute(query, (_store_path(path),))]
        return sorted(self.passages(ids).items())

    def passages(self, ids: Sequence[int]) -> dict[int, StoredPassage]:
        """Those of the passages that exist, by id."""
        rows = self._connection.execute(
            "SELECT p.id, d.path, d.sha256, d.title, d.date, d.author, d.pages,"
            " p.start_at, p.end_at, w.text, p.vector"
            " FROM json_each(?) AS wanted"
            " JOIN passages p ON p.id = wanted.value"
            " JOIN documents d ON d.id = p.document"
            " JOIN words w ON w.rowid = p.id",
            (json.dumps(list(ids)),),
        )
        return {
            number: StoredPassage(
                DocumentInfo(*_load_row(info)), start, end, text, _load_vector(vector)
            )
            for number, *info, start, end, text, vector in rows
        }

    def copy_candidates(
        self, number: int, *, limit: int, after: str | None = None, before: str | None = None
    ) -> list[int]:
        """Ids of at most so many other passages that may be copies of one.

        Of dated documents only when `after` or `before` (yyyy-mm-dd) is given.
        """
        only = f" AND EXISTS ({_SELECT_DATED} AND p.id = other.passage)" if after or before else ""
        rows = self._connection.execute(
            "SELECT DISTINCT other.passage FROM bands one JOIN bands other ON other.key = one.key"
            f" WHERE one.passage = ? AND other.passage != one.passage{only} LIMIT ?",
            (number, *((after, before) if only else ()), limit),
        )
        return [candidate for (candidate,) in rows]

    def existing(self, ids: Sequence[int]) -> set[int]:
        """Those of the ids that passages have."""
        query = "SELECT id FROM passages WHERE id IN (SELECT value FROM json_each(?))"
        return {row[0] for row in self._connection.execute(query, (json.dumps(list(ids)),))}

    def spread(self, most: int) -> list[int]:
        """Ids of so many passages or fewer, from first to last."""
        ids = [number for (number,) in self._connection.execute("SELECT id FROM passages")]
        return sorted(ids)[:: len(ids) // most + 1]

    def dated(self, *, after: str | None, before: str | None) -> NDArray[np.int64]:
        """Ids of the passages of documents dated from `after` to `before` (yyyy-mm-dd), rising."""
        rows = self._connection.execute(f"{_SELECT_DATED} ORDER BY p.id", (after, before))
        return np.array([number for (number,) in rows], dtype=np.int64)

    def vectors(self, *, after: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids (n,) and vectors (n, dimension) of all passages whose id is above `after`."""
        empty = np.empty(0, np.int64), np.empty((0, 0), np.float32)
        parts = list(self.vector_portions(after=after)) or [empty]
        return np.concatenate([ids for ids, _ in parts]), np.concatenate([v for _, v in parts])

    def vector_portions(
        self, *, after: int = 0
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """The same, at most VECTORS_AT_ONCE at a time, so that memory holds no more."""
        query = "SELECT id, vector FROM passages WHERE id > ? ORDER BY id"
        rows = self._connection.execute(query, (after,))
        while portion := rows.fetchmany(VECTORS_AT_ONCE):
            ids, vectors = zip(*portion, strict=True)
            joined = _load_vector(b"".join(vectors))
            yield np.array(ids, np.int64), joined.reshape(len(ids), -1)

    def find_words(
        self, question: str, *, limit: int, after: str | None = None, before: str | None = None
    ) -> list[tuple[int, float]]:
        """Ids of passages that hold words of the question, best BM25 first, with that score.

        Of dated documents only when `after` or `before` (yyyy-mm-dd) is given.
        """
        query = match_query(question)
        if not query:
            return []
        # The plus keeps SQLite from looking each dated passage up in the words.
        only = f" AND +rowid IN ({_SELECT_DATED})" if after or before else ""
        rows = self._connection.execute(
            f"SELECT rowid, -rank FROM words WHERE words MATCH ?{only} ORDER BY rank LIMIT ?",
            (query, *((after, before) if only else ()), limit),
        )
        return [(number, score) for number, score in rows]

    def check(self) -> list[str]:
        """What SQLite finds wrong with its file."""
        rows = self._connection.execute("PRAGMA integrity_check").fetchall()
        return [problem for (problem,) in rows if problem != "ok"]


class Writer(Snapshot):
    """Changes within one transaction."""

    def put_manifest(self, **values: str | int) -> None:
        for key, value in values.items():
            stored = _store_path(value) if isinstance(value, str) else value  # it may be a path
            self._connection.execute("INSERT OR REPLACE INTO manifest VALUES (?, ?)", (key, stored))

    def drop_manifest(self, *keys: str) -> None:
        self._connection.executemany("DELETE FROM manifest WHERE key = ?", ((key,) for key in keys))

    def claim(self, name: str, sha256: str, dimension: int) -> None:
        """Ties the catalog to the embedder of its vectors; IndexUnavailable if it has another."""
        manifest = self.manifest()
        if "embedder_sha256" not in manifest:
            self.put_manifest(embedder=name, embedder_sha256=sha256, dimension=dimension)
        check_embedder(manifest, name, sha256)

    def put(
        self,
        document: Document,
        passages: Sequence[Passage],
        vectors: NDArray[np.float32],  # (len(passages), dimension)
        *,
        size: int,
        mtime_ns: int,
    ) -> None:
        """Stores a file of one document in place of the one that has its path."""
        file = self.put_file(document.path, document.sha256, size=size, mtime_ns=mtime_ns)
        self.add(file, document, passages, vectors)

    def put_file(self, path: str, sha256: str, *, size: int, mtime_ns: int) -> int:
        """Notes a file, still without documents, in place of the one that has its path.

        Gives its id, for `add` and `skip`.
        """
        self.remove_file(path)
        file = self._connection.execute(
            "INSERT INTO files (path, sha256, size, mtime_ns, skipped) VALUES (?, ?, ?, ?, '[]')",
            (_store_path(path), sha256, size, mtime_ns),
        ).lastrowid
        assert file is not None
        return file

    def skip(self, file: int, skipped: Sequence[tuple[str, str]]) -> None:
        """Notes what of a file can't be read: what follows its path, and the reason."""
        self._connection.execute(
            "UPDATE files SET skipped = ? WHERE id = ?", (json.dumps(skipped), file)
        )

    def add(
        self,
        file: int,
        document: Document,
        passages: Sequence[Passage],
        vectors: NDArray[np.float32],  # (len(passages), dimension)
    ) -> None:
        """Stores a document of a file in place of the one that has its path."""
        if len(vectors) != len(passages):
            raise ValueError(f"one vector a passage: {len(vectors)} != {len(passages)}")
        self._remove_documents("path", _store_path(document.path))
        execute = self._connection.execute
        row = (document.sha256, document.title, document.date, document.author)
        key = execute(
            "INSERT INTO documents (path, file, sha256, title, date, author, pages, text)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (_store_path(document.path), file, *row, json.dumps(document.pages), document.text),
        ).lastrowid
        last = execute("SELECT seq FROM sqlite_sequence WHERE name = 'passages'").fetchone()
        numbered = list(enumerate(passages, start=last[0] + 1 if last else 1))
        self._connection.executemany(
            "INSERT INTO passages VALUES (?, ?, ?, ?, ?)",
            (
                (number, key, passage.start, passage.end, vector.astype("<f4").tobytes())
                for (number, passage), vector in zip(numbered, vectors, strict=True)
            ),
        )
        self._connection.executemany(
            "INSERT INTO words (rowid, title, text) VALUES (?, ?, ?)",
            ((number, document.title, passage.text) for number, passage in numbered),
        )
        self._put_bands([(number, passage.text) for number, passage in numbered])

    def _put_bands(self, numbered: Sequence[tuple[int, str]]) -> None:
        """Stores by what the copies of passages are found; takes ids and texts."""
        found = zip(numbered, band_keys(text for _, text in numbered), strict=True)
        self._connection.executemany(
            "INSERT INTO bands VALUES (?, ?)",
            ((number, key) for (number, _), keys in found for key in keys),
        )

    def remove(self, path: str) -> bool:
        """Removes a document and its passages; False when there was none.

        The file that it lies in counts as unread from then on.
        """
        execute = self._connection.execute
        query = "SELECT file FROM documents WHERE path = ?"
        file = execute(query, (_store_path(path),)).fetchone()
        if file is None:
            return False
        self._remove_documents("path", _store_path(path))
        execute("UPDATE files SET sha256 = '', mtime_ns = 0 WHERE id = ?", file)
        others = "SELECT 1 FROM documents WHERE file = files.id"
        execute(f"DELETE FROM files WHERE id = ? AND NOT EXISTS ({others})", file)
        return True

    def remove_file(self, path: str) -> None:
        """Removes a file and its documents, if it is there."""
        query = "SELECT id FROM files WHERE path = ?"
        for (file,) in self._connection.execute(query, (_store_path(path),)).fetchall():
            self._remove_documents("file", file)
            self._connection.execute("DELETE FROM files WHERE id = ?", (file,))

    def _remove_documents(self, column: str, value: str | bytes | int) -> None:
        execute = self._connection.execute
        documents = f"SELECT id FROM documents WHERE {column} = ?"
        passages = f"SELECT id FROM passages WHERE document IN ({documents})"
        execute(f"DELETE FROM words WHERE rowid IN ({passages})", (value,))
        execute(f"DELETE FROM bands WHERE passage IN ({passages})", (value,))
        execute(f"DELETE FROM passages WHERE document IN ({documents})", (value,))
        execute(f"DELETE FROM documents WHERE {column} = ?", (value,))

    def move(self, old: str, new: str, *, size: int, mtime_ns: int) -> None:
        """Gives a file and its documents another path, or with the same path its new stamp."""
        execute = self._connection.execute
        execute(
            "UPDATE files SET path = ?, size = ?, mtime_ns = ? WHERE path = ?",
            (_store_path(new), size, mtime_ns, _store_path(old)),
        )
        if old == new:
            return
        documents = execute(
            "SELECT d.id, d.path FROM documents d JOIN files f ON f.id = d.file WHERE f.path = ?",
            (_store_path(new),),
        ).fetchall()
        for key, path in documents:
            moved = _store_path(new + _load_path(path)[len(old) :])
            self._remove_documents("path", moved)
            execute("UPDATE documents SET path = ? WHERE id = ?", (moved, key))


def check_embedder(manifest: Manifest, name: str, sha256: str) -> None:
    """Raises IndexUnavailable when the vectors are those of another embedder."""
    if manifest.get("embedder_sha256", sha256) != sha256:
        raise IndexUnavailable(
            f"the index was made with the embedder {manifest['embedder']}"
            f" (sha256 {str(manifest['embedder_sha256'])[:12]}…), not with {name}"
            f" (sha256 {sha256[:12]}…); use that one, or {REMEDY}"
        )


def check_format(manifest: Manifest, folder: Path) -> None:
    """Raises IndexUnreadable when the tables are those of another version of readback."""
    if (found := manifest.get("schema")) != SCHEMA_VERSION:
        raise IndexUnreadable(
            f"the index {folder} has the format {found}, this version of readback reads"
            f" {SCHEMA_VERSION}; {REMEDY}"
        )


def _store_path(path: str) -> str | bytes:
    """A path as SQLite takes it: file names that aren't valid Unicode become bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def _load_path(path: str | bytes) -> str:
    return os.fsdecode(path)


def _load_list(data: object) -> list[Any]:
    with suppress(ValueError):
        value = json.loads(str(data))
        if isinstance(value, list):
            return value
    raise sqlite3.DatabaseError("a list is damaged")


def _load_row(row: Sequence[Any]) -> Sequence[Any]:
    """The fields of a Document or DocumentInfo, of which the first is its path, the last pages."""
    path, *rest, pages = row
    return [_load_path(path), *rest, tuple(_load_list(pages))]


def _load_vector(data: bytes) -> NDArray[np.float32]:
    return np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)


# Questions

# Words that say nothing about what a passage is about, and the rests of "it's", "don't" and so on.
_STOP_WORDS = """
a about an and any are as at be been being but by can could d did do does doing for from had
has have having he her hers him his how i if in into is it its ll m me my not of on or our ours
re s shall she should so some such t than that the their theirs them then there these they this
those to us ve was we were what when where which while who whom whose why will with would you
your yours
"""
_STOPPED = frozenset(_STOP_WORDS.split())
_TERM = re.compile(r"[\w\u0300-\u036f]+")


def match_query(question: str) -> str:
    """A question as an FTS5 query: its words, each quoted, joined by OR; "" when none is left.

    At most MAX_TERMS words; stop words, punctuation, NUL and lone surrogates fall away, so that no
    operator of FTS5 gets through.
    """
    terms = dict.fromkeys(term.lower() for term in _TERM.findall(question))
    wanted = [f'"{term}"' for term in terms if term not in _STOPPED]
    return " OR ".join(wanted[:MAX_TERMS])
