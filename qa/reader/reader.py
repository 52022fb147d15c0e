"""Question and passages in, a span of one of the passages out.

The span is verbatim: ``passages[reading.passage][reading.start : reading.end] == reading.text``.
Knows no documents and no index.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from index.embedder import quiet
from index.errors import QuestionError, ReaderError
from index.passages import sentence_around
from qa.reader import spans
from qa.reader.agreement import agreed

if TYPE_CHECKING:
    from qa.reader.search import Span, SpanSearch

SHIPPED = Path(__file__).parent / "weights"
Nearness = Callable[[str], float]  # of a sentence to the question: the default embedder's cosine


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
    score: float  # log of how likely what it says is, or that the answer starts in the statement
    nearness: float | None = None  # of the sentence around it, where that is known


@dataclass(frozen=True, slots=True)
class Calibration:
    """Turns the network's scores into a confidence: a logistic regression on development data."""

    bias: float
    no_answer: float  # weight of Best.no_answer
    score: float  # weight of Best.score
    threshold: float  # below this confidence, the documents don't say
    provisional: bool  # fitted on little data
    nearness: float = 0.0  # weight of Best.nearness …
    usual: float = 0.0  # … which is this where it is not known: the mean of development data

    def confidence(self, best: Best) -> float:
        near = self.usual if best.nearness is None else best.nearness
        known = self.no_answer * best.no_answer + self.score * best.score + self.nearness * near
        return 1 / (1 + math.exp(-(self.bias + known)))


UNCALIBRATED = Calibration(bias=2.0, no_answer=0.0, score=1.0, threshold=0.1, provisional=True)


class Reader:
    """A network and its calibration. Stateless: one serves many threads."""

    def __init__(self, search: SpanSearch, calibration: Calibration) -> None:
        self.search = search
        self._calibration = calibration

    @classmethod
    def load(cls, name: str | Path = SHIPPED) -> Reader:
        """Load the shipped reader, one in a folder, or any encoder-decoder of transformers.

        A name that is no folder is looked up on the model hub, the only case that may need the
        network. Raises ReaderError when there is no reader of that name.
        """
        with quiet():
            try:
                return cls(load_search(name), load_calibration(Path(name)))
            except (OSError, ValueError, KeyError) as error:
                raise ReaderError(f"no reader in {str(name)!r}: {error}") from error

    @property
    def threshold(self) -> float:
        """Below this confidence the documents don't say."""
        return self._calibration.threshold

    @property
    def provisional(self) -> bool:
        """Whether confidences come from a calibration on little data."""
        return self._calibration.provisional

    def read(
        self, question: str, passages: Sequence[str], *, nearness: Nearness | None = None
    ) -> Reading | None:
        """The best span of the passages, or None when there is no word in them.

        The passages come as search ranks them: the earlier ones are preferred a little.
        ``nearness``, of any sentence to the question, makes the confidence better founded.
        Raises QuestionError for a question without a word.
        """
        best = self.best(question, passages, nearness=nearness)
        if best is None:
            return None
        text = passages[best.passage]
        start, end = spans.trim(text, best.start, best.end)
        end = spans.with_unit(text, end)
        confidence = self._calibration.confidence(best)
        return Reading(text[start:end], best.passage, start, end, confidence)

    def best(
        self, question: str, passages: Sequence[str], *, nearness: Nearness | None = None
    ) -> Best | None:
        """As ``read``, with the scores that the calibration turns into a confidence."""
        if not question.strip():
            raise QuestionError("the question is empty; ask in a few words")
        if not passages:
            return None
        whole = spans.wants_statement(question)
        found = self.search.find(question, passages, starts_only=whole)
        if not found.spans:
            return None
        if whole:
            place, score = likeliest_statement(found.spans, passages)
        else:
            quoted, score = agreed(found.spans, passages)
            place = quoted.passage, quoted.start, quoted.end
        near = None
        if nearness:
            number, start, end = place
            text = passages[number]
            near = nearness(text[slice(*sentence_around(text, start, end))])
        return Best(*place, no_answer=found.no_answer, score=score, nearness=near)


def load_search(name: str | Path) -> SpanSearch:
    """The network and its tokenizer, behind the search that suits it."""
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer

    from qa.reader.model import PointerGenerator  # registers the Auto classes
    from qa.reader.search import PointerSearch
    from qa.reader.seq2seq import Seq2SeqSearch

    AutoConfig.from_pretrained(name)  # before all else: does it exist?
    model = AutoModelForSeq2SeqLM.from_pretrained(name, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(name).backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # "[SEP]" in a document is text like any other
    if isinstance(model, PointerGenerator):
        return PointerSearch(model, tokenizer)
    return Seq2SeqSearch(model, tokenizer)


def load_calibration(folder: Path) -> Calibration:
    """The calibration that lies with the weights; a provisional one where there is none."""
    path = folder / "calibration.json"
    if not path.exists():
        return UNCALIBRATED
    return Calibration(**json.loads(path.read_text("utf-8")))


def likeliest_statement(
    found: Sequence[Span], passages: Sequence[str]
) -> tuple[tuple[int, int, int], float]:
    """The sentence (passage, start, end) in which the answer would most likely start, and the
    log-probability of that."""
    chances: dict[tuple[int, int, int], float] = {}
    for span in found:
        text = passages[span.passage]
        sentence = (span.passage, *sentence_around(text, span.start, span.end))
        chances[sentence] = chances.get(sentence, 0.0) + math.exp(span.place)
    best = max(chances, key=chances.__getitem__)
    return best, math.log(chances[best])
