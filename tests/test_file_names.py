"""File names of every kind are stored as they are, found again, and shown so that none harms."""

import json
import os
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from benchmarks.crash import HashEmbedder
from index import PassageIndex
from index.documents import find_document, parse_documents
from qa.cli import main
from qa.page.render import render, render_heading
from tests.test_page import Reading, answered

FERRY = "The new ferry of Larnvik is called Aurora and carries 120 passengers."
CALLED = "What is the name of the new ferry?"
NAMES = {
    "line break": b"a\nb\r\nc.txt",
    "quotes": b"'a' \"b\" `c`.txt",
    "markup": b"<img src=x onerror=alert(1)> &lt;.txt",
    "percent": b"%00 %2e%2e%2f %s {0}.txt",
    "right to left": "\u202etxt.\u2066exe\u200f.txt".encode(),
    "255 bytes": "é".encode() * 125 + b"x.txt",
    "no Unicode": b"caf\xe9 \xff\xfe.txt",
    "dashes": b"--help.txt",
    "control": b"\x1b[2J\x07\x7f.txt",
    "backslash": b"a\\..\\..\\b.txt",
    "dots": b"a.. .txt",
    "hash": b"a.zip#3.txt",
    "spaces": b"  \t .txt",
    "SQL": b"'; DROP TABLE documents; --.txt",
    "combining": "e\u0301\u0301.txt".encode(),
    "emoji": "👩\u200d👩\u200d👧.txt".encode(),
}
ODD = [os.fsdecode(name) for name in NAMES.values()]


def make_files(folder: Path) -> None:
    folder.mkdir()
    for number, name in enumerate(ODD):
        (folder / name).write_text(f"{FERRY} It is ferry{number}.", encoding="utf-8")


def test_every_name_is_stored_found_and_verified(tmp_path: Path):
    make_files(tmp_path / "docs")
    with PassageIndex.open(tmp_path / "index", embedder=HashEmbedder()) as opened:
        report = opened.sync(tmp_path / "docs")
        assert sorted(report.added) == sorted(ODD) and report.skipped == ()
        for number, name in enumerate(ODD):
            hits = {hit.document.path: hit for hit in opened.search(f"ferry{number}", k=99)}
            hit = hits[name]
            document = opened.document(name)
            assert document is not None and document.text[hit.start : hit.end] == hit.text
            assert find_document(tmp_path / "docs", name) == document
        assert opened.verify(tmp_path / "docs") == []
        assert sorted(opened.sync(tmp_path / "docs", check=True).unchanged) == sorted(ODD)
        for name in ODD:
            (tmp_path / "docs" / name).rename(tmp_path / "docs" / f"x{name}"[-100:])
        report = opened.sync(tmp_path / "docs", prune=True)
        assert len(report.moved) + len(report.added) == len(ODD)
        assert opened.verify(tmp_path / "docs") == []
        assert all(opened.remove(path) for path in [*report.moved, *report.added])


def test_names_that_differ_only_in_how_they_are_written_are_two(tmp_path: Path):
    names = ["é.txt", "e\u0301.txt", "E\u0301.txt"]
    for number, name in enumerate(names):
        (tmp_path / name).write_text(f"{FERRY} It is ferry{number}.", encoding="utf-8")
    if len(list(tmp_path.iterdir())) < len(names):
        pytest.skip("this file system takes them for one")
    with PassageIndex.open(tmp_path / ".index", embedder=HashEmbedder()) as opened:
        assert len(opened.sync(tmp_path).added) == 3
        assert [opened.search(f"ferry{n}", k=1)[0].document.path for n in range(3)] == names


HOSTILE_MEMBERS = {
    "../../../etc/passwd.txt": "etc/passwd.txt",
    "/etc/passwd.txt": "etc/passwd.txt",
    "..\\..\\windows.txt": "windows.txt",
    "C:\\a.txt": "C:/a.txt",
    "a/../../b.txt": "a/b.txt",
    "./c.txt": "c.txt",
    "d\ne.txt": "d\ne.txt",
    "<b>'\".txt": "<b>'\".txt",
    "\u202ef.txt": "\u202ef.txt",
    "-g.txt": "-g.txt",
    "%00.txt": "%00.txt",
    "x" * 2_000 + ".txt": "x" * 1_000,
}


