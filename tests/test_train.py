"""Training for real, on generated clips: what a run leaves, exact resume, several processes."""

import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from miniature import ROOT, assert_same_end, overrides, run, start, status, wait_for
from PIL import Image

from sali.config import config_dir
from sali.data.datasets import ClipFrames, FrameReader
from sali.data.index import index_subset
from sali.errors import UserError
from sali.evaluation import Settings, evaluate
from sali.metrics.fixed_threshold import FixedThresholdScores
from sali.metrics.vps import METRIC_NAMES
from sali.models.checkpoint import load_network
from sali.models.weights import read_file
from sali.streaming import ClipRunner, StreamSegmenter
from sali.train import train

MAP_STEP = 1 / 255 / 2 + 1e-6
"""Scores are of 8-bit maps; half a grey level lies between them and the probabilities."""
# Those of other test subsets differ from seen_easy, and the larger size from its own stage one, in
# a value.
LIKE_ANOTHER = {"sun_seg", "seen_hard", "unseen_easy", "unseen_hard", "polypgen_frames_352"}
EXPERIMENTS = [
    pytest.param(p.stem, marks=pytest.mark.slow if p.stem in LIKE_ANOTHER else ())
    for p in sorted((ROOT / "configs/experiment").glob("*.yaml"))
]


MID_EPOCH = [
    "+callbacks.last.every_n_train_steps=2",
    "callbacks.last.save_on_train_epoch_end=false",
    "callbacks=ema",
    "callbacks.ema.update_starting_at_step=1",
]


def score(checkpoint, data_root, subset, **options):
    """Scores of a checkpoint, without Lightning."""
    network, settings = load_network(checkpoint)
    clips = index_subset(data_root, subset)
    dataset = ClipFrames(clips, FrameReader(256, settings["decode"]), with_masks=True)
    scores = FixedThresholdScores(len(clips))
    runner = ClipRunner(lambda: StreamSegmenter(network, **{**settings["streaming"], **options}))
    for i in range(len(dataset)):
        for frame, probability, _ in runner.push([dataset[i]]):
            scores.update(probability, frame.mask, frame.clip)
    return scores.compute()


def test_a_run_leaves_what_is_promised(data_root, tmp_path):
    returned = run(data_root, tmp_path, "experiment=unseen_hard", "save_maps=true", "smoothing=0.5")
    assert json.loads((tmp_path / "status.json").read_text()) == {
        "state": "finished",
        "error": None,
    }
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written == returned
    assert set(written["subsets"]) == set(written["clips"]) == {"unseen_hard"}
    (clip,) = written["clips"]["unseen_hard"]
    assert written["clips"]["unseen_hard"][clip] == pytest.approx(written["subsets"]["unseen_hard"])
    assert set(written["subsets"]["unseen_hard"]) == set(METRIC_NAMES)

    record = json.loads((tmp_path / "run.json").read_text())
    assert record["seed"] == 2021 and record["device"] == "cpu"
    (held,) = record["data"]["validation_clips"]
    assert held not in [c.name for c in index_subset(data_root, "unseen_hard")]
    assert record["data"]["train_clips"] == 3

    for name in ("best", "last"):
        content = read_file(tmp_path / f"checkpoints/{name}.ckpt")  # weights_only
        assert content["sali"]["model"]["neighbor"] == "previous"
        assert content["sali"]["streaming"]["smoothing"] == 0.5
    alone = score(tmp_path / "checkpoints/best.ckpt", data_root, "unseen_hard")
    means = written["frame_metrics"]["subsets"]["unseen_hard"]
    assert alone == pytest.approx(means, abs=MAP_STEP)

    # Scored later from the maps on disk: the same numbers.
    settings = Settings(protocol="both", subsets=("unseen_hard",), num_workers=1)
    later = evaluate(data_root, tmp_path / "maps", tmp_path / "scores", settings)
    facts = {"checkpoint": "best", "best": written["best"], "method": "unseen_hard"}
    assert {**later, **facts} == written
    for name in ("frames.csv", "clips.csv", "curves.npz"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "scores" / name).read_bytes()
    assert len(list((tmp_path / "maps/unseen_hard" / clip).glob("*.png"))) == 5


