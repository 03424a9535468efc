"""Whole clips through a segmenter, every result paired with its frame."""

from collections import deque
from collections.abc import Iterator

from torch import Tensor

from sali.data.datasets import ClipFrame
from sali.streaming.segmenter import StreamSegmenter


class ClipRunner:
    """Push frames of clips in order; take (frame, probability) pairs as they become known.

    A segmenter that looks ahead gives a frame's result one push later; the last frame of a clip
    flushes it, and the first of the next starts from an empty memory.

    Args:
        segmenter: used by this runner alone.
    """

    def __init__(self, segmenter: StreamSegmenter) -> None:
        self.segmenter = segmenter
        self._waiting: deque[ClipFrame] = deque()
        self._expected = (-1, 0)  # clip and index of the frame to come; any clip may start

    def push(self, frame: ClipFrame) -> Iterator[tuple[ClipFrame, Tensor]]:
        """Results that this frame completes; one without an image is passed over.

        The probability is [H, W] at the frame's own size.

        Raises:
            ValueError: frames out of order.
        """
        if frame.number == 0:
            self.segmenter.reset()
            self._waiting.clear()
        elif (frame.clip, frame.number) != self._expected:
            raise ValueError(
                f"frame {frame.number} of clip {frame.clip} came where frame {self._expected[1]} "
                f"of clip {self._expected[0]} was due; the memory needs frames in order"
            )
        self._expected = (frame.clip, frame.number + 1)
        if frame.image is not None:
            self._waiting.append(frame)
            yield from self._take(self.segmenter.step_tensor(frame.image, frame.size))
        if frame.is_last:
            yield from self._take(self.segmenter.flush_tensor())

    def _take(self, probability: Tensor | None) -> Iterator[tuple[ClipFrame, Tensor]]:
        if probability is not None:
            yield self._waiting.popleft(), probability
