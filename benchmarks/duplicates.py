"""Are copies of a passage found, and only copies: ``python -m benchmarks.duplicates SOURCE``.

SOURCE is a folder of documents or a ``.jsonl.gz`` file with one paragraph (`context`) a line. Each
passage is altered in ways that leave it a copy and in ways that make another fact of it. A copy
counts as found when a key brings it up and the comparison of words agrees. Different passages of
SOURCE that are taken for copies are shown, to be judged by eye.
"""

import argparse
import functools
import random
import re
import textwrap
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

from index.documents import Document, load_document
from index.duplicates import Wording, band_keys
from index.errors import DocumentError
from index.passages import split_passages
from training.examples import read_rows

Change = Callable[[str, random.Random, list[str]], str]  # text, chance and other words

PLAIN = re.compile(r"(?<![\w'’])[a-z]{4,}(?![\w'’])")
NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{3,}")
NUMBER = re.compile(r"\d")
VERB = re.compile(r"\b(?:is|are|was|were|will|would|has|had)\b")


@functools.cache
def is_free(word: str) -> bool:
    """Whether another word may stand in its place; not so for "million" or "never"."""
    return not Wording.of(word).facts


def replaced(count: int) -> Change:
    """So many words in lower case replaced by others of other passages."""

    def change(text: str, chance: random.Random, words: list[str]) -> str:
        places = [place for place in PLAIN.finditer(text) if is_free(place.group())]
        for place in sorted(chance.sample(places, min(count, len(places))), key=lambda m: -m.end()):
            text = text[: place.start()] + chance.choice(words) + text[place.end() :]
        return text

    return change


def left_out(text: str, chance: random.Random, words: list[str]) -> str:
    place = chance.choice([place for place in PLAIN.finditer(text) if is_free(place.group())])
    return text[: place.start()] + text[place.end() :].lstrip()


def requoted(text: str, chance: random.Random, words: list[str]) -> str:
    return re.sub(r'"(.*?)"', r"“\1”", text, flags=re.DOTALL).replace("'", "’")


def respaced(text: str, chance: random.Random, words: list[str]) -> str:
    return textwrap.fill(text, chance.randrange(40, 70)).replace(". ", ".  ")


def dated(text: str, chance: random.Random, words: list[str]) -> str:
    day = chance.randrange(1, 31)
    return chance.choice([f"TOKYO, April {day} (Reuters) - ", "Tokyo (AFP) — "]) + text


def at(pattern: re.Pattern[str], change: Callable[[str, random.Random], str]) -> Change:
    """What one random place of a pattern holds, changed; all stays when it is nowhere."""

    def change_one(text: str, chance: random.Random, words: list[str]) -> str:
        places = [*pattern.finditer(text)]
        if not places:
            return text
        place = chance.choice(places)
        return text[: place.start()] + change(place.group(), chance) + text[place.end() :]

    return change_one


COPIES: dict[str, Change] = {
    "other quotes": requoted,
    "other spacing": respaced,
    "a date line before it": dated,
    "one word replaced": replaced(1),
    "two words replaced": replaced(2),
    "three words replaced": replaced(3),
    "a word left out": left_out,
}
OTHERS: dict[str, Change] = {
    "another number": at(NUMBER, lambda old, chance: str((int(old) + chance.randrange(1, 9)) % 10)),
    "another name": at(NAME, lambda old, chance: chance.choice(["Merkel", "Ghana", "Osaka"])),
    "a not more": at(VERB, lambda old, chance: f"{old} not"),
}


def texts_of(source: Path) -> Iterator[str]:
    if source.is_file():
        yield from dict.fromkeys(row["context"] for row in read_rows(source))
        return
    for path in sorted(source.rglob("*")):
        try:
            document: Document = load_document(path, name=path.name)
        except DocumentError:
            continue
        yield from (passage.text for passage in split_passages(document))


def alike(texts: list[str]) -> list[tuple[str, str, bool]]:
    """Pairs that have a key in common, and whether they are copies."""
    by_key = defaultdict(set)
    for number, keys in enumerate(band_keys(texts)):
        for key in keys:
            by_key[key].add(number)
    wordings = [Wording.of(text) for text in texts]
    pairs = {pair for numbers in by_key.values() for pair in combinations(sorted(numbers), 2)}
    return [(texts[a], texts[b], wordings[a].is_copy_of(wordings[b])) for a, b in sorted(pairs)]


def report(texts: list[str], changes: dict[str, Change], chance: random.Random) -> None:
    words = [word for text in texts for word in PLAIN.findall(text) if is_free(word)]
    keys = [*band_keys(texts)]
    for name, change in changes.items():
        altered = [change(text, chance, words) for text in texts]
        tried = [n for n, text in enumerate(texts) if altered[n] != text]
        same = [n for n in tried if Wording.of(texts[n]).is_copy_of(Wording.of(altered[n]))]
        other_keys = [*band_keys(altered)]
        found = sum(not keys[n].isdisjoint(other_keys[n]) for n in same)
        print(
            f"  {name:24}{len(tried):6} tried, copies by their words{len(same) / len(tried):8.2%},"
            f" found by a key as well{found / len(tried):8.2%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--show", type=int, default=5, help="pairs to show")
    args = parser.parse_args()
    texts = [*texts_of(args.source)]
    list(band_keys(texts[:1]))  # loads the library
    start = time.process_time()
    list(band_keys(texts))
    took = time.process_time() - start
    print(
        f"{len(texts)} passages of {sum(map(len, texts)) // len(texts)} characters:"
        f" {len(texts) / took:,.0f} a second of processor time"
    )
    chance = random.Random(1)
    print("Changed, and still a copy:")
    report(texts, COPIES, chance)
    print("Changed, and another fact:")
    report(texts, OTHERS, chance)
    pairs = alike(texts)
    copies = [pair for pair in pairs if pair[2]]
    print(
        f"Different passages: of {len(texts) * (len(texts) - 1) // 2:,} pairs {len(pairs)} have a"
        f" key in common, {len(copies)} are taken for copies"
    )
    for one, other, _ in copies[: args.show]:
        print(f"\n  {one}\n  {other}")


if __name__ == "__main__":
    main()
