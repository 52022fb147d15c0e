"""What the first lines of an article say about it: front matter, title, byline and date lines.

Not for what a format states in fields of its own, as HTML or a mail does (`formats`).
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

HEAD_LINES = 12  # title, author and date are looked for in the first lines that aren't empty
MAX_TITLE = 200  # characters; a longer first line is a paragraph


@dataclass(frozen=True, slots=True)
class Head:
    """What the first lines of a text say about it."""

    title: str | None
    date: str | None
    author: str | None
    body: int  # where the text starts after front matter
    lines: frozenset[int]  # where bylines and date lines start; the title is not among them


_SURROGATE = re.compile(r"[\ud800-\udfff]")
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
    for (start, line), (_, following) in zip(lines, [*lines, (0, "")][1:], strict=True):
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


def sound(text: str) -> str:
    """A text that UTF-8 can hold and a terminal show: no lone surrogates, no NUL."""
    return _SURROGATE.sub("\ufffd", text.replace("\0", "\ufffd"))


def one_line(value: object) -> str | None:
    """A metadata value as a single line; None where there is none that could be one."""
    if isinstance(value, list):
        value = ", ".join(item for item in value if isinstance(item, str))
    line = " ".join(sound(value).split()) if isinstance(value, str) else ""
    return line[:MAX_TITLE] or None


def bare(line: str) -> str:
    """A line without the white space, emphasis, heading and quotation marks of Markdown."""
    return line.strip().strip("*_#>").strip()


def is_links(line: str) -> bool:
    """Whether a line holds links and nothing else."""
    if "//" not in line and "www." not in line:  # most lines by far
        return not line.strip()
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
        # Not a text between two rules. A key may be a number that is too long to write.
        is_meta = isinstance(values, dict) and not any(" " in str(key) for key in values)
    except Exception:  # it is untrusted input, and the parser raises what it likes
        return 0, {}
    if not is_meta:
        return 0, {}
    meta = {key: one_line(values.get(key)) for key in ("title", "author")}
    meta["date"] = read_date(values.get("date"))
    return match.end(), {key: value for key, value in meta.items() if value}


def read_date(value: object) -> str | None:
    """The date (yyyy-mm-dd) that a field of metadata holds; None where it isn't certain."""
    if isinstance(value, datetime.date):  # a datetime is one, too
        return value.strftime("%Y-%m-%d") if value.year >= 1000 else None
    match = _DATE.search(value[:MAX_TITLE]) if isinstance(value, str) else None
    return _iso_date(match) if match else None
