"""Nearest vectors by inner product: a FAISS index, kept in a file that can be made again.

The file is written beside its place and renamed, and ends with a footer that tells which state of
which catalog it holds and the checksums. A file that is missing, torn or foreign is as if empty:
vectors that it lacks are scanned exactly. A loaded one is mapped into memory, so that processes
share it. Not for what the vectors mean (`embedder`).
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import faiss

VECTORS_NAME = "vectors.faiss"
EXACT_UP_TO = 200_000  # vectors; above it the scan of all takes too long
SAMPLE, ROUNDS = 64, 10  # of the k-means that finds the cells: vectors a cell, and rounds

_FOOTER = struct.Struct("<8s32sQQQI")  # magic, then what Footer has
_CHECKSUM = struct.Struct("<I")  # CRC-32 of the footer
_MAGIC = b"readback"
_BLOCK = 2**20  # bytes


def choose(count: int, dimension: int) -> faiss.Index:
    """The empty FAISS index for so many vectors: exact while that is fast, else approximate."""
    return exact(dimension) if count <= EXACT_UP_TO else approximate(count, dimension)


def exact(dimension: int) -> faiss.Index:
    """Compares with every vector."""
    import faiss

    return faiss.IndexFlatIP(dimension)


def approximate(count: int, dimension: int) -> faiss.Index:
    """Compares with the vectors of the nearest eighth of its cells (an inverted file)."""
    import faiss

    cells = 4 * math.isqrt(count)
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(dimension), dimension, cells, faiss.METRIC_INNER_PRODUCT
    )
    index.nprobe = max(1, cells // 8)
    index.cp.max_points_per_centroid = SAMPLE
    index.cp.niter = ROUNDS
    # The direct map makes `reconstruct` work.
    index.set_direct_map_type(faiss.DirectMap.Array)  # type: ignore[attr-defined]
    return index


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """Vectors by passage id: those in FAISS, and a tail of later ones that it lacks.

    Ids that the catalog has lost meanwhile stay until it is built again; callers drop them.
    """

    faiss: faiss.IndexIDMap2 | None = None  # read only: threads may search it at once
    tail_ids: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))  # (t,)
    tail: NDArray[np.float32] | None = None  # (t, dimension), None while t is 0
    last_in_file: int = 0  # FAISS holds all passages up to this id
    catalog: str = ""  # the catalog that the ids belong to
    generation: int = 0  # its state when FAISS was built

    def __len__(self) -> int:
        return self.in_file + len(self.tail_ids)

    @property
    def in_file(self) -> int:
        """How many of the vectors FAISS holds."""
        return int(self.faiss.ntotal) if self.faiss is not None else 0

    @property
    def last(self) -> int:
        """All passages up to this id are here."""
        return int(self.tail_ids[-1]) if len(self.tail_ids) else self.last_in_file

    def extended(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> VectorIndex:
        """This index with a longer tail; `ids` (n,) rise and lie above `last`."""
        if not len(ids):
            return self
        tail = vectors if self.tail is None else np.concatenate([self.tail, vectors])
        tail_ids = np.concatenate([self.tail_ids, ids])
        return replace(self, tail_ids=tail_ids, tail=tail)

    def search(
        self, vector: NDArray[np.float32], k: int, *, among: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids and inner products of the k nearest, or of all when they are fewer; best first.

        `among` (m,), ids that rise, leaves the others out.
        """
        ids = [self.tail_ids]
        scores = [self.tail @ vector] if self.tail is not None else [np.empty(0, np.float32)]
        if among is not None:
            inside = np.isin(self.tail_ids, among)  # (t,)
            ids, scores = [self.tail_ids[inside]], [scores[0][inside]]
        if wanted := min(k, self.in_file, self.in_file if among is None else len(among)):
            assert self.faiss is not None
            options = None if among is None else self._only(among)
            found_scores, found = self.faiss.search(  # (1, wanted) each
                vector[None, :], wanted, params=options
            )
            ids.append(found[0][found[0] >= 0])  # FAISS pads with -1 what it did not find
            scores.append(found_scores[0][found[0] >= 0])
        all_ids, all_scores = np.concatenate(ids), np.concatenate(scores)
        order = np.lexsort((all_ids, -all_scores))[:k]
        return all_ids[order], all_scores[order]

    def _only(self, ids: NDArray[np.int64]) -> Any:
        """Makes FAISS look at these alone, and then at all of them: few may lie in its cells."""
        import faiss

        assert self.faiss is not None
        wanted = np.zeros(int(ids[-1]) + 1, dtype=bool)
        wanted[ids] = True
        library: Any = faiss  # its types don't know these
        selector = library.IDSelectorBitmap(np.packbits(wanted, bitorder="little"))
        inner = library.downcast_index(self.faiss.index)
        if isinstance(inner, faiss.IndexIVF):
            return library.SearchParametersIVF(sel=selector, nprobe=inner.nlist)
        return library.SearchParameters(sel=selector)

    def file_vectors(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids (n,) and vectors (n, dimension) as FAISS holds them."""
        import faiss

        if self.faiss is None:
            return np.empty(0, np.int64), np.empty((0, 0), np.float32)
        ids = faiss.vector_to_array(self.faiss.id_map)
        return ids, self.faiss.reconstruct_batch(ids)


Portions = Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]]


def build(
    portions: Callable[[], Portions], count: int, *, catalog: str, generation: int
) -> VectorIndex:
    """A FAISS index of `count` vectors, without a tail.

    `portions` gives them from the start each time: ids (n,) that rise and vectors (n, dimension).
    """
    import faiss

    if not count:
        return VectorIndex(catalog=catalog, generation=generation)
    _, first = next(iter(portions()))
    index = choose(count, first.shape[1])
    if not index.is_trained:
        cells: Any = index
        step = max(1, count // (SAMPLE * cells.nlist))
        index.train(np.concatenate([vectors[::step] for _, vectors in portions()]))
    mapped = faiss.IndexIDMap2(index)
    last = 0
    for ids, vectors in portions():
        mapped.add_with_ids(vectors, ids)
        last = int(ids[-1])
    return VectorIndex(mapped, last_in_file=last, catalog=catalog, generation=generation)


@dataclass(frozen=True, slots=True)
class Footer:
    """What the file holds."""

    catalog: str = ""
    generation: int = 0  # of the catalog
    last: int = 0  # id
    count: int = 0  # vectors
    checksum: int = 0  # CRC-32 of all that stands before the footer


def save(path: Path, index: VectorIndex) -> None:
    """Writes what FAISS holds, whole or not at all. Raises OSError."""
    import faiss

    partial = path.with_name(path.name + ".partial")
    checksum = 0
    try:
        with partial.open("wb") as file:

            def write(block: bytes) -> int:
                nonlocal checksum
                checksum = zlib.crc32(block, checksum)
                return file.write(block)

            if index.faiss is not None:
                writer = faiss.PyCallbackIOWriter(write)  # type: ignore[attr-defined]
                faiss.write_index(index.faiss, writer)
            facts = (index.generation, index.last_in_file, index.in_file, checksum)
            footer = _FOOTER.pack(_MAGIC, index.catalog.encode(), *facts)
            file.write(footer + _CHECKSUM.pack(zlib.crc32(footer)))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):  # the disk may be full: leave it no fuller
            partial.unlink()
        raise


def load(path: Path) -> VectorIndex:
    """What the file holds; an empty index when there is no file or it isn't whole."""
    import faiss

    flags = 0 if os.name == "nt" else faiss.IO_FLAG_MMAP_IFC  # Windows can't replace mapped files
    try:
        while True:
            with path.open("rb") as file:
                footer = _read_footer(file)
                if footer is None or footer.checksum != _checksum_before_footer(file):
                    return VectorIndex()
                index = faiss.read_index(str(path), flags) if footer.count else None
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    break  # else it was replaced meanwhile
    except (OSError, RuntimeError):
        return VectorIndex()
    return VectorIndex(
        cast("faiss.IndexIDMap2 | None", index),
        last_in_file=footer.last,
        catalog=footer.catalog,
        generation=footer.generation,
    )


def describe(path: Path) -> Footer:
    """What the file says it holds, in a time that doesn't grow with it; an empty one as `load`."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return _read_footer(file) or Footer()
    return Footer()


def _read_footer(file: BinaryIO) -> Footer | None:
    """None unless it is whole."""
    start = file.seek(0, os.SEEK_END) - _FOOTER.size - _CHECKSUM.size
    if start < 0:
        return None
    file.seek(start)
    footer = file.read(_FOOTER.size)
    magic, catalog, *facts = _FOOTER.unpack(footer)
    if magic != _MAGIC or _CHECKSUM.unpack(file.read()) != (zlib.crc32(footer),):
        return None
    return Footer(catalog.decode(), *facts)


def _checksum_before_footer(file: BinaryIO) -> int:
    left = file.seek(0, os.SEEK_END) - _FOOTER.size - _CHECKSUM.size
    file.seek(0)
    checksum = 0
    while left and (block := file.read(min(_BLOCK, left))):
        checksum, left = zlib.crc32(block, checksum), left - len(block)
    return checksum
