"""Frames of video files: equal to what was encoded, as shown, at their times; errors by name."""

import gc
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from video_files import cut, smooth_frames, write_sound, write_video

from sali.data.samples import End
from sali.data.video.decoding import CutVideoError, decode_video
from sali.data.video.files import VideoFrames, index_videos, open_video
from sali.errors import DataError, FrameError, UserError

QUARTER_TURN = [0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30]  # as phones write: shown clockwise
HALF_TURN = [-1 << 16, 0, 0, 0, -1 << 16, 0, 0, 0, 1 << 30]
MIRROR = [-1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30]
LOSSLESS_H264 = dict(codec="libx264rgb", pixels="rgb24", options={"qp": "0"})


def pictures(path):
    return np.stack([picture.rgb for picture in decode_video(path)])


@pytest.mark.parametrize(
    ("suffix", "how"), [("mkv", {}), ("avi", {}), ("mp4", LOSSLESS_H264), ("mov", LOSSLESS_H264)]
)
def test_lossless_frames_come_back_bit_for_bit(tmp_path, suffix, how):
    frames = np.random.default_rng(0).integers(0, 255, (5, 47, 63, 3)).astype(np.uint8)
    path = write_video(tmp_path / f"noise.{suffix}", frames, **how)
    assert (pictures(path) == frames).all()


def test_times_of_a_variable_frame_rate_are_kept(tmp_path):
    times = [0, 40, 100, 110, 300, 310]
    path = write_video(tmp_path / "a.mkv", smooth_frames(6), times=times)
    assert [p.time for p in decode_video(path)] == [Fraction(t, 1000) for t in times]


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov", "avi", "ts", "mpg", "webm"])
def test_a_whole_video_that_starts_late_is_not_called_cut(tmp_path, suffix):
    codec = {"avi": "mpeg4", "mpg": "mpeg2video", "webm": "libvpx"}.get(suffix, "libx264")
    base = {"time_base": Fraction(1, 25)} if suffix in ("avi", "mpg") else {}
    times = range(35, 45) if base else [1400, 1440, 1500, 1510, 1700, 2200, 2300, 2340, 2380, 2420]
    frames = smooth_frames(10)
    path = write_video(tmp_path / f"a.{suffix}", frames, codec, "yuv420p", times, **base)
    assert len(list(decode_video(path))) == 10


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (QUARTER_TURN, lambda f: np.rot90(f, -1)),
        (HALF_TURN, lambda f: np.rot90(f, 2)),
        (MIRROR, np.fliplr),
    ],
)
def test_frames_are_turned_as_they_are_shown(tmp_path, matrix, expected):
    frames = smooth_frames(2)
    path = write_video(tmp_path / "a.mov", frames, matrix=matrix, **LOSSLESS_H264)
    assert (pictures(path) == [expected(frame) for frame in frames]).all()


def grey_frame(luma, pixels, **colour):
    frame = av.VideoFrame(64, 48, pixels)
    for plane, code in zip(frame.planes, (luma, 512, 512), strict=True):
        np.frombuffer(plane, np.uint16)[:] = code
    for name, value in colour.items():
        setattr(frame, name, value)
    return frame


def test_ten_bits_become_eight(tmp_path):
    codes = [64, 300, 502, 940]  # of limited range: 64 is black, 940 white
    frames = [grey_frame(code, "yuv420p10le") for code in codes]
    got = pictures(write_video(tmp_path / "a.mkv", frames, pixels="yuv420p10le"))
    expected = np.array([(code - 64) / (940 - 64) * 255 for code in codes])
    assert got.dtype == np.uint8
    assert np.abs(got - expected[:, None, None, None]).max() <= 2


def test_high_dynamic_range_is_mapped_so_that_white_is_white(tmp_path):
    # PQ puts the white of ordinary pictures, 203 cd/m2, at 58 % of its codes (ITU-R BT.2408).
    white = round(64 + 0.58 * (940 - 64))
    pq = dict(color_trc=16, color_primaries=9, colorspace=9)
    frames = [grey_frame(code, "yuv420p10le", **pq) for code in (64, white)]
    path = write_video(tmp_path / "a.mkv", frames, pixels="yuv420p10le", colour=pq)
    black, bright = pictures(path)
    assert black.max() <= 2
    assert bright.min() >= 245


@pytest.mark.parametrize(("height", "standard"), [(720, "709"), (576, "601")])
def test_the_matrix_of_untagged_video_is_that_of_players(tmp_path, height, standard):
    frame = av.VideoFrame(160, height, "yuv444p")
    luma, blue, red = 120, 100, 180
    for plane, code in zip(frame.planes, (luma, blue, red), strict=True):
        np.frombuffer(plane, np.uint8)[:] = code
    path = write_video(tmp_path / "a.mkv", [frame] * 2, pixels="yuv444p")
    kr, kb = {"709": (0.2126, 0.0722), "601": (0.299, 0.114)}[standard]
    y, cb, cr = (luma - 16) / 219, (blue - 128) / 224, (red - 128) / 224
    r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    got = pictures(path)[0].reshape(-1, 3)
    assert np.abs(got - 255 * np.array([r, g, b])).max() <= 3


