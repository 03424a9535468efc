"""Small parts of the web app for its tests."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from conftest import SMALL, small_network

from sali.app.job import Engine, Job
from sali.app.limits import Limits
from sali.app.models import Models, Options
from sali.app.reads import Album
from sali.app.seats import Seats
from sali.app.session import Exporting, Session
from sali.app.view import View
from sali.data.video.decoding import decode_video
from sali.streaming import StreamSegmenter

LIMITS = Limits(megabytes=2, seconds=20, max_pixels=200 * 200, suffixes=(".mkv", ".mp4"))
ENCODING = {"quality": 20, "preset": "veryfast", "key_frame_every": 25}
OPTIONS = Options("small", "32", max_frames=2, every=2)
STREAMING = {"image_size": 256, "eviction": "least_used", "neighbor": "previous"}


def save_checkpoint(path):
    torch.manual_seed(0)
    fusion = "released"  # with the other one an untrained network does not heed its memory
    network = small_network(fusion=fusion)
    own = {
        "network": {**SMALL, "fusion": fusion},
        "streaming": {**STREAMING, "max_frames": 3, "every": 2},
        "maps": "probability",
        "decode": "exact",
    }
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state, "sali": own}, path)
    return path


class Gate(ThreadPoolExecutor):
    """Computes as many frames as it was allowed to, and notes whose they were."""

    def __init__(self, allowed=10**6):
        super().__init__(1)
        self.allowed = threading.Semaphore(allowed)
        self.order = []

    def submit(self, fn, runner, segmenter, frame):
        def run():
            self.allowed.acquire()
            self.order.append(id(segmenter))
            return fn(runner, segmenter, frame)

        return super().submit(run)

    def allow(self, frames):
        self.allowed.release(frames)


def make_models(checkpoint):
    def settings_of(trained):
        return {**trained["streaming"], "maps": "probability", "decode": trained["decode"]}

    return Models({"small": checkpoint}, settings_of, torch.device("cpu"))


def make_engine(models, forward, seats=2, limits=LIMITS):
    return Engine(models, Seats(seats), forward, limits, 10, Album(32, 90, 50))


def make_job(engine, source, folder, options=OPTIONS, is_upload=False):
    return Job(engine, source, options, folder, lambda: None, is_upload)


def make_session(engine, folder, reads=3):
    view = View(width=800, quality=90, reads=reads)
    return Session("token", folder, engine, view, Exporting(25, ENCODING), 0.5)


def maps_of(job):
    return {number: job.maps.read(number) for number in range(10**4) if number in job.maps}


def plain_loop(models, path, options=OPTIONS):
    """A loop over the frames and nothing else: probabilities, and the segmenter after it."""
    settings = {**STREAMING, "max_frames": options.max_frames, "every": options.every}
    segmenter = StreamSegmenter(models.network("small", options.precision), **settings)
    return [segmenter.step(picture.rgb) for picture in decode_video(path)], segmenter
