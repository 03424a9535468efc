"""Generated clips: same pixels for the same spec, the SUN-SEG layout, masks that fit the frames."""

import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from sali.data import synthetic
from sali.data.index import index_subset
from sali.data.synthetic import SyntheticSpec, draw_clip, generate
from sali.errors import ConfigError, DataError

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
    """Three easy (False) and three hard (True) clips."""
    return {
        hard: [list(draw_clip(0, case, 1, 60, 96, 120, hard)) for case in (1, 2, 3)]
        for hard in (False, True)
    }


def clip_names(root: Path, folder: str) -> set[str]:
    return {path.name for path in (root / folder / "Frame").iterdir()}


def pictures(root: Path) -> dict[str, bytes]:
    files = [path for path in root.rglob("*") if path.suffix in (".jpg", ".png")]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_more_clips_leave_the_earlier_ones_byte_identical(small: Path, larger: Path) -> None:
    before, after = pictures(small), pictures(larger)
    assert len(before) == 2 * 7 * 2
    assert before.items() < after.items()


def test_drawing_depends_on_its_arguments_only() -> None:
    np.random.seed(0)  # noqa: NPY002
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    first, second = (list(draw_clip(0, 1, 1, length, 64, 80)) for length in (3, 5))
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
    for one, other in zip(first, second, strict=False):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    for changed in ((1, 1, 1), (0, 2, 1), (0, 1, 2)):
        frame, _ = next(draw_clip(*changed, 1, 64, 80))
        assert (frame != first[0][0]).any()


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


def test_files_are_what_is_drawn_in_an_order_that_is_not_that_of_their_names(larger: Path) -> None:
    clip = index_subset(larger, "train")[1]
    assert clip.name == "case2_1" and list(clip.frames) != sorted(clip.frames)
    assert ["_a9_" in file.name for file in clip.frames] == [True] * 4 + [False] * 3
    drawn = draw_clip(LARGER.seed, 2, 1, LARGER.frames_per_clip, LARGER.height, LARGER.width, True)
    for file, written, (frame, mask) in zip(clip.frames, clip.masks, drawn, strict=True):
        np.testing.assert_array_equal(cv2.imread(str(written), cv2.IMREAD_UNCHANGED), mask)
        decoded = cv2.imread(str(file))[..., ::-1].astype(float)
        assert np.abs(decoded - frame).mean() < 8  # JPEG


def test_masks_are_binary_and_of_plausible_size(clips: dict[bool, list]) -> None:
    for frame, mask in (pair for group in clips.values() for clip in group for pair in clip):
        assert frame.shape == (96, 120, 3) and frame.dtype == mask.dtype == np.uint8
        assert mask.shape == (96, 120) and set(np.unique(mask)) <= {0, 255}
    for clip in (clip for group in clips.values() for clip in group):
        areas = np.array([(mask > 0).mean() for _, mask in clip])
        assert (areas > 0).mean() > 0.3 and 0.01 < areas[areas > 0].mean() < 0.25


def test_a_mask_is_where_the_polyp_changes_the_frame() -> None:
    """The same clip without its polyp differs in and next to the masks, and nowhere else."""
    whole = draw_clip(0, 5, 1, 6, 96, 120)  # before any bad frame, which would spread it
    without = draw_clip(0, 5, 1, 6, 96, 120, polyp=False)
    sizes = []
    for (frame, mask), (bare, empty) in zip(whole, without, strict=True):
        assert not empty.any()
        changed = np.abs(frame.astype(int) - bare).max(2)
        far = cv2.dilate(mask, np.ones((25, 25))) == 0
        assert changed[far].max(initial=0) <= 1
        sizes.append(np.count_nonzero(mask))
        if sizes[-1]:
            assert np.median(changed[mask > 0]) > 10
    assert max(sizes) > 50


def test_a_polyp_leaves_and_returns(clips: dict[bool, list]) -> None:
    seen = ["".join("01"[int(mask.any())] for _, mask in clip) for clip in clips[True]]
    assert any(re.search("1{5}0{3,}1{5}", run) for run in seen)


def test_neighbouring_frames_are_coherent(clips: dict[bool, list]) -> None:
    for clip in clips[False]:
        grey = [cv2.GaussianBlur(frame[..., 1], (0, 0), 2).astype(float) for frame, _ in clip]
        near = np.median([np.abs(a - b).mean() for a, b in pairwise(grey)])
        far = np.median([np.abs(a - b).mean() for a, b in zip(grey[:-25], grey[25:], strict=True)])
        assert near < far / 3


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


def test_an_interrupted_call_leaves_nothing_and_the_next_one_draws_all(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def write(*arguments: object) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(arguments)
        write_clip(*arguments)

    write_clip = synthetic._write_clip
    monkeypatch.setattr(synthetic, "_write_clip", write)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "data", SMALL)
    monkeypatch.undo()
    assert written and not list(tmp_path.iterdir())
    assert pictures(generate(tmp_path / "data", SMALL)) == pictures(small)


def test_another_process_that_finished_first_is_no_error(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(root: Path, spec: SyntheticSpec, clip: object) -> None:
        write_clip(root, spec, clip)
        if not (tmp_path / "data").exists():
            shutil.copytree(small, tmp_path / "data")

    write_clip = synthetic._write_clip
    monkeypatch.setattr(synthetic, "_write_clip", write)
    assert pictures(generate(tmp_path / "data", SMALL)) == pictures(small)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(("name", "content"), [("notes.txt", "mine"), ("spec.json", "{")])
def test_a_foreign_or_damaged_folder_is_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=r"spec\.json.*delete that folder or choose another"):
        generate(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_failure_to_write_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write .*file.data"):
        generate(tmp_path / "file" / "data", SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("frames_per_clip", 1, 2), ("train_clips", 0, 1), ("height", 63, 64), ("seed", -1, 0)],
)
def test_an_impossible_spec_is_refused(name: str, value: int, least: int) -> None:
    with pytest.raises(ConfigError, match=f"{name}: got {value}, wanted .* {least} or more"):
        SyntheticSpec(**{name: value})
