"""What the server answers, and to whom."""

from starlette.datastructures import Headers, MutableHeaders
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


class Guard:
    """Middleware that answers the page alone, with `HEADERS`.

    The browser loads nothing from other hosts, pages of others cannot use this one, and of Gradio's
    interface only what the page needs is there.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what the page asks, answer the rest with 403 or 404."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        app = self._app
        if scope["type"] == "http":
            if _is_foreign(Headers(scope=scope)):
                app = PlainTextResponse("asked by a page of another host", 403)
            elif not _is_of_page(scope["method"], scope["path"]):
                app = PlainTextResponse("not a part of this page", 404)
        await app(scope, receive, guarded)


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
