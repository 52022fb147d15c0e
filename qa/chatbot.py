"""Questions in, answers with their sources out: search, read, cite, or say that nothing was found.

A Chatbot holds the index and the reader and remembers nothing; a Conversation remembers its own
turns. Not for showing answers: see ``cli`` and ``page``.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from index import Copy, Embedder, Hit, PassageIndex, SyncReport
from index.documents import page_of
from index.embedder import DEFAULT
from index.errors import FolderError, IndexBusy
from index.passage_index import MAX_QUESTION, Date
from index.passages import sentence_around
from index.sync import missing
from qa.reader import Reader, Reading
from qa.reader.reader import Nearness

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PASSAGES = 8  # read for each question
INDEX_FOLDER = ".readback"  # inside the folder of documents, unless told otherwise

# A question that leans on the one before it: it opens with a link or points back with a pronoun.
LINK = "and|but|so|then|also"
LINKED = re.compile(rf"\s*(?:{LINK}|what about|how about)\b", re.IGNORECASE)
POINTING = re.compile(
    r"\b(?:he|she|it|they|him|her|them|his|hers|its|their|theirs|this|that|these|those|there|then|"
    r"the (?:\w+ )?ones?)\b",
    re.IGNORECASE,
)
ASKING = re.compile(r"\b(?:who|whom|whose|what|when|where|which|why|how)\b", re.IGNORECASE)
ABOUT = re.compile(rf"\s*(?:(?:{LINK})\s+)?(?:what|how)\s+about\b", re.IGNORECASE)
BARE_WORDS = 2  # "Why?", "Since when?": as short as this, a question can't stand alone


@dataclass(frozen=True, slots=True)
class CopyPlace:
    """Where else a passage stands, in the same or nearly the same words."""

    document: str  # path inside the folder
    title: str
    date: str | None  # ISO, of the document
    start: int  # code points in the document's text
    end: int
    exact: bool  # the same text, letter for letter
    page: int | None = None  # of a PDF, from 1: where the copy starts


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a quote stands: document.text[start:end] == quote."""

    document: str  # path inside the folder
    title: str
    date: str | None  # ISO, of the document
    sha256: str  # of the file's bytes
    start: int  # code points in the document's text
    end: int
    quote: str  # verbatim
    sentence: str  # the sentence or sentences around the quote, verbatim
    sentence_start: int  # code points in the document's text
    page: int | None = None  # of a PDF, from 1: where the quote starts
    copies: tuple[CopyPlace, ...] = ()  # of the passage that the quote is from


@dataclass(frozen=True, slots=True)
class ReadPassage:
    """A passage that was read for an answer."""

    document: str  # path inside the folder
    title: str
    date: str | None  # ISO, of the document
    start: int  # code points in the document's text
    end: int
    text: str
    score: float  # 0..1, of the search
    page: int | None = None  # of a PDF, from 1: where the passage starts
    copies: tuple[CopyPlace, ...] = ()  # by date, then path


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds that the parts of an answer took."""

    embed: float
    search: float
    read: float

    @property
    def total(self) -> float:
        return self.embed + self.search + self.read


@dataclass(frozen=True, slots=True)
class Answer:
    """What the documents say, or that they don't."""

    question: str  # as it was asked
    standalone: str  # as it was searched: a follow-up together with what it leans on
    text: str | None  # verbatim; None: the documents don't say
    verdict: Literal["yes", "no"] | None  # to a yes-or-no question, where it is clear
    confidence: float  # 0..1: that the documents hold the answer and this is it
    provisional: bool  # whether the confidence was fitted on little data, or on none
    citations: tuple[Citation, ...]  # empty when text is None
    passages: tuple[ReadPassage, ...]  # best first
    timings: Timings


