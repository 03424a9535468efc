"""The real prediction command: the released script's maps, and what users see when input is bad."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GOLDEN, SMALL, small_network
from hydra import compose, initialize_config_dir
from PIL import Image

from sali.config import config_dir
from sali.errors import UserError
from sali.predict import predict

ROOT = Path(__file__).parent.parent


def run_predict(*overrides):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "sali.predict", *overrides], cwd=ROOT, capture_output=True, text=True
    )


def predicted(**given):
    """What the command does, in this process."""
    overrides = [f"{key}={value}" for key, value in given.items()]
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return predict(compose("predict", overrides=overrides))


def read_maps(folder):
    return {
        p.relative_to(folder).as_posix(): np.asarray(Image.open(p)).astype(int)
        for p in sorted(folder.rglob("*.png"))
    }


def test_released_checkpoint_writes_the_released_maps(released_checkpoint, tmp_path):
    done = run_predict(
        f"ckpt={released_checkpoint}",
        f"source={GOLDEN / 'predict/frames'}",
        f"output={tmp_path / 'maps'}",
        "compat=released",
        "memory.max_frames=3",
        "memory.every=2",
        "data.image_size=256",
        "overlay=true",
    )
    assert done.returncode == 0, done.stderr
    got, expected = read_maps(tmp_path / "maps"), read_maps(GOLDEN / "predict/expected_maps")
    assert list(got) == list(expected)
    difference = np.abs(np.stack(list(got.values())) - np.stack(list(expected.values())))
    assert difference.mean() <= 0.5
    assert np.percentile(difference, 99.9) <= 3
    overlays = sorted((tmp_path / "maps_overlays").rglob("*.jpg"))
    assert len(overlays) == len(expected)
    assert Image.open(overlays[0]).size == (300, 260)


@pytest.fixture(scope="module")
def own_checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "best.ckpt"
    network = small_network()
    streaming = dict(image_size=256, max_frames=4, every=1, eviction="released", neighbor="next")
    torch.save(
        {
            "state_dict": {f"network.{n}": t for n, t in network.state_dict().items()},
            "sali": {
                "network": SMALL,
                "streaming": streaming,
                "maps": "probability",
                "decode": "exact",
            },
        },
        path,
    )
    return path


@pytest.fixture
def clips(tmp_path):
    rng = np.random.default_rng(0)
    for c, length in ((1, 3), (2, 2)):
        folder = tmp_path / "source" / f"case{c}_1"
        folder.mkdir(parents=True)
        for t in range(length):
            frame = rng.integers(0, 255, (70, 90, 3)).astype(np.uint8)
            Image.fromarray(frame).save(folder / f"image{t}.jpg")
    return tmp_path / "source"


def test_settings_come_from_the_command_line_then_the_checkpoint(
    own_checkpoint, clips, tmp_path, caplog
):
    caplog.set_level("INFO")
    given = {"ckpt": own_checkpoint, "source": clips}
    predicted(**given, output=tmp_path / "m", **{"memory.every": 2}, smoothing=0.25)
    for setting in (
        "max_frames=4",
        "every=2",
        "smoothing=0.25",
        "eviction=released",
        "neighbor=next",
        "decode=exact",
    ):
        assert setting in caplog.text
    assert [m.shape for m in read_maps(tmp_path / "m").values()] == [(70, 90)] * 5
    caplog.clear()
    predicted(**given, output=tmp_path / "n", compat="corrected")
    for setting in ("neighbor=previous", "smoothing=0,"):
        assert setting in caplog.text


def test_unreadable_frame_stops_with_whole_clips_only_or_is_skipped(
    own_checkpoint, clips, tmp_path, caplog
):
    bad = clips / "case2_1/image1.jpg"
    bad.write_bytes(bad.read_bytes()[:500])
    given = {"ckpt": own_checkpoint, "source": clips, "output": tmp_path / "m"}
    done = run_predict(*(f"{key}={value}" for key, value in given.items()))
    assert done.returncode == 1
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("error:")]
    assert "case2_1/image1.jpg" in line and "on_bad_frame=skip" in line
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["case1_1"]

    caplog.set_level("INFO")
    assert predicted(**given, on_bad_frame="skip") == {"clips": 2, "frames": 4, "skipped": 1}
    assert "4 maps of 2 clips, 1 frames skipped" in caplog.text
    assert len(read_maps(tmp_path / "m")) == 4

    for frame in clips.glob("*/*"):
        frame.write_bytes(frame.read_bytes()[:300])
    with pytest.raises(UserError, match="none of the 5 frames"):
        predicted(**{**given, "output": tmp_path / "n"}, on_bad_frame="skip")
    assert read_maps(tmp_path / "n") == {}


def test_processes_of_torchrun_take_whole_clips_each(own_checkpoint, clips, tmp_path, monkeypatch):
    def count(output):
        return predicted(ckpt=own_checkpoint, source=clips, output=tmp_path / output)

    assert count("alone") == {"clips": 2, "frames": 5, "skipped": 0}
    monkeypatch.setenv("WORLD_SIZE", "3")
    shares = []
    for rank in range(3):  # of which the last has nothing to do
        monkeypatch.setenv("RANK", str(rank))
        shares.append(count("shared")["frames"])
    assert shares == [3, 2, 0]
    alone, shared = read_maps(tmp_path / "alone"), read_maps(tmp_path / "shared")
    assert list(alone) == list(shared)
    for name, picture in alone.items():
        assert (picture == shared[name]).all()


@pytest.mark.parametrize("which", ["clips", "clip"])
def test_frames_are_never_overwritten(own_checkpoint, clips, which):
    source = clips if which == "clips" else clips / "case1_1"
    with pytest.raises(UserError, match="would put the maps of case1_1 in place of its frames"):
        predicted(ckpt=own_checkpoint, source=source, output=clips)
    assert len(list(clips.rglob("*.jpg"))) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "absent"}, "source: .*absent"),
        ({"source": "empty"}, "no frames in empty"),
        ({"ckpt": "absent.ckpt"}, "ckpt: .*absent.ckpt"),
        ({"ckpt": "text.ckpt"}, "cannot be read as a checkpoint"),
        ({"data.image_size": "200"}, "image size 200 does not fit"),
        ({"precision": "8"}, "precision: got '8'"),
        ({"maps": "binary"}, "maps: got 'binary'"),
        ({"device": "cuda:7"}, "device 'cuda:7' is not available on this machine"),
        ({"on_bad_frame": "ignore"}, "on_bad_frame: got 'ignore'"),
        ({"output": "???"}, "no value for output"),
        ({"+memory.top": "3"}, "memory.top: .*max_frames"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    own_checkpoint, clips, tmp_path, changes, message
):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        (tmp_path / "empty").mkdir()
        (tmp_path / "text.ckpt").write_text("hello")
        given = {"ckpt": own_checkpoint, "source": clips, "output": "maps", **changes}
        with pytest.raises(UserError, match=message) as caught:
            predicted(**given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "maps").exists()


def test_prediction_does_without_lightning():
    code = "import sali.prediction, sali.predictor, sys; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
