"""The exact span search against brute force with the real reader."""

import math

import pytest
import torch

from qa.reader import Reader
from qa.reader.bert import Encoder
from qa.reader.search import PointerSearch, Source, preference
from qa.reader.spans import Window, windows

QUESTION = "When is the first consultation planned?"
PASSAGES = [
    "We plan to hold the first consultation next year, Kishida told reporters.",
    "Scholz left Tokyo on Friday.",
]


def score(model, source: Source, ids: list[int], place: int) -> float:
    """Log-probability of one span, by the model's ordinary forward pass."""
    start, end = model.config.decoder_start_token_id, model.config.sep_token_id
    outputs, _ = model.decode(torch.tensor([[start, *ids]]), source.states, source.mask)
    log_probs = model.log_probs(outputs, source.states, source.copy_ids)[0]
    pointer = model.pointer_scores(outputs, source.states, source.copy_ids)[0, 0, place]
    first = pointer + model.log_gates(outputs)[1][0, 0, 0]
    rest = sum(log_probs[n, piece] for n, piece in enumerate([*ids[1:], end], 1))
    return float(first + rest)


@torch.inference_mode()
def brute_force(search: PointerSearch, found: list[Window]) -> tuple[float, int, int, int]:
    source = search.encode(found)
    spans = []
    for w, window in enumerate(found):
        for first, may_start in enumerate(window.starts):
            for last in range(first, len(window.ends)):
                if may_start and window.ends[last]:
                    piece = window.head + first
                    ids = window.ids[piece : window.head + last + 1]
                    place = source.firsts[w] + piece
                    liked = preference(window.passage)
                    spans.append((score(search.model, source, ids, place) + liked, w, first, last))
    return max(spans)


@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 1 - 1e-6), (torch.bfloat16, 0.999)])
@torch.inference_mode()
def test_encoder_end_to_end_is_the_models_own_padded(reader: Reader, dtype, least: float):
    model, found = reader.search.model, windows(QUESTION, PASSAGES, reader.search.tokenizer)
    lengths = [len(window.ids) for window in found]
    length = max(lengths)
    ids = torch.zeros(1, len(found), length, dtype=torch.long)
    mask, segments = torch.zeros_like(ids), torch.zeros_like(ids)
    for i, window in enumerate(found):
        ids[0, i, : len(window.ids)] = torch.tensor(window.ids)
        mask[0, i, : len(window.ids)] = 1
        segments[0, i, window.head : len(window.ids)] = 1
    expected = model.encode(ids, mask, segments)[0][mask.reshape(1, -1) == 1]  # (S, D)
    inside = mask[0] == 1
    states = Encoder(model.encoder, dtype=dtype)(ids[0][inside], segments[0][inside], lengths)
    assert states.dtype == torch.float32
    assert torch.cosine_similarity(states, expected).min() > least


@pytest.mark.parametrize("question", [QUESTION, "Where was Scholz?", "Who won the cup?"])
def test_best_span_is_the_best_of_all(reader: Reader, question: str):
    search = reader.search
    found = windows(question, PASSAGES, search.tokenizer)
    expected, number, first, last = brute_force(search, found)
    best = search.find(question, PASSAGES).spans[0]
    window = found[number]
    assert (best.passage, best.start) == (window.passage, window.offsets[first][0])
    assert best.end == window.offsets[last][1]
    assert best.score == pytest.approx(expected, abs=1e-3)


def test_of_two_equal_passages_the_one_that_search_likes_better_is_quoted(reader: Reader):
    spans = reader.search.find(QUESTION, [PASSAGES[0], PASSAGES[0]]).spans
    first, second = (next(s for s in spans if s.passage == number) for number in (0, 1))
    assert spans[0] is first
    assert (first.start, first.end) == (second.start, second.end)
    assert first.score - second.score == pytest.approx(math.log(2) / 2, abs=1e-3)


def test_spans_start_and_end_at_word_edges(reader: Reader):
    passage = "Unternehmensbesteuerungsreformgesetzentwurf, said Ms. Oyelaran-Whitfield."
    found = reader.search.find("Who said it?", [passage]).spans
    assert found
    for span in found:
        assert not (
            passage[span.start - 1 : span.start].isalnum() and passage[span.start].isalnum()
        )
        assert not (passage[span.end - 1].isalnum() and passage[span.end : span.end + 1].isalnum())


def test_starts_alone_are_the_places_of_whole_spans(reader: Reader):
    search = reader.search
    whole = search.find(QUESTION, PASSAGES).spans
    starts = search.find(QUESTION, PASSAGES, starts_only=True).spans
    places = [span.place for span in starts]
    assert places == sorted(places, reverse=True)
    assert [span.score for span in starts] == places
    assert {(span.passage, span.start, span.place) for span in whole} <= {
        (span.passage, span.start, span.place) for span in starts
    }
