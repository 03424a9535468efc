"""Small parts of the web app for its tests."""

import copy
import threading
from contextlib import contextmanager

import torch
from conftest import SMALL, small_network

from sali.app.models import Models, Options, Turns
from sali.app.play import Limits, Play
from sali.app.session import Session
from sali.data.video.decoding import decode_video
from sali.metrics.operating_point import OperatingPoint
from sali.streaming import StreamSegmenter

LIMITS = Limits(seconds=20, max_pixels=200 * 200)
OVERLAY = {"quality": 20, "preset": "veryfast", "key_frame_every": 25}
EXPORTING = {"show_time": False, "side_by_side": False, "clip_rate": 25, **OVERLAY}
PLAYING = {"meter_frames": 10, "thumbnail_width": 32}
OPTIONS = Options("small", "32", max_frames=2, every=2)
VIDEO = {"eviction": "least_used", "neighbor": "previous"}


def save_checkpoint(path):
    torch.manual_seed(0)
    fusion = "released"  # with the other one an untrained network does not heed its memory
    network = small_network(fusion=fusion)
    own = {
        "network": {**SMALL, "fusion": fusion},
        "streaming": {"image_size": 256, **VIDEO, "max_frames": 3, "every": 2},
        "maps": "probability",
        "decode": "exact",
    }
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state, "sali": own}, path)
    return path


class Gate(Turns):
    """Lets as many frames through as it was allowed to, and notes whose they were."""

    def __init__(self, allowed=10**6):
        super().__init__()
        self.allowed = threading.Semaphore(allowed)
        self.order = []

    @contextmanager
    def taken(self):
        with super().taken():
            self.allowed.acquire()
            self.order.append(threading.current_thread().name)
            yield

    def allow(self, frames):
        self.allowed.release(frames)


def make_models(checkpoint):
    def settings_of(trained, network):
        own = {"decode": trained["decode"], "video": network.video_settings}
        return {"image_size": 256, "smoothing": 0, **own}

    return Models([str(checkpoint)], settings_of, torch.device("cpu"), [])


def with_gate(models, gate):
    """The same networks behind a line of their own."""
    models = copy.copy(models)
    models.turns = gate
    return models


def make_play(models, source, folder, options=OPTIONS, limits=None):
    return Play(models, source, options, folder, limits, **PLAYING)


def make_session(models, folder):
    return Session(folder, models, LIMITS, PLAYING, EXPORTING, OperatingPoint())


def plain_loop(models, path, options=OPTIONS):
    """Probabilities of a loop over the frames and nothing else, and its segmenter."""
    network, _ = models.load("small", options.precision)
    settings = {**VIDEO, "max_frames": options.max_frames, "every": options.every}
    segmenter = StreamSegmenter(network, 256, options.precision, **settings)
    return [segmenter.step(picture.rgb) for picture in decode_video(path)], segmenter
