"""Nearest vectors: equal to brute force, never a phantom, and whole or not at all on disk."""

from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest

from index import vectors
from index.vectors import (
    Footer,
    VectorIndex,
    approximate,
    build,
    choose,
    describe,
    exact,
    load,
    save,
)

CATALOG = "0123456789abcdef" * 2


def unit(count: int, dimension: int = 32, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def ids_of(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int64) * 3 + 7


def whole(ids: np.ndarray, rows: np.ndarray, generation: int = 1) -> VectorIndex:
    """All of them in FAISS, built from portions of 100."""

    def portions() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for at in range(0, len(ids), 100):
            yield ids[at : at + 100], rows[at : at + 100]

    return build(portions, len(ids), catalog=CATALOG, generation=generation)


def made(count: int, tail: int = 0) -> tuple[VectorIndex, np.ndarray, np.ndarray]:
    """An index with its last `tail` vectors outside FAISS, and all its ids and vectors."""
    ids, rows = ids_of(count), unit(count)
    index = whole(ids[: count - tail], rows[: count - tail], generation=5)
    return index.extended(ids[count - tail :], rows[count - tail :]), ids, rows


@pytest.mark.parametrize(("count", "tail"), [(500, 0), (500, 60), (500, 500), (1, 0), (1, 1)])
def test_it_finds_what_brute_force_finds_in_order_and_score(count: int, tail: int):
    index, ids, rows = made(count, tail)
    assert len(index) == count and index.last == ids[-1]
    for question in unit(20, seed=1):
        found, scores = index.search(question, 10)
        every = rows @ question
        best = np.argsort(-every, kind="stable")[:10]
        assert found.tolist() == ids[best].tolist()
        assert np.allclose(scores, every[best], atol=1e-6)


def test_equal_vectors_come_in_the_order_of_their_ids():
    row = unit(1)
    index = whole(ids_of(9), np.repeat(row, 9, axis=0))
    assert index.search(row[0], 9)[0].tolist() == ids_of(9).tolist()


@pytest.mark.parametrize("tail", [0, 3, 12])
def test_more_than_there_are_gives_what_there_is(tail: int):
    index, ids, _ = made(12, tail)
    for k in (12, 13, 1_000, 2**40):
        found, scores = index.search(unit(1)[0], k)
        assert sorted(found.tolist()) == ids.tolist()
        assert np.isfinite(scores).all()
    assert index.search(unit(1)[0], 0)[0].tolist() == []


@pytest.mark.parametrize("tail", [0, 40, 500])
def test_among_some_it_finds_what_brute_force_finds(tail: int):
    index, ids, rows = made(500, tail)
    for share in (0.5, 0.02):
        picked = np.random.default_rng(4).random(500) < share
        for question in unit(5, seed=1):
            found, scores = index.search(question, 10, among=ids[picked])
            every = np.where(picked, rows @ question, -np.inf)
            best = np.argsort(-every, kind="stable")[: min(10, picked.sum())]
            assert found.tolist() == ids[best].tolist()
            assert np.allclose(scores, every[best], atol=1e-6)
    assert index.search(unit(1)[0], 10, among=ids[:0])[0].tolist() == []


def test_among_few_the_approximate_type_finds_all(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vectors, "EXACT_UP_TO", 1_000)
    index, ids, _ = made(5_000)
    few = ids[::250]
    assert sorted(index.search(unit(1, seed=9)[0], 99, among=few)[0].tolist()) == few.tolist()


def test_an_empty_index_finds_nothing():
    empty = whole(ids_of(0), unit(0))
    assert len(empty) == 0
    assert empty.search(unit(1)[0], 5)[0].tolist() == []


def test_the_type_is_exact_up_to_a_size_and_approximate_above():
    assert isinstance(choose(200_000, 8), faiss.IndexFlatIP)
    assert isinstance(choose(200_001, 8), faiss.IndexIVFFlat)
    assert isinstance(exact(8), faiss.IndexFlatIP)
    assert approximate(1_000_000, 8).nlist == 4_000


def test_the_approximate_type_finds_nearly_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vectors, "EXACT_UP_TO", 1_000)
    count, groups = 20_000, 300  # texts lie in groups, as pure noise does not
    rows = unit(groups)[np.arange(count) % groups] + 0.5 * unit(count, seed=2)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    save(tmp_path / "v", whole(ids_of(count), rows))
    index = load(tmp_path / "v")
    assert index.faiss is not None and index.in_file == count
    found = 0
    for question in rows[:50] + 0.05 * unit(50, seed=3):
        best = ids_of(count)[np.argsort(-(rows @ question))[:10]]
        found += len(set(index.search(question, 10)[0].tolist()) & set(best.tolist()))
    assert found >= 0.95 * 500
    ids, back = index.file_vectors()
    assert ids.tolist() == ids_of(count).tolist() and np.array_equal(back, rows)


@pytest.mark.parametrize("count", [0, 1, 300])
def test_a_file_holds_what_was_saved(tmp_path: Path, count: int):
    index, ids, rows = (
        made(count) if count else (whole(ids_of(0), unit(0), generation=5), ids_of(0), unit(0))
    )
    save(tmp_path / "v", index)
    found = load(tmp_path / "v")
    assert (found.catalog, found.generation) == (CATALOG, 5)
    assert (found.last, len(found)) == (index.last, count)
    stored_ids, stored = found.file_vectors()
    assert stored_ids.tolist() == ids.tolist()
    assert stored.tolist() == rows.tolist() or not count
    assert [path.name for path in tmp_path.iterdir()] == ["v"]
    told = describe(tmp_path / "v")
    assert (told.catalog, told.generation) == (CATALOG, 5)
    assert (told.last, told.count) == (index.last, count)


def test_a_missing_torn_or_damaged_file_is_as_if_empty(tmp_path: Path):
    path = tmp_path / "v"
    assert len(load(path)) == 0
    save(path, made(50)[0])
    whole = path.read_bytes()
    assert len(load(path)) == describe(path).count == 50
    for size in [*range(0, len(whole), 331), len(whole) - 1]:
        path.write_bytes(whole[:size])
        assert len(load(path)) == 0, size
        assert describe(path) == Footer(), size
    for place in [*range(0, len(whole), 97), *range(len(whole) - 60, len(whole))]:
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert len(load(path)) == 0, place
    path.unlink()
    path.mkdir()
    assert len(load(path)) == 0


def test_a_loaded_file_may_be_replaced(tmp_path: Path):
    path = tmp_path / "v"
    save(path, made(50)[0])
    old = load(path)
    index, _, rows = made(60)
    save(path, index)
    assert len(load(path)) == 60
    assert len(old) == 50 and np.array_equal(old.file_vectors()[1], unit(50))
    assert np.array_equal(load(path).file_vectors()[1], rows)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "v"
    save(path, made(50)[0])

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(vectors.os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        save(path, made(60)[0])
    assert len(load(path)) == 50
