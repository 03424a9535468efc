"""Video files."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from omegaconf import OmegaConf
from video_files import smooth_frames, write_sound, write_video

from fuzz.engine import Case, Kind, WrongError
from fuzz.mutations import Random, damaged
from sali.config import config_dir
from sali.data.video.decoding import decode_video
from sali.data.video.files import index_videos

WAYS = (
    ("a.mkv", "ffv1", "bgr0"),
    ("b.mp4", "libx264", "yuv420p"),
    ("c.mp4", "mpeg4", "yuv420p"),
    ("d.avi", "mjpeg", "yuvj420p"),
    ("e.ts", "mpeg2video", "yuv420p"),
    ("f.webm", "libvpx-vp9", "yuv420p"),
    ("g.mpg", "mpeg1video", "yuv420p"),
    ("h.mov", "libx264", "yuv420p"),
)
MOST_FRAMES = 500
_QUARTER_TURN = [0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30]


def _prepare(folder: Path) -> Case:
    largest = OmegaConf.load(Path(config_dir()) / "predict.yaml").video.max_pixels
    encoded = []
    for name, codec, pixels in WAYS:
        if codec in av.codecs_available:
            options = {"matrix": _QUARTER_TURN} if name == "h.mov" else {}
            if "mpeg" in codec:
                options = {"time_base": Fraction(1, 25), "times": range(4)}
            write_video(folder / name, smooth_frames(4), codec, pixels, **options)
            encoded.append((Path(name).suffix, (folder / name).read_bytes()))
    encoded.append((".mp4", write_sound(folder / "s.mp4").read_bytes()))

    def case(rng: Random) -> None:
        suffix, data = encoded[rng.integers(len(encoded))]
        if rng.random() < 0.1:
            suffix = encoded[rng.integers(len(encoded))][0]
        if rng.random() < 0.97:
            data = damaged(data, rng, [other for _, other in encoded])
        path = folder / f"case{suffix}"
        path.write_bytes(data)
        try:
            (video,) = index_videos(path, largest)
            last = None
            for number, picture in enumerate(decode_video(path, max_pixels=video.max_pixels)):
                if last is not None and picture.rgb is not None and picture.time <= last:
                    raise WrongError(f"frame {number} is shown at {picture.time}, after {last}")
                if picture.rgb is None:
                    if len(picture.error.splitlines()) != 1:
                        raise WrongError(f"frame {number} has the error {picture.error!r}")
                else:
                    last = picture.time
                    if picture.rgb.dtype != np.uint8 or picture.rgb.shape[2:] != (3,):
                        raise WrongError(f"a frame is {picture.rgb.dtype} {picture.rgb.shape}")
                if number > MOST_FRAMES:
                    break
        finally:
            path.unlink()

    return case


VIDEOS = Kind(_prepare)
