"""The measures that the benchmarks report."""

import pytest

from benchmarks.quality import f1, normal, score
from qa import Reading


@pytest.mark.parametrize(
    ("text", "reference", "value"),
    [
        ("the Eiffel Tower", "Eiffel Tower!", 1.0),
        ("in Paris", "Paris", 2 / 3),
        ("Paris Paris", "Paris", 2 / 3),
        ("Rome", "Paris", 0.0),
        ("the", "a", 1.0),
        ("the", "Paris", 0.0),
    ],
)
def test_f1_is_that_of_squad(text: str, reference: str, value: float):
    assert f1(text, reference) == pytest.approx(value)


def test_articles_inside_words_stay():
    assert normal("The anthem, a theory.") == ["anthem", "theory"]


def test_the_best_reference_counts():
    reading = Reading("in Paris", 0, 0, 8, 0.7)
    assert score(reading, ["Rome", "in Paris"]) == {"exact": 1.0, "f1": 1.0, "confidence": 0.7}
    assert score(reading, [])["f1"] == 0.0
    assert score(None, ["Rome"]) == {"exact": 0.0, "f1": 0.0, "confidence": 0.0}
