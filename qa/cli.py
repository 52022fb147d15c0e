"""The command line: sync, ask, chat, serve, verify, rollback and doctor.

It reads arguments, calls the library and prints; what a Python caller could want too belongs in
the library. Text from documents is untrusted: characters that could drive a terminal are printed
as visible escapes. `--json` prints the same facts exactly as they are.

Exit status: 0 when all went well; 1 when `ask` found no answer, or `verify` or `doctor` found
a problem; 2 for an error, told in one line on standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import io
import json
import os
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from index import PassageIndex, SyncReport
from index.errors import FolderError, IndexUnavailable, QuestionError, ReadbackError
from index.passage_index import check_days, check_question
from qa.chatbot import (
    INDEX_FOLDER,
    Answer,
    Chatbot,
    Citation,
    Conversation,
    CopyPlace,
    ReadPassage,
)
from qa.doctor import examine, installed

DONE, NEGATIVE, ERROR = 0, 1, 2  # negative: no answer, or problems
BROKEN_PIPE, INTERRUPTED = 141, 130  # 128 + the signal's number, as shells report it
CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
BIDI_CONTROLS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
NEAREST = 3  # passages shown when the documents don't say
HINT = 240  # characters shown of each of them
COPIES = 3  # places shown where else a cited passage stands

HERE = "the folder of documents (default: all that --index holds, else the current folder)"
ALL = "the folder of documents (default: all that --index holds)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    args = _parser().parse_args(argv)
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except ReadbackError as error:
        return _fail(str(error))
    except BrokenPipeError:  # whoever read our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _fail(message: str) -> int:
    print(f"readback: {_one_line(message)}", file=sys.stderr)
    return ERROR


# Arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="readback",
        description="Ask your own documents a question and get the answer in their own words, "
        "with the exact place it stands. Everything runs on this machine.",
    )
    parser.add_argument("--version", action="version", version=f"readback {installed('readback')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    sync = _command(commands, "sync", _sync, "bring a folder's index up to date")
    sync.add_argument("folder", metavar="FOLDER", nargs="?", help=ALL)
    sync.add_argument(
        "--name", help="the folder's name in an index of several, told once; needs --index"
    )
    sync.add_argument(
        "--check", action="store_true", help="read every file, whatever its size and time say"
    )
    sync.add_argument(
        "--prune", action="store_true", help="remove what is gone, even most or all of it"
    )
    once = sync.add_mutually_exclusive_group()
    once.add_argument(
        "--dry-run", action="store_true", help="report what would change and write nothing"
    )
    once.add_argument(
        "--watch", action="store_true", help="go on, and sync whenever files change, until Ctrl-C"
    )
    once.add_argument(
        "--rebuild",
        action="store_true",
        help="make the whole index anew beside the old one, check it, and put it in its place",
    )
    _add_json(sync)

    ask = _command(commands, "ask", _ask, "ask one question")
    ask.epilog = "Exit status: 0 answered, 1 the documents don't say, 2 error."
    ask.add_argument("question", metavar="QUESTION", help="the question, in quotes")
    _add_asking(ask)
    _add_json(ask)

    chat = _command(commands, "chat", _chat, "ask in the terminal, follow-up questions included")
    _add_asking(chat)

    serve = _command(commands, "serve", _serve, "serve the chat page to this machine's browser")
    serve.add_argument("folder", metavar="FOLDER", nargs="?", help=HERE)
    serve.add_argument(
        "--port", type=int, metavar="N", help="the page's port (default: the first free from 7860)"
    )

    verify = _command(commands, "verify", _verify, "check every stored offset and hash")
    verify.epilog = "Exit status: 0 no problem, 1 problems, 2 error."
    verify.add_argument("folder", metavar="FOLDER", nargs="?", help=ALL)
    _add_json(verify)

    rollback = _command(
        commands, "rollback", _rollback, "bring back the index before the last rebuild"
    )
    rollback.epilog = "Exit status: 0 done, 1 done but of another embedder, 2 error."
    rollback.add_argument("folder", metavar="FOLDER", nargs="?", help=ALL)
    _add_json(rollback)

    doctor = _command(commands, "doctor", _doctor, "show versions, models and an index's state")
    doctor.epilog = "Exit status: 0 no problem, 1 problems, 2 error."
    doctor.add_argument("folder", metavar="FOLDER", nargs="?", help="also look at its index")
    _add_json(doctor)
    return parser


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + "."
    )
    command.set_defaults(run=run)
    command.add_argument(
        "--index", metavar="DIR", help="where the index lies (default: .readback in the folder)"
    )
    return command


def _add_asking(command: argparse.ArgumentParser) -> None:
    command.add_argument("--folder", metavar="DIR", help=HERE)
    command.add_argument(
        "--after", metavar="DAY", help="only documents of this day (yyyy-mm-dd) or later"
    )
    command.add_argument(
        "--before", metavar="DAY", help="only documents of this day (yyyy-mm-dd) or earlier"
    )
    command.add_argument("--timings", action="store_true", help="print what each step took")


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON")


# Commands: each takes its arguments and returns the exit status


def _sync(args: argparse.Namespace) -> int:
    path = _index_folder(args) if args.folder else _made_index(args)
    if args.rebuild:
        report = PassageIndex.rebuild(
            path, args.folder, name=args.name, prune=args.prune, progress=sys.stderr.isatty()
        )
        _print_report(report, args)
        return DONE
    with contextlib.ExitStack() as stack:
        if args.dry_run and not path.exists():  # not to be made, so an empty one stands in for it
            path = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        index = stack.enter_context(PassageIndex.open(path))
        report = index.sync(
            args.folder,
            name=args.name,
            check=args.check,
            dry_run=args.dry_run,
            prune=args.prune,
            progress=sys.stderr.isatty(),
        )
        _print_report(report, args)
        if args.watch:
            with contextlib.suppress(KeyboardInterrupt):
                _watch(index, args)
    return DONE


def _watch(index: PassageIndex, args: argparse.Namespace) -> None:
    """Sync whenever files change. What goes wrong is told and may be right the next time."""
    folders = [Path(args.folder)] if args.folder else [*index.folders().values()]
    skipped = None  # known from the report before
    due = True  # once, for what changed before the watch began
    for changed in index.watch(args.folder):
        if not (changed or due) and any(map(Path.is_dir, folders)):
            continue
        due = False
        try:
            report = index.sync(args.folder, name=args.name, prune=args.prune)
        except ReadbackError as error:
            if not any(map(Path.is_dir, folders)):
                raise
            _fail(str(error))
            continue
        news = report.added or report.changed or report.moved or report.removed
        if news or (skipped is not None and skipped != report.skipped):
            _print_report(report, args)
        skipped = report.skipped


def _ask(args: argparse.Namespace) -> int:
    check_question(args.question)  # before the models are loaded
    check_days(args.after, args.before)
    answer = _open_chatbot(args).ask(args.question, after=args.after, before=args.before)
    if args.json:
        _print_json(dataclasses.asdict(answer))
    else:
        _print_answer(answer, timings=args.timings)
    return NEGATIVE if answer.text is None else DONE


def _chat(args: argparse.Namespace) -> int:
    """Ask until the input ends, `exit`, or Ctrl-C."""
    check_days(args.after, args.before)
    with contextlib.suppress(ImportError):  # makes `input` a line editor, where Python has it
        import readline  # noqa: F401

    conversation = _open_chatbot(args).conversation()
    prompt = "> " if sys.stdin.isatty() else ""
    if prompt:
        print("Ask about the documents. `exit` or Ctrl-D ends the conversation.\n")
    try:
        while (question := input(prompt).strip()) not in ("exit", "quit"):
            if question:
                _reply(conversation, question, args)
    except (EOFError, KeyboardInterrupt):
        print()
    return DONE


def _reply(conversation: Conversation, question: str, args: argparse.Namespace) -> None:
    try:
        answer = conversation.ask(question, after=args.after, before=args.before)
        _print_answer(answer, timings=args.timings)
    except QuestionError as error:
        _fail(str(error))
    print(flush=True)


def _serve(args: argparse.Namespace) -> int:
    from qa.page import serve

    _choose_folder(args)
    serve(args.folder, index=_index_folder(args), port=args.port)
    return DONE


def _verify(args: argparse.Namespace) -> int:
    with PassageIndex.open(_made_index(args)) as index:
        problems = index.verify(args.folder)
    if args.json:
        _print_json({"problems": problems})
    elif problems:
        print(*map(_file, problems), sep="\n")  # they name files
    else:
        print("Every stored offset and hash agrees with the files.")
    return NEGATIVE if problems else DONE


def _rollback(args: argparse.Namespace) -> int:
    """Say what the index now is, and why it can't be asked here if that is so."""
    path = _made_index(args)
    stats = PassageIndex.rollback(path)
    if args.json:
        _print_json(dataclasses.asdict(stats))
    else:
        for fact in ("embedder", "documents", "passages", "in_use", "before"):
            print(f"{fact:<10}{printable(str(getattr(stats, fact)))}")
    try:
        PassageIndex.open(path).close()
    except IndexUnavailable as error:  # it is of another embedder
        _fail(str(error))
        return NEGATIVE
    return DONE


