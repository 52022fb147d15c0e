"""The exact search for the best span: which words of the passages would the decoder write?

Since every candidate is known text, the decoder scores whole spans with teacher forcing. One pass
gives the likeliest first places; a second forces each of them along its passage, all at once, and
scores every end on the way. Nothing that is not in a passage can come out.
"""

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LogitsProcessorList

from qa.reader.bert import Encoder
from qa.reader.model import PointerGenerator
from qa.reader.rewriting import StandAlone, with_topic
from qa.reader.spans import Window, conversation, rewriting, stretch, windows

WRITTEN_PIECES = 48  # the longest rewritten question
REPEATED = 3  # so many pieces in a row are written once
PLACES = 8  # first places that are looked at
LIKELY = 0.05  # as likely as the likeliest, and a place is followed with it
SPAN_PIECES = 32  # the longest span


@dataclass(frozen=True, slots=True)
class Span:
    """A candidate answer: passages[passage][start:end]."""

    passage: int
    start: int  # code points
    end: int
    place: float  # log-probability of starting there, and the passage's preference
    score: float  # … and of each next piece, and of the end


@dataclass(frozen=True, slots=True)
class Found:
    """What the network makes of a question and its passages."""

    spans: list[Span]  # likeliest first
    no_answer: float  # log-odds of "not in these passages"


def preference(passage: int) -> float:
    """What search thinks of the passages, in logs: the fourth best counts half of the best.

    The passages come best first, and the reader, which sees no order, takes the wrong one more
    often without this.
    """
    return -0.5 * math.log(passage + 1)


class SpanSearch(Protocol):
    """A network that finds spans; ``PointerSearch`` here, ``Seq2SeqSearch`` for any other.

    Passages come best first.
    """

    def find(self, question: str, passages: Sequence[str], *, starts_only: bool = False) -> Found:
        """The likeliest spans; with ``starts_only`` each ends with its first piece."""


@dataclass(frozen=True, slots=True)
class Source:
    """The encoded windows, end to end: S pieces in all."""

    states: Tensor  # (1, S, D)
    mask: Tensor  # (1, S): all ones, there is no padding
    copy_ids: Tensor  # (1, S)
    firsts: list[int]  # where each window begins


