"""Recordings of clips for the Rerun viewer: what was seen, found and remembered, over time."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sali.errors import ConfigError, DataError
from sali.prediction.result import Result

if TYPE_CHECKING:
    from sali.prediction.timeline import Timeline

log = logging.getLogger(__name__)


class Recordings:
    """``<clip>.rrd``; one that is interrupted is kept as ``<clip>.partial.rrd``.

    Args:
        root: folder of the recordings.
        threshold: probability from which on a pixel is polyp.
        about: what is told of the work as a whole, such as its checkpoint and settings.
        options: of ``Timeline``.

    Raises:
        ConfigError: rerun-sdk is not installed, or an option that does not fit.
    """

    def __init__(
        self, root: Path, threshold: float, about: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        check_installed()
        if options["height"] < 1 or options["flush_seconds"] <= 0:
            raise ConfigError("recordings.height and recordings.flush_seconds: wanted above 0")
        if not 1 <= options["jpeg_quality"] <= 100:
            raise ConfigError(
                f"recordings.jpeg_quality is {options['jpeg_quality']}; wanted 1 to 100"
            )
        self.root = root
        self._threshold = threshold
        self._about = about
        self._options = options
        self._open: dict[str, Timeline] = {}

    def write(self, result: Result) -> None:
        clip = result.clip
        if clip not in self._open:
            from sali.prediction.timeline import Timeline

            about = {"clip": clip, "threshold": self._threshold, **self._about}
            of_video = result.time is not None
            self._open[clip] = Timeline(
                self.root / f"{clip}.rrd", self._threshold, of_video, about, **self._options
            )
        self._open[clip].write(result)

    def finish(self, clip: str) -> None:
        if clip in self._open:
            self._open.pop(clip).close(whole=True)

    def discard(self) -> None:
        for timeline in self._open.values():
            try:
                timeline.close(whole=False)
            except DataError as error:  # something else ended the work, and is told
                log.warning("%s", error)
            log.warning("unfinished recording, up to where it stopped: %s", timeline.partial)


def check_installed() -> None:
    """Refuse what cannot be recorded before anything is done.

    Raises:
        ConfigError: rerun-sdk is not installed.
    """
    try:
        import rerun  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "rerun":
            raise
        raise ConfigError(
            "recording=true needs rerun-sdk, which is not installed: pip install 'sali[recording]'"
        ) from error