def test_moving_average_is_what_is_tested(data_root, tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/mine.txt").touch()
    written = run(
        data_root,
        tmp_path,
        "trainer.max_epochs=1",
        "callbacks=ema",
        "callbacks.ema.update_starting_at_step=0",
        "test_checkpoint=last",
        "trainer.limit_train_batches=3",
        "optimizer.lr=0.01",
    )
    assert not list(tmp_path.glob("**/*.png"))  # maps were evaluated, and not asked for
    assert (tmp_path / "maps/mine.txt").exists() and not (tmp_path / ".test_maps").exists()
    content = read_file(tmp_path / "checkpoints/last.ckpt")
    name = "network.decoder.coarse.score.weight"
    assert not torch.equal(content["state_dict"][name], content["current_model_state"][name])
    alone = score(tmp_path / "checkpoints/last.ckpt", data_root, "seen_easy")
    assert alone == pytest.approx(written["frame_metrics"]["subsets"]["seen_easy"], abs=MAP_STEP)


def stills_of(root, folder):
    """Stills made of the first frame of every training clip, and one of them without a polyp."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for clip in index_subset(root, "train"):
        frame, mask = clip.frames[0], clip.masks[0]
        shutil.copy(frame, folder / f"images/{clip.name}{frame.suffix}")
        shutil.copy(mask, folder / f"masks/{clip.name}{mask.suffix}")
    shutil.copy(frame, folder / f"images/free{frame.suffix}")
    empty = Image.fromarray(np.zeros_like(np.asarray(Image.open(mask))))
    empty.save(folder / f"masks/free{mask.suffix}")
    return folder


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_trains(experiment, data_root, tmp_path):
    more = [f"experiment={experiment}", "trainer.max_epochs=1"]
    if experiment == "demo":
        more += ["data=sun_seg", "save_maps=false"]
    if experiment.startswith("polypgen"):
        more.append(f"data.stills={stills_of(data_root, tmp_path / 'stills')}")
    results = run(data_root, tmp_path, *more)
    assert all(0 <= s["dice_max"] <= 1 for s in results["subsets"].values())


def test_a_notebook_trains_twice_without_naming_a_folder(data_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [one for one in overrides(data_root, "") if "paths.output_dir" not in one]
    with initialize_config_dir(config_dir(), version_base="1.3"):
        cfg = compose("train", [*given, "trainer.max_epochs=1", "name=notebook"])
    first, second = train(cfg), train(cfg)
    assert first["best"] == second["best"]
    folders = list((tmp_path / "outputs/notebook").iterdir())
    assert len(folders) == 2 and all((one / "metrics.json").is_file() for one in folders)


def test_two_stages(data_root, tmp_path):
    run(data_root, tmp_path / "first", "memory=none", "align=none", "trainer.max_epochs=1")
    first = tmp_path / "first/checkpoints/best.ckpt"
    second = ["context_gradient=false", f"init_ckpt={first}", "optimizer.lr=0.0"]
    run(data_root, tmp_path / "second", *second, "trainer.max_epochs=1")
    # The video branch starts at zero and nothing was learned at rate 0: the same maps, but for the
    # batch norms of the second stage.
    one, two = (
        load_network(tmp_path / s / "checkpoints/best.ckpt")[0] for s in ("first", "second")
    )
    assert one.fusion is None and two.fusion is not None
    weights = dict(two.named_parameters())
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, weights[name]), name


def test_a_failed_run_says_so(data_root, tmp_path):
    with pytest.raises(UserError, match="no checkpoint at nowhere"):
        run(data_root, tmp_path, "init_ckpt=nowhere.ckpt")
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["state"] == "failed" and "nowhere" in status["error"]
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["data.root=absent"], "data.root must be a folder in the SUN-SEG layout"),
        (["data.image_size=300"], "288 or 320"),
        (["data.batch_size=200"], "lower data.batch_size"),
        (["optimizer.lr=-1"], "optimizer.lr: got -1"),
        (["memory.every=0"], "memory.every: got 0"),
        (["smoothing=1"], "smoothing: got 1"),
        (["data.validation_fraction=0"], "data.validation_fraction: got 0"),
        (["ckpt_path=absent.ckpt"], "no checkpoint at absent.ckpt"),
        (["backbone.name=pvt_v9"], "timm has no model 'pvt_v9'"),
        (["data.selection=easy"], "unknown subset 'easy'"),
    ],
)
def test_bad_input(data_root, tmp_path, more, message):
    with pytest.raises(UserError, match=message):
        run(data_root, tmp_path, *more)


def halved(path):
    with Image.open(path) as image:
        image.resize((image.width // 2, image.height // 2)).save(path)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("GT", lambda mask: mask.unlink(), "has no mask"),
        ("GT", halved, "48x60 and .* 96x120"),
        ("Frame", halved, "96x120"),
        ("Frame", lambda frame: frame.write_bytes(b"no image"), "cannot read frame"),
    ],
)
@pytest.mark.parametrize("part", ["TrainDataset", "TestEasyDataset/Seen"])
def test_headers_are_checked_before_the_network_is_built(
    data_root, tmp_path, monkeypatch, part, kind, change, message
):
    monkeypatch.setattr("sali.training.build_network", lambda cfg: pytest.fail("built"))
    shutil.copytree(data_root, tmp_path / "data")
    change(sorted((tmp_path / "data" / part / kind).rglob("*.*"))[2])
    with pytest.raises(UserError, match=message):
        run(tmp_path / "data", tmp_path / "out")


def test_a_test_of_nothing_is_refused(data_root, tmp_path):
    with pytest.raises(UserError, match="data.test_subsets is empty"):
        run(data_root, tmp_path, "data.test_subsets=[]")


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], MID_EPOCH], ids=["epoch", "mid_epoch_ema"])
def test_killed_and_resumed_run_ends_with_the_same_weights(data_root, tmp_path, more):
    more = [
        "trainer.limit_train_batches=3",
        "trainer.max_epochs=4",
        "data.num_workers=1",
        "backbone.drop_path_rate=0.2",  # draws from the global random state
        "ckpt_path=auto",
        *more,
    ]
    assert start(data_root, tmp_path / "whole", *more).wait(600) == 0

    cut = tmp_path / "cut"
    process = start(data_root, cut, *more)
    wait_for((cut / "checkpoints/last.ckpt").exists)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert wait_for(lambda: status(cut)["state"] == "failed", 10)
    assert not (cut / "metrics.json").exists()
    assert 0 < read_file(cut / "checkpoints/last.ckpt")["global_step"] < 12
    assert start(data_root, cut, *more).wait(600) == 0
    assert status(cut)["state"] == "finished"
    assert_same_end(tmp_path / "whole", cut, 12)


def test_a_fast_dev_run_takes_one_of_everything(data_for_two, tmp_path):
    # Overrides of the command line beat those of `debug`: the miniature's own are left out.
    own = ("trainer.limit_train_batches", "trainer.max_epochs", "data.num_workers")
    given = [a for a in overrides(data_for_two, tmp_path) if not a.startswith(own)]
    with initialize_config_dir(config_dir(), version_base="1.3"):
        cfg = compose("train", overrides=[*given, "debug=fast_dev_run"])
    written = train(cfg)
    assert [len(clips) for clips in written["clips"].values()] == [1]
    assert read_file(tmp_path / "checkpoints/last.ckpt")["global_step"] == 1
