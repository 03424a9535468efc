"""A hostile client of a live server: refused or answered harmlessly, and nothing is left of it."""

import json
import os
import stat
import threading
import time
import zlib

import numpy as np
import pytest
from hostile_client import BOUNDARY, Client, answer_of, form, new_page
from live_server import serving
from miniature import wait_for
from video_files import smooth_frames, write_video

pytest.importorskip("gradio", reason="gradio is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def client(server):
    """A client; the server lives after its deeds."""
    made = Client(server.url)
    yield made
    assert server.process.poll() is None
    assert made.ask("GET", "/")[0] == 200
    assert made.ask("GET", "/config")[0] == 200


def files(server):
    return {path for path in server.temporary.rglob("*") if path.is_file()}


def uploads(server):
    return {path for path in files(server) if "samples" not in path.parts}


@pytest.mark.parametrize("name", ["content-length", "chunked", "field"])
def test_more_than_the_limit_is_refused_early_and_nothing_stays(server, client, name):
    before = uploads(server)
    chunk = b"x" * 65536
    kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
    start = form(b"", whole=False)
    if name == "field":  # no file: it would be held in memory
        start = start.replace(b'; filename="a.mp4"', b"")
    length = (
        "Content-Length: 5000000000" if name == "content-length" else "Transfer-Encoding: chunked"
    )
    sent = 0
    with client.connection(60) as conn:
        conn.sendall(client.head("POST", "/gradio_api/upload", [kind, length]))
        try:
            for part in [start, *[chunk] * 2000]:  # 130 MB
                conn.sendall(b"%x\r\n%b\r\n" % (len(part), part) if "chunked" in length else part)
                sent += len(part)
        except OSError:
            pass  # the connection was closed
        status, _, _ = answer_of(conn)
    assert status in (0, 400, 413)
    assert sent < 130_000_000 or status in (400, 413)
    wait_for(lambda: uploads(server) == before, 10)


def test_many_files_in_one_form_have_one_limit(server, client):
    before = uploads(server)
    part = form(b"x" * 900_000, whole=False)
    body = b"\r\n".join([part] * 4) + f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = [f"Content-Type: multipart/form-data; boundary={BOUNDARY}"]
    assert client.ask("POST", "/gradio_api/upload", headers, body)[0] == 413
    assert uploads(server) == before


def test_events_are_short(client):
    assert client.post("/gradio_api/queue/join", {"data": ["x" * 2_000_000]})[0] in (0, 413)


def test_an_upload_that_breaks_off_leaves_no_file(server, client):
    before = files(server)
    for how in ("close", "reset", "half a header"):
        with client.connection() as conn:
            kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
            whole = client.head("POST", "/gradio_api/upload", [kind, "Content-Length: 1000000"])
            conn.sendall(whole[:40] if how == "half a header" else whole)
            if how != "half a header":
                conn.sendall(form(b"x" * 500_000, whole=False))
                wait_for(lambda: files(server) != before, 10)
            if how == "reset":
                conn.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: an RST when it closes
        wait_for(lambda: files(server) == before, 10)


def test_slow_clients_do_not_keep_others_out(client):
    waiting = []
    try:
        for _ in range(150):
            conn = client.connection()
            held = conn.__enter__()
            held.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
            waiting.append(conn)
        began = time.monotonic()
        assert client.ask("GET", "/config")[0] == 200
        assert time.monotonic() - began < 15
    finally:
        for conn in waiting:
            conn.__exit__(None, None, None)


SECRET = "the secret of another folder"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../../../../../../etc/passwd",
        "%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..%252f..%252f..%252fetc/passwd",
        "{served}/../secret.txt",
        "{served}/%2e%2e/secret.txt",
        "{served}/link.txt",
        "{secret}",
        "file://{secret}",
        "//{secret}",
        "{secret}%00.png",
        "..\\..\\secret.txt",
        "{served}",
        "{samples}",
        "/proc/self/environ",
    ],
)
@pytest.mark.parametrize("route", ["/gradio_api/file=", "/static/", "/assets/", "/svelte/", "/"])
def test_files_of_the_machine_are_not_read(server, client, route, path):
    (private,) = server.temporary.glob("sali_demo_*")
    secret = server.temporary.parent / "secret.txt"
    secret.write_text(SECRET)
    (private / "secret.txt").write_text(SECRET)
    sample = next(p for p in (private / "samples").rglob("*") if p.is_file())
    names = {"served": private / "served", "secret": secret, "samples": sample}
    asked = route + path.format(**names)
    try:
        status, _, content = client.ask("GET", asked)
    finally:
        (private / "secret.txt").unlink()
    assert SECRET.encode() not in content and b"root:" not in content
    assert b"PATH=" not in content and sample.read_bytes() not in content
    if route == "/gradio_api/file=":
        assert status in (0, 400, 403, 404), content[:200]


