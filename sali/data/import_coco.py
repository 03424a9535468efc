"""Annotations in COCO's JSON (CVAT and Label Studio export it), as stills or as one clip.

python -m sali.data.import_coco annotations=instances.json images=frames output=datasets/mine
"""

import json
import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from omegaconf import DictConfig

from sali.cli import command
from sali.config import check_config
from sali.data.frames import Mask
from sali.data.importing import Home, Picture, Writing, home_of, log_passed_over, write_pictures
from sali.data.listing import FRAME_SUFFIXES, frame_key, litter_counted, some_of, visible_files
from sali.errors import ConfigError, DataError, FrameError

log = logging.getLogger(__name__)

Json = Mapping[str, Any]
_NUMBER, _NAME = int | float, str
_LISTS: Mapping[str, Mapping[str, Any]] = {
    "images": {"id": _NAME | int, "file_name": _NAME, "width": _NUMBER, "height": _NUMBER},
    "annotations": {"id": _NAME | int, "image_id": _NAME | int, "category_id": _NAME | int},
    "categories": {"id": _NAME | int, "name": _NAME},
}
"""Lists of COCO's JSON, with what their entries must have of which types."""
_FAR = 1_000_000
"""Pixels from the first one within which the points of a polygon lie."""


@litter_counted()
def import_coco(
    annotations: Path,
    images: Path,
    output: Path,
    home: Home,
    categories: Sequence[str] | None,
    writing: Writing,
) -> None:
    """Write the images that a COCO file lists; those without an annotation show no polyp.

    Regions are polygons, or run lengths in either of COCO's forms. configs/import_coco.yaml says
    what the arguments mean.

    Raises:
        ConfigError: pycocotools is not installed, or categories that the file does not have.
        DataError: Not a COCO file, images that are missing, or annotations of no image, of no
            category or without a region.
        FrameError: An image that cannot be read, or is not of the size that the file says.
    """
    content = read_coco(annotations)
    names = {c["id"]: c["name"] for c in content["categories"]}
    known = sorted(set(names.values()))
    unknown = sorted(set(categories or ()) - set(known))
    if unknown:
        raise ConfigError(
            f"categories names {unknown[0]!r}, and {annotations} has {some_of(known)}"
        )
    regions: dict[Any, list[Json]] = {image["id"]: [] for image in content["images"]}
    left_out: dict[str, int] = defaultdict(int)
    for region in content["annotations"]:
        where = f"{annotations}: annotation {region['id']}"
        if region["image_id"] not in regions:
            raise DataError(
                f"{where} is of image {region['image_id']}, which the file does not list"
            )
        if region["category_id"] not in names:
            raise DataError(
                f"{where} is of category {region['category_id']}, and the file lists "
                f"{some_of(sorted(f'{n} ({name})' for n, name in names.items()))}"
            )
        name = names[region["category_id"]]
        if categories is not None and name not in categories:
            left_out[name] += 1
        else:
            _check_region(region, where)
            regions[region["image_id"]].append(region)
    files = find_images(images, [image["file_name"] for image in content["images"]])
    listed = zip(content["images"], files, strict=True)
    pictures = [
        Picture(path, partial(_mask, path, image, regions[image["id"]]), home, path.stem)
        for image, path in sorted(listed, key=lambda entry: frame_key(entry[1].name))
    ]
    write_pictures(output, pictures, writing)
    empty = sum(not found for found in regions.values())
    if empty:
        log.info("%d of %d images have no annotation and show no polyp", empty, len(regions))
    for name, number in left_out.items():
        log.info("passed over %d annotations of category %s", number, name)
    others = {p for p in visible_files(images) if p.suffix.lower() in FRAME_SUFFIXES} - set(files)
    log_passed_over(others, f"images that {annotations.name} does not list")


def read_coco(path: Path) -> dict[str, list[Json]]:
    """Return the images, annotations and categories of a COCO file.

    Raises:
        DataError: No such file, not JSON, or entries without the keys that COCO wants.
    """
    if not path.is_file():
        raise DataError(f"no file {path}; wanted annotations in COCO's JSON")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    for name, keys in _LISTS.items():
        entries = content.get(name) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise DataError(f"{path} has no list {name!r}; wanted COCO's {', '.join(_LISTS)}")
        for number, entry in enumerate(entries):
            for key, kind in keys.items():
                if not isinstance(entry, dict) or key not in entry:
                    raise DataError(
                        f"{path}: {name}[{number}] has no {key!r}; wanted {', '.join(keys)}"
                    )
                if not isinstance(entry[key], kind):
                    raise DataError(f"{path}: {name}[{number}] has {key} {str(entry[key])[:50]!r}")
    numbers = [image["id"] for image in content["images"]]
    if not numbers or len(set(numbers)) < len(numbers):
        raise DataError(
            f"{path} lists {len(numbers)} images; wanted some, each with an id of its own"
        )
    return {name: content[name] for name in _LISTS}