def _doctor(args: argparse.Namespace) -> int:
    findings = examine(_index_folder(args) if args.folder or args.index else None)
    if args.json:
        _print_json(findings)
    else:
        _print_findings(findings)
    return NEGATIVE if findings["problems"] else DONE


def _index_folder(args: argparse.Namespace) -> Path:
    """Where the index lies. In a folder that is missing none is looked for, and none made."""
    if args.index:
        return Path(args.index)
    if not args.folder:
        raise FolderError("name a folder of documents, or an index that holds some with --index")
    if not Path(args.folder).is_dir():
        raise FolderError(f"{args.folder} is not a folder; name the one that holds your documents")
    return Path(args.folder) / INDEX_FOLDER


def _made_index(args: argparse.Namespace) -> Path:
    """Where an index lies that must be there already."""
    path = _index_folder(args)
    if not path.exists():
        raise IndexUnavailable(f"there is no index at {path}; make it with `readback sync`")
    return path


def _choose_folder(args: argparse.Namespace) -> None:
    """Where none is named, all that an index holds, else the current folder."""
    if not args.folder and not (args.index and Path(args.index).is_dir()):
        args.folder = "."


def _open_chatbot(args: argparse.Namespace) -> Chatbot:
    """The chatbot over a freshly synced folder; files that could not be read are counted."""
    _choose_folder(args)
    gc.disable()  # importing torch and transformers makes many objects, all there to stay
    try:
        bot = Chatbot.open(args.folder, index=_index_folder(args), progress=sys.stderr.isatty())
    finally:
        gc.freeze()
        gc.enable()
    if bot.busy:
        print(f"readback: {bot.busy}", file=sys.stderr)
    if bot.report.skipped:
        print(
            f"readback: {len(bot.report.skipped)} files or documents could not be read;"
            " `readback sync` says which and why",
            file=sys.stderr,
        )
    if bot.report.kept:
        print(
            f"readback: the documents of {len(bot.report.kept)} files are still asked, though"
            " these can't be found; `readback sync` says which",
            file=sys.stderr,
        )
    return bot


