"""Exact span search against writing freely: ``python -m benchmarks.decoding DATA``.

The same network answers the same questions, each with its own paragraph: by the exact search, by
greedy decoding and by beams. What is written freely need not stand in the paragraph; how often it
does is printed, too.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.quality import f1, gold, normal
from qa.reader import Reader
from qa.reader.reader import SHIPPED
from qa.reader.search import SPAN_PIECES, PointerSearch
from qa.reader.spans import windows


@torch.inference_mode()
def write(search: PointerSearch, question: str, passage: str, beams: int) -> str:
    """The likeliest answer, written piece by piece from the first window."""
    window = windows(question, [passage], search.tokenizer)[0]
    ids = torch.tensor([window.ids])
    segments = (torch.arange(len(window.ids)) >= window.head).long()[None]
    written = search.model.generate(
        ids,
        token_type_ids=segments,
        num_beams=beams,
        max_new_tokens=SPAN_PIECES,
        do_sample=False,
        suppress_tokens=[search.model.config.no_answer_token_id],
    )
    return search.tokenizer.decode(written[0].tolist())


def best(search: PointerSearch, question: str, passage: str) -> str:
    span = search.find(question, [passage]).spans[0]
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
        "exact search": lambda question, passage: best(search, question, passage),
        "greedy": lambda question, passage: write(search, question, passage, 1),
        "four beams": lambda question, passage: write(search, question, passage, 4),
    }
    print(f"{'':14}{'exact':>7}{'F1':>7}{'ms':>7}{'in the paragraph':>18}")
    for name, answer in ways.items():
        start = time.perf_counter()
        texts = [answer(question, passages[0]) for question, passages, _ in cases]
        took = 1000 * (time.perf_counter() - start) / len(cases)
        right = [
            any(normal(text) == normal(ref) for ref in refs)
            for text, (*_, refs) in zip(texts, cases, strict=True)
        ]
        scores = [
            max(f1(text, ref) for ref in refs)
            for text, (*_, refs) in zip(texts, cases, strict=True)
        ]
        inside = [
            "".join(normal(text)) in "".join(normal(passages[0]))
            for text, (_, passages, _) in zip(texts, cases, strict=True)
        ]
        shares = [100 * sum(values) / len(cases) for values in (right, scores, inside)]
        print(f"{name:14}{shares[0]:7.1f}{shares[1]:7.1f}{took:7.0f}{shares[2]:17.1f}%", flush=True)


if __name__ == "__main__":
    main()
