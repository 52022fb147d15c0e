"""What a rewritten follow-up may leave out: nothing that it asks for."""

import pytest
import torch
from tokenizers import Tokenizer

from qa.reader import Reader
from qa.reader.rewriting import ADDED_PIECES, StandAlone
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


def test_a_question_ends_when_all_words_are_there_in_their_order(tokenizer: Tokenizer):
    keep = StandAlone("And when did she leave Bonn?", tokenizer)
    when, leave, bonn, berg = map(tokenizer.token_to_id, ("when", "leave", "bonn", "berg"))
    assert keep.pieces == [when, leave, bonn]
    assert allowed(keep, tokenizer, "") == {*range(SIZE)} - {SEP, leave, bonn}
    assert allowed(keep, tokenizer, "when did berg") == {*range(SIZE)} - {SEP, bonn}
    assert SEP in allowed(keep, tokenizer, "when did berg leave bonn")
    assert berg in allowed(keep, tokenizer, "when did berg leave bonn")


def test_words_that_are_missing_come_after_so_many_others(tokenizer: Tokenizer):
    keep = StandAlone("When did she leave?", tokenizer)
    others = "when" + " the" * ADDED_PIECES
    assert allowed(keep, tokenizer, others) == {tokenizer.token_to_id("leave")}
    assert len(allowed(keep, tokenizer, others[:-4])) == SIZE - 1  # all but the end


def test_a_follow_up_without_a_name_gets_a_word_more(tokenizer: Tokenizer):
    keep = StandAlone("Who leaves?", tokenizer)
    mark, berg = map(tokenizer.token_to_id, ("?", "berg"))
    assert allowed(keep, tokenizer, "who leaves").isdisjoint({SEP, mark})
    assert berg in allowed(keep, tokenizer, "who leaves")
    assert allowed(keep, tokenizer, "who leaves the").isdisjoint({SEP, mark})
    assert {SEP, mark} <= allowed(keep, tokenizer, "who leaves berg")
    named = StandAlone("Who leaves Bonn?", tokenizer)
    assert {SEP, mark} <= allowed(named, tokenizer, "who leaves bonn")


def test_a_conversation_keeps_its_topic_and_last_turns():
    history = ["Ada Berg", *(f"{n}? {'x' * 300}" for n in range(9))]
    turns = conversation(history, "And then?").split(" | ")
    assert [turn[:2] for turn in turns] == ["Ad", "5?", "6?", "7?", "8?", "An"]
    assert {len(turn) for turn in turns[1:-1]} == {200}
