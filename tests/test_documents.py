"""Files become documents: text, title, date and author, or a plain reason why not."""

import hashlib
import os
import random
from pathlib import Path

import pytest

from index.documents import MAX_BYTES, load_document, parse_document
from index.errors import DocumentError
from index.head import read_date_line

ARTICLE = """\
Norway and Chile Agree on Copper Research

Norway and Chile Agree on Copper Research
Ministers Ane Berg and Luis Rojas sign the paper in Oslo, Norway on March 30, 2021. (Example/Photos)
Marit Solheim
3/31/2021
Updated:
4/1/2021

Norway and Chile agreed on Tuesday to study copper together.

https://example.org/status/1

Reuters contributed to this report.
"""


def parse(text: str | bytes, name: str = "notes/a file.txt"):
    return parse_document(text.encode() if isinstance(text, str) else text, name=name)


def test_an_article_with_clutter_has_title_date_and_author():
    document = parse(ARTICLE)
    assert document.title == "Norway and Chile Agree on Copper Research"
    assert document.date == "2021-03-31"
    assert document.author == "Marit Solheim"
    assert document.text == ARTICLE


def test_a_document_is_hashed_by_its_bytes_and_keeps_its_line_ends(tmp_path: Path):
    data = b"\xef\xbb\xbfTitle\r\n\r\nFirst line.\r\nSecond line.\r\n"
    (tmp_path / "a.txt").write_bytes(data)
    document = load_document(tmp_path / "a.txt", name="sub/a.txt")
    assert document.path == "sub/a.txt"
    assert document.sha256 == hashlib.sha256(data).hexdigest()
    assert document.text == "Title\r\n\r\nFirst line.\r\nSecond line.\r\n"
    assert document.title == "Title"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_encodings(encoding: str):
    text = "Café\n\n岸田文雄 met “Olaf” 😀 e\u0301."
    assert parse(text.encode(encoding)).text == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_byte_order_marks_tell_both_orders(encoding: str):
    assert parse("\ufeffplain words".encode(encoding)).text == "plain words"


@pytest.mark.parametrize(
    "text",
    [
        "José arrived.",
        "He paid £50 in Zürich.",
        "A naïve façade.",
        "Scholz’s trip to Japan is his first. He said it was a “clear signal” – at last.",  # noqa: RUF001,
        "The price of a café crème rose to 5 €, the owner said. " * 40,
        "Plain words for a long while. " * 200 + "Then one señor.",
    ],
)
def test_windows_1252_and_latin_1_are_read_properly(text: str):
    assert parse(text.encode("cp1252")).text == text
    latin = text.encode("latin-1", errors="ignore")
    assert parse(latin).text == latin.decode("latin-1")


def test_another_encoding_is_detected():
    text = "Премьер-министр Японии и канцлер Германии договорились в четверг."
    assert parse(text.encode("cp1251")).text == text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0", "NUL"),
        (random.Random(1).randbytes(3000).replace(b"\0", b"\1"), "control characters|encoding"),
        ("a\0b".encode("utf-16"), "control characters"),
        (b"\x01\x02\x03abc\x04", "control characters"),
        (b"\xff\xfea\xd8b", "utf-16-le"),
        (b"", "no text"),
        (b" \r\n\t\r\n", "no text"),
        (b"--- *** !!!", "no text"),
    ],
)
def test_what_is_no_text_is_told_plainly(data: bytes, reason: str):
    with pytest.raises(DocumentError, match=reason):
        parse(data)


def test_what_cannot_be_opened_is_told_plainly(tmp_path: Path):
    with pytest.raises(DocumentError, match="not a regular file"):
        load_document(tmp_path / "missing.txt", name="missing.txt")
    with pytest.raises(DocumentError, match="not a regular file"):
        load_document(tmp_path, name="folder.txt")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.txt")  # reading it would wait for ever
        with pytest.raises(DocumentError, match="not a regular file"):
            load_document(tmp_path / "pipe.txt", name="pipe.txt")
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(DocumentError, match="larger than 64 MiB"):
        load_document(tmp_path / "huge.txt", name="huge.txt")
    with pytest.raises(DocumentError, match=r"\.png is none of \.txt, \.md"):
        parse("text", "a.png")


@pytest.mark.parametrize(
    ("line", "date"),
    [
        ("Tokyo, 28 April 2022", "2022-04-28"),
        ("Schloss Elmau, Germany, 26 June 2022", "2022-06-26"),
        ("Date: 2022-04-28", "2022-04-28"),
        ("2022-04-28T10:00:00Z", "2022-04-28"),
        ("4/29/2022", "2022-04-29"),
        ("29.4.2022", "2022-04-29"),
        ("5/5/2022", "2022-05-05"),
        ("Updated April 29th, 2022 at 10:30 AM ET", "2022-04-29"),
        ("Published on Thursday, 28 April 2022", "2022-04-28"),
        ("Published 28 April 2022, updated 2 May 2022", "2022-04-28"),
        ("4/5/2022", ""),  # April or May
        ("31 June 2022", ""),
        ("Updated:", ""),
        ("Updated", None),
        ("April 2022", None),
        ("In 2022", None),
        ("The summit of 28 April 2022", None),
        ("28 April 2022: the day it began", None),
        ("Queen Elizabeth II, 21 April 1926 – 8 September 2022", None),  # noqa: RUF001
    ],
)
def test_date_lines(line: str, date: str | None):
    assert read_date_line(line) == date


