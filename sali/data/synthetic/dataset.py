"""A generated data set: which clips it has, and how they are written in the SUN-SEG layout."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import cv2

from sali.data.synthetic.clip import draw_clip
from sali.errors import DataError
from sali.run.progress import progress_bar

GENERATOR_VERSION = 1  # raise it whenever the same spec would give other pixels
# Cases without a training clip are numbered from here, so that more clips renumber none of them.
EASY_UNSEEN, HARD_UNSEEN, POLYP_FREE = 10001, 20001, 30001


@dataclass(frozen=True)
class SyntheticSpec:
    """What to draw.

    Attributes:
        train_clips: clips with a polyp in TrainDataset, each from its own case.
        test_clips_per_subset: clips with a polyp in each of easy/hard x seen/unseen.
        frames_per_clip: frames of every clip, at least 2.
        height: frame height in pixels, at least 64.
        width: frame width in pixels, at least 64.
        polyp_free_clips: further clips, dealt in turn to training, easy unseen and hard unseen.
        seed: seed of everything drawn.

    Raises:
        DataError: a number is too small.
    """

    train_clips: int = 8
    test_clips_per_subset: int = 2
    frames_per_clip: int = 36
    height: int = 256
    width: int = 320
    polyp_free_clips: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"train_clips": 1, "frames_per_clip": 2, "height": 64, "width": 64}
        for name, value in asdict(self).items():
            if value < least.get(name, 0):
                raise DataError(f"{name} is {value}; set it to {least.get(name, 0)} or more")


class PlannedClip(NamedTuple):
    """One clip of a data set; the last four are arguments of `draw_clip`."""

    folder: str
    case: int
    segment: int
    hard: bool
    polyp: bool


def generate(root: Path, spec: SyntheticSpec, num_workers: int = 1) -> Path:
    """Write a generated data set in the SUN-SEG layout, unless it is there already.

    The folder gets its name only when complete, so an interrupted call leaves nothing that looks
    like a data set, and several processes may call this at once.

    Args:
        root: folder of the data set; its parents are created.
        spec: what to draw; stored with the generator's version as `root/spec.json`.
        num_workers: processes that draw clips, which are the same for any number. With 1 this
            process draws; with more, a script needs its `if __name__ == "__main__"`.

    Returns:
        `root`.

    Raises:
        DataError: `root` holds anything other than this data set, or cannot be written, or
            `num_workers` is below 1.
    """
    if num_workers < 1:
        raise DataError(f"num_workers is {num_workers}; set it to 1 or more")
    wanted = {"generator_version": GENERATOR_VERSION, **asdict(spec)}
    try:
        if not is_complete(root, wanted):
            write_dataset(root, wanted, spec, num_workers)
    except OSError as error:
        message = f"cannot write {root}: {error}; check free space and permissions"
        raise DataError(message) from error
    return root


def is_complete(root: Path, wanted: dict[str, int]) -> bool:
    """Whether `root` holds the wanted data set; refuses a folder that holds something else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    file = root / "spec.json"
    try:
        found = json.loads(file.read_text()) if file.is_file() else "no spec.json"
    except ValueError:
        found = "an unreadable spec.json"
    if found != wanted:
        raise DataError(
            f"{root} already exists with {found}, but {wanted} was wanted; "
            "delete that folder or choose another root"
        )
    return True


def write_dataset(
    root: Path, wanted: dict[str, int], spec: SyntheticSpec, num_workers: int
) -> None:
    """Write the data set beside `root` and give it its name at the end."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{root.name}.", dir=root.parent) as folder:
        draft = Path(folder) / root.name
        write_clips(draft, spec, num_workers)
        (draft / "spec.json").write_text(json.dumps(wanted, indent=2) + "\n")
        try:
            draft.rename(root)
        except OSError:  # another process may have finished first
            if not is_complete(root, wanted):
                raise


def plan_clips(spec: SyntheticSpec) -> Iterator[PlannedClip]:
    """List all clips; none depends on how many others there are."""
    for i in range(spec.train_clips):
        yield PlannedClip("TrainDataset", i + 1, 1, i % 2 == 1, True)
    for i in range(spec.test_clips_per_subset):
        again, seen = divmod(i, spec.train_clips)  # later parts of training cases
        yield PlannedClip("TestEasyDataset/Seen", seen + 1, 2 + 2 * again, False, True)
        yield PlannedClip("TestHardDataset/Seen", seen + 1, 3 + 2 * again, True, True)
        yield PlannedClip("TestEasyDataset/Unseen", EASY_UNSEEN + i, 1, False, True)
        yield PlannedClip("TestHardDataset/Unseen", HARD_UNSEEN + i, 1, True, True)
    homes = ("TrainDataset", "TestEasyDataset/Unseen", "TestHardDataset/Unseen")
    for i in range(spec.polyp_free_clips):
        yield PlannedClip(homes[i % 3], POLYP_FREE + i, 1, i % 3 == 2, False)


def write_clips(root: Path, spec: SyntheticSpec, num_workers: int) -> None:
    """Write the frames and masks of all clips."""
    write_one = partial(write_clip, root, spec)
    clips = list(plan_clips(spec))
    with progress_bar("clips") as progress:
        bar = progress.add_task("draw clips", total=len(clips))
        for _ in _mapped(write_one, clips, num_workers):
            progress.advance(bar)


def _mapped(
    write_one: Callable[[PlannedClip], None], clips: list[PlannedClip], num_workers: int
) -> Iterator[None]:
    if num_workers == 1:
        yield from map(write_one, clips)
        return
    # Spawned, not forked: the caller may have threads. Every process keeps to one core.
    with ProcessPoolExecutor(
        num_workers, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        yield from pool.map(write_one, clips)


def write_clip(root: Path, spec: SyntheticSpec, clip: PlannedClip) -> None:
    """Write the frames and masks of one clip under SUN-SEG names."""
    name = f"case{clip.case}_{clip.segment}"
    frames, masks = (root / clip.folder / kind / name for kind in ("Frame", "GT"))
    frames.mkdir(parents=True)
    masks.mkdir(parents=True)
    size = (spec.frames_per_clip, spec.height, spec.width)
    drawn = draw_clip(spec.seed, clip.case, clip.segment, *size, clip.hard, clip.polyp)
    half = (spec.frames_per_clip + 1) // 2
    for i, (frame, mask) in enumerate(drawn):
        # As in SUN-SEG, a clip spans numbered parts and images count from 1 in each. Part 10
        # follows part 9, so that sorting the names as plain text gives the wrong order.
        stem = f"case_M_20200101{clip.case:06d}_0U{clip.segment:014d}_1_{clip.case:03d}_001-1"
        stem += f"_a{9 + i // half}_ayy_image{i % half + 1:04d}"
        bgr, quality = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92]
        written = cv2.imwrite(str(frames / f"{stem}.jpg"), bgr, quality)
        if not (written and cv2.imwrite(str(masks / f"{stem}.png"), mask)):
            raise OSError(f"{stem} was not written")
