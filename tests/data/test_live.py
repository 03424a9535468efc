"""Cameras and streams: what is opened, real streams over loopback, and what they may not reach."""

import functools
import http.server
import itertools
import logging
import os
import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from miniature import wait_for
from video_files import smooth_frames, write_video

from sali.data.samples import End
from sali.data.video.decoding import decode_video
from sali.data.video.live import LiveFrames, LiveSettings, Mailbox, find_live, open_options
from sali.errors import ConfigError, DataError
from sali.prediction.loop import stopped_by_signals

SETTINGS = dict(
    open_timeout=5,
    read_timeout=2,
    max_seconds=None,
    drop_late=False,
    rtsp_transport="tcp",
    camera_size="640x480",
    camera_rate=None,
)


@pytest.mark.parametrize(
    ("source", "platform", "expected"),
    [
        ("0", "linux", ("camera0", "/dev/video0", "v4l2")),
        ("/dev/video12", "linux", ("camera12", "/dev/video12", "v4l2")),
        ("1", "darwin", ("camera1", "1", "avfoundation")),
        ("video=My Cam/2", "win32", ("camera_My_Cam_2", "video=My Cam/2", "dshow")),
        ("rtsp://u:p@Host.org:554/a/../b?k=1", "linux", ("live_host.org", None, None)),
        ("udp://@:1234", "linux", ("live_1234", None, None)),
        ("http://[::1]:80/x.m3u8", "linux", ("live_1", None, None)),
    ],
)
def test_what_is_opened_and_how_it_is_called(source, platform, expected):
    live = find_live(source, platform)
    name, address, kind = expected
    assert (live.name, live.address, live.format) == (name, address or source, kind)


def test_files_are_not_live(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_live("clip.mp4") is None and find_live("video=a", "linux") is None
    (tmp_path / "0").mkdir()
    assert find_live("0") is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("file:///etc/passwd", "an address of 'file'; wanted one of rtsp"),
        ("concat://a|b", "an address of 'concat'"),
        ("rtsp:///a", "names no host"),
        ("rtsp://h:99999/a", "Port out of range"),
    ],
)
def test_other_addresses_are_refused(source, message):
    with pytest.raises(ConfigError, match=message):
        find_live(source)


def test_passwords_are_not_shown():
    shown = find_live("rtsp://user:p@ss/w@host:554/live?token=secret").shown
    assert "p@ss" not in shown and "user" not in shown and "secret" not in shown


def test_cameras_are_asked_for_a_size_and_streams_may_not_read_files():
    settings = LiveSettings(**SETTINGS)
    assert open_options(find_live("0", "linux"), settings) == {"video_size": "640x480"}
    options = open_options(find_live("udp://h:1"), settings)
    allowed = options["protocol_whitelist"].split(",")
    assert not {"file", "concat", "concatf", "data", "pipe", "subfile", "unix", "fd"} & {*allowed}


@pytest.fixture
def web(tmp_path):
    """A folder and the address under which it is served."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    (tmp_path / "web").mkdir()
    handler = functools.partial(Quiet, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path / "web", f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def write_stream(path, count=20):
    frames = smooth_frames(count, 48, 64)
    return write_video(path, frames, "libx264", "yuv420p", options={"g": "5", "bf": "0"})


def frames_of(address, **changes):
    return LiveFrames(find_live(address), LiveSettings(**{**SETTINGS, **changes}), 64, True)


def test_a_stream_gives_all_its_frames_and_times_from_zero(web):
    folder, address = web
    write_stream(folder / "a.ts")
    live = frames_of(f"{address}/a.ts")
    *frames, (end,) = live
    assert [frame.number for (frame,) in frames] == list(range(20))
    assert [float(frame.time) for (frame,) in frames] == pytest.approx(np.arange(20) * 0.04)
    assert frames[0][0].picture.shape == (48, 64, 3) and frames[0][0].image.shape == (3, 64, 64)
    assert isinstance(end, End) and end.is_last and end.number == 20
    assert (live.mailbox.received, live.mailbox.dropped) == (20, 0)


def test_late_frames_are_dropped_and_counted(web):
    folder, address = web
    path = write_stream(folder / "a.ts", 60)
    live = frames_of(f"{address}/a.ts", drop_late=True)
    shown = []
    for (frame,) in live:
        shown.append(frame)
        # A network that takes longer than the whole stream.
        wait_for(lambda: live.mailbox.received == 60)
    *frames, _ = shown
    assert [frame.number for frame in frames] == list(range(len(frames)))
    assert live.mailbox.received == 60 and live.mailbox.dropped == 60 - len(frames) > 0
    *_, newest = decode_video(path)
    assert (frames[-1].picture.numpy() == newest.rgb).all()


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAYLIST.format("file://{secret}"),
        PLAYLIST.format("{secret}"),
        PLAYLIST.format("concat:{secret}"),
        PLAYLIST.format("subfile,,start,0,end,0,,:{secret}"),
        "ffconcat version 1.0\nfile {secret}\n",
        "ffconcat version 1.0\nfile file://{secret}\n",
    ],
)
def test_what_an_address_delivers_cannot_point_to_local_files(web, tmp_path, text):
    folder, address = web
    secret = write_stream(tmp_path / "secret.ts", 5)
    (folder / "list.m3u8").write_text(text.format(secret=secret))
    with pytest.raises(DataError, match="list.m3u8: ."):
        list(frames_of(f"{address}/list.m3u8"))


def test_a_playlist_of_the_same_host_is_read(web):
    folder, address = web
    write_stream(folder / "a.ts", 5)
    (folder / "list.m3u8").write_text(PLAYLIST.format("a.ts"))
    assert len(list(frames_of(f"{address}/list.m3u8"))) == 6


def test_nobody_answers(web):
    _, address = web
    with pytest.raises(DataError, match=r"none.ts: .*404"):
        list(frames_of(f"{address}/none.ts"))
    with pytest.raises(DataError, match="Connection refused"):
        list(frames_of("http://127.0.0.1:1/a.ts"))
    with pytest.raises(DataError, match="nothing came for 0.3 s"):
        list(frames_of("udp://127.0.0.1:9", open_timeout=0.3))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_stream_in_order(web, caplog, name):
    folder, address = web
    write_stream(folder / "a.ts")
    live = frames_of(f"{address}/a.ts")
    caplog.set_level(logging.WARNING)
    numbers, before = [], signal.getsignal(signal.SIGINT)
    with stopped_by_signals(live.stop):
        for (frame,) in live:
            numbers.append((frame.number, frame.is_last))
            if frame.number == 5:
                os.kill(os.getpid(), getattr(signal, name))
    assert numbers[5] == (5, False) and numbers[-1][1] and len(numbers) <= 8
    assert signal.getsignal(signal.SIGINT) is before


def test_it_ends_after_the_seconds_that_were_asked_for(web, monkeypatch):
    folder, address = web
    write_stream(folder / "a.ts")
    ticks = itertools.count(step=0.2)  # seconds from frame to frame
    monkeypatch.setattr("sali.data.video.live.time", SimpleNamespace(monotonic=lambda: next(ticks)))
    shown = [frame for (frame,) in frames_of(f"{address}/a.ts", max_seconds=0.5)]
    assert len(shown) == 4 and shown[-1].is_last


def test_a_mailbox_holds_one_item():
    box = Mailbox(replaces=True)
    assert [box.put(item) for item in "abc"] == [True] * 3
    assert (box.take(), box.received, box.dropped) == ("c", 3, 2)
    box.put("d")
    box.close()
    assert (box.take(), box.take(), box.put("e")) == ("d", None, False)
