"""Every number of the shipped files has a range, and what is out of it is one line at once."""

import math

import pytest
from omegaconf import OmegaConf
from test_config import composed

from sali.config import _values, build, check_config, commands
from sali.errors import ConfigError
from sali.ranges import OR_TEXT, RANGES, check_ranges, range_of

FREE = ("data.corruption.kinds.", "trainer.devices")
"""Keys whose numbers are the business of other packages, which are asked when they are built."""
UNNAMED = {"optimizer.weight_decay"} | {
    f"trainer.{name}" for name in ("limit_val_batches", "overfit_batches", "val_check_interval")
}
"""Arguments of other packages that no file names and users may add."""
NEEDED = {
    "check": ["root=r"],
    "evaluate": ["gt=g", "pred=p", "output=o"],
    "predict": ["source=s", "output=o"],
    "export": ["output=o"],
    "fit_operating_point": ["ckpt=c", "gt=g", "pred=p"],
    "import_folder": ["source=s", "output=o"],
    "report": ["run=r"],
}


def numbers(value):
    """Return all numbers in nested lists."""
    if isinstance(value, list):
        return [number for one in value for number in numbers(one)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def nested(key, value):
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def declared():
    return [
        (name, key, one)
        for name in commands()
        for key, ones in _values(name).items()
        for one in ones
    ]


def test_every_number_of_the_files_has_a_range_and_is_in_it():
    for command, key, value in declared():
        for number in numbers(value):
            allowed = range_of(key, command)
            assert allowed is not None or key.startswith(FREE), f"{command}: {key} has no range"
            assert allowed is None or number in allowed, f"{command}: {key}={number}"
        if isinstance(value, bool | str) and "${" not in str(value) and key not in OR_TEXT:
            assert range_of(key, command) is None, f"{command}: {key}={value}"


def test_every_range_is_of_a_key():
    assert set(RANGES) - {key for _, key, _ in declared()} <= UNNAMED


@pytest.mark.parametrize("key", RANGES)
def test_what_is_out_of_a_range_is_one_line(key):
    allowed = RANGES[key]
    wrong = [math.nan, math.inf, -math.inf, allowed.least - 1.5, allowed.most + 1]
    wrong += [allowed.least + 0.5] if allowed.whole else []
    wrong += [allowed.least] if allowed.without_least else []
    wrong += [allowed.most] if allowed.without_most else []
    for number in wrong:
        for value in (number, [number]):
            with pytest.raises(ConfigError, match=f"{key}: got .*, wanted ") as caught:
                check_ranges(nested(key, value), "train")
            assert "\n" not in str(caught.value)
    for value in (True, [True], *([] if key in OR_TEXT else ["a", ["a"]])):
        with pytest.raises(ConfigError, match=f"{key}: got "):
            check_ranges(nested(key, value), "train")
    check_ranges(nested(key, None), "train")


OUT_OF_RANGE = {
    "train": """trainer.gradient_clip_val=-1 operating_point.false_alarm_rate=2 optimizer.lr=-1e-4
        operating_point.thresholds=[0.5,1.5] optimizer.lr=nan optimizer.betas=[0.9,1]
        weight_decay=-0.1 trainer.max_epochs=many
        optimizer.weight_decay=-0.1 data.image_size=0 data.batch_size=2.5 memory.top_k=0 smoothing=1
        trainer.max_steps=0 limit_test_clips=0 evaluation.num_workers=0
        clinical.frames_per_second=0 data.shares.stills=1.5""",
    "check": "num_workers=0 counts.train.clips=-1 time_order.max_step=0",
    "evaluate": "threshold=1.5 quality_limits.max_dark=2 report.film.quality=0 num_workers=0",
    "predict": """threshold=2 num_workers=-1 tracks.min_area=1.5 video.overlay.quality=60 streams=0
        recordings.jpeg_quality=0 archive.workers=0 live.camera_rate=0 memory.every=0
        data.image_size=-32""",
    "export": "calibration_frames=0 int8.min_dice=2",
    "fit_operating_point": "detection_iou=-1",
    "demo": "port=70000 clip_rate=0 max_users=0 keep_minutes=0 generated.height=8",
    "import_folder": "quality=101 polyp_above=255 longest_side=0",
    "report": "report.max_points=1",
}


@pytest.mark.parametrize("command", OUT_OF_RANGE)
def test_a_command_refuses_it_before_any_work(command):
    base = composed(*NEEDED.get(command, []), name=command)
    for given in OUT_OF_RANGE[command].split():
        key, _, value = given.partition("=")
        cfg = base.copy()
        OmegaConf.update(cfg, key, OmegaConf.from_dotlist([f"v={value}"]).v, force_add=True)
        with pytest.raises(ConfigError, match=f"{key}: got .*, wanted a "):
            check_config(cfg, command)


def test_numbers_with_a_meaning_of_their_own_are_taken():
    check_config(composed("trainer.max_steps=-1", "trainer.num_sanity_val_steps=-1"), "train")
    predict = [*NEEDED["predict"], "num_workers=0", "live.max_seconds=null", "threshold=checkpoint"]
    check_config(composed(*predict, name="predict"), "predict")


def test_shares_may_not_sum_up_to_more_than_everything():
    check_config(composed("data.shares={stills: 0.7, polyp_free: 0.3}"), "train")
    with pytest.raises(ConfigError, match=r"polyp_free=0.4.* at most"):
        check_config(composed("data.shares={stills: 0.7, polyp_free: 0.4}"), "train")


@pytest.mark.parametrize(
    "given", ["devices=0", "limit_train_batches=1.5", "precision=8", "gradient_clip_algorithm=x"]
)
def test_what_lightning_refuses_is_one_line(given, tmp_path):
    with pytest.raises(ConfigError, match="lightning.Trainer: "):
        build(composed(f"trainer.{given}", "trainer=cpu", f"paths.output_dir={tmp_path}").trainer)
