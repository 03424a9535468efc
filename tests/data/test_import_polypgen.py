"""A small archive as dirty as the published one becomes clips, stills and polyp-free clips."""

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from sali.config import config_dir
from sali.data.frames import read_frame, read_mask
from sali.data.import_polypgen import import_polypgen
from sali.data.importing import Writing
from sali.data.index import index_clip, index_subset
from sali.data.time_order import places, time_order
from sali.errors import ConfigError, DataError

OPTIONS = {
    "subsets": {"train": [1], "unseen_hard": [3]},
    "renumbered": [],
    "max_first": 40,
    "max_step": 5,
    "min_gain": 0.1,
    "polyp_above": 128,
    "smallest_region": 20,
    "recording_fps": 25,
    "writing": Writing(None, 95),
}


def photograph(path, level):
    """An image of one grey level, so that time shows, as JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (48, 32), (level,) * 3).save(path)


def annotate(path, rows, mode="L", speck=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((32, 48), np.uint8)
    mask[8 : 8 + rows, 8:40] = 255
    if speck:
        mask[28:30, 1:3] = 255
    Image.fromarray(mask).convert(mode).save(path, quality=75)


@pytest.fixture
def archive(tmp_path):
    root = tmp_path / "download/PolypGen2021_MultiCenterData_v3"
    for c in range(1, 7):
        for n in range(2):
            stem = f"C{c}_EndoCV2021_000{n}"
            photograph(root / f"data_C{c}/images_C{c}/{stem}.jpg", 50)
            mode = "RGB" if c % 2 else "L"
            annotate(root / f"data_C{c}/masks_C{c}/{stem}_mask.jpg", 16 * n, mode, speck=True)
    odd = root / "data_C3/images_C3/C3_EndoCV2021_00489_.jpg"
    photograph(odd, 50)
    annotate(root / "data_C3/masks_C3/C3_EndoCV2021_00489_mask.jpg", 16)
    photograph(root / "data_C1/bbox_image_C1/957OLCV1_100H0002_mask_bbox.jpg", 0)
    for n, names in ((1, "0_endocv2021_positive_{}"), (2, "seq2_C6_{}"), (3, "seq1_C6_{}")):
        home = root / f"sequenceData/positive/seq{n}"
        for number in (7, 69, 104, 1000):
            stem = names.format(number)
            photograph(home / f"images_seq{n}/{stem}.jpg", number // 5)
            annotate(home / f"masks_seq{n}/{stem}_mask.jpg", 0 if number == 69 else 12)
            (home / f"bbox_seq{n}").mkdir(exist_ok=True)
            (home / f"bbox_seq{n}/{stem}.txt").write_text("polyp 1 2 3 4")
    for n in (1, 2):
        for number in (9, 10):
            photograph(root / f"sequenceData/negativeOnly/seq{n}_neg/frame_{number}.jpg", 90)
    for path in list(root.rglob("*.jpg")):
        litter = tmp_path / "download/__MACOSX" / path.relative_to(root.parent)
        litter.parent.mkdir(parents=True, exist_ok=True)
        litter.with_name(f"._{path.name}").write_bytes(b"litter")
    (root / "data_C1/images_C1/._C1_EndoCV2021_0000.jpg").write_bytes(b"litter")
    (root / "sequenceData/.DS_Store").write_bytes(b"litter")
    return root


def areas(clip):
    return [int(read_mask(mask).sum()) for mask in clip.masks]


@pytest.mark.parametrize("inside", [True, False])
def test_the_archive_becomes_a_data_root(archive, tmp_path, caplog, inside):
    root = tmp_path / "data"
    with caplog.at_level("INFO"):
        import_polypgen(archive if inside else archive.parent, root, **OPTIONS)
    (clip,) = index_subset(root, "train")
    assert clip.name == "case1_1"
    assert clip.stems == tuple(
        f"{i:04d}_0_endocv2021_positive_{n}" for i, n in enumerate((7, 69, 104, 1000))
    )
    assert areas(clip) == [12 * 32, 0, 12 * 32, 12 * 32]
    assert clip.frames_per_second == pytest.approx(25 / 62, rel=1e-2)
    assert [c.name for c in index_subset(root, "unseen_hard")] == ["case3_1"]
    stills = index_clip(root / "stills/images", "stills", root / "stills/masks")
    assert len(stills) == 13 and "C3_EndoCV2021_00489" in stills.stems
    assert sorted(areas(stills)) == [0] * 6 + [16 * 32] * 7  # specks are gone
    free = [index_clip(folder) for folder in sorted((root / "polyp_free").iterdir())]
    assert [c.name for c in free] == ["seq1_neg", "seq2_neg"]
    assert free[0].stems == ("0000_frame_9", "0001_frame_10")
    assert "25 images, 13 of them with a polyp" in caplog.text
    assert "1 sequences of no subset, e.g." in caplog.text
    assert f"passed over {1 if inside else 2} files of file managers" in caplog.text


def test_sizes_may_be_reduced(archive, tmp_path):
    writing = Writing(longest_side=24, quality=90)
    import_polypgen(archive, tmp_path / "data", **{**OPTIONS, "writing": writing})
    sizes = {Image.open(path).size for path in (tmp_path / "data").rglob("*.*g")}
    assert sizes == {(24, 16)}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: next(a.rglob("seq1_C6_69_mask.jpg")).unlink(), "wanted seq1_C6_69_mask.jpg"),
        (lambda a: next(a.rglob("seq1_C6_69.jpg")).unlink(), "1 masks .* seq1_C6_69_mask.jpg"),
        (lambda a: (a / "data_C4").rename(a / "C4"), "no folder .*images_C4"),
        (lambda a: (a / "sequenceData").rename(a / "sequences"), "holds 0 folders with sequenceD"),
        (
            lambda a: (
                photograph(a / "data_C2/images_C2/C1_EndoCV2021_0000.jpg", 1)
                or annotate(a / "data_C2/masks_C2/C1_EndoCV2021_0000_mask.jpg", 3)
            ),
            "would both be stills/images/C1_EndoCV2021_0000",
        ),
    ],
)
def test_faults_are_named_and_leave_nothing(archive, tmp_path, spoil, message):
    spoil(archive)
    with pytest.raises(DataError, match=message):
        import_polypgen(archive, tmp_path / "data", **OPTIONS)
    assert [p.name for p in tmp_path.iterdir()] == ["download"]


def test_sequences_are_in_one_subset(archive, tmp_path):
    for change, message in (
        ({"subsets": {"train": [1], "unseen_easy": [1]}}, "each sequence in one subset"),
        ({"renumbered": [9]}, "names 9, which is a sequence of no subset"),
        ({"subsets": {"easy": [1]}}, "unknown subset 'easy'"),
    ):
        with pytest.raises(ConfigError, match=message):
            import_polypgen(archive, tmp_path / "data", **{**OPTIONS, **change})


def test_places_are_those_of_a_listing():
    numbers = [f"{n}.jpg" for n in range(35, 35 + 5 * 40, 5)]
    listing = sorted(numbers)
    assert [listing[place] for place in places(40, 35, 5)] == numbers


@pytest.mark.parametrize(("first", "step"), [(4, 3), (0, 1), (37, 5)])
def test_a_listing_is_put_back_in_order_of_time(tmp_path, first, step):
    """A bright spot wanders to and fro over noise that is the frame's own."""
    rng = np.random.default_rng(first)
    spots = (20 + 15 * np.sin(np.arange(45) / 4)).round().astype(int)
    rank = {time: place for time, place in enumerate(places(45, first, step))}
    for time, x in enumerate(spots):
        pixels = rng.integers(0, 20, (40, 48, 3), dtype=np.uint8)
        pixels[10:26, x : x + 8] = 200
        pixels[30 + time // 6 :] += 100
        Image.fromarray(pixels).save(tmp_path / f"{rank[time]}.png")
    listed = [tmp_path / f"{place}.png" for place in range(45)]
    restored, found = time_order(listed, 40, 5, 0.03)
    np.testing.assert_array_equal([read_frame(p)[0][20].argmax() for p in restored], 3 * spots)
    assert found == step
    assert time_order(restored, 40, 5, 0.03) == (restored, 0)


def test_the_shipped_subsets_are_disjoint_and_keep_some_sequences_back():
    with initialize_config_dir(config_dir(), version_base="1.3"):
        subsets = compose("import_polypgen").subsets
    numbers = [n for own in subsets.values() for n in own]
    assert len(numbers) == len(set(numbers)) == 18
    assert set(range(1, 24)) - set(numbers) == {7, 9, 13, 18, 22}
