"""Which generation of an index is in use, and which one it can go back to.

An index begins in its own folder. A rebuild makes the next generation in a folder of its own
inside, `generation-1` and so on, and a small file names the one in use and the one before. That
file is replaced whole, so that whoever looks finds either the old one or the new one. Not for
what a generation holds (`catalog`, `vectors`) or for making one (`rebuild`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from index.errors import IndexUnavailable, IndexUnreadable
from index.vectors import VECTORS_NAME

POINTER_NAME = "generations.json"
CATALOG_NAME = "catalog.sqlite"
FIRST = "."  # the generation that an index begins with lies in its own folder
REMEDY = "`readback sync FOLDER --rebuild` makes it anew"

_NAME = re.compile(r"generation-([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Generations:
    """Folders inside that of the index."""

    in_use: str = FIRST
    before: str | None = None  # what a rollback brings back; None when there is none


def look(folder: Path) -> Generations:
    """The generations of an index. Raises IndexUnavailable when that can't be told."""
    path = folder / POINTER_NAME
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Generations()
    except OSError as error:
        raise IndexUnavailable(
            f"{path} can't be read ({error.strerror}); check its permissions"
        ) from error
    try:
        found = Generations(**json.loads(text))
        known = _is_name(found.in_use) and (found.before is None or _is_name(found.before))
    except (ValueError, TypeError):
        known = False
    if not known:
        raise IndexUnreadable(f"{path} is damaged; {REMEDY}")
    return found


@contextmanager
def building(folder: Path) -> Iterator[str]:
    """A name for the next generation, which is in use when nothing was raised.

    The one before it stays, all others go. The caller holds the writer's lock.
    """
    before = None
    with suppress(IndexUnreadable):
        in_use = look(folder).in_use
        before = in_use if (folder / in_use / CATALOG_NAME).exists() else None
    numbers = [int(found[1]) for path in folder.iterdir() if (found := _NAME.fullmatch(path.name))]
    name = f"generation-{max(numbers, default=0) + 1}"
    try:
        yield name
        _put(folder, Generations(name, before))
    finally:
        clean(folder)


def swap(folder: Path) -> None:
    """Puts the generation before in use again, and keeps the other. The caller holds the lock."""
    found = look(folder)
    if found.before is None:
        raise IndexUnavailable(f"the index {folder} has no generation before; a rebuild keeps one")
    _put(folder, Generations(found.before, found.in_use))


def clean(folder: Path) -> None:
    """Removes what is of no generation in use or before. The caller holds the writer's lock."""
    try:
        found = look(folder)
    except IndexUnavailable:  # then nothing is surely of no use
        return
    used = {found.in_use, found.before}
    with suppress(OSError):  # what stays does no harm; the next writer tries again
        (folder / f"{POINTER_NAME}.partial").unlink(missing_ok=True)
        for path in list(folder.iterdir()):
            if _NAME.fullmatch(path.name) and path.name not in used:
                shutil.rmtree(path, ignore_errors=True)
            elif FIRST not in used and path.name.startswith((CATALOG_NAME, VECTORS_NAME)):
                path.unlink()


def unwritable(folder: Path, error: OSError) -> IndexUnavailable:
    """The error for an index folder that can't be written."""
    return IndexUnavailable(
        f"the index folder {folder} can't be written ({error.strerror});"
        " check its permissions and the space on the disk, or name another folder"
    )


def _is_name(name: object) -> bool:
    return isinstance(name, str) and (name == FIRST or bool(_NAME.fullmatch(name)))


def _put(folder: Path, generations: Generations) -> None:
    """Writes which they are, whole or not at all, once the generation in use is on the disk."""
    partial = folder / f"{POINTER_NAME}.partial"
    try:
        _flush(folder / generations.in_use)
        with partial.open("w", encoding="utf-8") as file:
            json.dump(asdict(generations), file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / POINTER_NAME)
    except OSError as error:
        raise unwritable(folder, error) from error
    _flush(folder)


def _flush(folder: Path) -> None:
    """Has the names in a folder written to the disk, on systems that can be told to."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
