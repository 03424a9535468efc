"""Prediction from video files: the maps of the same frames as pictures, and overlays as video."""

import csv
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image
from pycocotools.coco import COCO
from scipy import ndimage
from video_files import cut, smooth_frames, write_video

from sali.config import config_dir
from sali.data.video.decoding import decode_video
from sali.errors import UserError
from sali.predict import predict
from sali.prediction.writers.videos import OverlayVideo


def run(checkpoint, source, output, **options):
    given = {"ckpt": checkpoint, "source": f"'{source}'", "output": output, **options}
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return predict(compose("predict", overrides=[f"{k}={v}" for k, v in given.items()]))


def read_maps(folder):
    return {p.name: np.asarray(Image.open(p)) for p in sorted(folder.iterdir())}


def test_a_lossless_video_gives_the_maps_of_its_frames_and_an_overlay(checkpoint, tmp_path):
    frames = smooth_frames(5, 47, 63)
    times = [1400, 1440, 1500, 1510, 1700]
    write_video(tmp_path / "case1 (left).mkv", frames, times=times)
    (tmp_path / "pictures").mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"pictures/{i:06d}.png")

    plain = {"overlay": True, "video.overlay.show_time": False}
    count = run(checkpoint, tmp_path / "case1 (left).mkv", tmp_path / "video", **plain)
    assert count == {"clips": 1, "frames": 5, "skipped": 0}
    run(checkpoint, tmp_path / "pictures", tmp_path / "folder", overlay=True)
    assert not (tmp_path / "video_tables").exists()
    got, expected = (
        read_maps(tmp_path / "video/case1 (left)"),
        read_maps(tmp_path / "folder/pictures"),
    )
    assert list(got) == list(expected) == [f"{i:06d}.png" for i in range(5)]
    for name, picture in expected.items():
        assert picture.shape == (47, 63)
        assert (got[name] == picture).all()
    assert len({picture.tobytes() for picture in got.values()}) == 5  # not one map five times

    (overlay,) = (tmp_path / "video_overlays").iterdir()
    assert overlay.name == "case1 (left).mp4"
    shown = list(decode_video(overlay))
    assert [round(1000 * p.time) for p in shown] == [t - times[0] for t in times]
    for i, picture in enumerate(shown):
        assert picture.rgb.shape == (48, 64, 3)
        drawn = np.asarray(Image.open(tmp_path / f"folder_overlays/pictures/{i:06d}.jpg"))
        assert np.abs(picture.rgb[:47, :63].astype(int) - drawn).mean() < 20


