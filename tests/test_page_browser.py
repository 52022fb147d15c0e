"""The page in headless Chromium: ask, read the answer and its source, hear that there is none."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Locator,
    Page,
    expect,
    sync_playwright,
)

ROOT = Path(__file__).parent.parent
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
STARTING = 300  # seconds after which a server that says nothing is given up
PATIENCE = 60_000  # milliseconds; slow machines are not what is tested here

QUESTION = "what did Scholz say about supply chains?"
SOURCE = "2022-04-28-kishida-scholz-tokyo.md"
UNANSWERABLE = "How many goals did Messi score?"

HOSTILE_NAME = "<img src=x onerror=alert(1)> **a** [b](javascript:alert(2)).md"
HOSTILE_TITLE = "<script>alert(3)</script> <img src=x onerror=alert(4)> Lighthouse"
HOSTILE_TEXT = (
    "The lighthouse of Skagen <img src=x onerror=alert(5)> was built in 1858"
    " <script>alert(6)</script> by [the crown](javascript:alert(7)) at **great** $$cost$$."
)

expect.set_options(timeout=PATIENCE)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="no Chromium on this machine"
)


@contextmanager
def serving(*arguments: str | Path, cwd: Path) -> Iterator[str]:
    """Runs a copy of app.py in `cwd`; yields the address it prints; ends it with Ctrl-C."""
    app = shutil.copy(ROOT / "app.py", cwd)
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, app, *arguments, "--port", "0"]
    with (
        (cwd / "stderr").open("w+") as stderr,
        subprocess.Popen(
            command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process,
    ):
        patience = threading.Timer(STARTING, process.kill)
        patience.start()
        assert process.stdout is not None
        said = process.stdout.readline()
        patience.cancel()
        address = re.search(r"http://127\.0\.0\.1:\d+", said)
        try:
            assert address, said + (cwd / "stderr").read_text()
            yield address.group()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
    assert process.returncode == 0
    assert "Traceback" not in (cwd / "stderr").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "CI needs Chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page over the sample corpus, started as a newcomer would."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "corpus", folder / "corpus", ignore=shutil.ignore_patterns(".*"))
    checkout = {*(ROOT / "corpus").iterdir()}
    with serving(cwd=folder) as address:
        yield address
    assert {*(ROOT / "corpus").iterdir()} == checkout  # nothing of it went to the original


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page over a document that would like to be markup."""
    folder = tmp_path_factory.mktemp("hostile")
    documents = folder / "<b>documents"
    documents.mkdir()
    (documents / HOSTILE_NAME).write_text(f"# {HOSTILE_TITLE}\n\n{HOSTILE_TEXT}\n")
    (documents / "binary.txt").write_bytes(b"\x00\x01\x02")
    with serving(documents, cwd=folder) as address:
        yield address


