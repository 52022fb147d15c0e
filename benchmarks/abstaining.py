"""Does it know when it doesn't know: ``python -m benchmarks.abstaining DATA --plot FILE``.

Three kinds of question that the passages don't answer: adversarial ones on articles that no reader
was trained on, questions put to a paragraph of another article, and questions whose paragraph
search did not bring. Half of the last kind served to calibrate; only the other half counts here.
"""

import argparse
import random
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks.quality import Case, gold, read, start_reader
from qa.reader import Reader
from qa.reader.reader import SHIPPED
from training.calibrate import RIGHT, cases
from training.examples import read_rows
from training.mixture import HELD_BACK, SEED

BINS = 10
COVERAGES = (0.25, 0.5, 0.75, 1.0)


def adversarial(path: Path) -> list[Case]:
    """The held-back articles: questions with their own paragraph, half of them unanswerable."""
    return [
        (item["question"], [row["context"]], item["answers"])
        for row in read_rows(path)
        if row["title"] in HELD_BACK
        for item in row["questions"]
    ]


def misplaced(path: Path, size: int) -> list[Case]:
    """Questions with their own paragraph, and the same ones with one of another article."""
    title_of = {row["context"]: row["title"] for row in read_rows(path)}
    rng = random.Random(SEED)
    found = []
    for question, (context,), references in gold(path, size):
        found.append((question, [context], references))
        others = [other for other, title in title_of.items() if title != title_of[context]]
        found.append((question, [rng.choice(others)], []))
    return found


def calibration_error(
    confidences: NDArray[np.float64],  # (N,)
    right: NDArray[np.bool_],  # (N,)
) -> float:
    """Expected calibration error over BINS bins of equal width (Guo et al. 2017)."""
    bins = np.minimum((confidences * BINS).astype(int), BINS - 1)
    return sum(
        abs(confidences[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean()
        for b in range(BINS)
        if (bins == b).any()
    )


def risks(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N,) share of wrong answers when the n surest are given, for each n (El-Yaniv 2010)."""
    wrong = ~right[np.argsort(-confidences, kind="stable")]
    return np.cumsum(wrong) / np.arange(1, len(wrong) + 1)


def plot(curve: NDArray[np.float64], coverage: float, path: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    shares = np.arange(1, len(curve) + 1) / len(curve)
    axes.plot(100 * shares, 100 * curve, color="#2b5c8a")
    at = 100 * curve[max(0, round(coverage * len(curve)) - 1)]
    axes.plot([100 * coverage], [at], "o", color="#b3432b")
    axes.annotate("the threshold", (100 * coverage, at), (8, -12), textcoords="offset points")
    axes.set(
        xlabel="questions answered, %", ylabel="of those wrong, %", xlim=(0, 100), ylim=(0, None)
    )
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--reader", type=Path, default=SHIPPED)
    parser.add_argument("--questions", type=int, default=2400)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--plot", type=Path, help="where the risk-coverage curve goes (PNG)")
    args = parser.parse_args()
    threshold = Reader.load(args.reader).threshold
    with get_context("spawn").Pool(args.processes, start_reader, (args.reader,)) as pool:

        def confidences(asked: Sequence[Case]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
            """Of each case the confidence, and whether the answer is right."""
            scores = pool.map(read, asked, chunksize=8)
            sure = np.array([row["confidence"] for row in scores])
            return sure, np.array([row["f1"] >= RIGHT for row in scores])

        for name, asked in (
            (
                "adversarial, held-back articles",
                adversarial(args.data / "train/squad2_hard.jsonl.gz"),
            ),
            ("another article", misplaced(args.data / "dev/squad.jsonl.gz", args.questions // 4)),
        ):
            answerable = [bool(references) for *_, references in asked]
            area = roc_auc_score(answerable, confidences(asked)[0])
            print(
                f"{name}: {len(asked):,} questions, area under the ROC curve {area:.3f}", flush=True
            )
        sure, right = confidences(cases(args.data, args.questions)[1::2])
    print(
        f"as search returns them: {len(sure):,} questions, {right.mean():.1%} answered right at all"
    )
    print(f"  expected calibration error {calibration_error(sure, right):.3f}")
    given = sure >= threshold
    print(
        f"  at the threshold of {threshold}: {given.mean():.1%} answered,"
        f" {1 - right[given].mean():.1%} of those wrong,"
        f" {right[~given].sum() / right.sum():.1%} of the right ones kept back"
    )
    curve = risks(sure, right)
    for coverage in COVERAGES:
        print(f"  the surest {coverage:4.0%}: {curve[round(coverage * len(curve)) - 1]:.1%} wrong")
    if args.plot:
        plot(curve, float(given.mean()), args.plot)


if __name__ == "__main__":
    main()
