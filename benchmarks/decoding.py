"""Exact span search against writing freely: ``python -m benchmarks.decoding DATA``.

The same network answers the same questions, each with its own paragraph: by the exact search, with
the span that agrees best with all that it found or the likeliest one, by greedy decoding and by
beams. What is written freely need not stand in the paragraph; how often it does is printed, too.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.quality import gold, mean, normal, score_text
from qa.reader import Reader
from qa.reader.agreement import agreed
from qa.reader.reader import SHIPPED
from qa.reader.search import SPAN_PIECES, PointerSearch
from qa.reader.spans import windows


def write(search: PointerSearch, question: str, passage: str, beams: int) -> str:
    """The likeliest answer, written piece by piece from the first window."""
    return search.write(
        windows(question, [passage], search.tokenizer)[0],
        num_beams=beams,
        max_new_tokens=SPAN_PIECES,
        suppress_tokens=[search.model.config.no_answer_token_id],
    )


def find(search: PointerSearch, question: str, passage: str, *, agreeing: bool) -> str:
    spans = search.find(question, [passage]).spans
    span = agreed(spans, [passage])[0] if agreeing else spans[0]
    return passage[span.start : span.end]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--reader", type=Path, default=SHIPPED)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    search = Reader.load(args.reader).search
    assert isinstance(search, PointerSearch)
    cases = gold(args.data / "dev/squad.jsonl.gz", args.questions)
    ways: dict[str, Callable[[str, str], str]] = {
        "agreeing span": lambda question, passage: find(search, question, passage, agreeing=True),
        "likeliest span": lambda question, passage: find(search, question, passage, agreeing=False),
        "greedy": lambda question, passage: write(search, question, passage, 1),
        "four beams": lambda question, passage: write(search, question, passage, 4),
    }
    print(f"{'':15}{'exact':>7}{'F1':>7}{'ms':>7}{'in the paragraph':>18}")
    for name, answer in ways.items():
        start = time.perf_counter()
        texts = [answer(question, passages[0]) for question, passages, _ in cases]
        took = 1000 * (time.perf_counter() - start) / len(cases)
        scores = [score_text(text, refs) for text, (*_, refs) in zip(texts, cases, strict=True)]
        inside = [
            "".join(normal(text)) in "".join(normal(passages[0]))
            for text, (_, passages, _) in zip(texts, cases, strict=True)
        ]
        found = 100 * sum(inside) / len(cases)
        exact, overlap = mean(scores, "exact"), mean(scores, "f1")
        print(f"{name:15}{exact:7.1f}{overlap:7.1f}{took:7.0f}{found:17.1f}%", flush=True)


if __name__ == "__main__":
    main()
