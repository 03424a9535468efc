"""A run of the web app: the loop of prediction, paused, cancelled, shown and downloaded."""

import csv
import io
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from app_parts import (
    EXPORTING,
    LIMITS,
    OPTIONS,
    Gate,
    make_models,
    make_play,
    make_session,
    plain_loop,
    save_checkpoint,
    with_gate,
)
from hydra import compose, initialize_config_dir
from miniature import ROOT, wait_for
from video_files import cut, smooth_frames, write_video

from sali.app.models import Options
from sali.app.play import Limits
from sali.app.view import View
from sali.data.index import index_clip
from sali.data.video.decoding import decode_video
from sali.errors import UserError
from sali.metrics.operating_point import OperatingPoint
from sali.predict import predict

VIEW = View(width=800, jpeg_quality=90, reads=3, keep=50)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return make_models(save_checkpoint(tmp_path_factory.mktemp("own") / "small.ckpt"))


@pytest.fixture
def gate():
    gate = Gate(0)
    yield gate
    gate.allow(10**6)


def video(folder, count=5, seed=0, name="clip.mkv", **options):
    return LIMITS.open(write_video(folder / name, smooth_frames(count, seed=seed), **options))


def finish(play):
    play.join(60)
    assert not play.is_alive()
    return play


def play_all(models, source, folder, **options):
    play = make_play(models, source, folder, **options)
    play.start()
    return finish(play)


def maps_of(play):
    files = sorted((play.root / play.source.name).iterdir())
    return [cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in files]


def test_a_run_finds_what_a_plain_loop_finds(models, tmp_path):
    source = video(tmp_path, 6)
    play = play_all(models, source, tmp_path / "maps")
    assert (play.state, play.message, len(play.peaks), play.length) == ("finished", "", 6, 6)
    expected, segmenter = plain_loop(models, source.path)
    maps = maps_of(play)
    for number, probability in enumerate(expected):
        assert (maps[number] == (probability * 255).round().astype(np.uint8)).all()
        assert play.peaks[number] == probability.max()
    assert len({one.tobytes() for one in maps}) == 6
    assert (play.latest.result.probability == expected[-1]).all()
    shown = VIEW.show(play, OperatingPoint())
    stored = sorted(segmenter.attention.by_frame())
    assert sorted(read["label"] for read in shown["reads"]) == [
        f"frame {number + 1}, 0:00.{4 * number:02d}" for number in stored
    ]
    numbers = {one["name"]: one["text"] for one in shown["numbers"]}
    assert numbers["frame"] == "6 / 6" and numbers["memory"] == "2.0 frames"


def test_frames_of_two_runs_take_turns_and_each_finds_what_it_finds_alone(models, tmp_path, gate):
    sources = [video(tmp_path, 6, seed, f"{seed}.mkv") for seed in range(2)]
    alone = [play_all(models, s, tmp_path / f"alone{s.name}") for s in sources]
    gated = with_gate(models, gate)
    plays = [make_play(gated, source, tmp_path / source.name) for source in sources]
    for play in plays:
        play.start()
    wait_for(lambda: len(gate._line) == 2, 20)
    gate.allow(100)
    for play, other in zip(plays, alone, strict=True):
        assert all(
            (a == b).all() for a, b in zip(maps_of(finish(play)), maps_of(other), strict=True)
        )
    first, second = gate.order[:2]
    assert first != second and gate.order[:12] == [first, second] * 6


def test_a_clip_of_files_with_an_unreadable_one(models, tmp_path):
    (tmp_path / "case1").mkdir()
    for i, frame in enumerate(smooth_frames(4)):
        cv2.imwrite(str(tmp_path / f"case1/{i}.png"), frame[..., ::-1])
    (tmp_path / "case1/1.png").write_text("no picture")
    play = play_all(models, index_clip(tmp_path / "case1"), tmp_path / "maps")
    assert (play.state, list(play.peaks), play.unreadable) == ("finished", [0, 2, 3], 1)
    assert "1.png" in play.message and str(tmp_path) not in play.message
    assert [p.name for p in sorted((tmp_path / "maps/case1").iterdir())] == [
        *("0.png", "2.png", "3.png")
    ]
    assert [read["label"] for read in VIEW.show(play, OperatingPoint())["reads"]] == [
        "frame 1, 3 back"
    ]


