"""What a rewritten follow-up may leave out: nothing that it asks for."""

import pytest
import torch
from tokenizers import Tokenizer

from qa.reader import Reader
from qa.reader.rewriting import ADDED_PIECES, StandAlone, with_topic
from qa.reader.spans import conversation

CLS, SEP, SIZE = 101, 102, 30_522


@pytest.fixture
def tokenizer(reader: Reader) -> Tokenizer:
    return reader.search.tokenizer


def allowed(keep: StandAlone, tokenizer: Tokenizer, written: str) -> set[int]:
    """The pieces that may come next."""
    ids = [CLS, *tokenizer.encode(written, add_special_tokens=False).ids]
    scores = keep(torch.tensor([ids]), torch.zeros(1, SIZE))
    return {*scores[0].isfinite().nonzero()[:, 0].tolist()}


@pytest.fixture
def closing(tokenizer: Tokenizer) -> set[int]:
    """The pieces that end a question."""
    return {SEP, *map(tokenizer.token_to_id, "?!")}


def test_a_question_ends_when_all_words_are_there_in_their_order(
    tokenizer: Tokenizer, closing: set[int]
):
    keep = StandAlone("And when did she leave Bonn?", tokenizer)
    when, leave, bonn, berg = map(tokenizer.token_to_id, ("when", "leave", "bonn", "berg"))
    assert keep.pieces == [when, leave, bonn]
    assert allowed(keep, tokenizer, "") == {*range(SIZE)} - {*closing, leave, bonn}
    assert allowed(keep, tokenizer, "when did berg") == {*range(SIZE)} - {*closing, bonn}
    assert closing <= allowed(keep, tokenizer, "when did berg leave bonn")
    assert berg in allowed(keep, tokenizer, "when did berg leave bonn")


def test_words_that_are_missing_come_after_so_many_others(tokenizer: Tokenizer, closing: set[int]):
    keep = StandAlone("When did she leave?", tokenizer)
    others = "when" + " the" * ADDED_PIECES
    assert allowed(keep, tokenizer, others) == {tokenizer.token_to_id("leave")}
    assert allowed(keep, tokenizer, others[:-4]) == {*range(SIZE)} - closing


def test_a_follow_up_without_a_name_gets_a_word_more(tokenizer: Tokenizer, closing: set[int]):
    keep = StandAlone("Who leaves?", tokenizer)
    assert tokenizer.token_to_id("berg") in allowed(keep, tokenizer, "who leaves")
    for written in ("who leaves", "who leaves the"):
        assert allowed(keep, tokenizer, written).isdisjoint(closing)
    assert closing <= allowed(keep, tokenizer, "who leaves berg")
    named = StandAlone("Who leaves Bonn?", tokenizer)
    assert closing <= allowed(named, tokenizer, "who leaves bonn")


def test_a_question_that_names_nothing_of_the_topic_gets_it_added():
    topic = "Ada Berg Years in Bonn"
    for question in ("when did ada berg leave?", "who lived in bonn?"):
        assert with_topic(question, topic) == question
    for question in ("who was the king of the land?", "did it last?", "was he in adana?"):
        assert with_topic(question, topic) == f"{question} (Ada Berg Years in Bonn)"
    assert with_topic("when did bela leave?", "Béla") == "when did bela leave?"
    assert with_topic("when did she leave?", "") == "when did she leave?"


def test_a_conversation_keeps_its_topic_and_last_turns():
    history = ["Ada Berg", *(f"{n}? {'x' * 300}" for n in range(10))]
    turns = conversation(history, "And then?").split(" | ")
    assert [turn[:2] for turn in turns] == ["Ad", *(f"{n}?" for n in range(2, 10)), "An"]
    assert {len(turn) for turn in turns[1:-1]} == {200}
