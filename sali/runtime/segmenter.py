"""Segment a video frame by frame with an exported network, without PyTorch."""

from collections import deque
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sali.data.frames import resize_frame
from sali.errors import ConfigError
from sali.runtime.bundle import Bundle
from sali.runtime.states import Read


class Segmenter:
    """Probability of polyp for every pixel of every frame of one video.

    The same interface, results and state as `sali.streaming.StreamSegmenter`. Use one segmenter
    per stream, or `reset` between videos.

    A network that looks ahead returns the result of an earlier frame, or None, and `flush` returns
    the last.

    Args:
        bundle: Folder that `sali.export` wrote, or one that was read.
        smoothing: Share of the past in an exponential average of the probabilities over time;
            None: as in the bundle.
        threads: Processor threads; None: as the engine chooses.
        settings: Changes of the bundle's settings, e.g. `max_frames` of SALI's memory.

    Raises:
        UserError: A bundle that cannot be used, or a setting that does not fit.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle,
        smoothing: float | None = None,
        threads: int | None = None,
        **settings: Any,
    ) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle(bundle, threads)
        self.smoothing = self.bundle.settings["smoothing"] if smoothing is None else smoothing
        if not 0 <= self.smoothing < 1:
            raise ConfigError(
                f"smoothing: got {self.smoothing}, wanted a share of 0 or more, below 1"
            )
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        """Forget the video: the next frame is the first of a new one."""
        self.video = self.bundle.start(**self._settings)
        self._sizes: deque[tuple[int, int]] = deque()  # of the frames without a result yet
        self._average: np.ndarray | None = None  # of the probabilities [S, S], if smoothed

    @property
    def reads(self) -> list[Read] | None:
        """What the last result read of the past, level by level; None where nothing was read."""
        return self.video.reads

    def step(self, frame: np.ndarray) -> np.ndarray | None:
        """Take the next frame.

        Args:
            frame: RGB, uint8 [H, W, 3].

        Returns:
            Probability, float32 [H, W] in 0..1 at the frame's own size; see the class for which
            frame's.

        Raises:
            ValueError: Not such an array.
        """
        is_array = isinstance(frame, np.ndarray)
        if not is_array or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            what = f"{frame.dtype} {frame.shape}" if is_array else type(frame).__name__
            raise ValueError(f"frame: got {what}, wanted RGB uint8 [H, W, 3] as a NumPy array")
        self._sizes.append((frame.shape[0], frame.shape[1]))
        image = self.bundle.normalise(resize_frame(frame, self.bundle.image_size))
        return self._finished(self.video.step(self.bundle.encode(image[None])))

    def flush(self) -> np.ndarray | None:
        """Return the last frame's map, if it still waits for a later frame; ends the video."""
        return self._finished(self.video.flush()) if self._sizes else None

    def state(self) -> dict[str, Any]:
        """Return a copy of what is remembered of the video, arrays and numbers.

        A frame whose result has not come yet is not in it: it is given again after `load_state`.
        """
        average = None if self._average is None else self._average.copy()
        return {"video": self.video.state(), "average": average}

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from the `state` of a segmenter of the same bundle and settings."""
        self.reset()
        self.video.load_state(state["video"])
        self._average = None if state["average"] is None else state["average"].copy()

    def _finished(self, logits: np.ndarray | None) -> np.ndarray | None:
        if logits is None:
            return None
        # Two steps, as in `StreamSegmenter`: to the network's size, then to the frame's.
        side = self.bundle.image_size
        prediction = _resize(logits[0, 0], (side, side))
        size = self._sizes.popleft()
        if not self.smoothing:
            return _sigmoid(_resize(prediction, size))
        probability = _sigmoid(prediction)
        if self._average is not None:
            probability += np.float32(self.smoothing) * (self._average - probability)
        self._average = probability
        return _resize(probability, size)


def _resize(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(x, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of logits, float32."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1, small) / (1 + small)
