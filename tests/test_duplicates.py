"""Copies of a passage are found, other facts are none, and nothing is lost by it."""

import random
import re
import sqlite3
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from index import Embedder, Hit, PassageIndex
from index.catalog import CATALOG_NAME
from index.documents import load_document
from index.duplicates import Wording, band_keys
from index.passages import split_passages

CORPUS = Path(__file__).parent.parent / "corpus"
WIRE = (
    "Japanese Prime Minister Fumio Kishida and German Chancellor Olaf Scholz agreed on Thursday"
    ' to create "regular consultations" of their governments. It is Scholz\'s first trip to Asia'
    " since he took office, and 12 managers came with him to look for new partners."
)


def changed(*changes: tuple[str, str]) -> str:
    text = WIRE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def is_copy(one: str, other: str) -> bool:
    there, back = Wording.of(one), Wording.of(other)
    assert there.is_copy_of(back) == back.is_copy_of(there)
    return there.is_copy_of(back)


COPIES = [
    WIRE,
    changed(("agreed", "decided")),
    changed(("agreed", "decided"), ("look for", "find")),
    changed((" on Thursday", "")),
    changed(('"regular consultations"', "“regular consultations”"), ("'", "’")),
    changed((". ", ".\n\n  "), (" ", "\n")),
    changed(("12 managers", "twelve managers")),
    changed(("Japanese Prime", "Prime"), ("Fumio ", "")),
    WIRE.upper(),
    f"TOKYO, April 28 (Reuters) - {WIRE}",
    f"Tokyo (dpa) – {WIRE}",  # noqa: RUF001
    f"TOKYO, Japan, April 29, 2022 — {changed(('agreed', 'decided'))}",
]


@pytest.mark.parametrize("text", COPIES)
def test_a_wire_story_with_small_changes_is_a_copy(text: str):
    assert is_copy(WIRE, text)
    one, other = band_keys([WIRE, text])
    assert one & other


@pytest.mark.parametrize(
    "text",
    [
        changed(("12", "40")),
        changed(("12", "forty")),
        changed(("12 managers", "managers")),
        changed(("agreed", "agreed not")),
        changed(("he took", "he hadn't taken")),
        changed(("since", "before")),
        changed(("Olaf Scholz", "Angela Merkel"), ("Scholz's", "Merkel's")),
        changed(("Scholz's", "Kishida's")),
        f"{WIRE} The chancellor flew on to Delhi without speaking to the press.",
        f"SPD (12) - {WIRE}",
    ],
)
def test_another_fact_is_no_copy(text: str):
    assert not is_copy(WIRE, text)


def test_who_did_what_to_whom_matters():
    text = "In the final, Germany beat Brazil with a late goal that nobody in the stadium expected."
    other = text.replace("Germany", "X").replace("Brazil", "Germany").replace("X", "Brazil")
    assert is_copy(text, text.replace("late", "splendid"))
    assert not is_copy(text, other)


@pytest.mark.parametrize(
    "text", ["", "***", "12", "…\n\n—", "日本とドイツは協力する。", "\ud800 a"]
)
def test_any_text_is_a_copy_of_itself(text: str):
    assert is_copy(text, text)
    one, other = band_keys([text, text])
    assert one == other and one
    assert not is_copy(text, f"{text} Scholz")


def test_no_paragraphs_on_one_subject_are_copies():
    found = [load_document(path, name=path.name) for path in sorted(CORPUS.glob("2022*.md"))]
    texts = {passage.text for document in found for passage in split_passages(document)}
    assert len(texts) > 120
    wordings = [Wording.of(text) for text in texts]
    assert not any(one.is_copy_of(other) for one, other in combinations(wordings, 2))


def test_copies_of_real_paragraphs_have_a_key_in_common():
    """With a chance of one in a thousand each, none or one of these is missed."""
    chance = random.Random(0)
    found = [load_document(path, name=path.name) for path in sorted(CORPUS.glob("2022*.md"))]
    texts = [passage.text for document in found for passage in split_passages(document)]
    altered = [
        re.sub(r"\b[a-z]{4,}\b", "quasi", text, count=chance.randint(1, 2)) for text in texts
    ]
    copies = [
        (one, other) for one, other in zip(texts, altered, strict=True) if is_copy(one, other)
    ]
    assert len(copies) > 0.8 * len(texts)
    missed = [pair for pair in copies if frozenset.isdisjoint(*band_keys(pair))]
    assert len(missed) <= 1


def test_keys_stay_what_stored_ones_are():
    """When this fails, the schema of the catalog needs a new version."""
    (keys,) = band_keys([WIRE])
    assert len(keys) == 10
    assert sorted(keys)[:2] == [-7385282656416204950, -4819864599272039302]


# In an index

TOPICS = {
    "coal": "The ministers agreed in Oslo to buy less Russian coal before the winter comes.",
    "fish": "The trawlers of the northern ports caught more herring than ever this spring.",
    "music": "The string quartet played Haydn and Bartók in the old town hall of Bergen.",
}
ASKED = "Which chancellor came to create regular consultations with Kishida?"


