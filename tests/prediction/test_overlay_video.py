"""Videos of overlays: a resumed one is whole, and a changed one is refused."""

from fractions import Fraction

import av
import numpy as np
import pytest
from video_files import smooth_frames

from sali.data.video.decoding import decode_video
from sali.errors import DataError
from sali.prediction.writers.videos import OverlayVideo

ENCODING = dict(
    time_base=Fraction(1, 1000),
    rate=Fraction(25),
    quality=20,
    preset="veryfast",
    key_frame_every=4,
)
PIXEL_ASPECT = Fraction(16, 15)


def write(video, frames, numbers, save_every=5):
    saved = None
    for i in numbers:
        video.write(frames[i], Fraction(7) + Fraction(40 * i + i % 3, 1000), PIXEL_ASPECT)
        if i % save_every == save_every - 1:
            saved = video.save()
    return saved


def test_a_resumed_video_shows_what_one_without_a_break_shows(tmp_path):
    frames = smooth_frames(17, 47, 64)
    with OverlayVideo(tmp_path / "whole.mp4", **ENCODING) as video:
        write(video, frames, range(17))
    video = OverlayVideo(tmp_path / "a.mp4", **ENCODING)
    saved = write(video, frames, range(13))
    video.close(whole=False)
    assert len(list(decode_video(video.partial))) == 13
    with OverlayVideo(tmp_path / "a.mp4", **ENCODING, saved=saved) as video:
        write(video, frames, range(10, 17))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "whole.mp4"]
    times = [Fraction(40 * i + i % 3, 1000) for i in range(17)]
    resumed, whole = (list(decode_video(tmp_path / f"{name}.mp4")) for name in ("a", "whole"))
    assert [p.time for p in resumed] == [p.time for p in whole] == times
    for one, other in zip(resumed, whole, strict=True):  # x264 promises no bytes, only pictures
        assert np.abs(one.rgb.astype(int) - other.rgb).mean() < 2
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.frames == 17 and stream.sample_aspect_ratio == Fraction(16, 15)


def test_a_partial_file_that_was_changed_is_refused(tmp_path):
    video = OverlayVideo(tmp_path / "a.mp4", **ENCODING)
    saved = write(video, smooth_frames(5), range(5))
    video.close(whole=False)
    video.partial.write_bytes(video.partial.read_bytes()[:-1])
    with pytest.raises(DataError, match="missing or shorter"):
        OverlayVideo(tmp_path / "a.mp4", **ENCODING, saved=saved)
