"""Bundles: written, checked, run without PyTorch, and taken by predict and app."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from sali.config import config_dir
from sali.errors import ConfigError, UserError, WeightsError
from sali.models.contract import ClipBatch, VideoSegmenter, VideoState
from sali.models.image import ImageSegmenter
from sali.models.shipped import SAMPLE
from sali.streaming import StreamSegmenter

pytest.importorskip("onnxscript", reason="the extra export is not installed")
runtime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")

from sali.export.__main__ import export  # noqa: E402
from sali.export.quantise import Calibration  # noqa: E402
from sali.export.write import export_network  # noqa: E402
from sali.runtime import Segmenter  # noqa: E402
from sali.runtime.bundle import Bundle  # noqa: E402

SETTINGS = {"image_size": 64, "smoothing": 0.3, "decode": "exact", "maps": "probability"}
CARD = {"licence": "MIT", "model_card": "A test.", "checkpoint": "none"}


class Tiny(nn.Module):
    """A network of single images."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 1, 1),
        )

    def forward(self, x):
        return self.layers(x)


class Unknown(VideoSegmenter):
    """A network whose state is its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 1, 1)

    def forward(self, sample: ClipBatch):
        raise NotImplementedError

    def encode(self, images):
        return [self.layer(images)]

    def start(self, **settings):
        class Own(VideoState):
            def step(self, features):
                return features[0]

        return Own()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ImageSegmenter(Tiny(), multiple=32).eval()


@pytest.fixture(scope="module")
def bundle(network, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    export_network(network, {**SETTINGS, "video": {}}, folder, "onnx", "32", CARD)
    return folder


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 255, (5, 50, 70, 3)).astype(np.uint8)


def run(segmenter, frames):
    maps = [segmenter.step(frame) for frame in frames] + [segmenter.flush()]
    return np.array([m for m in maps if m is not None])


def grey_levels(one, other):
    return 255 * np.abs(one - other).mean()


def test_a_bundle_gives_the_maps_of_its_network(network, bundle, frames):
    expected = run(StreamSegmenter(network, 64, smoothing=0.3), frames)
    ours = Segmenter(bundle, threads=1)
    assert grey_levels(run(ours, frames), expected) < 0.1
    ours.reset()
    first = [ours.step(frame) for frame in frames[:2]]
    again = Segmenter(ours.bundle)
    again.load_state(ours.state())
    rest = [again.step(frame) for frame in frames[2:]]
    assert grey_levels(np.array(first + rest), expected) < 0.1


def test_a_bundle_runs_without_torch_and_hydra(bundle):
    code = (
        "import sys, numpy as np\n"
        "from sali.runtime import Segmenter\n"
        f"s = Segmenter({str(bundle)!r}, threads=1)\n"
        "assert s.step(np.zeros((40, 60, 3), np.uint8)).shape == (40, 60)\n"
        "print([m for m in ('torch', 'hydra', 'lightning', 'albumentations') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_bundle_says_what_it_is(bundle):
    about = json.loads((bundle / "bundle.json").read_text())
    assert about["licence"] == "MIT" and about["settings"]["image_size"] == 64
    assert set(about["files"]) == {"encode.onnx"} and len(about["files"]["encode.onnx"]) == 64
    assert set(about["versions"]) == {"torch", "onnx", "onnxruntime"}


def test_half_precision_halves_the_file_not_the_result(network, frames, tmp_path):
    settings = {**SETTINGS, "smoothing": 0, "video": {}}
    wide = ImageSegmenter(nn.Sequential(nn.Conv2d(3, 512, 3, padding=1), nn.Conv2d(512, 1, 1)))
    sizes = {}
    for precision in ("32", "16"):
        export_network(wide.eval(), settings, tmp_path / precision, "onnx", precision, CARD)
        sizes[precision] = (tmp_path / precision / "encode.onnx").stat().st_size
    assert sizes["16"] < 0.7 * sizes["32"]
    one, other = (run(Segmenter(tmp_path / p, threads=1), frames) for p in ("32", "16"))
    assert 0 < grey_levels(one, other) < 0.5


def test_openvino_gives_the_same_maps(network, frames, tmp_path):
    pytest.importorskip("openvino", reason="the extra export is not installed")
    settings = {**SETTINGS, "video": {}}
    export_network(network, settings, tmp_path / "b", "openvino", "32", CARD)
    assert sys.modules["openvino_telemetry"] is None  # nothing is reported to anybody
    files = {"encode.xml", "encode.bin", "bundle.json"}
    assert {path.name for path in (tmp_path / "b").iterdir()} == files
    expected = run(StreamSegmenter(network, 64, smoothing=0.3), frames)
    assert grey_levels(run(Segmenter(tmp_path / "b", threads=1), frames), expected) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_int8_says_what_it_changes(engine, network, frames, tmp_path, caplog):
    pytest.importorskip("nncf", reason="the extra export is not installed")
    settings = {**SETTINGS, "smoothing": 0, "video": {}}
    calibration = Calibration(list(frames), [0, 1], 2.0)  # no masks agree so well: all are tried
    export_network(network, settings, tmp_path / "a, b", engine, "int8", CARD, calibration)
    assert "less than min_dice" in caplog.text
    about = Bundle(tmp_path / "a, b").about
    assert about["int8"]["calibration_frames"] == len(frames)
    assert len(about["int8"]["float_layers"]) == 1
    expected = run(StreamSegmenter(network, 64), frames)
    ours = run(Segmenter(tmp_path / "a, b", threads=1), frames)
    said = about["int8"]["against_float32"]["grey_levels"]
    assert 0 < said < 3 and grey_levels(ours, expected) == pytest.approx(said, abs=0.2)


@pytest.mark.slow
def test_int8_keeps_no_more_layers_in_float_than_are_enough(network, frames, tmp_path):
    settings = {**SETTINGS, "smoothing": 0, "video": {}}
    enough = Calibration(list(frames), [0, 1], 0.0)
    export_network(network, settings, tmp_path / "b", "onnx", "int8", CARD, enough)
    assert Bundle(tmp_path / "b").about["int8"]["float_layers"] == []


def test_a_network_with_a_state_of_its_own_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="Unknown remembers a video in a way of its own"):
        export_network(Unknown(), {**SETTINGS, "video": {}}, tmp_path / "x", "onnx", "32", CARD)
    assert not list(tmp_path.iterdir())


def changed(bundle, folder, **values):
    shutil.copytree(bundle, folder)
    about = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**about, **values}))
    return folder


def test_damaged_bundles_are_refused_in_one_line(bundle, tmp_path, monkeypatch):
    damaged = changed(bundle, tmp_path / "damaged")
    (damaged / "encode.onnx").write_bytes(b"no graph")
    lacking = changed(bundle, tmp_path / "lacking")
    (lacking / "encode.onnx").unlink()
    for folder, message in {
        damaged: "checksum differs",
        lacking: "is missing",
        changed(bundle, tmp_path / "later", format=99): "format 99, made by sali",
        changed(bundle, tmp_path / "other", graphs={"encode": "../x.onnx"}): "without its checksum",
        tmp_path / "absent": "no bundle at",
    }.items():
        with pytest.raises(WeightsError, match=message) as refused:
            Bundle(folder)
        assert "\n" not in str(refused.value)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"pip install 'sali\[export\]'"):
        Bundle(bundle)


def test_settings_that_do_not_exist_are_refused(bundle):
    with pytest.raises(ConfigError, match="no setting max_frames"):
        Segmenter(bundle, max_frames=3)
    with pytest.raises(ConfigError, match="smoothing: got 2"):
        Segmenter(bundle, smoothing=2)
    with pytest.raises(ValueError, match="wanted RGB uint8"):
        Segmenter(bundle).step(np.zeros((4, 4)))


def command(function, name, *overrides):
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return function(compose(name, overrides=list(overrides)))


def test_predict_takes_a_bundle(bundle, tmp_path):
    from sali.predict import predict

    few = tmp_path / "frames"
    few.mkdir()
    for file in sorted(SAMPLE.glob("Frame/*/*"))[:3]:
        shutil.copy(file, few)
    given = (f"source={few}", f"output={tmp_path / 'maps'}", f"ckpt={bundle}", "num_workers=0")
    assert command(predict, "predict", *given)["frames"] == 3
    assert len(list((tmp_path / "maps").rglob("*.png"))) == 3
    for wrong, message in {
        "precision=bf16": "is a bundle",
        "data.image_size=96": "exported for 64",
        "memory.every=2": "no such setting",
    }.items():
        with pytest.raises(UserError, match=message):
            command(predict, "predict", *given, wrong)


def test_the_app_takes_a_bundle(bundle, tmp_path):
    from sali.app.models import Models, Options

    def settings_of(trained, network):
        return {**trained, "video": network.video_settings}

    models = Models([str(bundle)], settings_of, torch.device("cpu"), [])
    assert list(models.paths) == ["tiny"]
    segmenter = models.segmenter(Options("tiny", "32", 3, 1))
    assert segmenter.step(np.zeros((30, 40, 3), np.uint8)).shape == (30, 40)
    with pytest.raises(ConfigError, match="is a bundle"):
        models.load("tiny", "bf16")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("format=tflite", "format: got 'tflite'"),
        ("precision=8", "precision: got '8'"),
        ("output=.", "exists"),
        ("ckpt=absent", "no checkpoint at absent"),
        ("calibration=null", "calibration: got null"),
        ("calibration=/absent", "no such folder: /absent"),
        ("int8.float_layers=[-1]", "float_layers: got -1"),
        ("int8.float_layers=[a]", "float_layers: got 'a'"),
        ("int8.float_layers=[1.5]", "float_layers: got 1.5"),
        ("int8.min_dice=2", "min_dice: got 2"),
        ("calibration_frames=0", "calibration_frames: got 0"),
    ],
)
def test_mistakes_of_the_command(override, message, tmp_path):
    int8 = ["precision=int8"] if override.startswith(("calibration", "int8")) else []
    with pytest.raises(UserError, match=message):
        command(export, "export", f"output={tmp_path / 'bundle'}", *int8, override)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The shipped network as a bundle, on ONNX."""
    folder = tmp_path_factory.mktemp("shipped") / "bundle"
    command(export, "export", f"output={folder}")
    return folder


@pytest.mark.slow
def test_the_shipped_network_on_a_real_clip_with_a_memory_that_wraps(shipped):
    from sali.data.frames import read_frame
    from sali.models.checkpoint import load_network
    from sali.models.shipped import find_checkpoint

    files = sorted(SAMPLE.glob("Frame/*/*"))
    clip = [read_frame(file)[0] for file in [*files, *files[::-1]]][:60]
    network, trained = load_network(find_checkpoint("polypgen_lite0"))
    settings = {"max_frames": 3, "every": 1}
    side = trained["streaming"]["image_size"]
    expected = run(StreamSegmenter(network, side, **settings), clip)
    ours = run(Segmenter(shipped, **settings), clip)
    assert ours.shape == expected.shape
    assert grey_levels(ours, expected) <= 0.1
