"""The page as a person meets it: a real server, a real browser."""

import csv
import io
import json
import re
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest
from live_server import serving
from miniature import wait_for
from video_files import smooth_frames, write_video

from sali.data.frames import read_size
from sali.data.video.decoding import decode_video
from sali.models.shipped import SAMPLE

pytest.importorskip("gradio", reason="gradio is not installed")
pytestmark = pytest.mark.slow
FAST = smooth_frames(8, 96, 120)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running


class Visit:
    """A user with a browser of their own."""

    def __init__(self, browser, url: str, **options) -> None:
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.context = browser.new_context(accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.page.locator("[data-state=idle]").wait_for(timeout=30_000)

    def state(self, name: str, seconds: float = 60) -> None:
        self.page.locator(f"[data-state={name}]").wait_for(timeout=1000 * seconds)

    def number(self, name: str) -> str:
        return self.page.locator(f"[data-number={name}]").inner_text()

    def frames(self) -> int:
        return int(re.match(r"\d*", self.number("frame"))[0] or 0)

    def upload(self, path: Path) -> None:
        self.page.set_input_files("input[type=file]", path)

    def upload_video(self, path: Path) -> None:
        self.upload(path)
        wait_for(lambda: f"uploaded: {path.name}" in self.picked(), 20)

    def picked(self) -> str:
        return self.page.get_by_label("Clip", exact=True).input_value()

    def start(self) -> None:
        self.page.get_by_role("button", name="Start").click()

    def click(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def threshold(self, value: float) -> None:
        box = self.page.get_by_label("number input for Threshold", exact=False)
        box.fill(str(value))
        box.press("Enter")

    def download(self) -> dict[str, bytes]:
        with self.page.expect_download(timeout=60_000) as waiting:
            self.click("Download the result")
        with zipfile.ZipFile(waiting.value.path()) as archive:
            return {n: archive.read(n) for n in archive.namelist() if not n.endswith("/")}

    def close(self) -> None:
        self.context.close()


@pytest.fixture
def visit(browser, server):
    visits: list[Visit] = []

    def open_page(**options) -> Visit:
        visits.append(Visit(browser, server.url, **options))
        return visits[-1]

    yield open_page
    for one in visits:
        assert one.errors == []
        own = [url for url in one.asked if url.startswith((server.url, "data:", "blob:"))]
        assert own == one.asked  # nothing is asked of another machine
        one.close()
    wait_for(lambda: server.held() == [], 20)


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    frames = (frame for _ in range(90) for frame in FAST)
    return mp4(tmp_path_factory.mktemp("long") / "long.mp4", frames)


def mp4(path: Path, frames, **options) -> Path:
    return write_video(path, frames, codec="libx264", pixels="yuv420p", **options)


def test_a_sample_plays_to_the_end_and_can_be_downloaded(visit, tmp_path):
    user = visit()
    assert "not a medical device" in user.page.locator("body").inner_text()
    user.start()
    user.state("finished")
    frames = sorted((SAMPLE / "Frame/case2_1").iterdir())
    assert user.number("frame") == f"{len(frames)} / {len(frames)}"
    assert re.fullmatch(r"\d+\.\d / s", user.number("rate"))
    assert re.fullmatch(r"\d+ ms", user.number("latency"))
    assert user.number("memory") == "3.0 frames"
    texts = user.page.locator(".sali li strong").all_inner_texts()
    shares = [float(text.removesuffix(" %")) for text in texts]
    assert len(shares) == 5 and shares == sorted(shares, reverse=True) and 50 < sum(shares) <= 100.5

    # The threshold changes the picture without another run.
    frame = user.page.locator(".sali-frame")
    pictures = set()
    for value, low, high in ((0.01, 50, 100), (0.99, 0, 50), (0.5, 0, 100)):
        user.threshold(value)
        user.page.locator(f"[data-threshold='{value:.2f}']").wait_for(timeout=20_000)
        pictures.add(frame.get_attribute("src"))
        assert low <= float(user.number("area").split()[0]) <= high, value
    assert len(pictures) > 1 and user.number("frame").startswith(f"{len(frames)} ")

    files = user.download()
    (table,) = [data for name, data in files.items() if name.endswith(".csv")]
    rows = list(csv.DictReader(io.StringIO(table.decode())))
    assert len(rows) == len([name for name in files if name.startswith("maps/")])
    assert len(rows) == len(frames)
    height, width = read_size(frames[-1])
    area = 100 * int(rows[-1]["area"] or 0) / (height * width)
    assert f"{area:.1f} %" == user.number("area")  # of the threshold as it is now
    (overlay,) = [name for name in files if name.endswith(".mp4")]
    (tmp_path / overlay).write_bytes(files[overlay])
    assert len(list(decode_video(tmp_path / overlay))) == len(frames)


def test_numbers_move_and_a_run_can_be_paused_stepped_and_cancelled(visit, long_video):
    user = visit()
    user.upload_video(long_video)
    user.start()
    user.state("running")
    seen = {wait_for(user.frames)}
    wait_for(lambda: seen.add(user.frames()) or len(seen) > 4, 30)
    user.threshold(0.01)
    wait_for(lambda: float(user.number("area").split()[0]) > 99, 20)
    assert user.page.locator("[data-state=running]").count() == 1
    user.click("Pause")
    user.state("paused")
    user.page.wait_for_timeout(300)
    stopped = user.frames()
    user.threshold(0.99)  # draws, though nothing runs
    wait_for(lambda: float(user.number("area").split()[0]) < 99, 20)
    assert user.frames() == stopped
    user.click("Step")
    wait_for(lambda: user.frames() == stopped + 1, 20)
    user.click("Continue")
    wait_for(lambda: user.frames() > stopped + 1, 20)
    user.click("Cancel")
    user.state("cancelled")
    done = user.frames()
    assert stopped < done < 720
    files = user.download()
    assert len(json.loads(files["long.json"])["images"]) == done
    user.start()  # and once more
    user.state("running")


def test_users_run_side_by_side_and_wait_in_a_line(visit, long_video):
    users = [visit() for _ in range(3)]
    for user in users:
        user.upload_video(long_video)
        user.start()
        if user is not users[2]:
            user.state("running")
    users[2].page.get_by_text("queue: 1/1").wait_for(timeout=20_000)
    wait_for(lambda: all(user.frames() for user in users[:2]), 20)
    before = [user.frames() for user in users[:2]]
    wait_for(lambda: all(u.frames() > b for u, b in zip(users, before, strict=False)), 20)
    users[0].click("Cancel")
    users[0].state("cancelled")
    users[2].state("running")
    before = users[1].frames()
    wait_for(lambda: users[1].frames() > before, 20)
    users[0].start()
    users[0].page.get_by_text("queue: 1/1").wait_for(timeout=20_000)
    users[0].click("Cancel")  # leaves the line
    users[0].page.get_by_text("queue: 1/1").wait_for(state="detached", timeout=20_000)


@pytest.mark.parametrize("way", ["closed", "crashed"])
def test_a_page_that_is_gone_ends_its_run_and_leaves_nothing(visit, long_video, server, way):
    user = visit()
    user.upload_video(long_video)
    user.start()
    wait_for(user.frames)
    assert server.held()
    if way == "closed":
        user.page.close()
    else:
        with pytest.raises(Exception, match="crash"):
            user.page.goto("chrome://crash")
    wait_for(lambda: server.held() == [], 20)
    for _ in range(2):  # all seats are free
        other = visit()
        other.start()
        other.state("running")


def test_uploads(visit, tmp_path, server):
    user = visit()
    user.upload_video(mp4(tmp_path / "a film.mp4", FAST))
    user.start()
    user.state("finished")
    assert user.number("frame") == "8 / 8" and user.number("time") == "0:00.28"
    assert "a film" in user.page.locator(".sali-line").inner_text()
    before = server.held()

    for name, write, message in [
        ("notes.mp4", lambda path: path.write_text("text"), "notes.mp4 cannot be read as video"),
        ("long.mp4", lambda p: mp4(p, FAST[:3], times=[0, 9000, 40_000]), "wanted up to 30 s"),
        ("large.mp4", lambda path: path.write_bytes(bytes(2_500_000)), "maximum allowed size"),
    ]:
        path = tmp_path / name
        write(path)
        user.upload(path)
        user.page.get_by_text(message).wait_for(timeout=20_000)
        assert str(server.temporary) not in user.page.locator("body").inner_text()
        wait_for(lambda: server.held() == before, 10)
    assert "a film" in user.picked()
    user.start()  # the page goes on
    user.state("finished")


def test_what_nobody_uses_is_deleted_though_the_page_is_open(browser, tmp_path):
    with serving(tmp_path, "keep_minutes=0.03") as server:
        user = Visit(browser, server.url)
        user.start()
        user.state("finished")
        wait_for(lambda: server.held() == [], 20)
        user.start()
        user.page.get_by_text("reload").wait_for(timeout=20_000)
        user.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_every_control_has_a_name_and_fits_the_screen(visit, width):
    user = visit(viewport={"width": width, "height": 844})
    for role in ("button", "slider", "combobox", "textbox", "spinbutton"):
        for control in user.page.get_by_role(role).all():
            name = control.evaluate("e => e.ariaLabel || e.innerText || e.labels?.[0]?.innerText")
            assert name and name.strip(), control.evaluate("e => e.outerHTML")
    assert user.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_server_that_is_stopped_in_mid_run_leaves_nothing(browser, tmp_path, long_video):
    with serving(tmp_path, f"samples={long_video}") as server:
        user = Visit(browser, server.url)
        user.start()
        wait_for(user.frames)
        assert server.held()
    user.close()


def test_only_this_machine_is_answered(server):
    with urllib.request.urlopen(server.url) as answer:
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        page = answer.read().decode()
    assert "fonts.googleapis" not in page
    stranger = urllib.request.Request(server.url, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(stranger)
    assert refused.value.code == 400


def test_folders_are_private(server):
    (private,) = server.temporary.glob("sali_demo_*")
    assert private.stat().st_mode & 0o777 == 0o700
