"""Video files for tests, written with PyAV."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

MILLISECOND = Fraction(1, 1000)


def smooth_frames(count, height=48, width=64, seed=0):
    """RGB frames of blocks, [count, height, width, 3], that lossy codecs keep well."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 255, (count, height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
    return blocks.repeat(8, 1).repeat(8, 2)[:, :height, :width]


def write_video(
    path: Path,
    frames,
    codec="ffv1",
    pixels="bgr0",
    times=None,
    time_base=MILLISECOND,
    matrix=None,
    colour=(),
    options=(),
    mux=(),
):
    """Frames (arrays or av frames) shown from ``times`` on, in units of ``time_base``."""
    with av.open(str(path), "w", options=dict(mux)) as container:
        stream = container.add_stream(codec, rate=25, options=dict(options))
        stream.pix_fmt = pixels
        stream.codec_context.time_base = time_base
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for name, value in dict(colour).items():
            setattr(stream.codec_context, name, value)
        for i, frame in enumerate(frames):
            if isinstance(frame, np.ndarray):
                frame = av.VideoFrame.from_ndarray(frame, "rgb24")
            if i == 0:
                stream.width, stream.height = frame.width, frame.height
            frame.pts, frame.time_base = (times[i] if times else 40 * i), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut(path: Path, share: float):
    """Keep the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path
