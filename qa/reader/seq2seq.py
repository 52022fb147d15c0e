"""Any encoder-decoder of transformers as a reader, with the same grounding.

There is no pointer to say where the answer starts, so every word of the passages is a candidate:
the decoder's first step ranks their first pieces, and the best are forced along their passages.
The passages are encoded one by one and decoded together, as the shipped reader does it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from qa.reader.search import SPAN_PIECES, Found, Span, preference
from qa.reader.spans import QUESTION_PIECES, WINDOW_PIECES, is_word, stretch, word_edge

STARTS = 16  # first places that are followed, no two with the same words
AHEAD = 200  # characters behind a first place that a span may reach
PROMPT = "question: {} context: {}"  # as T5 was trained on SQuAD (Raffel et al. 2020)


class Seq2SeqSearch:
    """Candidate spans by their log-probability under an ordinary encoder-decoder."""

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer

    @torch.inference_mode()
    def find(self, question: str, passages: Sequence[str], *, starts_only: bool = False) -> Found:
        """The spans from the likeliest first places.

        Nothing tells "not in these passages" here, so its log-odds are 0.
        """
        candidates = [
            (number, start) for number, text in enumerate(passages) for start in word_starts(text)
        ]
        if not candidates:
            return Found([], 0.0)
        encodings = self.tokenizer.encode_batch(
            [passages[number][start : start + AHEAD] for number, start in candidates],
            add_special_tokens=False,
        )
        states, mask = self.encode(question, passages)
        first = self.log_probs(states, mask, torch.tensor([self.opening()]))[0, -1]  # (V,)
        spans = []
        chosen = choose(candidates, encodings, first)
        if starts_only:
            for (number, start), encoding in chosen:
                place = float(first[encoding.ids[0]]) + preference(number)
                spans.append(Span(number, start, start + encoding.offsets[0][1], place, place))
            return Found(spans, 0.0)
        for (number, start), encoding, scores in self.follow(chosen, states, mask):
            place = float(first[encoding.ids[0]])
            liked = preference(number)
            for end, score in endings(passages[number], start, encoding, scores):
                spans.append(Span(number, start, end, place + liked, score + liked))
        return Found(sorted(spans, key=lambda span: -span.score), 0.0)

    def encode(self, question: str, passages: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Joined states (1, S, D) and mask (1, S) of the passages, each with the question."""
        asked = self.tokenizer.encode(question, add_special_tokens=False).offsets[:QUESTION_PIECES]
        question = question[: asked[-1][1]] if asked else ""
        rows = [
            encoding.ids[:WINDOW_PIECES]
            for encoding in self.tokenizer.encode_batch(
                [PROMPT.format(question, text) for text in passages]
            )
        ]
        length = max(map(len, rows))
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        encoder: Any = self.model.get_encoder()
        states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state  # (P, L, D)
        return states.reshape(1, -1, states.shape[-1]), mask.reshape(1, -1)

    def opening(self) -> list[int]:
        """What stands before an answer: the start, and the piece that some models write first."""
        options: Any = self.model.generation_config
        start = self.model.config.decoder_start_token_id
        forced = options.forced_bos_token_id if options else None
        return [start] if forced is None else [start, forced]

    def log_probs(self, states: Tensor, mask: Tensor, written: Tensor) -> Tensor:
        """Log-probabilities (K, T, V) of what follows each of the written pieces (K, T)."""
        count = len(written)
        logits = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states.expand(count, -1, -1)),
            attention_mask=mask.expand(count, -1),
            decoder_input_ids=written,
        ).logits
        return torch.log_softmax(logits.float(), -1)

    def follow(
        self,
        chosen: list[tuple[tuple[int, int], Encoding]],
        states: Tensor,
        mask: Tensor,
    ) -> Iterator[tuple[tuple[int, int], Encoding, Tensor]]:
        """Each candidate with the scores (N,) of ending after each of its pieces."""
        opening = self.opening()
        paths = [encoding.ids[:SPAN_PIECES] for _, encoding in chosen]
        longest = max(map(len, paths))
        written = torch.zeros(len(paths), len(opening) + longest, dtype=torch.long)
        for k, path in enumerate(paths):
            written[k, : len(opening) + len(path)] = torch.tensor(opening + path)
        log_probs = self.log_probs(states, mask, written)[:, len(opening) - 1 :]  # (K, 1+N, V)
        end = self.model.config.eos_token_id
        for k, (place, encoding) in enumerate(chosen):
            size = len(paths[k])
            pieces = written[k, len(opening) : len(opening) + size, None]  # (N, 1)
            steps = log_probs[k, :size].gather(-1, pieces)[:, 0].cumsum(0)  # (N,)
            yield place, encoding, steps + log_probs[k, 1 : size + 1, end]


def word_starts(text: str) -> list[int]:
    """Where the words of a text start."""
    return [at for at in range(len(text)) if is_word(text[at]) and word_edge(text, at)]


def choose(
    candidates: list[tuple[int, int]], encodings: list[Encoding], first: Tensor
) -> list[tuple[tuple[int, int], Encoding]]:
    """The STARTS candidates with the likeliest first piece, each run of words once."""

    def chance(pair: tuple[tuple[int, int], Encoding]) -> float:
        (number, _), encoding = pair
        return float(first[encoding.ids[0]]) + preference(number)

    pairs = [pair for pair in zip(candidates, encodings, strict=True) if pair[1].ids]
    pairs.sort(key=lambda pair: -chance(pair))
    distinct = {
        tuple(encoding.ids[:SPAN_PIECES]): (place, encoding) for place, encoding in pairs[::-1]
    }
    return sorted(distinct.values(), key=lambda pair: -chance(pair))[:STARTS]


def endings(
    text: str, start: int, encoding: Encoding, scores: Tensor
) -> Iterator[tuple[int, float]]:
    """Every end on a word's edge, and its score."""
    following = [first for first, _ in encoding.offsets[1:]] + [len(text)]
    for (_, end), after, score in zip(encoding.offsets, following, scores.tolist(), strict=False):
        at = stretch(text, start + end)
        whole = after >= end  # else the next piece is another byte of the same character
        if whole and at > start and word_edge(text, at):
            yield at, score