def test_members_of_an_archive_lie_in_it_whatever_they_are_called(tmp_path: Path):
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in [*HOSTILE_MEMBERS, "...", "..", "/"]:
            archive.writestr(zipfile.ZipInfo(name), FERRY)
    found = parse_documents(buffer.getvalue(), name="a.zip")
    shown = [document.path for document in found.documents] + [path for path, _ in found.skipped]
    assert sorted(shown) == sorted(f"a.zip/{inner}" for inner in HOSTILE_MEMBERS.values())
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.zip").write_bytes(buffer.getvalue())
    (tmp_path / "passwd.txt").write_text("secret")
    for document in found.documents:
        assert find_document(tmp_path / "docs", document.path) == document


CONTROL = {chr(code) for code in [*range(32), 127, *range(0x80, 0xA0)]} - {"\n", "\t"}
DIRECTION = set("\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def is_safe(out: str) -> bool:
    """Whether a terminal shows it as it is, and a pipe can hold it."""
    return not set(out) & (CONTROL | DIRECTION) and out.encode() != b""


def test_the_commands_show_every_name_on_one_line_and_json_holds_it_exactly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "docs"
    make_files(folder)
    for name in ODD:
        (folder / f"{name[:50]}.exe").write_bytes(b"")
    assert main(["sync", str(folder)]) == 0
    out = capsys.readouterr().out
    assert is_safe(out)
    assert sum(line.startswith("  ") for line in out.splitlines()) == len(ODD)  # one a skipped file

    assert main(["sync", str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert sorted(report["unchanged"]) == sorted(ODD)
    assert sorted(report["skipped"]) == sorted(f"{name[:50]}.exe" for name in ODD)

    for name in ODD:
        (folder / name).write_text(FERRY + " Changed.", encoding="utf-8")
    assert main(["verify", str(folder)]) == 1
    out = capsys.readouterr().out
    assert is_safe(out)
    assert len(out.splitlines()) == len(ODD)
    assert all("the file has changed since it was read" in line for line in out.splitlines())


@pytest.mark.parametrize("name", ODD, ids=NAMES)
def test_an_answer_shows_its_file_safely(name: str, capsys: pytest.CaptureFixture[str]):
    from qa.cli import _print_answer

    answer = answered(title=name)
    citation = replace(answer.citations[0], document=name)
    answer = replace(
        answer,
        citations=(citation,),
        passages=(replace(answer.passages[0], document=name),),
    )
    _print_answer(answer, timings=False)
    out = capsys.readouterr().out
    assert is_safe(out)
    assert len([line for line in out.splitlines() if line.strip()]) == 3  # text, source, sentence

    as_sent = name.encode(errors="replace").decode()
    allowed = Reading(render(answered())).tags
    for source in (
        render(answer),
        render(replace(answer, text=None, citations=())),
        render_heading("docs", documents=1, passages=1, skipped=[(name, "it is odd")]),
    ):
        assert source.encode()  # nothing that can't be sent
        seen = Reading(source)
        assert seen.tags - {"header", "h1", "h2", "span", "ul", "li", "bdi"} <= allowed
        assert as_sent in seen.inside["bdi"] or as_sent in "".join(seen.inside["bdi"])


def test_a_question_about_an_oddly_named_file_cites_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    name = os.fsdecode(b"\x1b[2J\n<b>\xff\xe2\x80\xae.txt")
    (tmp_path / name).write_text(FERRY, encoding="utf-8")
    assert main(["ask", CALLED, "--folder", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "Aurora" in out and is_safe(out)
    assert r"\x1b[2J\n<b>\udcff\u202e.txt" in out
    assert main(["ask", CALLED, "--folder", str(tmp_path), "--json"]) == 0
    (citation,) = json.loads(capsys.readouterr().out)["citations"]
    assert citation["document"] == name
    text = (tmp_path / citation["document"]).read_text(encoding="utf-8")
    assert text[citation["start"] : citation["end"]] == citation["quote"]
