"""What one open page owns, and what it may do."""

import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sali.app.export import Stopped, write_result
from sali.app.job import ENDS, Engine, Job, State
from sali.app.kept_maps import between_levels
from sali.app.models import Options
from sali.app.view import View
from sali.errors import ConfigError, DataError, UserError
from sali.prediction import Recorded

FAREWELL_SECONDS = 10.0
"""How long a job that was told to end is waited for; a frame takes less."""


@dataclass(frozen=True)
class Exporting:
    """How downloads are made.

    Attributes:
        clip_rate: frames per second of clips in frame files.
        encoding: see ``OverlayVideo``.
    """

    clip_rate: float
    encoding: dict[str, Any]


class Session:
    """One page: its folder, its upload, its job and what is on show.

    All methods may be called from any thread.

    Args:
        token: names it; whoever knows it may do everything, so it must not be guessed.
        folder: its own; nothing is in it before the first upload or run.
        engine: shared.
        view: draws.
        exporting: writes the downloads.
        threshold: to begin with.
    """

    def __init__(
        self,
        token: str,
        folder: Path,
        engine: Engine,
        view: View,
        exporting: Exporting,
        threshold: float,
    ) -> None:
        self.token = token
        self.folder = folder
        self.upload: Recorded | None = None
        self.job: Job | None = None
        self.closed = False
        self.seen = self.touched = time.monotonic()
        self.threshold = between_levels(threshold)
        self._engine = engine
        self._view = view
        self._exporting = exporting
        self._notice = ""
        self._export = ""
        self._uploads = self._runs = 0
        self._version = 1
        self._drawn_from = 0  # version of the last change of the picture
        self._news = threading.Condition()
        self._doing = threading.RLock()  # one thing at a time that a user asks for
        self._writing = threading.Lock()

    # What a user does

    def take_upload(self, file: Path, name: str) -> None:
        """Move an uploaded file into the session, in place of the one before.

        Args:
            file: where the server put it.
            name: as the user calls it.

        Raises:
            UserError: one line for whatever does not fit; the file is gone then.
        """
        with self._doing:
            self._touch()
            try:
                if self.active:
                    raise ConfigError("a run is under way; cancel it before the next upload")
                self._engine.limits.check_name(name)
                self._engine.limits.check_size(name, file.stat().st_size)
                self._uploads += 1
                home = self.folder / f"upload_{self._uploads}"
                home.mkdir(parents=True, mode=0o700)
                try:
                    path = Path(shutil.move(file, home / name))
                    upload = self._engine.limits.open(path)
                except BaseException:
                    shutil.rmtree(home)
                    raise
            except UserError as error:
                self.tell(str(error))
                raise
            finally:
                file.unlink(missing_ok=True)
            self._forget_job()
            for old in self.folder.glob("upload_*"):
                if old != home:
                    shutil.rmtree(old)
            self.upload = upload
            self._notice = ""
            self._draw_again()

    def start(self, source: Recorded, options: Options) -> None:
        """Run over a source; the result before is forgotten.

        Raises:
            ConfigError: a run is under way, or the session is closed.
        """
        with self._doing:
            self._touch()
            if self.closed:
                raise ConfigError("this page was closed; reload it")
            if self.active:
                raise ConfigError("a run is under way; cancel it first")
            self._forget_job()
            self._notice = ""
            self._runs += 1
            folder = self.folder / f"run_{self._runs}"
            is_upload = source is self.upload
            self.job = Job(self._engine, source, options, folder, self._draw_again, is_upload)
            self.job.start()
            self._draw_again()

    @property
    def active(self) -> bool:
        return self.job is not None and self.job.state not in ENDS

    def pause_or_resume(self) -> None:
        with self._doing:
            self._touch()
            if self.job is not None and self.active:
                (self.job.resume if self.job.paused else self.job.pause)()

    def cancel(self) -> None:
        with self._doing:
            self._touch()
            if self.job is not None:
                self.job.cancel()

    def set_threshold(self, threshold: float) -> None:
        """Draws at once, without another segmentation."""
        self._touch()
        self.threshold = between_levels(threshold)
        self._draw_again()

    def export(self) -> Path:
        """Write the files of the result, with the threshold as it is now.

        Raises:
            UserError: there is no result, or the session ends meanwhile.
        """
        with self._writing:
            self._touch()
            job = self.job
            if job is None or job.state not in ENDS or not job.frames:
                raise DataError("there is no result yet; run to the end or cancel first")

            def tell(done: int, total: int) -> None:
                if self.closed or self.job is not job:
                    raise Stopped
                self._export = f"writing the download: {100 * done // total} %"
                self._touch()
                self._change()

            folder = self.folder / f"result_{self._runs}"
            try:
                made = vars(self._exporting)
                return write_result(job, folder, self.threshold, **made, tell=tell)
            except Stopped as error:
                raise DataError("the result is gone; run again") from error
            finally:
                self._export = ""
                self._change()

    def tell(self, notice: str) -> None:
        """A line for the user, until the next run."""
        self._notice = notice
        self._change()

    # What ends

    @property
    def idle(self) -> float:
        """Seconds since the user did something or a run went on."""
        job = self.job
        if job is not None and self.active and job.state != State.PAUSED:
            self._touch()
        return time.monotonic() - self.touched

    def expire(self, notice: str) -> None:
        """Delete everything, and tell so; the page may go on with a new run."""
        with self._doing:
            if self.folder.exists():
                self._forget_job()
                self.upload = None
                shutil.rmtree(self.folder, ignore_errors=True)
                self._notice = notice
                self._draw_again()

    def close(self) -> None:
        """Cancel what runs and delete everything; may be called again."""
        with self._doing:
            self.closed = True
            self._forget_job()
            with self._writing:  # an export stops at its next frame
                shutil.rmtree(self.folder, ignore_errors=True)
            self._change()

    def _forget_job(self) -> None:
        job, self.job = self.job, None
        if job is not None:
            job.cancel()
            job.join(FAREWELL_SECONDS)
            with self._writing:
                for folder in (*self.folder.glob("run_*"), *self.folder.glob("result_*")):
                    shutil.rmtree(folder, ignore_errors=True)

    # What a page is told

    def news(self, after: int, patience: float) -> dict[str, Any]:
        """What is on show, as soon as it is newer than a version that the page has.

        The page asks again once it has shown it. So nothing is drawn that nobody sees, and what
        comes faster than it is shown is passed over; the segmentation does not wait for it.

        Args:
            after: the page's version; 0 for all.
            patience: seconds to wait for something newer.
        """
        with self._news:
            self.seen = time.monotonic()
            self._news.wait_for(lambda: self._version > after or self.closed, patience)
            version, drawn_from = self._version, self._drawn_from
        self.seen = time.monotonic()
        job, threshold = self.job, self.threshold
        latest = job.latest if job else None
        told: dict[str, Any] = {"version": version, "closed": self.closed, **self._words(job)}
        told["threshold"] = f"{threshold:.2f}"
        if drawn_from > after:
            told["shown"] = None
            if job and latest:
                told["shown"] = {
                    **self._view.frame(latest, threshold),
                    "numbers": self._view.numbers(job, latest),
                    "reads": self._view.reads(latest),
                }
        return told

    def _words(self, job: Job | None) -> dict[str, Any]:
        state = job.state if job else "idle"
        message = self._notice or (job.message if job else "")
        return {
            "state": state,
            "position": job.position if job and job.state == State.WAITING else 0,
            "done": job.frames if job else 0,
            "length": job.length if job else 0,
            "unreadable": job.unreadable if job else 0,
            "message": message,
            "export": self._export,
            "downloadable": bool(job and job.state in ENDS and job.frames),
            "clip": job.source.name if job else "",
        }

    def _draw_again(self) -> None:
        with self._news:
            self._version += 1
            self._drawn_from = self._version
            self._news.notify_all()

    def _change(self) -> None:
        with self._news:
            self._version += 1
            self._news.notify_all()

    def _touch(self) -> None:
        self.touched = time.monotonic()
