"""Reads 1,000 damaged and hostile files: ``python -m benchmarks.damaged``.

Cut, bit-flipped, renamed and stirred files of every format, zip bombs, deeply nested HTML, PDFs
that point at themselves, mails within mails, lines of 10 MB. Each must give documents or a reason,
and cut into passages that are slices. The files are made anew each time, the same for one seed.
"""

import argparse
import base64
import io
import random
import sys
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import chain

from tqdm import tqdm

from index import worker
from index.documents import MAX_SECONDS, SUFFIXES, parse_documents
from index.errors import DocumentError
from index.passages import split_passages
from tests.test_documents import ARTICLE, PAGE
from tests.test_formats import FIRST, SECOND, make_csv, make_docx, make_mail, make_pdf, make_zip

LINE = 10_000_000  # characters
BIG = 120 * 2**20  # bytes that a bomb unpacks to
RARE = 250  # of so many files one is a line of 10 MB

Random = random.Random
File = tuple[str, bytes]  # ending and bytes


def good_files() -> dict[str, bytes]:
    mail = make_mail(html=PAGE).as_bytes()
    return {
        ".txt": ARTICLE.encode(),
        ".md": b"---\ntitle: A\ndate: 2022-04-28\n---\n# A\n\n" + ARTICLE.encode(),
        ".html": PAGE.encode(),
        ".pdf": make_pdf(FIRST, SECOND, FIRST, info="/Title (A)"),
        ".docx": make_docx(),
        ".eml": mail,
        ".mbox": (b"From a\n" + mail + b"\n") * 3,
        ".csv": make_csv([["title", "text"], ["A", FIRST], ["B", SECOND]]),
        ".zip": make_zip({"a.txt": FIRST.encode(), "b.pdf": make_pdf(SECOND), "c.html": b"<p>"}),
    }


GOOD = good_files()


def cut(chance: Random) -> File:
    suffix, data = chance.choice([*GOOD.items()])
    return suffix, data[: chance.randrange(len(data))]


def flipped(chance: Random) -> File:
    suffix, good = chance.choice([*GOOD.items()])
    data = bytearray(good)
    for _ in range(chance.choice([1, 4, 16, 64])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return suffix, bytes(data)


def renamed(chance: Random) -> File:
    return chance.choice(SUFFIXES), chance.choice([*GOOD.values()])


def stirred(chance: Random) -> File:
    """Blocks swapped, doubled or zeroed."""
    suffix, data = chance.choice([*GOOD.items()])
    size = chance.choice([16, 128, 512])
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    for _ in range(3):
        here, there = chance.randrange(len(blocks)), chance.randrange(len(blocks))
        blocks[here] = chance.choice([blocks[there], 2 * blocks[here], bytes(size)])
    return suffix, b"".join(blocks)


def noise(chance: Random) -> File:
    suffix, good = chance.choice([*GOOD.items()])
    return suffix, good[: chance.choice([0, 8, 64])] + chance.randbytes(chance.choice([9, 20_000]))


def nested_html(chance: Random) -> File:
    depth = 10 ** chance.randrange(2, 6)
    tag = chance.choice(["div", "b", "table><tr><td", "ul><li", "blockquote", "svg", "p><i"])
    end = chance.choice(["", f"</{tag}>" * depth])
    return ".html", f"<html><body>{f'<{tag}>' * depth}{FIRST}{end}".encode()


def docx_bomb() -> bytes:
    buffer = io.BytesIO(GOOD[".docx"])
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/media/image1.xml", b"<w:p/>" * (BIG // 6))
    return buffer.getvalue()


BOMB, DOCX_BOMB = make_zip({"a.txt": b" " * BIG}), docx_bomb()


def bomb(chance: Random) -> File:
    """Archives and DOCX that unpack to much more than they are, or say less than they hold."""
    match chance.randrange(6):
        case 0:
            return ".zip", BOMB
        case 1:
            return ".zip", make_zip({f"{n}.zip": BOMB for n in range(5)})
        case 2:  # the size that it declares
            size = BIG.to_bytes(4, "little")
            return ".zip", BOMB.replace(size, (1000).to_bytes(4, "little"))
        case 3:
            return ".zip", make_zip({f"{n}.txt": bytes([n % 256]) * 900 for n in range(1_000)})
        case 4:  # a list of members without members
            return ".zip", b"PK\x01\x02" * 100_000 + BOMB
        case _:
            return ".docx", DOCX_BOMB


def hostile_pdf(chance: Random) -> File:
    good = GOOD[".pdf"]
    match chance.randrange(5):
        case 0:  # a tree of pages that holds itself
            return ".pdf", good.replace(b"/Kids [4 0 R", b"/Kids [2 0 R")
        case 1:
            return ".pdf", good.replace(b"/Count 3", b"/Count 999999999")
        case 2:
            return ".pdf", make_pdf(FIRST, info="/Title " + "[" * 50_000)
        case 3:  # content that is a page
            return ".pdf", good.replace(b"/Contents 5 0 R", b"/Contents 4 0 R")
        case _:
            return ".pdf", make_pdf("a) Tj " + "q " * chance.choice([10_000, 300_000]) + "(b")


def hostile_mail(chance: Random) -> File:
    match chance.randrange(4):
        case 0:
            depth = chance.choice([100, 2_000])
            head = b"".join(
                b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n)
                for n in range(depth)
            )
            return ".eml", head + b"\n" + FIRST.encode()
        case 1:
            return ".eml", b"A: b\n" * 200_000 + b"\nWords."
        case 2:
            return ".eml", b"Subject: " + b"=?utf-8?q?a?= " * 50_000 + b"\n\nWords."
        case _:
            return ".mbox", b"From \n\n" * 1_000


