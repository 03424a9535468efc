"""Maps of a run on disk, so that its result can be drawn again with another threshold."""

from pathlib import Path

import cv2
import numpy as np

LEVELS = 255


def grey_from(threshold: float) -> int:
    """First grey level of a map that counts as polyp."""
    return min(LEVELS, max(1, round(threshold * LEVELS + 0.5)))


def between_levels(threshold: float) -> float:
    """The nearest threshold half-way between two grey levels.

    With it a map says the same of every pixel as the probability that it was rounded from. 0.5 is
    one of them, no other moves by more than 0.002.
    """
    return (grey_from(threshold) - 0.5) / LEVELS


class KeptMaps:
    """8-bit maps of any size in one file, losslessly compressed.

    Args:
        path: of the file; begun anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._places: list[tuple[int, int]] = []
        self._numbers: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, number: int) -> bool:
        return number in self._numbers

    def add(self, number: int, picture: np.ndarray) -> None:
        """Keep the map uint8 [H, W] of a frame."""
        _, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        self._numbers[number] = len(self._places)
        self._places.append((self._file.tell(), len(data)))
        self._file.write(data.tobytes())
        self._file.flush()

    def read(self, number: int) -> np.ndarray:
        """The map of a frame."""
        start, length = self._places[self._numbers[number]]
        with self._path.open("rb") as file:
            file.seek(start)
            data = file.read(length)
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        return picture

    def close(self) -> None:
        self._file.close()
