"""What the importers share: images and masks of any origin, written as clips or as stills."""

import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from PIL import Image

from sali.data.frames import Bytes, Mask, check_size, read_frame, read_mask, read_size
from sali.data.index import STILLS, SUBSETS
from sali.data.listing import refuse_doubles
from sali.errors import ConfigError, DataError, FrameError
from sali.metrics.operating_point import large_regions
from sali.run.io import put_in_place
from sali.run.progress import progress_bar

log = logging.getLogger(__name__)

MaskReader = Callable[[tuple[int, int]], Mask]
"""Returns the mask of a frame of size (H, W)."""
_JPEG = {".jpg", ".jpeg"}
_KEPT = {*_JPEG, ".png", ".webp"}
_COARSEST = 1
"""Side to decode near, to find out whether a JPEG can be read to its end."""


class Home(NamedTuple):
    """Folders below a data root for frames and their masks; None for frames that need no masks."""

    frames: str
    masks: str | None


class Picture(NamedTuple):
    """One image to import; without a reader of its mask the frame gets none."""

    frame: Path
    mask: MaskReader | None
    home: Home
    stem: str


class Writing(NamedTuple):
    """Pixels that a larger image is reduced to, if any, and quality of a JPEG or WebP that is."""

    longest_side: int | None
    quality: int


def home_of(clip: str | None, subset: str) -> Home:
    """Return the folders of a clip of a subset; without a clip, those of the stills.

    Raises:
        ConfigError: Unknown subset, or a clip's name that is no name of a folder.
    """
    if clip is None:
        return Home(f"{STILLS}/images", f"{STILLS}/masks")
    if subset not in SUBSETS:
        raise ConfigError(f"unknown subset {subset!r}; wanted one of {', '.join(SUBSETS)}")
    if not clip or clip.startswith(".") or Path(clip).name != clip:
        raise ConfigError(f"clip is {clip!r}; wanted the name of a folder, such as case1_1")
    return Home(f"{SUBSETS[subset]}/Frame/{clip}", f"{SUBSETS[subset]}/GT/{clip}")


def pair(
    images: Sequence[Path], masks: Sequence[Path], suffixes: Sequence[str]
) -> list[tuple[Path, Path | None]]:
    """Return each image with its mask, if there is one.

    Of images and of masks no two have the same stem; `suffixes` is what a mask's stem may have
    after its image's, such as "" or "_mask".

    Raises:
        DataError: An image with two masks, or masks of no image.
    """
    by_stem = {path.stem: path for path in masks}
    pairs: list[tuple[Path, Path | None]] = []
    for image in images:
        names = [image.stem + suffix for suffix in suffixes]
        found = [by_stem.pop(name) for name in names if name in by_stem]
        if len(found) > 1:
            raise DataError(
                f"{image} has the masks {found[0].name} and {found[1].name}; wanted one"
            )
        pairs.append((image, found[0] if found else None))
    if by_stem:
        stray = next(iter(by_stem.values()))
        raise DataError(
            f"{len(by_stem)} masks in {stray.parent} have no image, e.g. {stray.name}; wanted an "
            f"image's name with one of the endings {', '.join(repr(s) for s in suffixes)}"
        )
    return pairs


def mask_file(frame: Path, path: Path, above: int, smallest: int = 1) -> MaskReader:
    """Return the reader of a mask file that may be a JPEG.

    A JPEG blurs what was 0 and 255, so that one without any value above the threshold is taken as
    empty, with a line in the log; `read_mask` refuses other files then. Regions of fewer pixels
    than `smallest` are left out.
    """

    def read(size: tuple[int, int]) -> Mask:
        highest = int(read_frame(path)[0].max()) if path.suffix.lower() in _JPEG else 0
        if 0 < highest <= above:
            log.warning("%s: nothing is above %d, taken as empty (%d)", path, above, highest)
            return empty_mask(size)
        mask = read_mask(path, above)
        check_size(frame, size, path, mask)
        return large_regions(mask, smallest)

    return read


def empty_mask(size: tuple[int, int]) -> Mask:
    """Return the mask of a frame of size (H, W) without a polyp."""
    return np.zeros(size, np.bool_)


def write_pictures(output: Path, pictures: Sequence[Picture], writing: Writing) -> None:
    """Write images and masks; their folders appear when everything is written.

    JPEG, PNG and WebP files that keep their size are copied as they are; others become PNG.

    Raises:
        DataError: Folders that are already there, or two images of one name.
        FrameError: A file that cannot be read, or a mask that does not fit its frame.
    """
    homes = dict.fromkeys(folder for picture in pictures for folder in picture.home if folder)
    for folder in homes:
        if (output / folder).exists():
            raise DataError(f"{output / folder} is already there; delete it or name another")
    refuse_doubles((f"{picture.home.frames}/{picture.stem}", picture.frame) for picture in pictures)
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        draft = Path(folder)
        with progress_bar("images") as progress:
            tracked = progress.track(pictures, description="import")
            num_polyps = sum(_write(draft, picture, writing) for picture in tracked)
        for home in homes:
            (output / home).parent.mkdir(parents=True, exist_ok=True)
            put_in_place(draft / home, output / home)
    log.info(
        "%d images, %d of them with a polyp, in %d folders of %s",
        len(pictures),
        num_polyps,
        len({picture.home for picture in pictures}),
        output,
    )


def log_passed_over(files: Iterable[Path], what: str) -> None:
    """Log how many files were not imported, if any, with an example."""
    passed = sorted(files)
    if passed:
        log.info("passed over %d %s, e.g. %s", len(passed), what, passed[0])


def _write(draft: Path, picture: Picture, writing: Writing) -> bool:
    """Write an image and its mask, and return whether it shows a polyp."""
    size = read_size(picture.frame)
    mask = picture.mask(size) if picture.mask else None
    suffix = picture.frame.suffix.lower()
    frames = draft / picture.home.frames
    frames.mkdir(parents=True, exist_ok=True)
    fits = writing.longest_side is None or max(size) <= writing.longest_side
    if fits and suffix in _KEPT:
        read_frame(picture.frame, near=_COARSEST)
        shutil.copyfile(picture.frame, frames / f"{picture.stem}{suffix}")
    else:
        image = _fitted(read_frame(picture.frame)[0], writing.longest_side)
        target = frames / f"{picture.stem}{suffix if suffix in _KEPT else '.png'}"
        image.save(target, quality=writing.quality)
    if mask is None:
        return False
    assert picture.home.masks is not None
    masks = draft / picture.home.masks
    masks.mkdir(parents=True, exist_ok=True)
    grey = np.asarray(_fitted(mask * np.uint8(255), writing.longest_side))
    if mask.any() and not (grey > 127).any():
        raise FrameError(
            f"{picture.frame}: nothing is left of its mask at longest_side={writing.longest_side}; "
            "give a larger one, or null"
        )
    Image.fromarray((grey > 127) * np.uint8(255)).save(masks / f"{picture.stem}.png")
    return bool(mask.any())


def _fitted(pixels: Bytes, longest: int | None) -> Image.Image:
    image = Image.fromarray(pixels)
    if longest is None or max(image.size) <= longest:
        return image
    scale = longest / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)
