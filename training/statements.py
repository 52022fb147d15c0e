"""Makes questions for whole statements, by rule, from quoted and reported speech.

"…," Scholz said.   Kishida said that …   →   What did Scholz say about supply chains?

Question sets hardly ask for what somebody said, and where they do, the answer is two words of it.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from index.passages import sentences
from training.mixture import OTHER_SPEAKER, OTHER_TOPIC, VEILED

VERBS = {  # past and present as they stand in a text -> as they stand in a question
    "said": "say", "says": "say", "stated": "say", "told": "say", "wrote": "write",
    "warned": "warn", "warns": "warn", "announced": "announce", "claimed": "claim",
    "claims": "claim", "argued": "argue", "argues": "argue", "explained": "explain",
    "believed": "believe", "believes": "believe", "thought": "think", "thinks": "think",
    "wanted": "want", "wants": "want", "planned": "plan", "plans": "plan",
    "promised": "promise", "demanded": "demand", "suggested": "suggest", "suggests": "suggest",
    "proposed": "propose", "insisted": "insist", "declared": "declare", "predicted": "predict",
    "pledged": "pledge", "urged": "urge", "noted": "note", "remarked": "remark",
    "complained": "complain", "admitted": "admit", "concluded": "conclude", "hoped": "hope",
    "cried": "say", "replied": "say", "answered": "say", "asked": "ask",
}  # fmt: skip
PROPER = r"[A-Z][\w.'-]*(?:\s+(?:of\s+|the\s+|de\s+)?[A-Z][\w.'-]*){0,3}"
NAME = rf"(?:(?:[Tt]he|[Aa])\s+(?:\w+\s+)?\w+|{PROPER})"
VERB = "|".join(VERBS)
CLAUSE = (
    r"(?:,|:|\s+(?:that|to|it|he|she|they|we|there|this|these|his|her|its|their|the|[\"“'‘])"
    r"|(?:\s+[\w'’-]+){1,6}[,:]\s+[\"“])"
)
REPORTED = re.compile(rf"\b(?P<name>{NAME})\s+(?P<verb>{VERB}){CLAUSE}")
ATTRIBUTED = re.compile(
    rf"[\"”'’]+,?\s+(?:(?P<verb>{VERB})\s+(?P<name>{NAME})|(?P<speaker>{NAME})\s+(?P<spoke>{VERB})\b)"
)
OPENERS = frozenset(
    "the a an he she it they we i you this that these those there his her its their in on at as "
    "when while after before although though if since because however but and for who".split()
)
WORD = re.compile(r"[A-Za-z][A-Za-z'’-]+")
DULL = OPENERS | frozenset(
    "is are was were be been being has have had do does did will would can could should may might "
    "must not no nor or so than then to of with from by about into over under between against "
    "said says also more most very much many some any all each every one two only just even such "
    "which who whom whose what where why how him them me us our my your it's i'm don't".split()
) | frozenset(VERBS) | frozenset(VERBS.values())  # fmt: skip


@dataclass(frozen=True, slots=True)
class Told:
    """A sentence that tells what somebody said."""

    name: str
    verb: str  # as it stands in a question
    topic: str | None  # what to ask about; None: for all that was said, there is nothing else
    sentence: str

    def question(self, rng: random.Random, *, name: str = "", topic: str = "") -> str:
        """The question that the sentence answers, or one with another name or topic."""
        asked = f"what did {name or self.name} {self.verb}"
        about = topic or self.topic
        asked += f" about {about}?" if about else "?"
        return asked[0].upper() + asked[1:] if rng.random() < 0.5 else asked


def told(context: str, rng: random.Random) -> Iterator[Told]:
    """The sentences of the context that tell what somebody said, and what to ask for."""
    texts = [context[start:end] for start, end in sentences(context)]
    found = [(text, speaker(text)) for text in texts]
    for sentence, who in found:
        if not who or not 6 <= len(sentence.split()) <= 70:
            continue
        name, verb = who
        alone = sum(other is not None and other[0] == name for _, other in found) == 1
        topic = choose_topic(sentence, name, rng)
        if topic and alone and rng.random() < 0.2:
            topic = None
        if topic or alone:
            yield Told(name, VERBS[verb], topic, sentence)


def asked(rows: Sequence[dict], rng: random.Random) -> Iterator[tuple[dict, dict]]:
    """(row, question item) for what is told in each row; in some rows "he" tells it.

    Some ask for another speaker or another topic, which the context does not hold: no answer.
    """
    told_in = [(row, list(told(row["context"], rng))) for row in rows]
    every = [item for _, items in told_in for item in items]
    names = [item.name for item in every if item.name[0].isupper()]
    topics = [item.topic for item in every if item.topic]
    for row, items in told_in:
        context = row["context"]
        for item in items:
            dice, name, topic = rng.random(), rng.choice(names), rng.choice(topics)
            question, answers = item.question(rng), [item.sentence]
            if item.topic and dice < OTHER_SPEAKER and name not in context:
                question, answers = item.question(rng, name=name), []
            elif dice > 1 - OTHER_TOPIC and topic.lower() not in context.lower():
                question, answers = item.question(rng, topic=topic), []
            elif len(items) == 1 and rng.random() < VEILED:
                row, answers = veiled(row, item, rng)
            yield row, {"question": question, "answers": answers}


def veiled(row: dict, item: Told, rng: random.Random) -> tuple[dict, list[str]]:
    """The row with "he" for the speaker, where the rest of it names him; what is told there."""
    before, after = row["context"].split(item.sentence, 1)
    if not item.name[0].isupper() or item.name.split()[-1] not in before + after:
        return row, [item.sentence]
    they = rng.choice(("he", "she", "they"))
    opens = item.sentence.startswith(item.name)
    sentence = item.sentence.replace(item.name, they.capitalize() if opens else they)
    return row | {"context": f"{before}{sentence}{after}"}, [sentence]


def speaker(sentence: str) -> tuple[str, str] | None:
    """Who speaks in a sentence, and the verb; None where nobody does, or only "he"."""
    if found := ATTRIBUTED.search(sentence):
        name, verb = found["name"] or found["speaker"], found["verb"] or found["spoke"]
    elif found := REPORTED.search(sentence):
        name, verb = found["name"], found["verb"]
    else:
        return None
    name = " ".join(name.split()).rstrip(".")
    first, *rest = name.split()
    if first.lower() in OPENERS - {"the", "a"} or len(name) < 3 or name.endswith(("'s", "’s")):
        return None
    return (" ".join(["the", *rest]) if first == "The" else name), verb


def choose_topic(sentence: str, name: str, rng: random.Random) -> str | None:
    """One to three neighbouring words with a meaning, from anywhere but the speaker's name."""
    runs: list[list[str]] = [[]]
    for word in WORD.findall(sentence.replace(name, " the ")):
        if word.lower() in DULL or len(word) < 4:
            runs.append([])
        else:
            runs[-1].append(word)
    runs = [run for run in runs if run]
    if not runs:
        return None
    run = rng.choice(sorted(runs, key=len)[-3:])
    size = min(len(run), rng.choice((1, 2, 2, 3)))
    first = rng.randrange(len(run) - size + 1)
    return " ".join(run[first : first + size])
