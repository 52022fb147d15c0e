"""Every error that readback raises on purpose. Messages name the value and the remedy.

ReadbackError
├── FolderError          the folder of documents is missing, is no folder, or holds nothing readable
├── DocumentError        one file can't be read
├── IndexUnavailable     the index can't be opened or written
│   ├── IndexBusy        another process is writing it
│   └── IndexUnreadable  only making it anew helps
├── EmbedderError        the embedder can't be loaded
├── QuestionError        the question is empty or too long
└── ReaderError          the reader can't be loaded

Not for bugs: a wrong argument from the caller's code stays a ValueError or TypeError.
"""


class ReadbackError(Exception):
    """Base of all the others; only the command line and the page turn it into a message."""


class FolderError(ReadbackError):
    """The folder of documents is missing, is no folder, or holds nothing readable."""


class DocumentError(ReadbackError):
    """One file can't be read. A sync reports it as skipped and goes on."""


class IndexUnavailable(ReadbackError):
    """The index can't be opened or written: permissions, a lock, damage, another embedder."""


class IndexBusy(IndexUnavailable):
    """Another process is writing the index; it can be asked meanwhile."""


class IndexUnreadable(IndexUnavailable):
    """The index is damaged or has another format: only making it anew helps."""


class EmbedderError(ReadbackError):
    """The embedder can't be loaded."""


class QuestionError(ReadbackError):
    """The question is empty or too long."""


class ReaderError(ReadbackError):
    """The reader can't be loaded."""
