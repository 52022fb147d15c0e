"""A file becomes a Document: its full text, and title, date and author where they can be read.

Reads .txt, .md and .html. Knows what stands at the head of an article: front matter, title,
byline and date lines. Not for cutting text into passages (`passages`) or for storing it
(`catalog`).
"""

from __future__ import annotations

import datetime
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from index.errors import DocumentError

SUFFIXES = (".txt", ".md", ".html", ".htm")
MAX_BYTES = 64 * 2**20  # a larger file is a data dump, not a document
HEAD_LINES = 12  # title, author and date are looked for in the first lines that aren't empty
MAX_TITLE = 200  # characters; a longer first line is a paragraph


@dataclass(frozen=True, slots=True)
class Document:
    """One file as it is cited."""

    path: str  # POSIX path relative to the synced folder
    sha256: str  # hex digest of the file's bytes
    text: str  # full extracted text; offsets count its code points; line ends as in the file
    title: str  # never empty: the file's stem where no title can be read
    date: str | None  # yyyy-mm-dd, None where it can't be told for sure
    author: str | None


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """A document without its text; the fields are those of Document."""

    path: str
    sha256: str
    title: str
    date: str | None
    author: str | None


@dataclass(frozen=True, slots=True)
class Head:
    """What the first lines of a text say about it."""

    title: str | None
    date: str | None
    author: str | None
    body: int  # where the text starts after front matter
    lines: frozenset[int]  # where bylines and date lines start; the title is not among them


def load_document(path: Path, *, name: str) -> Document:
    """Read one file. `name` is the path that citations will show; its ending picks the loader.

    Raises DocumentError with the reason in plain words.
    """
    return parse_document(read_bytes(path), name=name)


