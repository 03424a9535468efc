"""A folder of images and masks (Kvasir-SEG and most others), as stills or as one clip.

python -m sali.data.import_folder source=Kvasir-SEG output=datasets/Kvasir-SEG
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from sali.cli import command
from sali.config import check_config
from sali.data.importing import (
    Home,
    MaskReader,
    Picture,
    Writing,
    empty_mask,
    home_of,
    mask_file,
    pair,
    write_pictures,
)
from sali.data.listing import list_images, litter_counted
from sali.errors import ConfigError, DataError

log = logging.getLogger(__name__)

UNMASKED = ("error", "empty", "keep")


@litter_counted()
def import_folder(
    images: Path,
    masks: Path,
    output: Path,
    home: Home,
    *,
    mask_suffixes: Sequence[str],
    unmasked: str,
    polyp_above: int,
    writing: Writing,
) -> None:
    """Write the images of a folder with the masks of another.

    configs/import_folder.yaml says what the arguments mean.

    Raises:
        ConfigError: Unknown `unmasked`.
        DataError: Folders that are missing or empty, images without a mask, masks without an image.
        FrameError: A file that cannot be read, or a mask that does not fit its image.
    """
    if unmasked not in UNMASKED:
        raise ConfigError(f"unmasked is {unmasked!r}; wanted one of {', '.join(UNMASKED)}")
    if unmasked == "keep" and home == home_of(None, ""):
        raise ConfigError(
            "unmasked=keep makes frames without a mask, and stills need one; say clip="
        )
    pairs = pair(list_images(images, "images"), list_images(masks, "masks"), mask_suffixes)
    bare = [image for image, mask in pairs if mask is None]
    if bare and unmasked == "error":
        raise DataError(
            f"{len(bare)} of {len(pairs)} images have no mask in {masks}, e.g. {bare[0].name}; if "
            "they show no polyp, say unmasked=empty; if nobody annotated them, unmasked=keep"
        )
    if bare:
        state = "without a polyp" if unmasked == "empty" else "not annotated"
        log.info("%d images have no mask and are taken as %s", len(bare), state)
    without: MaskReader | None = empty_mask if unmasked == "empty" else None
    pictures = [
        Picture(image, mask_file(image, mask, polyp_above) if mask else without, home, image.stem)
        for image, mask in pairs
    ]
    write_pictures(output, pictures, writing)


@command("import_folder")
def main(cfg: DictConfig) -> None:
    """Run `import_folder` from the command line."""
    check_config(cfg, "import_folder")
    source = Path(cfg.source)
    import_folder(
        source / cfg.images,
        source / cfg.masks,
        Path(cfg.output),
        home_of(cfg.clip, cfg.subset),
        mask_suffixes=list(cfg.mask_suffixes),
        unmasked=cfg.unmasked,
        polyp_above=cfg.polyp_above,
        writing=Writing(cfg.longest_side, cfg.quality),
    )


if __name__ == "__main__":
    main()
