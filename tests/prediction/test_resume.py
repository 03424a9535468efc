"""An interrupted video goes on with the same command, and ends as if nothing had happened."""

import av
import numpy as np
import pytest
import torch
from conftest import SMALL, small_network
from hydra import compose, initialize_config_dir
from video_files import smooth_frames, write_video

from sali.config import config_dir
from sali.predict import predict
from sali.prediction.writers import pictures
from sali.streaming import StreamSegmenter
from sali.streaming.segmenter import to_map

STREAMING = dict(image_size=256, max_frames=2, every=2, eviction="least_used", neighbor="previous")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("full") / "best.ckpt"
    torch.manual_seed(0)
    network = small_network()
    own = {"network": SMALL, "streaming": STREAMING, "maps": "probability", "decode": "exact"}
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state, "sali": own}, path)
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "clip.mkv"
    return write_video(path, smooth_frames(11, 48, 64), "libx264", "yuv420p", options={"bf": "2"})


def run(checkpoint, source, output, **options):
    given = {
        **{"ckpt": checkpoint, "source": source, "output": output, "num_workers": 0},
        **{"overlay": True, "tables": True, "threshold": 0.4, "video.save_every": 3, **options},
    }
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return predict(compose("predict", overrides=[f"{k}={v}" for k, v in given.items()]))


def interrupt(monkeypatch, at):
    """Ctrl-C before the map with this number, counted over the process, is written."""
    done = []

    def to_map_or_stop(probability, rule):
        done.append(1)
        if len(done) == at + 1:
            raise KeyboardInterrupt
        return to_map(probability, rule)

    monkeypatch.setattr(pictures, "to_map", to_map_or_stop)
    return done


def files(root):
    """Return the bytes of every file; of encoded videos, which have no fixed bytes, the frames."""
    return {
        p.relative_to(root): decoded(p) if p.suffix == ".mp4" else p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and p.name != "run.json"  # holds the time of the command
    }


def decoded(path):
    """Return time and pixels of every frame."""
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [(frame.time, frame.to_ndarray(format="rgb24").tobytes()) for frame in frames]


@pytest.mark.parametrize(
    "compat", ["corrected", pytest.param("released", marks=pytest.mark.slow)]
)  # no look ahead, and one frame
def test_the_end_is_that_of_a_run_without_interruption(
    checkpoint, video, tmp_path, monkeypatch, caplog, compat
):
    expected = run(checkpoint, video, tmp_path / "whole/m", compat=compat)
    done = interrupt(monkeypatch, at=8)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint, video, tmp_path / "cut/m", compat=compat)
    assert not (tmp_path / "cut/m/clip").exists()
    done.clear()
    caplog.set_level("INFO")
    assert run(checkpoint, video, tmp_path / "cut/m", compat=compat) == expected
    # Looking ahead, map 8 comes with frame 9: frame 8 was pushed and saved, but had no result.
    saved = 6 if compat == "corrected" else 8
    assert f"clip: resumed at frame {saved}" in caplog.text
    assert len(done) == 11 - saved
    whole = files(tmp_path / "whole")
    assert len(whole) == 11 + 1 + 3
    assert files(tmp_path / "cut") == whole


@pytest.mark.slow
@pytest.mark.parametrize("what", ["threshold", "source", "partial", "resume"])
def test_nothing_is_mixed_with_results_of_something_else(
    checkpoint, video, tmp_path, monkeypatch, caplog, what
):
    source = tmp_path / "clip.mkv"
    source.write_bytes(video.read_bytes())
    done = interrupt(monkeypatch, at=5)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint, source, tmp_path / "m")
    options = {}
    if what == "threshold":
        options = {"threshold": 0.3}
    elif what == "source":
        source.write_bytes(video.read_bytes() + b" ")
    elif what == "partial":
        (tmp_path / "m/.clip.partial/000001.png").unlink()
        (tmp_path / "m/.clip.partial/000003.png").unlink()
        (tmp_path / "m/.clip.partial/000004.png").unlink()
    else:
        options = {"resume": False}
    done.clear()
    monkeypatch.setattr(pictures, "to_map", lambda *a: done.append(1) or to_map(*a))
    assert run(checkpoint, source, tmp_path / "m", **options)["frames"] == 11
    assert len(done) == 11
    if what != "resume":
        assert "clip starts again" in caplog.text
    assert [p.name for p in (tmp_path / "m").iterdir() if p.is_dir()] == ["clip"]


@pytest.mark.slow
def test_of_several_videos_only_what_is_missing_is_done(
    checkpoint, video, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    for name in ("a", "b", "c"):
        (tmp_path / "source").mkdir(exist_ok=True)
        (tmp_path / f"source/{name}.mkv").write_bytes(video.read_bytes())
    done = interrupt(monkeypatch, at=15)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint, tmp_path / "source", tmp_path / "m", overlay=False)
    done.clear()
    monkeypatch.setattr(pictures, "to_map", lambda *a: done.append(1) or to_map(*a))
    count = run(checkpoint, tmp_path / "source", tmp_path / "m", overlay=False)
    assert count == {"clips": 3, "frames": 33, "skipped": 0}
    assert len(done) == 33 - 11 - 3
    assert "a: all of it was written before" in caplog.text
    one, *others = (
        [p.read_bytes() for p in sorted((tmp_path / "m" / name).iterdir())] for name in "abc"
    )
    assert len(one) == 11 and others == [one, one]
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["a", "b", "c", "run.json"]


def test_a_segmenter_goes_on_from_a_saved_state(tmp_path):
    torch.manual_seed(0)
    network = small_network().eval()
    frames = smooth_frames(9, 64, 64)
    one = StreamSegmenter(network, **STREAMING)
    for frame in frames[:5]:
        one.step(frame)
    torch.save(one.state(), tmp_path / "state.pt")
    other = StreamSegmenter(network, **STREAMING)
    other.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    for frame in frames[5:]:
        np.testing.assert_array_equal(other.step(frame), one.step(frame))
    assert (
        other.video.bank.sizes == one.video.bank.sizes and other.video.bank.sizes[0] == 2 * 32 * 32
    )
