"""Generated clips: same pixels for the same spec, the SUN-SEG layout, and plausible content."""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from sali.data.synthetic import SyntheticSpec, draw_clip, generate
from sali.errors import DataError

SMALL = SyntheticSpec(
    train_clips=1,
    test_clips_per_subset=0,
    frames_per_clip=7,
    height=64,
    width=80,
    polyp_free_clips=1,
    seed=3,
)
LARGER = replace(SMALL, train_clips=2, test_clips_per_subset=1)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("small") / "data", SMALL)


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("larger") / "data", LARGER)


@pytest.fixture(scope="module")
def clips() -> dict[bool, list[list[tuple[np.ndarray, np.ndarray]]]]:
    """Three easy (False) and three hard (True) clips, one per polyp shape."""
    return {
        hard: [list(draw_clip(0, case, 1, 60, 96, 120, hard)) for case in (1, 2, 3)]
        for hard in (False, True)
    }


def clip_names(root: Path, folder: str) -> set[str]:
    return {path.name for path in (root / folder / "Frame").iterdir()}


def pictures(root: Path) -> dict[str, bytes]:
    files = [path for path in root.rglob("*") if path.suffix in (".jpg", ".png")]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def in_time_order(folder: Path) -> list[Path]:
    return sorted(
        folder.iterdir(),
        key=lambda p: [int(n) for n in re.findall(r"_a(\d+)_.*image(\d+)", p.stem)[0]],
    )


def test_more_clips_leave_the_earlier_ones_byte_identical(small: Path, larger: Path) -> None:
    before, after = pictures(small), pictures(larger)
    assert len(before) == 2 * 7 * 2
    assert before.items() < after.items()


def test_more_workers_write_the_same_bytes(larger: Path, tmp_path: Path) -> None:
    assert pictures(generate(tmp_path / "data", LARGER, num_workers=2)) == pictures(larger)


def test_drawing_ignores_and_keeps_the_global_random_state() -> None:
    np.random.seed(0)  # noqa: NPY002
    first = list(draw_clip(0, 1, 1, 3, 64, 80))
    np.random.seed(1)  # noqa: NPY002
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    second = list(draw_clip(0, 1, 1, 5, 64, 80))
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
    for one, other in zip(first, second, strict=False):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    other_seed, _ = next(draw_clip(1, 1, 1, 1, 64, 80))
    assert (other_seed != first[0][0]).any()


def test_layout_and_cases(larger: Path) -> None:
    train = clip_names(larger, "TrainDataset")
    assert train == {"case1_1", "case2_1", "case30001_1"}
    cases = {name.split("_")[0] for name in train}
    for difficulty in ("TestEasyDataset", "TestHardDataset"):
        seen = clip_names(larger, f"{difficulty}/Seen")
        unseen = clip_names(larger, f"{difficulty}/Unseen")
        assert len(seen) == len(unseen) == 1
        assert {name.split("_")[0] for name in seen} <= cases and not seen & train
        assert not {name.split("_")[0] for name in unseen} & cases
    for folder in larger.rglob("Frame/case*"):
        masks = folder.parents[1] / "GT" / folder.name
        assert {p.stem for p in folder.glob("*.jpg")} == {p.stem for p in masks.glob("*.png")}
        assert len(list(folder.iterdir())) == LARGER.frames_per_clip


def test_time_order_of_the_names_is_not_their_text_order(larger: Path) -> None:
    files = in_time_order(larger / "TrainDataset/GT/case2_1")
    assert files != sorted(files)
    assert ["_a9_" in f.name for f in files] == [True] * 4 + [False] * 3
    drawn = draw_clip(LARGER.seed, 2, 1, LARGER.frames_per_clip, LARGER.height, LARGER.width, True)
    for file, (_, mask) in zip(files, drawn, strict=True):
        np.testing.assert_array_equal(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), mask)


def test_masks_are_binary_and_of_plausible_size(clips: dict[bool, list]) -> None:
    for frame, mask in (pair for group in clips.values() for clip in group for pair in clip):
        assert frame.shape == (96, 120, 3) and frame.dtype == mask.dtype == np.uint8
        assert mask.shape == (96, 120) and set(np.unique(mask)) <= {0, 255}
    for clip in (clip for group in clips.values() for clip in group):
        areas = np.array([(mask > 0).mean() for _, mask in clip])
        assert (areas > 0).mean() > 0.3 and 0.01 < areas[areas > 0].mean() < 0.25


def test_a_polyp_leaves_and_returns(clips: dict[bool, list]) -> None:
    seen = ["".join("01"[int(mask.any())] for _, mask in clip) for clip in clips[True]]
    assert any(re.search("1{5}0{3,}1{5}", run) for run in seen)


def test_neighbouring_frames_are_coherent(clips: dict[bool, list]) -> None:
    for clip in clips[False]:
        grey = [cv2.GaussianBlur(frame[..., 1], (0, 0), 2).astype(float) for frame, _ in clip]
        near = np.median([np.abs(a - b).mean() for a, b in pairwise(grey)])
        far = np.median([np.abs(a - b).mean() for a, b in zip(grey[:-25], grey[25:], strict=True)])
        assert near < far / 3


def test_polyp_colour_overlaps_with_the_wall(clips: dict[bool, list]) -> None:
    """No threshold on a colour plane finds the polyps."""
    frames = np.concatenate([f.reshape(-1, 3) for c in clips[False] for f, _ in c[::6]])
    truth = np.concatenate([m.ravel() > 0 for c in clips[False] for _, m in c[::6]])
    planes = [*frames.T.astype(float), frames[:, 0] / (frames[:, 1] + 1.0)]
    for plane in planes:
        for cut in np.percentile(plane, range(5, 100, 5)):
            for guess in (plane > cut, plane < cut):
                assert 2 * (guess & truth).sum() / (guess.sum() + truth.sum()) < 0.5


def test_hard_clips_have_more_bad_frames(clips: dict[bool, list]) -> None:
    def bad(clip: list) -> int:
        """Frames much blurrier or harsher than half a second around them."""
        sharp = np.log([cv2.Laplacian(frame, cv2.CV_64F).var() for frame, _ in clip])
        around = [np.median(sharp[max(0, i - 15) : i + 16]) for i in range(len(sharp))]
        return int((np.abs(sharp - around) > 0.7).sum())

    easy, hard = (sum(bad(clip) for clip in clips[kind]) for kind in (False, True))
    assert hard > 2 * easy and hard > 10


def test_polyp_free_clips_have_empty_masks(small: Path) -> None:
    masks = list((small / "TrainDataset/GT/case30001_1").iterdir())
    assert len(masks) == SMALL.frames_per_clip
    assert not any(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED).any() for mask in masks)


def test_a_second_call_returns_at_once_and_another_spec_is_refused(small: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    assert generate(small, SMALL) == small
    with pytest.raises(DataError, match="delete that folder or choose another root"):
        generate(small, LARGER)
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*")} == before
    assert list(small.parent.iterdir()) == [small]


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"no spec\.json"):
        generate(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_damaged_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text("{")
    with pytest.raises(DataError, match=r"an unreadable spec\.json"):
        generate(tmp_path, SMALL)


def test_a_failure_to_write_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write .*file.data"):
        generate(tmp_path / "file" / "data", SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_impossible_spec_is_refused() -> None:
    with pytest.raises(DataError, match="frames_per_clip is 1; set it to 2 or more"):
        SyntheticSpec(frames_per_clip=1)


def test_less_than_one_worker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="num_workers is 0; set it to 1 or more"):
        generate(tmp_path / "data", SMALL, num_workers=0)
