"""What this program did not write is never replaced or removed."""

import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from made_trees import make_clips, score
from miniature import ROOT, wait_for
from PIL import Image
from video_files import smooth_frames, write_video

from sali.config import config_dir
from sali.errors import ConfigError
from sali.predict import predict
from sali.prediction.result import is_own
from sali.run.folder import claimed, compared, refuse_other_resume
from sali.run.io import write_json
from sali.run.state import set_state
from sali.sweeps.callback import Sweep
from sali.train import train


def composed(command, *overrides, **options):
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return compose(command, overrides=list(overrides), **options)


@pytest.fixture
def segment(checkpoint, tmp_path, monkeypatch):
    """Run a prediction in a folder that holds `clips` with case1_1 and case2_1."""
    for clip in ("case1_1", "case2_1"):
        folder = tmp_path / "clips" / clip
        folder.mkdir(parents=True)
        for t in range(2):
            Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(folder / f"image{t}.jpg")
    monkeypatch.chdir(tmp_path)

    def run(source, output, *more):
        given = [f"ckpt={checkpoint}", f"source={source}", f"output={output}", "num_workers=0"]
        return predict(composed("predict", *given, *more))

    return run


def files(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize("source", [".", "../case1_1/", "../case1_1/."])
def test_a_folder_has_its_name_however_it_is_given(segment, tmp_path, monkeypatch, source):
    (tmp_path / "maps/other").mkdir(parents=True)
    (tmp_path / "maps/other/notes.txt").write_text("mine")
    monkeypatch.chdir(tmp_path / "clips/case1_1")
    segment(source, "../../maps")
    assert sorted(files(tmp_path / "maps")) == [
        "case1_1/image0.png",
        "case1_1/image1.png",
        "other/notes.txt",
        "run.json",
    ]


@pytest.mark.parametrize("name", ["..mp4", "...mp4"])
def test_nothing_is_written_outside_of_the_output(segment, tmp_path, name):
    write_video(tmp_path / "clips.mp4", smooth_frames(3)).rename(tmp_path / name)
    before = files(tmp_path)
    with pytest.raises(ConfigError, match="as the name of a clip"):
        segment(name, "maps/inner")
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ([], "maps/case2_1/image0.png"),
        (["overlay=true"], "maps_overlays/case2_1/image0.jpg"),
        (["tables=true"], "maps_tables/case2_1.csv"),
        (["tables=true"], "maps_tables/case2_1.json"),
        (["tables=true"], "maps_tables/case2_1.tracks.csv"),
        (["recording=true"], "maps_recordings/case2_1.rrd"),
    ],
)
def test_only_own_results_are_replaced(segment, tmp_path, more, path):
    if "recording=true" in more:
        pytest.importorskip("rerun", reason="recordings need the extra `recording`")
    counts = segment("clips", "maps", *more)
    assert counts == segment("clips", "maps", *more)
    target = tmp_path / path
    if target.suffix in (".png", ".jpg"):
        Image.fromarray(np.zeros((40, 50), np.uint8)).save(target)
    else:
        target.write_text("mine")
    before = files(tmp_path)
    with pytest.raises(ConfigError, match="is not what sali.predict writes") as caught:
        segment("clips", "maps", *more)
    assert "case2_1" in str(caught.value)
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", [".notes", ".git/config", "notes.txt"])
def test_a_folder_of_maps_that_holds_more_is_kept(segment, tmp_path, name):
    segment("clips", "maps")
    mine = tmp_path / "maps/case1_1" / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    (tmp_path / "maps/case1_1/.DS_Store").write_text("of a file manager")
    with pytest.raises(ConfigError, match="maps/case1_1 is there"):
        segment("clips", "maps")
    assert mine.read_text() == "mine"
    mine.unlink()
    if mine.parent.name == ".git":
        mine.parent.rmdir()
    segment("clips", "maps")  # what a file manager left does not matter


def test_an_overlay_video_knows_its_own(segment, tmp_path):
    write_video(tmp_path / "film.mp4", smooth_frames(3))
    counts = segment("film.mp4", "maps", "overlay=true")
    assert counts == segment("film.mp4", "maps", "overlay=true")
    mine = tmp_path / "maps_overlays/film.mp4"
    mine.write_bytes((tmp_path / "film.mp4").read_bytes())
    with pytest.raises(ConfigError, match="film.mp4 is there"):
        segment("film.mp4", "maps", "overlay=true")
    assert mine.read_bytes() == (tmp_path / "film.mp4").read_bytes()


def test_results_are_not_put_among_the_clips(segment, tmp_path):
    for source, output in (("clips", "clips/maps"), ("clips/case1_1", "clips/case1_1")):
        with pytest.raises(ConfigError, match="would be taken for a clip of source"):
            segment(source, output)
    segment("clips/case1_1", "clips/case1_1/maps")


TAKEN = """
import sys, time
from pathlib import Path
from sali.run.locks import locked
folder = Path(sys.argv[1])
with locked(folder / sys.argv[2], sys.argv[3:]) as taken:
    assert taken is None, taken
    Path(sys.argv[1], "ready").touch()
    sys.stdin.read()
"""


@contextmanager
def held(folder, lock, *names):
    """Another process that works on these names in a folder."""
    command = [sys.executable, "-c", TAKEN, str(folder), lock, *names]
    folder.mkdir(exist_ok=True)
    holder = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE)
    try:
        wait_for((folder / "ready").exists, 60)
        yield
    finally:
        holder.communicate()
        (folder / "ready").unlink()