def test_without_memory_nothing_is_read(models, tmp_path):
    source = video(tmp_path)
    play = play_all(models, source, tmp_path / "without", options=Options("small", "32", 0, 1))
    assert VIEW.show(play, OperatingPoint())["reads"] == []
    other = play_all(models, source, tmp_path / "with", options=Options("small", "32", 3, 1))
    assert VIEW.show(other, OperatingPoint())["reads"]
    one, two = maps_of(play), maps_of(other)
    assert (one[0] == two[0]).all() and (one[4] != two[4]).any()  # the first has nothing to read


def test_pause_step_and_cancel_act_on_one_run_at_a_frame(models, gate, tmp_path):
    gated = with_gate(models, gate)
    play, other = (
        make_play(gated, video(tmp_path, 8, s, f"{s}.mkv"), tmp_path / f"maps{s}") for s in range(2)
    )
    play.start()
    gate.allow(2)
    wait_for(lambda: len(play.peaks) == 2, 20)
    play.go(0)
    gate.allow(100)
    wait_for(lambda: play.state == "paused", 20)
    stopped = len(play.peaks)
    assert stopped in (2, 3) and play.paused
    play.go(1)
    wait_for(lambda: len(play.peaks) == stopped + 1 and play.state == "paused", 20)
    other.start()
    assert finish(other).state == "finished" and len(other.peaks) == 8
    play.cancel()
    assert finish(play).state == "cancelled" and len(play.peaks) == stopped + 1
    assert len(maps_of(play)) == stopped + 1
    third = make_play(gated, play.source, tmp_path / "third")
    third.go(0)
    third.start()
    wait_for(lambda: third.state == "paused", 20)
    third.go()
    assert finish(third).state == "finished" and len(third.peaks) == 8


def test_a_cut_video_is_used_as_far_as_it_goes(models, tmp_path):
    source = video(tmp_path, 12)
    cut(source.path, 0.5)
    play = play_all(models, source, tmp_path / "maps")
    assert play.state == "finished" and 3 <= len(play.peaks) <= 9
    assert len(play.peaks) + play.unreadable == 12
    assert "clip.mkv" in play.message and str(tmp_path) not in play.message