@pytest.mark.parametrize(
    ("method", "path", "headers", "host", "statuses"),
    [
        ("GET", "/", [], "evil.example", (400,)),
        ("GET", "/", [], "127.0.0.1.evil.example", (400,)),
        ("GET", "/", ["Origin: http://evil.example"], None, (403,)),
        ("POST", "/gradio_api/upload", ["Origin: http://localhost:1"], None, (403,)),
        ("POST", "/", [], None, (404, 405)),
        ("PUT", "/gradio_api/upload", [], None, (404, 405)),
        ("TRACE", "/", [], None, (404, 405)),
        ("GET", "/gradio_api/upload", [], None, (404, 405)),
        ("BREW", "/", [], None, (0, 400, 404, 405)),
        ("GET", "/", ["X-A: a\r\n b"], None, (0, 200, 400)),
        ("GET", "/?a=%0d%0aSet-Cookie:%20a=b", [], None, (200,)),
        ("GET", "/%0d%0aSet-Cookie:%20a=b", [], None, (404,)),
        ("GET", "/gradio_api/file=a%0d%0aSet-Cookie:%20a=b", [], None, (403, 404)),
        ("POST", "/gradio_api/upload", ["Content-Length: x"], None, (0, 400)),
        ("POST", "/gradio_api/upload", ["Content-Length: -5"], None, (0, 400)),
        ("GET", "/config", ["X-Forwarded-Host: evil.example"], None, (200,)),
        ("GET", "/" + "a" * 100_000, [], None, (0, 400, 404, 414)),
        ("GET", "/", ["X-A: " + "a" * 100_000], None, (0, 200, 400, 431)),
        (
            "GET",
            "/gradio_api/queue/data",
            ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: YQ=="],
            None,
            (0, 400, 403, 404, 422, 426),
        ),
    ],
)
def test_odd_requests_are_refused_or_harmless(client, method, path, headers, host, statuses):
    if any("Upgrade" in one for one in headers):
        raw = client.head(method, path, headers).replace(
            b"Connection: close", b"Connection: Upgrade"
        )
        with client.connection() as conn:
            conn.sendall(raw)
            status, answered, content = answer_of(conn)
    else:
        status, answered, content = client.ask(method, path, headers, host=host)
    assert status in statuses, content[:200]
    assert "set-cookie" not in answered and "evil.example" not in answered
    assert b"Traceback" not in content


def test_names_of_uploads_stay_names(server, client, tmp_path):
    (private,) = server.temporary.glob("sali_demo_*")
    outside = {path for path in server.temporary.parent.rglob("*") if private not in path.parents}
    for name in (
        "../../../../a.mp4",
        "/etc/a.mp4",
        "a\\..\\..\\b.mp4",
        "a" * 3000 + ".mp4",
        "..",
        "",
    ):
        status, text = client.upload(b"video", name)
        assert status in (0, 200, 400, 413, 422, 500), text
        for path in (
            json.loads(text[text.index("[") : text.rindex("]") + 1]) if status == 200 else ()
        ):
            assert os.path.realpath(path).startswith(str(private / "served"))
    now = {path for path in server.temporary.parent.rglob("*") if private not in path.parents}
    assert now == outside


