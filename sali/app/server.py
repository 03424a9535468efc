"""The server round the page, and the private folder that goes with it."""

import contextlib
import logging
import signal
import socket
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from sali.app.guard import OwnMachineOnly
from sali.app.limits import MEGABYTE, Limits
from sali.app.page import STYLE, THEME, Page
from sali.app.routes import make_router
from sali.app.sessions import Sessions
from sali.errors import ConfigError

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LAST_ANSWERS_SECONDS = 2
"""How long open connections may go on when the server stops."""


@dataclass(frozen=True)
class Address:
    """Where the page is served.

    Attributes:
        host: name or number of an interface of this machine.
        port: 0 for any that is free.
        open_browser: show the page in the user's browser.
    """

    host: str
    port: int
    open_browser: bool


def make_app(page: Page, sessions: Sessions, limits: Limits, capacity: int, host: str) -> FastAPI:
    """Page and routes as one application."""
    app = FastAPI(openapi_url=None)
    app.include_router(make_router(sessions, capacity))
    app.add_middleware(OwnMachineOnly)
    if host in LOOPBACK:  # so that no page of the web reaches it under a name of its own
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"])
    return gr.mount_gradio_app(
        app,
        page.blocks,
        path="/",
        footer_links=[],
        run_history=False,
        max_file_size=int(limits.megabytes * MEGABYTE),
        ssr_mode=False,
        theme=THEME,
        css_paths=STYLE,
    )


def serve(app: FastAPI, address: Address) -> None:
    """Until the user stops it, by Ctrl-C or SIGTERM.

    Raises:
        ConfigError: the address is not to be had.
    """
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listening = socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {address.host}:{address.port} ({error.strerror}); port=0 takes any "
            "that is free"
        ) from error
    host = f"[{address.host}]" if ":" in address.host else address.host
    url = f"http://{host}:{listening.getsockname()[1]}/"
    if address.host not in LOOPBACK:
        log.warning("open to everyone who reaches %s, without a password", address.host)

    def ready() -> None:
        log.info("ready: %s (Ctrl-C stops it and deletes everything)", url)
        if address.open_browser:
            webbrowser.open(url)

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=LAST_ANSWERS_SECONDS,
        proxy_headers=False,
    )
    with contextlib.suppress(KeyboardInterrupt):
        _Server(config, ready).run(sockets=[listening])
    log.info("stopped; uploads and results are deleted")


class _Server(uvicorn.Server):
    """Says when it answers.

    Args:
        config: of uvicorn.
        ready: is called once.
    """

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


def end_on_signals() -> None:
    """SIGTERM and a closed terminal end the program as Ctrl-C does, so that it can tidy up."""

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end)
