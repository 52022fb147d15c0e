"""The shipped reader on real questions."""

import json
import shutil

import pytest

from index import QuestionError, ReaderError
from qa.reader import Reader
from qa.reader.reader import SHIPPED
from qa.reader.search import preference

STATEMENT = (
    "“Nobody may depend on supply chains from one country alone. That takes time,” Scholz said."
)
PASSAGES = [
    "Chancellor Olaf Scholz met Prime Minister Fumio Kishida in Tokyo on 28 April 2022.",
    STATEMENT,
    "The first consultation is planned for next year.",
]


@pytest.mark.parametrize(
    ("question", "passage", "fact"),
    [
        ("Who did Scholz meet in Tokyo?", 0, "Fumio Kishida"),
        ("Where did Scholz meet Kishida?", 0, "Tokyo"),
        ("When is the first consultation planned?", 2, "next year"),
        ("What did Scholz say about supply chains?", 1, STATEMENT),
    ],
)
def test_facts_come_from_the_right_passage(reader: Reader, question, passage, fact):
    reading = reader.read(question, PASSAGES)
    assert reading.passage == passage
    assert fact in reading.text
    assert reading.confidence >= reader.threshold


def test_unanswerable_questions_are_less_sure_than_the_threshold(reader: Reader):
    for question in ("How many goals did Messi score?", "Who painted the Mona Lisa?"):
        assert reader.read(question, PASSAGES).confidence < reader.threshold


def test_the_nearer_the_sentence_is_to_the_question_the_surer_the_answer(reader: Reader):
    question, sentences = "When is the first consultation planned?", []
    far, usual, near = (
        reader.read(question, PASSAGES, nearness=nearness)
        for nearness in (lambda _: 0.0, None, lambda text: sentences.append(text) or 1.0)
    )
    assert sentences == [PASSAGES[2]]
    assert far.confidence < usual.confidence < near.confidence
    assert far.text == usual.text == near.text


@pytest.mark.parametrize(
    "text",
    [
        "Das Cafe\u0301 Noe\u0308l in Zu\u0308rich opened in 1920.",
        "\u201cIt\u2019s \U0001f600 done,\u201d he said in\r\nParis on 5 May.",
        "日本の岸田首相 met Scholz in 東京 in 2022.",
        "He wrote [SEP] in 2022, and [UNK] [PAD] too.",
        "\u200b \ufeff x 7",
    ],
)
def test_readings_are_slices(reader: Reader, text: str):
    for question in ("When?", "Who met whom?", "What did he say?", "x" * 3_000):
        reading = reader.read(question, ["Nothing here.", text])
        passage = ["Nothing here.", text][reading.passage]
        assert passage[reading.start : reading.end] == reading.text != ""
        assert reading.text == reading.text.strip()


def test_an_answer_beyond_the_first_window_is_found(reader: Reader):
    rain = "Rain fell on the old town and nobody went out. " * 60
    text = f"{rain}The treaty was signed by Ursula Meier. {rain}"
    assert "Ursula Meier" in reader.read("Who signed the treaty?", [text]).text


def test_a_follow_up_is_rewritten_with_the_name_and_keeps_its_words(reader: Reader):
    history = ["Ada Berg", "Where was Ada Berg born?", "In the town of Bonn."]
    for question, kept in (
        ("When did she leave?", ["when", "leave"]),
        ("Which prizes did she win for her early novels?", "which prizes win early novels".split()),
    ):
        written = reader.search.rewrite(question, history)
        assert "ada berg" in written
        at = [written.index(word) for word in kept]
        assert at == sorted(at)


def test_nothing_to_read(reader: Reader):
    assert reader.read("Who?", []) is None
    assert reader.read("Who?", ["", "\u200b"]) is None
    with pytest.raises(QuestionError, match="empty"):
        reader.read("  ", PASSAGES)


def test_same_answer_whatever_stands_beside_it(reader: Reader):
    """Order changes nothing but the passage's number and what search's preference adds."""
    question = "When is the first consultation planned?"
    there, back = (reader.best(question, texts) for texts in (PASSAGES, PASSAGES[::-1]))
    assert PASSAGES[there.passage] == PASSAGES[::-1][back.passage]
    assert (there.start, there.end) == (back.start, back.end)
    assert there.no_answer == pytest.approx(back.no_answer, abs=1e-3)
    found = [reader.search.find(question, texts).spans[0] for texts in (PASSAGES, PASSAGES[::-1])]
    scores = [span.score - preference(span.passage) for span in found]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_a_folder_without_a_reader_is_an_error(tmp_path):
    with pytest.raises(ReaderError, match="no reader in"):
        Reader.load(tmp_path)


def test_a_reader_from_another_folder(tmp_path, reader: Reader):
    shutil.copytree(SHIPPED, tmp_path / "mine")
    values = json.loads((tmp_path / "mine/calibration.json").read_text())
    for name in ("nearness", "usual"):  # calibrated before there was such a thing
        del values[name]
    (tmp_path / "mine/calibration.json").write_text(json.dumps(values | {"threshold": 0.123}))
    mine = Reader.load(tmp_path / "mine")
    assert mine.threshold == 0.123
    one, two = (mine.read("Who met?", PASSAGES, nearness=n) for n in (None, lambda _: 1.0))
    assert one.confidence == two.confidence
