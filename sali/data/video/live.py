"""Cameras and network streams: the newest frame, one at a time."""

import logging
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

import av
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from sali.data.samples import End, StreamItem
from sali.data.video.decoding import (
    RATE_WHERE_UNKNOWN,
    Picture,
    decoded,
    deinterlaced,
    display_matrix,
    picture_stream,
    reason_of,
    shown_rgb,
    time_of,
)
from sali.data.video.files import to_frame
from sali.errors import ConfigError, DataError, FrameError
from sali.ranges import check_ranges

log = logging.getLogger(__name__)

SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "srt")
PROTOCOLS = (*SCHEMES, "rtmpt", "rtmpts", "rtp", "srtp", "tcp", "tls", "crypto", "httpproxy")
"""Protocols that an address, or a playlist that it delivers, may use: no local files."""
CLOSING_SECONDS = 1.0
"""Longest wait for a connection to be closed cleanly."""
CAMERA = re.compile(r"(?:/dev/video)?(\d+)")
Item = TypeVar("Item")


@dataclass(frozen=True)
class LiveSettings:
    """Options of live sources, explained in `configs/predict.yaml`."""

    open_timeout: float
    read_timeout: float
    max_seconds: float | None
    drop_late: bool
    rtsp_transport: str
    camera_size: str | None
    camera_rate: float | None

    def __post_init__(self) -> None:
        check_ranges({"live": vars(self)}, "predict")


@dataclass(frozen=True)
class Live:
    """A camera or a network stream.

    Nothing is known of its video before it is opened; a frame has its own time.

    Attributes:
        name: Name for files.
        address: Address that FFmpeg opens.
        shown: Address for messages, without a password.
        format: FFmpeg's input format, of cameras.
    """

    name: str
    address: str
    shown: str
    format: str | None = None

    time_base = Fraction(1, 90_000)
    rate = RATE_WHERE_UNKNOWN
    pixel_aspect = Fraction(1)


def find_live(source: str, platform: str = sys.platform) -> Live | None:
    """Return the camera or stream that a user names; None for files and folders.

    Args:
        source: Index of a camera (where no file has that name), `/dev/video0`, on Windows
            `video=<its name>`, or an address of one of `SCHEMES`.
        platform: As `sys.platform`.

    Raises:
        ConfigError: An address of another kind, or without a host; a camera by index on Windows.
    """
    if "://" in source:
        return _stream(source)
    if platform == "win32" and source.startswith("video="):
        name = re.sub(r"[^\w.-]+", "_", source.removeprefix("video="))
        return Live(f"camera_{name}", source, source, "dshow")
    camera = CAMERA.fullmatch(source)
    if not camera or (source.isdigit() and Path(source).exists()):
        return None
    index = int(camera[1])
    if platform == "win32":
        raise ConfigError(
            f"source {source!r}: cameras have names on Windows; give source=\"'video=<name>'\""
        )
    if platform == "darwin":
        return Live(f"camera{index}", str(index), f"camera {index}", "avfoundation")
    return Live(f"camera{index}", f"/dev/video{index}", f"camera /dev/video{index}", "v4l2")


def _stream(source: str) -> Live:
    scheme = source.partition("://")[0].lower()
    if scheme not in SCHEMES:
        raise ConfigError(
            f"source {without_password(source)!r} is an address of {scheme!r}; wanted one of "
            f"{', '.join(SCHEMES)}, or a file or folder"
        )
    try:
        parts = urlsplit(source)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"source {without_password(source)!r}: {error}") from error
    if not host and port is None:
        raise ConfigError(f"source {without_password(source)!r} names no host")
    name = re.sub(r"[^a-z0-9.-]+", "_", host.lower()).strip("._") if host else ""
    return Live(f"live_{name or port}", source, without_password(source))


def without_password(address: str) -> str:
    """Return an address for logs: without `user:password@` and without what follows `?`."""
    return re.sub(r"://.*@", "://", address).partition("?")[0]


class Mailbox(Generic[Item]):
    """Queue of at most one item: one thread puts, another takes.

    Args:
        replaces: A new item takes the place of one that nobody took; else `put` waits.

    Attributes:
        received: Number of items that were put.
        dropped: Number of items whose place was taken.
    """

    def __init__(self, replaces: bool) -> None:
        self.received = 0
        self.dropped = 0
        self._replaces = replaces
        self._item: Item | None = None
        self._closed = False
        # Reentrant: a signal handler may close it while its thread holds the lock.
        self._changed = threading.Condition(threading.RLock())

    def put(self, item: Item) -> bool:
        """Leave an item; return False if the mailbox is closed."""
        with self._changed:
            while not self._replaces and self._item is not None and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self.received += 1
            self.dropped += self._item is not None
            self._item = item
            self._changed.notify_all()
            return True

    def take(self) -> Item | None:
        """Return the next item as soon as there is one; None when closed and empty."""
        with self._changed:
            while self._item is None and not self._closed:
                self._changed.wait(0.2)  # signals are handled in between
            item, self._item = self._item, None
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Refuse further items; one that is there can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


