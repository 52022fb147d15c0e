"""What the reader is trained on: one question, its passages, and the answer's words.

Reads the gzipped JSON lines of question sets (``{"title", "context", "questions": [{"question",
"answers"}]}``) and writes examples in the same form of file, one a line. Knows no tensors.
"""

import gzip
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ANSWER = "answer"
REWRITE = "rewrite"


@dataclass(frozen=True, slots=True)
class Example:
    question: str
    passages: tuple[str, ...]
    answer: (
        str  # a substring of passages[gold]; empty: not in these passages; of REWRITE: free text
    )
    gold: int  # which passage holds the answer; -1: none
    source: str  # the set it comes from
    task: str = ANSWER


def read_rows(path: Path) -> Iterator[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def by_article(rows: Iterable[dict]) -> dict[str, list[str]]:
    """The paragraphs of each article."""
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["title"], []).append(row["context"])
    return found


def write_examples(path: Path, examples: Iterable[Example]) -> int:
    count = 0
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=3) as file:
        for example in examples:
            file.write(json.dumps(asdict(example), ensure_ascii=False) + "\n")
            count += 1
    return count


def read_examples(path: Path) -> list[Example]:
    return [Example(**row | {"passages": tuple(row["passages"])}) for row in read_rows(path)]


def align(context: str, answers: Iterable[str]) -> str | None:
    """The first reference that stands in the context, with the context's own case; else None."""
    for answer in answers:
        stripped = answer.strip().rstrip(".")
        for wanted in (answer.strip(), stripped):
            if wanted and (found := re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", context, re.I)):
                return found.group()
    return None


def contains(context: str, answers: Iterable[str]) -> bool:
    lowered = context.lower()
    return any(answer.lower() in lowered for answer in answers)
