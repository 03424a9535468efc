"""Limits of uploads, in addition to those of size and suffix in Gradio."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from sali.data.video.files import Video, open_video
from sali.errors import DataError


@dataclass(frozen=True)
class Limits:
    """Limits of an uploaded video.

    Attributes:
        seconds: Longest duration.
        max_pixels: Largest frame; the decoder refuses larger ones, whatever the header says.
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
        self.check_time(video, video.length / video.rate)
        return video

    def check_time(self, video: Video, seconds: Fraction) -> None:
        """Raise DataError for a video that lasts, or a frame that comes, longer than allowed."""
        if seconds > self.seconds:
            raise DataError(
                f"{video.path.name}: got {float(seconds):.0f} s, wanted up to {self.seconds:g} s; "
                "cut it"
            )


def without_folder(message: str, path: Path) -> str:
    """Return a message that names a file by its name alone: the server's folders are private."""
    for name in (path.absolute(), path):
        message = message.replace(f"{name.parent}/", "")
    return " ".join(message.split())
