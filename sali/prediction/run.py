"""Frames through the network, results to the writers."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from sali.data.samples import End, Frame
from sali.data.video.files import Video
from sali.data.video.live import LiveFrames
from sali.errors import FrameError
from sali.prediction.jobs import Counts, Jobs
from sali.prediction.result import Result, Resumable, Writer
from sali.prediction.sources import Loader, Source, length_of
from sali.run.progress import progress_bar
from sali.streaming import ClipRunner

log = logging.getLogger(__name__)


def run(
    loader: Loader,
    sources: Sequence[Source],
    runner: ClipRunner,
    writers: Sequence[Writer],
    skip_bad: bool,
    jobs: Jobs | None = None,
    quiet: bool = False,
) -> Counts:
    """Segment all frames and write all results.

    Args:
        loader: of the sources' frames.
        sources: in the order in which the loader numbers them.
        runner: with the state of sources that are taken up.
        writers: are told of every result.
        skip_bad: leave an unreadable frame out; else it is an error.
        jobs: keeps the state of videos, to go on after an interruption.
        quiet: Whether to draw no progress bar, where several runs share one terminal.

    Returns:
        {"frames": ..., "skipped": ...} of all sources.

    Raises:
        FrameError: an unreadable frame.
    """
    known = jobs.before if jobs else {}
    counts = [{"frames": 0, "skipped": 0, **known.get(i, {})} for i in range(len(sources))]
    lengths = [length_of(source) for source in sources]
    try:
        with progress_bar("frames", quiet=quiet) as progress:
            done = sum(count["frames"] + count["skipped"] for count in counts)
            total = sum(lengths) if all(lengths) else None
            bar = progress.add_task("predict", total=total, completed=done)
            for frames in loader:
                for frame in frames:
                    if isinstance(frame, Frame) or not frame.error:
                        continue
                    lost = frame.lost if isinstance(frame, End) else 0
                    if not skip_bad and not lost:
                        raise FrameError(f"{frame.error} (on_bad_frame=skip leaves it out)")
                    log.warning("skipped: %s", frame.error)
                    counts[frame.clip]["skipped"] += max(1, lost)
                for frame, probability, use in runner.push(frames):
                    result = Result(sources[frame.clip], frame, probability, use)
                    for writer in writers:
                        writer.write(result)
                    counts[frame.clip]["frames"] += 1
                for frame in frames:
                    source = sources[frame.clip]
                    if frame.is_last:
                        for writer in writers:
                            writer.finish(source.name)
                    if jobs is not None and isinstance(source, Video):
                        if frame.is_last:
                            jobs.finish(source, counts[frame.clip])
                        else:
                            jobs.save(frame, source, runner, counts[frame.clip])
                progress.advance(bar, len(frames))
    finally:
        keep = jobs is not None and jobs.holds_state
        for writer in writers:
            if keep and isinstance(writer, Resumable):
                writer.suspend()
            else:
                writer.discard()
    counts += jobs.whole if jobs else []
    return {name: sum(count[name] for count in counts) for name in ("frames", "skipped")}


def run_live(frames: LiveFrames, runner: ClipRunner, writers: Sequence[Writer]) -> Counts:
    """``run`` for a live source, until it ends or somebody stops it by a signal.

    Returns:
        {"clips": 1, "frames": ..., "skipped": 0, "dropped": ...}.

    Raises:
        DataError: no frame came.
    """
    with told_to_stop(frames.stop):
        count = run(frames, [frames.live], runner, writers, skip_bad=True)
    what = frames.live.shown
    if frames.damaged:
        log.warning("%s: %d frames could not be decoded", what, frames.damaged)
    if frames.dropped:
        log.warning(
            "%s: %d of %d frames were dropped: the network took longer than the camera; "
            "live.drop_late=false keeps all, of a recording",
            what,
            frames.dropped,
            frames.received,
        )
    return {"clips": 1, **count, "dropped": frames.dropped}


@contextmanager
def told_to_stop(stop: Callable[[], None]) -> Iterator[None]:
    """While this is entered, Ctrl-C and SIGTERM call ``stop``; a second one interrupts.

    Threads other than the main one have no signals; there nothing changes.
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
