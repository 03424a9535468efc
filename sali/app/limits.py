"""What a user may give: checked from name, size and header, before a frame is decoded."""

from dataclasses import dataclass
from pathlib import Path

from sali.data.video.files import Video, open_video
from sali.errors import DataError

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Limits:
    """Of an uploaded video.

    Attributes:
        megabytes: of the file.
        seconds: of its duration.
        max_pixels: of a frame.
        suffixes: of its name, with the dot, in small letters.
    """

    megabytes: float
    seconds: float
    max_pixels: int
    suffixes: tuple[str, ...]

    def check_name(self, name: str) -> None:
        """Refuse a name without a video's suffix.

        Raises:
            DataError: naming those that are taken.
        """
        if Path(name).suffix.lower() not in self.suffixes:
            raise DataError(
                f"{name} is not taken; wanted a video with one of {', '.join(self.suffixes)}"
            )

    def check_size(self, name: str, size: int) -> None:
        """Refuse a file of too many bytes.

        Raises:
            DataError: with both sizes.
        """
        if size > self.megabytes * MEGABYTE:
            raise DataError(
                f"{name} has {size / MEGABYTE:.1f} MB; up to {self.megabytes:g} MB are taken, cut "
                "it or scale it down"
            )

    def check_seconds(self, name: str, seconds: float) -> None:
        """Refuse a video that is too long.

        Raises:
            DataError: with both durations.
        """
        if seconds > self.seconds:
            raise DataError(
                f"{name} lasts {seconds:.0f} s; up to {self.seconds:g} s are taken, cut it"
            )

    def check_pixels(self, name: str, height: int, width: int) -> None:
        """Refuse a frame that is larger than the header said.

        Raises:
            DataError: with its size.
        """
        if height * width > self.max_pixels:
            raise DataError(
                f"{name} turns to frames of {width}x{height} pixels; up to {self.max_pixels} "
                "pixels are taken, scale it down"
            )

    def open(self, path: Path) -> Video:
        """The video of an uploaded file.

        Raises:
            DataError: one line for whatever does not fit.
        """
        self.check_name(path.name)
        self.check_size(path.name, path.stat().st_size)
        try:
            video = open_video(path, self.max_pixels)
        except DataError as error:
            raise DataError(without_folder(str(error), path)) from error
        self.check_seconds(path.name, float(video.length / video.rate))
        return video


def without_folder(message: str, path: Path) -> str:
    """A message that names a file by its name alone; folders of the server are nobody's concern."""
    for name in (path.absolute(), path):
        message = message.replace(f"{name.parent}/", "")
    return message
