"""Questions, answers and the heading as HTML.

Text that comes from documents, file names or people passes `plain` once, on its way into a
template, and nothing after that adds markup to it. This module knows neither Gradio nor the
reader: an answer goes in, a string comes out.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qa.chatbot import Answer, Citation, CopyPlace, ReadPassage

NEAREST = 3  # passages listed when the documents don't say
COPIES = 20  # places listed where else a passage stands
LONGEST_QUESTION = 300  # characters of a question that are shown back

_DAYS = "(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_SPANS = (
    "morning|afternoon|evening|night|week|weekend|month|quarter|season|year|decade|century"
    "|spring|summer|autumn|fall|winter"
)
_RELATIVE_TIME = re.compile(
    rf"""\b(?:
        today | tonight | yesterday | tomorrow
      | (?:this|next|last|past|coming|previous|following)\s+(?:{_SPANS}|{_DAYS}|{_MONTHS})
      | {_DAYS}
      | (?:\w+\s+)?(?:day|week|month|year|decade)s?\s+ago
      | (?:in|since|by|until|\d\d?)\s+(?:{_MONTHS})(?!,?\s+\d{{4}})
      | (?:{_MONTHS})\s+\d\d?(?!,?\s+\d{{4}})
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)


def render(answer: Answer) -> str:
    """The answer with its sources, or that the documents don't say; and how long it took."""
    body = _found(answer) if answer.citations else _not_found(answer)
    return f'<article class="answer">{_read_as(answer)}{body}{_timings(answer)}</article>'


def render_question(question: str) -> str:
    """The question as asked, cut where it is far too long to be one."""
    cut = "…" if len(question) > LONGEST_QUESTION else ""
    return f'<h2 class="question">{plain(question[:LONGEST_QUESTION])}{cut}</h2>'


def render_problem(message: str) -> str:
    """A message in the place of an answer."""
    return f'<p class="problem">{plain(message[:1].upper() + message[1:])}.</p>'


def render_heading(
    folder: str, *, documents: int, passages: int, skipped: Sequence[tuple[str, str]] = ()
) -> str:
    """The top of the page: whose words these are, how many, and what could not be read.

    `skipped` holds paths and reasons.
    """
    unread = "".join(f"<li><bdi>{plain(path)}</bdi>: {plain(why)}</li>" for path, why in skipped)
    return (
        "<header><h1>readback</h1>"
        f'<p><bdi class="folder">{plain(folder)}</bdi>'
        f"<span>{_count(documents, 'document')}</span>"
        f"<span>{_count(passages, 'passage')}</span></p>"
        + (
            f"<details><summary>{_count(len(skipped), 'file')} skipped</summary>"
            f"<ul>{unread}</ul></details>"
            if skipped
            else ""
        )
        + "</header>"
    )


def relative_times(text: str) -> list[str]:
    """The expressions whose meaning hangs on the day of writing: "next year", "in December"."""
    found = [match.group() for match in _RELATIVE_TIME.finditer(text)]
    return list({expression.casefold(): expression for expression in found}.values())


def plain(text: str) -> str:
    """`text` as HTML that shows it literally; what UTF-8 can't hold (odd file names) as `?`."""
    return html.escape(text.encode(errors="replace").decode())


def _read_as(answer: Answer) -> str:
    """A follow-up as it was understood."""
    if answer.standalone == answer.question:
        return ""
    return f'<p class="read-as">Searched for: {plain(answer.standalone)}</p>'


def _found(answer: Answer) -> str:
    first = answer.citations[0]
    verdict = f'<p class="verdict">{answer.verdict.capitalize()}.</p>' if answer.verdict else ""
    sources = [
        _source(citation, answer.passages, opened=citation is first)
        for citation in answer.citations
    ]
    return (
        f"{verdict}<blockquote>{_sentence(first)}</blockquote>{_origin(first)}"
        f'<p class="confidence">{_confidence(answer)}</p>'
        + _section("Source" if len(sources) == 1 else "Sources", sources)
    )


def _not_found(answer: Answer) -> str:
    nearest = [_passage(passage) for passage in answer.passages[:NEAREST]]
    return (
        '<p class="unsaid">The documents don\'t say.</p>'
        f'<p class="confidence">Confidence in the best candidate: {_number(answer)}</p>'
        + (_section("Nearest passages", nearest) if nearest else "")
    )


