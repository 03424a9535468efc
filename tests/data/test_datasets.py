"""From files to samples."""

import albumentations as A
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from sali.data.datasets import ClipFrames, FrameReader, SampleDataset
from sali.data.frames import read_frame, read_mask
from sali.data.index import index_clip
from sali.data.samples import IMAGENET_MEAN, IMAGENET_STD, Unreadable, to_tensor
from sali.data.transforms import ClipTransform, MaskNoise, PolypFreeCrop, Sharpness
from sali.errors import DataError, FrameError

NOTHING = ClipTransform([], [], shared_colour=False)
ROLES = ("memory", "current", "neighbor")


@pytest.fixture
def clip(tmp_path):
    """Six frames; grey level and position of a square tell which frame it is."""
    for folder in ("Frame", "GT"):
        (tmp_path / folder / "case1_1").mkdir(parents=True)
    for t in range(6):
        frame = np.full((1008, 1158, 3), 20 * t + 10, np.uint8)
        mask = np.zeros((1008, 1158), np.uint8)
        mask[100:400, 100 * t : 100 * t + 300] = 255
        frame[mask > 0] += 100
        Image.fromarray(frame).save(tmp_path / f"Frame/case1_1/image{t:04d}.jpg", quality=95)
        Image.fromarray(mask).save(tmp_path / f"GT/case1_1/image{t:04d}.png")
    return index_clip(tmp_path / "Frame/case1_1", "train", tmp_path / "GT/case1_1")


def samples(clip, transform=NOTHING, decode="fast", roles=ROLES, neighbor="previous", seed=7):
    reader = FrameReader(256, decode)
    return SampleDataset(
        [clip],
        roles=roles,
        reader=reader,
        transform=transform,
        neighbor=neighbor,
        max_skip={0: 2, 3: 5},
        seed=seed,
    )


def frame_number(image):
    """Which frame a sample's image is, from its background."""
    level = (image[0, -1, -1] * IMAGENET_STD[0] + IMAGENET_MEAN[0]) * 255
    return round((level.item() - 10) / 20)


@pytest.mark.parametrize("decode", ["fast", "exact"])
def test_roles_masks_and_shapes(clip, decode):
    dataset = samples(clip, decode=decode)
    memories = set()
    for epoch in range(4):
        sample = dataset[epoch, 5]
        assert sample.frames.shape == (3, 3, 256, 256)
        assert sample.masks.shape == (3, 1, 256, 256)
        memory, current, neighbor = (frame_number(f) for f in sample.frames)
        assert (current, neighbor) == (5, 4)
        memories.add(memory)
        for number, mask in zip((memory, current, neighbor), sample.masks, strict=True):
            assert set(mask.unique().tolist()) == {0.0, 1.0}
            columns = mask[0].any(0).nonzero()
            assert abs(columns.min().item() - 100 * number * 256 / 1158) <= 1
    assert memories > {4} or memories > {3}  # drawn anew each epoch
    assert len(samples(clip, roles=("current",))[0, 0].frames) == 1


def test_a_sample_is_a_function_of_seed_epoch_and_index(clip):
    flips = ClipTransform([A.Rotate(30, p=1.0)], [A.ColorJitter(p=1.0)], shared_colour=False)
    one, other = samples(clip, flips), samples(clip, flips)
    other[0, 1], other[2, 4]  # what was drawn before must not matter
    torch.testing.assert_close(one[1, 3].frames, other[1, 3].frames, rtol=0, atol=0)
    assert not torch.equal(one[1, 3].frames, one[2, 3].frames)
    assert not torch.equal(one[1, 3].frames, samples(clip, flips, seed=8)[1, 3].frames)


def test_geometry_is_shared_and_colour_is_not():
    frames = np.repeat(np.random.default_rng(0).integers(0, 255, (1, 32, 32, 3)), 3, 0)
    frames, masks = frames.astype(np.uint8), np.tile(np.eye(32, dtype=np.uint8), (3, 1, 1))
    geometry = ClipTransform([A.Rotate(45, p=1.0)], [], shared_colour=False)
    moved, moved_masks = geometry(frames, masks, np.random.default_rng(1))
    assert (moved == moved[0]).all() and (moved_masks == moved_masks[0]).all()
    assert (moved != frames).any() and set(np.unique(moved_masks)) == {0, 1}
    jitter = [A.ColorJitter(p=1.0)]
    each, _ = ClipTransform([], jitter, shared_colour=False)(
        frames, masks, np.random.default_rng(1)
    )
    same, _ = ClipTransform([], jitter, shared_colour=True)(frames, masks, np.random.default_rng(1))
    assert (each[0] != each[1]).any()
    assert (same[0] == same[1]).all() and (same[0] != frames[0]).any()


