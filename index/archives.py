"""Files that hold several documents: mailboxes, tables of articles, zip archives.

Takes them apart into members and reads none of those (`documents` does). Everything here is
bounded by the size of the file, or for zip archives by the limits below.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from index.errors import DocumentError
from index.formats import Extract, decode
from index.head import one_line, read_date, sound

SUFFIXES = (".mbox", ".csv", ".zip")
MAX_ENTRIES = 50_000  # in the list of a zip archive
MAX_MEMBER_BYTES = 64 * 2**20  # of a zip archive's member, unpacked
MAX_UNPACKED_BYTES = 512 * 2**20  # of a zip archive's members together
MAX_RATIO = 100  # unpacked to packed; text packs 3 to 20 times
RATIO_FROM = 2**20  # bytes; smaller members may have any ratio
MAX_NAME = 1_000  # characters of a member's name


@dataclass(frozen=True, slots=True)
class Member:
    """One document in a file: its bytes, what is known of it without them, or why it is skipped."""

    name: str  # with that of the file: news.zip/a.txt, mail.mbox#3, articles.csv#12
    suffix: str  # its ending, by which its bytes are read
    content: bytes | Extract | DocumentError


def members(data: bytes, name: str) -> Iterator[Member]:
    """The documents in a file whose name ends with one of SUFFIXES.

    Raises DocumentError for a file that can't be taken apart.
    """
    suffix = PurePosixPath(name).suffix.lower()
    split = {".mbox": _split_mailbox, ".csv": _split_table, ".zip": _split_zip}[suffix]
    return split(data, name)


# Mailboxes (RFC 4155, with the quoting of mboxrd)

_FROM = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))From [^\n]*(?:\n|\Z)")
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.M)


def _split_mailbox(data: bytes, name: str) -> Iterator[Member]:
    """The mails of a mailbox, numbered from 1."""
    start = None
    number = 0
    for match in _FROM.finditer(data):
        if start is not None:
            number += 1
            yield _mail(data[start : match.start()], name, number)
        start = match.end()
    if start is None:
        raise DocumentError('it is no mailbox: it does not start with "From "')
    yield _mail(data[start:], name, number + 1)


def _mail(data: bytes, name: str, number: int) -> Member:
    return Member(f"{name}#{number}", ".eml", _QUOTED_FROM.sub(rb"\1", data))


# Tables of articles (RFC 4180)

_WANTED = ("text", "title", "date", "author")
_MAX_HEADER = 10_000  # characters


def _split_table(data: bytes, name: str) -> Iterator[Member]:
    """The articles of a table, numbered as its rows are, the first below the header being 1."""
    text = decode(data)
    header = text[:_MAX_HEADER].lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    csv.field_size_limit(MAX_MEMBER_BYTES)  # of the whole process; the default is 128 KiB
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        columns = [column.strip().lower() for column in next(rows, [])]
        if "text" not in columns:
            raise DocumentError(
                'it has no column named "text"; its first row must name the columns'
                f" ({', '.join(_WANTED)})"
            )
        for number, row in enumerate(rows, start=1):
            if any(row):
                article = _article(dict(zip(columns, row, strict=False)))
                yield Member(f"{name}#{number}", "", article)
    except csv.Error as error:
        raise DocumentError(f"its table can't be read ({error})") from error


def _article(row: dict[str, str]) -> Extract | DocumentError:
    text = sound(row.get("text", ""))
    if not any(map(str.isalnum, text)):
        return DocumentError("it holds no text")
    return Extract(
        text=text,
        title=one_line(row.get("title")),
        date=read_date(row.get("date")),
        author=one_line(row.get("author")),
    )


# Zip archives

_STORED_NAME = b"PK\x01\x02"  # marks each entry of a zip archive's list of members
_ENCRYPTED = 0x1


def _split_zip(data: bytes, name: str) -> Iterator[Member]:
    """The members of an archive, folders and hidden ones left out."""
    if data.count(_STORED_NAME) > MAX_ENTRIES:  # before anything is made of the list
        raise DocumentError(f"it holds more than {MAX_ENTRIES:,} files; split it")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except Exception as error:  # untrusted input: BadZipFile, and what else struct may raise
        raise DocumentError(f"it can't be unpacked ({type(error).__name__})") from error
    seen: set[str] = set()
    unpacked = 0
    for info in archive.infolist():
        inner = _inner_name(info.filename)
        if info.is_dir() or inner is None:
            continue
        unpacked += info.file_size
        try:
            if inner in seen:
                raise DocumentError("another file in the archive has that name")
            if unpacked > MAX_UNPACKED_BYTES:
                raise DocumentError(
                    f"the archive unpacks to more than {MAX_UNPACKED_BYTES // 2**20} MiB"
                )
            content: bytes | DocumentError = _unpack(archive, info)
        except DocumentError as error:
            content = error
        seen.add(inner)
        yield Member(f"{name}/{inner}", PurePosixPath(inner).suffix.lower(), content)


def _inner_name(name: str) -> str | None:
    """A member's name without steps up or from the root; None where it is hidden or is nothing."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if not parts or any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return None
    return sound("/".join(parts))[:MAX_NAME]


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The bytes of a member, never more than it declares."""
    if info.filename.lower().endswith(".zip"):
        raise DocumentError("it is an archive within an archive; unpack it")
    if info.flag_bits & _ENCRYPTED:
        raise DocumentError("it is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DocumentError("it is packed in a way that is not read; use the usual one (deflate)")
    if info.file_size > MAX_MEMBER_BYTES:
        raise DocumentError(f"it is larger than {MAX_MEMBER_BYTES // 2**20} MiB unpacked")
    if info.file_size > max(RATIO_FROM, MAX_RATIO * info.compress_size):
        raise DocumentError(f"it unpacks to more than {MAX_RATIO} times its size")
    try:
        with archive.open(info) as file:
            return file.read(info.file_size)
    except Exception as error:  # untrusted input: a wrong checksum, a torn stream, a wrong place
        raise DocumentError(f"it can't be unpacked ({type(error).__name__})") from error
