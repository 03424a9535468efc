"""The code of docs/extend.md and docs/python.md: what it shows is trained, streamed and scored."""

import json
import shutil

import numpy as np
import pytest
import torch
from docs_pages import ROOT, blocks, files, written_files
from hydra import compose, initialize_config_dir
from miniature import overrides

from sali.build import build_network, model_node
from sali.config import build, check_config, config_dir
from sali.models.checkpoint import PREFIX, describe
from sali.models.contract import ClipBatch
from sali.predict import predict
from sali.streaming import StreamSegmenter
from sali.train import train

EXTEND = ROOT / "docs/extend.md"
SIDE = 256


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """The package and the options of docs/extend.md, importable."""
    folder = tmp_path_factory.mktemp("outside")
    with written_files([EXTEND], folder):
        yield folder


def composed(outside, command, *given):
    with initialize_config_dir(config_dir(), version_base="1.3"):
        searched = f"hydra.searchpath=[{outside / 'options'}]"
        return compose(command, overrides=[searched, *given])


def untrained(outside, *given):
    """The network of a training, in evaluation mode, and its configuration."""
    small = [f"data.image_size={SIDE}", "data.root=data", "backbone.weights=null"]
    own = any("backbone=plain" in one for one in given)
    cfg = composed(outside, "train", "paths.output_dir=out", *small[: 2 if own else 3], *given)
    check_config(cfg, "train")
    return build_network(cfg).eval(), cfg


def streamed(network, frames, **settings):
    segmenter = StreamSegmenter(network, SIDE, **settings)
    return [segmenter.step(frame) for frame in frames], segmenter


@pytest.fixture
def frames():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (96, 120, 3), dtype=np.uint8) for _ in range(4)]


def test_every_file_of_the_page_is_an_option(outside):
    options = [path for path in files(EXTEND) if path.startswith("options/")]
    assert len(options) == 10
    for path in options:
        group, _, name = path.removeprefix("options/").removesuffix(".yaml").rpartition("/")
        given = [f"{group}={name}", "paths.output_dir=out", "data.root=data"]
        check_config(composed(outside, "train", *given), "train")


