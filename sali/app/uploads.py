"""Checks of uploads, in addition to those of size and suffix in Gradio."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from sali.data.samples import Frame
from sali.data.video.files import Video, open_video
from sali.errors import DataError


@dataclass(frozen=True)
class Limits:
    """Limits of an uploaded video.

    Attributes:
        seconds: Longest duration.
        max_pixels: Largest frame.
    """

    seconds: float
    max_pixels: int

    def open(self, path: Path) -> Video:
        """Return the video of an uploaded file, by its header.

        Raises:
            DataError: A file that cannot be used.
        """
        try:
            video = open_video(path, self.max_pixels)
        except DataError as error:
            raise DataError(without_folder(str(error), path)) from error
        self._check_seconds(path.name, video.length / video.rate)
        return video

    def check_frame(self, video: Video, frame: Frame, since: Fraction) -> None:
        """Refuse a decoded frame that is later or larger than the header said.

        Args:
            video: Uploaded video.
            frame: Frame of it.
            since: Seconds since its first frame.

        Raises:
            DataError: Names what it has and what is accepted.
        """
        self._check_seconds(video.path.name, since)
        height, width = frame.size
        if height * width > self.max_pixels:
            raise DataError(
                f"{video.path.name}: got frames of {width}x{height} pixels, wanted up to "
                f"{self.max_pixels} pixels; scale it down"
            )

    def _check_seconds(self, name: str, seconds: Fraction) -> None:
        if seconds > self.seconds:
            raise DataError(
                f"{name}: got {float(seconds):.0f} s, wanted up to {self.seconds:g} s; cut it"
            )


def without_folder(message: str, path: Path) -> str:
    """Return a message that names a file by its name alone: the server's folders are private."""
    for name in (path.absolute(), path):
        message = message.replace(f"{name.parent}/", "")
    return " ".join(message.split())
