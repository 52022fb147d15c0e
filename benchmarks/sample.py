"""The questions on the sample corpus: ``python -m benchmarks.sample``.

Those of ``tests/corpus_questions.json``, some of which the corpus doesn't answer, and the
follow-ups of ``tests/corpus_follow_ups.json``. An answer is right when it cites the right document
and contains the fact.
"""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from qa import Answer, Chatbot, Reader
from qa.reader.reader import SHIPPED, load_calibration

ROOT = Path(__file__).parent.parent


def is_right(question: dict, answer: Answer) -> bool:
    """Whether the answer holds the fact, from its document, or is none where there is none."""
    if question["file"] is None:
        return answer.text is None
    return (
        answer.text is not None
        and answer.citations[0].document == question["file"]
        and any(fact.lower() in answer.text.lower() for fact in question["answers"])
    )


def rows(name: str) -> list[dict]:
    found: list[dict] = json.loads((ROOT / f"tests/{name}.json").read_text("utf-8"))
    return found


def answers(bot: Chatbot) -> list[tuple[dict, Answer]]:
    """The questions that stand alone."""
    return [(row, bot.ask(row["question"])) for row in rows("corpus_questions")]


def follow_ups(bot: Chatbot) -> list[tuple[dict, Answer]]:
    """The follow-ups, each asked after its question."""
    found = []
    for row in rows("corpus_follow_ups"):
        conversation = bot.conversation()
        conversation.ask(row["before"])
        found.append((row, conversation.ask(row["follow_up"])))
    return found


def kept(answer: Answer, threshold: float) -> Answer:
    """The answer, or none where its confidence is below the threshold."""
    return answer if answer.confidence >= threshold else replace(answer, text=None, citations=())


def report(name: str, found: list[tuple[dict, Answer]], *, wrong: bool) -> None:
    right = [is_right(row, answer) for row, answer in found]
    print(f"{name}: {sum(right)} of {len(found)}")
    if wrong:
        for (row, answer), fine in zip(found, right, strict=True):
            if not fine:
                print(f"  {answer.confidence:.2f}  {row['question']}  {answer.text!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", type=Path, default=SHIPPED)
    parser.add_argument("--wrong", action="store_true", help="list what goes wrong")
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        for path in (ROOT / "corpus").glob("*.md"):
            shutil.copy(path, folder)
        reader = Reader.load(args.reader)
        eager = Reader(reader.search, replace(load_calibration(args.reader), threshold=0.0))
        bot = Chatbot.open(folder, reader=eager)
        forced = answers(bot)
        held = [(row, answer) for row, answer in forced if row["file"]]
        report("right when it must answer", held, wrong=args.wrong)
        given = [(row, kept(answer, reader.threshold)) for row, answer in forced]
        for there, name in ((True, "right at the threshold"), (False, "rightly not answered")):
            part = [(row, answer) for row, answer in given if bool(row["file"]) == there]
            report(name, part, wrong=args.wrong)
        bot.reader = reader
        report("follow-ups answered rightly", follow_ups(bot), wrong=args.wrong)
        bot.index.close()


if __name__ == "__main__":
    main()
