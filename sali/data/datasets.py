"""Samples for training, frames of whole clips in order, and why a loader process died."""

import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

from sali.data.cache import FrameCache
from sali.data.frames import Bytes, check_size, read_frame, read_mask, resize_frame, resize_mask
from sali.data.index import Clip, require_masks
from sali.data.motion import StillMotion
from sali.data.samples import Frame, Unreadable, to_tensor
from sali.data.sampling import sample_frames, skip_at, still_times
from sali.errors import ConfigError, FrameError
from sali.models.contract import ClipBatch

if TYPE_CHECKING:  # it needs albumentations, which takes seconds to import
    from sali.data.corruption import BadRuns

DECODES = ("fast", "exact")
SHARED_MEMORY = Path("/dev/shm")
"""Where PyTorch's processes leave batches for each other, on Linux."""
_BUS_ERROR = getattr(signal, "SIGBUS", None)  # a write to shared memory that is full
Transform = Callable[[Bytes, Bytes, np.random.Generator], tuple[Bytes, Bytes]]
"""Augmentation of frames [T, H, W, 3] and masks [T, H, W], see `ClipTransform`."""


@dataclass(frozen=True)
class FrameReader:
    """Reader that makes frame files images of side `image_size`.

    `decode` is "fast", which decodes JPEGs near that size, or "exact", in full, as released.
    """

    image_size: int
    decode: str

    def __post_init__(self) -> None:
        if self.decode not in DECODES:
            raise ConfigError(f"decode {self.decode!r} is not one of {DECODES}")

    def decoded(self, path: Path) -> tuple[Bytes, tuple[int, int]]:
        """Return a frame as decoded (near the network's size or in full), and its true (H, W)."""
        return read_frame(path, near=self.image_size if self.decode == "fast" else None)

    def fitted(self, path: Path) -> tuple[Bytes, tuple[int, int]]:
        """Return a frame at the network's size, uint8 [S, S, 3], and its true (H, W)."""
        frame, size = self.decoded(path)
        return resize_frame(frame, self.image_size), size


@dataclass(eq=False, repr=False)
class SampleDataset(Dataset[ClipBatch]):
    """Training samples: every frame as the current one, with the others that a network asks for.

    With `reader.decode == "fast"` frames are resized before they are augmented, which is cheaper;
    with "exact" after, as released.

    Attributes:
        clips: Clips; frames without a mask (of polyp-free clips, empty) are neighbors only.
        roles: Frames of a sample in order, of memory, current and neighbor.
        neighbor: "previous" or "next", see `sample_frames`.
        max_skip: First epoch -> largest distance of the memory frame.
        cache: Cache of these clips, with "fast" only; samples are the same with and without.
        motion: Makes the other frames of a sample from a clip of one frame; None repeats it.
        sparse: Accept clips that are annotated in part, see `require_masks`.

    Raises:
        DataError: A frame without a mask.
    """

    clips: Sequence[Clip]
    _: KW_ONLY
    roles: Sequence[str]
    reader: FrameReader
    transform: Transform
    neighbor: str
    max_skip: Mapping[int, int]
    seed: int
    cache: FrameCache | None = None
    motion: StillMotion | None = None
    sparse: bool = False

    def __post_init__(self) -> None:
        require_masks(self.clips, self.sparse)
        assert self.cache is None or self.reader.decode == "fast"
        self.annotated = [
            [i for i, mask in enumerate(clip.masks) if mask or clip.is_polyp_free]
            for clip in self.clips
        ]
        self.positions = [(c, i) for c, numbers in enumerate(self.annotated) for i in numbers]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, key: tuple[int, int]) -> ClipBatch:
        """Return the sample of (epoch, index); equal keys give equal samples."""
        frames, masks, known, rng = self._sample(key)
        frames, masks = self.transform(frames, masks, rng)
        size = self.reader.image_size
        truth = torch.stack([torch.from_numpy(resize_mask(mask, size)) for mask in masks])
        truth = truth.unsqueeze(1).float()
        truth[~torch.tensor(known)] = torch.nan
        return ClipBatch(torch.stack([to_tensor(resize_frame(one, size)) for one in frames]), truth)

    def _sample(self, key: tuple[int, int]) -> tuple[Bytes, Bytes, list[bool], np.random.Generator]:
        """Read the frames and masks of the sample of (epoch, index).

        Returns:
            Frames [T, h, w, 3], masks [T, h, w] of 0 and 1, whether each mask is known (that of a
            neighbor may not be), and the generator of further draws.
        """
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        c, current = self.positions[index]
        skip = skip_at(epoch, self.max_skip)
        if len(self.clips[c]) == 1 and self.motion is not None:
            times = still_times(skip, self.neighbor, rng)
            moved = self.motion(*self._read(c, 0), [times[role] for role in self.roles], rng)
            return np.stack(moved[0]), np.stack(moved[1]), [True] * len(self.roles), rng
        length = len(self.clips[c])
        picked = sample_frames(length, current, skip, self.neighbor, rng)
        # What is stored of a frame depends on its mask: the annotated one that is nearest.
        if picked["memory"] not in self.annotated[c]:
            distances = {abs(i - picked["memory"]): i for i in self.annotated[c]}
            picked["memory"] = distances[min(distances)]
        numbers = [picked[role] for role in self.roles]
        frames, masks = zip(*(self._read(c, number) for number in numbers), strict=True)
        known = [number in self.annotated[c] for number in numbers]
        return np.stack(frames), np.stack(masks), known, rng

    def _read(self, c: int, i: int) -> tuple[Bytes, Bytes]:
        """Return frame and mask as they are augmented."""
        if self.cache is None:
            return self._decode(c, i)
        pair = self.cache.load(c, i)
        if pair is None:
            pair = self._decode(c, i)
            self.cache.store(c, i, *pair)
        return pair

    def _decode(self, c: int, i: int) -> tuple[Bytes, Bytes]:
        clip = self.clips[c]
        path, mask_path = clip.frames[i], clip.masks[i]
        exact = self.reader.decode == "exact"
        frame, size = self.reader.decoded(path) if exact else self.reader.fitted(path)
        if mask_path is None:  # empty of a polyp-free clip; of a neighbor, not known
            return frame, np.zeros(frame.shape[:2], np.uint8)
        mask = read_mask(mask_path)
        check_size(path, size, mask_path, mask)
        return frame, mask.view(np.uint8) if exact else resize_mask(mask, len(frame))


