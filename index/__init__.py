"""Documents, passages and search: a folder of files becomes an index that can be asked."""

from index.documents import Document, DocumentInfo
from index.embedder import Embedder, load_embedder
from index.errors import (
    DocumentError,
    EmbedderError,
    FolderError,
    IndexBusy,
    IndexUnavailable,
    IndexUnreadable,
    QuestionError,
    ReadbackError,
    ReaderError,
)
from index.passage_index import IndexStats, PassageIndex
from index.passages import Passage
from index.ranking import Copy, Hit
from index.sync import SyncReport

__all__ = [
    "Copy",
    "Document",
    "DocumentError",
    "DocumentInfo",
    "Embedder",
    "EmbedderError",
    "FolderError",
    "Hit",
    "IndexBusy",
    "IndexStats",
    "IndexUnavailable",
    "IndexUnreadable",
    "Passage",
    "PassageIndex",
    "QuestionError",
    "ReadbackError",
    "ReaderError",
    "SyncReport",
    "load_embedder",
]
