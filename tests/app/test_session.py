"""Jobs and sessions without a page."""

import csv
import io
import json
import time
import zipfile

import cv2
import numpy as np
import pytest
import torch
from app_parts import (
    LIMITS,
    OPTIONS,
    Gate,
    make_engine,
    make_job,
    make_models,
    make_session,
    maps_of,
    plain_loop,
    save_checkpoint,
)
from miniature import wait_for
from video_files import cut, smooth_frames, write_video

from sali.app.job import State
from sali.app.kept_maps import between_levels
from sali.app.models import Options
from sali.app.sessions import Lifetimes, Sessions
from sali.data.index import index_clip
from sali.data.samples import Frame
from sali.data.video.decoding import decode_video
from sali.errors import UserError
from sali.prediction import Result
from sali.prediction.tables import DetectionTables
from sali.streaming.maps import to_map


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return make_models(save_checkpoint(tmp_path_factory.mktemp("own") / "small.ckpt"))


@pytest.fixture
def gate():
    with Gate() as forward:
        yield forward
        forward.allow(10**6)


@pytest.fixture
def closed_gate():
    with Gate(0) as forward:
        yield forward
        forward.allow(10**6)


@pytest.fixture
def engine(models, gate):
    return make_engine(models, gate)


@pytest.fixture
def gated(models, closed_gate):
    return make_engine(models, closed_gate, seats=1)


def video(folder, count=5, seed=0, name="clip.mkv", **options):
    path = write_video(folder / name, smooth_frames(count, seed=seed), **options)
    return LIMITS.open(path)


def finish(job):
    job.join(60)
    assert not job.is_alive()
    return job


def run(engine, source, folder, **options):
    job = make_job(engine, source, folder, **options)
    job.start()
    return finish(job)


def test_a_job_finds_what_a_plain_loop_finds(engine, models, tmp_path):
    source = video(tmp_path, 6)
    job = run(engine, source, tmp_path / "job")
    assert (job.state, job.message, job.frames, job.length) == (State.FINISHED, "", 6, 6)
    expected, segmenter = plain_loop(models, source.path)
    for number, probability in enumerate(expected):
        expected_map = to_map(torch.from_numpy(probability), "probability").numpy()
        assert (job.maps.read(number) == expected_map).all()
        assert job.peaks[number] == probability.max()
    assert len({job.maps.read(n).tobytes() for n in range(6)}) == 6
    assert (job.latest.result.probability == expected[-1]).all()
    assert list(job.latest.past) == segmenter.video.bank.levels[0].frame.unique().tolist()
    assert [frame.number for frame in job.latest.past.values()] == list(job.latest.past)
    assert job.latest.memory_frames == 2


def test_two_jobs_at_once_take_turns_and_find_what_each_finds_alone(models, tmp_path, gate):
    sources = [video(tmp_path, 6, seed, f"{seed}.mkv") for seed in range(2)]
    alone_engine = make_engine(models, gate)
    alone = [run(alone_engine, s, tmp_path / f"alone_{s.name}") for s in sources]
    with Gate(0) as forward:
        engine = make_engine(models, forward)
        jobs = [make_job(engine, source, tmp_path / source.name) for source in sources]
        for job in jobs:
            job.start()
        wait_for(lambda: forward._work_queue.qsize() == 1, 20)  # one under way, one waits
        forward.allow(100)
        for job in jobs:
            finish(job)
    # A video's end is a call too.
    first, second = forward.order[:2]
    assert first != second
    assert forward.order[:10] == [first, second] * 5
    for job, other in zip(jobs, alone, strict=True):
        got, expected = maps_of(job), maps_of(other)
        assert len(got) == 6
        assert all((got[n] == expected[n]).all() for n in expected)


def test_a_clip_of_files(engine, tmp_path):
    (tmp_path / "case1").mkdir()
    for i, frame in enumerate(smooth_frames(3)):
        cv2.imwrite(str(tmp_path / f"case1/{i}.png"), frame[..., ::-1])
    (tmp_path / "case1/1.png").write_text("no picture")
    job = run(engine, index_clip(tmp_path / "case1"), tmp_path / "job")
    assert (job.state, job.frames, job.unreadable) == (State.FINISHED, 2, 1)
    assert "cannot read frame 1.png" in job.message and str(tmp_path) not in job.message
    assert list(maps_of(job)) == [0, 2]


def test_without_memory_nothing_is_read(engine, tmp_path):
    source = video(tmp_path)
    job = run(engine, source, tmp_path / "job", options=Options("small", "32", 0, 1))
    assert job.latest.memory_frames == 0 and job.latest.result.attention is None
    other = run(engine, source, tmp_path / "with", options=Options("small", "32", 3, 1))
    assert other.latest.result.attention
    assert (job.maps.read(0) == other.maps.read(0)).all()  # the first has nothing to read
    assert (job.maps.read(4) != other.maps.read(4)).any()