# Printing


def printable(text: str) -> str:
    """`text` with what could drive or deceive a terminal replaced by visible escapes.

    Escaped are control characters other than tab and line feed, line and paragraph separators,
    lone surrogates, and the marks that change the direction of text (Unicode TR 36, 2.8).
    Windows line ends become line feeds.
    """
    return "".join(map(_visible, text.replace("\r\n", "\n")))


def _visible(character: str) -> str:
    if character in "\t\n" or not (
        character in BIDI_CONTROLS or unicodedata.category(character) in CONTROLS
    ):
        return character
    return character.encode("unicode_escape", "surrogatepass").decode()


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return printable(line if len(line) <= HINT else line[: HINT - 1].rstrip() + "…")


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def _print_report(report: SyncReport, args: argparse.Namespace) -> None:
    if args.json:
        _print_json({**dataclasses.asdict(report), "skipped": dict(report.skipped)})
    else:
        for change in ("added", "changed", "moved", "removed", "kept", "unchanged", "skipped"):
            print(f"{change:<10}{len(getattr(report, change)):>7,}")
        for path, reason in report.skipped:
            print(f"  {_file(path)}: {printable(reason)}")
        if report.kept:
            print("  kept: their files can't be found; --prune removes those that are surely gone")
    sys.stdout.flush()


def _print_answer(answer: Answer, *, timings: bool) -> None:
    confidence = f"confidence {answer.confidence:.2f}"
    confidence += " (provisional)" if answer.provisional else ""
    if answer.standalone != answer.question:
        print(f"(searched for: {_one_line(answer.standalone)})")
    if answer.text is None:
        print("The documents don't say.")
        print(f"  best candidate: {confidence}")
        if answer.passages:
            print("\nNearest passages:")
        for passage in answer.passages[:NEAREST]:
            print(f"  {_source(passage)}\n    {_shortened(passage.text)}")
    else:
        print({"yes": "Yes: ", "no": "No: "}.get(answer.verdict or "", "") + printable(answer.text))
        for citation in answer.citations:
            print(f"\n  {_source(citation)} · {confidence}\n    {_one_line(citation.sentence)}")
            _print_copies(citation)
    if timings:
        steps = answer.timings
        print(
            f"\n  embed {steps.embed:.3f} s · search {steps.search:.3f} s"
            f" · read {steps.read:.3f} s · total {steps.total:.3f} s"
        )


def _print_copies(citation: Citation) -> None:
    copies = citation.copies
    if not copies:
        return
    beside = len({copy.document for copy in copies} - {citation.document})
    where = f"in {beside:,} other document{'s'[: beside != 1]}" if beside else "elsewhere in it"
    print(f"    The passage also stands {where}:")
    for copy in copies[:COPIES]:
        print(f"      {_source(copy)}{'' if copy.exact else ' (with small changes)'}")
    if len(copies) > COPIES:
        print(f"      and at {len(copies) - COPIES:,} more, which --json lists")


def _print_findings(findings: dict[str, Any]) -> None:
    sections = {name: facts for name, facts in findings.items() if name != "problems"}
    for section, facts in sections.items():
        print(section)
        for name, fact in (facts or {"": "nothing to show"}).items():
            if isinstance(fact, dict):  # folders by name
                fact = ", ".join(f"{key} {value}".lstrip() for key, value in fact.items())
            print(f"  {name:<21} {'none' if fact is None else printable(str(fact))}")
    print("network\n  No network is needed: both models are on this machine.\n")
    print(*map(printable, findings["problems"] or ["No problems found."]), sep="\n")


def _source(place: Citation | ReadPassage | CopyPlace) -> str:
    """Title, date, file, page and offsets on one line."""
    parts = [_one_line(place.title), place.date, _file(place.document)]
    page = f", page {place.page}" if place.page else ""
    return " · ".join(filter(None, parts)) + f"{page}, characters {place.start} to {place.end}"


def _file(path: str) -> str:
    return printable(path).replace("\n", "\\n")