def test_the_stream_that_a_player_shows_is_decoded(tmp_path):
    frames = smooth_frames(12)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        cover = container.add_stream("mjpeg", rate=25)
        film = container.add_stream("libx264", rate=25, options={"qp": "0"})
        cover.width, cover.height, cover.pix_fmt = 32, 24, "yuvj420p"
        film.width, film.height, film.pix_fmt = 64, 48, "yuv444p"
        cover.disposition = Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(frames[0][:24, :32].copy(), "rgb24")
        container.mux(cover.encode(picture))
        container.mux(cover.encode(None))
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(film.encode(frame))
        container.mux(film.encode(None))
    assert open_video(tmp_path / "a.mp4", 10**6).size == (48, 64)
    assert pictures(tmp_path / "a.mp4").shape == frames.shape


def test_sound_with_a_cover_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        cover = container.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 32, 24, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((24, 32, 3), np.uint8), "rgb24")
        container.mux(cover.encode(picture))
        container.mux(cover.encode(None))
    with pytest.raises(DataError, match="no video"):
        open_video(tmp_path / "a.mp4", 10**6)


def test_times_of_joined_recordings_do_not_go_back(tmp_path):
    options = dict(codec="libx264", pixels="yuv420p")
    parts = [write_video(tmp_path / f"{n}.ts", smooth_frames(8, seed=n), **options) for n in (0, 1)]
    (tmp_path / "joined.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    found = []
    with suppress(FrameError):  # what the header promises may be wrong in such a file
        found += (picture.time for picture in decode_video(tmp_path / "joined.ts"))
    steps = np.diff([float(time) for time in found])
    assert len(found) == 16 and steps.min() > 0 and steps.max() < 0.1


def test_interlaced_frames_are_deinterlaced(tmp_path):
    frames = np.full((6, 64, 64, 3), 30, np.uint8)
    for i, frame in enumerate(frames):  # a bar that has moved between the two fields
        frame[0::2, 8 + 4 * i : 16 + 4 * i] = 220
        frame[1::2, 10 + 4 * i : 18 + 4 * i] = 220
    times = [0, 40, 80, 120, 200, 240]
    combed = dict(codec="libx264", pixels="yuv420p", times=times)
    tagged = write_video(
        tmp_path / "a.mp4", frames, options={"x264-params": "tff=1", "qp": "1"}, **combed
    )
    plain = write_video(tmp_path / "b.mp4", frames, options={"qp": "1"}, **combed)

    def comb(path):
        return np.abs(np.diff(pictures(path)[..., 1].astype(int), axis=1)).mean()

    assert comb(plain) > 8
    assert comb(tagged) < 1
    assert [p.time for p in decode_video(tagged)] == [Fraction(t, 1000) for t in times]


@pytest.mark.parametrize(
    ("suffix", "codec", "mux"),
    [("mkv", "ffv1", {}), ("mkv", "libx264", {}), ("mp4", "libx264", {"movflags": "faststart"})],
)
def test_a_cut_video_gives_its_frames_and_then_says_where_it_stopped(tmp_path, suffix, codec, mux):
    pixels = "bgr0" if codec == "ffv1" else "yuv420p"
    path = tmp_path / f"a.{suffix}"
    frames = smooth_frames(20)
    write_video(path, frames, codec, pixels, options={"g": "5", "bf": "0"}, mux=mux)
    whole = pictures(path)
    assert len(whole) == 20
    cut(path, 0.6)
    got = []
    with pytest.raises(CutVideoError, match=r"a\.\w+ stops after \d+ frames at 0\.\d+ s") as caught:
        got.extend(picture.rgb for picture in decode_video(path))
    assert 5 <= len(got) <= 15
    assert caught.value.lost == 20 - len(got)
    assert (np.stack(got) == whole[: len(got)]).all()

    *streamed, end = VideoFrames(index_videos(path, 10_000), 32, keep_pictures=False)
    assert [frame.number for frame in streamed] == list(range(len(got)))
    assert isinstance(end, End) and end.is_last and end.lost == 20 - len(got)


def test_damage_in_the_middle_is_a_frame_without_a_picture(tmp_path):
    path = write_video(
        tmp_path / "a.mkv",
        smooth_frames(6),
        "mjpeg",
        "yuvj420p",
    )
    with av.open(str(path)) as container:
        positions = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    position, size = positions[2]
    data[position + 20 : position + size] = bytes(size - 20)
    path.write_bytes(data)
    got = list(decode_video(path))
    assert [picture.rgb is None for picture in got] == [False, False, True, False, False, False]
    assert "cannot read frame 2 of" in got[2].error and "a.mkv" in got[2].error


def test_one_frame_in_a_file_with_an_awkward_name(tmp_path):
    frames = smooth_frames(1)
    path = write_video(tmp_path / "it\"s o'v é %03d http:x.mkv", frames)
    (video,) = index_videos(path, 10_000)
    assert video.name == "it\"s o'v é %03d http:x" and video.length == 1
    assert (pictures(video.path) == frames).all()


def test_a_folder_gives_its_videos_in_natural_order(tmp_path, caplog):
    for name in ("case10.mkv", "case9.mkv"):
        write_video(tmp_path / name, smooth_frames(1))
    (tmp_path / "notes").mkdir()
    assert [video.name for video in index_videos(tmp_path, 10_000)] == ["case9", "case10"]
    assert "not read: notes" in caplog.text
    assert index_videos(tmp_path / "notes", 10_000) == []


def make_bad(kind, path):
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not a video\n" * 50)
    elif kind == "sound":
        write_sound(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "large":
        write_video(path, smooth_frames(1, 120, 100), "libx264", "yuv420p")
    elif kind == "index":
        cut(write_video(path, smooth_frames(5), "libx264", "yuv420p"), 0.7)
    elif kind == "twice":
        write_video(path.with_suffix(".mkv"), smooth_frames(1))
        write_video(path, smooth_frames(1), "libx264", "yuv420p")
    elif kind == "mixed":
        write_video(path, smooth_frames(1), "libx264", "yuv420p")
        path.with_suffix(".png").write_bytes(b"")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "a.mp4 is empty"),
        ("text", "a.mp4 cannot be read as video: Invalid data"),
        ("sound", "a.mp4 holds audio but no video"),
        ("loop", "a.mp4 is a symbolic link to itself"),
        ("large", "a.mp4 has frames of 100x120 pixels, more than video.max_pixels"),
        ("index", "a.mp4 .*cut off"),
        ("twice", "a.mkv and .*a.mp4 would both be clip a"),
        ("mixed", "holds both frames and videos, e.g. a.mp4"),
    ],
)
def test_bad_files_are_one_line(tmp_path, kind, message):
    make_bad(kind, tmp_path / "a.mp4")
    with pytest.raises(DataError, match=message) as caught:
        index_videos(tmp_path, 10_000)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_video_by_name(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="a.txt is a file; wanted a folder .* or a video"):
        index_videos(tmp_path / "a.txt", 10_000)


