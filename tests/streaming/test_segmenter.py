"""Frame by frame: causal, one encoding per frame, the same as a folder."""

import numpy as np
import pytest
import torch
from conftest import small_network
from PIL import Image

from sali.data.datasets import ClipFrames, FrameReader
from sali.data.frames import read_frame
from sali.data.index import index_source
from sali.data.sampling import clip_batches
from sali.streaming import ClipRunner, StreamSegmenter, step_streams

CORRECTED = dict(image_size=256, max_frames=3, every=2, eviction="least_used", neighbor="previous")
RELEASED = dict(CORRECTED, eviction="released", neighbor="next")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = small_network(fusion="released")
    # Random batch statistics, so that the video branch matters to the result.
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if "to_offset" in name or "attend" in name:
                tensor.normal_(0, 0.05)
    return network.eval()


@pytest.fixture(scope="module")
def clip():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, (10, 100, 120, 3)).astype(np.uint8)
    return [np.asarray(frame) for frame in base]


def run(segmenter, frames):
    maps = [segmenter.step(frame) for frame in frames] + [segmenter.flush()]
    return [m for m in maps if m is not None]


@pytest.mark.parametrize("options", [CORRECTED, RELEASED])
def test_one_map_per_frame_at_its_own_size_and_one_encoding(network, clip, options, monkeypatch):
    encoded = []
    encode = network.encode
    monkeypatch.setattr(network, "encode", lambda x: encoded.append(x.shape) or encode(x))
    maps = run(StreamSegmenter(network, **options), clip)
    assert len(maps) == len(clip) == len(encoded)
    assert all(m.shape == (100, 120) and m.dtype == np.float32 for m in maps)
    assert set(encoded) == {(1, 3, 256, 256)}


def test_corrected_result_does_not_depend_on_later_frames(network, clip):
    whole = run(StreamSegmenter(network, **CORRECTED), clip)
    other_future = [*clip[:5], *[255 - frame for frame in clip[5:]]]
    changed = run(StreamSegmenter(network, **CORRECTED), other_future)
    for t in range(5):
        np.testing.assert_array_equal(whole[t], changed[t])
    assert np.abs(whole[5] - changed[5]).max() > 0


def test_released_result_looks_exactly_one_frame_ahead(network, clip):
    whole = run(StreamSegmenter(network, **RELEASED), clip)
    other_future = [*clip[:5], *[255 - frame for frame in clip[5:]]]
    changed = run(StreamSegmenter(network, **RELEASED), other_future)
    for t in range(4):
        np.testing.assert_array_equal(whole[t], changed[t])
    assert np.abs(whole[4] - changed[4]).max() > 1e-6
    segmenter = StreamSegmenter(network, **RELEASED)
    assert segmenter.step(clip[0]) is None
    np.testing.assert_array_equal(segmenter.step(clip[1]), whole[0])


def test_earlier_frames_matter_and_reset_forgets_them(network, clip):
    segmenter = StreamSegmenter(network, **CORRECTED)
    first = segmenter.step(clip[0])
    run(segmenter, clip[1:4])
    remembered = segmenter.step(clip[0])
    assert np.abs(first - remembered).max() > 1e-6
    segmenter.reset()
    np.testing.assert_array_equal(segmenter.step(clip[0]), first)
    assert not [name for name, _ in network.named_buffers() if "memory" in name]


def test_memory_stays_within_its_cap_and_holds_the_newest_stored_frame(network, clip):
    segmenter = StreamSegmenter(network, **CORRECTED)
    for t, frame in enumerate(clip):
        segmenter.step(frame)
        newest = t - t % 2
        for level, grid in zip(segmenter.video.bank.levels, (1024, 256, 64), strict=True):
            assert level.size <= 3 * grid
            assert (level.frame == newest).sum() == grid


@pytest.mark.parametrize("options", [CORRECTED, RELEASED])
def test_folder_and_frame_by_frame_are_identical(network, tmp_path, options):
    rng = np.random.default_rng(1)
    for c in range(2):
        (tmp_path / f"case{c}_1").mkdir()
        for t in range(4):
            coarse = Image.fromarray(rng.integers(0, 255, (9, 11, 3)).astype(np.uint8))
            coarse.resize((384, 288)).save(tmp_path / f"case{c}_1" / f"image{t:04d}.jpg")
    clips = index_source(tmp_path)
    dataset = ClipFrames(clips, FrameReader(256, "fast"), with_masks=False)
    runner = ClipRunner(lambda: StreamSegmenter(network, **options))
    from_folder = [
        (frame.clip, frame.number, probability.numpy())
        for i in range(len(dataset))
        for frame, probability, _ in runner.push([dataset[i]])
    ]
    by_frame = []
    for c, clip in enumerate(clips):
        segmenter = StreamSegmenter(network, **options)  # one for each video
        maps = run(segmenter, [read_frame(path, near=256)[0] for path in clip.frames])
        by_frame += [(c, t, m) for t, m in enumerate(maps)]
    for (*one, first), (*other, second) in zip(from_folder, by_frame, strict=True):
        assert one == other
        np.testing.assert_array_equal(first, second)


def test_frames_out_of_order_are_refused(network, tmp_path):
    for t in range(3):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{t}.png")
    dataset = ClipFrames(index_source(tmp_path), FrameReader(256, "fast"), with_masks=False)
    runner = ClipRunner(lambda: StreamSegmenter(network, **CORRECTED))
    list(runner.push([dataset[0]]))
    with pytest.raises(ValueError, match="frame 2 of clip 0 came where frame 1"):
        list(runner.push([dataset[2]]))


