"""Frames of evaluated clips with mask and prediction drawn over them: a sheet, and a short film."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from sali.evaluation.inputs import ClipMaps, read_truth
from sali.report.frames import background, read_map
from sali.report.overlay import contact_sheet, draw_overlay

_COLUMNS = 4
_CELL_WIDTH = 320
_JPEG_QUALITY = 90


def overlay(maps: ClipMaps, index: int) -> np.ndarray:
    """Return a frame with its true mask and its map drawn over it, RGB uint8 [H, W, 3]."""
    mask = read_truth(maps.truth, index)
    probability = read_map(maps, index, mask) / np.float32(255)
    return draw_overlay(background(maps, index, mask), probability, mask)


def write_sheet(maps: Sequence[ClipMaps], path: Path, number: int) -> None:
    """Write a contact sheet of frames at even distances over all clips.

    Args:
        maps: Clips of one subset.
        path: JPEG file to write.
        number: Frames on the sheet, at most.
    """
    frames = [(one, index) for one in maps for index in range(len(one.truth))]
    every = max(1, len(frames) // number)
    pictures = [overlay(*frame) for frame in frames[every // 2 :: every][:number]]
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = contact_sheet(pictures, _COLUMNS, _CELL_WIDTH)
    Image.fromarray(sheet).save(path, quality=_JPEG_QUALITY)


def write_film(
    maps: ClipMaps, path: Path, max_frames: int, frames_per_second: float, width: int
) -> None:
    """Write the beginning of a clip as a GIF.

    Args:
        maps: Clip to show.
        path: File to write.
        max_frames: Length of the film.
        frames_per_second: Speed of the film.
        width: Width in pixels.
    """
    pictures = []
    for index in range(min(max_frames, len(maps.truth))):
        drawn = overlay(maps, index)
        size = width, round(width * drawn.shape[0] / drawn.shape[1])
        small = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA)
        pictures.append(Image.fromarray(small))
    path.parent.mkdir(parents=True, exist_ok=True)
    milliseconds = round(1000 / frames_per_second)
    first, *rest = pictures
    first.save(path, save_all=True, append_images=rest, duration=milliseconds, loop=0)