def test_one_draw_for_all_is_that_of_the_images_target():
    """Albumentations' own way of treating several images alike, which is slower."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (5, 40, 48, 3), dtype=np.uint8)
    masks = rng.integers(0, 2, (5, 40, 48), dtype=np.uint8)
    geometry = [A.HorizontalFlip(), A.VerticalFlip(), A.Affine(rotate=(-45, 45)), MaskNoise(0.02)]
    jitter = [A.ColorJitter(), A.GaussianBlur(), Sharpness((0, 3))]
    transform = ClipTransform(geometry, jitter, shared_colour=True)
    for count, seed in enumerate(range(12), 1):
        got = transform(frames[:count], masks[:count], np.random.default_rng(seed))
        draws = np.random.default_rng(seed)
        expected = {"images": frames[:count], "masks": masks[:count]}
        for part in (geometry, jitter):
            plain = A.Compose(part)
            plain.set_random_seed(int(draws.integers(2**31)))
            expected = plain(**expected)
        np.testing.assert_array_equal(got[0], expected["images"])
        np.testing.assert_array_equal(got[1], expected["masks"])


def test_exact_decode_is_torchvisions_resize_of_the_pil_image(clip):
    sample = samples(clip, decode="exact", roles=("current",))[0, 2]
    released = v2.Compose(
        [
            v2.Resize((256, 256)),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    expected = released(Image.open(clip.frames[2]).convert("RGB"))
    torch.testing.assert_close(sample.frames[0], expected, atol=1e-5, rtol=0)


def test_fast_decode_is_smaller_and_close(clip):
    near, size = read_frame(clip.frames[2], near=256)
    full, _ = read_frame(clip.frames[2])
    assert size == full.shape[:2] == (1008, 1158)
    assert near.shape[:2] == (504, 579)
    fast, exact = (
        samples(clip, decode=d, roles=("current",))[0, 2].frames for d in ("fast", "exact")
    )
    assert (fast - exact).abs().mean() < 0.02


def test_sharpness_and_mask_noise():
    image = np.random.default_rng(0).integers(0, 255, (24, 24, 3)).astype(np.uint8)
    from PIL import ImageEnhance

    for factor in (0.0, 1.0, 2.5):
        got = A.Compose([Sharpness((factor, factor))])(image=image)["image"]
        expected = np.asarray(ImageEnhance.Sharpness(Image.fromarray(image)).enhance(factor))
        inner = np.s_[1:-1, 1:-1]
        assert np.abs(got[inner].astype(int) - expected[inner]).max() <= 2
    mask = np.zeros((100, 100), np.uint8)
    out = A.Compose([MaskNoise(0.05)], seed=1)(
        image=image[:1].repeat(100, 0)[:, :1].repeat(100, 1), mask=mask
    )
    assert 100 < out["mask"].sum() < 400
    assert set(np.unique(out["mask"])) == {0, 1}


def test_crops_beside_the_polyps_of_all_frames():
    masks = np.zeros((2, 64, 80), np.uint8)
    masks[0, 10:30, 20:40] = masks[1, 12:32, 24:44] = 1
    frames = np.full((2, 64, 80, 3), 90, np.uint8)
    frames[masks > 0] = 255
    transform = ClipTransform([PolypFreeCrop((0.4, 0.9))], [], shared_colour=False)
    cropped = 0
    for seed in range(40):
        found, marked = transform(frames, masks, np.random.default_rng(seed))
        assert found.shape == frames.shape and marked.shape == masks.shape
        if marked.any():  # no crop of that size misses the polyps
            np.testing.assert_array_equal(found, frames)
            np.testing.assert_array_equal(marked, masks)
        else:
            cropped += 1
            assert (found == 90).all()
    assert 5 < cropped < 40


def test_masks_that_do_not_fit(clip, tmp_path):
    Image.new("L", (64, 48)).save(clip.masks[1])
    with pytest.raises(FrameError, match="48x64 but its frame image0001.jpg is 1008x1158"):
        samples(clip)[0, 1]
    Image.fromarray(np.eye(1008, 1158, dtype=np.uint8)).save(clip.masks[1])
    with pytest.raises(FrameError, match="stored as 0/1"):
        read_mask(clip.masks[1])
    clip.masks[1].write_bytes(b"not a png")
    with pytest.raises(FrameError, match="image0001.png cannot be read"):
        read_mask(clip.masks[1])
    clip.masks[1].unlink()
    with pytest.raises(DataError, match="no mask"):
        samples(index_clip(clip.frames[0].parent, "train", clip.masks[0].parent))


def test_truncated_frames_are_named_or_kept_as_bad(clip):
    content = clip.frames[3].read_bytes()
    clip.frames[3].write_bytes(content[: len(content) // 2])
    reader = FrameReader(256, "fast")
    with pytest.raises(FrameError, match="cannot read frame.*image0003.jpg.*truncated"):
        ClipFrames([clip], reader, with_masks=False)[3]
    kept = ClipFrames([clip], reader, with_masks=False, keep_bad=True)[3]
    assert isinstance(kept, Unreadable) and not kept.is_last
    assert "truncated" in kept.error and kept.number == 3


def test_streamed_frames_are_complete_and_in_order(clip):
    dataset = ClipFrames([clip, clip], FrameReader(256, "fast"), with_masks=True)
    frames = [dataset[i] for i in range(len(dataset))]
    assert [(f.clip, f.number) for f in frames] == [(c, t) for c in range(2) for t in range(6)]
    assert [f.is_last for f in frames] == ([False] * 5 + [True]) * 2
    assert frames[0].mask.shape == (1008, 1158) == frames[0].size
    image, _ = FrameReader(256, "fast").fitted(clip.frames[4])
    torch.testing.assert_close(frames[4].image, to_tensor(image))


def test_decodes_are_fast_or_exact():
    with pytest.raises(ValueError, match="'quick' is not one of"):
        FrameReader(256, "quick")


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_the_stated_share_of_frames_is_made_bad(share):
    transform = ClipTransform([], [], False, bad=[A.InvertImg(p=1.0)], bad_share=share)
    frames, masks = np.zeros((400, 8, 8, 3), np.uint8), np.zeros((400, 8, 8), np.uint8)
    done, _ = transform(frames, masks, np.random.default_rng(0))
    assert (done == 255).all((1, 2, 3)).mean() == pytest.approx(share, abs=0.1)