def test_a_folder_of_videos_one_of_them_cut(checkpoint, tmp_path, caplog):
    source = tmp_path / "source"
    source.mkdir()
    write_video(source / "case1.mkv", smooth_frames(3))
    cut(write_video(source / "case2.mkv", smooth_frames(12)), 0.5)
    count = run(checkpoint, source, tmp_path / "m", num_workers=0)
    numbers = {
        folder.name: len(list(folder.iterdir()))
        for folder in (tmp_path / "m").iterdir()
        if folder.is_dir()
    }
    assert numbers["case1"] == 3 and 3 <= numbers["case2"] <= 9
    assert count == {"clips": 2, "frames": 3 + numbers["case2"], "skipped": 12 - numbers["case2"]}
    assert f"case2.mkv stops after {numbers['case2']} frames" in caplog.text


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("a/clip.mkv", {"streams": 2}, "streams: got 2"),
        ("a/clip.mkv", {"output": "."}, None),
        ("clip/clip.mkv", {"output": "."}, "would put the maps of clip in place of its frames"),
        ("m_overlays/clip.mp4", {"output": "m", "overlay": True}, "in place of its frames"),
        ("a/clip.mkv", {"threshold": 2}, "threshold: got 2"),
        ("a/clip.mkv", {"video.max_pixels": 100}, "more than video.max_pixels"),
    ],
)
def test_bad_settings_are_one_line_and_keep_the_video(
    checkpoint, tmp_path, monkeypatch, source, options, message
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / source
    path.parent.mkdir()
    mp4 = dict(codec="libx264", pixels="yuv420p") if path.suffix == ".mp4" else {}
    write_video(path, smooth_frames(1), **mp4)
    before = path.read_bytes()
    given = {"output": "maps", "num_workers": 0, **options}
    if message is None:
        assert run(checkpoint, path, **given)["frames"] == 1
    else:
        with pytest.raises(UserError, match=message) as caught:
            run(checkpoint, path, **given)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_tables_hold_what_the_maps_show(checkpoint, tmp_path):
    write_video(tmp_path / "clip.mkv", smooth_frames(3), times=[0, 40, 100])
    run(checkpoint, tmp_path / "clip.mkv", tmp_path / "m", num_workers=0)
    maps = read_maps(tmp_path / "m/clip")
    threshold = (np.median(list(maps.values())) + 0.5) / 255  # between two grey levels
    options = dict(num_workers=0, tables=True, threshold=threshold)
    run(checkpoint, tmp_path / "clip.mkv", tmp_path / "m", **options)
    folder = tmp_path / "m_tables"
    assert sorted(p.name for p in folder.iterdir()) == ["clip.csv", "clip.json", "clip.tracks.csv"]
    with (folder / "clip.csv").open() as file:
        rows = list(csv.DictReader(file))
    coco = COCO(folder / "clip.json")
    images = coco.loadImgs(coco.getImgIds())
    assert [image["time"] for image in images] == [0, 0.04, 0.1]
    assert [row["frame"] for row in rows] == [Path(name).stem for name in maps]
    assert [float(row["time"]) for row in rows] == [0, 0.04, 0.1]
    for row, image, picture in zip(rows, images, maps.values(), strict=True):
        mask = picture > threshold * 255
        assert 0 < mask.sum() < mask.size
        assert int(row["area"]) == mask.sum()
        assert (image["height"], image["width"]) == mask.shape
        lesions = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        regions = [coco.annToMask(one) for one in lesions]
        assert len(regions) == ndimage.label(mask, np.ones((3, 3)))[1]
        assert (np.sum(regions, 0) == mask).all()
        for one, region in zip(lesions, regions, strict=True):
            ys, xs = np.nonzero(region)
            assert one["area"] == len(ys) and one["category_id"] == 1
            assert one["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert one["score"] == pytest.approx(picture[region > 0].max() / 255, abs=0.003)
        x, y, width, height = (int(row[name]) for name in ("x", "y", "width", "height"))
        assert mask[y : y + height, x : x + width].sum() == mask.sum()
        assert mask[:, [x, x + width - 1]].any(0).all() and mask[[y, y + height - 1]].any(1).all()
        assert float(row["peak"]) == pytest.approx(picture.max() / 255, abs=0.003)


def test_an_error_leaves_no_maps_but_the_overlay_so_far(checkpoint, tmp_path, monkeypatch):
    import sali.prediction.writers.videos

    path = write_video(tmp_path / "clip.mkv", smooth_frames(5))
    drawn = []

    def draw(frame, probability, point):
        drawn.append(frame)
        if len(drawn) == 4:
            raise KeyboardInterrupt
        return frame

    monkeypatch.setattr(sali.prediction.writers.videos, "draw_overlay", draw)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint, path, tmp_path / "m", overlay=True, tables=True, num_workers=0)
    assert not list((tmp_path / "m").glob("*")) and not list((tmp_path / "m_tables").glob("*"))
    (partial,) = (tmp_path / "m_overlays").iterdir()
    assert partial.name == "clip.partial.mp4"
    assert len(list(decode_video(partial))) == 3


WRITE_FOREVER = """
import sys, numpy as np
from fractions import Fraction
from pathlib import Path
from sali.prediction.writers.videos import OverlayVideo
video = OverlayVideo(Path(sys.argv[1]), Fraction(1, 1000), Fraction(25), 20, "veryfast", 5)
for i in range(10**9):
    video.write(np.full((48, 64, 3), i % 200, np.uint8), Fraction(i, 25))
    if i == 100:
        print("written", flush=True)
"""


def test_a_killed_process_leaves_an_overlay_that_plays(tmp_path):
    path = tmp_path / "a.mp4"
    arguments = [sys.executable, "-c", WRITE_FOREVER, str(path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "written\n"
        os.kill(process.pid, signal.SIGKILL)
    shown = 0
    for _ in decode_video(tmp_path / "a.partial.mp4"):
        shown += 1
        if shown == 60:
            break
    assert shown == 60
    assert not path.exists()


def test_overlays_of_other_sizes_are_scaled_to_the_first(tmp_path):
    path = tmp_path / "a.mp4"
    first, other = smooth_frames(1, 47, 63)[0], smooth_frames(1, 96, 128)[0]
    with OverlayVideo(path, Fraction(1, 1000), Fraction(25), 20, "veryfast", 5) as video:
        video.write(first, Fraction(0))
        video.write(other, Fraction(1, 25))
    assert [p.rgb.shape for p in decode_video(path)] == [(48, 64, 3)] * 2
