"""RerunWriter of clips for the Rerun viewer: what was seen, found and remembered, over time."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sali.errors import ConfigError, DataError
from sali.prediction.result import Result

if TYPE_CHECKING:
    from sali.prediction.writers.recording_file import RerunFile

log = logging.getLogger(__name__)


class RerunWriter:
    """Recordings as `<clip>.rrd`; an unfinished one is kept as `<clip>.partial.rrd`.

    Args:
        root: Folder of the recordings.
        threshold: Probability from which on a pixel is polyp.
        about: Facts about the whole prediction, such as its checkpoint and settings.
        options: Arguments of `RerunFile`.

    Raises:
        ConfigError: rerun-sdk is not installed, or an option that does not fit.
    """

    def __init__(
        self, root: Path, threshold: float, about: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        check_installed()
        if options["height"] < 1 or options["flush_seconds"] <= 0:
            height, seconds = options["height"], options["flush_seconds"]
            raise ConfigError(
                f"recordings.height, recordings.flush_seconds: got {height} and {seconds}, wanted "
                "numbers above 0"
            )
        if not 1 <= options["jpeg_quality"] <= 100:
            raise ConfigError(
                f"recordings.jpeg_quality: got {options['jpeg_quality']}, wanted 1 to 100"
            )
        self.root = root
        self._threshold = threshold
        self._about = about
        self._options = options
        self._open: dict[str, RerunFile] = {}

    def write(self, result: Result) -> None:
        clip = result.clip
        if clip not in self._open:
            from sali.prediction.writers.recording_file import RerunFile

            about = {"clip": clip, "threshold": self._threshold, **self._about}
            of_video = result.time is not None
            self._open[clip] = RerunFile(
                self.root / f"{clip}.rrd", self._threshold, of_video, about, **self._options
            )
        self._open[clip].write(result)

    def finish(self, clip: str) -> None:
        if clip in self._open:
            self._open.pop(clip).close(whole=True)

    def discard(self) -> None:
        for recording in self._open.values():
            try:
                recording.close(whole=False)
            except DataError as error:  # another error ended the work
                log.warning("%s", error)
            log.warning("unfinished recording, up to where it stopped: %s", recording.partial)


def check_installed() -> None:
    """Raise ConfigError if rerun-sdk is not installed, before anything is done."""
    try:
        import rerun  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "rerun":
            raise
        raise ConfigError(
            "recording=true needs rerun-sdk, which is not installed: pip install 'sali[recording]'"
        ) from error
