"""A hostile client of the web app: what is answered, and to whom."""

import pytest

pytest.importorskip("starlette", reason="starlette comes with gradio, which is not installed")
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from sali.app.guard import Guard

HOME = "http://127.0.0.1:7860"


@pytest.fixture(scope="module")
def client():
    return TestClient(Guard(PlainTextResponse("the page"), max_bytes=1000), base_url=HOME)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/config", 200),
        ("GET", "/assets/index.js", 200),
        ("GET", "/gradio_api/file=/tmp/sali_demo_x/map.png", 200),
        ("GET", "/gradio_api/queue/data", 200),
        ("POST", "/gradio_api/queue/join", 200),
        ("POST", "/gradio_api/upload", 200),
        ("POST", "/gradio_api/cancel/", 200),
        ("GET", "/gradio_api/file=http://example.com/a", 404),  # Gradio would fetch it
        ("GET", "/gradio_api/file=https%3A//example.com/a", 404),
        ("GET", "/gradio_api/proxy=http://127.0.0.1:22/", 404),
        ("GET", "/gradio_api/deep_link", 404),
        ("GET", "/gradio_api/dev/reload", 404),
        ("GET", "/monitoring/summary", 404),
        ("POST", "/gradio_api/process_recording", 404),
        ("POST", "/gradio_api/component_server", 404),
        ("POST", "/gradio_api/upload_progress", 404),
        ("POST", "/gradio_api/vibe-edit/", 404),
        ("POST", "/login", 404),
        ("PUT", "/config", 404),
        ("DELETE", "/", 404),
    ],
)
def test_only_what_the_page_needs_is_answered(client, method, path, status):
    assert client.request(method, path).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        (HOME, 200),
        ("http://127.0.0.1:9999", 403),
        ("http://localhost:7860", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_pages_of_other_hosts_and_ports_cannot_use_it(client, origin, status, method):
    path = "/gradio_api/upload" if method == "POST" else "/"
    answer = client.request(method, path, headers={} if origin is None else {"Origin": origin})
    assert answer.status_code == (404 if method == "OPTIONS" and status == 200 else status)


@pytest.mark.parametrize("path", ["/", "/gradio_api/proxy=x"])
def test_every_answer_has_the_headers(client, path):
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
    assert not any(name.startswith("access-control") for name in headers)


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [("upload", 10_500, 200), ("upload", 11_500, 413), ("queue/join", 1_000_001, 413)],
)
def test_what_says_that_it_is_too_long_is_not_read(client, path, size, status):
    assert client.post(f"/gradio_api/{path}", content=b"x" * size).status_code == status


async def reading(scope, receive, send):
    """An application that reads a request to its end, as the parser of forms does."""
    await Request(scope, receive).body()
    await PlainTextResponse("read")(scope, receive, send)


@pytest.mark.parametrize(("path", "chunks"), [("upload", 3), ("queue/join", 250)])
def test_what_does_not_say_its_length_ends_too(path, chunks):
    client = TestClient(Guard(reading, max_bytes=1000), base_url=HOME)
    assert client.post(f"/gradio_api/{path}", content=iter([b"x" * 5000] * 2)).text == "read"
    with pytest.raises(MultiPartException, match="maximum allowed size"):  # the parser cleans up
        client.post(f"/gradio_api/{path}", content=iter([b"x" * 5000] * chunks))


def test_there_is_no_websocket(client):
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/gradio_api/queue/join"):
        pass