def test_a_video_without_a_frame_that_can_be_decoded_fails_in_one_line(models, tmp_path):
    source = video(tmp_path, 3)
    data = bytearray(source.path.read_bytes())
    data[len(data) // 4 :] = bytes(len(data) - len(data) // 4)
    source.path.write_bytes(data[: len(data) // 3])
    play = play_all(models, source, tmp_path / "maps")
    assert play.state == "failed" and not play.peaks
    assert "clip.mkv" in play.message and "\n" not in play.message


def test_an_upload_that_is_longer_than_its_header_says_is_stopped(models, tmp_path):
    source = video(tmp_path, 3, times=[0, 10_000, 19_000])
    limits = Limits(seconds=15, max_pixels=10**6)
    play = play_all(models, source, tmp_path / "maps", limits=limits)
    assert play.state == "failed" and "19 s" in play.message and "15 s" in play.message


def test_the_threshold_draws_again_without_segmenting_again(models, gate, tmp_path):
    gate.allow(100)
    session = make_session(with_gate(models, gate), tmp_path / "session")
    source = video(tmp_path)
    finish(session.start(source, OPTIONS))
    last, computed = plain_loop(models, source.path)[0][-1], len(gate.order)
    pictures = set()
    for wanted in (0.01, float(np.median(last)), 0.99):
        session.set_threshold(wanted)
        shown = VIEW.show(session.play, session.point)
        pictures.add(shown["picture"])
        area = f"{100 * (last >= session.threshold).mean():.1f} %"
        assert {one["name"]: one["text"] for one in shown["numbers"]}["area"] == area
    assert len(pictures) == 3 and len(gate.order) == computed
    session.close()
    assert not (tmp_path / "session").exists()


def predict_clip(*overrides):
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        predict(compose("predict", [*overrides, "device=cpu", "num_workers=0"]))


def unzip(path):
    with zipfile.ZipFile(path) as archive:
        return {n: archive.read(n) for n in archive.namelist() if not n.endswith("/")}


def test_the_download_is_what_predict_writes(models, tmp_path):
    session = make_session(models, tmp_path / "session")
    source = video(tmp_path, 5)
    finish(session.start(source, OPTIONS))
    told = []
    for wanted in (0.5, 0.45):  # again with another threshold
        session.set_threshold(wanted)
        files = unzip(session.export(told.append))
        out = tmp_path / f"out{wanted}"
        predict_clip(
            f"ckpt={models.paths['small']}",
            f"source={source.path}",
            f"output={out}/maps",
            "tables=true",
            f"threshold={session.threshold}",
            "memory.max_frames=2",
            "memory.every=2",
            "data.image_size=256",
        )
        for name in ("clip.csv", "clip.json"):
            assert files.pop(name) == (out / "maps_tables" / name).read_bytes()
        for path in sorted((out / "maps/clip").iterdir()):
            assert files.pop(f"maps/{path.name}") == path.read_bytes()
        (tmp_path / "overlay.mp4").write_bytes(files.pop("clip.mp4"))
        assert len(list(decode_video(tmp_path / "overlay.mp4"))) == 5
        assert b"not a medical device" in files.pop("about.txt") and not files
    assert told[-1] == 1
    session.close()


def test_a_cancelled_run_of_a_clip_can_be_downloaded_up_to_there(models, gate, tmp_path):
    session = make_session(with_gate(models, gate), tmp_path / "session")
    with pytest.raises(UserError, match="no result"):
        session.export(lambda part: None)
    (tmp_path / "case1").mkdir()
    for i, frame in enumerate(smooth_frames(9)):
        cv2.imwrite(str(tmp_path / f"case1/{i}.png"), frame[..., ::-1])
    clip = index_clip(tmp_path / "case1")
    play = session.start(clip, OPTIONS)
    with pytest.raises(UserError, match="under way"):
        session.start(clip, OPTIONS)
    gate.allow(3)
    wait_for(lambda: len(play.peaks) == 3, 20)
    play.cancel()
    gate.allow(100)
    session.cancel()
    files = unzip(session.export(lambda part: None))
    rows = list(csv.DictReader(io.StringIO(files["case1.csv"].decode())))
    assert len(rows) == len(json.loads(files["case1.json"])["images"]) == len(play.peaks) < 9
    (tmp_path / "overlay.mp4").write_bytes(files["case1.mp4"])
    times = [float(picture.time) for picture in decode_video(tmp_path / "overlay.mp4")]
    rate = EXPORTING["clip_rate"]
    assert times == pytest.approx([number / rate for number in range(len(rows))])
    session.close()


def test_uploads_replace_each_other_and_leave_nothing(models, tmp_path):
    session = make_session(models, tmp_path / "session")
    incoming = tmp_path / "incoming"
    incoming.mkdir()

    def upload(name, write):
        write(incoming / name)
        session.take_upload(incoming / name)

    def held():
        return [p.name for p in Path(tmp_path / "session").rglob("*.*")]

    upload("a.mkv", lambda path: write_video(path, smooth_frames(2)))
    upload("b.mkv", lambda path: write_video(path, smooth_frames(3)))
    assert held() == ["b.mkv"]
    with pytest.raises(UserError, match="c.mkv"):
        upload("c.mkv", lambda path: path.write_text("text"))
    assert held() == ["b.mkv"] and list(incoming.iterdir()) == []
    play = finish(session.start(session.upload, OPTIONS))
    assert len(play.peaks) == 3
    session.close()
    session.close()
    assert not (tmp_path / "session").exists()
    with pytest.raises(UserError):
        session.start(play.source, OPTIONS)


def test_closing_a_session_ends_its_run(models, gate, tmp_path):
    session = make_session(with_gate(models, gate), tmp_path / "session")
    play = session.start(video(tmp_path, 9), OPTIONS)
    gate.allow(3)
    wait_for(lambda: len(play.peaks) == 3, 20)
    play.cancel()
    gate.allow(100)
    session.close()
    assert play.state == "cancelled" and not play.is_alive()
    assert not (tmp_path / "session").exists()
