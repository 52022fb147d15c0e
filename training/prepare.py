"""Public question sets become training examples: ``python -m training.prepare DATA OUT``.

DATA is a folder of ``train/*.jsonl.gz``. OUT gets ``gold.jsonl.gz`` (stage 1: one passage a
question) and then, with ``--stage open``, ``open.jsonl.gz`` (stage 2: several passages as search
returns them, whole statements, follow-ups). ``--stage again`` keeps a share of what those two files
hold, mostly short answers, as ``again.jsonl.gz``.
"""

import argparse
import math
import random
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from training.adversarial import made as made_unanswerable
from training.examples import (
    Example,
    align,
    by_article,
    contains,
    read_examples,
    read_rows,
    write_examples,
)
from training.mixture import (
    AGAIN,
    AGAIN_OTHERS,
    ASKED_STATEMENTS,
    CHANGED,
    FOLLOW_UPS,
    GOLD,
    HELD_BACK,
    HELD_OUT,
    NEGATIVES,
    OPEN,
    QUOTATIONS,
    REMOVED,
    SEED,
    STATEMENT_IN,
    STATEMENTS,
    WHOLE,
    Share,
)
from training.quotations import quotations
from training.retrieval import retrieved
from training.rewrites import follow_up, made
from training.statements import asked, told

WRITTEN = tuple(  # questions written for this project
    Path(__file__).with_name(f"{name}.jsonl.gz") for name in ("written", "pairs")
)
TALKS = Path(__file__).with_name("follow_ups.jsonl.gz")  # in conversations, likewise
SHORT = 8  # words
COMPLEMENT = re.compile(r"\b[a-z]+ (?:from|of|for|with|against|between) (?:(?:the|a|an) )?\w+$")
COMMON = re.compile(r"(?:^| )[a-z]+$")  # the last word is no name


def answered(row: dict, source: str) -> Iterator[Example]:
    """The row's questions, answerable and not, with its own paragraph."""
    context = row["context"]
    for item in row["questions"]:
        if not item["answers"]:
            yield Example(item["question"], (context,), "", -1, source)
        elif answer := align(context, item["answers"]):
            yield Example(item["question"], (context,), answer, 0, source)


def negatives(rows: list[dict], source: str, rng: random.Random) -> Iterator[Example]:
    """Some questions once more, with the paragraph of their article that looks most like theirs.

    Among those that don't hold the answer, it shares the most words with the question.
    """
    articles = {
        title: [(paragraph, words(paragraph)) for paragraph in paragraphs]
        for title, paragraphs in by_article(rows).items()
    }
    for row in rows:
        for item in row["questions"]:
            if not item["answers"] or rng.random() >= NEGATIVES:
                continue
            asked = words(item["question"])
            others = [
                (len(asked & held), paragraph)
                for paragraph, held in articles[row["title"]]
                if not contains(paragraph, item["answers"])
            ]
            if others:
                yield Example(item["question"], (max(others)[1],), "", -1, source)


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))


def gold_examples(data: Path, share: Share) -> Iterator[Example]:
    rng = random.Random(f"{SEED} {share.name}")
    rows = list(read_rows(data / "train" / f"{share.name}.jsonl.gz"))
    rows = [row for row in rows if not (share.name == "squad2_hard" and row["title"] in HELD_BACK)]
    examples = [example for row in rows for example in answered(row, share.name)]
    if share.name == "squad":
        examples += negatives(rows, share.name, rng)
        examples += made_unanswerable(rows, (REMOVED, CHANGED), rng)
    yield from (example for example in examples if rng.random() < share.share)


def written_examples(data: Path) -> Iterator[Example]:
    """Questions that only seem to be answered, and others in the same hand that are.

    Their paragraphs are SQuAD's, named by the start of their SHA-256. Raises ValueError where the
    data lack one.
    """
    path = data / "train" / "squad.jsonl.gz"
    texts = [row["context"] for row in read_rows(path)]
    contexts = {sha256(text.encode()).hexdigest()[:16]: text for text in texts}
    for file in WRITTEN:
        for row in read_rows(file):
            if row["paragraph"] not in contexts:
                raise ValueError(
                    f"{path} lacks paragraph {row['paragraph']} of {row['title']!r}: "
                    "take SQuAD 1.1's training set, its texts unchanged"
                )
            row["context"] = contexts[row["paragraph"]]
            yield from answered(row, file.name.removesuffix(".jsonl.gz"))