def long_line(chance: Random) -> File:
    text = chance.choice(["x" * LINE, "word " * (LINE // 5), "<b>" * (LINE // 3)])
    if chance.randrange(2):
        text = base64.b64encode(chance.randbytes(LINE // 40)).decode() + text
    return chance.choice([".txt", ".html", ".csv", ".eml"]), f"text\n{text}".encode()


COMMON: tuple[Callable[[Random], File], ...] = (
    cut,
    flipped,
    renamed,
    stirred,
    noise,
    nested_html,
    bomb,
    hostile_pdf,
    hostile_mail,
)


def damaged_file(number: int, seed: int) -> tuple[str, str, bytes]:
    """What was done to the file, its name, and its bytes."""
    rare = number % RARE == RARE - 1
    make = long_line if rare else COMMON[number % len(COMMON)]
    suffix, data = make(Random(f"{seed}/{number}"))
    return make.__name__, f"{number}{suffix}", data


def read(name: str, data: bytes) -> list[str]:
    """The reasons why the file or parts of it are skipped; anything but those is an error."""
    try:
        found = parse_documents(data, name=name)
    except DocumentError as error:
        assert str(error)
        return [str(error)]
    for document in found.documents:
        for passage in split_passages(document):
            assert document.text[passage.start : passage.end] == passage.text
    assert found.documents or found.skipped
    return [] if found.documents else [found.skipped[0][1]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    read("warm.pdf", GOOD[".pdf"])
    seconds: dict[str, list[float]] = defaultdict(list)
    reasons: dict[str, list[str]] = defaultdict(list)
    for number in tqdm(range(args.count), desc="Reading", unit="file"):
        kind, name, data = damaged_file(number, args.seed)
        start = time.perf_counter()
        reasons[kind] += read(name, data)
        seconds[kind].append(time.perf_counter() - start)
    worker.stop()
    print("| damage | files | skipped | median | slowest |\n|---|---|---|---|---|")
    for kind, taken in seconds.items():
        middle = sorted(taken)[len(taken) // 2]
        numbers = f"{len(taken)} | {len(reasons[kind])} | {1000 * middle:.0f} ms"
        print(f"| {kind} | {numbers} | {max(taken):.1f} s |")
    print(f"limits: {worker.SECONDS:g} s and {worker.MEMORY // 2**20} MiB a document, ", end="")
    print(f"{MAX_SECONDS:g} s a file of several")
    if sys.platform != "win32":
        import resource

        for who, what in (
            (resource.RUSAGE_SELF, "this process"),
            (resource.RUSAGE_CHILDREN, "the largest worker"),
        ):
            peak = resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
            print(f"peak resident memory of {what}: {peak // 2**20} MiB")
    for reason, count in Counter(chain(*reasons.values())).most_common(15):
        print(f"{count:5} {reason[:90]}")


if __name__ == "__main__":
    main()
