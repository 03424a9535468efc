"""PolypGen as published, written as clips in the SUN-SEG layout, stills and polyp-free clips.

python -m sali.data.import_polypgen source=PolypGen2021_MultiCenterData_v3 output=datasets/PolypGen
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from sali.cli import command
from sali.config import check_config
from sali.data.clip_tables import RATES_FILE, write_rows
from sali.data.importing import (
    Home,
    Picture,
    Writing,
    home_of,
    log_passed_over,
    mask_file,
    pair,
    write_pictures,
)
from sali.data.index import POLYP_FREE
from sali.data.listing import list_clip_folders, list_images, litter_counted, visible
from sali.data.time_order import number_step, time_order
from sali.errors import ConfigError, DataError

log = logging.getLogger(__name__)

CENTRES = range(1, 7)
MASK_SUFFIXES = ("_mask", "mask")
"""Endings of masks; the second is of `C3_EndoCV2021_00489_.jpg`, which ends in an underscore."""


@litter_counted()
def import_polypgen(
    source: Path,
    output: Path,
    subsets: Mapping[str, Sequence[int]],
    renumbered: Sequence[int],
    max_first: int,
    max_step: int,
    min_gain: float,
    polyp_above: int,
    smallest_region: int,
    recording_fps: float,
    writing: Writing,
) -> None:
    """Write positive sequence n as clip `case<n>_1`, with empty masks where no polyp is in view.

    Frames are numbered in order of time, before the name they had. Sequences without a polyp become
    clips without masks in `polyp_free/`, single images `stills/`. `fps.csv` has the rate of each
    clip, as the steps of its frames' numbers show it. configs/import_polypgen.yaml says what the
    arguments mean.

    Raises:
        ConfigError: A sequence in two subsets, or numbers that no subset has.
        DataError: Folders that are missing, images without a mask, or folders that are already
            there.
        FrameError: A file that cannot be read, or a mask that does not fit its image.
    """
    subset_of = {n: subset for subset, numbers in subsets.items() for n in numbers}
    if len(subset_of) < sum(map(len, subsets.values())):
        raise ConfigError(f"subsets is {dict(subsets)}; wanted each sequence in one subset")
    unknown = sorted(set(renumbered) - set(subset_of))
    if unknown:
        raise ConfigError(f"renumbered names {unknown[0]}, which is a sequence of no subset")
    archive = find_archive(source)
    if (output / RATES_FILE).exists():
        raise DataError(f"{output / RATES_FILE} is already there; choose another output")
    pictures: list[Picture] = []
    steps: dict[str, float] = {}

    def add(images: Sequence[Path], masks: Path, home: Home, in_time: bool) -> None:
        pairs = pair(images, list_images(masks, "masks"), MASK_SUFFIXES)
        for number, (image, mask) in enumerate(pairs):
            if mask is None:
                raise DataError(f"{image} has no mask in {masks}; wanted {image.stem}_mask.jpg")
            stem = f"{number:04d}_{image.stem}" if in_time else image.stem.rstrip("_")
            read = mask_file(image, mask, polyp_above, smallest_region)
            pictures.append(Picture(image, read, home, stem))

    for c in CENTRES:
        centre = archive / f"data_C{c}"
        images = list_images(centre / f"images_C{c}", "images")
        add(images, centre / f"masks_C{c}", home_of(None, ""), in_time=False)
    for n, subset in sorted(subset_of.items()):
        sequence = archive / f"sequenceData/positive/seq{n}"
        frames = list_images(sequence / f"images_seq{n}")
        steps[f"case{n}_1"] = number_step(frames)
        if n in renumbered:
            frames, steps[f"case{n}_1"] = time_order(frames, max_first, max_step, min_gain)
        add(frames, sequence / f"masks_seq{n}", home_of(f"case{n}_1", subset), in_time=True)
    for folder in list_clip_folders(archive / "sequenceData/negativeOnly"):
        frames = list_images(folder)
        steps[folder.name] = number_step(frames)
        home = Home(f"{POLYP_FREE}/{folder.name}", None)
        pictures += [
            Picture(frame, None, home, f"{number:04d}_{frame.stem}")
            for number, frame in enumerate(frames)
        ]
    write_pictures(output, pictures, writing)
    rates = [(clip, f"{recording_fps / step:.3g}") for clip, step in steps.items() if step]
    rows = [{"clip": clip, "fps": rate} for clip, rate in rates]
    write_rows(output / RATES_FILE, ("clip", "fps"), rows)
    positive = list_clip_folders(archive / "sequenceData/positive")
    log_passed_over(
        [path for path in positive if path.name not in {f"seq{n}" for n in subset_of}],
        "sequences of no subset",
    )


def find_archive(source: Path) -> Path:
    """Return the folder that holds `sequenceData`: the source, or the only such folder in it."""
    inside = visible(source) if source.is_dir() else []
    found = [path for path in (source, *inside) if (path / "sequenceData").is_dir()]
    if len(found) != 1:
        raise DataError(
            f"{source} holds {len(found)} folders with sequenceData/; wanted the unpacked archive "
            "PolypGen2021_MultiCenterData_v3"
        )
    return found[0]


@command("import_polypgen")
def main(cfg: DictConfig) -> None:
    """Run `import_polypgen` from the command line."""
    check_config(cfg, "import_polypgen")
    import_polypgen(
        Path(cfg.source),
        Path(cfg.output),
        OmegaConf.to_container(cfg.subsets),  # type: ignore[arg-type]
        list(cfg.renumbered),
        cfg.max_first,
        cfg.max_step,
        cfg.min_gain,
        cfg.polyp_above,
        cfg.smallest_region,
        cfg.recording_fps,
        Writing(cfg.longest_side, cfg.quality),
    )


if __name__ == "__main__":
    main()
