"""How an index behaves as it grows: ``python -m benchmarks.size DATA``.

DATA is a folder with ``dev/squad.jsonl.gz``. The documents are made: its paragraphs, again and
again, a fifth of their words replaced by others of the same texts, fifty to a file. The vectors are
made too, so that no time goes into embedding: sums of random vectors, one for each longer word.
All else is as it is in use: files are read, split, stored and searched. Each step runs in a
process of its own. Seconds are processor time, so that other work on the machine counts less.

Indexes and results stay in the folder of ``--runs``; ``--plot FILE`` draws the results there.
"""

import argparse
import json
import random
import re
import shutil
import statistics
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index import PassageIndex
from index.vectors import EXACT_UP_TO, VECTORS_NAME, VectorIndex, approximate, load
from training.examples import read_rows

SIZES = (1_000, 10_000, 100_000, 1_000_000)  # passages, about
PARAGRAPHS = 50  # in a file
CHANGED = 0.2  # share of the words
DIMENSION = 384
QUESTIONS = 100
TURNS = 9  # of changing one file
K = 10
WORD = re.compile(r"[^\W\d_]{5,}")  # a longer one


class MadeEmbedder:
    """Texts that share words are near."""

    name = "made"
    sha256 = "0" * 64
    dimension = DIMENSION

    def __init__(self) -> None:
        chance = np.random.default_rng(0)
        self._words = chance.standard_normal((2**14, DIMENSION), dtype=np.float32)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.empty((len(texts), DIMENSION), dtype=np.float32)
        for row, text in enumerate(texts):
            words = [zlib.crc32(word.lower().encode()) % 2**14 for word in WORD.findall(text)]
            vectors[row] = self._words[words or [0]].sum(0)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_documents(data: Path, folder: Path, passages: int) -> None:
    """About so many passages, in files of PARAGRAPHS, a hundred files to a folder."""
    texts = sorted({row["context"] for row in read_rows(data / "dev/squad.jsonl.gz")})
    paragraphs = [text.split() for text in texts]
    words = [word for paragraph in paragraphs for word in paragraph]
    chance = random.Random(passages)
    for number in range(passages // PARAGRAPHS):
        lines = [f"Collection {number}"]
        for _ in range(PARAGRAPHS):
            paragraph = list(chance.choice(paragraphs))[:120]
            for place in range(len(paragraph)):
                if chance.random() < CHANGED:
                    paragraph[place] = chance.choice(words)
            lines.append(" ".join(paragraph))
        path = folder / f"{number // 100:04}" / f"{number:06}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")


# Steps, each run in a process of its own


def first_sync(place: Path) -> dict[str, float]:
    with opened(place) as index:
        seconds, _ = timed(lambda: index.sync(place / "papers"))
        stats = index.stats()
    return {
        "passages": stats.passages,
        "first sync, s": seconds,
        "peak memory of it, MB": memory("status", "VmHWM"),
        "catalog, MB": stats.catalog_bytes / 1e6,
        "FAISS file, MB": stats.vectors_bytes / 1e6,
    }


def one_changed_file(place: Path) -> dict[str, float]:
    path = next((place / "papers").rglob("*.txt"))
    text = path.read_text(encoding="utf-8")
    with opened(place) as index:
        index.sync(place / "papers")  # loads what any sync needs
        pairs = []
        for turn in range(TURNS):
            unchanged, _ = timed(lambda: index.sync(place / "papers"))
            more = f"\nOne more paragraph stands here now, the {turn}th.\n"
            path.write_text(text + more, encoding="utf-8")
            changed, report = timed(lambda: index.sync(place / "papers"))
            pairs.append((unchanged, changed - unchanged))
    path.write_text(text, encoding="utf-8")
    assert report.changed == (path.relative_to(place / "papers").as_posix(),)
    return {
        "sync without changes, ms": 1000 * statistics.median(pair[0] for pair in pairs),
        "one changed file more, ms": 1000 * statistics.median(pair[1] for pair in pairs),
    }


def opening(place: Path) -> dict[str, float]:
    import faiss

    faiss.omp_set_num_threads(1)
    question = MadeEmbedder().embed(["warm"])[0]
    base = memory("smaps_rollup", "Anonymous")
    seconds, vectors = timed(lambda: load(place / "index" / VECTORS_NAME))
    vectors.search(question, K)
    count = vectors.in_file
    return {
        "opening the FAISS file, ms": 1000 * seconds,
        "memory a passage, bytes": 1e6 * (memory("smaps_rollup", "Anonymous") - base) / count,
    }


