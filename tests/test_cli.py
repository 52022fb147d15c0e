"""The command line, mostly in this process and where that matters in one of its own."""

import io
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import index.passage_index
from benchmarks.crash import HashEmbedder
from index import PassageIndex
from qa.cli import main, printable
from tests.test_formats import make_pdf

ROOT = Path(__file__).parent.parent
FERRY = """\
# Larnvik orders a new ferry

14 March 2024

The town council of Larnvik ordered a new ferry on Monday. The ferry is called Aurora and carries
120 passengers. It costs 9 million euros, said the mayor, Ingrid Solheim.
"""
LIBRARY = """\
# The old library opens again

2 May 2024

The library of Larnvik opened again on Thursday after a flood. It lends 40,000 books. Its roof
was mended by a firm from Bergen.
"""
CALLED = "What is the name of the new ferry?"
UNSAID = "How many goals did Messi score?"


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two documents and their index."""
    folder = tmp_path_factory.mktemp("papers")
    (folder / "ferry.md").write_text(FERRY, encoding="utf-8")
    (folder / "library.txt").write_text(LIBRARY, encoding="utf-8")
    assert main(["sync", str(folder)]) == 0
    return folder


@pytest.fixture
def papers(synced: Path, tmp_path: Path) -> Path:
    """The same, for a test that changes it."""
    return shutil.copytree(synced, tmp_path / "papers")


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that must not complain, and returns its status and what it printed."""

    def run(*argv: str | Path) -> tuple[int, str]:
        status = main([str(argument) for argument in argv])
        out, err = capsys.readouterr()
        assert err == ""
        return status, out

    return run


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must fail with one clear line and nothing else, and returns that."""

    def complaint(*argv: str | Path) -> str:
        status = main([str(argument) for argument in argv])
        out, err = capsys.readouterr()
        assert (status, out) == (2, "")
        assert re.fullmatch(r"readback: .+\n", err)
        return err

    return complaint


def test_ask_prints_the_fact_and_where_it_stands(run: Run, synced: Path) -> None:
    status, out = run("ask", CALLED, "--folder", synced)
    assert status == 0
    answer, source, sentence = (line.strip() for line in out.splitlines() if line.strip())
    assert "Aurora" in answer
    assert source.startswith("Larnvik orders a new ferry · 2024-03-14 · ferry.md, characters ")
    assert re.search(r"confidence [01]\.\d\d( \(provisional\))?$", source)
    assert sentence == "The ferry is called Aurora and carries 120 passengers."


def test_a_citation_of_a_pdf_names_its_page(run: Run, tmp_path: Path) -> None:
    pages = ("Larnvik orders a new ferry", "The ferry is called Aurora.", "It costs 9 million.")
    (tmp_path / "ferry.pdf").write_bytes(make_pdf(*pages))
    _, out = run("ask", CALLED, "--folder", tmp_path)
    assert "ferry.pdf, page 2, characters " in out
    _, out = run("ask", CALLED, "--folder", tmp_path, "--json")
    [citation] = json.loads(out)["citations"]
    assert (citation["page"], citation["document"]) == (2, "ferry.pdf")


def test_ask_says_so_when_the_documents_do_not(run: Run, synced: Path) -> None:
    status, out = run("ask", UNSAID, "--folder", synced)
    assert status == 1
    assert out.startswith("The documents don't say.\n")
    assert "Nearest passages:" in out
    assert "ferry.md" in out


def test_ask_tells_where_else_the_passage_stands(run: Run, papers: Path) -> None:
    for name in ("again", "b\u202ead", "c\nut", "more"):
        (papers / f"{name}.md").write_text(FERRY.replace("new ferry on", "new ferry late on"))
    (papers / "ferry.md").unlink()
    _, out = run("ask", CALLED, "--folder", papers)
    told = out.split("The passage also stands in 3 other documents:\n")[1]
    lines = [line.strip() for line in told.splitlines()]
    title = "Larnvik orders a new ferry · 2024-03-14 · "
    assert [line.split(title)[1].split(",")[0] for line in lines] == [
        r"b\u202ead.md",
        r"c\nut.md",
        "more.md",
    ]
    assert not any("small changes" in line for line in lines)
    for name in ("d", "e"):
        (papers / f"{name}.md").write_text(FERRY)
    _, out = run("ask", CALLED, "--folder", papers)
    assert "stands in 5 other documents:" in out and "and at 2 more, which --json lists" in out
    assert "(with small changes)" in out


def test_ask_json_slices_back_to_the_file(run: Run, synced: Path) -> None:
    status, out = run("ask", CALLED, "--folder", synced, "--json")
    answer = json.loads(out)
    assert status == 0
    assert answer["question"] == CALLED
    [citation] = answer["citations"]
    text = (synced / citation["document"]).read_text(encoding="utf-8")
    assert text[citation["start"] : citation["end"]] == citation["quote"] == answer["text"]


def test_ask_json_without_an_answer(run: Run, synced: Path) -> None:
    status, out = run("ask", UNSAID, "--folder", synced, "--json")
    answer = json.loads(out)
    assert (status, answer["text"], answer["citations"]) == (1, None, [])
    assert answer["passages"]


def test_timings_are_printed_when_asked_for(run: Run, synced: Path) -> None:
    _, out = run("ask", CALLED, "--folder", synced, "--timings")
    assert re.search(r"embed \d\.\d+ s · search \d\.\d+ s · read \d\.\d+ s · total", out)


def test_the_index_can_lie_elsewhere(run: Run, papers: Path, tmp_path: Path) -> None:
    shutil.rmtree(papers / ".readback")
    elsewhere = tmp_path / "elsewhere"
    assert run("sync", papers, "--index", elsewhere)[0] == 0
    assert run("ask", CALLED, "--folder", papers, "--index", elsewhere)[0] == 0
    assert elsewhere.is_dir()
    assert not (papers / ".readback").exists()


def test_an_index_may_hold_several_folders_by_name(
    run: Run, complaint: Callable[..., str], papers: Path, tmp_path: Path
) -> None:
    place = tmp_path / "index"
    other = tmp_path / "other"
    other.mkdir()
    (other / "snow.md").write_text("# Snow\n\nIt snowed in Larnvik on Friday.\n", encoding="utf-8")
    assert run("sync", papers, "--index", place, "--name", "papers")[0] == 0
    assert "give" in complaint("sync", other, "--index", place)
    _, out = run("sync", other, "--index", place, "--name", "weather", "--json")
    assert json.loads(out)["added"] == ["weather/snow.md"]
    (other / "snow.md").rename(other / "friday.md")
    _, out = run("sync", "--index", place, "--json")
    assert json.loads(out)["moved"] == ["weather/friday.md"]
    _, out = run("ask", CALLED, "--index", place)
    assert "Aurora" in out and "· papers/ferry.md, characters " in out
    assert run("verify", "--index", place)[0] == 0
    assert "name a folder of documents" in complaint("sync")
    assert "there is no index at" in complaint("sync", "--index", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_sync_reports_each_kind_of_change(run: Run, papers: Path) -> None:
    (papers / "ferry.md").write_text(FERRY.replace("Aurora", "Borealis"), encoding="utf-8")
    (papers / "library.txt").rename(papers / "moved.txt")
    (papers / "new.md").write_text("# Snow\n\nIt snowed in Larnvik on Friday.\n", encoding="utf-8")
    (papers / "photo.txt").write_bytes(bytes(range(256)) * 20)
    status, out = run("sync", papers, "--json")
    report = json.loads(out)
    assert status == 0
    assert report["added"] == ["new.md"]
    assert report["changed"] == ["ferry.md"]
    assert report["moved"] == ["moved.txt"]
    assert (report["removed"], report["unchanged"]) == ([], [])
    assert list(report["skipped"]) == ["photo.txt"]
    (papers / "photo.txt").unlink()
    assert "Borealis" in run("ask", CALLED, "--folder", papers)[1]


def test_sync_names_skipped_files_with_the_reason(run: Run, papers: Path) -> None:
    (papers / "photo.txt").write_bytes(bytes(range(256)) * 20)
    status, out = run("sync", papers)
    assert status == 0
    assert re.search(r"^unchanged +2$", out, re.MULTILINE)
    assert re.search(r"^skipped +1$", out, re.MULTILINE)
    assert re.search(r"^  photo\.txt: .+", out, re.MULTILINE)


def test_a_dry_run_writes_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ferry.md").write_text(FERRY, encoding="utf-8")
    status, out = run("sync", tmp_path, "--dry-run", "--json")
    assert (status, json.loads(out)["added"]) == (0, ["ferry.md"])
    assert [path.name for path in tmp_path.iterdir()] == ["ferry.md"]


def test_prune_wipes_what_a_plain_sync_keeps(
    run: Run, complaint: Callable[..., str], papers: Path
) -> None:
    for path in papers.glob("*.*"):
        if path.is_file():
            path.unlink()
    assert "keeps the 2 documents it has, unless told to prune" in complaint("sync", papers)
    assert re.search(r"^removed +2$", run("sync", papers, "--dry-run", "--prune")[1], re.MULTILINE)
    assert re.search(r"^removed +2$", run("sync", papers, "--prune")[1], re.MULTILINE)
    complaint("sync", papers)


def test_most_documents_gone_at_once_are_kept_and_told(
    run: Run, papers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (papers / "drive").mkdir()
    for number in range(22):
        text = f"# Note {number}\n\nThe note number {number} is short.\n"
        (papers / "drive" / f"{number}.md").write_text(text, encoding="utf-8")
    run("sync", papers)
    shutil.rmtree(papers / "drive")
    _, out = run("sync", papers)
    assert re.search(r"^removed +0\nkept +22\n", out, re.MULTILINE) and "--prune" in out
    assert main(["ask", CALLED, "--folder", str(papers)]) == 0
    out, err = capsys.readouterr()
    assert "Aurora" in out and "22 files" in err and "readback sync" in err


def heed_interrupts() -> None:
    """A child of a background job would ignore them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_watch_syncs_until_it_is_interrupted(papers: Path) -> None:
    command = [sys.executable, "-m", "qa", "sync", str(papers), "--watch"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed_interrupts
    ) as it:
        assert it.stdout and it.stderr
        first = [it.stdout.readline() for _ in range(7)]
        assert first[0].split() == ["added", "0"] and first[5].split() == ["unchanged", "2"]
        (papers / "new.md").write_text("# Snow\n\nIt snowed on Friday.\n", encoding="utf-8")
        second = [it.stdout.readline() for _ in range(7)]
        assert second[0].split() == ["added", "1"] and second[5].split() == ["unchanged", "2"]
        (papers / "new.md").unlink()
        third = [it.stdout.readline() for _ in range(7)]
        assert third[3].split() == ["removed", "1"]
        it.send_signal(signal.SIGINT)
        assert it.wait() == 0
        assert (it.stdout.read(), it.stderr.read()) == ("", "")


