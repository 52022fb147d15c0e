"""Windows, word edges and statements: text without the network."""

import unicodedata

import pytest

from index.passages import sentence_around
from qa.reader import Reader
from qa.reader.spans import (
    WINDOW_PIECES,
    stretch,
    trim,
    wants_statement,
    windows,
    with_unit,
    word_edge,
)


@pytest.mark.parametrize(
    ("text", "edges"),
    [
        ("to go", [0, 2, 3, 5]),
        ("it’s", [0, 2, 3, 4]),
        ("日本は", [0, 1, 2, 3]),
        ("😀ok", [0, 1, 3]),
        ("cafe\u0301 x", [0, 5, 6, 7]),  # not between the letter and its accent
    ],
)
def test_word_edges(text: str, edges: list[int]):
    assert [at for at in range(len(text) + 1) if word_edge(text, at)] == edges


def test_an_accent_outside_the_piece_belongs_to_the_span():
    text = unicodedata.normalize("NFD", "am Café.")
    assert text[3 : stretch(text, text.index("e") + 1)] == unicodedata.normalize("NFD", "Café")


@pytest.mark.parametrize(
    ("text", "span", "whole"),
    [
        ("by 90 per cent.", "90", "90 per cent"),
        ("some 8 billion euros a year", "8", "8 billion euros"),
        ("rose 4.5% in May", "4.5", "4.5%"),
        ("a sum of 8 billion, paid", "8 billion", "8 billion"),
        ("on 28 April", "28", "28"),
        ("A 90 percentage", "90", "90"),
        ("the year", "year", "year"),
    ],
)
def test_a_number_keeps_its_unit(text: str, span: str, whole: str):
    start = text.index(span)
    assert text[start : with_unit(text, start + len(span))] == whole


def test_trim_leaves_words():
    assert trim(" 5 May, ", 0, 8) == (1, 6)


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("What did Scholz say about supply chains?", True),
        ("what does kishida want from russia", True),
        ("Why was pipeline oil left out?", False),
        ("Is the answer simple or complex?", False),
        ("And what did he warn about?", True),
        ("Did Japan ban Russian coal?", True),
        ("What else did Habeck say in Berlin?", True),
        ("What is the state song of New York?", False),
        ("What company said that it would build the bridge?", False),
        ("What does the word mean?", False),
        ("Who said that?", False),
        ("What did Rama advise Ukraine?", True),
        ("what did he tell the two reporters about it", True),
        ("What did he say the bridge would cost?", True),
        ("What did he claim the bridge would cost?", False),
        ("What did he say was too dear?", False),
        ("What did he say the bridge was built by?", False),
        ("What did he say about whom the bridge was built by?", True),
        ("What did he say in Berlin?", True),
        ("What does Japan want to rely less on?", False),
        ("How many members voted for the fund?", False),
        ("When will the first consultation take place?", False),
    ],
)
def test_questions_that_want_a_statement(question: str, wanted: bool):
    assert wants_statement(question) is wanted


def test_statement_is_the_whole_quotation():
    text = "Rain fell. “Nobody should depend on one country. It takes time,” Scholz said. He left."
    start = text.index("depend")
    first, last = sentence_around(text, start, start + 6)
    assert text[first:last] == "“Nobody should depend on one country. It takes time,” Scholz said."


def test_long_passages_become_overlapping_windows(reader: Reader):
    text = " ".join(f"word{n}" for n in range(600))
    found = windows("Which word?", [text], reader.search.tokenizer)
    assert len(found) > 2
    assert all(len(window.ids) <= WINDOW_PIECES for window in found)
    covered = {at for window in found for start, end in window.offsets for at in range(start, end)}
    assert covered == {at for at, character in enumerate(text) if character != " "}


def test_special_tokens_in_a_document_are_text(reader: Reader):
    (window,) = windows("[MASK] who?", ["He wrote [SEP] and [CLS]."], reader.search.tokenizer)
    special = {reader.search.tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]", "[MASK]")}
    assert special.isdisjoint(window.ids[1 : window.head - 1])
    assert special.isdisjoint(window.ids[window.head : -1])


def test_a_passage_without_pieces_has_an_empty_window(reader: Reader):
    (window,) = windows("Who?", ["\u200b"], reader.search.tokenizer)
    assert window.offsets == []