def find_images(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the files that a COCO file calls by these names.

    Tools differ in what they put before a file's name; where the path from the folder is not there,
    a file of that name anywhere below the folder is taken, if it is the only one.

    Raises:
        DataError: Images that are not there, or a name that several have.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; wanted that of the images")
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in visible_files(folder):
        by_name[path.name].append(path)
    found, missing = [], []
    for name in names:
        inside = PurePosixPath(name.replace("\\", "/"))
        same = by_name[inside.name]
        direct = [path for path in same if path == folder / inside]
        if len(direct or same) > 1:
            raise DataError(f"image {name} may be {same[0]} or {same[1]}; wanted one of that name")
        if same:
            found.append((direct or same)[0])
        else:
            missing.append(name)
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} listed images are not in {folder}, e.g. {missing[0]}"
        )
    return found


def _check_region(region: Json, where: str) -> None:
    """Refuse an annotation that marks no pixels: a box, a point, a line."""
    shape = region.get("segmentation")
    if isinstance(shape, Mapping):
        if not {"counts", "size"} <= shape.keys():
            raise DataError(f"{where} has run lengths without counts or size")
        counts, size = shape["counts"], shape["size"]
        if not (_is_numbers(size, int) and len(size) == 2):
            raise DataError(f"{where} has run lengths of size {size}; wanted [height, width]")
        if isinstance(counts, str):  # compressed, checked by pycocotools
            return
        if not _is_numbers(counts, int):
            raise DataError(f"{where} has run lengths that are not numbers of pixels")
        if sum(counts) != size[0] * size[1]:
            raise DataError(f"{where} has run lengths of {sum(counts)} pixels, and size {size}")
    elif not shape:
        raise DataError(f"{where} has no segmentation; wanted a polygon or run lengths, not a box")
    elif not isinstance(shape, list) or not all(isinstance(one, list) for one in shape):
        raise DataError(f"{where} has no polygons; wanted [[x, y, x, y, ...]]")
    elif any(len(polygon) < 6 for polygon in shape):
        raise DataError(f"{where} has a polygon of fewer than 3 points; wanted [[x, y, x, y, ...]]")
    elif not all(len(one) % 2 == 0 and _is_numbers(one, _NUMBER, -_FAR, _FAR) for one in shape):
        raise DataError(f"{where} has a polygon that is not pairs of numbers within {_FAR} pixels")


def _is_numbers(value: Any, kind: Any, least: float = 0, most: float = math.inf) -> bool:
    """Return whether a value is a list of such numbers."""
    return isinstance(value, list) and all(
        isinstance(one, kind) and least <= one <= most for one in value
    )


def _mask(path: Path, image: Json, regions: Sequence[Json], size: tuple[int, int]) -> Mask:
    """Return the union of regions as the mask of an image file of size (H, W)."""
    from pycocotools import mask as coco

    height, width = image["height"], image["width"]
    if size != (height, width):
        raise FrameError(
            f"{path} is {size[0]}x{size[1]} (height x width), and the annotations say "
            f"{height}x{width}"
        )
    union = np.zeros(size, np.bool_)
    for region in regions:
        shape = region["segmentation"]
        if isinstance(shape, Mapping) and list(shape["size"]) != [height, width]:
            raise FrameError(f"annotation {region['id']} has run lengths of size {shape['size']}")
        try:
            if not isinstance(shape, Mapping) or isinstance(shape["counts"], list):
                shape = coco.frPyObjects(shape, height, width)
            decoded = coco.decode(coco.merge(shape) if isinstance(shape, list) else shape)
        except (ValueError, TypeError) as error:
            raise FrameError(f"cannot read annotation {region['id']}: {error}") from error
        union |= decoded.astype(np.bool_)
    if regions and not union.any():
        numbers = ", ".join(str(region["id"]) for region in regions)
        raise FrameError(
            f"{path}: got annotations ({numbers}) that mark no pixel, wanted a region; correct "
            "or remove them, else the image would count as one without a polyp"
        )
    return union


@command("import_coco")
def main(cfg: DictConfig) -> None:
    """Run `import_coco` from the command line."""
    check_config(cfg, "import_coco")
    try:
        import pycocotools  # noqa: F401
    except ImportError as error:
        raise ConfigError("COCO wants pycocotools: pip install 'sali[coco]'") from error
    import_coco(
        Path(cfg.annotations),
        Path(cfg.images),
        Path(cfg.output),
        home_of(cfg.clip, cfg.subset),
        list(cfg.categories) if cfg.categories is not None else None,
        Writing(cfg.longest_side, cfg.quality),
    )


if __name__ == "__main__":
    main()
