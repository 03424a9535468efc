"""What is in a folder: images and clips in natural order, without the litter of file managers."""

import hashlib
import logging
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePath

from sali.errors import DataError

log = logging.getLogger(__name__)

MASK_SUFFIX = "_mask"
FRAME_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
LITTER = {
    *("Thumbs.db", "desktop.ini", "@eaDir", "#recycle", "__MACOSX"),
    *("$RECYCLE.BIN", "System Volume Information", "lost+found"),
}
"""What file managers and file systems leave in folders, besides hidden files."""
_SUN_CLIP = re.compile(r"case(\d+)(?:_(\d+))?$")
_SUN_FRAME = re.compile(r"_(\d+)-\d+_a(\d+)_.*image(\d+)$")
_DIGITS = re.compile(r"(\d+)")

SortKey = tuple[tuple[int, int, str], ...]
_passed_over: ContextVar[set[Path] | None] = ContextVar("passed_over", default=None)


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


def case_of(clip: str) -> str:
    """Return the patient video that a clip was cut from: `case12_3` is of case12."""
    return clip.split("_")[0]


def is_scored(index: int, num_frames: int) -> bool:
    """Return whether the frame at a position of an ordered clip counts in the VPS protocol."""
    return 0 < index < num_frames - 1


def _natural_key(name: str) -> SortKey:
    parts = [part for part in _DIGITS.split(name) if part]
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def visible(folder: Path) -> list[Path]:
    """Return the entries of a folder, sorted by name, without hidden ones and `LITTER`."""
    entries = sorted(folder.iterdir())
    kept = [path for path in entries if not (path.name.startswith(".") or path.name in LITTER)]
    passed_over = _passed_over.get()
    if passed_over is not None:
        passed_over.update(set(entries) - set(kept))
    return kept


def visible_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of all folders in it, see `visible`."""
    for path in visible(folder):
        if path.is_dir():
            yield from visible_files(path)
        else:
            yield path


def state_of(files: Iterable[Path], basis: str) -> str:
    """Return a hash that changes with a text, and with the path, size and time of any file."""
    digest = hashlib.sha256(basis.encode())
    for path in files:
        status = path.stat()
        digest.update(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def files_but_litter(folder: Path) -> Iterator[Path]:
    """Yield every file in a folder and below, hidden ones too, but what file managers leave."""
    for path in sorted(folder.iterdir()):
        if path.name in LITTER or path.name == ".DS_Store" or path.name.startswith("._"):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from files_but_litter(path)
        else:
            yield path


@contextmanager
def litter_counted() -> Iterator[None]:
    """Log once, at the end, how much `visible` passed over meanwhile."""
    if _passed_over.get() is not None:  # the whole is counted
        yield
        return
    passed_over: set[Path] = set()
    token = _passed_over.set(passed_over)
    try:
        yield
    finally:
        _passed_over.reset(token)
        if passed_over:
            log.info(
                "passed over %d files of file managers and notebooks, or hidden, e.g. %s",
                len(passed_over),
                min(passed_over),
            )


def list_images(folder: Path, what: str = "frames") -> list[Path]:
    """Return the image files of a folder in order of time: a9 comes before a10.

    Raises:
        DataError: No such folder, no image in it, or two images of one stem.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}")
    images = sorted(images_in(folder), key=lambda path: frame_key(path.name))
    if not images:
        raise DataError(f"no {what} in {folder}; wanted files {', '.join(sorted(FRAME_SUFFIXES))}")
    refuse_doubles((f"frame {frame_stem(path)}", path) for path in images)
    return images


def some_of(names: Iterable[str], most: int = 5) -> str:
    """Return the first of some names, for a message."""
    known = list(names)
    return ", ".join(known[:most]) + (f" and {len(known) - most} more" if len(known) > most else "")


def refuse_doubles(named: Iterable[tuple[str, Path]]) -> None:
    """Raise DataError if two of the files, each after what it would be, would be the same."""
    seen: dict[str, Path] = {}
    for name, path in named:
        if name in seen:
            raise DataError(f"{seen[name]} and {path} would both be {name}; rename one")
        seen[name] = path


def frame_stem(path: Path) -> str:
    """Return the name of a frame: that of its file without suffix, letters composed.

    File systems and archives store `é` as one character or as two (Unicode NFC and NFD).
    """
    return unicodedata.normalize("NFC", path.stem)


def masks_by_frame(masks: Sequence[Path], stems: Collection[str] = ()) -> dict[str, Path]:
    """Return masks by the name of their frame, which is their own, perhaps without `_mask`.

    Args:
        masks: Files of the masks of a clip.
        stems: Names of its frames; where there are none, `_mask` is left out if all masks have it.
    """
    own = {frame_stem(path): path for path in masks}
    if stems or all(stem.endswith(MASK_SUFFIX) for stem in own):
        return {s if s in stems else s.removesuffix(MASK_SUFFIX): path for s, path in own.items()}
    return own


def list_clip_folders(root: Path, what: str = "frames") -> list[Path]:
    """Return the folders in `root` in natural order.

    Raises:
        DataError: No such folder, or no folder in it.
    """
    if not root.is_dir():
        raise DataError(f"no folder {root}")
    folders = [path for path in visible(root) if path.is_dir()]
    if not folders:
        raise DataError(f"no clip folders in {root}; wanted one folder of {what} per clip")
    return sorted(folders, key=lambda path: clip_key(path.name))


def images_in(folder: Path) -> list[Path]:
    """Return the image files of a folder, sorted by name."""
    return [p for p in visible(folder) if p.suffix.lower() in FRAME_SUFFIXES and not p.is_dir()]
