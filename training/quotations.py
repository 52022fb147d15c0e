"""Puts sentences of an article into somebody's mouth, as news reports do, and asks for them.

Wikipedia and fairy tales quote in half a line, with the speaker at hand. News quote for sentences
on end, name the speaker far from the topic, in an earlier sentence, or call him "he". What is said
here is made up; the questions and the form are what the reader learns from it.
"""

import random
from collections.abc import Iterator, Sequence

from index.passages import sentences
from training.mixture import OTHER_SPEAKER, OTHER_TOPIC
from training.statements import DULL, choose_topic

QUOTED_SENTENCES = (1, 1, 2, 2, 3)
QUOTED_WORDS = range(8, 70)
NEAR = (  # the speaker at the statement
    "“{first}{rest},” {short} said.",
    "“{first}{rest},” said {name}.",
    "“{first}{rest},” {name} told reporters.",
    "“{first},” {short} said. “{more}.”",
    "{name} said: “{first}{rest}.”",
    "{name} said that {lowered}{rest}.",
    "{lead}, which {short} said was a surprise to many.",
    "According to {name}, {lowered}{rest}.",
)
FAR = (  # the speaker in the sentence before
    "{name} gave a press conference on {day}. “{first}{rest},” {they} said.",
    "{name} spoke to journalists on {day}. {They} said that {lowered}{rest}.",
    "On {day} there was an interview with {name}. “{first}{rest},” {they} remarked.",
    "{name} answered questions on {day}. “{first},” {they} said. “{more}.”",
    "{name} arrived on {day}. {They} added that {lowered}{rest}.",
)
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
ASKED = (
    "what did {who} say about {topic}?",
    "What did {who} say about {topic}?",
    "What does {who} say about {topic}?",
    "what did {who} tell reporters about {topic}",
    "What does {who} think about {topic}?",
    "What did {who} say about the {topic}?",
)


def quotations(
    rows: Sequence[dict], names: Sequence[str], rng: random.Random
) -> Iterator[tuple[dict, dict]]:
    """(row with a quotation in its context, question item) for the rows that allow one.

    Some ask for another speaker or another topic, which the context does not hold: no answer.
    """
    topics: list[str] = []
    for row in rows:
        made = quotation(row["context"], rng.choice(names), rng)
        if not made:
            continue
        context, name, topic, sentence = made
        topics.append(topic)
        dice, stranger, other = rng.random(), rng.choice(names), rng.choice(topics)
        answers = [sentence]
        if dice < OTHER_SPEAKER and not set(stranger.split()) & set(context.split()):
            name, answers = stranger, []
        elif dice > 1 - OTHER_TOPIC and other.lower() not in context.lower():
            topic, answers = other, []
        who = name if rng.random() < 0.4 else name.split()[-1]
        question = rng.choice(ASKED).format(who=who, topic=reworded(topic, rng))
        yield row | {"context": context}, {"question": question, "answers": answers}


def quotation(context: str, name: str, rng: random.Random) -> tuple[str, str, str, str] | None:
    """(context with a quotation by that name, the name, its topic, the sentence that says it)."""
    spans = sentences(context)
    count = rng.choice(QUOTED_SENTENCES)
    if len(spans) < count:
        return None
    first = rng.randrange(len(spans) - count + 1)
    taken = spans[first : first + count]
    said = [context[start:end].rstrip(".") for start, end in taken]
    words = sum(len(text.split()) for text in said)
    if words not in QUOTED_WORDS or any(mark in "".join(said) for mark in '“”":'):
        return None
    place = rng.randrange(count)
    topic = choose_topic(said[place], name, rng)
    if not topic or topic not in said[place][1:] or name in context:
        return None
    they = rng.choice(("he", "she", "they"))
    told = rng.choice(NEAR if rng.random() < 0.6 else FAR).format(
        first=said[0],
        more=". ".join(said[1:]) or "That is all I can say",
        rest="".join(f". {text}" for text in said[1:]),
        lead=". ".join(said),
        lowered=lowered(said[0]),
        name=name,
        short=name.split()[-1],
        they=they,
        They=they.capitalize(),
        day=rng.choice(DAYS),
    )
    if rng.random() < 0.4:
        told = told.replace("“", '"').replace("”", '"')
    before, after = context[: taken[0][0]], context[taken[-1][1] :]
    made = f"{before}{told}{after}"
    at = made.index(said[place][1:], len(before)) + said[place][1:].index(topic)
    start, end = next(span for span in sentences(made) if span[0] <= at < span[1])
    return made, name, topic, made[start:end]


def lowered(text: str) -> str:
    """The text as it goes on after "that"."""
    first = text.split()[0]
    return text[0].lower() + text[1:] if first.lower() in DULL else text


def reworded(topic: str, rng: random.Random) -> str:
    """The topic, sometimes in lower case, without its first word, or in the other number."""
    if rng.random() < 0.4:
        topic = topic.lower()
    if " " in topic and rng.random() < 0.15:
        topic = topic.split(" ", 1)[1]
    if rng.random() < 0.15:
        topic = topic[:-1] if topic.endswith("s") else f"{topic}s"
    return topic
