"""The page without a browser: what it shows, what it serves, how it starts and fails."""

import re
import socket
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from index.errors import ReadbackError
from qa.chatbot import Answer, Citation, CopyPlace, ReadPassage, Timings
from qa.page import serve
from qa.page.render import (
    COPIES,
    LONGEST_QUESTION,
    NEAREST,
    relative_times,
    render,
    render_heading,
    render_problem,
    render_question,
)
from qa.page.server import policy

ROOT = Path(__file__).parent.parent
HOSTILE = (
    "<script>alert(1)</script> <img src=x onerror=alert(1)> </p></article> &lt;b&gt; \"'` "
    "[a](javascript:alert(1)) **bold** $$x$$ ${1+1} {{value}} \u202e"
)
TEXT = "Tokyo 🗼.\n\nThe first consultation is planned for next year, Kishida said. He smiled."
QUOTE = "next year"
SENTENCE = "The first consultation is planned for next year, Kishida said."


def answered(
    *, text: str = TEXT, quote: str = QUOTE, sentence: str = SENTENCE, title: str = "A summit"
) -> Answer:
    """An answer from a document of one passage, its whole text."""
    start = text.index(quote)
    citation = Citation(
        document="news/summit.md",
        title=title,
        date="2022-04-28",
        sha256="0" * 64,
        start=start,
        end=start + len(quote),
        quote=quote,
        sentence=sentence,
        sentence_start=text.index(sentence),
    )
    passage = ReadPassage(
        document="news/summit.md",
        title=title,
        date="2022-04-28",
        start=0,
        end=len(text),
        text=text,
        score=0.9,
    )
    return Answer(
        question="When?",
        standalone="When?",
        text=quote,
        verdict=None,
        confidence=0.83,
        provisional=False,
        citations=(citation,),
        passages=(passage,),
        timings=Timings(embed=0.021, search=0.005, read=0.287),
    )


def unanswered(count: int) -> Answer:
    answer = answered()
    return replace(
        answer, text=None, confidence=0.07, citations=(), passages=answer.passages * count
    )


def copied(answer: Answer, *documents: str) -> Answer:
    """The same, of a passage that stands in these documents as well."""
    copies = tuple(
        CopyPlace(document, f"Copy in {document}", "2022-04-29", 5, 84, exact=False)
        for document in documents
    )
    return replace(answer, citations=(replace(answer.citations[0], copies=copies),))


