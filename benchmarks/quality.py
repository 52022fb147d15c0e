"""How good are the answers: ``python -m benchmarks.quality DATA``.

DATA is a folder with ``dev/squad.jsonl.gz`` and its siblings, one paragraph with its questions a
line. Exact match and F1 are those of SQuAD 1.1 (Rajpurkar et al. 2016). Every answer is checked to
be a slice of its passage.
"""

import argparse
import gzip
import json
import random
import re
import string
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from index import PassageIndex
from qa.chatbot import PASSAGES
from qa.reader import Reader, Reading
from qa.reader.reader import SHIPPED

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
Case = tuple[str, list[str], list[str]]  # question, passages, references
Score = dict[str, float]


def normal(text: str) -> list[str]:
    """Words in lower case, without articles and punctuation."""
    return ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split()


def f1(text: str, reference: str) -> float:
    found, wanted = normal(text), normal(reference)
    common = sum((Counter(found) & Counter(wanted)).values())
    if not found or not wanted:
        return float(found == wanted)
    return 2 * common / (len(found) + len(wanted))


def score(reading: Reading | None, references: list[str]) -> Score:
    """Against the best of the references; an empty list means that there is no answer."""
    if reading is None:
        return {"exact": 0.0, "f1": 0.0, "confidence": 0.0}
    return {
        "exact": float(any(normal(reading.text) == normal(ref) for ref in references)),
        "f1": max((f1(reading.text, ref) for ref in references), default=0.0),
        "confidence": reading.confidence,
    }


def rows(path: Path) -> Iterator[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def sample(cases: list[Case], size: int | None) -> list[Case]:
    return cases if size is None else random.Random(1).sample(cases, min(size, len(cases)))


def gold(path: Path, size: int | None) -> list[Case]:
    """Every question with its own paragraph."""
    return sample(
        [
            (item["question"], [row["context"]], item["answers"])
            for row in rows(path)
            for item in row["questions"]
        ],
        size,
    )


def opened(path: Path, size: int | None) -> list[Case]:
    """Every question with what search finds in all the paragraphs; prints the recall."""
    paragraphs = list(rows(path))
    cases: list[Case] = []
    recall = dict.fromkeys((1, PASSAGES, 10), 0)
    with TemporaryDirectory() as folder:
        articles: dict[str, list[str]] = {}
        for row in paragraphs:
            articles.setdefault(row["title"], []).append(" ".join(row["context"].split()))
        for number, (title, contexts) in enumerate(articles.items()):
            text = "\n\n".join([f"# {title.replace('_', ' ')}", *contexts])
            (Path(folder) / f"{number:03}.md").write_text(text + "\n", encoding="utf-8")
        with PassageIndex.open(Path(folder) / ".readback") as index:
            index.sync(folder)
            for question, (context,), references in gold(path, size):
                hits = index.search(question, k=10)
                context = " ".join(context.split())
                right = [hit.text in context or context in hit.text for hit in hits]
                for k in recall:
                    recall[k] += any(right[:k])
                cases.append((question, [hit.text for hit in hits[:PASSAGES]], references))
    for k, found in recall.items():
        print(f"  right paragraph in the first {k:2}  {found / len(cases):6.1%}")
    return cases


reader: Reader | None = None  # of this process


def start_reader(path: Path) -> None:
    """Load a reader that uses one thread; the benchmark runs several processes instead."""
    global reader
    import torch

    torch.set_num_threads(1)
    reader = Reader.load(path)


def read(case: Case) -> Score:
    question, passages, references = case
    assert reader is not None
    reading = reader.read(question, passages)
    if reading:
        assert passages[reading.passage][reading.start : reading.end] == reading.text
    return score(reading, references)


def measure(cases: list[Case], path: Path, processes: int) -> list[Score]:
    with get_context("spawn").Pool(processes, start_reader, (path,)) as pool:
        return pool.map(read, cases, chunksize=16)


def mean(scores: list[Score], name: str) -> float:
    return 100 * sum(row[name] for row in scores) / len(scores)


def main() -> None:
    tasks: dict[str, tuple[str, Callable[[Path, int | None], list[Case]]]] = {
        "gold": ("squad", gold),
        "wiki": ("squadshifts_wiki", gold),
        "open": ("squad", opened),
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=list(tasks))
    parser.add_argument("--reader", type=Path, default=SHIPPED)
    parser.add_argument("--questions", type=int, help="a sample of so many; default: all")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    for task in args.tasks:
        name, make = tasks[task]
        print(f"{task} ({name})", flush=True)
        cases = make(args.data / "dev" / f"{name}.jsonl.gz", args.questions)
        scores = measure(cases, args.reader, args.processes)
        print(
            f"  {len(cases):,} questions  exact {mean(scores, 'exact'):.1f}"
            f"  F1 {mean(scores, 'f1'):.1f}  every answer a slice",
            flush=True,
        )


if __name__ == "__main__":
    main()
