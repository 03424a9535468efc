"""Uploads, checkpoints, thresholds, pictures of past frames, turns."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from app_parts import LIMITS
from miniature import wait_for
from video_files import smooth_frames, write_sound, write_video

from sali.app.models import Turns, find_checkpoints
from sali.app.play import PastFrame, thumbnail
from sali.app.session import between_levels
from sali.app.view import heat, most_read, shrink
from sali.data.samples import Frame, to_tensor
from sali.errors import DataError, UserError


def bad_files():
    yield "notes.mp4", lambda path: path.write_text("text"), "cannot be read as video"
    yield "empty.mp4", lambda path: path.write_bytes(b""), "empty"
    yield "sound.mp4", write_sound, "audio"
    yield "wide.mkv", lambda path: write_video(path, smooth_frames(1, 210, 200)), "200x210"
    times = {"times": [0, 10_000, 20_100]}
    yield "long.mkv", lambda path: write_video(path, smooth_frames(3), **times), "up to 20 s"


@pytest.mark.parametrize(("name", "write", "message"), bad_files(), ids=lambda x: str(x)[:9])
def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(DataError, match=message) as caught:
        LIMITS.open(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_file_within_the_limits_is_opened(tmp_path):
    path = write_video(tmp_path / "CLIP.MKV", smooth_frames(3, 200, 200))
    assert LIMITS.open(path).name == "CLIP"


def test_a_threshold_between_levels_says_the_same_of_map_and_probability():
    probability = np.random.default_rng(0).random(100_000, np.float32)
    grey = (probability * 255).round().astype(np.uint8) / np.float32(255)
    assert between_levels(0.5) == 0.5
    for wanted in np.linspace(0, 1, 101):
        threshold = between_levels(wanted)
        assert abs(threshold - wanted) <= 0.5 / 255 + 1e-9
        assert ((probability >= threshold) == (grey >= threshold)).all()


def test_turns_are_taken_in_the_order_of_coming():
    turns, done = Turns(), []

    def take(name):
        with turns.taken():
            done.append(name)

    threads = []
    with turns.taken():
        for name in "abc":
            threads.append(threading.Thread(target=take, args=(name,)))
            threads[-1].start()
            wait_for(lambda: len(turns._line) == len(threads) + 1, 20)
    for thread in threads:
        thread.join(20)
    assert done == ["a", "b", "c"]


def past_frames(*indices):
    picture = np.full((8, 12, 3), 100, np.uint8)
    return {i: PastFrame(10 + i, None, picture) for i in indices}


def test_the_most_read_frames_come_first_and_those_that_left_the_memory_are_forgotten():
    shares = {0: np.full((2, 2), 0.05), 2: np.full((2, 2), 0.1), 4: np.full((2, 2), 0.1)}
    past = past_frames(0, 1, 2, 4, 5)
    reads = most_read(past, shares, 5, 2, keep=9)
    assert [(one.number, share.sum()) for one, share in reads] == [(14, 0.4), (12, 0.4)]
    assert sorted(past) == [0, 2, 4, 5]  # the newest may be stored yet
    assert [one.number for one, _ in most_read(past, {4: shares[4]}, 6, 3, keep=9)] == [14]
    assert sorted(past) == [4]
    assert most_read(past, {4: np.zeros((2, 2))}, 7, 3, keep=9) == []
    assert most_read(past, {}, 8, 3, keep=9) == [] and not past


def test_the_most_read_of_too_many_are_kept():
    past = past_frames(0, 1, 2)
    shares = {i: np.full((2, 2), 0.1 * (i + 1)) for i in range(3)}
    most_read(past, shares, 3, 1, keep=2)
    assert sorted(past) == [1, 2]


def test_a_thumbnail_has_the_shape_and_the_colours_of_the_frame():
    seen = np.zeros((64, 64, 3), np.uint8)
    seen[:, :32] = (200, 100, 0)
    frame = Frame(clip=0, number=0, image=to_tensor(seen), size=(300, 600))
    small = thumbnail(frame, 40)
    assert small.shape == (20, 40, 3)
    assert (small[:, :18] == (200, 100, 0)).all() and (small[:, 22:] == 0).all()


def test_heat_is_where_it_was_read():
    share = np.zeros((4, 6))
    share[:, 3:] = 1
    drawn = heat(np.full((8, 12, 3), 100, np.uint8), share)
    assert (drawn[:, :4] == 100).all()  # grey stays grey
    red, green, blue = drawn[:, 9:].reshape(-1, 3).T.astype(int)
    assert (red > blue + 100).all() and (green > blue + 100).all()  # viridis ends in yellow


def test_shrunk_pictures_keep_shape_and_colour():
    picture = np.zeros((100, 201, 3), np.uint8)
    picture[..., 0] = 200
    small = shrink(picture, 50)
    assert small.shape == (25, 50, 3) and (small == (200, 0, 0)).all()
    assert shrink(picture[:10, :20], 50).shape == (10, 20, 3)


def test_checkpoints_are_named_apart(tmp_path):
    for name in ("a/best.ckpt", "b/best.ckpt", "c/b5.ckpt", "c/sali.pth", "c/run.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    given = [str(tmp_path / name) for name in ("a/best.ckpt", "b/best.ckpt", "c")]
    found = find_checkpoints(given)
    assert {n: p.relative_to(tmp_path).as_posix() for n, p in found.items()} == {
        "best": "a/best.ckpt",
        "b/best": "b/best.ckpt",
        "b5": "c/b5.ckpt",
        "sali": "c/sali.pth",
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [([], "no model"), (["none.ckpt"], "no checkpoint at none.ckpt"), (["."], "no checkpoint in")],
)
def test_no_checkpoint_is_an_error(tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        find_checkpoints(given)


def test_pages_may_open_while_another_opens():
    pytest.importorskip("gradio", reason="gradio is not installed")
    from sali.app.page import Page

    class Old:
        """A session that was there before; another page opens while it is looked at."""

        @property
        def closed(self):
            page._open["second"] = SimpleNamespace(closed=False)
            return True

    page = SimpleNamespace(
        _open={"old": Old()},
        _left=lambda request: None,
        _make_session=lambda: SimpleNamespace(closed=False),
        _shown=lambda session: None,
    )
    Page._opened(page, SimpleNamespace(session_hash="first"))
    assert set(page._open) == {"first", "second"}