def test_cancel_ends_one_job_alone_and_keeps_what_is_there(models, closed_gate, tmp_path):
    engine = make_engine(models, closed_gate)
    one, other = (
        make_job(engine, video(tmp_path, 8, s, f"{s}.mkv"), tmp_path / f"{s}") for s in range(2)
    )
    one.start()
    other.start()
    closed_gate.allow(6)
    wait_for(lambda: one.frames >= 2 and other.frames >= 2, 20)
    one.cancel()
    closed_gate.allow(100)
    finish(one)
    finish(other)
    assert one.state == State.CANCELLED and 2 <= one.frames < 8 and len(maps_of(one)) == one.frames
    assert other.state == State.FINISHED and other.frames == 8


def test_pause_stops_at_a_frame_and_goes_on(gated, closed_gate, tmp_path):
    job = make_job(gated, video(tmp_path, 8), tmp_path / "job")
    job.start()
    closed_gate.allow(2)
    wait_for(lambda: job.frames == 2, 20)
    job.pause()
    closed_gate.allow(100)
    wait_for(lambda: job.state == State.PAUSED, 20)
    shown = job.frames
    assert shown < 8 and len(closed_gate.order) <= shown + 1
    job.resume()
    assert finish(job).state == State.FINISHED and job.frames == 8


def test_who_finds_no_seat_waits_and_may_leave(gated, closed_gate, tmp_path):
    jobs = [make_job(gated, video(tmp_path, 2, s, f"{s}.mkv"), tmp_path / f"{s}") for s in range(3)]
    for job in jobs:
        job.start()
        wait_for(lambda job=job: gated.seats.position(job) is not None, 20)
    wait_for(lambda: [job.position for job in jobs] == [0, 1, 2], 20)
    assert jobs[2].state == State.WAITING
    jobs[1].cancel()
    assert finish(jobs[1]).state == State.CANCELLED and jobs[1].frames == 0
    wait_for(lambda: jobs[2].position == 1, 20)
    closed_gate.allow(100)
    assert [finish(job).state for job in (jobs[0], jobs[2])] == [State.FINISHED] * 2


def test_a_cut_video_is_used_as_far_as_it_goes(engine, tmp_path):
    source = video(tmp_path, 12)
    cut(source.path, 0.5)
    job = run(engine, source, tmp_path / "job")
    assert job.state == State.FINISHED and 3 <= job.frames <= 9
    assert job.frames + job.unreadable == 12
    assert job.message.startswith("clip.mkv stops after") and str(tmp_path) not in job.message


