"""The chat page: a conversation with a folder of documents, in the browser.

`serve` opens a folder and answers until interrupted; `build` makes the same page over an open
chatbot, as an application for any ASGI server. Nothing here finds or judges an answer.
"""

from qa.page.server import build, serve

__all__ = ["build", "serve"]