class PointerSearch:
    """The shipped network: its pointer gives the first places."""

    def __init__(self, model: PointerGenerator, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer
        # Eight bits would save a quarter of the time, and lose answers that are close calls.
        self._encoder = Encoder(model.encoder)

    @torch.inference_mode()
    def find(self, question: str, passages: Sequence[str], *, starts_only: bool = False) -> Found:
        """The spans from the likeliest first places; none in wordless text.

        Places that are unlikely and can't hold the likeliest span are not followed.
        """
        model, config = self.model, self.model.config
        read = windows(question, passages, self.tokenizer)
        if not read:
            return Found([], 0.0)
        source = self.encode(read)
        start = torch.tensor([[config.decoder_start_token_id]])
        outputs, cache = model.decode(start, source.states, source.mask, use_cache=True)
        none = torch.tensor([[[config.no_answer_token_id]]])
        chance = model.log_prob_of(outputs, source.states, source.copy_ids, none).exp()
        places = first_places(model, outputs, source, read)
        if starts_only:
            spans = [
                opening(passages, read[number], piece, place) for number, piece, place in places
            ]
        else:
            likely = [place for place in places if place[2] > places[0][2] + math.log(LIKELY)]
            spans = follow(model, cache, source, read, likely, passages)
            best = max((span.score for span in spans), default=-math.inf)
            # No span scores more than its first place does.
            rest = [place for place in places[len(likely) :] if place[2] > best]
            cache.crop(1 - cache.get_seq_length())  # what the paths added
            spans += follow(model, cache, source, read, rest, passages)
        spans.sort(key=lambda span: -span.score)
        return Found(spans, float(chance.clamp(1e-9, 1 - 1e-9).logit()))

    def encode(self, read: Sequence[Window]) -> Source:
        """The states of the windows, each encoded by itself."""
        ids = torch.tensor([piece for window in read for piece in window.ids])  # (S,)
        lengths = [len(window.ids) for window in read]
        segments = torch.cat([torch.arange(len(w.ids)) >= w.head for w in read]).long()  # (S,)
        mask = torch.ones_like(ids)
        copy_ids = self.model.copy_ids(ids, mask, segments)
        states = self._encoder(ids, segments, lengths)  # (S, D)
        firsts = [0, *itertools.accumulate(lengths)][:-1]
        return Source(states[None], mask[None], copy_ids[None], firsts)

    def rewrite(self, question: str, history: Sequence[str]) -> str:
        """A follow-up as a question that stands alone, in lower case; keeps its words.

        ``history`` is the conversation so far: what it is about, then questions and answers. A
        question that names nothing of what it is about is followed by that, in brackets.
        """
        written = self.write(
            rewriting(conversation(history, question), self.tokenizer),
            max_new_tokens=WRITTEN_PIECES,
            no_repeat_ngram_size=REPEATED,
            logits_processor=LogitsProcessorList([StandAlone(question, self.tokenizer)]),
        )
        return with_topic(written, history[0]) if history else written

    @torch.inference_mode()
    def write(self, window: Window, **options: Any) -> str:
        """What the decoder writes freely from a window; ``options`` are those of ``generate``."""
        ids = torch.tensor([window.ids])
        segments = (torch.arange(len(window.ids)) >= window.head).long()[None]
        written = self.model.generate(ids, token_type_ids=segments, do_sample=False, **options)
        return self.tokenizer.decode(written[0].tolist())


def first_places(
    model: PointerGenerator, outputs: Tensor, source: Source, read: list[Window]
) -> list[tuple[int, int, float]]:
    """The likeliest (window, piece, log-probability) at which a span may start."""
    allowed = torch.full((source.states.shape[1],), -torch.inf)  # (S,): 0 or less at starts
    for first, window in zip(source.firsts, read, strict=True):
        at = slice(first + window.head, first + window.head + len(window.starts))
        allowed[at][torch.tensor(window.starts, dtype=torch.bool)] = preference(window.passage)
    scores = model.pointer_scores(outputs, source.states, source.copy_ids)
    scores = scores + model.log_gates(outputs)[1]  # the probability of copying at all
    scores = scores[0, 0] + allowed  # (S,)
    best = scores.topk(min(PLACES, int(allowed.isfinite().sum())))
    found = []
    for score, at in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        number = bisect.bisect_right(source.firsts, at) - 1
        found.append((number, at - source.firsts[number], score))
    return found


def opening(passages: Sequence[str], window: Window, piece: int, place: float) -> Span:
    """The first piece of a span, to be stretched to a whole statement."""
    start, end = window.offsets[piece - window.head]
    return Span(window.passage, start, stretch(passages[window.passage], end), place, place)


def follow(
    model: PointerGenerator,
    cache: object,
    source: Source,
    read: list[Window],
    places: list[tuple[int, int, float]],
    passages: Sequence[str],
) -> list[Span]:
    """Force the decoder along the passage from each place (K places); all spans from there.

    The K paths lie behind one another in one sequence, kept apart by the attention mask, so that
    the passages' keys and values are shared.
    """
    if not places:
        return []
    paths = [read[window].ids[piece:-1][:SPAN_PIECES] for window, piece, _ in places]
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
    spans = []
    for k, (number, piece, place) in enumerate(places):
        window = read[number]
        first = piece - window.head
        text, cut = passages[window.passage], slice(first, first + longest)
        start, _ = window.offsets[first]
        for (_, end), may_end, score in zip(
            window.offsets[cut], window.ends[cut], scores[k].tolist(), strict=False
        ):
            if may_end:
                spans.append(Span(window.passage, start, stretch(text, end), place, score))
    return spans
