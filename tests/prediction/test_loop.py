"""The loop of a prediction: what ends it, and how that is told."""

import os
import signal
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from sali.data.index import Clip
from sali.data.samples import Frame, Unreadable
from sali.errors import DataError, FrameError
from sali.prediction import Options, segment


class Frames(Dataset):
    """Frames of one clip; the process that reads the third one is killed."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return frame(index)


class Runner:
    """Gives a result for every frame at once."""

    def push(self, items):
        for item in items:
            if isinstance(item, Frame):
                yield item, torch.zeros(2, 2), None


class Writer:
    """Notes what it is asked to do; may refuse a frame."""

    root = Path("somewhere")

    def __init__(self, error=None, at=-1):
        self.calls, self.error, self.at = [], error, at

    def write(self, result):
        if result.frame.number == self.at:
            raise self.error
        self.calls.append(result.frame.number)

    def finish(self, clip):
        self.calls.append(f"finish {clip}")

    def discard(self):
        self.calls.append("discard")


CLIP = Clip("a", "", tuple(Path(f"{i}.png") for i in range(5)), (None,) * 5)


def frame(number):
    image = torch.zeros(3, 2, 2)
    return Frame(clip=0, number=number, is_last=number == 4, image=image, size=(2, 2))


def run(batches, writer, skip_bad=False):
    return segment(batches, [CLIP], Runner(), [writer], Options(skip_bad=skip_bad, quiet=True))


def test_a_killed_reader_is_told_apart_from_other_errors():
    batches = DataLoader(Frames(), batch_size=1, collate_fn=list, num_workers=1, prefetch_factor=2)
    writer = Writer()
    with pytest.raises(DataError, match="killed.*num_workers=0"):
        run(batches, writer)
    assert writer.calls[-1] == "discard"


def test_an_error_of_a_writer_ends_the_work_as_it_is():
    """Also one of the type, and with the words, that a killed reader has in PyTorch."""
    error = RuntimeError("DataLoader worker")
    writer = Writer(error, at=1)
    with pytest.raises(RuntimeError) as caught:
        run([[frame(i)] for i in range(5)], writer)
    assert caught.value is error and writer.calls == [0, "discard"]


def test_an_unreadable_last_frame_still_ends_the_clip():
    bad = Unreadable(clip=0, number=4, is_last=True, error="4.png is broken")
    batches = [*([frame(i)] for i in range(4)), [bad]]
    writer = Writer()
    assert run(batches, writer, skip_bad=True) == {"frames": 4, "skipped": 1}
    assert writer.calls == [0, 1, 2, 3, "finish a", "discard"]
    writer = Writer()
    with pytest.raises(FrameError, match="4.png"):
        run(batches, writer)
    assert "finish a" not in writer.calls
