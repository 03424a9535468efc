"""Stills, polyp-free frames and clips annotated in part, as sources of training samples."""

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from made_trees import ROOT
from PIL import Image
from scipy import ndimage

from sali.config import build
from sali.data.datasets import ClipFrames, FrameReader, SampleDataset
from sali.data.index import index_clip, index_polyp_free, index_stills, require_masks
from sali.data.motion import StillMotion
from sali.data.sampling import draw_with_shares
from sali.data.transforms import ClipTransform
from sali.errors import ConfigError, DataError

SIDE = 64
NOTHING = ClipTransform([], [], shared_colour=False)
STILL = StillMotion(translate=0, rotate=0, scale=0, bend=0, knots=3, light=0)


def draw(path, level=90, polyp=True, mask=None):
    """A frame with a bright square, and its mask unless `mask` is None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = np.full((SIDE, SIDE, 3), level, np.uint8)
    frame[20:40, 24:44] = 220 if polyp else level
    Image.fromarray(frame).save(path, lossless=True)
    if mask is not None:
        mask.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((SIDE, SIDE), np.uint8)
        pixels[20:40, 24:44] = 255 * polyp
        Image.fromarray(pixels).save(mask)


def dataset_of(clips, roles=("memory", "current", "neighbor"), **options):
    return SampleDataset(
        clips,
        roles=roles,
        reader=FrameReader(SIDE, "fast"),
        transform=NOTHING,
        neighbor="previous",
        max_skip={0: 3},
        seed=5,
        **options,
    )


@pytest.fixture
def stills(tmp_path):
    draw(tmp_path / "images/a_1.webp", mask=tmp_path / "masks/a_1.png")
    draw(tmp_path / "images/b.png", mask=tmp_path / "masks/b_mask.png")
    draw(tmp_path / "images/c.webp", polyp=False, mask=tmp_path / "masks/c_mask.png")
    return tmp_path


def test_stills_are_clips_of_one_frame_with_masks_of_either_name(stills):
    clips = index_stills(stills)
    assert [(clip.name, len(clip)) for clip in clips] == [("a_1", 1), ("b", 1), ("c", 1)]
    assert [clip.masks[0].name for clip in clips] == ["a_1.png", "b_mask.png", "c_mask.png"]
    sample = dataset_of(clips)[0, 0]
    assert sample.masks.sum((1, 2, 3)).tolist() == [400] * 3
    assert torch.equal(sample.frames[0], sample.frames[1])  # without motion the frame is repeated


def test_a_still_without_a_mask_and_a_mask_without_a_still_are_refused(stills):
    (stills / "masks/b_mask.png").rename(stills / "masks/other_mask.png")
    with pytest.raises(DataError, match="other"):
        index_stills(stills)
    (stills / "masks/other_mask.png").unlink()
    with pytest.raises(DataError, match=r"b\.png"):
        index_stills(stills)


def test_a_shift_moves_frame_and_mask_as_scipy_does():
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    mask = (rng.random((SIDE, SIDE)) > 0.5).astype(np.uint8)
    motion = StillMotion(translate=0.1, rotate=0, scale=0, bend=0, knots=3, light=0)
    seed = np.random.default_rng(3)
    shift = np.random.default_rng(3).uniform(-0.1, 0.1, 2) * SIDE
    (now, before), (mask_now, mask_before) = motion(frame, mask, [0, -2], seed)
    np.testing.assert_array_equal(now, frame)
    np.testing.assert_array_equal(mask_now, mask)
    moved = ndimage.shift(frame[..., 0].astype(float), -2 * shift[::-1], order=1)
    inside = np.s_[16:-16, 16:-16]
    # OpenCV interpolates in steps of 1/32 pixel.
    assert np.abs(before[..., 0][inside] - moved[inside]).mean() < 3
    moved_mask = ndimage.shift(mask.astype(float), -2 * shift[::-1], order=1)
    sure = np.abs(moved_mask - 0.5)[inside] > 0.3
    assert (mask_before[inside][sure] == (moved_mask > 0.5)[inside][sure]).all()


def test_motion_turns_grows_bends_and_lights_about_the_middle():
    grid = np.zeros((SIDE, SIDE, 3), np.uint8)
    grid[28:36, 28:36] = 200
    mask = (grid[..., 0] > 0).astype(np.uint8)
    assert all(
        np.array_equal(frame, grid)
        for frame in STILL(grid, mask, [-5, 0, 5], np.random.default_rng(0))[0]
    )
    grown = StillMotion(translate=0, rotate=0, scale=0.2, bend=0, knots=3, light=0)
    areas = [
        [int(m.sum()) for m in grown(grid, mask, [-3, 0, 3], np.random.default_rng(seed))[1]]
        for seed in range(6)
    ]
    assert all(before <= now <= after or before >= now >= after for before, now, after in areas)
    assert sum(before != after for before, _, after in areas) >= 4
    light = StillMotion(translate=0, rotate=0, scale=0, bend=0, knots=3, light=0.1)
    lit = light(grid, mask, [-2, 0, 2], np.random.default_rng(1))[0]
    change = np.random.default_rng(1)
    for size in (2, None, None, (2, 3, 3)):
        change.uniform(0, 1, size)
    factor = change.uniform(-0.1, 0.1)
    assert [int(one.max()) for one in lit] == [round(200 * (1 + factor * t)) for t in (-2, 0, 2)]
    bent = StillMotion(translate=0, rotate=0, scale=0, bend=0.05, knots=4, light=0)
    moved = bent(grid, mask, [4], np.random.default_rng(0))
    assert moved[1][0].sum() > 0 and not np.array_equal(moved[1][0], mask)
    # The frame is interpolated and the mask is not: they agree but for pixels of the border.
    assert ((moved[0][0][..., 0] > 100) != (moved[1][0] > 0)).sum() < 12


def test_frames_of_a_simulated_clip_differ_and_are_seeded(stills):
    motion = StillMotion(translate=0.05, rotate=5, scale=0.05, bend=0.01, knots=3, light=0.05)
    clips = index_stills(stills)
    one = dataset_of(clips, motion=motion)[0, 0]
    again = dataset_of(clips, motion=motion)[0, 0]
    assert torch.equal(one.frames, again.frames)
    memory, current, neighbor = one.frames
    plain = dataset_of(clips)[0, 0]
    assert torch.equal(current, plain.frames[1])
    assert not torch.equal(memory, current) and not torch.equal(neighbor, current)
    later = dataset_of(clips, motion=motion)[1, 0]
    assert not torch.equal(later.frames[2], neighbor)


@pytest.mark.parametrize("layout", ["frames", "clips", "images with empty masks"])
def test_polyp_free_frames_need_no_masks(tmp_path, layout):
    folder = {"frames": "", "clips": "one", "images with empty masks": "images"}[layout]
    for t in range(3):
        draw(tmp_path / folder / f"{t}.webp", polyp=False)
    if folder == "images":
        draw(tmp_path / "images/3.webp", polyp=False, mask=tmp_path / "masks/3.png")
    (clip,) = index_polyp_free(tmp_path)
    require_masks([clip])
    sample = dataset_of([clip])[0, 2]
    assert sample.masks.shape == (3, 1, SIDE, SIDE) and not sample.masks.any()
    streamed = ClipFrames([clip], FrameReader(SIDE, "fast"), with_masks=True)[1]
    assert streamed.mask.shape == (SIDE, SIDE) and not streamed.mask.any()


def test_a_polyp_free_folder_whose_masks_mark_something_is_refused(tmp_path):
    draw(tmp_path / "images/1.webp", polyp=False, mask=tmp_path / "masks/1.png")
    draw(tmp_path / "images/2.webp", mask=tmp_path / "masks/2.png")
    with pytest.raises(DataError, match=r"2\.png"):
        index_polyp_free(tmp_path)


@pytest.fixture
def sparse(tmp_path):
    """A clip of eight frames, of which 1, 4 and 5 are annotated; frame t has level 60 + 10 t."""
    for t in range(8):
        mask = tmp_path / f"GT/case1_1/{t}.png" if t in (1, 4, 5) else None
        draw(tmp_path / f"Frame/case1_1/{t}.png", level=60 + 10 * t, mask=mask)
    return index_clip(tmp_path / "Frame/case1_1", "train", tmp_path / "GT/case1_1")


def test_a_clip_annotated_in_part_is_refused_unless_wanted(sparse, tmp_path):
    with pytest.raises(DataError, match="sparse_masks"):
        dataset_of([sparse])
    with pytest.raises(DataError, match="sparse_masks"):
        ClipFrames([sparse], FrameReader(SIDE, "fast"), with_masks=True)
    unannotated = index_clip(tmp_path / "Frame/case1_1", "train")
    with pytest.raises(DataError, match="case1_1"):
        dataset_of([unannotated], sparse=True)


def test_frames_without_a_mask_are_neighbors_and_never_taken_for_empty(sparse):
    dataset = dataset_of([sparse], sparse=True)
    assert [i for _, i in dataset.positions] == [1, 4, 5]
    for epoch in range(6):
        for index, current in enumerate((1, 4, 5)):
            sample = dataset[epoch, index]
            levels = [round(float(f[0, 0, 0]) * 0.229 * 255 + 0.485 * 255) for f in sample.frames]
            memory, now, neighbor = ((level - 60) // 10 for level in levels)
            assert (now, neighbor) == (current, current - 1)
            assert memory in (1, 4, 5) and memory <= current
            assert sample.masks[:2].isfinite().all()
            assert sample.masks[2].isnan().all() == (neighbor != 4)


def test_frames_without_a_mask_are_streamed_without_one(sparse):
    frames = ClipFrames([sparse], FrameReader(SIDE, "fast"), with_masks=True, sparse=True)
    assert [frames[i].mask is not None for i in range(8)] == [t in (1, 4, 5) for t in range(8)]


def test_groups_have_their_shares_and_no_sample_comes_twice_before_its_time():
    rng = np.random.default_rng(0)
    shares = [(range(10), 0.5), (range(10, 40), 0.2)]
    order = draw_with_shares(100, shares, rng)
    counts = np.bincount(order, minlength=100)
    assert len(order) == 100
    assert counts[:10].sum() == 50 and set(counts[:10]) == {5}
    assert counts[10:40].sum() == 20 and set(counts[10:40]) == {0, 1}
    assert counts[40:].sum() == 30 and set(counts[40:]) == {0, 1}
    plain = draw_with_shares(100, [], np.random.default_rng(4))
    np.testing.assert_array_equal(plain, np.random.default_rng(4).permutation(100))


@pytest.mark.parametrize(
    "shares",
    [[(range(10), 1.2)], [([], 0.5)], [(range(10), 1.0)], [(range(20), 0.5)]],
    ids=["above one", "empty group", "no room for others", "no others to fill"],
)
def test_shares_that_cannot_be_are_refused(shares):
    with pytest.raises(ConfigError, match=r"data\.shares"):
        draw_with_shares(20, shares, np.random.default_rng(0))


def test_the_data_module_trains_on_clips_stills_and_negatives(tmp_path, stills):
    root = tmp_path / "set"
    for case in (1, 2):
        for t in range(6):
            draw(
                root / f"TrainDataset/Frame/case{case}_1/{t}.webp",
                polyp=t > 1,
                mask=root / f"TrainDataset/GT/case{case}_1/{t}.png",
            )
    for t in range(3):
        draw(tmp_path / f"free/video/{t}.webp", polyp=False)
    overrides = [
        "data=polypgen",
        f"data.root={root}",
        f"data.stills={stills}",
        f"data.polyp_free={tmp_path / 'free'}",
        "data.test_subsets=[]",
        "data.validation_fraction=0.34",
        f"data.image_size={SIDE}",
        "data.batch_size=4",
        "data.num_workers=0",
        "data.shares.stills=0.25",
        "data.shares.polyp_free=0.5",
        "paths.output_dir=.",
        "seed=1",
    ]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        data = build(compose("train", overrides).data)
    data.index()
    data.roles = ("current",)
    assert [c.name for c in data.val_clips] == ["case1_1"] or len(data.val_clips) == 1
    loader = data.train_dataloader()
    total = len(loader.dataset)
    (stills_group, _), (free_group, _) = loader.sampler.shares
    of = [(data.train_clips[c].name, i) for c, i in loader.dataset.positions]
    assert {of[i] for i in stills_group} == {("a_1", 0), ("b", 0)}
    # Of the still and the clip whose masks are empty, and of the folder without masks.
    assert ("c", 0) in {of[i] for i in free_group}
    order = [index for _, index in loader.sampler]
    assert len(order) == total // 4 * 4
    share = sum(index in set(free_group) for index in order) / len(order)
    assert 0.4 <= share <= 0.6
    assert data.provenance()["train_stills"] == 3


def test_an_unknown_group_of_shares_is_refused(tmp_path):
    overrides = ["data=polypgen", "+data.shares.stils=0.3", "paths.output_dir=."]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose("train", overrides)
    with pytest.raises(ConfigError, match="stils"):
        build(cfg.data)
