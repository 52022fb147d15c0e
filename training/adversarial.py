"""Questions that their own paragraph does not answer, made by rule from ones that it does.

Recorded ones (SQuAD 2.0) are few. Most of the ways in which their writers made them (Rajpurkar et
al. 2018, table 1) can be followed by rule: another name, number or word, what another question asks
about, an opposite, a negation. And a paragraph that lost the sentence with the answer no longer
answers.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

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
    "agree disagree", "agreed disagreed", "agreement disagreement", "known unknown", "with without",
    "able unable", "possible impossible", "direct indirect", "formal informal", "given taken",
    "give take", "gave took", "majority minority", "biggest tiniest", "closest farthest",
    "nearest remotest", "fastest slowest", "greatest least", "greater lesser", "longer shorter",
    "larger smaller", "higher lower", "older younger", "fewer more", "better worse", "near far",
    "appear disappear", "appeared disappeared", "advantage disadvantage", "success failure",
    "successful failed", "active inactive", "married divorced", "born killed", "hired fired",
    "attack defend", "attacked defended", "import export", "imported exported", "always never",
    "liberal conservative", "domestic foreign", "friends enemies", "allies enemies", "light dark",
    "opened closed", "open close", "entered left", "encouraged discouraged", "increases decreases",
    "include exclude", "included excluded", "simple complex", "single multiple",
)  # fmt: skip
OPPOSITES = dict(pair.split() for pair in PAIRS) | dict(pair.split()[::-1] for pair in PAIRS)
AUXILIARY = re.compile(r"\b(is|are|was|were|did|does|do|can|could|would|will|has|had)\b")
LINKS = "of in on at to for by with from as that which who is are was were did do does have has had"
THING = re.compile(  # an article and one to three words
    rf"\b(?:the|a|an) (?:[\w'’-]+ ){{0,2}}?[\w'’-]+(?= (?:{LINKS.replace(' ', '|')})\b|[?,]|$)"
)
ENDINGS = "tion ment ness ing ity ist ers ed er ly al ic es s".split()
WORD = re.compile(r"\b[a-z]{5,}\b")


def removed(context: str, item: dict) -> str | None:
    """The context without the sentences that hold an answer, where others remain."""
    texts = [context[start:end] for start, end in sentences(context)]
    kept = [text for text in texts if not contains(text, item["answers"])]
    short = " ".join(kept)
    return short if kept and len(kept) < len(texts) and len(short) > 200 else None


@dataclass(frozen=True, slots=True)
class Around:
    """What stands around a question."""

    context: str  # its paragraph
    elsewhere: str  # another paragraph of the article, from which other names and words come
    questions: tuple[str, ...]  # the paragraph's other questions


def changed(question: str, around: Around, rng: random.Random) -> str | None:
    """The question with one thing in it that the context does not say; None: nothing to change."""
    ways = [renamed, swapped, reworded, opposite, negated]
    rng.shuffle(ways)
    for way in ways:
        if (found := way(question, around, rng)) and found not in (question, *around.questions):
            return found
    return None


def renamed(question: str, around: Around, rng: random.Random) -> str | None:
    """Another name for a name, another number for a number, none of which the context has."""
    for form in rng.sample((NAME, NUMBER), 2):
        here = [text for text in form.findall(question) if text in around.context]
        found = form.findall(around.elsewhere)
        there = sorted({text for text in found if text not in around.context})
        if here and there:
            return question.replace(rng.choice(here), rng.choice(there))
    return None


def swapped(question: str, around: Around, rng: random.Random) -> str | None:
    """A name or thing of another question for one of this, as if the context told it of both."""
    for form in rng.sample((NAME, THING), 2):
        here = form.findall(question)
        found = [text for other in around.questions for text in form.findall(other)]
        there = sorted({text for text in found if text.lower() not in question.lower()})
        if here and there:
            return question.replace(rng.choice(here), rng.choice(there))
    return None


def reworded(question: str, around: Around, rng: random.Random) -> str | None:
    """Another word of the same ending for a word, where the context has only the former."""
    known = set(WORD.findall(around.context.lower()))
    here = [word for word in WORD.findall(question) if word in known and ending(word)]
    if not here:
        return None
    word = rng.choice(here)
    there = {other for other in WORD.findall(around.elsewhere) if ending(other) == ending(word)}
    fit = sorted(other for other in there if not any(other[:4] == old[:4] for old in known))
    return re.sub(rf"\b{word}\b", rng.choice(fit), question) if fit else None


def ending(word: str) -> str:
    """What tells which words may stand in this one's place; "" where nothing does."""
    return next((text for text in ENDINGS if word.endswith(text)), "")


def opposite(question: str, around: Around, rng: random.Random) -> str | None:
    """The opposite of a word, where the context has the word and not its opposite."""
    words = set(re.findall(r"\w+", around.context.lower()))
    fit = [
        word
        for word in re.findall(r"\w+", question)
        if word in OPPOSITES and word in words and OPPOSITES[word] not in words
    ]
    if not fit:
        return None
    word = rng.choice(fit)
    return re.sub(rf"\b{word}\b", OPPOSITES[word], question)


def negated(question: str, around: Around, rng: random.Random) -> str | None:
    """The first auxiliary negated; seldom, for it is easily seen."""
    found = AUXILIARY.search(question)
    if not found or rng.random() < 0.85 or " not " in around.context:
        return None
    word = {"can": "can't", "will": "won't"}.get(found.group(), f"{found.group()}n't")
    return f"{question[: found.start()]}{word}{question[found.end() :]}"


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
            others = tuple(q["question"] for q in row["questions"] if q is not item)
            around = Around(context, rng.choice(articles[row["title"]]), others)
            if question := changed(item["question"], around, rng):
                yield Example(question, (context,), "", -1, "question changed")
