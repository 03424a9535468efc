"""The loop of every prediction: frames through the network, results to the writers.

`sali.predict`, the test after a training and the web app use it with writers of their own.
"""

import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType
from typing import Any

from sali.data.datasets import FrameReader, lost_worker
from sali.data.samples import End, Frame
from sali.data.video.files import Video
from sali.data.video.live import Live, LiveFrames
from sali.errors import ConfigError, DataError, FrameError
from sali.models.contract import VideoSegmenter
from sali.prediction.result import ClipWriter, Result, Writer
from sali.prediction.resume import Counts, Resume
from sali.prediction.sources import Batches, Options, Source, length_of, load
from sali.run.progress import progress_bar
from sali.streaming import ClipRunner, StreamSegmenter

log = logging.getLogger(__name__)


def predict(
    sources: Sequence[Source],
    network: VideoSegmenter,
    settings: Mapping[str, Any],
    writers: Sequence[Writer],
    options: Options,
    resume: Resume | None = None,
) -> Counts:
    """Segment every frame of the sources and give the results to the writers.

    Args:
        sources: Clips or videos, all of one kind, or one live source.
        network: Trained network on its device, see `prepare_network`.
        settings: How the network is run: "image_size", "smoothing", "decode", and "video", the
            changes of its `video_settings`.
        writers: Receivers of the results.
        options: How the prediction is computed.
        resume: Keeps the state of videos, so that an interrupted prediction can be resumed.

    Returns:
        Number of "clips", "frames" and "skipped" frames; of a live source also "dropped" ones.

    Raises:
        UserError: Anything that does not fit, before or during the work.
    """
    make_segmenter(network, settings, options.precision)  # refuses settings before any work
    reader = FrameReader(settings["image_size"], settings["decode"])
    runner = ClipRunner(lambda: make_segmenter(network, settings, options.precision))
    if not sources:
        return {"clips": 0, "frames": 0, "skipped": 0}
    try:
        if isinstance(sources[0], Live):
            assert options.live is not None
            live = LiveFrames(sources[0], options.live, reader.image_size, options.keep_pictures)
            return _segment_live(live, runner, writers, options)
        todo = resume.begin(sources, runner) if resume else sources
        batches = load(todo, reader, options, resume.starts if resume else None)
        counts = segment(batches, todo, runner, writers, options, resume)
    except OSError as error:
        raise DataError(f"stopped: {error}") from error
    if resume:
        resume.close()
    if counts["skipped"] and not counts["frames"]:
        raise DataError(f"none of the {counts['skipped']} frames could be read, see above")
    return {"clips": len(sources), **counts}


def make_segmenter(
    network: VideoSegmenter, settings: Mapping[str, Any], precision: str = "32"
) -> StreamSegmenter:
    """Return a segmenter for one stream."""
    try:
        side, smoothing = settings["image_size"], settings["smoothing"]
        return StreamSegmenter(network, side, precision, smoothing, **settings["video"])
    except ValueError as error:
        raise ConfigError(str(error)) from error


def segment(
    batches: Batches,
    sources: Sequence[Source],
    runner: ClipRunner,
    writers: Sequence[Writer],
    options: Options,
    resume: Resume | None = None,
) -> Counts:
    """Segment all frames of `batches`, which numbers the sources in their order; see `predict`.

    Returns:
        Number of "frames" and "skipped" frames of all sources.

    Raises:
        FrameError: A frame cannot be read.
        DataError: A process that reads ahead was killed.
    """
    known = resume.counted if resume else {}
    counts = [{"frames": 0, "skipped": 0, **known.get(i, {})} for i in range(len(sources))]
    lengths = [length_of(source) for source in sources]
    try:
        quiet = options.quiet
        with progress_bar("frames", quiet=quiet) as progress, _readers_of(batches) as items_of:
            done = sum(count["frames"] + count["skipped"] for count in counts)
            total = sum(lengths) if all(lengths) else None
            bar = progress.add_task("predict", total=total, completed=done)
            for items in items_of:
                for frame, probability, attention in runner.push(items):
                    result = Result(sources[frame.clip], frame, probability, attention)
                    for writer in writers:
                        writer.write(result)
                    counts[frame.clip]["frames"] += 1
                for item in items:
                    source, count = sources[item.clip], counts[item.clip]
                    if not isinstance(item, Frame) and item.error:
                        lost = item.lost if isinstance(item, End) else 0
                        if not options.skip_bad and not lost:
                            raise FrameError(f"{item.error} (on_bad_frame=skip leaves it out)")
                        log.warning("skipped: %s", item.error)
                        count["skipped"] += max(1, lost)
                    if item.is_last:
                        for writer in writers:
                            writer.finish(source.name)
                    if resume is not None and isinstance(source, Video):
                        resume.after(item, source, runner, count)
                progress.advance(bar, len(items))
    finally:
        is_kept = resume is not None and bool(resume.saved)
        for writer in writers:
            if is_kept and isinstance(writer, ClipWriter):
                writer.suspend()
            else:
                writer.discard()
    counts += resume.whole if resume else []
    return {name: sum(count[name] for count in counts) for name in ("frames", "skipped")}


@contextmanager
def _readers_of(batches: Batches) -> Iterator[Iterator[list[Any]]]:
    """Provide an iterator over batches; DataError if one of its processes is killed meanwhile."""
    others = multiprocessing.active_children()
    iterator = iter(batches)
    processes = [one for one in multiprocessing.active_children() if one not in others]
    try:
        yield iterator
    except (RuntimeError, ConnectionError, EOFError) as error:  # as PyTorch notices it, or a pipe
        with suppress(RuntimeError):  # PyTorch's, if it learns of the death only now
            for process in processes:
                process.join(timeout=0.5)
        why = lost_worker(error, exit_codes=[process.exitcode for process in processes])
        if why is None:
            raise
        raise DataError(why) from error


def _segment_live(
    frames: LiveFrames, runner: ClipRunner, writers: Sequence[Writer], options: Options
) -> Counts:
    """Segment a live source until it ends or a signal stops it."""
    with stopped_by_signals(frames.stop):
        counts = segment(frames, [frames.live], runner, writers, replace(options, skip_bad=True))
    what = frames.live.shown
    if frames.damaged:
        log.warning("%s: %d frames could not be decoded", what, frames.damaged)
    if frames.mailbox.dropped:
        log.warning(
            "%s: %d of %d frames were dropped: the network took longer than the camera; "
            "live.drop_late=false keeps all, of a recording",
            what,
            frames.mailbox.dropped,
            frames.mailbox.received,
        )
    return {"clips": 1, **counts, "dropped": frames.mailbox.dropped}


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at the first Ctrl-C or SIGTERM while this is entered; the second interrupts.

    Only the main thread receives signals; in others nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.default_int_handler)
        stop()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, first) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