@pytest.mark.parametrize("backbone", ["plain", "resnet"])
def test_a_backbone(outside, frames, backbone):
    network, _ = untrained(outside, f"backbone={backbone}", "memory.every=1")
    sides = [SIDE // stride for stride in (8, 16, 32)]
    features = network.backbone(torch.zeros(1, 3, SIDE, SIDE))
    assert [tuple(x.shape[1:]) for x in features] == [
        (channels, side, side)
        for channels, side in zip(network.backbone.channels, sides, strict=True)
    ]
    maps, _ = streamed(network, frames[:2])
    assert all(one.shape == (96, 120) and 0 <= one.min() <= one.max() <= 1 for one in maps)


def test_a_video_network(outside, frames):
    network, _ = untrained(outside, "backbone=plain", "model=running_mean")
    maps, _ = streamed(network, frames)
    forgetful, _ = streamed(network, frames, decay=0.0)
    assert np.array_equal(maps[0], forgetful[0]) and not np.array_equal(maps[1], forgetful[1])
    _, first = streamed(network, frames[:2])
    second = StreamSegmenter(network, SIDE)
    second.load_state(first.state())
    assert np.array_equal(second.step(frames[2]), maps[2])
    logits = network(ClipBatch(torch.randn(2, 2, 3, SIDE, SIDE), torch.zeros(2, 2, 1, SIDE, SIDE)))
    assert [tuple(one.shape) for one in logits] == [(2, 1, SIDE // 4, SIDE // 4)]


def test_a_memory_policy(outside, frames):
    network, _ = untrained(outside, "backbone=plain", "memory=recent", "memory.every=1")
    assert network.video_settings["window"] == 100
    stored = {}
    for window in (100, 2):
        _, segmenter = streamed(network, frames, window=window)
        stored[window] = set(segmenter.video.bank.levels[0].frame.tolist())
    assert stored == {100: {0, 1, 2, 3}, 2: {2, 3}}
    with pytest.raises(ValueError, match="window: got 0"):
        network.start(window=0)


def test_a_loss(outside):
    cfg = composed(outside, "train", "loss=overlap", "paths.output_dir=out", "data.root=data")
    loss = build(cfg.loss)([torch.zeros(1, 1, 4, 4)] * 2, torch.ones(1, 1, 4, 4))
    dice = 1 - (2 * 8 + 1) / (8 + 16 + 1)
    assert float(loss) == pytest.approx(2 * (dice + 0.5 * np.log(2)))


def listed_data(data_root, root):
    """A copy of generated clips in the layout of the page."""
    parts = {"train": "TrainDataset", "test": "TestEasyDataset/Unseen"}
    names = {}
    for part, folder in parts.items():
        for kind, own in (("Frame", "images"), ("GT", "masks")):
            shutil.copytree(data_root / folder / kind, root / own, dirs_exist_ok=True)
        names[part] = sorted(path.name for path in (data_root / folder / "Frame").iterdir())
    names["val"] = [names["train"].pop()]
    for part, clips in names.items():
        (root / f"{part}.txt").write_text("\n".join(clips))
    return names


def test_everything_at_once(outside, data_root, tmp_path):
    """Network, loss, data layout, metric and callback in one training, and its checkpoint."""
    names = listed_data(data_root, tmp_path / "data")
    small = overrides(tmp_path / "data", tmp_path / "run", pictures=True)
    small.remove("backbone=efficientnet_lite0")
    (experiment,) = [x for x in files(EXTEND) if x.startswith("options/experiment/")]
    given = [
        *small,
        f"experiment={experiment.rpartition('/')[2].removesuffix('.yaml')}",
        f"callbacks.score_list.path={tmp_path / 'scores.jsonl'}",
        "trainer.max_epochs=1",
        "report.enabled=false",
    ]
    metrics = train(composed(outside, "train", *given))
    line = json.loads((tmp_path / "scores.jsonl").read_text())
    assert line["dice_max"] == {"test": metrics["subsets"]["test"]["dice_max"]}
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["data"]["validation_clips"] == names["val"]
    assert "area_error" in (tmp_path / "run/frames.csv").read_text().splitlines()[0]
    assert metrics["frame_metrics"]["subsets"]["test"]["area_error"] >= 0

    checkpoint = tmp_path / "run/checkpoints/last.ckpt"
    given = [f"ckpt={checkpoint}", f"source={tmp_path / 'data/images'}", "num_workers=0"]
    maps = tmp_path / "maps"
    predict(composed(outside, "predict", *given, f"output={maps}", "trust=[mypackage]"))
    assert {path.name for path in maps.iterdir() if path.is_dir()} == {
        one for part in names.values() for one in part
    }


def test_the_code_of_python_md_runs(data_root, tmp_path, monkeypatch):
    """The blocks, one after another, with a network of random weights and what they name."""
    with initialize_config_dir(config_dir(), version_base="1.3"):
        given = ["backbone=efficientnet_lite0", "backbone.weights=null", f"data.image_size={SIDE}"]
        cfg = compose("train", overrides=["paths.output_dir=out", "data.root=data", *given])
    network = build_network(cfg)
    state = {f"{PREFIX}{name}": tensor for name, tensor in network.state_dict().items()}
    about = describe(model_node(cfg), SIDE, "fast", "probability")
    torch.save({"sali": about, "state_dict": state}, tmp_path / "best.ckpt")
    (tmp_path / "SUN-SEG").symlink_to(data_root)
    (tmp_path / "clips").symlink_to(data_root / "TestEasyDataset/Seen/Frame")
    for folder in ("TestEasyDataset", "TestHardDataset"):
        for part in ("Seen", "Unseen"):
            subset = f"{part.lower()}_{folder.removeprefix('Test').removesuffix('Dataset').lower()}"
            shutil.copytree(data_root / folder / part / "GT", tmp_path / "maps" / subset)
    random = np.random.default_rng(0)
    camera = list(random.integers(0, 256, (3, 96, 120, 3), dtype=np.uint8))
    names = {"camera": camera, "cameras": [camera, camera[::-1]]}
    monkeypatch.chdir(tmp_path)
    for block in blocks(ROOT / "docs/python.md"):
        assert block.language == "python"
        exec(compile(block.text, block.page, "exec"), names)
    assert names["probability"].shape == (96, 120)
    assert [one.shape for one in names["probabilities"]] == [(96, 120)] * 2
    assert names["scores"]["subsets"]["unseen_easy"]["dice_max"] == 1
    assert len(list((tmp_path / "new_maps").rglob("*.png"))) == 5
