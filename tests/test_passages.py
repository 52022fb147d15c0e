"""Documents become passages: exact slices, without clutter, that fit the embedder's window."""

import hashlib
import re
from pathlib import Path

import pytest

from index.documents import Document, parse_document
from index.passages import (
    MAX_PIECES,
    SPLITTER_VERSION,
    embedding_text,
    paragraphs,
    sentence_around,
    sentences,
    split_passages,
    word_pieces,
)
from tests.test_documents import ARTICLE, PAGE

WORDS = "The ministers of both countries met again on the second day of the long visit to Oslo. "
PARAGRAPH = (WORDS * 3).strip()


def document(text: str, name: str = "a.md") -> Document:
    return parse_document(text.encode(), name=name)


def texts(text: str, name: str = "a.md") -> list[str]:
    return [passage.text for passage in split_passages(document(text, name))]


HARD_TEXTS = {
    "windows line ends": f"Title\r\n\r\n{PARAGRAPH}\r\n\r\nA second one.\r\n{WORDS}\r\n",
    "old line ends": f"Title\r\r{PARAGRAPH}\r\rA second one.\r",
    "combining accents": "Re\u0301sume\u0301 of cafe\u0301. " * 90,
    "emoji": "Great 👩‍👩‍👧‍👦 news 😀🇯🇵. " * 90,
    "curly quotes": "“We agree,” he said. ‘Not I’, she said… “One. Two. Three.” " * 30,
    "cjk": "岸田首相とショルツ首相は木曜日に会談した。二人は協力を約束した。" * 60,
    "cjk without an end": "岸田首相" * 1000,
    "no spaces": "x" * 30_000,
    "one long quotation": "He said: “"
    + "We agree and go on together with it. " * 80
    + "” Then he left.",
    "no sentence ends": "word " * 5_000,
    "an open quotation for ever": "“ a. " * 20_000,
    "control and odd spaces": WORDS * 3
    + "one\u2028two\x0bthree\x85four\u00a0five\n\n\u3000six\x1c\n\nseven",
    "table": "| Item | Sum |\n|------|-----|\n| Aid | 100 billion |\n\nText.",
    "article": ARTICLE,
    "one word to the tokenizer": "a\x0b" * 20_000,
}


@pytest.mark.parametrize("text", HARD_TEXTS.values(), ids=HARD_TEXTS)
def test_passages_are_slices_in_order_that_fit_and_lose_nothing(text: str):
    source = document(text)
    passages = split_passages(source)
    assert passages
    end = 0
    left_out = ""
    for passage in passages:
        assert source.text[passage.start : passage.end] == passage.text
        assert passage.text == passage.text.strip() != ""
        assert end <= passage.start
        assert len(word_pieces(passage.text)) <= MAX_PIECES
        assert len(passage.text) <= 2_000
        left_out += source.text[end : passage.start]
        end = passage.end
    left_out += source.text[end:]
    for line in left_out.splitlines():
        assert not re.search(r"\w", line) or line.strip() in ("Title", *ARTICLE.splitlines())


def test_clutter_is_no_passage_and_a_caption_is():
    caption = ARTICLE.splitlines()[3]
    sentence = "Norway and Chile agreed on Tuesday to study copper together."
    assert texts(ARTICLE, "a.txt") == [caption, sentence]
    assert texts(ARTICLE.replace("\n", "\r\n"), "a.txt") == [caption, sentence]


def test_markdown_clutter_is_no_passage():
    head = "---\ntitle: The Title\n---\n\n# The Title\n\n**The Title**\n\n*By Jane Doe*\n\n"
    tail = "\n\n---\n\n*Reuters and AP contributed to this report.*\n\nReporting by Jane Doe"
    links = "\n\n<https://example.org/a>\n\nhttps://example.org/b www.example.org\n"
    assert texts(head + "*Oslo, 31 March 2021*\n\n" + PARAGRAPH + links + tail) == [PARAGRAPH]


def test_a_sentence_that_looks_like_a_credit_is_kept():
    assert texts(PARAGRAPH + "\n\nEditing by hand takes long.")[0].endswith("takes long.")


def test_clutter_of_a_page_is_no_passage():
    found = " ".join(texts(PAGE, "a.html"))
    assert "Copper pact" not in found and "Ane Berg signs" in found


def test_a_date_or_a_name_further_down_is_kept():
    text = "Diary\n\n" + f"{PARAGRAPH}\n\n" * 15 + "28 April 2022\n\n" + WORDS
    assert "28 April 2022" in " ".join(texts(text))


@pytest.mark.parametrize("text", ["The Only Line", "# The Only Line", "By Jane Doe\n4/29/2022\n"])
def test_when_all_is_clutter_it_is_all_there_is(text: str):
    assert texts(text)