def test_a_watch_goes_on_after_an_error_and_ends_with_its_folder(papers: Path) -> None:
    command = [sys.executable, "-m", "qa", "sync", str(papers), "--watch", "--json"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed_interrupts
    ) as it:
        assert it.stdout and it.stderr
        assert it.stdout.readline() == "{\n"
        (papers / "ferry.md").unlink()
        (papers / "library.txt").unlink()
        assert "holds no document that can be read" in it.stderr.readline()
        shutil.rmtree(papers)
        assert it.wait() == 2
        assert it.stderr.read().splitlines()[-1].startswith(f"readback: {papers} ")


def test_days_leave_out_other_documents(run: Run, complaint: Callable[..., str], synced: Path):
    question = "What did the town order or open?"
    for days, files in (
        (["--after", "2024-05-01"], ["library.txt"]),
        (["--before", "2024-03-14"], ["ferry.md"]),
        (["--after", "2024-03-14", "--before", "2024-05-02"], ["ferry.md", "library.txt"]),
        (["--after", "2024-06-01"], []),
    ):
        status, out = run("ask", question, "--folder", synced, "--json", *days)
        passages = json.loads(out)["passages"]
        assert sorted({passage["document"] for passage in passages}) == files
        assert files or status == 1
    for command in (["ask", question], ["chat"]):
        told = complaint(*command, "--folder", synced, "--after", "14.03.2024")
        assert "after='14.03.2024' is not a day; write it as yyyy-mm-dd" in told