def test_two_predictions_of_one_clip_into_one_output_are_refused(segment, tmp_path):
    with held(tmp_path / "maps", ".predict.lock", "case2_1"):
        before = files(tmp_path / "maps")
        with pytest.raises(ConfigError, match="another process predicts case2_1 into"):
            segment("clips", "maps")
        assert files(tmp_path / "maps") == before
        segment("clips/case1_1", "maps")  # another clip is nobody's business
        assert (tmp_path / "maps/.predict.lock").exists()
    segment("clips", "maps")
    assert not [name for name in files(tmp_path / "maps") if "lock" in name]


def test_two_evaluations_into_one_output_are_refused(tmp_path):
    trees = [make_clips(tmp_path / name) for name in ("gt", "pred")]
    with (
        held(tmp_path / "out", ".evaluate.lock", "evaluation"),
        pytest.raises(ConfigError, match="another evaluation writes into"),
    ):
        score(*trees, tmp_path / "out", protocol="both")
    score(*trees, tmp_path / "out", protocol="both")


@pytest.mark.parametrize("output", ["notes.txt", "notes.txt/maps"])
def test_an_output_that_cannot_be_made_is_refused_before_the_network_is_read(
    segment, tmp_path, output
):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.txt is a file; wanted a folder"):
        segment("clips", output, "ckpt=missing.ckpt")


def training(output, *more):
    return composed("train", "experiment=demo", f"paths.output_dir={output}", *more)


def finished(folder, cfg):
    """A folder as a finished training leaves it."""
    write_json(folder / "run.json", {"config": compared(dict(cfg))})
    write_json(folder / "metrics.json", {"best": {}})
    set_state(folder, "finished")


def test_a_finished_training_is_not_mixed_with_another(tmp_path):
    from omegaconf import OmegaConf

    finished(tmp_path, OmegaConf.to_container(training(tmp_path), resolve=False))
    before = files(tmp_path)
    with pytest.raises(ConfigError, match="finished training of other .*seed was 2021, is 7"):
        train(training(tmp_path, "seed=7"))
    kept = files(tmp_path)
    kept.pop(".train.lock")
    assert kept == before
    for same in (training(tmp_path), training(tmp_path, "seed=7", "ckpt_path=auto")):
        with claimed(tmp_path, OmegaConf.to_container(same, resolve=False)):
            pass


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ("optimizer.lr=1e-5", "optimizer.lr was 0.001, is 1e-05"),
        ("data.batch_size=3", "data.batch_size"),
        ("scheduler=constant", "scheduler"),
        ("seed=3", "seed"),
        ("data.num_workers=0", None),
        ("trainer.devices=2", None),
        ("data.root=elsewhere", None),
    ],
)
def test_a_resume_with_settings_that_it_would_not_take_is_refused(tmp_path, changed, named):
    from omegaconf import OmegaConf

    def plain(*more):
        return OmegaConf.to_container(training(tmp_path, *more), resolve=False)

    last = tmp_path / "checkpoints/last.ckpt"
    refuse_other_resume(last, plain(changed))  # no record: of an earlier version, or moved
    write_json(tmp_path / "run.json", {"config": compared(plain())})
    refuse_other_resume(last, plain("ckpt_path=auto"))
    if named is None:
        refuse_other_resume(last, plain("ckpt_path=auto", changed))
        return
    with pytest.raises(ConfigError, match=named):
        refuse_other_resume(last, plain("ckpt_path=auto", changed))


def test_hydra_writes_nothing_into_the_folder_of_another(tmp_path, capsys):
    from omegaconf import OmegaConf

    finished(tmp_path, OmegaConf.to_container(training(tmp_path), resolve=False))
    given = [f"hydra.run.dir={tmp_path}", "experiment=demo", "seed=7"]
    with pytest.raises(SystemExit, match="seed was 2021, is 7"):
        Sweep().on_run_start(composed("train", *given, return_hydra_config=True))


def test_a_file_that_no_training_wrote_is_kept(tmp_path):
    (tmp_path / "metrics.json").write_text("mine")
    with pytest.raises(ConfigError, match="metrics.json that no training wrote"):
        train(training(tmp_path))
    assert (tmp_path / "metrics.json").read_text() == "mine"


def test_maps_that_no_training_wrote_are_kept(tmp_path):
    (tmp_path / "maps").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "maps/a.png")
    assert not is_own(tmp_path / "maps")
    with pytest.raises(ConfigError, match="save_maps=true would replace"):
        train(training(tmp_path, "save_maps=true"))
    assert (tmp_path / "maps/a.png").is_file()


HOLD = """
import sys, time
from pathlib import Path
from multiprocessing import get_context
from sali.run.folder import claim
claim(Path(sys.argv[1]), {})
get_context("fork").Process(target=time.sleep, args=(20,), daemon=True).start()
Path(sys.argv[1], "ready").touch()
time.sleep(60)
"""


def test_one_training_at_a_time_and_a_killed_one_leaves_no_lock(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT)
    try:
        wait_for((tmp_path / "ready").exists, 60)
        with pytest.raises(ConfigError, match="another training runs in"):
            train(training(tmp_path))
        assert not (tmp_path / "status.json").exists()
    finally:
        holder.kill()
        holder.wait()
    with claimed(tmp_path, {}), claimed(tmp_path / "other", {}):
        pass


def test_default_folders_of_one_second_differ():
    show = "from sali.run.processes import started; print(started())"
    both = [
        subprocess.Popen([sys.executable, "-c", show], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    names = [one.communicate()[0] for one in both]
    assert names[0] != names[1] and all(name.strip() for name in names)


def test_a_checkpoint_that_is_not_written_is_not_asked_for_after_the_training(tmp_path):
    with pytest.raises(ConfigError, match="test_checkpoint: got 'first', wanted 'best' or 'last'"):
        train(training(tmp_path, "test_checkpoint=first"))
    assert not (tmp_path / "status.json").exists()
