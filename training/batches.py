"""Examples become tensors: tokenised, cut to a window around the answer, batched by length."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from qa.reader.spans import QUESTION_PIECES
from training.examples import REWRITE, Example

CLS, SEP, PAD, NO_ANSWER, REWRITE_MARK = 101, 102, 0, 1, 2
ANSWER_PIECES = 64
TOGETHER = 16_384  # examples, sorted by length and cut into batches
IGNORE = -100


@dataclass(frozen=True, slots=True)
class Batch:
    """B questions, P passages each, L pieces a passage, T pieces an answer."""

    input_ids: Tensor  # (B, P, L)
    attention_mask: Tensor  # (B, P, L)
    token_type_ids: Tensor  # (B, P, L)
    decoder_input_ids: Tensor  # (B, T)
    targets: Tensor  # (B, T), IGNORE where padded
    places: Tensor  # (B, T, P * L) bool: where each target piece stands in the gold passage
    ends: Tensor  # (B, P * L) bool: last piece of the answer


def load_tokenizer(path: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def find_pieces(pieces: list[int], wanted: list[int]) -> list[int]:
    """Every start of ``wanted`` in ``pieces``."""
    size = len(wanted)
    first = wanted[0]
    return [
        i
        for i in range(len(pieces) - size + 1)
        if pieces[i] == first and pieces[i : i + size] == wanted
    ]


def window(
    pieces: list[int], starts: list[int], size: int, limit: int, rng: random.Random
) -> slice:
    """A random window of at most ``limit`` pieces that holds the first occurrence, if any."""
    if len(pieces) <= limit:
        return slice(0, len(pieces))
    low, high = 0, len(pieces) - limit
    if starts:
        low, high = max(0, starts[0] + size - limit), min(high, starts[0])
    first = rng.randint(low, max(low, high))
    return slice(first, first + limit)


@dataclass(frozen=True, slots=True)
class Item:
    passages: list[list[int]]  # [CLS] question [SEP] passage [SEP]
    heads: int  # pieces before the passage
    target: list[int]
    places: list[int]  # starts of the answer in passages[gold]
    gold: int


def tokenise(example: Example, encodings: list[Encoding], limit: int, rng: random.Random) -> Item:
    question, answer, *passages = [encoding.ids for encoding in encodings]
    question = question[:QUESTION_PIECES]
    if example.task == REWRITE:
        question = [REWRITE_MARK]
    head = [CLS, *question, SEP]
    answer = answer[:ANSWER_PIECES]
    target = [*answer, SEP] if answer else [NO_ANSWER]
    rows, places = [], []
    for i, pieces in enumerate(passages):
        starts = find_pieces(pieces, answer) if i == example.gold and answer else []
        if example.task == REWRITE:
            cut = slice(max(0, len(pieces) - limit), len(pieces))  # the follow-up is at the end
        else:
            cut = window(pieces, starts, len(answer), limit, rng)
        rows.append([*head, *pieces[cut], SEP])
        if i == example.gold:
            inside = [s - cut.start for s in starts]
            places = [s for s in inside if 0 <= s <= len(pieces[cut]) - len(answer)]
    return Item(rows, len(head), target, places, example.gold)


def collate(examples: Sequence[Example], tokenizer: Tokenizer, limit: int) -> Batch:
    """One batch; passages longer than ``limit`` pieces are cut to a window around the answer.

    Where they are cut changes with the first example's question: with the batch.
    """
    rng = random.Random(examples[0].question)
    texts = [text for ex in examples for text in (ex.question, ex.answer, *ex.passages)]
    encodings = iter(tokenizer.encode_batch(texts, add_special_tokens=False))
    items = [
        tokenise(ex, [next(encodings) for _ in range(2 + len(ex.passages))], limit, rng)
        for ex in examples
    ]
    batch, width = len(items), max(len(item.passages) for item in items)
    length = max(len(row) for item in items for row in item.passages)
    longest = max(len(item.target) for item in items)
    ids = torch.full((batch, width, length), PAD)
    mask, segments = torch.zeros_like(ids), torch.zeros_like(ids)
    targets = torch.full((batch, longest), IGNORE)
    places = torch.zeros(batch, longest, width * length, dtype=torch.bool)
    ends = torch.zeros(batch, width * length, dtype=torch.bool)
    for b, item in enumerate(items):
        for p, row in enumerate(item.passages):
            ids[b, p, : len(row)] = torch.tensor(row)
            mask[b, p, : len(row)] = 1
            segments[b, p, item.heads : len(row)] = 1
        targets[b, : len(item.target)] = torch.tensor(item.target)
        steps = torch.arange(len(item.target) - 1)
        for start in item.places:
            first = item.gold * length + item.heads + start
            places[b, steps, first + steps] = True
            ends[b, first + len(steps) - 1] = True
    inputs = torch.cat([torch.full((batch, 1), CLS), targets[:, :-1].clamp(min=PAD)], 1)
    return Batch(ids, mask, segments, inputs, targets, places, ends)


def measured(examples: Sequence[Example], tokenizer: Tokenizer, limit: int) -> list[int]:
    """How many pieces the longest row of each example takes, its passage cut to ``limit``."""
    found = []
    for i in range(0, len(examples), TOGETHER):
        part = examples[i : i + TOGETHER]
        texts = [text for ex in part for text in (ex.question, *ex.passages)]
        encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        counts = iter([len(encoding) for encoding in encoded])
        for example in part:
            question = min(next(counts), QUESTION_PIECES)
            passages = [min(next(counts), limit) for _ in example.passages]
            found.append(question + max(passages) + 3)
    return found


def batches(
    examples: Sequence[Example], sizes: Sequence[int], *, pieces: int, seed: int, skip: int = 0
) -> Iterator[list[int]]:
    """Endless batches of some ``pieces`` source pieces, of like length, shuffled by ``seed``.

    Each is a list of the numbers of its examples.

    ``sizes`` are those of `measured`. ``skip`` batches are passed over, so that a resumed run goes
    on where it stopped.
    """
    epoch = 0
    while True:
        rng = random.Random(f"{seed} {epoch}")
        order = list(range(len(examples)))
        rng.shuffle(order)
        parts = [
            part
            for i in range(0, len(order), TOGETHER)
            for part in cut(order[i : i + TOGETHER], examples, sizes, pieces)
        ]
        rng.shuffle(parts)
        for part in parts:
            if skip:
                skip -= 1
            else:
                yield part
        epoch += 1


def cut(
    order: list[int], examples: Sequence[Example], sizes: Sequence[int], pieces: int
) -> Iterator[list[int]]:
    """Sort by number and length of passages, and cut where a padded batch would pass ``pieces``.

    The examples of a batch have equally many passages.
    """
    counts = {i: len(examples[i].passages) for i in order}
    part: list[int] = []
    for i in sorted(order, key=lambda i: (counts[i], sizes[i])):
        padded = counts[i] * sizes[i] * (len(part) + 1)
        if part and (counts[i] != counts[part[0]] or padded > pieces):
            yield part
            part = []
        part.append(i)
    yield part
