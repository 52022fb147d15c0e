"""What is on the page and what happens there: a heading, the conversation, a box to ask in.

Each browser session holds its own conversation, made when its first question comes; the
chatbot behind them is shared. How things look is not decided here.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from index.errors import ReadbackError
from qa.page.render import render, render_heading, render_problem, render_question

if TYPE_CHECKING:
    import gradio

    from qa.chatbot import Chatbot, Conversation

INVITATION = (
    "Ask a question. The answer comes in the documents' own words, with the place where they "
    "stand. Nothing leaves this machine."
)
READING = '<p class="busy">Reading…</p>'


@dataclass(slots=True)
class Session:
    """One browser tab's conversation, and what it shows."""

    conversation: "Conversation"
    messages: list[dict[str, str]] = field(default_factory=list)  # as Gradio's Chatbot takes them

    def show(self, role: str, content: str) -> None:
        self.messages.append({"role": role, "content": content})

    def answer(self, question: str) -> str:
        """The reply as HTML, whatever happens: a fault is told, and the conversation goes on."""
        try:
            return render(self.conversation.ask(question))
        except ReadbackError as error:
            return render_problem(str(error))
        except Exception:
            logging.getLogger(__name__).exception("No answer to %r", question)
            return render_problem("that went wrong; the terminal says why")


def build_blocks(chatbot: "Chatbot", *, examples: Sequence[str] = ()) -> "gradio.Blocks":
    """The page over an open chatbot; `examples` are questions to start with."""
    import gradio as gr

    stats = chatbot.index.stats()
    heading = render_heading(
        ", ".join(name or folder.name for name, folder in chatbot.index.folders().items()),
        documents=stats.documents,
        passages=stats.passages,
        skipped=chatbot.report.skipped,
    )

    def ask(question: str, session: Session | None) -> Iterator[tuple[Any, ...]]:
        """Shows the question at once and empties the box; shows the answer when it is there."""
        if not question.strip():
            yield gr.skip(), gr.skip(), session
            return
        session = session or Session(chatbot.conversation())
        session.show("user", render_question(question))
        yield "", [*session.messages, {"role": "assistant", "content": READING}], session
        session.show("assistant", session.answer(question))
        yield gr.skip(), session.messages, session

    def ask_example(example: gr.SelectData, session: Session | None) -> Iterator[tuple[Any, ...]]:
        yield from ask(example.value["text"], session)

    page = gr.Blocks(title="readback", analytics_enabled=False, fill_width=True)
    with page:
        session = gr.State(None)
        with gr.Row(elem_id="heading"):
            gr.HTML(heading)
            afresh = gr.Button("New conversation", elem_id="afresh")
        transcript = gr.Chatbot(
            label="Conversation",
            show_label=False,
            elem_id="transcript",
            placeholder=INVITATION,
            examples=[{"text": question} for question in examples],
            # What it shows is HTML already, all text in it escaped; Gradio sanitises it again.
            render_markdown=False,
            sanitize_html=True,
            allow_tags=False,
            latex_delimiters=[],
            layout="panel",
            height=None,
            autoscroll=False,
            container=False,
            buttons=[],
            feedback_options=None,
        )
        box = gr.Textbox(
            label="Question",
            show_label=False,
            elem_id="question",
            placeholder="Ask the documents",
            max_lines=6,
            submit_btn="Ask",
            container=False,
        )
        turn: dict[str, Any] = {  # one at a time, over all sessions
            "outputs": [box, transcript, session],
            "concurrency_id": "turn",
            "show_progress": "hidden",
            "api_visibility": "private",
        }
        box.submit(ask, [box, session], **turn)
        transcript.example_select(ask_example, session, **turn)
        afresh.click(lambda: ("", [], None), None, **turn)
    return page
