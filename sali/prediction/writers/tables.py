"""What was found in every frame as text: a table, and masks as a COCO file."""

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from sali.data.index import Clip
from sali.errors import DataError
from sali.metrics.operating_point import OperatingPoint
from sali.prediction.result import ClipWriter, Result, is_own
from sali.run.io import atomic_write

Box = tuple[int, int, int, int]
"""(x, y, width, height) in pixels."""
COLUMNS = ("frame", "time", "area", "x", "y", "width", "height", "peak")
COCO_MARK = '{"info": {"description": "masks of sali, research software"},'
"""Start of a COCO file that this program wrote."""


def detection_tables(root: Path, point: OperatingPoint) -> ClipWriter:
    """Return a writer of `<clip>.csv` with one row per frame.

    `time` is in seconds (of videos), `area` in pixels, followed by its box; `peak` is the largest
    calibrated probability.
    """

    def row(result: Result) -> str:
        mask = point.mask(result.probability)
        box = cv2.boundingRect(mask.view(np.uint8)) if mask.any() else [""] * 4
        peak = f"{point.calibrated(result.probability.max()):.4f}"
        return csv_text([result.stem, in_seconds(result.time), int(mask.sum()), *box, peak])

    return ClipWriter(
        root,
        lambda clip, saved: TextFile(root / f"{clip.name}.csv", saved, row, csv_text(COLUMNS)),
        suffix=".csv",
        knows=lambda path: is_own(path, csv_text(COLUMNS)),
    )


def mask_files(root: Path, point: OperatingPoint) -> ClipWriter:
    """Return a writer of `<clip>.json` in the format of COCO, see `as_coco`."""

    def line(result: Result) -> str:
        height, width = result.probability.shape
        source, name = result.source, f"{result.stem}.png"  # of a video that of its map
        if isinstance(source, Clip):
            name = source.frames[result.frame.number].name
        image = {"file_name": name, "height": height, "width": width}
        image |= {} if result.time is None else {"time": result.time}
        regions = regions_of(result.probability, point)
        return json.dumps({"image": image, "annotations": regions}) + "\n"

    return ClipWriter(
        root,
        lambda clip, saved: TextFile(root / f"{clip.name}.json", saved, line, finish=as_coco),
        suffix=".json",
        knows=lambda path: is_own(path, COCO_MARK),
    )


def regions_of(probability: np.ndarray, point: OperatingPoint) -> list[dict[str, Any]]:
    """Return an annotation for every connected region of a mask [H, W], without its ids."""
    found = []
    for lesion in find_lesions(probability, point, min_area=1):
        x, y, width, height = lesion.box
        region = np.zeros(probability.shape, np.bool_)
        region[y : y + height, x : x + width] = lesion.mask
        found.append(
            {
                "segmentation": encode_rle(region),
                "area": lesion.area,
                "bbox": list(lesion.box),
                "iscrowd": 0,
                "score": round(lesion.peak, 4),
            }
        )
    return found


class Lesion(NamedTuple):
    """A connected area of one frame: pixels, largest calibrated probability, mask of its box."""

    area: int
    box: Box
    peak: float
    mask: np.ndarray


def find_lesions(probability: np.ndarray, point: OperatingPoint, min_area: int) -> list[Lesion]:
    """Return the lesions of a probability, float32 [H, W], in the order of their first pixels."""
    mask = point.mask(probability).view(np.uint8)
    count, labels, rows, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    found = []
    for label in range(1, count):
        x, y, width, height, area = (int(value) for value in rows[label])
        if area < min_area:
            continue
        window = np.s_[y : y + height, x : x + width]
        inside = labels[window] == label
        peak = float(point.calibrated(probability[window][inside].max()))
        first = int(np.flatnonzero(labels[y] == label)[0])
        found.append((y, first, Lesion(area, (x, y, width, height), peak, inside)))
    return [lesion for *_, lesion in sorted(found, key=lambda one: one[:2])]


def as_coco(lines: Path, final: Path) -> None:
    """Write lines of one image and its annotations each as one COCO file.

    It holds `images`, `annotations` (uncompressed run lengths, box, area, and as `score` the
    largest calibrated probability) and the category polyp. A frame without a region has an
    image only.
    """

    def rows(key: str) -> Iterator[str]:
        number = 0
        with lines.open(encoding="utf-8") as file:
            for image_id, line in enumerate(file, 1):
                row = json.loads(line)
                if key == "image":
                    yield json.dumps({"id": image_id, **row[key]})
                    continue
                for one in row[key]:
                    number += 1
                    yield json.dumps({"id": number, "image_id": image_id, "category_id": 1, **one})

    with atomic_write(final) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(COCO_MARK + '\n"categories": [{"id": 1, "name": "polyp"}],\n')
        for key, name in (("image", "images"), ("annotations", "annotations")):
            file.write(f'"{name}": [')
            for number, row in enumerate(rows(key)):
                file.write((",\n" if number else "\n") + row)
            file.write("\n]}\n" if name == "annotations" else "\n],\n")
    lines.unlink()


@dataclass
class TextFile:
    """Text about one clip, `.<name>.partial` until it is whole.

    Attributes:
        final: Path of the whole file.
        saved: What `save` returned, to continue the partial file there; DataError if it is gone.
        text: What is written of a frame.
        opening: Written first.
        finish: Makes the whole file of the partial one.
        state: Further values that `save` returns.
    """

    final: Path
    saved: dict[str, Any] | None
    text: Callable[[Result], str]
    opening: str = ""
    finish: Callable[[Path, Path], object] = Path.replace
    state: Callable[[], dict[str, Any]] = dict

    def __post_init__(self) -> None:
        saved = self.saved
        self._partial = self.final.with_name(f".{self.final.name}.partial")
        self._partial.parent.mkdir(parents=True, exist_ok=True)
        if saved is None:
            self._file = self._partial.open("w", newline="", encoding="utf-8")
            self._file.write(self.opening)
            return
        if not self._partial.is_file() or self._partial.stat().st_size < saved["bytes"]:
            raise DataError(f"{self._partial} is missing or shorter than it was")
        os.truncate(self._partial, saved["bytes"])
        self._file = self._partial.open("a", newline="", encoding="utf-8")

    def write(self, result: Result) -> None:
        self._file.write(self.text(result))

    def save(self) -> dict[str, Any]:
        self._file.flush()
        return {"bytes": self._partial.stat().st_size, **self.state()}

    def suspend(self) -> None:
        self._file.close()

    def close(self, whole: bool) -> None:
        self._file.close()
        if whole:
            self.finish(self._partial, self.final)
        else:
            self._partial.unlink(missing_ok=True)


def csv_text(*rows: Sequence[Any]) -> str:
    """Return rows of a CSV file."""
    text = StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def encode_rle(mask: np.ndarray) -> dict[str, list[int]]:
    """Return COCO's uncompressed run-length encoding of a boolean mask [H, W].

    Returns:
        {"size": [H, W], "counts": [...]}: lengths of runs down the columns, the first one of
        background (0 if there is none).
    """
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def in_seconds(time: float | None) -> str:
    """Return the time of a frame for a table; empty for frames in files."""
    return "" if time is None else f"{time:.6f}"