@dataclass
class Seen:
    """What a browser context did and met."""

    requests: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # console errors, exceptions, dialogs


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens an address in a session of its own; at the end, nothing may have gone wrong there."""
    visits: list[tuple[str, BrowserContext, Seen]] = []

    def open_page(address: str, **options: Any) -> Page:
        context = browser.new_context(**options)
        seen = Seen()
        visits.append((address, context, seen))

        def read_console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                seen.faults.append(message.text)

        def dismiss(dialog: Dialog) -> None:
            seen.faults.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        page = context.new_page()
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("pageerror", lambda error: seen.faults.append(str(error)))
        page.on("console", read_console)
        page.on("dialog", dismiss)
        page.goto(address)
        expect(box(page)).to_be_focused()
        return page

    yield open_page
    for address, context, seen in visits:
        context.close()
        assert seen.faults == []
        assert seen.requests
        assert [url for url in seen.requests if not url.startswith(f"{address}/")] == []


def box(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Question")


def ask(page: Page, question: str) -> None:
    """Types the question, sends it with Enter, and waits for the reply."""
    replies = page.locator("#transcript :is(.answer, .problem)")
    count = replies.count()
    box(page).fill(question)
    box(page).press("Enter")
    expect(replies).to_have_count(count + 1)


def test_answer_is_quoted_with_its_source(corpus: str, visit: Callable[..., Page]) -> None:
    page = visit(corpus)
    expect(page.get_by_role("heading", level=1)).to_have_text("readback")
    expect(page.locator("header")).to_contain_text(
        re.compile(r"corpus.*\d+ documents.*\d+ passages")
    )

    ask(page, QUESTION)
    expect(page.get_by_role("heading", level=2)).to_have_text([QUESTION])
    expect(box(page)).to_have_value("")
    expect(box(page)).to_be_focused()

    answer = page.locator(".answer")
    expect(answer.locator("blockquote mark")).to_contain_text("supply chains")
    expect(answer.locator(".origin")).to_contain_text("28 April 2022")
    expect(answer.locator(".confidence")).to_contain_text("confidence")
    expect(answer.locator(".timings")).to_contain_text("ms")
    source = answer.locator("details").first
    expect(source.locator("summary")).to_contain_text(SOURCE)
    expect(source.locator("summary")).to_contain_text("28 April 2022")
    expect(source.locator(".passage mark")).to_be_visible()
    quote = answer.locator("blockquote mark").inner_text()
    assert source.locator(".passage mark").inner_text() == quote
    words = (ROOT / "corpus" / SOURCE).read_text(encoding="utf-8")
    assert " ".join(quote.split()) in " ".join(words.split())


def test_unanswerable_question_is_told_so(corpus: str, visit: Callable[..., Page]) -> None:
    page = visit(corpus)
    ask(page, UNANSWERABLE)
    answer = page.locator(".answer")
    expect(answer).to_contain_text("The documents don't say.")
    expect(answer.get_by_role("heading", name="Nearest passages")).to_be_visible()
    passage = answer.locator("details").first
    expect(passage.locator(".passage")).to_be_hidden()
    passage.locator("summary").click()
    expect(passage.locator(".passage")).to_be_visible()


def test_example_is_asked_with_one_click(corpus: str, visit: Callable[..., Page]) -> None:
    page = visit(corpus)
    examples = page.locator("#transcript .example")
    assert examples.count() == 5
    question = examples.first.inner_text()
    examples.first.click()
    expect(page.locator(".answer")).to_have_count(1)
    expect(page.locator(".question")).to_have_text([question])
    expect(box(page)).to_be_focused()


def test_sessions_know_nothing_of_each_other(corpus: str, visit: Callable[..., Page]) -> None:
    one, other = visit(corpus), visit(corpus)
    ask(one, QUESTION)
    ask(other, UNANSWERABLE)
    ask(one, QUESTION)
    expect(one.locator(".question")).to_have_text([QUESTION, QUESTION])
    expect(other.locator(".question")).to_have_text([UNANSWERABLE])

    one.get_by_role("button", name="New conversation").click()
    expect(one.locator(".question")).to_have_count(0)
    expect(box(one)).to_be_focused()
    ask(one, UNANSWERABLE)
    expect(one.locator(".question")).to_have_text([UNANSWERABLE])
    expect(other.locator(".question")).to_have_count(1)


def test_bad_questions_get_a_plain_word(corpus: str, visit: Callable[..., Page]) -> None:
    page = visit(corpus)
    ask(page, "a" * 100_000)
    expect(page.locator(".problem")).to_contain_text("100,000")
    expect(page.locator("#transcript")).not_to_contain_text("Traceback")
    box(page).fill("   ")
    box(page).press("Enter")
    page.wait_for_timeout(1_500)  # an answer to nothing would be there by then
    expect(page.locator(".question")).to_have_count(1)


def test_hostile_document_is_shown_as_text(hostile: str, visit: Callable[..., Page]) -> None:
    page = visit(hostile, viewport={"width": 400, "height": 800})
    expect(page.locator("header .folder")).to_have_text("<b>documents")
    ask(page, f"When was the lighthouse built? {HOSTILE_TEXT}")
    for details in page.locator(".answer details:not([open]) summary").all():
        details.click()
    expect(page.locator(".question")).to_contain_text(HOSTILE_TEXT)
    answer = page.locator(".answer details").first
    expect(answer).to_contain_text(HOSTILE_NAME)
    expect(answer).to_contain_text(HOSTILE_TITLE)
    expect(answer).to_contain_text(HOSTILE_TEXT)
    transcript = page.locator("#transcript")
    expect(transcript.locator("img, script, strong, b, a, .katex")).to_have_count(0)

    page.locator("header summary").click()
    expect(page.locator("header li")).to_contain_text("binary.txt")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == 400  # nothing hangs over the edge of a narrow screen


def test_only_this_page_is_served(corpus: str, visit: Callable[..., Page]) -> None:
    page = visit(corpus)
    fetch = page.request.fetch
    for path in ("config", "docs", "openapi.json", "login", "gradio_api/info", "gradio_api/runs"):
        assert fetch(f"{corpus}/{path}").status == 404
    assert fetch(f"{corpus}/gradio_api/upload", method="POST").status == 404
    assert fetch(f"{corpus}/gradio_api/file=/etc/hostname").status == 404
    assert fetch(corpus, headers={"Host": "example.org"}).status == 400
    policy = fetch(corpus).headers["content-security-policy"]
    assert "default-src 'none'" in policy
