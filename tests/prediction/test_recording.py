"""Recordings read back: what they hold is what the results said."""

import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from conftest import SMALL, small_network
from hydra import compose, initialize_config_dir
from miniature import ROOT
from video_files import smooth_frames, write_video

from sali.config import config_dir
from sali.data.datasets import FrameReader
from sali.errors import ConfigError, DataError
from sali.metrics.operating_point import OperatingPoint
from sali.predict import predict
from sali.prediction import Options, Result, index_source, load
from sali.streaming import ClipRunner, StreamSegmenter

pytest.importorskip("rerun", reason="recordings need the extra `recording`")

from rerun.chunk import RrdReader

from sali.prediction.writers.recordings import outlines, recordings

STREAMING = dict(image_size=256, max_frames=2, every=2, eviction="least_used", neighbor="previous")
OPTIONS = dict(height=24, jpeg_quality=95, flush_seconds=0.05)
TIMES = [0, 40, 90, 130, 1000]


def logged(path, index="frame"):
    """{entity/component: {index: value}}, of what changes over the frames."""
    found = {}
    for chunk in RrdReader(path).stream():
        if chunk.is_static:
            continue
        batch = chunk.to_record_batch()
        times = batch.column(index).cast("int64").to_pylist()
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if ":" in name:
                entity = f"{chunk.entity_path[1:]}:{name.split(':')[1]}"
                rows = zip(times, column.to_pylist(), strict=True)
                found.setdefault(entity, {}).update({t: v for t, v in rows if v is not None})
    return {entity: dict(sorted(values.items())) for entity, values in found.items()}


def scalars(values):
    return {time: value for time, (value,) in values.items()}


def picture(value):
    (blob,) = value
    return cv2.imdecode(np.array(blob, np.uint8), cv2.IMREAD_UNCHANGED)


def write(results, root, threshold=0.5, **options):
    writer = recordings(
        root, OperatingPoint(threshold), {"checkpoint": "best.ckpt"}, {**OPTIONS, **options}
    )
    for result in results:
        writer.write(result)
    return writer


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Of a video of five frames, whose memory keeps every second one."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("video") / "clip.mkv"
    videos = index_source(str(write_video(path, smooth_frames(5), times=TIMES)), 10**6)
    network = small_network().eval()
    runner = ClipRunner(lambda: StreamSegmenter(network, **STREAMING))
    found = []
    reader = FrameReader(256, "fast")
    for frames in load(videos, reader, Options(keep_pictures=True)):
        for frame, probability, use in runner.push(frames):
            spread = (probability - probability.min()) / (probability.max() - probability.min())
            found.append(Result(videos[frame.clip], frame, 0.9 * spread, use))
    return found


@pytest.fixture(scope="module")
def recording(results, tmp_path_factory):
    root = tmp_path_factory.mktemp("recordings")
    write(results, root).finish("clip")
    (path,) = root.iterdir()
    assert path.name == "clip.rrd"
    return path


def test_every_frame_is_there_at_its_time(results, recording):
    found = logged(recording)
    for entity in ("frame/picture:blob", "frame/mask:strips", "probability:blob"):
        assert list(found[entity]) == [0, 1, 2, 3, 4], entity
    nanoseconds = list(logged(recording, "time")["found/peak:scalars"])
    assert nanoseconds == [t * 10**6 for t in TIMES]
    for number, result in enumerate(results):
        shown = picture(found["frame/picture:blob"][number])[..., ::-1]
        small = [r.picture[::2, ::2].astype(int) for r in results]
        assert shown.shape == small[0].shape
        assert np.argmin([np.abs(shown - other).mean() for other in small]) == number
        assert np.abs(shown - small[number]).mean() < 20  # JPEG keeps colours at half the size
        grey = picture(found["probability:blob"][number]) / 255
        expected = result.probability.reshape(24, 2, 32, 2).mean((1, 3))
        assert np.abs(grey - expected).max() <= 0.5001 / 255


def test_numbers_and_masks_are_those_of_the_results(results, recording):
    found = logged(recording)
    area, peak = (scalars(found[f"found/{name}:scalars"]) for name in ("area", "peak"))
    for number, result in enumerate(results):
        mask = result.probability >= 0.5
        assert 0 < mask.sum() < mask.size
        assert area[number] == mask.sum() / mask.size
        assert peak[number] == result.probability.max()
        (strips,) = [found["frame/mask:strips"][number]]
        lines = [np.rint(np.array(line) * 2 - 0.5).astype(np.int32) for line in strips]
        drawn = np.zeros(mask.shape, np.uint8)
        cv2.drawContours(drawn, lines, -1, 1, cv2.FILLED)
        assert (drawn == mask).all()


def test_reads_of_the_memory_are_those_of_the_results(results, recording):
    found = logged(recording)
    held, whole, most = (
        scalars(found[f"{name}:scalars"])
        for name in ("memory/frames_held", "memory/whole_frames", "most_read/frame")
    )
    assert list(held) == list(whole) == list(most) == [1, 2, 3, 4]  # the first one read nothing
    assert [held[n] for n in (1, 2, 3)] == [1, 1, 2]
    assert list(whole.values()) == [1, 1, 2, 2]
    shown = {}
    for number, result in enumerate(results[1:], 1):
        shares = result.attention.by_frame() if result.attention else {}
        (bars,), (places,) = (found[f"reads/shares:{n}"][number] for n in ("values", "abscissa"))
        assert places["buffer"] == list(shares)
        totals = [share.sum() for share in shares.values()]
        np.testing.assert_allclose(bars["buffer"], totals, rtol=1e-6)
        assert sum(bars["buffer"]) == pytest.approx(1, abs=1e-4)
        best = max(shares, key=lambda n: shares[n].sum())
        assert most[number] == best
        (cells,) = found["most_read/past/cells:buffer"][number]
        np.testing.assert_array_equal(
            np.array(cells, np.uint8).view(np.float32), shares[best].ravel()
        )
        # The past frame's picture is logged when it becomes another one.
        shown = found["most_read/past/picture:blob"].get(number, shown)
        assert shown == found["frame/picture:blob"][best]


