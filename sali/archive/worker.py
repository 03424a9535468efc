"""One worker of an archive: a loaded network that segments recording after recording."""

import hashlib
import json
import logging
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock
from omegaconf import OmegaConf

from sali.archive.places import Place, archive_of, zipped
from sali.archive.recordings import Recording
from sali.data.listing import visible
from sali.errors import DataError, UserError
from sali.evaluation.inputs import MANIFEST
from sali.prediction import Source, index_source
from sali.predictor import Predictor
from sali.run.io import atomic_write, read_json, write_json

log = logging.getLogger(__name__)

WHOLE = "whole.json"
"""Written when all results of a recording are on this node."""
LOCK_SECONDS = 60
"""Longest wait for a killed worker's work on the same recording to end."""


@dataclass(frozen=True)
class Job:
    """What every worker needs to know: the resolved configuration, the place of the maps, a key.

    The key names the scratch folder; it is the same for the same job.
    """

    cfg: Mapping[str, Any]
    output: Place
    key: str


@dataclass(frozen=True)
class Outcome:
    """What became of a recording, from the first byte read to the last one written.

    `skipped` frames could not be read; without an error there are results.
    """

    recording: str
    version: str
    frames: int = 0
    skipped: int = 0
    seconds: float = 0.0
    node: str = ""
    error: str = ""

    @classmethod
    def from_json(cls, text: bytes) -> "Outcome":
        """Return what `as_json` wrote.

        Raises:
            DataError: Something else.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise DataError(
                "output: the folder `<output>_archive` there holds a file .json that is no record "
                "of a recording; remove it, or give another output"
            ) from error

    def as_json(self) -> bytes:
        """Return it as a JSON file."""
        return (json.dumps(asdict(self)) + "\n").encode()


class Worker:
    """A network, and the folder in which this node works.

    Nodes that may not have the file of the checkpoint are given its content.
    """

    def __init__(self, job: Job, checkpoint: bytes | None = None) -> None:
        self._job = job
        scratch = job.cfg["archive"]["scratch"] or tempfile.gettempdir()
        self._scratch = Path(scratch) / f"sali_archive_{job.key}"
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        cfg = OmegaConf.create(dict(job.cfg))
        if checkpoint is not None:
            cfg.ckpt = str(self._scratch / Path(cfg.ckpt).name)
            with atomic_write(Path(cfg.ckpt)) as partial:
                partial.write_bytes(checkpoint)
        self._predictor = Predictor(cfg)

    def write_manifest(self) -> None:
        """Write run.json next to the maps, for the evaluation."""
        with tempfile.TemporaryDirectory() as folder:
            self._predictor.write_manifest(Path(folder))
            self._job.output.below(MANIFEST).write((Path(folder) / MANIFEST).read_bytes())

    def predict(self, recording: Recording) -> Outcome:
        """Write all results of a recording, or none; what does not fit is in the outcome.

        An attempt of the same job that was killed on this node is resumed.
        """
        started = time.monotonic()
        outcome = Outcome(recording.name, recording.version, node=platform.node())
        try:
            with self._folder(recording) as folder:
                mark = archive_of(self._job.output).below(f"{recording.name}.json")
                text = mark.read()
                if text and (before := Outcome.from_json(text)).version == recording.version:
                    return before  # the worker was killed after its last step
                path = self._fetched(recording, folder / "source")
                (source,) = index_source(str(path), self._job.cfg["video"]["max_pixels"])
                counts = read_json(folder / WHOLE)
                if not counts:
                    writers = self._predictor.writers(folder / "maps", [source])
                    counts = self._predictor.run([source], writers, quiet=True)
                    write_json(folder / WHOLE, counts)
                mark.remove()
                self._publish(folder, source, PurePosixPath(recording.name))
                seconds = round(time.monotonic() - started, 3)
                frames, skipped = counts["frames"], counts["skipped"]
                outcome = replace(outcome, frames=frames, skipped=skipped, seconds=seconds)
                mark.write(outcome.as_json())
        except (UserError, OSError) as error:
            return replace(outcome, error=str(error).strip().splitlines()[-1])
        return outcome

    def _fetched(self, recording: Recording, folder: Path) -> Path:
        """Return the local path of a recording; files from elsewhere are copied first, once."""
        home = recording.home.local
        if home is None:
            home = folder if recording.is_video else folder / PurePosixPath(recording.name).name
            if not folder.is_dir():
                partial = folder.with_name("fetching")
                shutil.rmtree(partial, ignore_errors=True)
                recording.home.get(recording.files, partial / home.relative_to(folder))
                partial.rename(folder)
        return home / recording.files[0] if recording.is_video else home

    def _publish(self, folder: Path, source: Source, name: PurePosixPath) -> None:
        """Copy the results to the output: folders and files of this recording alone."""
        output, how = self._job.output, self._job.cfg["archive"]["maps"]
        if output.local:
            for writer in self._predictor.writers(output.local, [source]).values():
                writer.protect(name.as_posix())
        for results in sorted(folder.glob("maps*")):
            place = output.beside(results.name.removeprefix("maps"))
            for entry in visible(results):
                if results.name == "maps" and how == "zip":
                    entry = zipped(entry, folder / f"{entry.name}.zip")
                if results.name == "maps" and how == "none":
                    continue
                place.below((name.parent / entry.name).as_posix()).put(entry)

    @contextmanager
    def _folder(self, recording: Recording) -> Iterator[Path]:
        """Provide the folder of a recording, which no other process of this node has.

        It is removed at the end. It stays for the next attempt if the process is killed, or if
        results that are whole could not be copied to the output.
        """
        name = hashlib.sha256(f"{recording.name}\n{recording.version}".encode()).hexdigest()[:16]
        folder = self._scratch / name
        with FileLock(folder.with_suffix(".lock"), timeout=LOCK_SECONDS):
            folder.mkdir(exist_ok=True)
            try:
                yield folder
            except Exception:
                if not (folder / WHOLE).exists():
                    shutil.rmtree(folder)
                raise
            shutil.rmtree(folder)
