"""Which of the candidate spans is quoted: the one that agrees best with all of them.

"Rio", "in Rio" and "Rio de Janeiro" share what the network thinks of Rio; the likeliest of the
three alone may be less likely than a span that lies elsewhere. So every candidate counts, as far
as it says the same: minimum Bayes risk (Kumar and Byrne 2004), the risk being that of SQuAD's two
measures.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qa.reader.search import Span

CANDIDATES = 20  # the likeliest; all others together hardly count
# The network is too sure of one span, so scores are divided by this. (1.6 makes the references
# likeliest; see the end of training/README.md.)
TEMPERATURE = 1.4
WORD = re.compile(r"\w+")
ARTICLES = {"a", "an", "the"}
# How likely a later end must be, beside the chosen one, by the divided scores: usually, and where
# the chosen one goes on so. By the network's own they are 0.67, 0.38 and 0.14.
NEARLY = 0.75
COMPLEMENT = re.compile(r" (?:against|at|between|for|from|in|of|that|to|with) "), 0.5
ENUMERATION = re.compile(r"(?:,| and| or| as well as) "), 0.25


def agreed(spans: Sequence[Span], passages: Sequence[str]) -> tuple[Span, float]:
    """The span to quote, of one or more, likeliest first; and the log of how likely it is.

    That counts all that agree with it, as far as they do. A tie is the likelier one's.
    """
    spans = spans[:CANDIDATES]
    likeliest = spans[0].score
    weights = [math.exp((span.score - likeliest) / TEMPERATURE) for span in spans]
    texts = [words(passages[span.passage][span.start : span.end]) for span in spans]
    support = [
        sum(weight * agreement(text, other) for weight, other in zip(weights, texts, strict=True))
        for text in texts
    ]
    best = max(range(len(spans)), key=lambda n: round(support[n], 9))
    score = likeliest / TEMPERATURE + math.log(support[best])
    return completed(spans[best], spans, passages), score


def words(text: str) -> Counter[str]:
    return Counter(word for word in WORD.findall(text.lower()) if word not in ARTICLES)


def agreement(one: Counter[str], other: Counter[str]) -> float:
    """The mean of exact match and F1 of two texts, 0..1."""
    if one == other:
        return 1.0
    return (one & other).total() / (one.total() + other.total())  # half of F1


def completed(chosen: Span, spans: Sequence[Span], passages: Sequence[str]) -> Span:
    """The span, or one that ends later and is nearly as likely.

    Less is enough where the text goes on to say what the thing is of, from or for ("coal" of "coal
    from Russia"), since a phrase that is cut short may say what isn't so, and where it goes on
    with more of a list ("bus" of "bus and shuttle").
    """
    text, end = passages[chosen.passage], chosen.end
    later = [
        span
        for span in spans
        if (span.passage, span.start) == (chosen.passage, chosen.start) and span.end > end
    ]
    going_on = (share for form, share in (COMPLEMENT, ENUMERATION) if form.match(text, end))
    wanted = chosen.score + TEMPERATURE * math.log(next(going_on, NEARLY))
    best = max(later, key=lambda span: span.score, default=chosen)
    return best if best.score > wanted else chosen