def test_past_frames_are_named_by_their_own_numbers(results, tmp_path):
    """The memory counts the frames that were segmented; unreadable ones were not."""
    numbers = [0, 3, 4, 7, 8]
    moved = [
        replace(result, frame=replace(result.frame, number=number))
        for result, number in zip(results, numbers, strict=True)
    ]
    write(moved, tmp_path).finish("clip")
    found = logged(tmp_path / "clip.rrd")
    assert found["reads/shares:abscissa"][7][0]["buffer"] == [0, 4]
    assert set(scalars(found["most_read/frame:scalars"]).values()) <= {0, 4, 8}


def test_lines_run_round_areas_and_holes():
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:5] = True
    (line,) = outlines(mask, (12, 8))  # twice as high
    corners = {(2.5, 3), (4.5, 3), (4.5, 7), (2.5, 7)}
    assert set(map(tuple, line.tolist())) == corners and (line[0] == line[-1]).all()
    mask[2, 3] = False
    assert len(outlines(mask, (6, 8))) == 2
    assert outlines(np.zeros((6, 8), bool), (6, 8)) == []


def test_an_interrupted_one_keeps_its_partial_name_and_opens(results, tmp_path, caplog):
    write(results[:3], tmp_path).discard()
    (path,) = tmp_path.iterdir()
    assert path.name == "clip.partial.rrd" and "clip.partial.rrd" in caplog.text
    assert list(logged(path)["found/area:scalars"]) == [0, 1, 2]


WRITE_FOREVER = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from sali.metrics.operating_point import OperatingPoint
from sali.prediction.writers.recordings import RerunFile
options = dict(height=24, jpeg_quality=80, flush_seconds=0.1)
recording = RerunFile(Path(sys.argv[1]), OperatingPoint(), False, {}, **options)
for i in range(10**9):
    recording.write(SimpleNamespace(
        frame=SimpleNamespace(number=i), time=None, attention=None,
        picture=np.zeros((24, 32, 3), np.uint8), probability=np.full((24, 32), 0.25, np.float32),
    ))
    if i == 20:
        time.sleep(1)
        print("written", flush=True)
"""


@pytest.mark.slow
def test_a_killed_process_leaves_a_recording_that_opens(tmp_path):
    arguments = [sys.executable, "-c", WRITE_FOREVER, str(tmp_path / "a.rrd")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "written\n"
        os.kill(process.pid, signal.SIGKILL)
    assert not (tmp_path / "a.rrd").exists()
    peaks = scalars(logged(tmp_path / "a.partial.rrd")["found/peak:scalars"])
    assert list(peaks)[:21] == list(range(21)) and set(peaks.values()) == {0.25}


@pytest.mark.parametrize("room", [1000, 500_000])
def test_a_full_disk_is_an_error(results, tmp_path, room):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = [replace(results[0], tensor=torch.rand(48, 64)) for _ in range(300)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(DataError, match=r"cannot write .*clip.partial.rrd"):
            write(noise, tmp_path, height=48).finish("clip")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "clip.rrd").exists()


def test_a_missing_package_is_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ConfigError, match=r"pip install 'sali\[recording\]'$"):
        run_predict("nowhere.ckpt", tmp_path, tmp_path / "m")


def run_predict(checkpoint, source, output):
    given = [f"ckpt={checkpoint}", f"source={source}", f"output={output}", "recording=true"]
    given += ["num_workers=0", "recordings.height=24"]
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return predict(compose("predict", overrides=given))


def test_the_command_records_folders_of_frames(tmp_path):
    import rerun as rr

    own = {"network": SMALL, "streaming": STREAMING, "maps": "probability", "decode": "exact"}
    state = {f"network.{name}": tensor for name, tensor in small_network().state_dict().items()}
    torch.save({"state_dict": state, "sali": own}, tmp_path / "best.ckpt")
    for clip in ("a", "b"):
        (tmp_path / "clips" / clip).mkdir(parents=True)
        for i, frame in enumerate(smooth_frames(2)):
            cv2.imwrite(str(tmp_path / "clips" / clip / f"{i}.png"), frame)
    run_predict(tmp_path / "best.ckpt", tmp_path / "clips", tmp_path / "m")
    files = sorted((tmp_path / "m_recordings").iterdir())
    assert [path.name for path in files] == ["a.rrd", "b.rrd"]
    assert rr.get_global_data_recording() is None
    for path in files:
        reader = RrdReader(path)
        (entry,), (blueprint,) = reader.recordings(), reader.blueprints()
        assert entry.application_id == blueprint.application_id == "sali"
        chunks = list(reader.stream())
        assert {name for chunk in chunks for name in chunk.timeline_names} == {"frame"}
        (about,) = [chunk for chunk in chunks if chunk.entity_path == "/about"]
        text = str(about.to_record_batch().to_pydict())
        assert "Research software, not a medical device" in text
        assert str(tmp_path / "best.ckpt") in text and "image_size 256" in text
        maps = sorted((tmp_path / "m" / path.stem).iterdir())
        peaks = scalars(logged(path)["found/peak:scalars"])
        for i, file in enumerate(maps):
            assert peaks[i] == pytest.approx(cv2.imread(str(file), 0).max() / 255, abs=0.002)
