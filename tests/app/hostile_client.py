"""Requests that no browser sends, byte by byte, for the tests of a live web app."""

import json
import secrets
import socket
import time
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

BOUNDARY = "xxSALIxx"


class Client:
    """Speaks HTTP over plain sockets, so that anything can be said.

    Args:
        url: Address of the page.
    """

    def __init__(self, url):
        parts = urlsplit(url)
        self.host, self.port = parts.hostname, parts.port

    @contextmanager
    def connection(self, seconds=10):
        with socket.create_connection((self.host, self.port), timeout=seconds) as conn:
            yield conn

    def head(self, method, path, headers=(), host=None):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host or f'{self.host}:{self.port}'}"]
        return "\r\n".join([*lines, "Connection: close", *headers, "", ""]).encode("latin-1")

    def ask(self, method, path, headers=(), body=b"", host=None, seconds=20):
        """Return the status, the headers in lower case as text, and the start of the content."""
        if body:
            headers = [*headers, f"Content-Length: {len(body)}"]
        with self.connection(seconds) as conn:
            with suppress(
                BrokenPipeError, ConnectionResetError
            ):  # refused before it was read whole
                conn.sendall(self.head(method, path, headers, host) + body)
            return answer_of(conn)

    def post(self, path, content):
        """Send JSON; return the status and what was answered as text."""
        body = json.dumps(content).encode()
        status, _, text = self.ask("POST", path, ["Content-Type: application/json"], body)
        return status, text.decode(errors="replace")

    def upload(self, data, name="a.mp4", query=""):
        """Upload a file as a form; return the status and the paths or the refusal."""
        headers = [f"Content-Type: multipart/form-data; boundary={BOUNDARY}"]
        status, _, text = self.ask("POST", f"/gradio_api/upload{query}", headers, form(data, name))
        return status, text.decode(errors="replace")

    def config(self):
        """Return what Gradio says of the page."""
        text = self.ask("GET", "/config")[2]
        return json.loads(text[text.index(b"{") : text.rindex(b"}") + 1])  # chunked or not

    def event(self, name, data, page):
        """Join an event of the page; return the status and the answer."""
        ids = {one["api_name"]: one["id"] for one in self.config()["dependencies"]}
        asked = {"data": data, "fn_index": ids[name], "session_hash": page, "trigger_id": None}
        return self.post("/gradio_api/queue/join", asked)

    def last_message(self, page, seconds=20):
        """Return what the queue says of a page's events until one is completed."""
        with self.connection(seconds) as conn:
            conn.sendall(self.head("GET", f"/gradio_api/queue/data?session_hash={page}"))
            data, until = b"", time.monotonic() + seconds
            while b"process_completed" not in data and time.monotonic() < until:
                more = conn.recv(65536)
                if not more:
                    break
                data += more
        return data.decode(errors="replace")


def form(data, name="a.mp4", whole=True):
    """Return a form with one file; without its end if it is not whole."""
    head = f'Content-Disposition: form-data; name="files"; filename="{name}"\r\n'
    body = f"--{BOUNDARY}\r\n{head}\r\n".encode() + data
    return body + (f"\r\n--{BOUNDARY}--\r\n".encode() if whole else b"")


def answer_of(conn, most=1 << 20):
    """Return status, headers and content of an answer; status 0 if the connection just ended."""
    data = b""
    try:
        while len(data) < most and (more := conn.recv(65536)):
            data += more
    except (ConnectionResetError, TimeoutError):
        pass
    head, _, content = data.partition(b"\r\n\r\n")
    status = int(head.split()[1]) if head.startswith(b"HTTP/") else 0
    return status, head.decode("latin-1").lower(), content


def new_page():
    """Return a session name as the page makes one."""
    return secrets.token_hex(6)