def _section(heading: str, places: list[str]) -> str:
    return f"<section><h3>{heading}</h3>{''.join(places)}</section>"


def _sentence(citation: Citation) -> str:
    """The quote marked within its sentence."""
    start = citation.start - citation.sentence_start
    return _marked(citation.sentence, start, start + len(citation.quote))


def _origin(citation: Citation) -> str:
    """Who says so and when, and with that what a "next year" means."""
    title = f"<cite><bdi>{plain(citation.title)}</bdi></cite>"
    lines = f'<p class="origin">{title} {_day(citation.date)}</p>'
    if expressions := relative_times(citation.sentence):
        quoted = " and ".join(f"“{plain(expression)}”" for expression in expressions)
        day = _day(citation.date) if citation.date else "a day that the source doesn't give"
        lines += f'<p class="as-of">{quoted}, as of {day}</p>'
    return lines


def _source(citation: Citation, passages: tuple[ReadPassage, ...], *, opened: bool) -> str:
    """The document and the whole passage with the quote marked; the sentence, failing that."""
    text, offset = citation.sentence, citation.sentence_start
    for passage in passages:
        if passage.document == citation.document and (
            passage.start <= citation.start and citation.end <= passage.end
        ):
            text, offset = passage.text, passage.start
            break
    body = _marked(text, citation.start - offset, citation.end - offset)
    return _details(citation, body, opened=opened)


def _passage(passage: ReadPassage) -> str:
    return _details(passage, _marked(passage.text, 0, 0), opened=False)


def _details(place: Citation | ReadPassage, body: str, *, opened: bool) -> str:
    return (
        f"<details{' open' if opened else ''}>"
        f"<summary>{_place(place)}</summary>"
        f'<p class="passage">{body}</p>{_copies(place)}</details>'
    )


def _place(place: Citation | ReadPassage | CopyPlace) -> str:
    """Title, date, file, page and offsets."""
    page = f"page {place.page:,}, " if place.page else ""
    return (
        f"<cite><bdi>{plain(place.title)}</bdi></cite> {_day(place.date)}"
        f'<span class="file"><bdi>{plain(place.document)}</bdi>, '
        f"<span>{page}characters {place.start:,} to {place.end:,}</span></span>"
    )


def _copies(place: Citation | ReadPassage) -> str:
    """Where else the passage stands, to be unfolded."""
    if not place.copies:
        return ""
    beside = len({copy.document for copy in place.copies} - {place.document})
    where = f"in {_count(beside, 'other document')}" if beside else "elsewhere in this document"
    listed = [
        f"<li>{_place(copy)}{'' if copy.exact else 'with small changes'}</li>"
        for copy in place.copies[:COPIES]
    ]
    if len(place.copies) > COPIES:
        listed.append(f"<li>and at {len(place.copies) - COPIES:,} more</li>")
    return (
        f'<details class="copies"><summary>Also {where}</summary>'
        f"<ul>{''.join(listed)}</ul></details>"
    )


def _marked(text: str, start: int, end: int) -> str:
    """`text` with [start, end) marked; a blank line stays a gap."""
    marked = f"<mark>{plain(text[start:end])}</mark>" if start < end else ""
    body = plain(text[:start]) + marked + plain(text[end:])
    return re.sub(r"\n\s*\n", "<br><br>", body)


def _day(iso: str | None) -> str:
    """2022-04-28 as 28 April 2022."""
    if iso is None:
        return '<span class="undated">undated</span>'
    day = date.fromisoformat(iso)
    return f'<time datetime="{day}">{day.day} {day:%B %Y}</time>'


def _confidence(answer: Answer) -> str:
    probability = answer.confidence
    word = "High" if probability >= 0.8 else "Fair" if probability >= 0.5 else "Low"
    return f"{word} confidence, {_number(answer)}"


def _number(answer: Answer) -> str:
    return f"{answer.confidence:.2f}" + (" (provisional)" if answer.provisional else "")


def _timings(answer: Answer) -> str:
    took = answer.timings
    total, embed, search, read = (
        f"{seconds * 1000:,.0f}" for seconds in (took.total, took.embed, took.search, took.read)
    )
    return (
        f'<p class="timings">Took {total} ms: '
        f"embedding {embed}, searching {search}, reading {read}.</p>"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