class Chatbot:
    """Answers questions from a folder of documents. May be asked from several threads."""

    def __init__(
        self,
        folder: Path | None,
        index: PassageIndex,
        reader: Reader,
        report: SyncReport,
        busy: str = "",
    ) -> None:
        self.folder = folder  # that was synced when it was opened; None: all of the index
        self.index = index
        self.reader = reader
        self.report = report  # of the sync when it was opened
        self.busy = busy  # why there was none, to be told: another process was writing the index

    @classmethod
    def open(
        cls,
        folder: str | Path | None = None,
        *,
        index: str | Path | None = None,
        embedder: Embedder | None = None,
        reader: Reader | None = None,
        progress: bool = False,
    ) -> Chatbot:
        """Bring the index up to date with the folder and load the reader.

        ``index`` is the index folder (``FOLDER/.readback`` by default); with that alone, all
        folders that it holds are brought up to date. Asked is always all that it holds. While
        another process is writing it, its last whole state is asked. Raises FolderError,
        IndexUnavailable, EmbedderError or ReaderError.
        """
        if folder is None and (index is None or not Path(index).is_dir()):
            raise FolderError(f"there is no index at {index}; name a folder of documents")
        folder = Path(folder) if folder is not None else None
        if folder and not folder.is_dir():  # before an index folder is made in it
            raise missing(folder)
        passages = PassageIndex.open(index or Path(folder or ".") / INDEX_FOLDER, embedder=embedder)
        report, busy = SyncReport(), ""
        try:
            report = passages.sync(folder, progress=progress)
        except IndexBusy as error:
            if not passages.stats().documents:
                raise
            busy = f"{error}. Until then its last whole state is asked"
        passages.embed("ready")  # loads the embedder now, not with the first question
        return cls(folder, passages, reader or Reader.load(), report, busy)

    def ask(
        self, question: str, *, after: Date | None = None, before: Date | None = None
    ) -> Answer:
        """Answer a question that stands alone.

        ``after`` and ``before``, days that both count in, leave out documents of other days and
        those without a date. Raises QuestionError: empty or too long, or a day that is none.
        """
        return self._answer(question, question, question, after, before)

    def conversation(self) -> Conversation:
        """A new conversation, with a memory of its own."""
        return Conversation(self)

    def _answer(
        self,
        question: str,
        standalone: str,  # is searched
        read_as: str,
        after: Date | None,
        before: Date | None,
    ) -> Answer:
        started = time.perf_counter()
        vector = self.index.embed(standalone)
        embedded = time.perf_counter()
        hits = self.index.search(standalone, k=PASSAGES, vector=vector, after=after, before=before)
        searched = time.perf_counter()
        texts = [hit.text for hit in hits]
        reading = self.reader.read(read_as, texts, nearness=self._nearness(vector))
        read = time.perf_counter()
        found = reading is not None and reading.confidence >= self.reader.threshold
        return Answer(
            question=question,
            standalone=standalone,
            text=reading.text if reading and found else None,
            verdict=None,
            confidence=reading.confidence if reading else 0.0,
            provisional=self.reader.provisional,
            citations=(cite(hits[reading.passage], reading),) if reading and found else (),
            passages=tuple(map(as_read, hits)),
            timings=Timings(embedded - started, searched - embedded, read - searched),
        )

    def _nearness(self, vector: NDArray[np.float32]) -> Nearness | None:
        """How near a sentence is to the question of this vector (dimension,).

        None with another embedder than the default one, whose cosines the reader can't judge.
        """
        if self.index.embedder != DEFAULT:
            return None
        return lambda text: float(vector @ self.index.embed(text.strip()[:MAX_QUESTION]))


class Conversation:
    """Questions that may lean on those before: "And about China?" """

    def __init__(self, chatbot: Chatbot) -> None:
        self._chatbot = chatbot
        self._topic: str | None = None  # the last question that stood alone
        self._title = ""  # of the document that was cited last since then

    def ask(
        self, question: str, *, after: Date | None = None, before: Date | None = None
    ) -> Answer:
        """Answer a question in the light of those before it; ``after`` and ``before`` hold for
        this one alone. Raises QuestionError as ``Chatbot.ask``.

        A follow-up is searched together with the title of the document that was cited last. It is
        read as it was asked or, where it leaves out what it asks, with the question before it.
        """
        if self._topic and leans_back(question):
            read_as = question
            if not self._title or leaves_out(question):
                read_as = unless_too_long(join(question, self._topic), question)
            standalone = unless_too_long(f"{read_as} {self._title}".rstrip(), read_as)
            answer = self._chatbot._answer(question, standalone, read_as, after, before)
        else:
            answer = self._chatbot.ask(question, after=after, before=before)
            self._topic, self._title = question, ""
        if answer.citations:
            self._title = answer.citations[0].title
        return answer


def leans_back(question: str) -> bool:
    """Whether a question can't be understood without the one before it."""
    return is_bare(question) or bool(LINKED.match(question) or POINTING.search(question))


def leaves_out(question: str) -> bool:
    """Whether a follow-up does not say what it asks, as in "And about China?"."""
    return is_bare(question) or not ASKING.search(question) or bool(ABOUT.match(question))


def is_bare(question: str) -> bool:
    return 0 < len(question.split()) <= BARE_WORDS


def join(question: str, topic: str) -> str:
    """A follow-up together with the question it leans on; the one that asks comes first."""
    return f"{question} {topic}" if ASKING.search(question) else f"{topic} {question}"


def unless_too_long(joined: str, question: str) -> str:
    """A follow-up with what it leans on or, where that is more than may be asked, by itself."""
    return joined if len(joined) <= MAX_QUESTION else question


def cite(hit: Hit, reading: Reading) -> Citation:
    """The place of a reading in its document."""
    first, last = sentence_around(hit.text, reading.start, reading.end)
    return Citation(
        document=hit.document.path,
        title=hit.document.title,
        date=hit.document.date,
        sha256=hit.document.sha256,
        start=hit.start + reading.start,
        end=hit.start + reading.end,
        quote=hit.text[reading.start : reading.end],
        sentence=hit.text[first:last],
        sentence_start=hit.start + first,
        page=page_of(hit.document, hit.start + reading.start),
        copies=tuple(map(_copy_place, hit.copies)),
    )


def as_read(hit: Hit) -> ReadPassage:
    return ReadPassage(
        document=hit.document.path,
        title=hit.document.title,
        date=hit.document.date,
        start=hit.start,
        end=hit.end,
        text=hit.text,
        score=hit.score,
        page=page_of(hit.document, hit.start),
        copies=tuple(map(_copy_place, hit.copies)),
    )


def _copy_place(copy: Copy) -> CopyPlace:
    return CopyPlace(
        document=copy.document.path,
        title=copy.document.title,
        date=copy.document.date,
        start=copy.start,
        end=copy.end,
        exact=copy.exact,
        page=page_of(copy.document, copy.start),
    )
