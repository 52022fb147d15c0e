"""The exact search for the best span: which words of the passages would the decoder write?

Since every candidate is known text, the decoder scores whole spans with teacher forcing. One pass
gives the likeliest first places; a second forces each of them along its passage, all at once, and
scores every end on the way. Nothing that is not in a passage can come out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from qa.reader.model import PointerGenerator
from qa.reader.spans import Window

WRITTEN_PIECES = 48  # the longest rewritten question
PLACES = 8  # first places that are followed
SPAN_PIECES = 32  # the longest span


@dataclass(frozen=True, slots=True)
class Span:
    """A candidate answer: pieces first…last of a window."""

    window: int
    first: int
    last: int
    place: float  # log-probability of copying from its first place
    score: float  # … and of each next piece, and of the end


@dataclass(frozen=True, slots=True)
class Found:
    spans: list[Span]  # best first
    no_answer: float  # log-odds of "not in these passages"


@dataclass(frozen=True, slots=True)
class Source:
    """The encoded windows, joined: W windows of L pieces each, S = W * L."""

    states: Tensor  # (1, S, D)
    mask: Tensor  # (1, S)
    copy_ids: Tensor  # (1, S)
    length: int  # L


def encode(model: PointerGenerator, windows: list[Window], pad: int) -> Source:
    length = max(len(window.ids) for window in windows)
    ids = torch.full((1, len(windows), length), pad)
    mask, segments = torch.zeros_like(ids), torch.zeros_like(ids)
    for i, window in enumerate(windows):
        ids[0, i, : len(window.ids)] = torch.tensor(window.ids)
        mask[0, i, : len(window.ids)] = 1
        segments[0, i, window.head : len(window.ids)] = 1
    return Source(*model.encode(ids, mask, segments), length)


@torch.inference_mode()
def best_spans(model: PointerGenerator, windows: list[Window]) -> Found:
    """The best spans, one for each of the likeliest first places.

    Raises nothing for odd text: a passage without a single piece just has no span.
    """
    config = model.config
    source = encode(model, windows, config.pad_token_id or 0)
    start = torch.tensor([[config.decoder_start_token_id]])
    outputs, cache = model.decode(start, source.states, source.mask, use_cache=True)
    no_answer = model.log_probs(outputs, source.states, source.copy_ids)[0, 0]
    no_answer = no_answer[config.no_answer_token_id].exp().clamp(1e-9, 1 - 1e-9)
    places = first_places(model, outputs, source, windows)
    spans = [span for span in follow(model, cache, source, windows, places) if span]
    spans.sort(key=lambda span: -span.score)
    return Found(spans, float(no_answer.logit()))


def first_places(
    model: PointerGenerator, outputs: Tensor, source: Source, windows: list[Window]
) -> list[tuple[int, int, float]]:
    """The likeliest (window, piece, log-probability) at which a span may start."""
    allowed = torch.zeros(len(windows), source.length, dtype=torch.bool)
    for i, window in enumerate(windows):
        allowed[i, window.head : window.head + len(window.starts)] = torch.tensor(window.starts)
    scores = model.pointer_scores(outputs, source.states, source.copy_ids)
    scores = scores + model.log_gates(outputs)[1]  # the probability of copying at all
    scores = scores[0, 0].masked_fill(~allowed.flatten(), -torch.inf)  # (S,)
    best = scores.topk(min(PLACES, int(allowed.sum())))
    return [
        (int(at) // source.length, int(at) % source.length, float(score))
        for score, at in zip(best.values, best.indices, strict=True)
    ]


def follow(
    model: PointerGenerator,
    cache: object,
    source: Source,
    windows: list[Window],
    places: list[tuple[int, int, float]],
) -> list[Span | None]:
    """Force the decoder along the passage from each place; the best end of each (K places).

    The K paths lie behind one another in one sequence, kept apart by the attention mask, so that
    the passages' keys and values are shared.
    """
    paths = []
    for window, piece, _ in places:
        ids = windows[window].ids[piece:-1][:SPAN_PIECES]
        paths.append(ids)
    if not paths:
        return []
    longest = max(len(path) for path in paths)
    count = len(paths)
    forced = torch.zeros(count, longest, dtype=torch.long)  # (K, N)
    for k, path in enumerate(paths):
        forced[k, : len(path)] = torch.tensor(path)
    causal = torch.ones(longest, longest, dtype=torch.bool).tril()
    apart = torch.kron(torch.eye(count, dtype=torch.bool), causal)  # (K*N, K*N)
    seen = torch.cat([torch.ones(count * longest, 1, dtype=torch.bool), apart], 1)
    outputs = model.decoder(
        input_ids=forced.reshape(1, -1),
        position_ids=torch.arange(1, longest + 1).repeat(count)[None],
        attention_mask=seen[None, None],  # (1, 1, K*N, 1 + K*N)
        encoder_hidden_states=source.states,
        encoder_attention_mask=source.mask,
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state  # (1, K*N, D)
    following = torch.cat([forced[:, 1:], torch.zeros(count, 1, dtype=torch.long)], 1)  # (K, N)
    ending = torch.full_like(forced, model.config.sep_token_id)
    wanted = torch.stack([following, ending], -1).reshape(1, -1, 2)  # (1, K*N, 2)
    log_probs = model.log_prob_of(outputs, source.states, source.copy_ids, wanted)
    steps, ends = log_probs.reshape(count, longest, 2).unbind(-1)  # (K, N) each
    walked = torch.cat([torch.zeros(count, 1), steps[:, :-1].cumsum(1)], 1)
    scores = walked + ends + torch.tensor([score for *_, score in places])[:, None]
    spans: list[Span | None] = []
    for k, (window, piece, place) in enumerate(places):
        first = piece - windows[window].head
        may_end = torch.tensor(windows[window].ends[first : first + longest])
        row = scores[k, : len(may_end)].masked_fill(~may_end, -torch.inf)
        last = int(row.argmax())
        score = float(row[last])
        span = Span(window, first, first + last, place, score)
        spans.append(span if score > -torch.inf else None)
    return spans


@torch.inference_mode()
def write(model: PointerGenerator, window: Window) -> list[int]:
    """The pieces that the decoder writes freely, likeliest first, up to the end."""
    ids = torch.tensor([window.ids])
    segments = (torch.arange(len(window.ids)) >= window.head).long()[None]
    written = model.generate(
        ids, token_type_ids=segments, max_new_tokens=WRITTEN_PIECES, do_sample=False
    )
    pieces: list[int] = written[0, 1:].tolist()
    end = model.config.sep_token_id
    return pieces[: pieces.index(end)] if end in pieces else pieces
