"""Each format gives its text, title, date, author and pages; files of several give each of them."""

import csv
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import zipfile
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace

import docx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index import documents, worker
from index.documents import (
    SUFFIXES,
    Document,
    each_document,
    file_of,
    find_document,
    load_document,
    page_of,
    parse_document,
    parse_documents,
)
from index.errors import DocumentError
from index.passages import split_passages
from tests.test_documents import PAGE

ROOT = Path(__file__).parent.parent
FIRST = "Norway and Chile agreed on Tuesday to study copper together."
SECOND = "The treaty takes effect on 1 June 2031, Ane Berg said."


def make_pdf(*pages: str, info: str = "") -> bytes:
    """A PDF with a line of text on each page; a page without one shows an image."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    image = b"q 200 0 0 200 50 500 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x7f EI Q"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        shown = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() if text else image
        resources = "/MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >>"
        page = f"<< /Type /Page /Parent 2 0 R {resources} /Contents {5 + 2 * number} 0 R >>"
        stream = b"<< /Length %d >>\nstream\n%s\nendstream" % (len(shown), shown)
        objects += [page.encode(), stream]
    objects.append(f"<< {info} >>".encode())
    data, places = b"%PDF-1.7\n", []
    for number, value in enumerate(objects, start=1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, value)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return (
        data
        + b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table)
        + b"trailer << /Size %d /Root 1 0 R /Info %d 0 R >>\n" % (size, size - 1)
        + b"startxref\n%d\n%%%%EOF\n" % len(data)
    )


def make_docx() -> bytes:
    document = docx.Document()
    document.core_properties.title = "Copper pact"
    document.core_properties.author = "Marit Solheim"
    document.add_heading("Copper", level=1)
    document.add_paragraph(FIRST)
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(table._cells, ("Item", "Sum", "Aid", "100 billion"), strict=True):
        cell.text = text
    document.add_paragraph("Before").add_run("\tafter\nbelow")
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def make_mail(text: str = FIRST, *, html: str | None = None, subject: str = "Kupfer für Oslo"):
    mail = EmailMessage()
    mail["Subject"] = subject
    mail["From"] = "José Roe <jose@example.org>"
    mail["Date"] = "Thu, 28 Apr 2022 23:30:00 +0900"
    if text:
        mail.set_content(text, cte="quoted-printable")
    if html:
        (mail.add_alternative if text else mail.set_content)(html, subtype="html")
    return mail


def make_zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def make_csv(rows: list[list[str]], delimiter: str = ",") -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter).writerows(rows)
    return buffer.getvalue().encode()


def check_slices(document: Document) -> None:
    for passage in split_passages(document):
        assert document.text[passage.start : passage.end] == passage.text
    document.text.encode()


# PDF


def test_a_pdf_gives_its_text_and_its_pages():
    info = "/Title (Copper pact) /Author (Marit Solheim)"
    document = parse_document(make_pdf(FIRST, "", SECOND, info=info), name="a.PDF")
    assert (document.title, document.author) == ("Copper pact", "Marit Solheim")
    for text, page in [(FIRST, 1), (SECOND, 3)]:
        start = document.text.index(text)
        assert page_of(document, start) == page
        assert page_of(document, start + len(text) - 1) == page
    assert len(document.pages) == 3
    assert [passage.text for passage in split_passages(document)] == [f"{FIRST}\n\n\n\n{SECOND}"]


def test_the_titles_that_programs_give_are_none():
    for title in ("Microsoft Word - draft 3", "untitled", "report.docx"):
        document = parse_document(make_pdf("A headline", info=f"/Title ({title})"), name="b.pdf")
        assert document.title == "A headline"


def test_a_scanned_pdf_is_told_to_need_text_recognition():
    with pytest.raises(DocumentError, match=r"no text; .*\(OCR\)"):
        parse_document(make_pdf("", ""), name="a.pdf")


def test_an_encrypted_pdf_says_so():
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(make_pdf(FIRST))))
    writer.encrypt("secret", algorithm="RC4-128")
    buffer = io.BytesIO()
    writer.write(buffer)
    with pytest.raises(DocumentError, match="encrypted"):
        parse_document(buffer.getvalue(), name="a.pdf")


def test_only_a_pdf_has_pages():
    document = parse_document(FIRST.encode(), name="a.txt")
    assert document.pages == () and page_of(document, 0) is None


# DOCX


def test_a_docx_gives_paragraphs_and_tables_in_order():
    document = parse_document(make_docx(), name="a.docx")
    assert document.text == (
        f"Copper\n\n{FIRST}\n\nItem | Sum\nAid | 100 billion\n\nBefore\tafter\nbelow"
    )
    assert (document.title, document.author) == ("Copper pact", "Marit Solheim")
    check_slices(document)


def test_a_docx_keeps_insertions_and_leaves_out_deletions():
    def change(xml: bytes) -> bytes:
        inserted = b"<w:p><w:ins><w:r><w:t>Inserted words.</w:t></w:r></w:ins>"
        deleted = b"<w:del><w:r><w:delText>Deleted words.</w:delText></w:r></w:del></w:p>"
        control = b"<w:sdt><w:sdtContent><w:p><w:r><w:t>A field.</w:t></w:r></w:p></w:sdtContent>"
        return xml.replace(b"<w:body>", b"<w:body>" + inserted + deleted + control + b"</w:sdt>")

    with zipfile.ZipFile(io.BytesIO(make_docx())) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["word/document.xml"] = change(files["word/document.xml"])
    text = parse_document(make_zip(files), name="a.docx").text
    assert text.startswith("Inserted words.\n\nA field.\n\nCopper")


# Mail


def test_a_mail_gives_its_plain_text_and_its_headers():
    data = make_mail(FIRST + " Café.", html="<p>Another text.</p>").as_bytes()
    document = parse_document(data, name="a.eml")
    assert document.text.strip() == FIRST + " Café."
    assert document.title == "Kupfer für Oslo"
    assert document.author == "José Roe"
    assert document.date == "2022-04-28"


def test_a_mail_of_html_alone_gives_that():
    document = parse_document(make_mail("", html=PAGE).as_bytes(), name="a.eml")
    assert "Norway and Chile agreed on Tuesday" in document.text
    assert document.title == "Kupfer für Oslo"


def test_what_is_attached_to_a_mail_is_left_out():
    mail = make_mail()
    mail.add_attachment("Attached words.", filename="notes.txt")
    document = parse_document(mail.as_bytes(), name="a.eml")
    assert "copper" in document.text and "Attached" not in document.text


def test_a_mail_with_broken_headers_keeps_its_text():
    head = b"Subject: =?utf-8?b?!!!?= =?no-such-code?q?a?=\nDate: 99 Foo 20222\nFrom: <<>\n"
    head += b"Content-Type: text/plain; charset=no-such-code\n\n"
    document = parse_document(head + FIRST.encode(), name="a.eml")
    assert document.text == FIRST and document.date is None


def test_a_mailbox_gives_each_mail():
    mails = [make_mail(f"Mail {n} is here.\n\nFrom here on.", subject=f"S{n}") for n in (1, 2, 3)]
    data = b"".join(
        b"From jose@example.org Thu Apr 28 23:30:00 2022\n"
        + mail.as_bytes().replace(b"\nFrom here", b"\n>From here")
        + b"\n"
        for mail in mails
    )
    for box in (data, data.replace(b"\n", b"\r\n")):
        found = parse_documents(box, name="mail.mbox").documents
        assert [document.path for document in found] == [f"mail.mbox#{n}" for n in (1, 2, 3)]
        assert [document.title for document in found] == ["S1", "S2", "S3"]
        assert "Mail 2 is here." in found[1].text
        assert found[1].text.splitlines()[-1] == "From here on." or "\nFrom here" in found[1].text
    with pytest.raises(DocumentError, match="no mailbox"):
        parse_documents(b"Words.", name="mail.mbox")


# Tables


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_gives_an_article_a_row(delimiter: str):
    rows = [
        ["id", "Title", "TEXT", " Date ", "author"],
        ["1", "Copper pact", f"{FIRST}\n\n{SECOND}", "2022-04-28", "Marit Solheim"],
        [],
        ["3", "Empty", " ", "", ""],
        ["4", "", "A headline\n\nMore; words, here.", "4/5/2022"],
    ]
    found = parse_documents(make_csv(rows, delimiter), name="sub/articles.csv")
    first, last = found.documents
    assert (first.path, first.title, first.date, first.author, first.text) == (
        "sub/articles.csv#1",
        "Copper pact",
        "2022-04-28",
        "Marit Solheim",
        f"{FIRST}\n\n{SECOND}",
    )
    assert (last.path, last.title, last.date) == ("sub/articles.csv#4", "A headline", None)
    assert found.skipped == (("sub/articles.csv#3", "it holds no text"),)


def test_a_long_article_in_a_table_is_read_whole():
    text = "word " * 100_000
    (document,) = parse_documents(make_csv([["text"], [text]]), name="a.csv").documents
    assert document.text == text


@pytest.mark.parametrize("data", [b"", b"a,b\n1,2\n", b"\n\n"])
def test_a_table_without_text_says_what_it_needs(data: bytes):
    with pytest.raises(DocumentError, match=r'no column named "text".*title, date'):
        parse_documents(data, name="a.csv")


# Archives


def test_an_archive_gives_its_files_and_says_which_it_skips():
    files = {
        "a.txt": FIRST.encode(),
        "sub/b.pdf": make_pdf(SECOND),
        "../../up.md": b"# Up\n\nA text from above.",
        "up.md": b"The same name.",
        "c.csv": make_csv([["text"], [FIRST], [SECOND]]),
        "inner.zip": make_zip({"d.txt": b"Deep words."}),
        "e.png": b"\x89PNG",
        "torn.docx": make_docx()[:2000],
        "bad.csv": b"a,b\n",
        ".hidden.txt": b"Hidden words.",
        "__MACOSX/a.txt": b"Hidden words.",
        "folder/": b"",
    }
    data = make_zip(files)
    found = parse_documents(data, name="news.zip")
    assert [document.path for document in found.documents] == [
        "news.zip/a.txt",
        "news.zip/sub/b.pdf",
        "news.zip/up.md",
        "news.zip/c.csv#1",
        "news.zip/c.csv#2",
    ]
    assert len({document.sha256 for document in found.documents}) == 1
    assert found.documents[1].pages == (0,)
    reasons = dict(found.skipped)
    assert set(reasons) == {
        f"news.zip/{name}" for name in ("up.md", "inner.zip", "e.png", "torn.docx", "bad.csv")
    }
    assert "archive within an archive" in reasons["news.zip/inner.zip"]
    assert "that name" in reasons["news.zip/up.md"]
    assert "ending .png is none of" in reasons["news.zip/e.png"]


def test_an_archive_without_documents_and_a_single_document_wanted_from_one():
    with pytest.raises(DocumentError, match="no documents"):
        parse_documents(make_zip({}), name="a.zip")
    with pytest.raises(DocumentError, match="several"):
        parse_document(make_zip({"a.txt": b"Words."}), name="a.zip")


def test_no_more_than_so_many_documents_are_taken_from_a_file(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(documents, "MAX_DOCUMENTS", 3)
    found = parse_documents(make_csv([["text"], *[["Words."]] * 5]), name="a.csv")
    assert len(found.documents) == 3
    assert [path for path, _ in found.skipped] == ["a.csv"]
    assert "first 3 documents" in found.skipped[0][1]


def test_the_limit_of_time_leaves_out_what_the_caller_does(monkeypatch: pytest.MonkeyPatch):
    table = make_csv([["text"], *[["Words."]] * 5])
    now = 0.0
    monkeypatch.setattr(documents, "time", SimpleNamespace(monotonic=lambda: now))
    found = []
    for document in each_document(table, name="a.csv"):
        found.append(document)
        now += 2 * documents.MAX_SECONDS
    assert len(found) == 5 and all(isinstance(item, Document) for item in found)
    ticks = itertools.count(0, 400)  # seconds that pass while each document is read
    monkeypatch.setattr(documents, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    *found, last = each_document(table, name="a.csv")
    assert len(found) == 2 and isinstance(last, tuple) and "first 2 documents" in last[1]


def test_the_file_of_a_document_is_found_even_below_a_folder_named_like_an_archive():
    files = {"news.zip", "old.zip/a.txt", "mail.mbox", "c#1.txt", "in.zip"}
    for path, file in {
        "news.zip/sub/a.txt": "news.zip",
        "old.zip/a.txt": "old.zip/a.txt",
        "mail.mbox#3": "mail.mbox",
        "c#1.txt": "c#1.txt",
        "in.zip/mail.mbox#3": "in.zip",
        "gone.txt": None,
    }.items():
        assert file_of(path, files.__contains__) == file


def test_a_document_is_found_again_in_its_file(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    data = make_zip({"a.txt": FIRST.encode(), "c.csv": make_csv([["text"], [FIRST], [SECOND]])})
    (tmp_path / "sub" / "news.zip").write_bytes(data)
    for document in parse_documents(data, name="sub/news.zip").documents:
        assert find_document(tmp_path, document.path) == document
    with pytest.raises(DocumentError, match="no longer holds it"):
        find_document(tmp_path, "sub/news.zip/gone.txt")
    with pytest.raises(DocumentError, match="not a regular file"):
        find_document(tmp_path, "sub/gone.zip/a.txt")


# The worker


def test_the_worker_loads_nothing_heavy_and_nothing_from_the_current_folder(tmp_path: Path):
    (tmp_path / "docx.py").write_text("raise SystemExit('taken from the folder of documents')")
    (tmp_path / "a.docx").write_bytes(make_docx())
    code = (
        "import sys; from pathlib import Path; from index.documents import load_document\n"
        "print(load_document(Path('a.docx'), name='a.docx').title)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("Copper pact\n", "")
    code = (
        "import json, sys; from pathlib import Path; from index.formats import extract\n"
        "for path in map(Path, sys.argv[1:]): extract(path.read_bytes(), path.suffix)\n"
        "print(json.dumps([*sys.modules]))"
    )
    (tmp_path / "a.pdf").write_bytes(make_pdf(FIRST))
    (tmp_path / "a.html").write_text(PAGE)
    paths = [tmp_path / name for name in ("a.pdf", "a.html", "a.docx")]
    out = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, check=True, cwd=ROOT
    )
    heavy = {"torch", "faiss", "transformers", "sentence_transformers", "gradio"}
    assert heavy.isdisjoint(json.loads(out.stdout))


def test_a_document_that_overruns_its_time_or_memory_is_given_up_and_the_next_is_read():
    slow = worker.Worker(seconds=0.01)
    with pytest.raises(DocumentError, match=r"longer than 0\.01 seconds"):
        slow.extract(make_pdf(FIRST), ".pdf")
    slow.stop()
    if sys.platform == "linux":
        small = worker.Worker(memory=200 * 2**20)
        with zipfile.ZipFile(io.BytesIO(make_docx())) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        files["word/document.xml"] = b" " * (150 * 2**20)
        with pytest.raises(DocumentError, match="more than 200 MiB of memory"):
            small.extract(make_zip(files), ".docx")
        assert "copper" in small.extract(make_pdf(FIRST), ".pdf").text
        small.stop()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX alone has it")
def test_a_worker_that_dies_is_replaced():
    reader = worker.Worker()
    assert "copper" in reader.extract(make_pdf(FIRST), ".pdf").text
    assert reader._process is not None
    os.kill(reader._process.pid, signal.SIGKILL)
    reader._process.wait()
    assert "copper" in reader.extract(make_pdf(FIRST), ".pdf").text
    reader.stop()


# Anything at all

TEXTS = st.text(st.characters(exclude_categories=())) | st.text(
    "ab .\r\n\t#-*|:,;\"'<>&=/", max_size=300
)
NAMES = st.tuples(
    st.text(st.characters(), max_size=20)
    | st.sampled_from(["../a", "a\nb", "a#3", "%00", "\u202e"]),
    st.sampled_from([*SUFFIXES, "", ".PDF", ".exe"]),
).map("".join)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "cp1251", "big5"])
GOOD = [make_pdf(FIRST), make_docx(), make_mail().as_bytes(), PAGE.encode()]
GOOD += [
    make_zip({"a.txt": b"Words.", "b.eml": make_mail().as_bytes()}),
    make_csv([["text"], ["a"]]),
]


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """Text in some encoding, any bytes, or a good file with a few bytes changed and its end cut."""
    match draw(st.integers(0, 2)):
        case 0:
            return draw(TEXTS).encode(draw(ENCODINGS), errors="replace")
        case 1:
            return draw(st.binary(max_size=300))
    data = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(0, 8))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(1, len(data)))])


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(data=contents(), name=NAMES)
def test_whatever_a_file_holds_it_is_read_or_refused_with_a_reason(data: bytes, name: str):
    try:
        found = parse_documents(data, name=name)
    except DocumentError as error:
        assert str(error)
        return
    assert found.documents or found.skipped
    for document in found.documents:
        assert document.title and document.path.startswith(name)
        check_slices(document)


def test_a_file_is_read_from_the_disk_as_from_bytes(tmp_path: Path):
    (tmp_path / "a.pdf").write_bytes(make_pdf(FIRST, SECOND))
    document = load_document(tmp_path / "a.pdf", name="sub/a.pdf")
    assert document == parse_document(make_pdf(FIRST, SECOND), name="sub/a.pdf")