def read_bytes(path: Path) -> bytes:
    """The bytes of a regular file of at most MAX_BYTES, else DocumentError."""
    try:
        if not path.is_file():
            raise DocumentError("it is not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DocumentError(f"it can't be opened ({error.strerror})") from error
    if len(data) > MAX_BYTES:
        raise DocumentError(f"it is larger than {MAX_BYTES // 2**20} MiB")
    return data


def parse_document(data: bytes, *, name: str) -> Document:
    """The Document that these bytes hold; see `load_document`."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise DocumentError(f"its ending {suffix or '(none)'} is none of {', '.join(SUFFIXES)}")
    html = suffix in (".html", ".htm")
    text = decode(data, html=html)
    title = date = author = None
    if html:
        text, title, date, author = _extract(text)
    if not any(map(str.isalnum, text)):
        raise DocumentError("it holds no text")
    head = read_head(text)
    return Document(
        path=name,
        sha256=hashlib.sha256(data).hexdigest(),
        text=text,
        title=title or head.title or name_title(name),
        date=date or head.date,
        author=author or head.author,
    )


def name_title(name: str) -> str:
    """The title of a document that has no other: its file's stem."""
    return _SURROGATE.sub("\ufffd", PurePosixPath(name).stem)


# Bytes to text

_BYTE_ORDER_MARKS = (  # UTF-32 first: its mark starts with that of UTF-16
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.I)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def decode(data: bytes, *, html: bool = False) -> str:
    """Bytes to text: by byte-order mark, as UTF-8, as HTML declares, or by detection.

    A byte-order mark is not part of the text. Raises DocumentError for bytes that are no text.
    """
    text = _decode_by_mark(data)
    if text is None:
        if b"\0" in data:
            raise DocumentError("it is not text: it holds NUL bytes")
        text = _decode_unmarked(data, html=html)
    if "\0" in text or len(_CONTROL.findall(text)) > len(text) / 50:
        raise DocumentError("it is not text: it holds too many control characters")
    return _SURROGATE.sub("\ufffd", text)


def _decode_by_mark(data: bytes) -> str | None:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                if encoding == "utf-8":
                    return None
                reason = f"its byte-order mark says {encoding}, which its bytes are not"
                raise DocumentError(reason) from error
    return None


def _decode_unmarked(data: bytes, *, html: bool) -> str:
    encodings = ["utf-8"]
    if html and (declared := _META_CHARSET.search(data[:4096])):
        name = declared[1].decode("ascii").lower()
        # browsers read both of these as Windows-1252, and so do the authors of such pages
        encodings.append("cp1252" if name in ("iso-8859-1", "us-ascii") else name)
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except (UnicodeError, LookupError):
            continue
    return _decode_by_detection(data)


def _decode_by_detection(data: bytes) -> str:
    import charset_normalizer

    matches = charset_normalizer.from_bytes(data)
    best = matches.best()
    if best is None:
        raise DocumentError("its encoding can't be told; save it as UTF-8")
    # Short texts fit many encodings equally well; of those Windows-1252 is the one in use.
    for match in matches:
        if "cp1252" in match.could_be_from_charset and match.coherence >= best.coherence:
            return data.decode("cp1252")
    return str(best)


# HTML


def _extract(html: str) -> tuple[str, str | None, str | None, str | None]:
    """Main text, title, date and author of a page, as trafilatura finds them."""
    import trafilatura
    from trafilatura.settings import Document as Page

    try:
        tree = trafilatura.load_html(html)
        if tree is None:
            raise DocumentError("it holds no HTML")
        _free_captions(tree)
        page = trafilatura.bare_extraction(
            tree,
            with_metadata=True,
            include_comments=False,
            favor_recall=True,
            date_extraction_params={"original_date": True, "extensive_search": False},
        )
    except DocumentError:
        raise
    except Exception as error:  # a page is untrusted input, and the parsers raise what they like
        raise DocumentError(f"its HTML can't be read ({type(error).__name__})") from error
    if not isinstance(page, Page) or not page.text:
        raise DocumentError("it holds no main text")
    text = _SURROGATE.sub("\ufffd", page.text.replace("\0", "\ufffd"))
    return text, _one_line(page.title), page.date or None, _one_line(page.author)


def _free_captions(tree: Any) -> None:
    """Moves captions out of the figures of an lxml tree: trafilatura drops those whole."""
    for figure in list(tree.iter("figure")):
        for caption in list(figure.iter("figcaption")):
            caption.tag, caption.tail = "p", None
            figure.addnext(caption)


def _one_line(value: object) -> str | None:
    """A metadata value as a single line; None where there is none that could be one."""
    if isinstance(value, list):
        value = ", ".join(item for item in value if isinstance(item, str))
    line = " ".join(_SURROGATE.sub("\ufffd", value).split()) if isinstance(value, str) else ""
    return line[:MAX_TITLE] or None


# The head of an article

_LINE = re.compile(r"[^\r\n]+")
_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.{0,10000}?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.S)
_HEADING = re.compile(r"#[ \t]+(.*?)[ \t#]*")
_HEADLINE = re.compile(r"[\w\"'\u2018\u201c\xab(\[].*[^.,;:]|\w")
_LINK = re.compile(r"\W*(?:https?://|www\.)\S+")
_BYLINE = re.compile(
    r"(?P<label>(?:(?:written|story|words) )?by|authors?:)[: \t]+(?P<name>.+)", re.I
)
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_DATE = re.compile(
    rf"\b(?:(?P<iso>\d{{4}}-\d\d-\d\d)(?:T[\d:.]+Z?)?|\d{{1,2}}([/.])\d{{1,2}}\2\d{{4}}"
    rf"|{_DAY} {_MONTH},? \d{{4}}|{_MONTH} {_DAY},? \d{{4}})\b",
    re.I,
)
_DATE_LABEL = re.compile(
    r"\b(?:date|dated|(?:first )?published|posted|issued|released|(?:last )?(?:updated|modified))"
    r"(?: (?:on|at))?\b:?",
    re.I,
)
_BESIDE_DATE = re.compile(  # weekday and time of day
    r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b"
    r"|\b(?:at )?\d{1,2}(?:[:.]\d\d){1,2}(?: ?[ap]\.?m\.?)?(?: [A-Z]{2,4}\b)?"
    r"|\b(?:at )?\d{1,2} ?[ap]\.?m\b\.?",
    re.I,
)
_SMALL_WORDS = frozenset({"and", "al", "bin", "da", "de", "del", "der", "di", "la", "van", "von"})


def read_head(text: str) -> Head:
    """Front matter, title, byline and date lines of a text, from its first HEAD_LINES lines."""
    body, meta = _read_front_matter(text)
    lines = _head_lines(text, body)
    title = _read_title([line for _, line in lines])
    clutter, dates, authors = set(), [], []
    for (start, line), (_, following) in zip(lines, [*lines[1:], (0, "")], strict=True):
        line, following = bare(line), bare(following)
        date, author = read_date_line(line), _read_byline(line)
        if author is None and line != title and is_name(line) and is_date_line(following):
            author = line  # a name by itself, with the date below it
        if date is not None or author is not None:
            clutter.add(start)
            dates += [date] if date else []
            authors += [author] if author else []
    return Head(
        title=meta.get("title") or title,
        date=meta.get("date") or next(iter(dates), None),
        author=meta.get("author") or next(iter(authors), None),
        body=body,
        lines=frozenset(clutter),
    )


def bare(line: str) -> str:
    """A line without the white space, emphasis, heading and quotation marks of Markdown."""
    return line.strip().strip("*_#>").strip()