class Reading(HTMLParser):
    """What a browser makes of HTML: its tags, its text, and the text inside each tag."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.inside: dict[str, list[str]] = {}
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.inside.setdefault(tag, []).append("")
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        for tag in self.open:
            self.inside[tag][-1] += data


def test_quote_is_marked_in_its_sentence_and_in_its_passage() -> None:
    seen = Reading(render(answered()))
    assert seen.inside["blockquote"] == [SENTENCE]
    assert seen.inside["mark"] == [QUOTE, QUOTE]
    assert seen.inside["details"][0].endswith(TEXT.replace("\n\n", ""))


def test_source_is_named_dated_and_placed() -> None:
    answer = answered()
    seen = Reading(render(answer))
    [summary] = seen.inside["summary"]
    start = answer.citations[0].start
    for part in ("A summit", "28 April 2022", "news/summit.md", f"{start} to {start + 9}"):
        assert part in summary
    assert "<details open>" in render(answer)
    assert "page" not in summary
    cited = replace(answer.citations[0], document="summit.pdf", page=1_234)
    [summary] = Reading(render(replace(answer, citations=(cited,)))).inside["summary"]
    assert f"summit.pdf, page 1,234, characters {start}" in summary


def test_date_stands_beside_the_answer() -> None:
    before_sources = render(answered()).split("<section>")[0]
    assert "28 April 2022" in before_sources
    assert "“next year”, as of" in Reading(before_sources).text

    answer = answered()
    undated = replace(answer, citations=(replace(answer.citations[0], date=None),))
    assert "doesn't give" in Reading(render(undated)).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is planned for next year, and Next Year again.", ["Next Year"]),
        ("He came on Thursday and left last Friday.", ["Thursday", "last Friday"]),
        ("in office since last December", ["last December"]),
        ("He took office in December.", ["in December"]),
        ("They met on 16 June, not on June 18.", ["16 June", "June 18"]),
        ("two years ago, today", ["two years ago", "today"]),
        ("On 28 April 2022, in June 2022 and on May 3, 2021.", []),
        ("He may march on, as the last man did this time.", []),
    ],
)
def test_expressions_that_need_a_date(text: str, expected: list[str]) -> None:
    assert relative_times(text) == expected


def test_a_follow_up_is_shown_as_it_was_read() -> None:
    assert "Searched for" not in Reading(render(answered())).text
    follow_up = replace(answered(), question="And when?", standalone="when did <b>they</b> meet?")
    assert "Searched for: when did <b>they</b> meet?" in Reading(render(follow_up)).text


def test_verdict_confidence_and_time_are_told() -> None:
    seen = Reading(render(replace(answered(), verdict="yes"))).text
    assert seen.startswith("Yes.")
    assert "High confidence, 0.83" in seen and "provisional" not in seen
    provisional = render(replace(answered(), provisional=True))
    assert "High confidence, 0.83 (provisional)" in Reading(provisional).text
    assert "Took 313 ms: embedding 21, searching 5, reading 287." in seen
    assert "Low confidence, 0.31" in Reading(render(replace(answered(), confidence=0.31))).text


def test_silence_of_the_documents_is_told_with_the_nearest_passages() -> None:
    seen = Reading(render(unanswered(NEAREST + 2)))
    assert seen.text.startswith("The documents don't say.")
    assert len(seen.inside["details"]) == NEAREST
    assert "mark" not in seen.tags
    assert "details" not in Reading(render(unanswered(0))).tags


def test_passage_of_another_document_is_not_taken_for_the_source() -> None:
    answer = answered()
    other = replace(answer.passages[0], document="other.md", text="x" * len(TEXT))
    seen = Reading(render(replace(answer, passages=(other,))))
    assert seen.inside["details"][0].endswith(SENTENCE)


def test_copies_are_listed_under_the_source() -> None:
    seen = Reading(render(copied(answered(), "a.md", "b.md", "b.md")))
    assert seen.inside["summary"][1] == "Also in 2 other documents"
    assert len(seen.inside["li"]) == 3
    first = seen.inside["li"][0]
    for part in ("Copy in a.md", "29 April 2022", "a.md, characters 5 to 84", "small changes"):
        assert part in first
    many = Reading(render(copied(answered(), *map(str, range(COPIES + 7)))))
    assert len(many.inside["li"]) == COPIES + 1
    assert many.inside["li"][-1] == "and at 7 more"
    same = Reading(render(copied(answered(), "news/summit.md")))
    assert same.inside["summary"][1] == "Also elsewhere in this document"
    assert "Also" not in Reading(render(answered())).text


def test_hostile_text_is_shown_and_is_no_markup() -> None:
    heading = render_heading("a", documents=1, passages=2, skipped=[("b", "c")])
    allowed = Reading(render(answered()) + render_question("a") + heading)
    answer = answered(text=HOSTILE, quote=HOSTILE[9:60], sentence=HOSTILE, title=HOSTILE)
    hostile = replace(
        answer,
        citations=(replace(answer.citations[0], document=HOSTILE),),
        passages=(replace(answer.passages[0], document=HOSTILE),),
    )
    for source, times in (
        (render(hostile), 5),  # sentence, title twice, file, passage
        (render(copied(hostile, HOSTILE)), 7),  # and the copy's title and file
        (render(replace(hostile, citations=())), 3),
        (render_question(HOSTILE), 1),
        (render_problem(HOSTILE), 1),
        (render_heading(HOSTILE, documents=1, passages=2, skipped=[(HOSTILE, HOSTILE)]), 3),
    ):
        seen = Reading(source)
        assert seen.open == []
        assert seen.tags <= allowed.tags
        assert seen.attributes <= {"class", "datetime", "open"}
        assert seen.text.count(HOSTILE) == times


def test_names_that_are_no_unicode_can_be_sent() -> None:
    name = b"caf\xe9.md".decode(errors="surrogateescape")
    heading = render_heading(name, documents=1, passages=1)
    assert b"caf?.md" in heading.encode()


def test_far_too_long_question_is_cut() -> None:
    shown = Reading(render_question("a" * 100_000)).text
    assert shown == "a" * LONGEST_QUESTION + "…"


def test_policy_names_inline_scripts_only() -> None:
    page = b"<script src='/a.js'></script><script data-x>one</script><script>two</script>"
    assert policy(page).count("'sha256-") == 2
    script = re.search(r"script-src ([^;]*);", policy(page))
    assert script is not None
    assert "'unsafe-inline'" not in script.group(1)
    assert "http" not in policy(page)


def test_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ReadbackError, match=f"{port}.*--port"):
            serve(tmp_path, port=port)


@pytest.mark.parametrize("port", [-1, 65_536])
def test_port_out_of_range_is_named(tmp_path: Path, port: int) -> None:
    with pytest.raises(ReadbackError, match=str(port)):
        serve(tmp_path, port=port)


def test_missing_folder_is_told_without_a_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "app.py", tmp_path / "nowhere", "--port", "0"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_importing_the_page_loads_nothing_heavy() -> None:
    code = "import qa.page, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "qa.page.chat" in loaded
    assert not {"gradio", "fastapi", "uvicorn", "torch"} & set(loaded)
