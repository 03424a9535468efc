"""Whole clips through segmenters, every result paired with its frame."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from sali.data.samples import Frame, StreamItem
from sali.models.contract import Attention
from sali.streaming.segmenter import StreamSegmenter, step_tensors


class Segmented(NamedTuple):
    """A frame and its result.

    Attributes:
        frame: The frame.
        probability: Probability [H, W] at the frame's own size.
        attention: What the result read of the past, see `StreamSegmenter.attention`.
    """

    frame: Frame
    probability: Tensor
    attention: Attention | None


@dataclass
class _Clip:
    """A clip under way: its segmenter and the frames whose results are still to come."""

    segmenter: StreamSegmenter
    expected: int = 0
    waiting: deque[Frame] = field(default_factory=deque)

    def take(self, probability: Tensor | None) -> Iterator[Segmented]:
        if probability is not None:
            yield Segmented(self.waiting.popleft(), probability, self.segmenter.attention)


class ClipRunner:
    """Push frames of clips in order; take results as they become known.

    Several clips may be under way at once; each has a segmenter, and so a memory, of its own, that
    `make_segmenter` makes; all share one network. One that looks ahead gives a frame's result one
    push later; the last frame of a clip flushes it.

    Attributes:
        segmenter: Segmenter of the clip that the last frame belonged to.
    """

    def __init__(self, make_segmenter: Callable[[], StreamSegmenter]) -> None:
        self._make_segmenter = make_segmenter
        self._clips: dict[int, _Clip] = {}
        self.segmenter: StreamSegmenter | None = None

    def push(self, items: Sequence[StreamItem]) -> Iterator[Segmented]:
        """Yield the results that these items, of different clips, complete; one batch is encoded.

        Unreadable frames are passed over; the last item of a clip flushes it.

        Raises:
            ValueError: Frames out of order.
        """
        clips = [self._clip_of(item) for item in items]
        self.segmenter = clips[-1].segmenter
        arrived = [(f, c) for f, c in zip(items, clips, strict=True) if isinstance(f, Frame)]
        if arrived:
            frames, own = zip(*arrived, strict=True)
            for frame, clip in arrived:
                clip.waiting.append(frame)
            results = step_tensors(
                [c.segmenter for c in own], [f.image for f in frames], [f.size for f in frames]
            )
            for clip, result in zip(own, results, strict=True):
                yield from clip.take(result)
        for item, clip in zip(items, clips, strict=True):
            if item.is_last:
                yield from clip.take(clip.segmenter.flush_tensor())
                del self._clips[item.clip]

    def state(self, clip: int) -> dict[str, Any]:
        """Return what `resume` needs of an unfinished clip, plain tensors and numbers.

        `next_frame` is the number of the frame to push first then: the first one without a result.
        """
        own = self._clips[clip]
        next_frame = own.waiting[0].number if own.waiting else own.expected
        return {"next_frame": next_frame, "segmenter": own.segmenter.state()}

    def resume(self, clip: int, state: dict[str, Any]) -> None:
        """Resume a clip from its `next_frame`."""
        self._clips[clip] = resumed = _Clip(self._make_segmenter(), state["next_frame"])
        resumed.segmenter.load_state(state["segmenter"])

    def _clip_of(self, frame: StreamItem) -> _Clip:
        if frame.number == 0:
            self._clips[frame.clip] = _Clip(self._make_segmenter())
        clip = self._clips.get(frame.clip)
        if clip is None or clip.expected != frame.number:
            due = "its first frame" if clip is None else f"frame {clip.expected}"
            raise ValueError(
                f"frame {frame.number} of clip {frame.clip} came where {due} was due; the memory "
                "needs frames in order"
            )
        clip.expected += 1
        return clip
