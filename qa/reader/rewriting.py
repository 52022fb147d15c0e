"""Follow-ups become questions that stand alone: what the network may write.

It writes freely, but a rewritten question asks for what the follow-up asks for: the words stay, in
their order, and others come between them, behind them or in the place of "she" and "that". One that
says nothing of what the conversation is about gets that added. What the network sees of a
conversation is told in `spans.py`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import LogitsProcessor

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ADDED_PIECES = 6  # between two words of the follow-up, at most
REPLACEABLE = frozenset(
    "a an the this that these those there then he she it they him her them his its their"
    " do does did is are was were and".split()
)
LINKS = "about as at by for from in of on to with".split()
EMPTY = REPLACEABLE.union(LINKS)  # words that name nothing
NAME = re.compile(r"(?<!^)\b[A-Z][a-z]")


def with_topic(question: str, topic: str) -> str:
    """The question, followed by what its conversation is about where it names nothing of that."""
    named = naming_words(topic)
    if not named or named & naming_words(question):
        return question
    return f"{question} ({topic})"


def naming_words(text: str) -> set[str]:
    """The words that name something, as the network writes them: lower case, without accents."""
    letters = unicodedata.normalize("NFD", text.lower())
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return set(re.findall(r"\w+", plain)) - EMPTY


class StandAlone(LogitsProcessor):
    """Bars what would leave out a word of the follow-up or bring a later one before it, a mark that
    ends the question while words are missing, and the end of one that says no more than a follow-up
    without a name."""

    def __init__(self, question: str, tokenizer: Tokenizer) -> None:
        def pieces(words: Iterable[str]) -> list[int]:
            encoded = tokenizer.encode_batch([*words], add_special_tokens=False)
            return [piece for encoding in encoded for piece in encoding.ids]

        words = re.findall(r"\w+", question)
        self.pieces = pieces(word for word in words if word.lower() not in REPLACEABLE)
        self._said = {*pieces([*words, *EMPTY])}
        self._named = NAME.search(question) is not None
        self._closing = [tokenizer.token_to_id("[SEP]") or 0, *pieces("?!")]
        self._tokenizer = tokenizer

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores (B, V) of the next piece after those written, ``input_ids`` (B, T)."""
        allowed = scores.clone()
        for row, (_, *written) in zip(allowed, input_ids.tolist(), strict=True):
            left, added = self._left(written)
            if left and added >= ADDED_PIECES:
                row.fill_(-torch.inf)
                row[left[0]] = 0.0
            elif left:
                row[[*self._closing, *({*left} - {left[0]})]] = -torch.inf
            elif not self._named and not any(map(self._is_new, written)):
                row[self._closing] = -torch.inf
        return allowed

    def _left(self, written: list[int]) -> tuple[list[int], int]:
        """The pieces still to be written, and how many others came since the last of them."""
        done = added = 0
        for piece in written:
            if done < len(self.pieces) and piece == self.pieces[done]:
                done, added = done + 1, 0
            else:
                added += 1
        return self.pieces[done:], added

    def _is_new(self, piece: int) -> bool:
        """Whether the piece says what the follow-up does not."""
        token = self._tokenizer.id_to_token(piece) or ""
        return piece not in self._said and re.search(r"\w", token) is not None
