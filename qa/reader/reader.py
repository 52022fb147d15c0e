"""Question and passages in, a span of one of the passages out.

The span is verbatim: ``passages[reading.passage][reading.start : reading.end] == reading.text``.
Knows no documents and no index.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from index.errors import QuestionError, ReaderError
from qa.reader import spans

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from qa.reader.model import PointerGenerator
    from qa.reader.search import Span
    from qa.reader.spans import Window

SHIPPED = Path(__file__).parent / "weights"
Place = tuple[int, int, int]  # passage, start, end in code points


@dataclass(frozen=True, slots=True)
class Reading:
    """The best span of all passages, to be trusted as far as its confidence says."""

    text: str  # verbatim
    passage: int  # which of the passages
    start: int  # code points in that passage
    end: int
    confidence: float  # 0..1: that the passages hold the answer and this is it


@dataclass(frozen=True, slots=True)
class Best:
    """The best span and how it scored."""

    passage: int  # which of the passages
    start: int  # code points in that passage
    end: int
    no_answer: float  # log-odds of "not in these passages"
    score: float  # log-probability of the span, or of starting in the statement


@dataclass(frozen=True, slots=True)
class Calibration:
    """Turns the network's scores into a confidence: a logistic regression on development data."""

    bias: float
    no_answer: float  # weight of Best.no_answer
    score: float  # weight of Best.score
    threshold: float  # below this confidence, the documents don't say
    provisional: bool  # fitted on little data

    def confidence(self, no_answer: float, score: float) -> float:
        return 1 / (1 + math.exp(-(self.bias + self.no_answer * no_answer + self.score * score)))


class Reader:
    """A model, its tokenizer and its calibration. Stateless: one serves many threads."""

    def __init__(
        self, model: PointerGenerator, tokenizer: Tokenizer, calibration: Calibration
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self._calibration = calibration

    @classmethod
    def load(cls, path: str | Path = SHIPPED) -> Reader:
        """Load the shipped reader or one in a folder.

        Raises ReaderError when the folder holds no reader.
        """
        import torch
        from tokenizers import Tokenizer
        from transformers.utils import logging

        from qa.reader.model import PointerGenerator

        path = Path(path)
        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            values = json.loads((path / "calibration.json").read_text("utf-8"))
            tokenizer = Tokenizer.from_str((path / "tokenizer.json").read_text("utf-8"))
            model = PointerGenerator.from_pretrained(path, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise ReaderError(f"no reader in {str(path)!r}: {error}") from error
        finally:
            if bars:
                logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True  # "[SEP]" in a document is text like any other
        model.eval()  # type: ignore[no-untyped-call]
        return cls(model, tokenizer, Calibration(**values))

    @property
    def threshold(self) -> float:
        """Below this confidence the documents don't say."""
        return self._calibration.threshold

    @property
    def provisional(self) -> bool:
        """Whether confidences come from a calibration on little data."""
        return self._calibration.provisional

    def read(self, question: str, passages: Sequence[str]) -> Reading | None:
        """The best span of the passages, or None when there is no word in them.

        Raises QuestionError for a question without a word.
        """
        best = self.best(question, passages)
        if best is None:
            return None
        text = passages[best.passage]
        start, end = spans.trim(text, best.start, best.end)
        confidence = self._calibration.confidence(best.no_answer, best.score)
        return Reading(text[start:end], best.passage, start, end, confidence)

    def rewrite(self, question: str, history: Sequence[str]) -> str:
        """A follow-up as a question that stands alone, in lower case.

        ``history`` is the conversation so far: what it is about, then questions and answers.
        """
        from qa.reader.search import write

        text = spans.conversation(history, question)
        ids = write(self.model, spans.rewriting(text, self.tokenizer))
        return self.tokenizer.decode(ids)

    def best(self, question: str, passages: Sequence[str]) -> Best | None:
        """As ``read``, with the scores that the calibration turns into a confidence."""
        from qa.reader.search import best_spans

        if not question.strip():
            raise QuestionError("the question is empty; ask in a few words")
        windows = spans.windows(question, passages, self.tokenizer)
        if not windows:
            return None
        found = best_spans(self.model, windows)
        places = [locate(span, windows, passages) for span in found.spans]
        if not places:
            return None
        if spans.wants_statement(question):
            place, score = likeliest_statement(places, found.spans, passages)
        else:
            place, score = places[0], found.spans[0].score
        return Best(*place, no_answer=found.no_answer, score=score)


def locate(span: Span, windows: Sequence[Window], passages: Sequence[str]) -> Place:
    """Where a span of word pieces stands in its passage's text."""
    window = windows[span.window]
    text = passages[window.passage]
    end = spans.stretch(text, window.offsets[span.last][1])
    return window.passage, window.offsets[span.first][0], end


def likeliest_statement(
    places: Sequence[Place], found: Sequence[Span], passages: Sequence[str]
) -> tuple[Place, float]:
    """The sentence in which the decoder would most likely start, and that log-probability."""
    chances: dict[Place, float] = {}
    for (passage, start, end), span in zip(places, found, strict=True):
        sentence = (passage, *spans.statement(passages[passage], start, end))
        chances[sentence] = chances.get(sentence, 0.0) + math.exp(span.place)
    best = max(chances, key=chances.__getitem__)
    return best, math.log(chances[best])