def test_a_video_without_a_frame_that_can_be_decoded(tmp_path):
    path = write_video(tmp_path / "a.mkv", smooth_frames(1), "mjpeg", "yuvj420p")
    with av.open(str(path)) as container:
        packet = next(container.demux(video=0))
        position, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    data[position + 20 : position + size] = bytes(size - 20)
    path.write_bytes(data)
    with pytest.raises(FrameError, match=r"no frame of .*a\.mkv can be decoded"):
        list(decode_video(path))
    (end,) = VideoFrames(index_videos(path, 10_000), 32, keep_pictures=False)
    assert end.is_last and "no frame of" in end.error and not end.lost


def test_8k_is_read(tmp_path):
    frame = np.full((4320, 7680, 3), 90, np.uint8)
    path = write_video(tmp_path / "a.mkv", [frame], "mjpeg", "yuvj420p")
    (video,) = index_videos(path, 36_000_000)
    (picture,) = decode_video(video.path)
    assert picture.rgb.shape == frame.shape
    assert np.abs(picture.rgb[::100, ::100].astype(int) - 90).max() <= 3


def test_frames_are_let_go_at_once(tmp_path):
    path = write_video(tmp_path / "a.mkv", smooth_frames(20))
    gc.collect()
    gc.disable()  # which would hide frames that refer to themselves
    try:
        pictures = decode_video(path)
        for _ in range(19):
            next(pictures)
        alive = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
    finally:
        gc.enable()
    assert alive < 10


def test_titles_in_another_encoding_do_not_matter(tmp_path):
    path = write_video(tmp_path / "a.avi", smooth_frames(2), "mjpeg", "yuvj420p")
    data = path.read_bytes()
    at = data.index(b"Lavf")
    path.write_bytes(data[:at] + b"\xff\xe9\xfc\xdf" + data[at + 4 :])
    assert len(pictures(path)) == 2


def test_a_codec_that_nothing_decodes(tmp_path):
    path = write_video(tmp_path / "a.mkv", smooth_frames(2), "mjpeg", "yuvj420p")
    path.write_bytes(path.read_bytes().replace(b"V_MJPEG", b"V_XXXXX"))
    for read in (lambda: index_videos(path, 10**6), lambda: list(decode_video(path))):
        with pytest.raises(UserError, match=r"a.mkv"):
            read()
