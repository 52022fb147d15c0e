"""The bytes of one document become an Extract: its text, and what the format says about it.

Text, Markdown, HTML, PDF, DOCX and mail. The parsers meet untrusted bytes and have bugs of their
own: call `extract` through `worker`, which bounds their time and memory. Not for files that hold
several documents (`collections`), and not for what the text itself says of its title (`head`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from index.errors import DocumentError
from index.head import is_name, one_line, sound

if TYPE_CHECKING:
    from email.message import Message

    from pypdf import PdfReader

MAX_TEXT = 64 * 2**20  # characters
MAX_HTML = 8 * 2**20  # characters; its parsers take more than linear time
MAX_ELEMENTS = 100_000  # of a page whose main text is looked for, which takes time for each
MAX_DEPTH = 250  # of such a page: libxml2 drops what comes after the 256th open element
PLAIN = (".txt", ".md")
HTML = (".html", ".htm")
SUFFIXES = (*PLAIN, *HTML, ".pdf", ".docx", ".eml")
MAX_HEADER = 2_000  # characters of a mail's header; decoding takes more than linear time
FIRST_MAIL = 1970  # a mail that says it is older has a wrong date
PAGE_BREAK = "\n\n"  # between the pages of a PDF


@dataclass(frozen=True, slots=True)
class Extract:
    """What one document holds, before its first lines are looked at."""

    text: str
    title: str | None = None
    date: str | None = None  # yyyy-mm-dd
    author: str | None = None
    pages: tuple[int, ...] = ()  # where each page starts; empty where there are none


def extract(data: bytes, suffix: str) -> Extract:
    """The text of a document whose name ends in `suffix`, one of SUFFIXES.

    Raises DocumentError with the reason in plain words, and nothing else but MemoryError.
    """
    try:
        if suffix == ".pdf":
            found = _read_pdf(data)
        elif suffix == ".docx":
            found = _read_docx(data)
        elif suffix == ".eml":
            found = _read_mail(data)
        elif suffix in HTML:
            found = _read_html(decode(data, html=True))
        else:
            found = Extract(decode(data))
    except (DocumentError, MemoryError):
        raise
    except Exception as error:  # the input is untrusted, and the parsers raise what they like
        reason = f"its {suffix[1:].upper()} can't be read ({type(error).__name__})"
        raise DocumentError(f"{reason}; it may be damaged") from error
    if len(found.text) > MAX_TEXT:
        raise DocumentError(f"its text is longer than {MAX_TEXT // 2**20} Mi characters")
    if not any(map(str.isalnum, found.text)):
        hint = "; scanned pages need text recognition (OCR) first" if suffix == ".pdf" else ""
        raise DocumentError(f"it holds no text{hint}")
    return found


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


def decode(data: bytes, *, html: bool = False) -> str:
    """Bytes to text: by byte-order mark, as UTF-8, as HTML declares, or by detection.

    A byte-order mark is not part of the text. Raises DocumentError for bytes that are no text.
    """
    text = _decode_by_mark(data)
    if text is None:
        if b"\0" in data:
            raise DocumentError("it is not text: it holds NUL bytes")
        text = _decode_unmarked(data, html=html)
    if "\0" in text or len(text) - len(_CONTROL.sub("", text)) > len(text) / 50:
        raise DocumentError("it is not text: it holds too many control characters")
    return sound(text)


def is_utf8(data: bytes) -> bool:
    """Whether the bytes are UTF-8, which takes no guessing to decode."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


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


def _read_html(html: str) -> Extract:
    """Main text, title, date and author of a page, as trafilatura finds them.

    Of a page past MAX_ELEMENTS or MAX_DEPTH it is all the text that is not hidden.
    """
    import trafilatura
    from trafilatura.settings import Document as Page

    if len(html) > MAX_HTML:
        raise DocumentError(f"its HTML is longer than {MAX_HTML // 2**20} Mi characters")
    tree = trafilatura.load_html(html)
    if tree is None:
        raise DocumentError("it holds no HTML")
    if _is_too_much(tree):
        return _read_tags(html)
    _free_captions(tree)
    page = trafilatura.bare_extraction(
        tree,
        with_metadata=True,
        include_comments=False,
        favor_recall=True,
        date_extraction_params={"original_date": True, "extensive_search": False},
    )
    if not isinstance(page, Page) or not page.text:
        raise DocumentError("it holds no main text")
    return Extract(sound(page.text), one_line(page.title), page.date or None, one_line(page.author))


def _is_too_much(tree: Any) -> bool:
    """Whether an lxml tree has more elements or is deeper than main text is looked for in."""
    from lxml.etree import iterwalk

    count = depth = 0
    for event, _ in iterwalk(tree, events=("start", "end")):
        depth += 1 if event == "start" else -1
        count += event == "start"
        if count > MAX_ELEMENTS or depth > MAX_DEPTH:
            return True
    return False


def _read_tags(html: str) -> Extract:
    """The title and all the text of a page, its tags taken one by one and not as a tree."""
    tags = _Tags()
    tags.feed(html)
    tags.close()
    lines = (" ".join(line.split()) for line in "".join(tags.text).split(_BREAK))
    return Extract(sound("\n\n".join(filter(None, lines))), one_line("".join(tags.title)))


_BREAK = "\0"  # between paragraphs; no decoded text holds it
_HIDDEN = frozenset({"script", "style", "template", "noscript"})
_INLINE = frozenset("a abbr b bdi cite code em font i mark q s small span strong sub sup u".split())


