"""Natural order of clips and frames, and which frames the VPS protocol scores."""

import re
from pathlib import PurePath

_SUN_CLIP = re.compile(r"case(\d+)(?:_(\d+))?$")
_SUN_FRAME = re.compile(r"_(\d+)-\d+_a(\d+)_.*image(\d+)$")
_DIGITS = re.compile(r"(\d+)")

SortKey = tuple[tuple[int, int, str], ...]


def clip_key(name: str) -> SortKey:
    """Return the sort key of a clip folder: by case and sub-number where the name has them."""
    match = _SUN_CLIP.match(name)
    if not match:
        return _natural_key(name)
    return tuple((0, int(number or 0), "") for number in match.groups())


def frame_key(name: str) -> SortKey:
    """Return the sort key of a frame's file name within its clip.

    SUN-SEG names (`..._005_001-1_a10_ayy_image0002.png`) sort by the number before the hyphen,
    then by the a-number, then by the image number, so that a9 comes before a10. Names of other
    shapes sort naturally: digits as numbers.
    """
    stem = PurePath(name).stem
    match = _SUN_FRAME.search(stem)
    if not match:
        return _natural_key(stem)
    return tuple((0, int(number), "") for number in match.groups())


def is_scored(index: int, num_frames: int) -> bool:
    """Return whether the frame at a position of an ordered clip counts in the VPS protocol."""
    return 0 < index < num_frames - 1


def _natural_key(name: str) -> SortKey:
    parts = [part for part in _DIGITS.split(name) if part]
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)