def searching(place: Path) -> dict[str, float]:
    import faiss

    faiss.omp_set_num_threads(1)
    questions = list(make_questions(place))
    vectors = MadeEmbedder().embed(questions)
    asked = list(zip(questions, vectors, strict=True))
    found = load(place / "index" / VECTORS_NAME)
    with opened(place) as index:
        index.search(questions[0], vector=vectors[0])
        whole = [timed(lambda: index.search(q, vector=v))[0] for q, v in asked]  # noqa: B023
        dense = [timed(lambda: found.search(v, 100))[0] for v in vectors]  # noqa: B023
        with index._catalog.read() as snapshot:
            words = [timed(lambda: snapshot.find_words(q, limit=100))[0] for q in questions]  # noqa: B023
    return {
        f"{name}, p{share}, ms": 1000 * float(np.percentile(times, share))
        for name, times in (("FAISS", dense), ("words", words), ("search", whole))
        for share in (50, 95)
    }


def recall(place: Path) -> dict[str, float]:
    """Of the approximate type, whichever the size has, against the exact one."""
    import faiss

    with opened(place) as index, index._catalog.read() as snapshot:
        ids, rows = snapshot.vectors()
    found = load(place / "index" / VECTORS_NAME)
    if found.in_file <= EXACT_UP_TO:
        cells = approximate(*rows.shape)
        cells.train(rows)
        found = VectorIndex(faiss.IndexIDMap2(cells))
        found.faiss.add_with_ids(rows, ids)
    right = 0
    for question in MadeEmbedder().embed(list(make_questions(place))):
        exact = ids[np.argpartition(-(rows @ question), K)[:K]]
        right += len({*exact.tolist()} & {*found.search(question, K)[0].tolist()})
    return {"recall at 10, approximate": right / (K * QUESTIONS)}


STEPS = (first_sync, one_changed_file, opening, searching, recall)


def opened(place: Path) -> PassageIndex:
    return PassageIndex.open(place / "index", embedder=MadeEmbedder())


def make_questions(place: Path) -> Iterator[str]:
    """Eight words, in order, of some paragraph."""
    files = sorted((place / "papers").rglob("*.txt"))
    chance = random.Random(0)
    for _ in range(QUESTIONS):
        lines = chance.choice(files).read_text(encoding="utf-8").split("\n\n")[1:]
        words = chance.choice(lines).split()
        start = chance.randrange(max(1, len(words) - 8))
        yield " ".join(words[start : start + 8])


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = action()
    return time.process_time() - start, result


def memory(file: str, name: str) -> float:
    """MB of memory that Linux tells of this process. Anonymous is without mapped files."""
    lines = Path(f"/proc/self/{file}").read_text(encoding="utf-8").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) / 1000


# The report


def measure(data: Path, place: Path, passages: int) -> dict[str, float]:
    shutil.rmtree(place, ignore_errors=True)
    make_documents(data, place / "papers", passages)
    result: dict[str, float] = {}
    for step in STEPS:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            found = process.submit(step, place).result()
        print(f"  {json.dumps(found)}", flush=True)
        result |= found
    return result


def table(results: Sequence[dict[str, float]]) -> str:
    """Markdown, a column for each size."""
    head = "| |" + "".join(f" {result['passages']:,} |" for result in results)
    lines = [head, "|---" * (len(results) + 1) + "|"]
    for name in results[0]:
        if name != "passages":
            lines.append(f"| {name} |" + "".join(f" {result[name]:,.4g} |" for result in results))
    return "\n".join(lines)


def plot(results: Sequence[dict[str, float]], path: Path) -> None:
    import matplotlib.pyplot as plt

    sizes = [result["passages"] for result in results]
    figure, axes = plt.subplots(figsize=(7, 4.5))
    for name, label in (
        ("search, p95, ms", "a search, 95th percentile"),
        ("FAISS, p95, ms", "… of which FAISS"),
        ("words, p95, ms", "… of which words"),
        ("opening the FAISS file, ms", "opening the FAISS file"),
        ("sync without changes, ms", "a sync without changes"),
        ("one changed file more, ms", "… what one changed file adds"),
    ):
        axes.plot(sizes, [result[name] for result in results], marker="o", label=label)
    axes.set(xscale="log", yscale="log", xlabel="passages", ylabel="ms of processor time")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--passages", type=int, nargs="+", default=SIZES)
    parser.add_argument("--runs", type=Path, default=Path("runs/size"))
    parser.add_argument("--plot", type=Path, metavar="FILE", help="needs matplotlib")
    args = parser.parse_args()
    for passages in args.passages:
        print(f"{passages:,} passages", flush=True)
        result = measure(args.data, args.runs / str(passages), passages)
        (args.runs / f"{passages}.json").write_text(json.dumps(result), encoding="utf-8")
    files = sorted(args.runs.glob("*.json"), key=lambda path: int(path.stem))
    results = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    print(table(results))
    if args.plot:
        plot(results, args.plot)


if __name__ == "__main__":
    main()