def is_links(line: str) -> bool:
    """Whether a line holds links and nothing else."""
    return all(_LINK.fullmatch(word) for word in line.split())


def is_name(text: str) -> bool:
    """Whether a text is two to four capitalised words, as a person's name is."""
    words = text.split()
    return (
        2 <= len(words) <= 4
        and _capitalised(words)
        and re.search(r"[^\w\s.'\u2019-]", text) is None
    )


def is_date_line(line: str) -> bool:
    """Whether a line holds a date or its label, perhaps with a place, and nothing else."""
    return read_date_line(line) is not None


def read_date_line(line: str) -> str | None:
    """The date (yyyy-mm-dd) of a date line; None for any other line.

    It is "" for a date line whose date isn't certain, as `4/5/2022`, or stands elsewhere, as
    that of `Updated:`.
    """
    if len(line) > MAX_TITLE:
        return None
    dates = list(_DATE.finditer(line))
    rest = _BESIDE_DATE.sub(" ", _DATE.sub(" ", line))
    unlabelled = _DATE_LABEL.sub(" ", rest)
    labelled = unlabelled != rest
    words = re.findall(r"\w[\w.'\u2019-]*", unlabelled)
    if not dates:
        return "" if labelled and not words and line.endswith(":") else None
    if len(dates) > 1 and not labelled:
        return None
    return _iso_date(dates[0]) or "" if len(words) <= 6 and _capitalised(words) else None


def _capitalised(words: list[str]) -> bool:
    return all(word[0].isupper() or word in _SMALL_WORDS for word in words)


def _iso_date(match: re.Match[str]) -> str | None:
    """yyyy-mm-dd, or None for a day that doesn't exist or can be read in two ways."""
    from dateutil import parser

    try:
        if match["iso"]:
            return datetime.date.fromisoformat(match["iso"]).isoformat()
        readings = {parser.parse(match[0], dayfirst=order).date() for order in (False, True)}
    except (ValueError, OverflowError):
        return None
    return readings.pop().isoformat() if len(readings) == 1 else None


def _read_byline(line: str) -> str | None:
    """The author that a line such as `By Jane Doe | 28 April 2022` names."""
    match = _BYLINE.fullmatch(_DATE.sub(" ", line)) if len(line) <= MAX_TITLE else None
    if match is None:
        return None
    name = re.split(r"[|•·(\u2013\u2014]|\s-\s", match["name"])[0].strip(" ,;")
    words = re.findall(r"[^\s,;&]+", name)
    enough = 1 if match["label"].lower().startswith("author") else 2
    return name if enough <= len(words) <= 12 and _capitalised(words) else None


def _read_title(lines: list[str]) -> str | None:
    """The first `# Heading`, else the first line that looks like a headline."""
    for line in lines:
        if (heading := _HEADING.fullmatch(line)) and bare(heading[1]):
            return bare(heading[1])[:MAX_TITLE]
    for place, line in enumerate(map(bare, lines)):
        nameless = is_date_line(line) or is_links(line) or _read_byline(line)
        if nameless or not any(map(str.isalnum, line)):
            continue
        goes_on = place + 1 < len(lines) and lines[place + 1][:1].islower()
        looks = _HEADLINE.fullmatch(line) is not None
        return line if looks and not goes_on and len(line) <= MAX_TITLE else None
    return None


def _head_lines(text: str, body: int) -> list[tuple[int, str]]:
    """Where the first lines start, and how they begin; empty ones left out."""
    lines: list[tuple[int, str]] = []
    for match in _LINE.finditer(text, body):
        if match[0].strip():
            lines.append((match.start(), match[0].strip()[: 2 * MAX_TITLE]))
        if len(lines) == HEAD_LINES:
            break
    return lines


def _read_front_matter(text: str) -> tuple[int, dict[str, str]]:
    """Where the text after YAML front matter starts, and the front matter's title and so on."""
    match = _FRONT_MATTER.match(text)
    if match is None:
        return 0, {}
    import yaml

    try:
        values = yaml.safe_load(match[1])
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        return 0, {}
    if not isinstance(values, dict) or any(" " in str(key) for key in values):
        return 0, {}  # a text between two rules
    meta = {key: _one_line(values.get(key)) for key in ("title", "author")}
    meta["date"] = _front_matter_date(values.get("date"))
    return match.end(), {key: value for key, value in meta.items() if value}


def _front_matter_date(value: object) -> str | None:
    if isinstance(value, datetime.date):  # a datetime is one, too
        return value.strftime("%Y-%m-%d") if value.year >= 1000 else None
    match = _DATE.search(value) if isinstance(value, str) else None
    return _iso_date(match) if match else None
