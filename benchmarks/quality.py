"""How good are the answers: ``python -m benchmarks.quality DATA``.

DATA is a folder with ``dev/squad.jsonl.gz`` and its siblings, one paragraph with its questions a
line. Exact match and F1 are those of SQuAD 1.1 (Rajpurkar et al. 2016). Every answer is checked to
be a slice of its passage.
"""

import argparse
import itertools
import random
import re
import string
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from index import Embedder, PassageIndex, load_embedder
from qa.chatbot import PASSAGES, join
from qa.reader import Reader, Reading
from qa.reader.reader import SHIPPED, Nearness
from qa.reader.search import PointerSearch
from qa.reader.spans import wants_statement
from training.examples import read_rows
from training.mixture import SEED
from training.prepare import held_out, statement_key
from training.retrieval import write_articles
from training.statements import asked, told

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
Case = tuple[str, list[str], list[str]]  # question, passages, references
Score = dict[str, float]
T = TypeVar("T")


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
    return score_text(reading.text, references) | {"confidence": reading.confidence}


def score_text(text: str, references: list[str]) -> Score:
    return {
        "exact": float(any(normal(text) == normal(ref) for ref in references)),
        "f1": max((f1(text, ref) for ref in references), default=0.0),
    }


def sample(cases: list[T], size: int | None) -> list[T]:
    return cases if size is None else random.Random(1).sample(cases, min(size, len(cases)))


def gold(path: Path, size: int | None) -> list[Case]:
    """Every question with its own paragraph."""
    return sample(
        [
            (item["question"], [row["context"]], item["answers"])
            for row in read_rows(path)
            for item in row["questions"]
        ],
        size,
    )


def opened(path: Path, size: int | None) -> list[Case]:
    """Every question with what search finds in all the paragraphs; prints the recall."""
    return searched(list(read_rows(path)), gold(path, size))


def statements(path: Path, size: int | None) -> list[Case]:
    """Held-out questions, made by rule, for what somebody said, with what search finds."""
    rng = random.Random(SEED)
    rows = [row for row in read_rows(path) if held_out(statement_key(row))]
    rows = [row for row in rows if any(told(row["context"], rng))]
    questions = [
        (item["question"], [row["context"]], item["answers"]) for row, item in asked(rows, rng)
    ]
    return searched(rows, sample(questions, size))


def searched(rows: list[dict], cases: list[Case]) -> list[Case]:
    """The cases with what search finds in the rows instead of their own paragraph."""
    found: list[Case] = []
    recall = dict.fromkeys((1, PASSAGES, 10), 0)
    with TemporaryDirectory() as folder:
        write_articles(rows, Path(folder))
        with PassageIndex.open(Path(folder) / ".readback") as index:
            index.sync(folder)
            for question, (context,), references in cases:
                hits = index.search(question, k=10)
                context = " ".join(context.split())
                right = [hit.text in context or context in hit.text for hit in hits]
                for k in recall:
                    recall[k] += any(right[:k])
                found.append((question, [hit.text for hit in hits[:PASSAGES]], references))
    for k, count in recall.items():
        print(f"  right paragraph in the first {k:2}  {count / len(found):6.1%}")
    return found


@dataclass(frozen=True, slots=True)
class Turn:
    """A follow-up of a recorded conversation that no reader was trained on."""

    history: list[str]  # topic, then questions and answers
    question: str
    reference: str  # the question that stands alone
    answer: str  # what came next in the conversation


def turns(path: Path, size: int | None) -> list[Turn]:
    """The held-out follow-ups whose answer is known: it stands in the next turn's history."""
    found = []
    talks: dict[tuple[str, ...], list[dict]] = {}
    for row in read_rows(path):
        if held_out(row["history"][0]):
            talks.setdefault(tuple(row["history"][:2]), []).append(row)
    for (title, section), talk in talks.items():
        for row, following in itertools.pairwise(talk):
            if following["history"][: len(row["history"])] == row["history"] != [title, section]:
                history = [f"{title} {section}", *row["history"][2:]]
                found.append(
                    Turn(history, row["question"], row["rewrite"], following["history"][-1])
                )
    return sample(found, size)


def recall(questions: list[str], answers: list[str]) -> float:
    """How often search finds the answer among all answers, in the first ten, in percent."""
    with TemporaryDirectory() as folder:
        for number, answer in enumerate(answers):
            text = f"Answer {number}\n\n{' '.join(answer.split())}\n"
            (Path(folder) / f"{number:04}.txt").write_text(text, encoding="utf-8")
        with PassageIndex.open(Path(folder) / ".readback") as index:
            index.sync(folder)
            found = [
                any(hit.document.path == f"{number:04}.txt" for hit in index.search(question, k=10))
                for number, question in enumerate(questions)
            ]
    return 100 * sum(found) / len(found)


