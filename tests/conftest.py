"""The real embedder and the real reader, loaded once."""

import pytest

from index import Embedder, load_embedder
from qa import Reader


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return load_embedder()


@pytest.fixture(scope="session")
def reader() -> Reader:
    return Reader.load()