def article(title: str, text: str, day: str | None = "2022-04-28") -> str:
    date = f"date: {day}\n" if day else ""
    return f"---\ntitle: {title}\n{date}---\n\n{text}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three papers that print one wire story, and other articles."""
    folder = tmp_path / "papers"
    folder.mkdir()
    for name, text in TOPICS.items():
        (folder / f"{name}.md").write_text(article(name, text), "utf-8")
    papers = {
        "post.md": article("Scholz in Tokyo", WIRE, "2022-04-29"),
        "times.md": article("Japan and Germany", f"TOKYO, April 28 (Reuters) - {COPIES[1]}"),
        "weekly.md": article("Looking back", COPIES[2], None),
    }
    for name, text in papers.items():
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.fixture
def opened(folder: Path, embedder: Embedder) -> Iterator[PassageIndex]:
    with PassageIndex.open(folder / ".readback", embedder=embedder) as opened:
        opened.sync(folder)
        yield opened


def places(hit: Hit) -> list[str]:
    """Where a passage stands, the one shown first."""
    return [hit.document.path, *(copy.document.path for copy in hit.copies)]


def execute(index: PassageIndex, *statements: str) -> list[tuple[int, ...]]:
    connection = sqlite3.connect(index.path / CATALOG_NAME)
    try:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        connection.commit()
        return rows
    finally:
        connection.close()


def test_one_of_the_copies_is_found_and_tells_of_the_others(opened: PassageIndex):
    hits = opened.search(ASKED, k=4)
    assert [sorted(places(hit))[0] for hit in hits[1:]] != ["post.md"] * 3
    assert len(hits) == 4 and len({hit.document.path for hit in hits}) == 4
    story = hits[0]
    assert sorted(places(story)) == ["post.md", "times.md", "weekly.md"]
    assert [copy.document.date for copy in story.copies] == sorted(
        (copy.document.date for copy in story.copies), key=lambda day: day or "9999"
    )
    for copy in story.copies:
        text = (opened.text(copy.document.path) or "")[copy.start : copy.end]
        assert is_copy(text, story.text) and copy.exact is (text == story.text)
    assert all(hit.copies == () for hit in hits[1:])


def test_a_copy_that_no_list_brought_is_told_of(
    opened: PassageIndex, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("index.ranking.CANDIDATES", 1)
    (hit,) = opened.search(ASKED, k=1)
    assert sorted(places(hit)) == ["post.md", "times.md", "weekly.md"]


def test_other_numbers_are_found_beside_each_other(opened: PassageIndex, folder: Path):
    text = changed(("12", "40"))
    (folder / "other.md").write_text(article("Scholz in Tokyo", text), "utf-8")
    opened.sync(folder)
    first, second = opened.search(ASKED, k=2)
    assert {len(places(first)), len(places(second))} == {3, 1}
    assert {"12" in first.text, "12" in second.text} == {True, False}


def test_a_key_in_common_hides_nothing(opened: PassageIndex):
    """Even when every passage has the keys of all."""
    execute(
        opened,
        "INSERT OR IGNORE INTO bands SELECT p.id, b.key FROM passages p, bands b",
    )
    hits = opened.search(ASKED, k=6)
    assert len(hits) == 4
    assert sorted(len(hit.copies) for hit in hits) == [0, 0, 0, 2]


def test_copies_of_other_days_are_left_out(opened: PassageIndex):
    def found(**days: str) -> list[str]:
        return sorted(places(opened.search(ASKED, k=1, **days)[0]))

    assert found(before="2022-04-29") == ["post.md", "times.md"]
    assert found(after="2022-04-29") == ["post.md"]
    assert found(before="2022-04-28") == ["times.md"]


def test_of_equal_ones_the_earliest_is_shown(opened: PassageIndex, folder: Path):
    days = {"a.md": None, "z.md": "2022-05-01", "m.md": "2022-04-30", "n.md": "2022-04-30"}
    for name, day in days.items():
        (folder / name).write_text(article("Herring", TOPICS["fish"], day), "utf-8")
        opened.sync(folder)  # the ids rise in this order
    (folder / "fish.md").unlink()
    opened.sync(folder)
    (hit,) = opened.search("Who caught herring?", k=1)
    assert places(hit) == ["m.md", "n.md", "z.md", "a.md"]
    assert all(copy.exact for copy in hit.copies)
    text = (folder / "m.md").read_text("utf-8")
    assert text[hit.start : hit.end] == hit.text


def test_a_passage_given_twice_in_one_document_is_found_once(opened: PassageIndex, folder: Path):
    long = f"{TOPICS['coal']} {TOPICS['music']}"
    (folder / "twice.md").write_text(article("Twice", f"{long}\n\n{long}"), "utf-8")
    opened.sync(folder)
    found = [hit for hit in opened.search("Haydn and Russian coal", k=9) if hit.text == long]
    assert [places(hit) for hit in found] == [["twice.md", "twice.md"]]
    assert found[0].start < found[0].copies[0].start


def test_what_changes_or_goes_leaves_nothing_behind(opened: PassageIndex, folder: Path):
    (folder / "post.md").write_text(article("Scholz in Tokyo", TOPICS["music"]), "utf-8")
    (folder / "weekly.md").unlink()
    opened.sync(folder, check=True)
    (hit,) = opened.search(ASKED, k=1)
    assert places(hit) == ["times.md"]
    assert execute(opened, "SELECT DISTINCT passage FROM bands ORDER BY 1") == execute(
        opened, "SELECT id FROM passages ORDER BY 1"
    )