def bombs(folder):
    """Return contents of hostile uploads by name."""
    large = [np.zeros((2400, 4000, 3), np.uint8)] * 2  # 9.6 million pixels
    write_video(folder / "large.mp4", large, "libx264", "yuv420p")
    write_video(folder / "whole.mp4", smooth_frames(4, 64, 64), "libx264", "yuv420p")
    whole = (folder / "whole.mp4").read_bytes()
    return {
        "empty.mp4": b"",
        "zip.mp4": b"PK\3\4" + zlib.compress(b"\0" * 10**7) * 10,
        "large.mp4": (folder / "large.mp4").read_bytes(),
        "cut.mp4": whole[: len(whole) // 2],
        "playlist.mp4": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "concat.mp4": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "page.html": b"<script>alert(1)</script>",
    }


def test_hostile_videos_are_not_taken(server, client, tmp_path):
    page, before = new_page(), uploads(server)
    assert client.event("_opened", [], page)[0] == 200
    client.last_message(page)
    for name, data in bombs(tmp_path).items():
        status, text = client.upload(data, name)
        assert status in (200, 413), text
        if status != 200:
            continue
        (path,) = json.loads(text[text.index("[") : text.rindex("]") + 1])
        given = {"path": path, "meta": {"_type": "gradio.FileData"}}
        assert client.event("_uploaded", [given], page)[0] == 200
        said = client.last_message(page)
        assert "process_completed" in said and f"uploaded: {name}" not in said, said[-500:]
        assert "Traceback" not in said and str(server.temporary) not in said.split('"title"')[0]
        assert not os.path.exists(path), name  # deleted at once
    assert uploads(server) == before


def test_equal_files_of_two_users_are_two_uploads(client, tmp_path):
    write_video(tmp_path / "a.mp4", smooth_frames(4))
    data = (tmp_path / "a.mp4").read_bytes()
    stored = [json.loads(client.upload(data)[1])[0] for _ in range(2)]
    for path in stored:
        page = new_page()
        client.event("_opened", [], page)
        client.last_message(page)
        client.event("_uploaded", [{"path": path, "meta": {"_type": "gradio.FileData"}}], page)
        assert "uploaded: a.mp4" in client.last_message(page)


def test_what_is_not_ones_own_cannot_be_uploaded_again(server, client):
    """A path in an event would be moved or deleted."""
    (private,) = server.temporary.glob("sali_demo_*")
    samples = {p for p in (private / "samples").rglob("*") if p.is_file()}
    own = server.temporary.parent / "small.ckpt"
    page = new_page()
    client.event("_opened", [], page)
    client.last_message(page)
    for path in (own, next(iter(samples)), "/etc/hostname", private / "served" / "..", "", "."):
        given = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
        client.event("_uploaded", [given], page)
        said = client.last_message(page)
        assert "uploaded: " not in said
    assert own.is_file() and all(p.is_file() for p in samples)


def test_pages_of_others_and_none(client):
    for page in ("nobody", "", "../..", "a" * 5000):
        for name, data in (("_pause", []), ("_export", []), ("_cancel", []), ("_play", [None] * 6)):
            status, text = client.event(name, data, page)
            assert status in (200, 400, 404, 413, 422, 503) or (page, status) == ("", 500), text
            assert "Traceback" not in text
    for wrong in ({"fn_index": 10**6}, {"fn_index": -1}, {"fn_index": "x"}, {"data": 5}, []):
        asked = {"data": [], "fn_index": 0, "session_hash": new_page()} | wrong if wrong else wrong
        status, text = client.post("/gradio_api/queue/join", asked)
        assert status in (200, 400, 404, 422, 500) and "Traceback" not in text


def test_runs_that_nobody_looks_at_end(server, client, tmp_path):
    """More pages than may run, each of which leaves its run at once."""
    pages = [new_page() for _ in range(12)]

    def visit(page):
        client.event("_opened", [], page)
        client.last_message(page)
        config = client.config()
        by_label = {c["props"].get("label"): c["props"] for c in config["components"]}
        options = [by_label["Clip"]["value"], 0.5, by_label["Model"]["value"], "32", 5, 5]
        if client.event("_play", options, page)[0] == 200:
            with client.connection(5) as conn:
                conn.sendall(client.head("GET", f"/gradio_api/queue/data?session_hash={page}"))
                conn.recv(10)

    visitors = [threading.Thread(target=visit, args=(page,)) for page in pages]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()

    def running():
        names = (f"/proc/{server.process.pid}/task/{t}/comm" for t in threads_of(server))
        return sum(open(name).read().startswith("play ") for name in names)

    wait_for(lambda: running() == 0, 60)


def threads_of(server):
    return os.listdir(f"/proc/{server.process.pid}/task")


def test_nobody_else_on_the_machine_can_read_what_is_held(server, client):
    client.upload(b"not a video", "mode.mp4")
    (private,) = server.temporary.glob("sali_demo_*")
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE((private / "served").stat().st_mode) == 0o700
