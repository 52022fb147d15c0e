"""Makes a reader's confidence a probability: ``python -m training.calibrate DATA READER``.

Development questions are read with what search returns for them; of some, the paragraph with the
answer is left out. A logistic regression turns the scores into the probability that the answer is
right (F1 of at least one half), and the threshold is the lowest with a stated share of wrong
answers among those given. Half of the questions fit, the other half is reported.
"""

import argparse
import json
import random
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from benchmarks.quality import Case, opened, score_text, start_reader
from qa.reader.reader import Calibration
from training.examples import read_rows
from training.mixture import HELD_BACK, SEED

WRONG = 0.2  # share of wrong answers among those given, at the threshold
LEFT_OUT = 0.35  # share of the questions whose paragraph is left out
RIGHT = 0.5  # F1 from which an answer counts as right
BINS = 10


def hide_some(cases: list[Case], rng: random.Random) -> list[Case]:
    """Leave out every passage that holds the answer, for some of the questions."""
    hidden = []
    for question, passages, references in cases:
        if rng.random() < LEFT_OUT:
            lowered = [reference.lower() for reference in references]
            passages = [p for p in passages if not any(ref in p.lower() for ref in lowered)]
            references = []
        hidden.append((question, passages or ["Nothing."], references))
    return hidden


def adversarial(path: Path) -> list[Case]:
    """The held-back articles: questions with their own paragraph, half of them unanswerable."""
    return [
        (item["question"], [row["context"]], item["answers"])
        for row in read_rows(path)
        if row["title"] in HELD_BACK
        for item in row["questions"]
    ]


def scores(case: Case) -> tuple[float, float, float]:
    """No-answer log-odds, score, and the F1 of the reading."""
    from benchmarks import quality

    question, passages, references = case
    assert quality.reader is not None
    best = quality.reader.best(question, passages)
    if best is None:
        return 20.0, -20.0, 0.0
    text = passages[best.passage][best.start : best.end]
    return best.no_answer, best.score, score_text(text, references)["f1"]


def error(probabilities: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Expected calibration error over BINS bins of equal width (Guo et al. 2017)."""
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    return sum(
        abs(probabilities[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean()
        for b in range(BINS)
        if (bins == b).any()
    )


def lowest_threshold(probabilities: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    for threshold in np.arange(0.05, 0.95, 0.01):
        given = probabilities >= threshold
        if given.any() and 1 - right[given].mean() <= WRONG:
            return round(float(threshold), 2)
    return 0.95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("reader", type=Path, help="folder of training.export")
    parser.add_argument("--questions", type=int, default=1200)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    identity = Calibration(bias=0, no_answer=-1, score=1, threshold=0.5, provisional=True)
    path = args.reader / "calibration.json"
    path.write_text(json.dumps({name: getattr(identity, name) for name in identity.__slots__}))
    cases = opened(args.data / "dev/squad.jsonl.gz", args.questions)
    cases = hide_some(cases, random.Random(SEED))
    hard = adversarial(args.data / "train/squad2_hard.jsonl.gz")
    with get_context("spawn").Pool(args.processes, start_reader, (args.reader,)) as pool:
        read = np.array(pool.map(scores, cases, chunksize=8))  # (N, 3)
        harder = np.array(pool.map(scores, hard, chunksize=8))
    features, right = read[:, :2], read[:, 2] >= RIGHT
    fit = np.arange(len(read)) % 2 == 0
    model = LogisticRegression(C=10).fit(features[fit], right[fit])
    probabilities = model.predict_proba(features)[:, 1]
    threshold = lowest_threshold(probabilities[fit], right[fit])
    given, held = probabilities >= threshold, ~fit
    answerable = np.array([bool(references) for *_, references in cases])
    hard_answerable = np.array([bool(references) for *_, references in hard])
    hard_probabilities = model.predict_proba(harder[:, :2])[:, 1]
    print(f"expected calibration error {error(probabilities[held], right[held]):.3f}")
    print(f"threshold {threshold}: wrong {1 - right[held & given].mean():.1%} of the answers given")
    print(f"  right answers kept back {(~given & right)[held].sum() / right[held].sum():.1%}")
    print(f"AUC, paragraph there or not {roc_auc_score(answerable, probabilities):.3f}")
    print(
        f"AUC, answerable or adversarial {roc_auc_score(hard_answerable, hard_probabilities):.3f}"
    )
    values = {
        "bias": round(float(model.intercept_[0]), 4),
        "no_answer": round(float(model.coef_[0][0]), 4),
        "score": round(float(model.coef_[0][1]), 4),
        "threshold": threshold,
        "provisional": len(cases) < 1000,
    }
    path.write_text(json.dumps(values, indent=2) + "\n")
    print(json.dumps(values))


if __name__ == "__main__":
    main()