def open_examples(data: Path, share: Share) -> Iterator[Example]:
    """Questions with what search finds in their whole set; whole articles, as many as needed."""
    rng = random.Random(f"{SEED} open {share.name}")
    rows = list(read_rows(data / "train" / f"{share.name}.jsonl.gz"))
    rows = [row for row in rows if row["title"] not in HELD_BACK]
    titles = sorted({row["title"] for row in rows})
    chosen = set(rng.sample(titles, math.ceil(min(1.0, 2 * share.share) * len(titles))))
    rows = [row for row in rows if row["title"] in chosen]
    questions = [(row["context"], item) for row in rows for item in row["questions"]]
    yield from retrieved(rows, rng.sample(questions, len(questions) // 2), share.name, rng)


def statement_examples(data: Path) -> Iterator[Example]:
    """Questions for whole sentences, made by rule, with what search finds in all the articles."""
    rng = random.Random(f"{SEED} statements")
    rows = []
    for share in STATEMENTS:
        every = read_rows(data / "train" / f"{share.name}.jsonl.gz")
        kept = [row for row in every if not held_out(statement_key(row))]
        rows += rng.sample(kept, int(share.share * len(kept)))
    rng.shuffle(rows)
    speakers = {row["context"]: [item.name for item in told(row["context"], rng)] for row in rows}
    talking = [row for row in rows if speakers[row["context"]]]
    found = list(asked(talking, rng))[:ASKED_STATEMENTS]
    names = sorted(
        {name for some in speakers.values() for name in some if " " in name and name[0].isupper()}
    )
    quiet = [row for row in rows if not speakers[row["context"]]]
    found += list(quotations(quiet, names, rng))[:QUOTATIONS]
    rows = list({row["context"]: row for row, _ in found}.values())
    questions = [(row["context"], item) for row, item in found]
    yield from retrieved(rows, questions, "statements", rng, gold_in=STATEMENT_IN)


def statement_key(row: dict) -> str:
    """By which a row's statements are held out."""
    return row["title"] + row["context"][:40]


def rewrite_examples(data: Path) -> list[Example]:
    rng = random.Random(f"{SEED} rewrites")
    rows = read_rows(data / "train" / "canard_rewrites.jsonl.gz")
    turns = [follow_up(row, "canard") for row in rows if not held_out(row["history"][0])]
    turns += [follow_up(row, "written follow-up") for row in read_rows(TALKS)]
    rows = read_rows(data / "train" / "squad.jsonl.gz")
    by_rule = [example for row in rows for example in made(row, rng)]
    return turns + rng.sample(by_rule, FOLLOW_UPS)


def held_out(title: str) -> bool:
    """A fixed tenth of the titles: never trained on, kept to measure."""
    return zlib.crc32(title.encode()) % 1000 < 1000 * HELD_OUT


def phrases(examples: Iterable[Example]) -> Iterator[Example]:
    """The examples, those answered by a whole phrase twice, without those whose answer is cut
    short."""
    for example in examples:
        if not cut_short(example):
            yield from [example] * (WHOLE if is_whole(example.answer) else 1)


def again_examples(prepared: Path) -> Iterator[Example]:
    """A share of the examples of both stages, by where they come from."""
    rng = random.Random(f"{SEED} again")
    for stage, shares in AGAIN.items():
        for example in read_examples(prepared / f"{stage}.jsonl.gz"):
            share = shares.get(example.source, AGAIN_OTHERS)
            if rng.random() < share:
                yield example


def is_whole(answer: str) -> bool:
    """Whether a short answer says what its thing is of, from or for: "coal from Russia"."""
    return len(answer.split()) <= SHORT and COMPLEMENT.search(answer) is not None


def cut_short(example: Example) -> bool:
    """Whether the answer leaves out what its thing is of, from or for, as "coal" does, although the
    question does not say it."""
    if not COMMON.search(example.answer):
        return False
    asked = words(example.question)
    after = re.search(
        rf"(?<!\w){re.escape(example.answer)} (?:from|of|for) ((?:\w+ ){{0,2}}\w+)",
        example.passages[example.gold],
    )
    return after is not None and not words(after[1]) <= asked | {"a", "an", "the"}


def new_examples(stage: str, data: Path) -> Iterator[Example]:
    shares, make = (GOLD, gold_examples) if stage == "gold" else (OPEN, open_examples)
    for share in shares:
        yield from make(data, share)
    if stage == "gold":
        yield from written_examples(data)
    else:
        yield from statement_examples(data)
        yield from rewrite_examples(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with train/*.jsonl.gz")
    parser.add_argument("out", type=Path, help="folder for the examples")
    parser.add_argument("--stage", choices=("gold", "open", "again"), default="gold")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.stage == "again":
        examples = list(again_examples(args.out))
    else:
        examples = list(phrases(new_examples(args.stage, args.data)))
    random.Random(SEED).shuffle(examples)
    for source, count in Counter(example.source for example in examples).most_common():
        print(f"{source:22} {count:7,}")
    path = args.out / f"{args.stage}.jsonl.gz"
    print(f"{write_examples(path, examples):,} examples in {path}")


if __name__ == "__main__":
    main()
