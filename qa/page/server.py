"""Serves the page to this machine, and to nobody else.

The page is Gradio's, mounted on an application of our own: it is reached by this machine's own
names only, serves the paths that the page needs and no others, and tells the browser to load
nothing from elsewhere.
"""

import contextlib
import re
import socket
import sys
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from index.errors import ReadbackError
from qa.page.chat import build_blocks

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from qa.chatbot import Chatbot

HOST = "127.0.0.1"
PORTS = range(7860, 7960)  # tried in turn when no port is named
PATHS = re.compile(
    r"/|/favicon\.ico|/theme\.css|/manifest\.json|/pwa_icon|/(assets|static)/.+"
    r"|/gradio_api/(queue/(join|data)|heartbeat/\w+)"
)
# {scripts} are the hashes of the page's inline scripts. Gradio's HTML component builds its
# template with Function, hence 'unsafe-eval', and writes styles in place.
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval' {scripts}; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'self'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def serve(
    folder: str | Path | None = None,
    *,
    index: str | Path | None = None,
    port: int | None = None,
    examples: Sequence[str] = (),
) -> None:
    """Opens the folder, prints the page's address and answers until interrupted.

    `index` is where the index lies (default: `.readback` in the folder; alone: all folders that
    it holds), `port` defaults to the
    first free one from 7860 on (0: any free one), `examples` are questions to start with.
    Raises ReadbackError when the folder can't be opened or the port is taken.
    """
    with _listen(port) as listener:
        from qa.chatbot import Chatbot

        chatbot = Chatbot.open(folder, index=index, progress=sys.stderr.isatty())
        if chatbot.busy:
            print(f"readback: {chatbot.busy}", file=sys.stderr)
        server = _server(build(chatbot, examples=examples))
        address = f"http://{HOST}:{listener.getsockname()[1]}"
        print(f"readback answers at {address} (Ctrl-C stops it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def build(chatbot: "Chatbot", *, examples: Sequence[str] = ()) -> "FastAPI":
    """The page over an open chatbot as an ASGI application, looks and safeguards included."""
    import fastapi
    import gradio as gr
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    here = Path(__file__).parent
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    app: FastAPI = gr.mount_gradio_app(
        fastapi.FastAPI(middleware=[hosts], openapi_url=None),
        build_blocks(chatbot, examples=examples),
        path="/",
        app_kwargs={"middleware": [Middleware(Guard)], "openapi_url": None},
        css_paths=here / "page.css",
        js=(here / "page.js").read_text(encoding="utf-8"),
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]).set(
            body_background_fill="#fbfaf7",
            body_background_fill_dark="#17181b",
            body_text_color="#22211e",
            body_text_color_dark="#e7e5e0",
        ),
        favicon_path=str(here / "icon.svg"),
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
    )
    return app


class Guard:
    """Lets through the paths that the page needs and sends the page with a policy.

    The policy (Content-Security-Policy, W3C) allows the page's own inline scripts by their
    hashes, so the response is held until it is whole.
    """

    def __init__(self, app: "ASGIApp") -> None:
        self.app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        from starlette.datastructures import MutableHeaders
        from starlette.responses import PlainTextResponse

        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if not PATHS.fullmatch(scope["path"]):
            await PlainTextResponse("Not found", 404)(scope, receive, send)
            return
        if scope["path"] != "/":
            await self.app(scope, receive, send)
            return

        messages: list[Message] = []

        async def hold(message: "Message") -> None:
            messages.append(message)

        await self.app(scope, receive, hold)
        page = b"".join(message.get("body", b"") for message in messages)
        MutableHeaders(scope=messages[0])["Content-Security-Policy"] = policy(page)
        for message in messages:
            await send(message)


def policy(page: bytes) -> str:
    """The policy for this page, with the hashes of its inline scripts."""
    scripts = re.findall(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", page, re.DOTALL)
    digests = (b64encode(sha256(script).digest()).decode() for script in scripts)
    return POLICY.format(scripts=" ".join(f"'sha256-{digest}'" for digest in digests))


def _server(app: "FastAPI") -> "uvicorn.Server":
    """A server that hangs up when it is stopped, since an open page holds its line for good."""
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for connection in self.server_state.connections:
                connection.transport.close()
            await super().shutdown(sockets)

    return Server(uvicorn.Config(app, ws="none", log_level="warning", server_header=False))


def _listen(port: int | None) -> socket.socket:
    """A socket listening on the port, or on the first free one of PORTS."""
    if port is not None and not 0 <= port <= 65_535:
        raise ReadbackError(f"port {port} does not exist; name one from 0 to 65535 with --port")
    for candidate in PORTS if port is None else [port]:
        with contextlib.suppress(OSError):
            return socket.create_server((HOST, candidate))
    taken = f"ports {PORTS[0]} to {PORTS[-1]} are" if port is None else f"port {port} is"
    raise ReadbackError(f"{taken} taken or not allowed here; name another with --port")
