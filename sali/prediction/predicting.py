"""From sources to written results, for the command, the test after training and Python."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sali.data.datasets import FrameReader
from sali.data.video.live import Live, LiveFrames, LiveSettings
from sali.errors import ConfigError, DataError
from sali.models.contract import VideoSegmenter
from sali.prediction.jobs import Jobs
from sali.prediction.result import Writer
from sali.prediction.run import run, run_live
from sali.prediction.sources import Source, load
from sali.streaming import ClipRunner, StreamSegmenter, prepare_network


@dataclass(frozen=True)
class Options:
    """How a prediction runs; none of it changes which frames are predicted.

    Attributes:
        device: Device of the network.
        precision: "32", "bf16" or "16".
        compile: Whether to compile the network.
        num_workers: Processes that read ahead.
        prefetch_factor: Frames that each of them reads ahead.
        streams: Clips that are streamed side by side.
        skip_bad: Whether to leave unreadable frames out; else they are an error.
        keep_pictures: Whether a writer needs the frames of videos themselves.
        live: Settings of live sources; None if there are none.
    """

    device: torch.device
    precision: str = "32"
    compile: bool = False
    num_workers: int = 0
    prefetch_factor: int = 4
    streams: int = 1
    skip_bad: bool = False
    keep_pictures: bool = False
    live: LiveSettings | None = None


def make_segmenter(
    network: VideoSegmenter, settings: Mapping[str, Any], precision: str = "32"
) -> StreamSegmenter:
    """Return a segmenter for one stream.

    Raises:
        ConfigError: A setting that does not fit the network.
    """
    try:
        return StreamSegmenter(network, settings["image_size"], precision, **settings["video"])
    except ValueError as error:
        raise ConfigError(str(error)) from error


def predict(
    sources: Sequence[Source],
    network: VideoSegmenter,
    settings: Mapping[str, Any],
    writers: Sequence[Writer],
    options: Options,
    jobs: Jobs | None = None,
) -> dict[str, int]:
    """Segment every frame of the sources and give the results to the writers.

    A writer may end the work by an exception of its own; the others then `discard` what is half.

    Args:
        sources: Clips or videos, all of one kind, or one live source.
        network: Trained network; it is changed, for speed.
        settings: How the network is run: "image_size", "decode", and "video", the changes of its
            `video_settings`.
        writers: Receivers of the results.
        options: Device, precision and reading.
        jobs: Keeps the state of videos, so that an interrupted work can be resumed.

    Returns:
        Number of "clips", "frames" and "skipped" frames; of a live source also "dropped" ones.

    Raises:
        UserError: Anything that does not fit, before or during the work.
    """
    make_segmenter(network, settings, options.precision)  # refuses settings before any work
    reader = FrameReader(settings["image_size"], settings["decode"])
    network = prepare_network(
        network.to(options.device), settings["image_size"], options.precision, options.compile
    )
    runner = ClipRunner(lambda: make_segmenter(network, settings, options.precision))
    try:
        if sources and isinstance(sources[0], Live):
            assert options.live is not None
            frames = LiveFrames(sources[0], options.live, reader.image_size, options.keep_pictures)
            return run_live(frames, runner, writers)
        return _predict_files(sources, reader, runner, writers, options, jobs)
    except OSError as error:
        raise DataError(f"stopped: {error}") from error


def _predict_files(
    sources: Sequence[Source],
    reader: FrameReader,
    runner: ClipRunner,
    writers: Sequence[Writer],
    options: Options,
    jobs: Jobs | None,
) -> dict[str, int]:
    num_clips = len(sources)
    if jobs is not None:
        sources = jobs.begin(sources, runner)
    loader = load(
        list(sources),
        reader,
        options.num_workers,
        options.prefetch_factor,
        options.streams,
        options.keep_pictures,
        jobs.starts if jobs else {},
    )
    try:
        count = run(loader, sources, runner, writers, options.skip_bad, jobs)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DataError(
            "a process that decodes was killed, most likely for lack of memory; give a smaller "
            "prefetch_factor, or num_workers=0"
        ) from error
    if jobs is not None:
        jobs.close()
    return {"clips": num_clips, **count}
