"""Which past frames a result read, as small pictures."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

HEAT_STRENGTH = 0.75
HEAT_MAP = cv2.COLORMAP_VIRIDIS


@dataclass(frozen=True)
class PastFrame:
    """A frame that the memory holds elements of.

    Attributes:
        number: in its video.
        time: seconds; None for frames in files.
        jpeg: a small picture of it; there may be hundreds.
    """

    number: int
    time: float | None
    jpeg: bytes

    @property
    def picture(self) -> np.ndarray:
        """RGB uint8 [h, w, 3]."""
        picture = cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert picture is not None
        return picture


@dataclass(frozen=True)
class Album:
    """How past frames are kept.

    Attributes:
        width: pixels.
        quality: of JPEGs, 1 to 100.
        most: pictures at once. The memory forgets elements, not frames, so it may hold a few of
            very many frames.
    """

    width: int
    quality: int
    most: int

    def picture(self, number: int, time: float | None, picture: np.ndarray) -> PastFrame:
        """A past frame of its picture, RGB uint8 [H, W, 3]."""
        return PastFrame(number, time, encode_jpeg(shrink(picture, self.width), self.quality))

    def still_there(
        self, past: Mapping[int, PastFrame], stored: Mapping[int, int]
    ) -> dict[int, PastFrame]:
        """Past frames of which the memory holds something; of too many those that it holds most of.

        Args:
            past: by their numbers in the memory.
            stored: elements in the memory, by the same numbers.
        """
        there = sorted((i for i in past if i in stored), key=lambda i: (-stored[i], -i))
        return {i: past[i] for i in sorted(there[: self.most])}


@dataclass(frozen=True)
class Read:
    """What was read of one past frame.

    Attributes:
        frame: the past frame.
        share: of the whole read, 0..1.
        picture: the frame with heat where it was read, RGB uint8 [h, w, 3].
    """

    frame: PastFrame
    share: float
    picture: np.ndarray


def shrink(picture: np.ndarray, width: int) -> np.ndarray:
    """RGB uint8 [H, W, 3] at most ``width`` pixels wide."""
    height = round(picture.shape[0] * width / picture.shape[1])
    if picture.shape[1] <= width:
        return picture
    return cv2.resize(picture, (width, max(1, height)), interpolation=cv2.INTER_AREA)


def encode_jpeg(picture: np.ndarray, quality: int) -> bytes:
    """RGB uint8 [H, W, 3] as a JPEG."""
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def most_read(
    shares: Mapping[int, np.ndarray], past: Mapping[int, PastFrame], count: int
) -> list[Read]:
    """The past frames that were read most, the most read first.

    Args:
        shares: see ``sali.streaming.use_of_frames``.
        past: pictures of frames that are still in the memory.
        count: how many at most.
    """
    there = [(float(share.sum()), index) for index, share in shares.items() if index in past]
    best = sorted(there, key=lambda pair: (-pair[0], -pair[1]))[:count]
    return [Read(past[i], total, heat(past[i].picture, shares[i])) for total, i in best if total]


def heat(picture: np.ndarray, share: np.ndarray) -> np.ndarray:
    """A grey picture with colours where it was read, from its own largest share down.

    Args:
        picture: RGB uint8 [h, w, 3].
        share: [H, W], not negative.
    """
    height, width = picture.shape[:2]
    level = cv2.resize(share.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    level = level / max(float(level.max()), 1e-12)
    colours = cv2.applyColorMap((255 * level).astype(np.uint8), HEAT_MAP)[..., ::-1]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]
    strength = HEAT_STRENGTH * level[..., None]
    return (grey * (1 - strength) + colours * strength).astype(np.uint8)