def test_single_frame_network_streams(clip):
    network = small_network(long_term=False, align_kernel=None).eval()
    segmenter = StreamSegmenter(network, 256)
    assert segmenter.step(clip[0]) is not None  # no neighbor, nothing to wait for
    assert segmenter.attention is None and segmenter.flush() is None
    with pytest.raises(ValueError, match="max_frames"):
        StreamSegmenter(network, 256, max_frames=3)


def test_bfloat16_stays_near_float32(network, clip):
    exact = run(StreamSegmenter(network, **CORRECTED), clip[:4])
    half = run(StreamSegmenter(network, **CORRECTED, precision="bf16"), clip[:4])
    assert all(h.dtype == np.float32 for h in half)
    assert max(np.abs(e - h).mean() for e, h in zip(exact, half, strict=True)) < 0.02


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 250}, "multiple of 32"),
        ({"neighbor": "both"}, "previous"),
        ({"precision": "8"}, "bf16"),
        ({"every": 0}, "at least 1"),
        ({"max_frames": -1}, "at least 0"),
        ({"eviction": "none"}, "least_used"),
    ],
)
def test_settings_that_do_not_exist_are_refused(network, changes, message):
    with pytest.raises(ValueError, match=message):
        StreamSegmenter(network, **{**CORRECTED, **changes})


def test_arrays_that_are_no_frames_are_refused(network):
    segmenter = StreamSegmenter(network, **CORRECTED)
    grey, float_rgb = np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3))
    empty, picture = np.zeros((0, 4, 3), np.uint8), Image.new("RGB", (4, 4))
    for wrong in (grey, float_rgb, empty, picture, None, [[1]]):
        with pytest.raises(ValueError, match=r"wanted RGB uint8 \[H, W, 3\]"):
            segmenter.step(wrong)


def test_streams_side_by_side_are_streams_one_by_one(network, tmp_path):
    rng = np.random.default_rng(2)
    lengths = (3, 1, 4)
    for c, length in enumerate(lengths):
        (tmp_path / f"case{c}_1").mkdir()
        for t in range(length):
            coarse = Image.fromarray(rng.integers(0, 255, (9, 11, 3)).astype(np.uint8))
            coarse.resize((384, 288)).save(tmp_path / f"case{c}_1" / f"image{t:04d}.png")
    dataset = ClipFrames(index_source(tmp_path), FrameReader(256, "fast"), with_masks=False)

    def maps_with(streams):
        runner = ClipRunner(lambda: StreamSegmenter(network, **CORRECTED))
        found = {}
        for batch in clip_batches(lengths, streams):
            for frame, probability, _ in runner.push([dataset[i] for i in batch]):
                found[frame.clip, frame.number] = probability.numpy()
        return found

    alone, together = maps_with(1), maps_with(2)
    assert (
        sorted(alone)
        == sorted(together)
        == [(c, t) for c, n in enumerate(lengths) for t in range(n)]
    )
    for key, one in alone.items():
        np.testing.assert_allclose(together[key], one, atol=1e-4)


def test_streams_that_do_not_fit_together_are_refused(network, clip):
    one, other = (StreamSegmenter(small_network().eval(), **CORRECTED) for _ in range(2))
    with pytest.raises(ValueError, match="share one network"):
        step_streams([one, other], clip[:2])
    with pytest.raises(ValueError, match="cannot be named twice"):
        step_streams([one, one], clip[:2])


@pytest.mark.parametrize("options", [CORRECTED, RELEASED])
def test_smoothing_is_an_exponential_average_of_probabilities(network, clip, options):
    frames = [np.asarray(Image.fromarray(frame).resize((256, 256))) for frame in clip[:5]]
    plain = run(StreamSegmenter(network, **options), frames)
    smoothed = run(StreamSegmenter(network, **options, smoothing=0.7), frames)
    average = plain[0]
    for probability, got in zip(plain, smoothed, strict=True):
        average = 0.7 * average + 0.3 * probability
        np.testing.assert_allclose(got, average, atol=1e-5)
    assert np.abs(smoothed[-1] - plain[-1]).max() > 1e-4


def test_smoothing_bridges_frames_of_another_size_and_is_forgotten_by_a_reset(network, clip):
    segmenter = StreamSegmenter(network, **CORRECTED, smoothing=0.5)
    first = segmenter.step(clip[0])
    assert segmenter.step(clip[1][:90, :80]).shape == (90, 80)
    segmenter.reset()
    np.testing.assert_array_equal(segmenter.step(clip[0]), first)
    with pytest.raises(ValueError, match="smoothing: got 1"):
        StreamSegmenter(network, **CORRECTED, smoothing=1)


def test_any_network_is_smoothed_and_resumed(clip):
    network = small_network(long_term=False, align_kernel=None).eval()
    whole = StreamSegmenter(network, 256, smoothing=0.5)
    maps = run(whole, clip[:4])
    half, resumed = (StreamSegmenter(network, 256, smoothing=0.5) for _ in range(2))
    run(half, clip[:2])
    resumed.load_state(half.state())
    for got, expected in zip(run(resumed, clip[2:4]), maps[2:], strict=True):
        np.testing.assert_array_equal(got, expected)