@dataclass(eq=False, repr=False)
class ClipFrames(Dataset[Frame | Unreadable]):
    """All frames of the clips, one after another.

    Attributes:
        with_masks: Read masks too; a frame without one is an error, unless `sparse`.
        keep_bad: Give an unreadable frame as `Unreadable` instead of raising.
        corruption: Runs of bad frames to put into the clips, for tests.
        sparse: Accept clips that are annotated in part, see `require_masks`.

    Raises:
        DataError: A mask is needed and missing.
    """

    clips: Sequence[Clip]
    reader: FrameReader
    with_masks: bool
    keep_bad: bool = False
    corruption: "BadRuns | None" = None
    sparse: bool = False

    def __post_init__(self) -> None:
        if self.with_masks:
            require_masks(self.clips, self.sparse)
        self.positions = [(c, i) for c, clip in enumerate(self.clips) for i in range(len(clip))]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> Frame | Unreadable:
        """Return a frame; `index` counts through all clips."""
        c, i = self.positions[index]
        clip = self.clips[c]
        is_last = i == len(clip) - 1
        try:
            frame, size = self.reader.fitted(clip.frames[i])
        except FrameError as error:
            if not self.keep_bad:
                raise
            return Unreadable(clip=c, number=i, is_last=is_last, error=str(error))
        if self.corruption is not None:
            frame = self.corruption(frame, clip.name, i, len(clip))
        mask, path = None, clip.masks[i]
        if self.with_masks and clip.is_polyp_free:
            mask = torch.zeros(size, dtype=torch.uint8)
        elif self.with_masks and path is not None:
            array = read_mask(path)
            check_size(clip.frames[i], size, path, array)
            mask = torch.from_numpy(array.view(np.uint8))
        image = to_tensor(frame)
        return Frame(clip=c, number=i, is_last=is_last, image=image, size=size, mask=mask)


def lost_worker(
    error: BaseException, prefix: str = "", exit_codes: Sequence[int | None] = ()
) -> str | None:
    """Return why a process of a loader died and what to do, in one line.

    Args:
        error: What the process that waited for it raised.
        prefix: What is before the names of settings, "data." in a training.
        exit_codes: Exit codes of the loader's processes, if they are known.

    Returns:
        None if no process died, and nothing that processes share ran out.
    """
    text = f"{error} {error.__cause__}"
    fix = f"{prefix}num_workers=0"
    if "shared memory" in text or "Bus error" in text or (_BUS_ERROR and -_BUS_ERROR in exit_codes):
        return (
            f"a process that reads ahead ran out of shared memory ({_size(SHARED_MEMORY)}): start "
            f"the container with --shm-size=8g or --ipc=host, or give {fix}"
        )
    if "ancdata" in text or "Too many open files" in text:
        return f"too many open files: raise the limit with ulimit -n 65536, or give {fix}"
    if any(exit_codes) or "DataLoader worker (pid" in text:
        return (
            "a process that decodes was killed, most likely for lack of memory; give a smaller "
            f"{prefix}prefetch_factor, or {fix}"
        )
    return None


def _size(folder: Path) -> str:
    if not folder.is_dir():
        return "of this machine"
    return f"{folder} holds {shutil.disk_usage(folder).total / 2**20:.0f} MiB"