@pytest.mark.parametrize(
    ("head", "title", "date", "author"),
    [
        ("# A Heading\n\n*Tokyo, 28 April 2022*\n\nText.", "A Heading", "2022-04-28", None),
        (
            "Kicker\n\n# **A Heading** #\nBy Jane Doe | 1 May 2022\n",
            "A Heading",
            "2022-05-01",
            "Jane Doe",
        ),
        ("BY JANE DOE AND JOHN ROE\n\nText goes on.", None, None, "JANE DOE AND JOHN ROE"),
        ("A headline\n\nAuthor: Plato\n\nBy train they went.", "A headline", None, "Plato"),
        ("A sentence is not a headline.\n\nMore.", None, None, None),
        ("A wrapped line without a\nheadline goes on.", None, None, None),
        ("word " * 60 + "\n\nText.", None, None, None),
        ("https://example.org/a\n\nThe Headline\n\nText.", "The Headline", None, None),
        ("4/29/2022\nThe Headline\n\nText.", "The Headline", "2022-04-29", None),
        ("A headline\n\nText.\n\n" + "Line.\n" * 20 + "4/29/2022\n", "A headline", None, None),
        (
            '---\ntitle: "One: Two"\nauthor: [Jane Doe, John Roe]\ndate: 2022-04-28\n---\n# B\n',
            "One: Two",
            "2022-04-28",
            "Jane Doe, John Roe",
        ),
        ("---\ntitle: A\ndate: 28 April 2022\n---\nText.", "A", "2022-04-28", None),
        ("---\r\ndate: 2022-04-28 10:00:00\r\n---\r\nHead\r\n\r\nText", "Head", "2022-04-28", None),
        ("---\ntitle: A\ndate: 2022-04-28\n---\n", "A", "2022-04-28", None),
        ("---\nsize: !!int ''\n---\n# Head", "Head", None, None),
        ("---\n{broken: [\n---\n\nText.", None, None, None),
        ("---\ndate: 2022-99-99\n---\n# Head\n", "Head", None, None),
        ("---\nA text between rules: no meta\n---\n", "A text between rules: no meta", None, None),
        ("| a | table |\n|---|---|\n| b | c |\n", None, None, None),
        ("---\n" + "[" * 5000 + "\n---\n# Head", "Head", None, None),
    ],
)
def test_heads(head: str, title: str | None, date: str | None, author: str | None):
    document = parse(head, "sub/the name.md")
    assert (document.title, document.date, document.author) == (title or "the name", date, author)
    assert document.text == head


PAGE = """<!DOCTYPE html><html><head><title>Copper pact | The Daily</title>
<meta property="og:title" content="Copper pact"><meta name="author" content="Marit Solheim">
<meta property="article:published_time" content="2021-03-31T10:00:00Z"></head><body>
<nav><a href="/">Home page</a></nav><article><h1>Copper pact</h1>
<figure><img src="a.jpg"><figcaption>Ane Berg signs the paper in Oslo.</figcaption></figure>
<p>Norway and Chile agreed on Tuesday to study copper together, the ministers said.</p>
<p>A caf&eacute; of the ministry shut &lt;script&gt;alert(1)&lt;/script&gt; today &#xD800;.</p>
<script>steal()</script></article><footer>Copyright 2023</footer></body></html>"""


def test_html_gives_its_main_text_and_metadata():
    document = parse(PAGE, "a.html")
    assert (document.title, document.date, document.author) == (
        "Copper pact",
        "2021-03-31",
        "Marit Solheim",
    )
    assert "Norway and Chile agreed on Tuesday" in document.text
    assert "Ane Berg signs the paper in Oslo." in document.text  # a caption says who and where
    assert "café of the ministry" in document.text
    assert "<script>alert(1)</script>" in document.text  # shown by the page as text, so kept
    assert "steal" not in document.text and "Home page" not in document.text
    document.text.encode()  # no lone surrogate


def test_html_is_decoded_as_it_declares():
    page = (
        "<html><head><meta charset='{}'></head><body><p>The café costs 5 and is open until ten.</p>"
    )
    for declared, encoding in [("iso-8859-1", "cp1252"), ("cp437", "cp437"), ("hex", "cp1252")]:
        assert "café" in parse(page.format(declared).encode(encoding), "a.htm").text


@pytest.mark.parametrize(
    "page", ["", "<html></html>", "<div>" * 20_000, "\0", "<p>\x01\x02\x03\x04", "<!-- no end"]
)
def test_html_without_text_is_a_document_error(page: str):
    with pytest.raises(DocumentError):
        parse(page, "a.html")


@pytest.mark.parametrize(
    "page", ["<div>" * 3_000 + "{}</div>", "<p>" * 110_000 + "{}", "<font>" * 300 + "<p>{}"]
)
def test_a_page_of_absurd_size_or_nesting_keeps_its_text(page: str):
    head = "<html><head><title>Nests &amp; more</title><style>p {}</style></head><body>"
    text = "<p>Before.</p>" + page.format("Deep <b>words</b>.") + "<script>no()</script><p>After."
    found = parse_document((head + text).encode(), name="a.html")
    assert found.title == "Nests & more"
    assert found.text == "Before.\n\nDeep words.\n\nAfter."


def test_front_matter_with_a_key_too_long_to_write_is_text():
    found = parse_document(b"---\n? 0x" + b"f" * 9_000 + b"\n: a\n---\nWords.", name="a.md")
    assert found.text.endswith("Words.") and found.title
