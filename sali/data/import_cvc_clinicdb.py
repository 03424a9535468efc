"""CVC-ClinicDB as distributed, written as clips in the SUN-SEG layout.

python -m sali.data.import_cvc_clinicdb source=CVC-ClinicDB output=datasets/CVC-ClinicDB
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from omegaconf import DictConfig

from sali.cli import command
from sali.config import check_config
from sali.data.frames import POLYP_ABOVE
from sali.data.importing import Picture, Writing, home_of, mask_file, write_pictures
from sali.data.listing import list_images, litter_counted
from sali.errors import ConfigError, DataError


def numbered(folder: Path, count: int) -> list[Path]:
    """Return the images 1, 2 ... `count` of a folder, in any format."""
    files = {path.stem: path for path in list_images(folder)}
    wanted = [str(number) for number in range(1, count + 1)]
    odd = sorted(set(wanted) ^ set(files), key=lambda stem: (len(stem), stem))
    if odd:
        what = "is not there" if odd[0] in wanted else "belongs to no sequence"
        raise DataError(
            f"{folder} holds {len(files)} images, wanted 1 to {count} as in last_frames; "
            f"{odd[0]} {what}"
        )
    return [files[stem] for stem in wanted]


@litter_counted()
def import_cvc_clinicdb(source: Path, output: Path, last_frames: Sequence[int]) -> None:
    """Write sequence n as clip `case<n>_1` of the training set; frames keep their numbers.

    Frames are written as PNG, so that they are the distributed pixels: JPEG would compress a second
    time, and at this size it would be decoded in full anyway. `data.cache` saves the decoding.

    Raises:
        ConfigError: Numbers that do not ascend.
        DataError: Frames or masks that are missing, or clips that are already there.
        FrameError: A file that cannot be read, or a mask that does not fit its frame.
    """
    starts = [0, *last_frames]
    if len(starts) < 2 or any(stop <= start for start, stop in pairwise(starts)):
        raise ConfigError(f"last_frames is {list(last_frames)}; wanted ascending frame numbers")
    frames = numbered(source / "Original", starts[-1])
    masks = numbered(source / "Ground Truth", starts[-1])
    sequences = [
        n for n, (start, stop) in enumerate(pairwise(starts), 1) for _ in range(start, stop)
    ]
    pictures = [
        Picture(
            frame,
            mask_file(frame, mask, POLYP_ABOVE),
            home_of(f"case{n}_1", "train"),
            f"image{int(frame.stem):04d}",
        )
        for n, frame, mask in zip(sequences, frames, masks, strict=True)
    ]
    write_pictures(output, pictures, Writing(longest_side=None, quality=100))


@command("import_cvc_clinicdb")
def main(cfg: DictConfig) -> None:
    """Run `import_cvc_clinicdb` from the command line."""
    check_config(cfg, "import_cvc_clinicdb")
    import_cvc_clinicdb(Path(cfg.source), Path(cfg.output), list(cfg.last_frames))


if __name__ == "__main__":
    main()
