"""What search really returns for a set's questions: passages of the set's own articles."""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from index import Hit, PassageIndex
from index.embedder import load_embedder
from training.examples import Example, align, contains

NEIGHBOURS = 10  # passages searched for each question
COUNTS = (1, 2, 3, 4, 5, 8)  # passages an example may have …
CHANCES = (1, 1, 2, 2, 2, 3)  # … and how often
GOLD_IN = 0.8


def write_articles(rows: list[dict], folder: Path) -> None:
    """One Markdown file an article: its title, then its paragraphs."""
    articles: dict[str, list[str]] = {}
    for row in rows:
        articles.setdefault(row["title"], []).append(" ".join(row["context"].split()))
    for number, (title, paragraphs) in enumerate(articles.items()):
        text = "\n\n".join([f"# {title.replace('_', ' ') or number}", *paragraphs])
        (folder / f"{number:05}.md").write_text(text + "\n", encoding="utf-8")


def retrieved(
    rows: list[dict],
    questions: list[tuple[str, dict]],
    source: str,
    rng: random.Random,
    *,
    gold_in: float = GOLD_IN,
) -> Iterator[Example]:
    """An example for each (context, question item), with what search finds in all the rows.

    ``gold_in`` is the share of the answerable ones that keep the paragraph with the answer.
    """
    with TemporaryDirectory() as folder:
        write_articles(rows, Path(folder))
        embedder = load_embedder()
        with PassageIndex.open(Path(folder) / ".readback", embedder=embedder) as index:
            index.sync(folder, progress=True)
            vectors = embedder.embed([item["question"] for _, item in questions])
            for (context, item), vector in zip(questions, vectors, strict=True):
                hits = index.search(item["question"], k=NEIGHBOURS, vector=vector)
                item = item | {"answers": [" ".join(text.split()) for text in item["answers"]]}
                yield mix(" ".join(context.split()), item, hits, source, rng, gold_in)


def mix(
    context: str, item: dict, hits: list[Hit], source: str, rng: random.Random, gold_in: float
) -> Example:
    """Some of the hits in random order, with or without the passage that holds the answer."""
    answer = align(context, item["answers"]) or ""
    others = [hit.text for hit in hits if hit.text not in context]
    gold = passage_of(context, answer) if answer and rng.random() < gold_in else None
    count = rng.choices(COUNTS, CHANCES)[0]
    if gold is None:
        if item["answers"]:
            others = [text for text in others if not contains(text, item["answers"])]
        elif rng.random() < 0.8:  # unanswerable by design: its own paragraph is the hard one
            others = [context, *others]
        passages = others[:count] or [context[:1]]
        rng.shuffle(passages)
        return Example(item["question"], tuple(passages), "", -1, source)
    passages = [gold, *others[: count - 1]]
    rng.shuffle(passages)
    return Example(item["question"], tuple(passages), answer, passages.index(gold), source)


def passage_of(context: str, answer: str) -> str:
    """The context, or of a long one a stretch around the answer, as the index would cut it."""
    at = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", context)
    if len(context) <= 900 or not at:
        return context
    first = max(0, min(at.start() - 450, len(context) - 900))
    first = context.rfind(". ", 0, first) + 2 if first else 0
    return context[first : max(first + 900, at.end())]