def test_ask_mentions_that_files_were_skipped(
    papers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (papers / "photo.txt").write_bytes(bytes(range(256)) * 20)
    assert main(["ask", CALLED, "--folder", str(papers)]) == 0
    out, err = capsys.readouterr()
    assert "Aurora" in out
    assert "readback sync" in err


def test_verify_finds_a_file_that_was_changed_behind_its_back(run: Run, papers: Path) -> None:
    assert run("verify", papers)[0] == 0
    (papers / "ferry.md").write_text("Nothing of what stood here.", encoding="utf-8")
    status, out = run("verify", papers)
    assert status == 1
    assert "ferry.md" in out
    assert "library.txt" not in out
    status, out = run("verify", papers, "--json")
    assert status == 1
    assert any("ferry.md" in problem for problem in json.loads(out)["problems"])


def test_a_rebuild_and_a_rollback(run: Run, complaint: Callable[..., str], papers: Path) -> None:
    assert "no generation before" in complaint("rollback", papers)
    (papers / "new.md").write_text("# Snow\n\nIt snowed on Friday.\n", encoding="utf-8")
    status, out = run("sync", papers, "--rebuild", "--json")
    report = json.loads(out)
    assert status == 0
    assert (report["added"], report["unchanged"]) == (["new.md"], ["ferry.md", "library.txt"])
    index = json.loads(run("doctor", papers, "--json")[1])["index"]
    assert (index["documents"], index["in_use"], index["before"]) == (3, "generation-1", ".")
    status, out = run("rollback", papers)
    assert status == 0
    assert re.search(
        r"^embedder +sentence-transformers/.+\ndocuments +2\npassages +\d+$", out, re.M
    )
    index = json.loads(run("doctor", papers, "--json")[1])["index"]
    assert (index["documents"], index["in_use"], index["before"]) == (2, ".", "generation-1")


def test_a_rollback_to_another_embedder_says_so(
    run: Run, papers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    PassageIndex.rebuild(papers / ".readback", papers, embedder=HashEmbedder())
    status, out = run("doctor", papers, "--json")
    found = json.loads(out)
    assert status == 1 and "hashed words" in found["problems"][0]
    assert (found["index"]["in_use"], found["index"]["before"]) == ("generation-1", ".")
    assert run("sync", papers, "--rebuild")[0] == 0
    assert main(["rollback", str(papers), "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["embedder"] == "hashed words"
    assert re.fullmatch(r"readback: .+ hashed words .+ --rebuild.+\n", err)
    assert run("rollback", papers)[0] == 0
    assert "Aurora" in run("ask", CALLED, "--folder", papers)[1]


def test_doctor_finds_both_models(run: Run, synced: Path) -> None:
    status, out = run("doctor", synced, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["problems"] == []
    assert found["embedder"]["published"] is True
    assert found["embedder"]["dimension"] == 384
    assert re.fullmatch("[0-9a-f]{64}", found["reader"]["sha256"])
    assert found["index"]["documents"] == 2
    assert found["index"]["folders"] == {"": str(synced)}
    assert found["libraries"]["onnxruntime"]


def test_doctor_in_plain_words(run: Run) -> None:
    status, out = run("doctor")
    assert status == 0
    assert "no network is needed" in out.lower()
    assert "No problems found." in out


def test_doctor_makes_no_index(run: Run, tmp_path: Path) -> None:
    status, out = run("doctor", tmp_path)
    assert status == 1
    assert "readback sync" in out
    assert list(tmp_path.iterdir()) == []


def chat(folder: Path, lines: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "qa", "chat", "--folder", str(folder)]
    return subprocess.run(command, cwd=ROOT, input=lines, capture_output=True, text=True)


def test_chat_remembers_and_ends_with_its_input(synced: Path) -> None:
    done = chat(synced, f"{CALLED}\n\nHow many passengers does it carry?\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Aurora" in done.stdout
    assert "120" in done.stdout


def test_chat_ends_at_exit_and_survives_a_bad_question(
    synced: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["x" * 100_000, CALLED, "exit", "What did the library mend?"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    assert main(["chat", "--folder", str(synced)]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("readback: ")
    assert "Aurora" in out
    assert "Bergen" not in out


def test_chat_ends_cleanly_at_an_interrupt(synced: Path) -> None:
    command = [sys.executable, "-m", "qa", "chat", "--folder", str(synced)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        preexec_fn=heed_interrupts,
    ) as it:
        assert it.stdin and it.stdout and it.stderr
        it.stdin.write(f"{CALLED}\n")
        it.stdin.flush()
        assert "Aurora" in it.stdout.readline()
        it.send_signal(signal.SIGINT)
        assert it.wait() == 0
        assert it.stderr.read() == ""


def test_output_that_nobody_reads_is_no_error(synced: Path) -> None:
    command = [sys.executable, "-m", "qa", "ask", CALLED, "--folder", str(synced)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as it:
        assert it.stdout and it.stderr
        it.stdout.close()
        assert it.stderr.read() == ""
        assert it.wait() == 141


COMMANDS_ON_A_FOLDER = [
    ["sync"],
    ["ask", CALLED, "--folder"],
    ["chat", "--folder"],
    ["serve"],
    ["verify"],
    ["sync", "--rebuild"],
    ["rollback"],
]


@pytest.mark.parametrize("command", COMMANDS_ON_A_FOLDER, ids=lambda command: command[0])
def test_a_missing_folder(
    complaint: Callable[..., str], tmp_path: Path, command: list[str]
) -> None:
    assert "no-such-folder" in complaint(*command, tmp_path / "no-such-folder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS_ON_A_FOLDER, ids=lambda command: command[0])
def test_an_empty_folder(complaint: Callable[..., str], tmp_path: Path, command: list[str]) -> None:
    assert str(tmp_path) in complaint(*command, tmp_path)


@pytest.mark.parametrize("command", COMMANDS_ON_A_FOLDER, ids=lambda command: command[0])
def test_a_file_in_place_of_a_folder(
    complaint: Callable[..., str], tmp_path: Path, command: list[str]
) -> None:
    file = tmp_path / "ferry.md"
    file.write_text(FERRY, encoding="utf-8")
    assert "ferry.md" in complaint(*command, file)


def test_a_folder_of_nothing_but_a_binary_file(
    complaint: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "photo.txt").write_bytes(bytes(range(256)) * 20)
    complaint("sync", tmp_path)
    complaint("ask", CALLED, "--folder", tmp_path)


def test_a_latin_1_file_is_read(run: Run, tmp_path: Path) -> None:
    text = "# Das Fährhaus\n\nThe café Möwe in Göteborg is run by Jürgen Müller since May 2019.\n"
    (tmp_path / "old.txt").write_bytes(text.encode("latin-1"))
    status, out = run("ask", "Who runs the café Möwe?", "--folder", tmp_path)
    assert status == 0
    assert "Jürgen Müller" in out


@pytest.mark.parametrize("question", ["", "   \n", "why " * 25_000], ids=["empty", "blank", "huge"])
def test_a_question_that_is_none(
    complaint: Callable[..., str], synced: Path, question: str
) -> None:
    assert "question" in complaint("ask", question, "--folder", synced).lower()


@pytest.mark.parametrize("command", COMMANDS_ON_A_FOLDER, ids=lambda command: command[0])
def test_an_index_that_cannot_be_written(
    complaint: Callable[..., str], papers: Path, command: list[str]
) -> None:
    below_a_file = papers / "ferry.md" / "index"
    assert "ferry.md" in complaint(*command, papers, "--index", below_a_file)


def test_an_error_is_one_line_also_from_a_shell(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "qa", "ask", CALLED, "--folder", str(tmp_path / "none")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"readback: .+\n", done.stderr)


def test_a_document_cannot_drive_the_terminal(run: Run, tmp_path: Path) -> None:
    harm = "\x1b]0;owned\x07\x9b2J\u202egnirts\u202c"
    text = FERRY.replace("new ferry", f"new {harm} ferry")
    (tmp_path / "ferry\x1b[2J.md").write_text(text, encoding="utf-8")
    for question in (CALLED, UNSAID):
        _, out = run("ask", question, "--folder", tmp_path)
        assert "ferry" in out
        assert not set(out) & set("\x1b\x07\x9b\u202e\u202c\r")
    _, out = run("ask", CALLED, "--folder", tmp_path, "--json")
    assert "\x1b" in json.loads(out)["passages"][0]["text"]


def test_printable_keeps_what_people_write() -> None:
    kept = "Ünïcödé “quotes” 日本 👩‍👩‍👧 עברית\n\tindented"
    assert printable(kept) == kept
    assert printable("a\r\nb\rc\x1b\x00\x9b\u202e\u2028\udcff") == (
        r"a" "\n" r"b\rc\x1b\x00\x9b\u202e\u2028\udcff"
    )


def test_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    assert "usage: readback" in capsys.readouterr().err


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_readme_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    (\w+)  ", help_of(capsys), re.MULTILINE)
    assert commands == ["sync", "ask", "chat", "serve", "verify", "rollback", "doctor"]
    for command in commands:
        assert f"readback {command}" in readme
        for option in re.findall(r"--[a-z-]+", help_of(capsys, command)):
            assert option == "--help" or option in readme, f"{command} {option}"


def test_a_question_is_answered_while_another_process_writes(
    papers: Path,
    complaint: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(index.passage_index, "LOCK_SECONDS", 0.1)
    (papers / "new.md").write_text("# New\n\nThe new museum opens in Odda in June.\n")
    with PassageIndex.open(papers / ".readback") as writing, writing._writer_lock():
        assert main(["ask", "--folder", str(papers), CALLED]) == 0
        out, err = capsys.readouterr()
        assert "Aurora" in out
        assert re.search("is writing the index.+last whole state", err) and err.count("\n") == 1
    (papers / ".readback/catalog.sqlite").unlink()
    with PassageIndex.open(papers / ".readback") as writing, writing._writer_lock():
        assert "try again" in complaint("ask", "--folder", papers, CALLED)  # nothing is there yet
