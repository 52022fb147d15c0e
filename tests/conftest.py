"""The real embedder and the real reader, loaded once; a synced index; threads that ask."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from benchmarks.crash import HashEmbedder
from index import Embedder, PassageIndex, load_embedder
from qa import Reader

PATIENCE = 300.0  # seconds until a wait is given up


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return load_embedder()


@pytest.fixture(scope="session")
def reader() -> Reader:
    return Reader.load()


@pytest.fixture
def opened(folder: Path, tmp_path: Path) -> Iterator[PassageIndex]:
    """An index of the test's folder with a quick embedder, unless the module has its own."""
    with PassageIndex.open(tmp_path / "index", embedder=HashEmbedder()) as opened:
        opened.sync(folder)
        yield opened


@pytest.fixture
def asked_meanwhile() -> Callable[..., AbstractContextManager[None]]:
    """`with asked_meanwhile(ask, 8):` has 8 threads call `ask(number)` again and again, at least
    once each, while the block runs; no error may come of it."""
    return ask_in_threads


@contextmanager
def ask_in_threads(ask: Callable[[int], None], askers: int) -> Iterator[None]:
    errors: list[BaseException] = []
    done = threading.Event()
    started = threading.Barrier(askers + 1)

    def go_on(number: int) -> None:
        try:
            started.wait(PATIENCE)
            ask(number)
            while not done.is_set():
                ask(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=go_on, args=(number,)) for number in range(askers)]
    for thread in threads:
        thread.start()
    try:
        started.wait(PATIENCE)
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
    assert errors == []
