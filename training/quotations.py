"""Puts sentences of an article into somebody's mouth, as news reports do, and asks for them.

Wikipedia and fairy tales quote in half a line, with the speaker at hand. News quote for sentences
on end, name the speaker far from the topic, in an earlier sentence, or call him "he". What is said
here is made up; the questions and the form are what the reader learns from it.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

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
ALONE = (  # the speaker in no sentence of the paragraph
    "“{first}{rest},” {they} said.",
    "{They} said that {lowered}{rest}.",
    "{They} pointed out that {lowered}{rest}.",
)
ACTS = (  # the deed in place of "said"; somebody, or the sentence before, names who
    "{name} {acted} that {lowered}.",
    "{name} met journalists on {day}. {They} {acted} that {lowered}.",
    "On {day} {name} spoke for an hour. {They} also {acted} that {lowered}.",
    "{They} {acted} that {lowered}.",
)
FORMS, CHANCES = (NEAR, FAR, ALONE, ACTS), (0.4, 0.25, 0.1, 0.25)
DEEDS = {  # as they stand in a text -> as they stand in a question
    "pledged": "pledge", "promised": "promise", "warned": "warn", "announced": "announce",
    "agreed": "agree", "demanded": "demand", "insisted": "insist", "claimed": "claim",
    "complained": "complain", "admitted": "admit", "predicted": "predict", "denied": "deny",
}  # fmt: skip
RIVAL = 0.5  # share of the paragraphs in which somebody else speaks too
ON_TITLE = 0.3  # share of the questions that are about the article's title
GROUPS = (  # who speaks, beside people
    "the two leaders", "the ministers", "both presidents", "the government", "the company",
    "the researchers", "the foreign ministry", "the union", "the police", "the central bank",
    "the two countries", "the leaders", "both sides", "the organisers", "the three parties",
)  # fmt: skip
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
ASKED = (
    "what did {who} say about {topic}?",
    "What did {who} say about {topic}?",
    "What does {who} say about {topic}?",
    "what did {who} tell reporters about {topic}",
    "What does {who} think about {topic}?",
    "What did {who} say about the {topic}?",
)
ASKED_DEEDS = (
    "What did {who} {act}?",
    "what did {who} {act}",
    "What did {who} {act} about {topic}?",
    "what did {who} {act} about the {topic}",
)


def quotations(
    rows: Sequence[dict], names: Sequence[str], rng: random.Random
) -> Iterator[tuple[dict, dict]]:
    """(row with a quotation in its context, question item) for the rows that allow one.

    Some ask for another speaker or another topic, which the context does not hold: no answer.
    """
    topics: list[str] = []
    speakers = [*names, *GROUPS * (1 + len(names) // (5 * len(GROUPS)))]
    for row in rows:
        quoted = quotation(row["context"], rng.choice(speakers), rng)
        if not quoted:
            continue
        if rng.random() < RIVAL:
            rival = quotation(quoted.context, rng.choice(speakers), rng)
            if rival and quoted.sentence in rival.context:
                quoted = replace(quoted, context=rival.context)
        name, topic, answers = quoted.name, quoted.topic, [quoted.sentence]
        topics.append(topic)
        dice, stranger, other = rng.random(), rng.choice(speakers), rng.choice(topics)
        if dice < OTHER_SPEAKER and not set(stranger.split()) & set(quoted.context.split()):
            name, answers = stranger, []
        elif dice > 1 - OTHER_TOPIC and other.lower() not in quoted.context.lower():
            topic, answers = other, []
        elif row["title"] and rng.random() < ON_TITLE:
            topic = row["title"].replace("_", " ")
        who = name if rng.random() < 0.4 else short(name)
        forms = ASKED_DEEDS if quoted.deed else ASKED
        question = rng.choice(forms).format(
            who=who, topic=reworded(topic, rng), act=DEEDS.get(quoted.deed)
        )
        yield row | {"context": quoted.context}, {"question": question, "answers": answers}


@dataclass(frozen=True, slots=True)
class Quoted:
    """A context with a quotation in it."""

    context: str
    name: str  # of the speaker
    topic: str  # some words of what is said
    sentence: str  # that says it
    deed: str  # in whose place "said" could stand; empty where it does


def quotation(context: str, name: str, rng: random.Random) -> Quoted | None:
    """Some sentences of the context, said by that name; None where that can't be done."""
    spans = sentences(context)
    (forms,) = rng.choices(FORMS, CHANCES)
    count = 1 if forms is ACTS else rng.choice(QUOTED_SENTENCES)
    if len(spans) < count or name in context:
        return None
    first = rng.randrange(len(spans) - count + 1)
    taken = spans[first : first + count]
    said = [context[start:end].rstrip(".") for start, end in taken]
    words = sum(len(text.split()) for text in said)
    if words not in QUOTED_WORDS or any(mark in "".join(said) for mark in '“”":'):
        return None
    place = rng.randrange(count)
    topic = choose_topic(said[place], name, rng)
    if not topic or topic not in said[place][1:]:
        return None
    deed = rng.choice(tuple(DEEDS)) if forms is ACTS else ""
    told = worded(rng.choice(forms), said, name, deed, rng)
    before, after = context[: taken[0][0]], context[taken[-1][1] :]
    made = f"{before}{told}{after}"
    at = made.index(said[place][1:], len(before)) + said[place][1:].index(topic)
    start, end = next(span for span in sentences(made) if span[0] <= at < span[1])
    return Quoted(made, name, topic, made[start:end], deed)


def worded(form: str, said: list[str], name: str, deed: str, rng: random.Random) -> str:
    """A form, filled with what that name said."""
    they = "they" if name in GROUPS else rng.choice(("he", "she", "they"))
    told = form.format(
        first=said[0],
        more=". ".join(said[1:]) or "That is all I can say",
        rest="".join(f". {text}" for text in said[1:]),
        lead=". ".join(said),
        lowered=lowered(said[0]),
        name=name,
        short=short(name),
        they=they,
        They=they.capitalize(),
        day=rng.choice(DAYS),
        acted=deed,
    )
    told = told[0].upper() + told[1:]
    return told.replace("“", '"').replace("”", '"') if rng.random() < 0.4 else told


def short(name: str) -> str:
    """The last name of a person."""
    return name if name in GROUPS else name.split()[-1]


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
