"""Follow-ups and the questions they stand for, from conversations and made by rule.

The history is written into the passage, the follow-up at its end, so that the pointer can copy
from all of it: "history | history | follow-up".
"""

import random
import re
from collections.abc import Iterator

from qa.reader.spans import conversation
from training.examples import REWRITE, Example

NAME = re.compile(r"(?<!^)\b[A-Z][\w'’.-]*(?:\s+(?:of\s+|the\s+|de\s+)?[A-Z][\w'’-]*)*")
PRONOUNS = ("he", "she", "it", "they")


def follow_up(row: dict, source: str) -> Example:
    """A follow-up of a recorded or written conversation."""
    history = [" ".join(row["history"][:2]), *row["history"][2:]]
    text = conversation(history, row["question"])
    return Example("", (text,), row["rewrite"], 0, source, REWRITE)


def made(row: dict, rng: random.Random) -> Iterator[Example]:
    """Neighbouring questions of one paragraph that share a name, which a pronoun hides."""
    title = row["title"].replace("_", " ")
    for before, item in zip(row["questions"], row["questions"][1:], strict=False):
        question = item["question"].strip()
        shared = [name for name in NAME.findall(question) if name in before["question"]]
        if not shared or not before["answers"]:
            continue
        name = max(shared, key=len)
        pronoun = rng.choice(PRONOUNS)
        hidden = re.sub(rf"{re.escape(name)}[’']s\b", possessive(pronoun), question)
        hidden = hidden.replace(name, pronoun)
        if rng.random() < 0.2:
            hidden = f"and {hidden[0].lower()}{hidden[1:]}"
        text = conversation([title, before["question"].strip(), before["answers"][0]], hidden)
        yield Example("", (text,), question, 0, "made follow-up", REWRITE)


def possessive(pronoun: str) -> str:
    return {"he": "his", "she": "her", "it": "its", "they": "their"}[pronoun]
