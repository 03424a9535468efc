"""The server of the page: for this machine and the page alone; other hosts are not asked."""

import logging
import secrets
import signal
import socket
import threading
from types import FrameType
from typing import Any

import gradio as gr
from gradio import route_utils
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from sali.app.guard import Guard
from sali.app.page import STYLE, THEME
from sali.errors import ConfigError

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class OwnUpload(route_utils.GradioUploadFile):
    """An upload in a folder of its own, which Gradio names after this hash.

    After that of the content alone equal files of two users would be one, that the first one takes.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.sha.update(secrets.token_bytes())


def serve(blocks: gr.Blocks, host: str, port: int, open_browser: bool, max_bytes: int) -> None:
    """Serve a page until Ctrl-C, SIGTERM or a closed terminal; port 0 is any that is free.

    Raises:
        ConfigError: The address is not available.
    """
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)
    guards = [Middleware(Guard, max_bytes=max_bytes)]
    if host in LOOPBACK:  # so that no page of the web reaches it under a name of its own
        guards.append(Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"]))
    else:
        log.warning("open to everyone who reaches %s, without a password", host)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family) as free:
            port = free.getsockname()[1]
    except OSError as error:
        raise ConfigError(
            f"port: cannot listen on {host}:{port} ({error.strerror}); port=0 takes any that is "
            "free"
        ) from error
    route_utils.GradioUploadFile = OwnUpload  # type: ignore[misc]
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio asks its own server for a start
    _, url, _ = blocks.launch(
        server_name=host,
        server_port=port,
        inbrowser=open_browser,
        max_file_size=max_bytes,
        app_kwargs={"middleware": guards, "openapi_url": None},
        theme=THEME,
        css_paths=STYLE,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        footer_links=[],
        run_history=False,
    )
    log.info("ready: %s (Ctrl-C stops it and deletes everything)", url)
    stopped.wait()
    blocks.close(verbose=False)
    log.info("stopped; uploads and results are deleted")
