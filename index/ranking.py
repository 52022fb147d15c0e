"""Which passages of a snapshot answer a question best: by meaning and by words, copies together.

Each list, the dense one of FAISS and the one of BM25, is scaled by its best score; the two are
weighted and added. Not for keeping the two lists up to date (`passage_index`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from index.catalog import Snapshot
from index.documents import DocumentInfo
from index.duplicates import Wording
from index.vectors import VectorIndex

ALPHA = 0.6  # weight of the dense score; the rest is that of BM25
CANDIDATES = 100  # passages taken from each of the two lists, at least
MAX_COPIES = 1_000  # of a passage that are looked at

Days = tuple[str | None, str | None]  # the first and the last, yyyy-mm-dd; None: no bound


@dataclass(frozen=True, slots=True)
class Copy:
    """Another place where a passage stands, in the same or nearly the same words."""

    document: DocumentInfo
    start: int  # code points in the document's text
    end: int
    exact: bool  # the same text, letter for letter


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that a search found."""

    document: DocumentInfo
    text: str
    start: int  # code points in the document's text
    end: int
    score: float  # 0..1: dense and bm25, each divided by the best of its list, weighted and added
    dense: float  # cosine of question and passage
    bm25: float  # 0 for a passage that BM25 did not bring
    copies: tuple[Copy, ...] = ()  # by date, then path


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A hit and the id of its passage."""

    number: int
    hit: Hit


@dataclass(frozen=True, slots=True)
class _Group:
    """A hit and its copies."""

    best: _Ranked
    wording: Wording  # of the best
    others: list[int]  # ids


def best_passages(
    snapshot: Snapshot,
    vectors: VectorIndex,  # of this snapshot, or of more
    question: str,
    vector: NDArray[np.float32],  # (dimension,), of the question
    *,
    k: int,
    days: Days,
) -> list[Hit]:
    """The k best passages, best first, or all when they are fewer; see `PassageIndex.search`."""
    after, before = days
    among = snapshot.dated(after=after, before=before) if any(days) else None
    total = len(vectors) if among is None else len(among)
    wanted = max(CANDIDATES, 2 * k)
    while True:
        wanted = min(wanted, total)
        near = _nearest(snapshot, vectors, vector, wanted, among)
        bm25 = dict(snapshot.find_words(question, limit=wanted, after=after, before=before))
        groups = _group(_rank(snapshot, vector, near, bm25), k)
        if len(groups) == k or wanted == total:
            return [_with_copies(snapshot, group, days) for group in groups]
        wanted *= 4


def _nearest(
    snapshot: Snapshot,
    vectors: VectorIndex,
    vector: NDArray[np.float32],  # (dimension,)
    wanted: int,
    among: NDArray[np.int64] | None,  # (m,), rising; None: all
) -> list[int]:
    """Ids of the nearest passages that the snapshot has, best first."""
    asked = wanted
    while True:
        ids = vectors.search(vector, asked, among=among)[0].tolist()
        existing = snapshot.existing(ids)
        if len(existing) >= wanted or asked >= len(vectors):
            return [number for number in ids if number in existing][:wanted]
        asked *= 2


def _rank(
    snapshot: Snapshot,
    vector: NDArray[np.float32],  # (dimension,)
    near: list[int],  # ids
    bm25: dict[int, float],  # id -> score
) -> list[_Ranked]:
    """Passages by the weighted sum of both scores, each divided by the best of its list."""
    stored = snapshot.passages([*dict.fromkeys([*near, *bm25])])
    dense = {number: float(passage.vector @ vector) for number, passage in stored.items()}
    best_dense = max(dense.values(), default=0.0)
    best_bm25 = max(bm25.values(), default=0.0)

    def score(number: int) -> float:
        meaning = max(dense[number], 0.0) / best_dense if best_dense > 0 else 0.0
        words = bm25.get(number, 0.0) / best_bm25 if best_bm25 > 0 else 0.0
        return ALPHA * meaning + (1 - ALPHA) * words

    hits = [
        _Ranked(
            number,
            Hit(
                document=passage.document,
                text=passage.text,
                start=passage.start,
                end=passage.end,
                score=score(number),
                dense=dense[number],
                bm25=bm25.get(number, 0.0),
            ),
        )
        for number, passage in stored.items()
    ]
    return sorted(hits, key=lambda it: (-it.hit.score, -it.hit.dense, it.number))


def _group(ranked: list[_Ranked], k: int) -> list[_Group]:
    """The k best that are no copies of better ones, each with those of its copies that follow.

    Each of the ranked is compared with the best of the groups alone, never with what only
    resembles its copies, so that all that is hidden is a copy of what is shown.
    """
    groups: list[_Group] = []
    by_text: dict[str, _Group] = {}
    for one in ranked:
        group = by_text.get(one.hit.text)
        if group is None:
            wording = Wording.of(one.hit.text)
            group = next((it for it in groups if wording.is_copy_of(it.wording)), None)
        if group is not None:
            group.others.append(one.number)
        elif len(groups) == k:
            break
        else:
            group = _Group(one, wording, [])
            groups.append(group)
        by_text[one.hit.text] = group
    return groups


def _with_copies(snapshot: Snapshot, group: _Group, days: Days) -> Hit:
    """The best of a group with the places of all its copies, also of those not ranked.

    Those with its very text and title are as good as it is, and the earliest of them is shown.
    """
    number, hit = group.best.number, group.best.hit
    candidates = snapshot.copy_candidates(number, limit=MAX_COPIES, after=days[0], before=days[1])
    same = {hit.text: True}  # whether a text is a copy
    copies = [Copy(hit.document, hit.start, hit.end, exact=True)]
    for passage in snapshot.passages([*{*candidates, *group.others}]).values():
        if passage.text not in same:
            same[passage.text] = group.wording.is_copy_of(Wording.of(passage.text))
        if same[passage.text]:
            exact = passage.text == hit.text
            copies.append(Copy(passage.document, passage.start, passage.end, exact))
    copies.sort(key=_place)
    shown = next(it for it in copies if it.exact and it.document.title == hit.document.title)
    copies.remove(shown)
    return replace(
        hit, document=shown.document, start=shown.start, end=shown.end, copies=tuple(copies)
    )


def _place(copy: Copy) -> tuple[str, str, int]:
    """By day, undated last, then by path and where it stands."""
    return copy.document.date or "9999-12-31", copy.document.path, copy.start
