"""What the server answers, and to whom."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.formparsers import MultiPartException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    # Gradio compiles templates and styles in the page; everything comes from this server.
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "frame-ancestors 'self'; form-action 'self'; base-uri 'self'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
}
API = "/gradio_api/"
READ = (
    *("file=", "queue/data", "heartbeat/", "startup-events", "theme.css", "upload_progress"),
    *("app_id", "info"),
)
WRITTEN = ("upload", "queue/join", "run/predict", "cancel", "reset")
"""What the page asks of Gradio. The rest, such as fetching addresses, is not answered."""
FORM_BYTES = 10_000
"""What a form has besides the file in it."""
EVENT_BYTES = 1_000_000
"""Largest content of every other request."""


class Guard:
    """Middleware that answers the page alone, with `HEADERS`.

    The browser loads nothing from other hosts, pages of others cannot use this one, and of Gradio's
    interface only what the page needs is there. No request is longer than it has to be, whether it
    says its length or not, and an upload that breaks off leaves no file.

    Args:
        app: What is guarded.
        max_bytes: Largest upload.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what the page asks, answer the rest with 403 or 404."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        app = self._app
        if scope["type"] == "websocket":  # the page has none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            is_upload = scope["path"].startswith(f"{API}upload")
            most = self._max_bytes + FORM_BYTES if is_upload else EVENT_BYTES
            receive = _at_most(receive, most, is_upload)
            if _is_foreign(headers):
                app = PlainTextResponse("asked by a page of another host", 403)
            elif not _is_of_page(scope["method"], scope["path"]):
                app = PlainTextResponse("not a part of this page", 404)
            elif int(headers.get("content-length", 0)) > most:
                app = PlainTextResponse(f"got more than {most} bytes", 413)
        await app(scope, receive, guarded)


def _at_most(receive: Receive, most: int, is_upload: bool) -> Receive:
    """Return `receive` with an end, at which the parser of forms removes what it began to write."""
    read, is_whole = 0, False

    async def received() -> Message:
        nonlocal read, is_whole
        message = await receive()
        if message["type"] == "http.request":
            read += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if read > most:
                raise MultiPartException(f"got more than the maximum allowed size, {most} bytes")
        elif is_upload and not is_whole:
            raise MultiPartException("the request broke off")
        return message

    return received


def _is_foreign(headers: Headers) -> bool:
    """Return whether a page of another host or port sent a request."""
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


def _is_of_page(method: str, path: str) -> bool:
    if path.startswith(API):
        asked = path.removeprefix(API)
        if method == "POST":
            return asked.rstrip("/") in WRITTEN
        # Gradio would fetch a file=http://... itself.
        return asked.startswith(READ) and "://" not in asked
    return method in ("GET", "HEAD") and not path.startswith("/monitoring")
