"""Reads documents in a process of its own, so that a hostile file costs a reason and not the run.

The process is started when first needed, is used again, and is replaced when it dies, overruns
its limits or has read DOCUMENTS of them. Every call is bounded by SECONDS and, where the system
has such limits, by MEMORY. Not for plain UTF-8 text, which needs no parser (`documents`).
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from index.errors import DocumentError
from index.formats import Extract, extract

SECONDS = 60.0  # for one document
MEMORY = 1024 * 2**20  # bytes of address space, the interpreter's included
DOCUMENTS = 500  # until the process is replaced: parsers leak
_OUT_OF_MEMORY = 77  # exit status

_LENGTH = struct.Struct(">Q")


class Worker:
    """A process that reads one document at a time. Threads take turns."""

    def __init__(self, *, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._seconds = seconds
        self._memory = memory
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0  # process id: after a fork the pipes belong to the other side
        self._read = 0  # documents, by this process

    def extract(self, data: bytes, suffix: str) -> Extract:
        """What `formats.extract` returns or raises, within the limits."""
        with self._lock:
            if self._owner != os.getpid():
                self._process = None
            if self._process and (self._read >= DOCUMENTS or self._process.poll() is not None):
                self._stop()
            process = self._process or self._start()
            self._read += 1
            try:
                return self._ask(process, data, suffix)
            except DocumentError:
                raise
            except BaseException:  # an interrupt: the reply would be taken for the next one's
                self._stop()
                raise

    def stop(self) -> None:
        """Ends the process; the next call starts another."""
        with self._lock:
            self._stop()

    def _ask(self, process: subprocess.Popen[bytes], data: bytes, suffix: str) -> Extract:
        overran = threading.Event()

        def end() -> None:
            overran.set()
            process.kill()

        assert process.stdin is not None and process.stdout is not None
        timer = threading.Timer(self._seconds, end)
        timer.start()
        try:
            _send(process.stdin, suffix.encode(), data)
            meta, text = _receive(process.stdout), _receive(process.stdout)
        except (OSError, EOFError):
            status = self._stop()
            raise DocumentError(self._why(status, overran=overran.is_set())) from None
        finally:
            timer.cancel()
            timer.join()
        if overran.is_set():  # just after the reply
            self._stop()
        values = json.loads(meta)
        if "error" in values:
            raise DocumentError(values["error"])
        pages = tuple(values.pop("pages"))
        return Extract(text=text.decode(), pages=pages, **values)

    def _why(self, status: int, *, overran: bool) -> str:
        """Why there was no reply."""
        if overran:
            return f"reading it takes longer than {self._seconds:g} seconds"
        if status == _OUT_OF_MEMORY:
            return f"reading it takes more than {self._memory // 2**20} MiB of memory"
        return f"the parser broke down on it (exit status {status}); it may be damaged"

    def _start(self) -> subprocess.Popen[bytes]:
        # -P and an absolute path: nothing is imported from the current folder, which may be the
        # documents' own.
        home = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join([home, *filter(None, sys.path)])
        code = f"from index.worker import serve; serve({self._memory})"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        )
        self._owner, self._read = os.getpid(), 0
        return self._process

    def _stop(self) -> int:
        """Ends the process and returns its exit status."""
        process, self._process, self._read = self._process, None, 0
        if process is None or self._owner != os.getpid():
            return 0
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(OSError):  # what is left in the buffer of a broken pipe
            process.stdin.close()
        process.stdout.close()
        try:
            return process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


_WORKER = Worker()
atexit.register(_WORKER.stop)


def extract_apart(data: bytes, suffix: str) -> Extract:
    """What `formats.extract` returns or raises, read in the worker of this process."""
    return _WORKER.extract(data, suffix)


def stop() -> None:
    """Ends the worker of this process, to free its memory; the next document starts another."""
    _WORKER.stop()


def _send(pipe: IO[bytes], *frames: bytes) -> None:
    for frame in frames:
        pipe.write(_LENGTH.pack(len(frame)))
        pipe.write(frame)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes:
    frame = _read_exactly(pipe, _LENGTH.size)
    return _read_exactly(pipe, _LENGTH.unpack(frame)[0])


def _read_exactly(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


# In the worker


def serve(memory: int) -> None:
    """Answers requests on standard input until it ends."""
    requests = sys.stdin.buffer
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what parsers print is no reply
    _limit(memory)
    while True:
        try:
            suffix, data = _receive(requests), _receive(requests)
            _set_alarm(2 * SECONDS)
            _send(replies, *_answer(data, suffix.decode()))
            _set_alarm(0)
        except EOFError:
            return
        except MemoryError:
            os._exit(_OUT_OF_MEMORY)


def _answer(data: bytes, suffix: str) -> tuple[bytes, bytes]:
    try:
        found = extract(data, suffix)
    except DocumentError as error:
        return json.dumps({"error": str(error)}).encode(), b""
    meta = {
        "title": found.title,
        "date": found.date,
        "author": found.author,
        "pages": found.pages,
    }
    return json.dumps(meta).encode(), found.text.encode()


def _set_alarm(seconds: float) -> None:
    """Ends this process after so long, should the parent have died without ending it; 0: never."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit(memory: int) -> None:
    """Bounds the memory of this process, lets go of the terminal, and writes no core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    try:
        import resource
    except ImportError:  # not POSIX
        return
    for kind, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # a lower limit is already set
            resource.setrlimit(kind, (limit, limit))