@dataclass(eq=False)
class LiveFrames:
    """Frames of a live source, each as a list of one; at the end an `End`.

    A thread receives and decodes. With `drop_late` it keeps the newest frame only: a frame that
    arrives while the network works replaces it, so that no delay builds up.

    Attributes:
        keep_pictures: Give the frames at their own size too.
        damaged: Number of frames so far that could not be decoded.
        mailbox: Decoded frames, and how many so far were received and dropped.
    """

    live: Live
    settings: LiveSettings
    image_size: int
    keep_pictures: bool

    def __post_init__(self) -> None:
        self.damaged = 0
        self.mailbox: Mailbox[VideoFrame] = Mailbox(replaces=self.settings.drop_late)
        self._end = ""

    def stop(self) -> None:
        """End the stream; safe to call from signal handlers."""
        self.mailbox.close()

    def __iter__(self) -> Iterator[list[StreamItem]]:
        thread = threading.Thread(target=self._receive, name=self.live.name, daemon=True)
        thread.start()
        number = 0
        try:
            for picture in self._pictures():
                yield [to_frame(picture, 0, number, self.image_size, self.keep_pictures)]
                number += 1
        finally:
            self.mailbox.close()
        thread.join(timeout=CLOSING_SECONDS)
        if number == 0:
            raise DataError(f"{self.live.shown}: {self._end or 'stopped before the first frame'}")
        if self._end:
            log.warning("%s ended: %s", self.live.shown, self._end)
        yield [End(clip=0, number=number)]

    def _pictures(self) -> Iterator[Picture]:
        reformatter = VideoReformatter()
        first: Fraction | None = None
        matrix, began, last = None, 0.0, Fraction(-1)
        while (frame := self.mailbox.take()) is not None:
            now = time.monotonic()
            if first is None:
                began, first, matrix = now, time_of(frame), display_matrix(frame)
            limit = self.settings.max_seconds
            if limit is not None and now - began >= limit:
                return
            stamp = time_of(frame)
            if stamp is None or first is None:  # frames without times: when they come
                seconds = Fraction(round((now - began) * 1000), 1000)
            else:
                seconds = stamp - first
            last = max(seconds, last + self.live.time_base)  # a sender may start its clock again
            yield Picture(shown_rgb(frame, reformatter, matrix), last)

    def _receive(self) -> None:
        """Receive frames (in a thread of its own)."""
        problem = ""
        try:
            limits = self.settings.open_timeout, self.settings.read_timeout
            options = open_options(self.live, self.settings)
            address, kind = self.live.address, self.live.format
            with av.open(
                address, format=kind, options=options, timeout=limits, metadata_errors="replace"
            ) as container:
                stream = picture_stream(container)
                if stream is None:
                    problem = "it holds no video"
                    return
                stream.thread_type = "SLICE"  # threads by frame would each hold one back
                for frame in deinterlaced(decoded(container, stream)):
                    if isinstance(frame, str) or frame.is_corrupt:
                        self.damaged += 1
                        problem = frame if isinstance(frame, str) else ""
                        continue
                    problem = ""
                    if not self.mailbox.put(frame):
                        return
        except (av.error.FFmpegError, FrameError) as error:
            problem = reason_of(error)
        finally:
            self._end = self._explain(problem)
            self.mailbox.close()

    def _explain(self, problem: str) -> str:
        if "Immediate exit" in problem:
            opened = self.mailbox.received > 0
            wait = self.settings.read_timeout if opened else self.settings.open_timeout
            return f"nothing came for {wait:g} s"
        if "Protocol not found" in problem:
            return "the FFmpeg inside PyAV cannot read this kind of address, or what it points to"
        return problem


def open_options(live: Live, settings: LiveSettings) -> dict[str, str]:
    """Return FFmpeg's options for a source."""
    options: Mapping[str, object | None]
    if live.format:
        options = {"video_size": settings.camera_size, "framerate": settings.camera_rate}
    else:
        options = {
            "protocol_whitelist": ",".join(PROTOCOLS),
            "rtsp_transport": settings.rtsp_transport,
            "overrun_nonfatal": 1,  # of UDP: late packets are lost, the stream continues
        }
    return {name: str(value) for name, value in options.items() if value is not None}
