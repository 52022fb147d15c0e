"""Makes a reader's confidence a probability: ``python -m training.calibrate DATA READER``.

Development questions are read with what search returns for them; of some, the paragraph with the
answer is left out. A logistic regression turns the scores into the probability that the answer is
right (F1 of at least one half), and the threshold is the lowest with a stated share of wrong
answers among those given. Half of the questions fit; `benchmarks.abstaining` reports the other.
"""

import argparse
import json
import random
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from benchmarks.quality import Case, opened, score_text, start_reader
from qa.reader.reader import Calibration
from training.mixture import SEED

WRONG = 0.3  # share of wrong answers among those given, at the threshold
LEFT_OUT = 0.35  # share of the questions whose paragraph is left out
RIGHT = 0.5  # F1 from which an answer counts as right
ENOUGH = 1000  # questions; on fewer, a calibration is provisional


def cases(data: Path, size: int | None) -> list[Case]:
    """Development questions with what search finds; every other one is to fit, the rest to report.

    Of some, every passage that holds the answer is left out.
    """
    rng = random.Random(SEED)
    found = []
    for question, passages, references in opened(data / "dev/squad.jsonl.gz", size):
        if rng.random() < LEFT_OUT:
            lowered = [reference.lower() for reference in references]
            passages = [p for p in passages if not any(ref in p.lower() for ref in lowered)]
            references = []
        found.append((question, passages or ["Nothing."], references))
    return found


def scores(case: Case) -> tuple[float, float, float, float]:
    """No-answer log-odds, score, nearness, and the F1 of the reading."""
    from benchmarks import quality

    question, passages, references = case
    assert quality.reader is not None
    best = quality.reader.best(question, passages, nearness=quality.nearness(question))
    if best is None or best.nearness is None:
        return 20.0, -20.0, 0.0, 0.0
    text = passages[best.passage][best.start : best.end]
    return best.no_answer, best.score, best.nearness, score_text(text, references)["f1"]


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
    parser.add_argument("--questions", type=int, default=2400)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    path = args.reader / "calibration.json"
    path.unlink(missing_ok=True)
    fitted = cases(args.data, args.questions)[::2]
    with get_context("spawn").Pool(args.processes, start_reader, (args.reader,)) as pool:
        read = np.array(pool.map(scores, fitted, chunksize=8))  # (N, 4)
    features, right = read[:, :3], read[:, 3] >= RIGHT
    model = LogisticRegression(C=10).fit(features, right)
    threshold = lowest_threshold(model.predict_proba(features)[:, 1], right)
    no_answer, score, nearness = (round(float(weight), 4) for weight in model.coef_[0])
    values = Calibration(
        bias=round(float(model.intercept_[0]), 4),
        no_answer=no_answer,
        score=score,
        nearness=nearness,
        usual=round(float(features[:, 2].mean()), 4),
        threshold=threshold,
        provisional=len(fitted) < ENOUGH,
    )
    path.write_text(json.dumps(asdict(values), indent=2) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
