"""Limits, seats, kept maps, speeds and what is shown of the memory."""

import threading

import numpy as np
import pytest
from app_parts import LIMITS
from video_files import smooth_frames, write_sound, write_video

from sali.app.kept_maps import KeptMaps, between_levels, grey_from
from sali.app.meter import Meter
from sali.app.models import find_checkpoints
from sali.app.reads import Album, heat, most_read, shrink
from sali.app.samples import drawn_samples, own_samples
from sali.app.seats import Seats
from sali.data.synthetic import SyntheticSpec
from sali.errors import DataError, UserError


def bad_files():
    yield "notes.txt", lambda path: path.write_text("text"), "notes.txt is not taken"
    yield "notes.mp4", lambda path: path.write_text("text"), "cannot be read as video"
    yield "empty.mp4", lambda path: path.write_bytes(b""), "is empty"
    yield "sound.mp4", write_sound, "holds audio but no video"
    yield "large.mp4", lambda path: path.write_bytes(bytes(2_000_001)), "up to 2 MB"
    yield "wide.mkv", lambda path: write_video(path, smooth_frames(1, 210, 200)), "200x210 pixels"
    times = {"times": [0, 10_000, 20_100]}
    yield "long.mkv", lambda path: write_video(path, smooth_frames(3), **times), "up to 20 s"


@pytest.mark.parametrize(("name", "write", "message"), bad_files(), ids=lambda x: str(x)[:9])
def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(DataError, match=message) as caught:
        LIMITS.open(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_file_within_the_limits_is_opened(tmp_path):
    path = write_video(tmp_path / "CLIP.MKV", smooth_frames(3, 200, 200))
    assert LIMITS.open(path).name == "CLIP"


def test_kept_maps_are_what_was_added(tmp_path):
    rng = np.random.default_rng(0)
    kept = KeptMaps(tmp_path / "maps")
    maps = {0: rng.integers(0, 256, (5, 7)), 3: rng.integers(0, 256, (8, 4))}
    for number, picture in maps.items():
        kept.add(number, picture.astype(np.uint8))
    assert len(kept) == 2 and 1 not in kept
    for number, picture in maps.items():
        assert (kept.read(number) == picture).all()


def test_a_threshold_between_levels_says_the_same_of_map_and_probability():
    probability = np.random.default_rng(0).random(100_000, np.float32)
    grey = (probability * 255).round().astype(np.uint8)
    assert between_levels(0.5) == 0.5
    for wanted in np.linspace(0, 1, 101):
        threshold = between_levels(wanted)
        assert abs(threshold - wanted) <= 0.5 / 255 + 1e-9
        assert ((probability >= threshold) == (grey >= grey_from(wanted))).all()
        assert ((grey / np.float32(255) >= threshold) == (grey >= grey_from(wanted))).all()


def test_seats_are_taken_in_turn():
    seats = Seats(2)
    for who in "abcd":
        seats.join(who)
    assert [seats.position(who) for who in "abcde"] == [0, 0, 1, 2, None]
    told, done = [], threading.Event()

    def wait():
        assert seats.wait("d", told.append)
        done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    while told != [2]:
        pass
    seats.leave("b")
    while told != [2, 1]:
        pass
    assert not done.is_set()
    seats.leave("c")  # gives up in the line
    thread.join(5)
    assert done.is_set() and [seats.position(who) for who in "acd"] == [0, None, 0]
    assert not seats.wait("c", told.append)


def test_speed_is_that_of_the_last_frames():
    meter = Meter(3)
    meter.count(0, 1)
    assert meter.speed() is None
    for start, end in ((4, 5), (5, 5.5), (5.5, 6)):
        meter.count(start, end)
    rate, mean, high = meter.speed()
    assert rate == 2  # two frames in the second from 5 to 6
    assert mean == pytest.approx(2000 / 3)
    assert high == pytest.approx(950)  # of 500, 500 and 1000
    meter.pause()
    assert meter.speed() is None


def past(*indices):
    picture = np.full((8, 12, 3), 100, np.uint8)
    return {i: Album(12, 90, 9).picture(i, None, picture) for i in indices}


def test_the_most_read_frames_come_first_and_only_those_of_which_there_is_a_picture():
    shares = {0: np.full((2, 2), 0.05), 2: np.full((2, 2), 0.1), 4: np.full((2, 2), 0.1)}
    reads = most_read(shares, past(0, 4), 5)
    assert [(read.frame.number, round(read.share, 6)) for read in reads] == [(4, 0.4), (0, 0.2)]
    assert [read.frame.number for read in most_read(shares, past(0, 2, 4), 1)] == [4]
    assert most_read({}, past(0), 3) == []
    assert most_read({0: np.zeros((2, 2))}, past(0), 3) == []


def test_heat_is_where_it_was_read():
    share = np.zeros((4, 6))
    share[:, 3:] = 1
    drawn = heat(np.full((8, 12, 3), 100, np.uint8), share)
    assert (drawn[:, :4] == 100).all()  # grey stays grey
    red, green, blue = drawn[:, 9:].reshape(-1, 3).T.astype(int)
    assert (red > blue + 100).all() and (green > blue + 100).all()  # viridis ends in yellow


def test_pictures_of_frames_that_left_the_memory_are_forgotten():
    stored = {2: 5, 4: 1, 6: 9, 8: 5}
    assert list(Album(12, 90, 9).still_there(past(0, 2, 4, 8), stored)) == [2, 4, 8]
    assert list(Album(12, 90, 1).still_there(past(0, 2, 4, 8), stored)) == [8]  # of most, new


def test_past_frames_are_kept_small_and_in_colour():
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[..., 0] = 200
    frame = Album(20, 95, 9).picture(7, 0.5, picture)
    assert (frame.number, frame.time, frame.picture.shape) == (7, 0.5, (10, 20, 3))
    assert np.abs(frame.picture.astype(int) - (200, 0, 0)).max() < 10


def test_shrunk_pictures_keep_their_shape():
    assert shrink(np.zeros((100, 200, 3), np.uint8), 50).shape == (25, 50, 3)
    assert shrink(np.zeros((10, 20, 3), np.uint8), 50).shape == (10, 20, 3)


def test_checkpoints_are_named_apart(tmp_path):
    for name in ("a/best.ckpt", "b/best.ckpt", "c/b5.ckpt", "c/sali.pth", "c/run.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    given = [str(tmp_path / name) for name in ("a/best.ckpt", "b/best.ckpt", "c")]
    found = find_checkpoints(given, {"mine": str(tmp_path / "c/b5.ckpt")})
    assert {n: p.relative_to(tmp_path).as_posix() for n, p in found.items()} == {
        "mine": "c/b5.ckpt",
        "best": "a/best.ckpt",
        "b/best": "b/best.ckpt",
        "b5": "c/b5.ckpt",
        "sali": "c/sali.pth",
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [([], "no model"), (["none.ckpt"], "no checkpoint none.ckpt"), (["."], "no checkpoint in")],
)
def test_no_checkpoint_is_an_error(tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        find_checkpoints(given, {})


def test_samples(tmp_path):
    drawn = drawn_samples(tmp_path / "drawn", SyntheticSpec(1, 1, 2, 64, 80, 0))
    assert len(drawn) == 4 and all(len(clip.frames) == 2 for clip in drawn.values())
    own = own_samples(str(tmp_path / "drawn/TestHardDataset/Unseen"), 10**6)
    assert [(name, len(clip.frames)) for name, clip in own.items()] == [("case20001_1", 2)]