def measure_rewriting(data: Path, size: int | None, path: Path) -> None:
    """Exact match and F1 of rewritten follow-ups, and recall with them, without, and with gold.

    "Titled" is what a conversation does: the follow-up together with a title, here that of the
    conversation. "Joined" is with the question before it.
    """
    cases = turns(data / "train/canard_rewrites.jsonl.gz", size)
    search = Reader.load(path).search
    assert isinstance(search, PointerSearch)
    joined = [join(turn.question, turn.history[-2]) for turn in cases]
    titled = [f"{turn.question} {turn.history[0]}" for turn in cases]
    written = [search.rewrite(turn.question, turn.history) for turn in cases]
    both = [f"{text} {turn.history[0]}" for text, turn in zip(written, cases, strict=True)]
    answers = [turn.answer for turn in cases]
    for name, questions in (
        ("as asked", [turn.question for turn in cases]),
        ("joined", joined),
        ("titled", titled),
        ("rewritten", written),
        ("both", both),
        ("reference", [turn.reference for turn in cases]),
    ):
        pairs = list(zip(questions, [turn.reference for turn in cases], strict=True))
        exact = 100 * sum(normal(a) == normal(b) for a, b in pairs) / len(pairs)
        overlap = 100 * sum(f1(a, b) for a, b in pairs) / len(pairs)
        print(
            f"  {name:10} exact {exact:5.1f}  F1 {overlap:5.1f}"
            f"  recall at 10 {recall(questions, answers):5.1f}",
            flush=True,
        )


reader: Reader | None = None  # of this process
embedder: Embedder | None = None  # likewise


def start_reader(path: Path) -> None:
    """Load a reader that uses one thread; the benchmark runs several processes instead."""
    global reader, embedder
    import torch

    torch.set_num_threads(1)
    reader, embedder = Reader.load(path), load_embedder()


def nearness(question: str) -> Nearness:
    """How near a sentence is to the question, as a chatbot tells its reader."""

    def cosine(sentence: str) -> float:
        assert embedder is not None
        one, two = embedder.embed([question, sentence])
        return float(one @ two)

    return cosine


def read(case: Case) -> Score:
    question, passages, references = case
    assert reader is not None
    reading = reader.read(question, passages, nearness=nearness(question))
    if reading:
        assert passages[reading.passage][reading.start : reading.end] == reading.text
    return score(reading, references)


def measure(cases: list[Case], path: Path, processes: int) -> list[Score]:
    with get_context("spawn").Pool(processes, start_reader, (path,)) as pool:
        return pool.map(read, cases, chunksize=16)


def report_silence(cases: list[Case], scores: list[Score], threshold: float) -> None:
    """How often nothing is answered, where there is an answer and where there is none."""
    for there, name in ((True, "there"), (False, "not there")):
        sure = [
            row["confidence"]
            for row, (*_, references) in zip(scores, cases, strict=True)
            if bool(references) == there
        ]
        quiet = sum(confidence < threshold for confidence in sure)
        print(f"  {len(sure):,} whose answer is {name}: {quiet / len(sure):.1%} left unanswered")


def mean(scores: list[Score], name: str) -> float:
    return 100 * sum(row[name] for row in scores) / len(scores)


def summary(scores: list[Score]) -> str:
    return (
        f"{len(scores):,} questions  exact {mean(scores, 'exact'):.1f}  F1 {mean(scores, 'f1'):.1f}"
    )


def main() -> None:
    tasks: dict[str, tuple[str, Callable[[Path, int | None], list[Case]]]] = {
        "gold": ("dev/squad", gold),
        "wiki": ("dev/squadshifts_wiki", gold),
        "open": ("dev/squad", opened),
        "statements": ("train/squad", statements),
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    names = [*tasks, "rewrite"]
    parser.add_argument("--tasks", nargs="+", choices=names, default=names)
    parser.add_argument("--reader", type=Path, default=SHIPPED)
    parser.add_argument("--questions", type=int, help="a sample of so many; default: all")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    for task in args.tasks:
        if task == "rewrite":
            print("rewrite (held-out conversations)", flush=True)
            measure_rewriting(args.data, args.questions, args.reader)
            continue
        name, make = tasks[task]
        print(f"{task} ({name})", flush=True)
        cases = make(args.data / f"{name}.jsonl.gz", args.questions)
        scores = measure(cases, args.reader, args.processes)
        if task == "statements":
            report_silence(cases, scores, Reader.load(args.reader).threshold)
            scores = [row for row, case in zip(scores, cases, strict=True) if case[2]]
        print(f"  {summary(scores)}  every answer a slice", flush=True)
        if task != "statements":  # these references are a few words, not a whole sentence
            few = [
                row
                for row, (question, *_) in zip(scores, cases, strict=True)
                if not wants_statement(question)
            ]
            print(f"  of them for a few words: {summary(few)}", flush=True)


if __name__ == "__main__":
    main()
