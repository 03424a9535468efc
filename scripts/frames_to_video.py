"""Make a video file (H.264 in MP4) of a folder of frames.

python scripts/frames_to_video.py datasets/synthetic/TrainDataset/Frame/case1_1 clip.mp4
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from sali.data.frames import read_frame
from sali.data.index import index_clip
from sali.errors import UserError
from sali.prediction.writers.videos import OverlayVideo

KEY_FRAME_EVERY = 25
PRESET = "veryfast"


def write(folder: Path, target: Path, rate: Fraction, quality: int) -> int:
    """Write the frames in natural order and return their number.

    Args:
        folder: Folder of image files.
        target: Video to write, `<name>.mp4`.
        rate: Frames per second.
        quality: CRF of x264; lower is better and larger.

    Raises:
        DataError: There are no frames, or one cannot be read.
    """
    frames = index_clip(folder).frames
    with OverlayVideo(target, 1 / rate, rate, quality, PRESET, KEY_FRAME_EVERY) as video:
        for number, path in enumerate(frames):
            picture, _ = read_frame(path)
            video.write(picture, number / rate)
    return len(frames)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the video that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("frames", type=Path, help="folder of image files")
    parser.add_argument("video", type=Path, help="file to write, NAME.mp4")
    parser.add_argument("--rate", type=Fraction, default=Fraction(25), help="frames per second")
    parser.add_argument("--quality", type=int, default=18, help="x264's crf, lower is better")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if given.video.suffix != ".mp4" or given.rate <= 0:
        parser.error("wanted a file NAME.mp4 and a rate above 0")
    try:
        count = write(given.frames, given.video, given.rate, given.quality)
    except UserError as error:
        sys.exit(f"error: {error}")
    logging.getLogger(__name__).info("%d frames: %s", count, given.video)


if __name__ == "__main__":
    main()