def test_paragraphs_may_be_wrapped_lines_or_single_lines():
    wrapped = "\n".join(PARAGRAPH[i : i + 60] for i in range(0, len(PARAGRAPH), 60))
    wrapped = re.sub(r"(\S+)\n(\S*)", r"\1\2\n", wrapped).replace("\n ", "\n")
    assert texts(f"{wrapped}\n\n{wrapped}") == [wrapped, wrapped]
    assert texts(f"{PARAGRAPH}\n{PARAGRAPH}\n{PARAGRAPH}") == [PARAGRAPH] * 3
    assert texts(f"# Title\n## First\n{PARAGRAPH}\n## Next\n{PARAGRAPH}") == [
        f"## First\n{PARAGRAPH}",
        f"## Next\n{PARAGRAPH}",
    ]


def test_short_neighbours_are_merged_and_headings_go_with_what_they_head():
    text = f"{PARAGRAPH}\n\nYes.\n\n## Next\n\n### Part\n\nNo.\n\n{PARAGRAPH}"
    assert texts(text) == [f"{PARAGRAPH}\n\nYes.", f"## Next\n\n### Part\n\nNo.\n\n{PARAGRAPH}"]


def test_a_long_paragraph_is_cut_at_sentence_ends_into_about_equal_parts():
    parts = texts(WORDS * 25)  # 17 word pieces a sentence
    assert all(part.endswith("Oslo.") and part.startswith("The") for part in parts)
    sizes = [len(word_pieces(part)) for part in parts]
    assert sum(sizes) == 25 * len(word_pieces(WORDS))
    assert len(parts) == 3 and max(sizes) <= MAX_PIECES and min(sizes) > MAX_PIECES / 2


def test_a_quotation_is_held_together_when_it_fits_and_cut_between_sentences_when_not():
    quotation = "“" + "We want to work with them. " * 8 + "It will take time,” Scholz said."
    parts = texts(WORDS * 6 + quotation + " " + WORDS * 4)
    assert any(quotation in part for part in parts)
    longer = "“" + "We want to work with them. " * 60 + "It will take time,” Scholz said."
    assert all(part.endswith((".", "said.")) for part in texts(longer))


@pytest.mark.parametrize("title", ["T", "word " * 100, "岸" * 200, "x" * 200])
def test_title_and_passage_fit_the_window_of_the_embedder(title: str):
    for text in (("word " * MAX_PIECES).strip(), "岸" * MAX_PIECES):
        (longest,) = texts(text)
        assert len(word_pieces(longest)) == MAX_PIECES
        assert len(word_pieces(embedding_text(title, longest))) <= 254  # 256 with both marks
        assert embedding_text(title, longest).endswith("\n" + longest)


def test_sentences_hold_a_quotation_together_and_end_with_the_paragraph():
    text = (
        "Title\r\n\r\n“One is here. Two is there,” Dr. Roe said. 日本です。 It\r\nwent on.\n\n\nEnd"
    )
    found = [text[start:end] for start, end in sentences(text)]
    assert found == [
        "Title",
        "“One is here. Two is there,” Dr. Roe said.",
        "日本です。",
        "It\r\nwent on.",
        "End",
    ]


@pytest.mark.parametrize(
    ("quote", "around"),
    [
        ("Two", "“One is here. Two is there,” he said."),
        ("said. Then", "“One is here. Two is there,” he said. Then he left 😀."),
        ("left 😀", "Then he left 😀."),
        ("Then he left 😀.", "Then he left 😀."),
        ("New", "New paragraph."),
        ("😀.\r\n\r\nNew", "Then he left 😀.\r\n\r\nNew paragraph."),
        ("\r\n\r\n", "\r\n\r\n"),
    ],
)
def test_sentence_around(quote: str, around: str):
    text = "Before it.\r\n\r\n“One is here. Two is there,” he said. Then he left 😀.\r\n\r\n"
    text += "New paragraph."
    start, end = sentence_around(text, text.index(quote), text.index(quote) + len(quote))
    assert text[start:end] == around


def test_paragraphs_are_trimmed_and_lie_in_order():
    text = "  one two \n\t\n\n three\r\n\r\n--\r\nfour  "
    assert [text[start:end] for start, end in paragraphs(text)] == ["one two", "three", "four"]
    assert paragraphs("") == paragraphs(" \n ") == []


def test_the_sample_corpus_is_cut_as_this_version_of_the_splitter_says():
    digest = hashlib.sha256()
    for path in sorted((Path(__file__).parent.parent / "corpus").rglob("*.md")):
        source = parse_document(path.read_bytes(), name=path.name)
        digest.update(repr([(p.start, p.end) for p in split_passages(source)]).encode())
    assert (SPLITTER_VERSION, digest.hexdigest()[:16]) == ("2", "546031f395582367")


def test_what_is_one_word_to_the_tokenizer_is_cut_by_its_length():
    assert len(texts("a\x0b" * 20_000)) == 20
