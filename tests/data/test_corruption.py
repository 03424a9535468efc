"""Runs of bad frames: seeded, of the stated lengths, and nothing else is touched."""

import albumentations as A
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from made_trees import ROOT
from PIL import Image

from sali.config import build
from sali.data.corruption import BadRuns, Cover
from sali.data.datasets import ClipFrames, FrameReader
from sali.data.index import index_clip
from sali.errors import ConfigError

SIDE = 96


@pytest.fixture(scope="module")
def bad_runs():
    overrides = ["data/corruption=bad_runs", "paths.output_dir=."]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return build(compose("train", overrides).data.corruption)


@pytest.fixture
def frame():
    rows, columns = np.mgrid[:SIDE, :SIDE]
    waves = 128 + 60 * np.sin(rows / 5) + 40 * np.cos(columns / 7)
    return np.stack([waves, waves * 0.6, waves * 0.5], -1).astype(np.uint8)


def test_runs_have_their_lengths_and_gaps_and_depend_on_clip_and_seed(bad_runs):
    runs = list(bad_runs.runs("case1_1", 400))
    assert len(runs) > 15
    ends = [0, *(end for _, end, _ in runs)]
    for (start, end, kind), before in zip(runs, ends, strict=False):
        assert 3 <= end - start <= 6 and 8 <= start - before <= 14 and kind in bad_runs.kinds
    assert {kind for _, _, kind in runs} == set(bad_runs.kinds)
    assert runs == list(bad_runs.runs("case1_1", 400))
    assert runs[:3] == list(bad_runs.runs("case1_1", runs[2][1]))
    assert runs != list(bad_runs.runs("case2_1", 400))
    other = BadRuns({"dark": A.NoOp()}, [3, 6], [8, 14], seed=8)
    assert [r[:2] for r in runs] != [r[:2] for r in other.runs("case1_1", 400)]
    assert list(bad_runs.runs("case1_1", 10)) == []  # a run that does not fit is left out


def test_frames_outside_the_runs_stay_as_they_are_and_all_others_change(bad_runs, frame):
    covered = {n: kind for start, end, kind in bad_runs.runs("a", 120) for n in range(start, end)}
    changes = {}
    for number in range(120):
        assert bad_runs.kind_of("a", number, 120) == covered.get(number)
        bad = bad_runs(frame, "a", number, 120)
        np.testing.assert_array_equal(bad, bad_runs(frame, "a", number, 120))
        changes[number] = float(np.abs(bad.astype(int) - frame).mean())
    assert all((changes[n] > 2) == (n in covered) for n in changes)


def test_a_cover_hides_what_is_under_it(frame):
    cover = A.Compose([Cover((2, 2), (0.3, 0.4), (100, 100), (80, 80), (40, 40))])
    cover.set_random_seed(0)
    out = cover(image=frame)["image"]
    changed = np.abs(out.astype(int) - frame).max(-1) > 10
    assert 0.2 < changed.mean() < 0.9
    assert out.shape == frame.shape and out.dtype == np.uint8


def test_a_stream_of_a_clip_is_corrupted_in_its_runs_only(bad_runs, frame, tmp_path):
    for number in range(40):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    clip = index_clip(tmp_path)
    reader = FrameReader(SIDE, "fast")
    plain = ClipFrames([clip], reader, with_masks=False)
    bad = ClipFrames([clip], reader, with_masks=False, corruption=bad_runs)
    for number in range(40):
        same = np.array_equal(plain[number].image, bad[number].image)
        assert same == (bad_runs.kind_of(clip.name, number, 40) is None)


@pytest.mark.parametrize("option", [{"length": [0, 3]}, {"gap": [5, 4]}, {"kinds": {}}])
def test_ranges_that_are_empty_are_refused(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        BadRuns(
            **{"kinds": {"dark": A.NoOp()}, "length": [1, 2], "gap": [1, 2], "seed": 0, **option}
        )
