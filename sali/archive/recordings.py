"""What an archive holds: video files and folders of frames, at any depth."""

import hashlib
import logging
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

from sali.archive.places import Place
from sali.data.index import MASK_FOLDERS
from sali.data.listing import FRAME_SUFFIXES, LITTER, clip_key
from sali.data.video.files import VIDEO_SUFFIXES
from sali.errors import DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recording:
    """One video file, or one folder of frames.

    Its name is the path below the source, of a video without suffix; results have the same. The
    version is a text that changes with the files.
    """

    name: str
    home: Place
    files: tuple[str, ...]
    size: int
    version: str

    @property
    def is_video(self) -> bool:
        """Whether it is a video file."""
        return PurePosixPath(self.files[0]).suffix.lower() in VIDEO_SUFFIXES


def index_recordings(source: Place) -> list[Recording]:
    """Return the recordings below a place, in natural order; or the one video there.

    Of a SUN-SEG subset those in `Frame` are taken. Folders that are masks by their name, hidden
    files, and images next to videos are passed over.

    Raises:
        DataError: There is none, or two have one name.
    """
    alone = PurePosixPath(source.path)
    if alone.suffix.lower() in VIDEO_SUFFIXES:
        home = Place(source.address.rpartition("/")[0], source.fs, source.path.rpartition("/")[0])
        size, version = source.version()
        return [Recording(alone.stem, home, (alone.name,), size, version)]
    found = source.files()
    if any(name.startswith("Frame/") for name in found):
        source = source.below("Frame")
        found = {n[len("Frame/") :]: v for n, v in found.items() if n.startswith("Frame/")}
    videos: list[PurePosixPath] = []
    frames: dict[PurePosixPath, list[str]] = defaultdict(list)
    passed_over = 0
    for path in map(PurePosixPath, found):
        suffix = path.suffix.lower()
        if any(part.startswith(".") or part in LITTER for part in path.parts):
            continue
        if suffix in VIDEO_SUFFIXES:
            videos.append(path)
        elif suffix in FRAME_SUFFIXES and path.parent.name.lower() not in MASK_FOLDERS:
            frames[path.parent].append(path.name)
        elif suffix in FRAME_SUFFIXES:
            passed_over += 1
    for folder in {path.parent for path in videos} & set(frames):
        passed_over += len(frames.pop(folder))
    if passed_over:
        log.info("passed over %d images, which are masks or next to videos", passed_over)
    groups = [(path.parent, [path.name], path.with_suffix("")) for path in videos]
    groups += [(path, names, path) for path, names in frames.items()]
    recordings = []
    for folder, files, own in groups:
        home = source if folder == PurePosixPath(".") else source.below(folder.as_posix())
        versions = [(file, *found[(folder / file).as_posix()]) for file in files]
        digest = hashlib.sha256(repr(versions).encode()).hexdigest()[:16]
        size = sum(entry[1] for entry in versions)
        name = source.name if own == PurePosixPath(".") else own.as_posix()
        recordings.append(Recording(name, home, tuple(files), size, digest))
    recordings.sort(key=lambda one: clip_key(one.name))
    for one, other in pairwise(recordings):
        if one.name == other.name:
            raise DataError(
                f"source {source.address}: {one.files[0]} and {other.files[0]} would both be "
                f"{one.name}; rename one"
            )
    if not recordings:
        raise DataError(f"source {source.address}: no videos and no folders of frames there")
    return recordings
