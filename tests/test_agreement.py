"""Which candidate is quoted, and where it ends: text and chances, without the network."""

import math

import pytest

from qa.reader.agreement import agreed
from qa.reader.search import Span


def candidates(passages: list[str], chances: dict[str, float]) -> list[Span]:
    """Every phrase where it first stands, likeliest first."""
    spans = []
    for phrase, chance in sorted(chances.items(), key=lambda item: -item[1]):
        passage = next(n for n, text in enumerate(passages) if phrase in text)
        start = passages[passage].index(phrase)
        spans.append(Span(passage, start, start + len(phrase), 0.0, math.log(chance)))
    return spans


def quoted(passages: list[str], chances: dict[str, float]) -> str:
    span, _ = agreed(candidates(passages, chances), passages)
    return passages[span.passage][span.start : span.end]


@pytest.mark.parametrize(
    ("text", "chances", "chosen"),
    [
        ("They rely on coal from Russia.", {"coal": 0.5, "coal from Russia": 0.3}, 1),
        ("They rely on coal from Russia.", {"coal": 0.5, "coal from Russia": 0.2}, 1),
        ("They rely on coal from Russia.", {"coal": 0.5, "coal from Russia": 0.15}, 0),
        ("They rely on coal from Russia.", {"coal": 0.3, "coal from Russia": 0.5}, 1),
        ("They rely on coal and gas.", {"coal": 0.5, "coal and gas": 0.2}, 1),
        ("They rely on coal and gas.", {"coal": 0.5, "coal and gas": 0.1}, 1),
        ("They rely on coal and gas.", {"coal": 0.5, "coal and gas": 0.06}, 0),
        ("Orcas, seals, and whales came.", {"Orcas": 0.1, "Orcas, seals, and whales": 0.06}, 1),
        ("They met in Durban, South Africa.", {"Durban": 0.6, "Durban, South Africa": 0.2}, 1),
        ("They met in 2001 to talk.", {"2001": 0.5, "2001 to talk": 0.3}, 1),
        ("They met in 2001 to talk.", {"2001": 0.5, "2001 to talk": 0.15}, 0),
        ("They won in 2001 by luck.", {"2001": 0.5, "2001 by luck": 0.4}, 1),
        ("They won in 2001 by luck.", {"2001": 0.5, "2001 by luck": 0.3}, 0),
        (
            "They rely on coal for heat in winter.",
            {"coal": 0.4, "coal for heat": 0.1, "coal for heat in winter": 0.3},
            2,
        ),
    ],
)
def test_a_phrase_is_not_cut_short_in_doubt(text: str, chances: dict[str, float], chosen: int):
    assert quoted([text], chances) == list(chances)[chosen]


def test_spans_that_say_nearly_the_same_outweigh_a_likelier_one():
    text = "The games of Rio de Janeiro were held in Rio, not in Lima."
    alone = {"Lima": 0.4, "Rio de Janeiro": 0.3}
    assert quoted([text], alone) == "Lima"
    assert quoted([text], alone | {"The games of Rio de Janeiro": 0.25}) != "Lima"


def test_articles_and_capitals_make_no_difference():
    passages = ["The Treaty ended it.", "It was the treaty, or the war."]
    chances = {"war": 0.4, "the treaty": 0.35, "Treaty": 0.3}
    assert quoted(passages, chances) == "the treaty"
    assert quoted(passages, {"war": 0.4, "the treaty": 0.35}) == "war"


def test_what_two_passages_say_counts_twice():
    passages = ["Kishida won.", "Scholz lost. Kishida, they say."]
    scholz, kishida = candidates(passages, {"Scholz": 0.4, "Kishida": 0.35})
    again = Span(1, 13, 20, 0.0, kishida.score - 0.1)
    assert agreed([scholz, kishida], passages)[0] is scholz
    assert agreed([scholz, kishida, again], passages)[0] is kishida


def test_of_equals_the_first_is_quoted():
    passages = ["Rain. Snow."]
    spans = candidates(passages, {"Rain": 0.3, "Snow": 0.3})
    assert agreed(spans, passages)[0] is spans[0]


def test_wordless_candidates_are_compared_too():
    assert quoted(["Who? — !"], {"—": 0.5, "!": 0.3}) == "—"