class _Tags(HTMLParser):
    """Gathers what stands between the tags of a page, as far as a reader sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.title: list[str] = []
        self._hidden: str | None = None  # the tag that hides what follows

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if self._hidden is None and (tag in _HIDDEN or tag == "title"):
            self._hidden = tag
        elif tag not in _INLINE:
            self.text.append(_BREAK)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = None
        elif tag not in _INLINE:
            self.text.append(_BREAK)

    def handle_data(self, data: str) -> None:
        if self._hidden is None:
            self.text.append(data)
        elif self._hidden == "title":
            self.title.append(data)


def _free_captions(tree: Any) -> None:
    """Moves captions out of the figures of an lxml tree: trafilatura drops those whole."""
    for figure in list(tree.iter("figure")):
        for caption in list(figure.iter("figcaption")):
            caption.tag, caption.tail = "p", None
            figure.addnext(caption)


# PDF

_NO_TITLE = re.compile(
    r"microsoft \w+ - .*|untitled.*|.*\.(?:docx?|pdf|tex|dvi|indd|qxd|rtf)", re.I
)


def _read_pdf(data: bytes) -> Extract:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError

    reader = PdfReader(io.BytesIO(data))
    try:
        locked = reader.is_encrypted and not reader.decrypt("")
    except DependencyError:  # a cipher that pypdf leaves to another library
        locked = True
    if locked:
        raise DocumentError("it is encrypted; save it without a password")
    texts: list[str] = []
    pages: list[int] = []
    start = 0
    for page in reader.pages:
        pages.append(start)
        texts.append(sound(page.extract_text()))
        start += len(texts[-1]) + len(PAGE_BREAK)
        if start > MAX_TEXT:
            break  # `extract` says so
    title, author = _property(reader, "/Title"), _property(reader, "/Author")
    return Extract(
        text=PAGE_BREAK.join(texts),
        title=None if title and _NO_TITLE.fullmatch(title) else title,
        author=author if author and is_name(author) else None,
        pages=tuple(pages),
    )


def _property(reader: PdfReader, key: str) -> str | None:
    """A property of a PDF as a line of text; None for a broken one, which costs nothing else."""
    try:
        value = reader.metadata.get(key) if reader.metadata else None
        return one_line(value.get_object() if value is not None else None)
    except Exception:  # see `extract`
        return None


# DOCX


def _read_docx(data: bytes) -> Extract:
    """Paragraphs and tables of the body; no headers, footers, notes, comments or deletions."""
    import docx

    document = docx.Document(io.BytesIO(data))
    properties = document.core_properties
    author = one_line(properties.author)
    return Extract(
        text=sound("\n\n".join(_blocks(document.element.body))),
        title=one_line(properties.title),
        author=author if author and is_name(author) else None,
    )


def _tag(element: Any) -> str:
    """The name of an XML element without its namespace; "" for a comment."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _blocks(element: Any) -> Iterator[str]:
    """The paragraphs below an element, and the rows of its tables, their cells set apart by |."""
    for child in element:
        match _tag(child):
            case "p":
                yield "".join(_runs(child))
            case "tbl":
                yield "\n".join(
                    " | ".join(" ".join(_blocks(cell)) for cell in row if _tag(cell) == "tc")
                    for row in child
                    if _tag(row) == "tr"
                )
            case _:
                yield from _blocks(child)


def _runs(element: Any) -> Iterator[str]:
    """The text of a paragraph as it stands, without what was moved away or is given twice."""
    for child in element:
        match _tag(child):
            case "t":
                yield child.text or ""
            case "tab":
                yield "\t"
            case "br" | "cr" | "p":  # a paragraph in a paragraph is a text box
                yield "\n"
                yield from _runs(child)
            case "pPr" | "rPr" | "Fallback" | "moveFrom":
                pass
            case _:
                yield from _runs(child)


# Mail


def _read_mail(data: bytes) -> Extract:
    """The first plain text of a mail, else its first HTML; what is attached is left out."""
    from email import message_from_bytes, utils

    message = message_from_bytes(data)
    parts = [part for part in message.walk() if _is_text(part)]
    plain = [part for part in parts if part.get_content_subtype() == "plain"]
    texts = (_read_part(part) for part in plain or parts)
    text = next((text for text in texts if any(map(str.isalnum, text))), "")
    name, address = utils.parseaddr(_header(message, "From") or "")
    return Extract(
        text=text,
        title=_header(message, "Subject"),
        date=_mail_date(_header(message, "Date")),
        author=one_line(name) or one_line(address),
    )


def _is_text(part: Message) -> bool:
    kinds = ("text/plain", "text/html")
    return part.get_content_type() in kinds and part.get_content_disposition() != "attachment"


def _read_part(part: Message) -> str:
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return ""
    html = part.get_content_subtype() == "html"
    try:
        text = sound(data.decode(part.get_content_charset() or "utf-8"))
    except (UnicodeError, LookupError):
        text = decode(data, html=html)
    return _read_html(text).text if html else text


def _header(message: Message, name: str) -> str | None:
    """A header of a mail as a line of text, its encoded words decoded."""
    from email import errors, header

    value = str(message.get(name, ""))[:MAX_HEADER]
    try:
        return one_line(str(header.make_header(header.decode_header(value))))
    except (errors.HeaderParseError, UnicodeError, LookupError, ValueError):
        return one_line(value)


def _mail_date(value: str | None) -> str | None:
    from email import utils

    try:
        date = utils.parsedate_to_datetime(value) if value else None
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return date.date().isoformat() if date and date.year >= FIRST_MAIL else None