def test_a_video_without_a_frame_that_can_be_decoded_fails_in_one_line(engine, tmp_path):
    source = video(tmp_path, 3)
    data = bytearray(source.path.read_bytes())
    data[len(data) // 4 :] = bytes(len(data) - len(data) // 4)
    source.path.write_bytes(data[: len(data) // 3])
    job = run(engine, source, tmp_path / "job")
    assert job.state == State.FAILED and job.frames == 0
    assert "clip.mkv" in job.message and "\n" not in job.message


def test_an_upload_that_is_longer_than_its_header_says_is_stopped(models, gate, tmp_path):
    source = video(tmp_path, 3, times=[0, 10_000, 19_000])
    short = LIMITS.__class__(megabytes=2, seconds=15, max_pixels=10**6, suffixes=(".mkv",))
    job = run(make_engine(models, gate, limits=short), source, tmp_path / "job", is_upload=True)
    assert job.state == State.FAILED and "lasts 19 s; up to 15 s" in job.message


def test_threshold_redraws_without_segmenting_again(engine, gate, models, tmp_path):
    session = make_session(engine, tmp_path / "session")
    source = video(tmp_path)
    session.start(source, OPTIONS)
    finish(session.job)
    last = plain_loop(models, source.path)[0][-1]
    computed = len(gate.order)
    shown = {}
    told = session.news(0, 1)
    for wanted in (0.01, float(np.median(last)), 0.99):
        session.set_threshold(wanted)
        told = session.news(told["version"], 1)
        shown[wanted] = told["shown"]
        area = (last >= between_levels(wanted)).mean()
        assert told["shown"]["area"] == f"{100 * area:.1f} %"
    assert len({one["picture"] for one in shown.values()}) == 3
    assert len(gate.order) == computed
    assert told["shown"]["numbers"]["frame"] == "5 / 5"
    assert [read["label"] for read in told["shown"]["reads"]]
    shares = [float(read["share"].split()[0]) for read in told["shown"]["reads"]]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=0.2)


def test_news_come_once_and_words_without_a_picture(gated, closed_gate, tmp_path):
    session = make_session(gated, tmp_path / "session")
    first = session.news(0, 0)
    assert first["state"] == "idle" and "shown" not in first
    session.tell("a line")
    second = session.news(first["version"], 0)
    assert second["message"] == "a line" and "shown" not in second
    assert session.news(second["version"], 0)["version"] == second["version"]
    session.start(video(tmp_path, 3), OPTIONS)
    closed_gate.allow(100)
    finish(session.job)
    assert session.news(second["version"], 0)["shown"]["numbers"]["frame"] == "3 / 3"
    session.close()


def read_zip(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_download_holds_what_predict_writes(engine, models, tmp_path):
    session = make_session(engine, tmp_path / "session")
    source = video(tmp_path, 5)
    session.start(source, OPTIONS)
    finish(session.job)
    expected, _ = plain_loop(models, source.path)
    for wanted in (0.5, float(np.median(expected))):  # again with another threshold
        session.set_threshold(wanted)
        files = read_zip(session.export())
        assert sorted(files) == ["about.txt", "clip.csv", "clip.json", "clip.mp4"]
        tables = DetectionTables(tmp_path / "expected", between_levels(wanted))
        for number, (probability, picture) in enumerate(
            zip(expected, decode_video(source.path), strict=True)
        ):
            image = torch.empty(0)
            frame = Frame(clip=0, number=number, image=image, size=(0, 0), time=picture.time)
            tables.write(Result(source, frame, torch.from_numpy(probability), []))
        tables.finish("clip")
        for name in ("clip.csv", "clip.json"):
            assert files[name] == (tmp_path / "expected" / name).read_bytes()
        (tmp_path / "overlay.mp4").write_bytes(files["clip.mp4"])
        assert len(list(decode_video(tmp_path / "overlay.mp4"))) == 5
        assert b"not a medical device" in files["about.txt"]
    session.close()
    assert not (tmp_path / "session").exists()


def test_a_cancelled_run_can_be_downloaded_up_to_there(gated, closed_gate, tmp_path):
    session = make_session(gated, tmp_path / "session")
    with pytest.raises(UserError, match="no result yet"):
        session.export()
    session.start(video(tmp_path, 9), OPTIONS)
    with pytest.raises(UserError, match="a run is under way"):
        session.start(video(tmp_path, 9), OPTIONS)
    closed_gate.allow(3)
    wait_for(lambda: session.job.frames == 3, 20)
    session.cancel()
    closed_gate.allow(100)
    finish(session.job)
    files = read_zip(session.export())
    rows = list(csv.DictReader(io.StringIO(files["clip.csv"].decode())))
    assert len(rows) == len(json.loads(files["clip.json"])) == session.job.frames < 9
    session.close()


def test_uploads_replace_each_other_and_leave_nothing(engine, tmp_path):
    session = make_session(engine, tmp_path / "session")

    def upload(name, write):
        path = tmp_path / "incoming"
        path.mkdir(exist_ok=True)
        write(path / name)
        session.take_upload(path / name, name)

    upload("a.mkv", lambda path: write_video(path, smooth_frames(2)))
    upload("b.mkv", lambda path: write_video(path, smooth_frames(3)))
    assert [p.name for p in (tmp_path / "session").rglob("*.*")] == ["b.mkv"]
    with pytest.raises(UserError, match="cannot be read as video"):
        upload("c.mkv", lambda path: path.write_text("text"))
    assert "c.mkv cannot be read as video" in session.news(0, 0)["message"]
    assert [p.name for p in (tmp_path / "session").rglob("*.*")] == ["b.mkv"]
    assert list((tmp_path / "incoming").iterdir()) == []
    session.start(session.upload, OPTIONS)
    assert finish(session.job).frames == 3
    session.close()
    session.close()
    assert not (tmp_path / "session").exists()


def sessions_of(engine, folder, lost=60.0, keep=1.0, capacity=2):
    def make(token, own):
        session = make_session(engine, own)
        session.token = token
        return session

    return Sessions(folder, make, capacity, Lifetimes(lost, keep))


def test_a_page_that_is_gone_ends_its_run_and_leaves_nothing(gated, closed_gate, tmp_path):
    sessions = sessions_of(gated, tmp_path / "all", lost=1)
    lost, alive = sessions.open(), sessions.open()
    with pytest.raises(UserError, match="2 pages are open"):
        sessions.open()
    lost.start(video(tmp_path, 9), OPTIONS)
    job = lost.job
    closed_gate.allow(3)
    wait_for(lambda: job.frames == 3, 20)
    closed_gate.allow(1)

    def gone():
        alive.seen = time.monotonic()
        return len(sessions) == 1

    wait_for(gone, 20)
    closed_gate.allow(100)
    finish(job)
    assert job.state == State.CANCELLED and job.frames < 9
    wait_for(lambda: not lost.folder.exists(), 20)
    assert gated.seats.position(job) is None
    with pytest.raises(UserError, match="closed or lost its connection"):
        sessions.get(lost.token)
    assert sessions.get(alive.token) is alive
    sessions.stop()
    assert not (tmp_path / "all").exists() and len(sessions) == 0


def test_results_that_nobody_uses_are_deleted_though_the_page_is_open(engine, tmp_path):
    sessions = sessions_of(engine, tmp_path / "all", keep=1 / 60)
    session = sessions.open()
    session.start(video(tmp_path, 2), OPTIONS)
    finish(session.job)
    wait_for(lambda: not session.folder.exists(), 20)
    told = wait_for(lambda: (news := session.news(0, 0))["message"] and news, 20)
    assert told["state"] == "idle" and told["shown"] is None and "Deleted after" in told["message"]
    session.start(video(tmp_path, 2), OPTIONS)  # and the page goes on
    assert finish(session.job).state == State.FINISHED
    sessions.stop()
    assert not (tmp_path / "all").exists()
