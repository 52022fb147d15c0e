"""Passages become word pieces that know their place, and pieces become spans of text again.

Offsets are code points of the passage. Knows the tokenizer, not the network.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

QUESTION_PIECES = 64  # a longer question is cut
WINDOW_PIECES = 256  # of question and passage together; a longer passage is read in several windows
OVERLAP = 64  # pieces that neighbouring windows share
TURNS = 8  # of a conversation that are kept, beside what it is about
TURN_CHARACTERS = 200  # of each
REWRITE = "[unused1]"  # the mark of the task

# "What did Scholz say about …?" is answered by a whole statement, not by two of its words. "Why …?"
# is not: the reader's own span is a clause, and says less that was not asked. Nor is "what did he
# claim the bridge would cost?", where something else than a topic, a place or a time follows the
# verb, which is not "say": it asks for a part of what he claimed. So does "what did he say was too
# dear?" and "what did he say the bridge was built by?".
SAYING = (
    "admit|advise|announce|argue|ask for|believe|call for|claim|comment|concede|demand|expect|"
    "explain|hope|insist|intend|note|plan|pledge|predict|promise|propose|recommend|remark|"
    "said|state|stated|stress|suggest|tell|think|told|urge|want|warn"
)
TO_SOMEBODY = r"(?:advise|promise|tell|told|urge|warn)(?:\s+[\w'’-]+){1,3}?"
TOPIC = (
    "about|after|against|at|because|before|by|concerning|during|for|from|if|in|of|on|over|"
    "regarding|since|when|while|with"
)
PART = (
    rf"\s+(?:(?:is|are|was|were)\b|(?!(?:{TOPIC})\b)\S+\s.*"
    r"\b(?:about|against|at|by|for|from|in|into|of|on|to|with)\W*$)"
)
AUXILIARY = "do|does|did|has|have|had|will|would|can|could|should|may|might|must"
STATEMENT = re.compile(
    r"\s*(?:(?:and|but|so)\s+)?"
    rf"(?:what\s+(?:else\s+|exactly\s+)?(?:{AUXILIARY})\b.*"  # not "what state"
    rf"\b(?:say\b(?!{PART})|(?:{SAYING}|{TO_SOMEBODY})(?:\s+(?:{TOPIC})\b|\W*$))"
    rf"|(?:is|are|was|were|{AUXILIARY})\b(?!.*\bor\b))",  # "Did Japan …?": what shows it
    re.IGNORECASE,
)
TRAILING = " \t\r\n,;:"
# What belongs to a number: 90 "per cent", 8 "billion euros".
UNIT = re.compile(
    r"(?<=\d)(?:[ -](?:thousand|million|billion|trillion)\b)?"
    r"(?: ?%| (?:per ?cent|euros?|dollars?|pounds|yen|roubles|gigawatts|kilomet(?:re|er)s)\b)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of one passage, as the network sees it."""

    passage: int  # which of the passages
    ids: list[int]  # [CLS] question [SEP] pieces [SEP]
    head: int  # pieces before the passage's own
    offsets: list[tuple[int, int]]  # of the passage's own pieces, in code points
    starts: list[bool]  # may a span start at this piece?
    ends: list[bool]  # may it end here?


def windows(question: str, passages: Sequence[str], tokenizer: Tokenizer) -> list[Window]:
    """Every passage as one or more windows of at most WINDOW_PIECES."""
    cls, sep = (tokenizer.token_to_id(token) or 0 for token in ("[CLS]", "[SEP]"))
    asked, *encoded = tokenizer.encode_batch([question, *passages], add_special_tokens=False)
    head = [cls, *asked.ids[:QUESTION_PIECES], sep]
    room = WINDOW_PIECES - len(head) - 1
    found = []
    for i, (text, encoding) in enumerate(zip(passages, encoded, strict=True)):
        pieces, offsets = encoding.ids, encoding.offsets
        starts = [word_edge(text, start) for start, _ in offsets]
        ends = [word_edge(text, stretch(text, end)) for _, end in offsets]
        first = 0
        while first == 0 or first + OVERLAP < len(pieces):
            cut = slice(first, first + room)
            ids = [*head, *pieces[cut], sep]
            found.append(Window(i, ids, len(head), offsets[cut], starts[cut], ends[cut]))
            first += room - OVERLAP
    return found


def conversation(history: Sequence[str], question: str) -> str:
    """A conversation as one text: what it is about, its last turns, and the follow-up."""
    turns = [*history[:1], *history[1:][-TURNS:]]
    return " | ".join([*(turn[:TURN_CHARACTERS] for turn in turns), question])


def rewriting(text: str, tokenizer: Tokenizer) -> Window:
    """A conversation as the network sees it: the task's mark in place of a question."""
    cls, sep, mark = (tokenizer.token_to_id(token) or 0 for token in ("[CLS]", "[SEP]", REWRITE))
    encoding = tokenizer.encode(text, add_special_tokens=False)
    pieces = encoding.ids[-(WINDOW_PIECES - 4) :]  # the follow-up, at the end, is kept
    return Window(0, [cls, mark, sep, *pieces, sep], 3, [], [], [])


def word_edge(text: str, at: int) -> bool:
    """Whether no word goes on across position ``at``. Ideographs are words of their own."""
    if at in (0, len(text)):
        return True
    before, after = text[at - 1], text[at]
    if is_mark(after):
        return False
    return not (is_word(before) and is_word(after)) or is_wide(before) or is_wide(after)


def is_word(character: str) -> bool:
    return character.isalnum() or character == "_" or is_mark(character)


def is_mark(character: str) -> bool:
    """A combining mark, a joiner or a variation selector: part of the character before it."""
    return unicodedata.category(character)[0] == "M" or character == "\u200d"


def is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def stretch(text: str, end: int) -> int:
    """The end moved over marks that belong to the last character but fell outside its piece."""
    while end < len(text) and is_mark(text[end]):
        end += 1
    return end


def trim(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without white space at its edges and without a comma or colon at its end."""
    while end > start and text[end - 1] in TRAILING:
        end -= 1
    while start < end and text[start].isspace():
        start += 1
    return start, end


def with_unit(text: str, end: int) -> int:
    """The end moved over the unit of a number that stands there."""
    unit = UNIT.match(text, end)
    return unit.end() if unit else end


def wants_statement(question: str) -> bool:
    """Whether the question asks for what somebody said, wants or plans, or for yes or no."""
    return STATEMENT.match(question) is not None
