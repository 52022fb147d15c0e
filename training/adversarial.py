"""Questions that their own paragraph does not answer, made by rule from ones that it does.

Recorded ones (SQuAD 2.0) are few. Three of the ways in which their writers made them (Rajpurkar et
al. 2018, table 1) can be followed by rule: another name or number, an opposite, a negation. And a
paragraph that lost the sentence with the answer no longer answers.
"""

import random
import re
from collections.abc import Iterator

from index.passages import sentences
from training.examples import Example, by_article, contains

NAME = re.compile(r"(?<=[a-z,;] )[A-Z][\w'’.-]+(?:\s+(?:of\s+|the\s+|de\s+)?[A-Z][\w'’-]+)*")
NUMBER = re.compile(r"\b\d[\d,.]*\b")
PAIRS = (
    "first last", "most least", "more less", "before after", "largest smallest", "highest lowest",
    "longest shortest", "oldest youngest", "earliest latest", "best worst", "increase decrease",
    "increased decreased", "increasing decreasing", "north south", "northern southern", "east west",
    "eastern western", "major minor", "many few", "large small", "high low", "old new",
    "early late", "began ended", "begin end", "start finish", "started finished", "won lost",
    "win lose", "rise fall", "rose fell", "gained lost", "founded dissolved", "built destroyed",
    "joined left", "accepted rejected", "supported opposed", "support oppose", "allowed forbidden",
    "male female", "men women", "public private", "internal external", "winter summer",
    "inside outside", "above below", "upper lower", "positive negative", "strong weak",
    "common rare", "maximum minimum", "buy sell", "bought sold", "same different", "easy hard",
    "hot cold", "wet dry", "rich poor", "urban rural", "ancient modern", "legal illegal",
)  # fmt: skip
OPPOSITES = dict(pair.split() for pair in PAIRS) | dict(pair.split()[::-1] for pair in PAIRS)
AUXILIARY = re.compile(r"\b(is|are|was|were|did|does|do|can|could|would|will|has|had)\b")


def removed(context: str, item: dict) -> str | None:
    """The context without the sentences that hold an answer, where others remain."""
    texts = [context[start:end] for start, end in sentences(context)]
    kept = [text for text in texts if not contains(text, item["answers"])]
    short = " ".join(kept)
    return short if kept and len(kept) < len(texts) and len(short) > 200 else None


def changed(question: str, context: str, others: str, rng: random.Random) -> str | None:
    """The question with one thing in it that the context does not say; None: nothing to change.

    ``others`` is text of the same article, from which another name or number comes.
    """
    ways = [renamed, opposite, negated]
    rng.shuffle(ways)
    for way in ways:
        if (found := way(question, context, others, rng)) and found != question:
            return found
    return None


def renamed(question: str, context: str, others: str, rng: random.Random) -> str | None:
    """Another name for a name, another number for a number, none of which the context has."""
    for form in rng.sample((NAME, NUMBER), 2):
        here = [text for text in form.findall(question) if text in context]
        there = sorted({text for text in form.findall(others) if text not in context})
        if here and there:
            return question.replace(rng.choice(here), rng.choice(there))
    return None


def opposite(question: str, context: str, _: str, rng: random.Random) -> str | None:
    """The opposite of a word, where the context has the word and not its opposite."""
    words = set(re.findall(r"\w+", context.lower()))
    fit = [
        word
        for word in re.findall(r"\w+", question)
        if word in OPPOSITES and word in words and OPPOSITES[word] not in words
    ]
    if not fit:
        return None
    word = rng.choice(fit)
    return re.sub(rf"\b{word}\b", OPPOSITES[word], question)


def negated(question: str, context: str, _: str, rng: random.Random) -> str | None:
    """A "not" after the first auxiliary; seldom, for it is easily seen."""
    found = AUXILIARY.search(question)
    if not found or rng.random() < 0.85 or " not " in context:
        return None
    following = question.find(" ", found.end() + 1)
    if following < 0:
        return None
    return f"{question[: found.end()]} not{question[found.end() :]}"


def made(rows: list[dict], shares: tuple[float, float], rng: random.Random) -> Iterator[Example]:
    """Unanswerable examples of some of the rows' questions.

    ``shares`` of the questions lose their sentence and get changed.
    """
    articles = by_article(rows)
    for row in rows:
        context = row["context"]
        for item in row["questions"]:
            dice = rng.random()
            if not item["answers"] or dice >= sum(shares):
                continue
            if dice < shares[0]:
                if short := removed(context, item):
                    yield Example(item["question"], (short,), "", -1, "answer removed")
                continue
            others = rng.choice(articles[row["title"]])
            if question := changed(item["question"], context, others, rng):
                yield Example(question, (context,), "", -1, "question changed")
